/* What the files of the native API (COMPAT.md 2) share.
 *
 *   api_native.c    the routes, lists of models
 *   api_generate.c  generate and chat: request -> ask
 *   api_answer.c    events of the model -> chunks, or one object
 *   api_embed.c     embed, embeddings */
#pragma once

#include "base/buf.h"
#include "server/api.h"
#include "server/ask.h"

/* A request to generate or chat, from the handler to its last event. */
struct native {
    struct request *r;
    const json_t *body; /* borrowed from r */
    const char *model;  /* as the client wrote it, or the one that answers instead */
    bool chat, stream;
    bool load_only;
    const char *load_reason; /* "load", "unload" */
    int64_t start_ns;
    /* ---- from here on the events' ---- */
    struct buf text, thinking; /* owned; what a client without stream gets at the end */
    struct buf line;           /* owned; of the last piece, kept for its memory */
    json_t *calls, *logprobs;  /* owned; NULL: none yet */
    json_t *context;           /* owned; token ids of prompt and answer; NULL: not wanted */
    int n_calls;
    enum gen_why why;
    int n_truncated;
};

/* gen_event_fn with a struct native, which it frees in the end. */
void native_on_event(void *ctx, const struct gen_event *ev);
void native_free(struct native *n);

extern const struct field native_generate_fields[], native_chat_fields[], native_embed_fields[],
    native_embeddings_fields[];
void native_generate(struct request *r);
void native_chat(struct request *r);
void native_embed(struct request *r);
void native_embeddings(struct request *r);
