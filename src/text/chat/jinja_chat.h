/* Conversations through a Jinja template. */
#pragma once

#include "text/chat/chat.h"

struct jinja;

/* Render as chat_render does; roles are known ones. */
int jinja_chat_render(const struct jinja *t, const struct chat_input *in, struct chat_prompt *out,
                      struct err *e);
