/* Responses that are kept so that a client may go on with one (previous_response_id), read it again
 * or delete it: one SQLite file, readable by its owner only, bounded by number, bytes and age.
 *
 * A row holds the response and the whole conversation up to it: what is deleted or has grown too
 * old takes nothing from those that followed.  Writes have a thread of their own, since whoever
 * tells that an answer is complete must not wait for a disk. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

struct responses_opts {
    const char *folder; /* NULL: the setting RESPONSES, else ~/.cria */
    int64_t max_rows;   /* 0: nothing is kept */
    uint64_t max_bytes; /* of all rows; a single one may have a quarter */
    int64_t max_age_s;
};

struct responses_db; /* any thread */

/* Makes folder and file (responses.db).  A file that is no database is moved away
 * (responses.db.damaged) and a new one begun. */
struct responses_db *responses_open(const struct responses_opts *o, struct err *e);
/* Writes what waits; accepts NULL. */
void responses_close(struct responses_db *d);

/* The response and its conversation (either may be NULL: not wanted); json_decref them.
 * ERR_NOT_FOUND: no such id, or another owner's. */
int responses_read(struct responses_db *d, const char *id, const char *owner, json_t **response,
                   json_t **items, struct err *e);
/* The conversation at the end of which stands the item with this id ("msg_...", "fc_..."). */
int responses_read_item(struct responses_db *d, const char *item, const char *owner, json_t **items,
                        struct err *e);
int responses_delete(struct responses_db *d, const char *id, const char *owner, struct err *e);

/* Called on the writer's thread; err.code ERR_NONE: it is kept. */
typedef void responses_fn(void *ctx, const struct err *err);
/* Keeps a response (with its "id") and conversation, both borrowed until fn.  fn comes always, also
 * without memory (then at once). */
void responses_write(struct responses_db *d, const char *owner, json_t *response, json_t *items,
                     responses_fn *fn, void *ctx);

/* The one that all requests of this process share, by the settings RESPONSES...; opened at the
 * first use. */
struct server;
struct responses_db *responses_shared(struct server *s, struct err *e);
void responses_shared_close(void);
