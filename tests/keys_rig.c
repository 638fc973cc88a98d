/* See keys_rig.h. */
#include "keys_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void keyring_open(struct keyring *k) {
    k->dir = temp_folder();
    snprintf(k->db, sizeof k->db, "%s/keys.db", k->dir);
    snprintf(k->setting, sizeof k->setting, "CRIA_KEYS=%s", k->db);
    setenv("CRIA_KEYS", k->db, 1);
}

void keyring_close(struct keyring *k) {
    unsetenv("CRIA_KEYS");
    temp_remove(k->dir);
}

void keyed_shop_open(struct keyed_shop *k) {
    use_program();
    shop_open(&k->shop);
    snprintf(k->set, sizeof k->set, "CRIA_MODELS=%s", k->shop.root);
    keyring_open(&k->ring);
}

void keyed_shop_close(struct keyed_shop *k) {
    keyring_close(&k->ring);
    shop_close(&k->shop);
}

int keys_run(struct ran *r, const char *const *args) {
    const char *all[32] = {"keys"};
    for (int i = 0; i < 30 && args[i]; i++)
        all[i + 1] = args[i];
    return run_cria(r, all, NULL, 0, 30);
}

json_t *keys_do(const char *const *args) {
    struct ran r;
    if (keys_run(&r, args) != 0)
        fail_msg("cria keys %s %s: %s", args[0], args[1] ? args[1] : "", r.err.p);
    json_t *j = r.out.n && *r.out.p == '{' ? json_loads(r.out.p, 0, NULL) : NULL;
    ran_fini(&r);
    return j;
}

const char *keys_add(const char *name, const char *const *options) {
    static char ring[32][160];
    static unsigned at;
    const char *args[30] = {"add", name};
    struct ran r;
    char *out = ring[at++ % 32];
    for (int i = 0; i < 27 && options && options[i]; i++)
        args[i + 2] = options[i];
    if (keys_run(&r, args) != 0) fail_msg("cria keys add %s: %s", name, r.err.p);
    snprintf(out, sizeof ring[0], "Authorization: Bearer %.*s\r\n", (int)strcspn(r.out.p, "\n"),
             r.out.p);
    ran_fini(&r);
    return out;
}
