/* Jinja2, as chat templates use it: parsed once, rendered for every conversation.  The set-up is
 * that of Hugging Face transformers: trim_blocks, lstrip_blocks, an immutable sandbox, break and
 * continue, {% generation %} transparent, tojson as Python's json.dumps.
 *
 *   source -> jinja_lex.c -> jinja_parse.c, jinja_expr.c -> tree -> jinja_exec.c, jinja_eval.c
 *
 * A template is a stranger's program (SECURITY.md F14): it reaches nothing but its variables, and
 * ends with an error that names the line when it spends more than its steps, depth, memory, output
 * or time. */
#pragma once

#include <jansson.h>

#include "text/chat/chat.h"

struct jinja; /* immutable: use from any thread */

/* Parse; borrows nothing.  name begins messages.  NULL with ERR_FORMAT ("name: line 3: ...") or
 * ERR_LIMIT. */
struct jinja *jinja_new(const char *name, struct str source, struct err *e);
void jinja_free(struct jinja *t);

/* Zero values are the defaults. */
struct jinja_opts {
    int64_t now_s;  /* local time as seconds since 1970, for strftime_now; 0: the clock */
    long max_steps; /* 1,000,000 */
    size_t max_out; /* 16 MiB of output, and of any one string */
    size_t max_mem; /* 256 MiB of values */
    int max_cpu_ms; /* 250 */
    const char *const *trusted; /* NULL-terminated names of variables whose text may hold control
                                 * tokens (bos_token...); the text of all others is quoted */
};

/* Render into an empty prompt.  vars: an object, borrowed.  ERR_UNSUPPORTED when the template
 * refuses (raise_exception), ERR_FORMAT when it fails, ERR_LIMIT when it spends too much. */
int jinja_render(const struct jinja *t, const json_t *vars, const struct jinja_opts *o,
                 struct chat_prompt *out, struct err *e);
