/* Conversations through a Go template, a Modelfile's TEMPLATE. */
#pragma once

#include "text/chat/chat.h"

struct gotmpl;

/* Render as chat_render does; roles are known ones. */
int gotmpl_chat_render(const struct gotmpl *t, const struct chat_input *in, struct chat_prompt *out,
                       struct err *e);
