/* Who answers a chat: a model opened in this process, or the server.  The chat says what it wants
 * in the words of engine/gen.h; a server is asked the same through its API.
 *
 *   chat.c -> talk_ask -> talk_local.c  -> gen_start -> events
 *                      -> talk_remote.c -> POST /api/chat, /api/generate -> lines */
#pragma once

#include "cli/remote.h"
#include "engine/gen.h"

enum talk_kind { TALK_TEXT, TALK_THINKING, TALK_CALL };

struct talk_piece {
    enum talk_kind kind;
    struct str text;
    const json_t *call; /* {"function": {"name", "arguments"}} */
};

/* Nonzero ends the answer. */
typedef int talk_fn(void *ctx, const struct talk_piece *p);

struct talk_end {
    enum gen_why why;
    struct gen_stats stats;
    int64_t load_ns, total_ns;
};

struct talk; /* one thread */

/* The texts in opts are borrowed while it opens. */
struct talk *talk_open_local(const char *path, const struct gen_opts *opts, struct err *e);
/* model: as the server knows it; borrowed.  ERR_NOT_FOUND when the server has none of that name. */
struct talk *talk_open_remote(const char *model, struct err *e);
void talk_close(struct talk *t); /* accepts NULL */

/* Of a local one; NULL of a server's. */
const struct gen_info *talk_info(const struct talk *t);
bool talk_embeds(const struct talk *t); /* an embedding model: it cannot answer */

/* keep_alive: for a server, or NULL.  Returns when the answer is over; Ctrl-C cancels it: 0 with
 * GEN_CANCELLED. */
int talk_ask(struct talk *t, const json_t *request, const char *keep_alive, talk_fn *fn, void *ctx,
             struct talk_end *end, struct err *e);

/* From now on fn sees every event of a local one's answers, on the model's thread. */
void talk_watch(struct talk *t, gen_event_fn *fn, void *ctx);

/* Only have a server's model loaded; a local one is. */
int talk_load(struct talk *t, const json_t *options, const char *keep_alive, struct err *e);

/* The vector of a text, as an array; json_decref.  *n_cut: tokens that were left out. */
int talk_embed(struct talk *t, struct str text, int dimensions, bool truncate, json_t **vector,
               int *n_cut, struct err *e);

/* What a server says of its model (/api/show): borrowed; NULL of a local one. */
const json_t *talk_shown(const struct talk *t);
