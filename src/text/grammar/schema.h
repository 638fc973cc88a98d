/* JSON schema (draft 2020-12; what a grammar can enforce) to GBNF. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Append the grammar of the instances of a schema to out: compact or with blanks, keys of an
 * object in the schema's order, further keys behind them.  What the grammar accepts is valid; not
 * all that is valid is accepted (other orders of keys, 1.0 as an integer, integers beyond 18
 * digits, bounded numbers with an exponent, escapes that say a letter in another way).
 *
 * Without a type the keywords say which one is meant.  Enforced beside the usual: bounds and
 * multipleOf (up to 2000 steps) of numbers, patterns together with lengths, formats and each other,
 * oneOf where the branches are seen to exclude each other, prefixItems, contains and minContains,
 * uniqueItems of up to 8 constants, patternProperties, propertyNames, minProperties where names or
 * one further key reach it, maxProperties, dependentRequired, unevaluatedProperties and -Items
 * where nothing is left to evaluate but what allOf and $ref bring in.
 *
 * ERR_UNSUPPORTED names what cannot be enforced (not, if, dependentSchemas, maxContains,
 * $dynamicRef, unknown keywords and formats) or says that no value is valid; ERR_LIMIT: nested
 * deeper than 128, more than 4 MiB of grammar, languages of too many states. */
int schema_to_gbnf(const json_t *schema, struct buf *out, struct err *e);

/* Several schemas in one grammar: first the rules that all share (ws, string, value...), then each
 * schema; returns r, "r%d" being the name of its rule, or -1.  *n_rule counts the rules of this
 * form, 0 at first. */
void schema_parts_begin(struct buf *out);
int schema_part_to_gbnf(const json_t *schema, int *n_rule, struct buf *out, struct err *e);

/* The grammar of any JSON object ("json" as a format), blanks bounded. */
void json_to_gbnf(struct buf *out);

/* The grammar of the texts that a regular expression (ECMA 262) matches as a whole, with or without
 * ^ and $.  ERR_UNSUPPORTED names what has no grammar. */
int regex_to_gbnf(struct str regex, struct buf *out, struct err *e);
