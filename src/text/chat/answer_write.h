/* How families write calls: for the grammar of forced ones, and for earlier ones in a conversation
 * whose template does not write them. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "text/chat/answer_style.h"

/* FIRST call JOIN call LAST; a call is BEFORE name MID arguments AFTER, or, where mid is NULL,
 * BEFORE {"name": name, "arguments": arguments} AFTER. */
struct call_writing {
    const char *style, *first, *before, *mid, *after, *join, *last;
};

/* How a parameter is written: around its key and its value, what stands between two, and the mark
 * around texts (NULL: texts are plain, up to the next '<'). */
struct param_form {
    const char *before, *mid, *after, *join, *quote;
    bool json_texts;
};

/* NULL: calls of this style are read, but not written. */
const struct call_writing *answer_writing_of(const char *style);
/* Arguments are one JSON object; else they are parameters of this form. */
bool answer_args_are_json(const struct answer_style *s);
struct param_form answer_param_form(const struct answer_style *s);

/* Append the text of calls [{"function": {"name", "arguments"}}]; false: the style writes none. */
bool answer_write_calls(const struct answer_style *s, const json_t *calls, struct buf *out);
