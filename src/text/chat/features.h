/* What a template's text knows: which fields of a message and which variables it reads.  Found by
 * looking at its words, so that a conversation is given to it in the form that it was written for,
 * and what it would pass over in silence can be refused. */
#pragma once

#include "base/str.h"

struct chat_features {
    bool tools; /* shows them to the model */
    bool calls; /* shows earlier calls of them */
    bool documents;
    bool prefix_gap;      /* Go: prompt and suffix */
    bool enable_thinking; /* Jinja: variables by which thinking is switched */
    bool thinking_var, effort;
    bool thinking_field; /* thoughts of earlier turns are read: Go, or Jinja by these names */
    bool key_reasoning_content, key_thinking, key_reasoning;
    bool thinking_chunk; /* contents may be lists with chunks of type thinking */
    bool short_ids;      /* ids of calls have nine letters or digits */
    bool one_of_both;    /* gpt-oss: text or thoughts before a call, not both */
};

/* Name occurs in a Jinja template as a variable (a word of its code with no dot before it). */
bool jinja_reads_variable(struct str source, const char *name);
/* ... as a field (.name), or in quotes as a key. */
bool jinja_reads_field(struct str source, const char *name);

struct chat_features jinja_features(struct str source);
struct chat_features go_features(struct str source);
