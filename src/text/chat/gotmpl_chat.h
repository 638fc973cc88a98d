/* Conversations through a Go template, a Modelfile's TEMPLATE. */
#pragma once

#include "text/chat/chat.h"

struct gotmpl;

/* Render in->messages, or in->prompt and in->suffix, as chat_render does; they have been checked.
 */
int gotmpl_chat_render(const struct gotmpl *t, const struct chat_input *in, struct chat_prompt *out,
                       struct err *e);
