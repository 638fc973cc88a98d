/* The parameters of a model (PARAMETER, the layer "params"): which there are and of what type;
 * their JSON as Ollama writes it. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

enum param_kind {
    PARAM_INTEGER,
    PARAM_NUMBER,
    PARAM_BOOLEAN,
    PARAM_TEXTS, /* each mention adds one */
};

enum param_use {
    PARAM_USED,
    PARAM_IDLE, /* kept for other programs; means nothing here */
    PARAM_OLD,  /* nobody honours it any more: warned about and left out */
};

struct param {
    const char *name;
    enum param_kind kind;
    enum param_use use;
};

/* NULL: not known. */
const struct param *param_find(const char *name);
/* Append " name name ..." of those that are used or idle. */
void param_list(struct buf *out);

/* Set name in o, a JSON object, from a value's text; a text of PARAM_TEXTS is added to those that o
 * has.  ERR_USAGE: not known (lists the known), of another type ("option "top_k" must be of type
 * integer").  An old one does nothing: look at param_find first. */
int param_set(json_t *o, const char *name, const char *value, struct err *e);

/* Append o, or an array, as Ollama's server encodes JSON: keys of an object that is `sorted` in
 * order, no blanks, <, > and & escaped, numbers as short as they can be, a line feed at the end. */
int param_encode(const json_t *o, bool sorted, struct buf *out, struct err *e);

/* Append the value of a number, boolean or text as PARAMETER has it; false for anything else. */
bool param_text(const json_t *v, struct buf *out);

/* Called for each parameter of o (may be NULL), for one of several values for each value, as text.
 */
typedef void param_fn(void *ctx, const char *name, const char *value);
void param_each(const json_t *o, param_fn *fn, void *ctx);
/* Append the parameters as "name value" lines, as Ollama shows them. */
void param_lines(const json_t *o, struct buf *out);
