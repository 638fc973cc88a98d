/* Built-in chat templates: the families that most files use, in C, for conversations of plain
 * texts. */
#pragma once

#include "text/chat/chat.h"

struct builtin; /* immutable */

/* The family that renders this template's text exactly; NULL: none does (or memory is out). */
struct builtin *builtin_new(struct str source);
void builtin_free(struct builtin *t);
const char *builtin_name(const struct builtin *t); /* "llama3", "chatml"... */

/* in: message, n; roles are system, user or assistant, and nothing is asked for but texts and
 * `thinking`. */
int builtin_render(const struct builtin *t, const struct chat_input *in, struct chat_prompt *p,
                   struct err *e);
