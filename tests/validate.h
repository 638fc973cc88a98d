/* A JSON Schema validator (draft 2020-12) that shares nothing with src/text/grammar: it reads
 * values, not texts, and patterns with PCRE2.  For tests: an unknown keyword or format fails the
 * test. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* Whether v is valid; *why (may be NULL) is the keyword that refused it, for messages. */
bool schema_valid(const json_t *root, const json_t *schema, const json_t *v, const char **why);

/* Whether the pattern finds something in the text. */
bool regex_finds(const char *pattern, const char *text);
