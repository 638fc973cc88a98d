/* JSON schema (draft 2020-12; what a grammar can enforce) to GBNF. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Append the grammar of the instances of a schema to out: compact or with blanks, keys of an
 * object in the schema's order, further keys behind them.  ERR_UNSUPPORTED names a keyword that
 * cannot be enforced; ERR_LIMIT: nested deeper than 128, or more than 4 MiB of grammar. */
int schema_to_gbnf(const json_t *schema, struct buf *out, struct err *e);

/* Several schemas in one grammar: first the rules that all share (ws, string, value...), then each
 * schema; returns r, "r%d" being the name of its rule, or -1.  *n_rule counts the rules of this
 * form, 0 at first. */
void schema_parts_begin(struct buf *out);
int schema_part_to_gbnf(const json_t *schema, int *n_rule, struct buf *out, struct err *e);

/* The grammar of any JSON object or array ("json" as a format), blanks bounded. */
void json_to_gbnf(struct buf *out);

/* The grammar of the texts that a regular expression (ECMA 262) matches as a whole, with or without
 * ^ and $.  ERR_UNSUPPORTED names what has no grammar. */
int regex_to_gbnf(struct str regex, struct buf *out, struct err *e);
