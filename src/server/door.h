/* The keys of a server: read from a file of lines and from a database (policy/keys_db.h), with the
 * limits that hold for them and what they have used.
 *
 * A thread of its own looks at the database twice a second, so that `cria keys` needs no restart,
 * and writes there what was used.  Whatever goes wrong with keys shuts the door and does not open
 * it: a file that cannot be read keeps a server from starting, and later leaves the keys as they
 * were; once keys were needed they stay needed. */
#pragma once

#include "policy/key_usage.h"
#include "server/log.h"

struct door; /* any thread */

/* Others hold now; either may be NULL: none are needed.  Not at the opening. */
typedef void door_change_fn(void *ctx, struct keys *was, struct keys *now);

struct door_opts {
    const char *key_file; /* lines; "": none */
    const char *database; /* the setting KEYS; "": ~/.cria/keys.db as soon as it is there */
    struct log *log;
    door_change_fn *changed; /* or NULL; of door_open only */
    void *ctx;
};

struct door *door_open(const struct door_opts *o, struct err *e);
/* From now on a thread looks for changes and writes what was used: not before the process is shut
 * in (server/isolate.h). */
int door_start(struct door *g, struct err *e);
/* Read again.  -1: it is as it was. */
int door_reload(struct door *g, const struct door_opts *o, struct err *e);
void door_close(struct door *g); /* writes what was used; accepts NULL */

/* The keys as they are now, counted; NULL: none are needed. */
struct keys *door_keys(struct door *g);
bool door_needs_key(struct door *g);

struct key_limits *door_limits(struct door *g);
void door_count(struct door *g, const struct key_use *use);
