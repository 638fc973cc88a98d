/* From words to tokens: a conversation through the model's own template, or a text as it is. */
#pragma once

#include "engine/engine.h"
#include "engine/gen_request.h"
#include "text/chat/chat.h"

/* Append the tokens of a conversation of plain texts, ending where the assistant begins.
 * ERR_UNSUPPORTED when the file has no chat template, one that is not known, or one that refuses
 * this conversation. */
int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct ids *out,
                struct err *e);

/* What a request GEN_OP_CHAT, GEN_OP_RENDER or GEN_OP_TEXT (not raw) gives to a template.  in
 * borrows from q and g; *made (json_decref it, may become NULL) holds what had to be built, and
 * must live as long as in. */
int prompt_input(const struct engine *g, const struct gen_request *q, struct chat_input *in,
                 json_t **made, struct err *e);

/* Render and append the tokens; *p, all-zero, keeps the text and in_thinking: chat_prompt_fini it.
 * t NULL: the model's own template; one that has none gets the texts as they are, as in Ollama.  A
 * prompt with a gap gets the vocabulary's marks where the template has no place for it. */
int prompt_render(const struct engine *g, const struct chat_template *t,
                  const struct chat_input *in, struct chat_prompt *p, struct ids *out,
                  struct err *e);

/* What requests may ask of this model with its own template.  A model whose vocabulary has the
 * marks of gaps fills them in without a template's help. */
struct chat_caps prompt_caps(const struct engine *g);

/* Append the tokens of a prompt that is trusted: special tokens parsed, begin and end tokens by the
 * model's rules; a begin token that the text already has is not doubled. */
int prompt_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e);
