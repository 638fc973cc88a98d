/* From words to tokens: a conversation through the model's own template, or a text as it is. */
#pragma once

#include "engine/engine.h"

/* Append the tokens of a conversation, ending where the assistant begins.  ERR_UNSUPPORTED when the
 * file has no chat template, one that is not known, or one that refuses this conversation. */
int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct ids *out,
                struct err *e);

/* Append the tokens of a prompt that is trusted: special tokens parsed, begin and end tokens by the
 * model's rules; a begin token that the text already has is not doubled. */
int prompt_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e);
