/* Named TEMPLATEs: which of a fixed set a file's Jinja chat template is, as Ollama finds it: the
 * one of the nearest known text by edit distance (Levenshtein, in characters), when fewer than 100
 * edits lie between.  `create` puts its TEMPLATE and stop texts into the model, where a user sees
 * and edits them and where a store that is shared with Ollama needs them.  COMPAT.md 4.6.
 *
 * The file's Jinja still writes the prompts of such a model: it is what the model was trained with,
 * to the last blank, and may know tools. */
#pragma once

#include "base/str.h"

struct chat_named {
    const char *name;
    const char *text;   /* Go text/template, our own words */
    const char *params; /* a JSON object */
};

/* NULL: none is near.  Takes at most some 2 ms, whatever the text. */
const struct chat_named *chat_named_find(struct str jinja);

/* Is this TEMPLATE what chat_named_find gives for this Jinja? */
bool chat_named_stands_for(struct str text, struct str jinja);

/* The known texts, and the names that they stand for (named_data.c); ends with a NULL name. */
struct chat_known {
    const char *name, *jinja;
};
extern const struct chat_known chat_known[];
