/* Keys for tests: made by `cria keys`, in a database of the test's own. */
#pragma once

#include "models_rig.h"
#include "serve_rig.h"

struct keyring {
    char *dir;
    char db[700];      /* in it */
    char setting[720]; /* "CRIA_KEYS=<db>", for a server; commands have it in their environment */
};

void keyring_open(struct keyring *k);
void keyring_close(struct keyring *k);

/* The same beside a store, which `set` names for a server. */
struct keyed_shop {
    struct shop shop;
    struct keyring ring;
    char set[700]; /* "CRIA_MODELS=<root>" */
};
void keyed_shop_open(struct keyed_shop *k);
void keyed_shop_close(struct keyed_shop *k);

/* `cria keys ARGS...`; the exit code, and what it said in *r (ran_fini). */
int keys_run(struct ran *r, const char *const *args);
/* The same; it must succeed.  Its JSON, when --json is among the arguments (json_decref). */
json_t *keys_do(const char *const *args);

/* `cria keys add NAME OPTIONS...` (NULL-terminated): the header with the new key, in a static ring:
 * valid for the next 31 calls. */
const char *keys_add(const char *name, const char *const *options);
