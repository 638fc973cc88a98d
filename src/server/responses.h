/* What the files of /v1/responses share.
 *
 *   api_responses.c     routes, the fields of a request, what is kept (responses_db.h)
 *   responses_input.c   items -> messages of engine/gen.h
 *   responses_answer.c  events -> items, the response, the typed events of a stream */
#pragma once

#include "server/openai.h"
#include "server/responses_db.h"

/* A response on its way. */
struct response {
    struct request *r;
    struct gather g; /* sums */
    char id[OPENAI_ID];
    char *owner;   /* owned */
    json_t *body;  /* owned: the response object, what the request says of it filled in */
    json_t *keeps; /* owned: of the request what is kept (ask.h): "items", the conversation so far
                    * in OpenAI's items, and what the response tells of it */
    json_t *think; /* owned: gen's, if the model can; or NULL */
    bool stream, store, encrypted, logprobs;
    bool served; /* body's "model" is the one that answers instead of what was asked for */
    /* ---- from here on the events' ---- */
    json_t *output; /* owned: complete items */
    json_t *kept;   /* owned: the same as they may be kept */
    enum { ITEM_NONE, ITEM_REASONING, ITEM_MESSAGE } open;
    char item_id[OPENAI_ID]; /* of the open one */
    struct buf text;         /* of the open one */
    struct buf kept_text;    /* apart: the same as it may be kept */
    bool apart;              /* what may be kept is another text (ask_kept) */
    json_t *text_logprobs;   /* owned: of the open one */
    int sequence;            /* number of the next event */
};

void responses_free(struct response *x);
void responses_on_event(void *ctx, const struct gen_event *ev);

/* Items as they are kept, new: texts that a model gets as one are one, so that what is found in the
 * one is found in the other (ask_pii.c).  NULL: out of memory. */
json_t *responses_kept(const json_t *items);
/* Items (as clients send them, or kept ones) are added to gen's "messages", which exist. */
int responses_messages(json_t *items, json_t *gen, struct fault *f);
