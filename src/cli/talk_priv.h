/* The two that stand behind talk.h. */
#pragma once

#include "cli/talk.h"

struct talk {
    struct gen *gen;       /* owned; NULL: a server answers */
    struct remote *remote; /* owned */
    const char *model;     /* of the server, borrowed */
    json_t *shown;         /* owned */
    bool embeds;
    gen_event_fn *watch; /* NULL: nobody */
    void *watch_ctx;
};

int talk_ask_local(struct talk *t, const json_t *request, talk_fn *fn, void *ctx,
                   struct talk_end *end, struct err *e);
int talk_ask_remote(struct talk *t, const json_t *request, const char *keep_alive, talk_fn *fn,
                    void *ctx, struct talk_end *end, struct err *e);
int talk_embed_local(struct talk *t, const json_t *request, json_t **vector, int *n_cut,
                     struct err *e);
int talk_embed_remote(struct talk *t, const json_t *request, json_t **vector, struct err *e);
