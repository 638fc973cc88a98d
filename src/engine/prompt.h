/* From words to a prompt: the conversation through the model's own template, the text to tokens. */
#pragma once

#include "engine/engine.h"

struct chat_message {
    struct str role, content; /* "system", "user", "assistant" */
};

/* Append the prompt text of a conversation, ending where the assistant begins.  ERR_UNSUPPORTED
 * when the file has no chat template or one that is not known: the message says to use --raw. */
int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct buf *out,
                struct err *e);

/* Tokens of a prompt: special tokens parsed, begin and end tokens by the model's rules; a begin
 * token that the text already has is not doubled. */
int prompt_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e);
