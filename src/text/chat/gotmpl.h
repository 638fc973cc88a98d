/* TEMPLATEs of Modelfiles: Go's text/template with Ollama's functions and data.
 *
 *   gotmpl_new(text) -> gotmpl_render(messages, tools...) -> a prompt that remembers what of it the
 *   template wrote
 *
 * A template is code from a stranger: it reaches nothing but the data it is given, and its steps,
 * depth, memory, output and time are bounded (gotmpl_priv.h).  Messages begin "template: line N: ".
 * Source: pkg.go.dev/text/template (Go 1.19), Ollama's template package. */
#pragma once

#include <jansson.h>

#include "text/chat/chat.h"

struct gotmpl; /* immutable: use from any thread */

/* Parse; copies the text.  NULL with ERR_FORMAT for what is no template, ERR_LIMIT for what is
 * larger or nested deeper than accepted. */
struct gotmpl *gotmpl_new(struct str source, struct err *e);
void gotmpl_free(struct gotmpl *t);

struct gotmpl_input {
    /* Arrays as in the API ("role", "content", "tool_calls"...; Go's names, "Role", work too);
     * NULL or null: none.  Borrowed. */
    const json_t *messages, *tools;
    struct str prompt, suffix; /* both: a text with a hole; no messages then */
    bool think, think_set;
    struct str think_level;
    int64_t now_s; /* local time as seconds since 1970; 0: the clock */
    bool once;     /* run it over all data once, whatever form it has */
};

/* Append to out.  Adjacent messages of one role are merged.  ERR_FORMAT for what Go refuses at run
 * time, ERR_LIMIT when a bound is reached. */
int gotmpl_render(const struct gotmpl *t, const struct gotmpl_input *in, struct chat_prompt *out,
                  struct err *e);
