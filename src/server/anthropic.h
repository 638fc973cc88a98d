/* What the files of the Anthropic dialect share.
 *
 *   api_anthropic.c       routes, the fields of a request
 *   anthropic_messages.c  content blocks -> messages of engine/gen.h
 *   anthropic_answer.c    events -> a message, or the events of a stream */
#pragma once

#include "server/openai.h"

/* A message on its way; freed by anthropic_on_event at GEN_END. */
struct message {
    struct request *r;
    struct gather g;
    char id[OPENAI_ID];
    char *model;         /* owned: as the client wrote it, or the one that answers instead */
    const json_t *stops; /* borrowed from r: the client's stop_sequences, or NULL */
    json_t *think;       /* owned: gen's, if the model can; or NULL */
    bool stream;
    bool omit;  /* blocks of thinking stay empty */
    bool edits; /* edits of the context were asked for */
    /* ---- of the stream ---- */
    enum { BLOCK_NONE, BLOCK_TEXT, BLOCK_THINKING } open; /* the block that deltas go to */
    int n_block;
};

void anthropic_free(struct message *m);
void anthropic_on_event(void *ctx, const struct gen_event *ev);
/* Why it failed, as a reply or the end of a stream; ends.  Clients know a prompt that does not fit
 * by the words "prompt is too long". */
void anthropic_fail(struct request *r, const struct err *e);

/* "messages" of gen, from the system text (a text or blocks, or NULL) and messages. */
int anthropic_messages(const json_t *system, json_t *messages, json_t *gen, struct fault *f);
