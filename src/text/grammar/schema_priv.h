/* What the files of the schema translation share: jsonschema.c (conditions that hold together,
 * choices, constants, types), schema_scalar.c, schema_array.c, schema_object.c, schema_oneof.c.
 *
 * The unit is not a schema but the list of those that one value must meet (allOf, $ref and what
 * stands beside them): each keyword is read over the whole list, and nothing is ever merged into a
 * new schema. A value that no text can be is IMPOSSIBLE rather than an error: a choice drops it, an
 * optional property never comes. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/grammar/lang.h"
#include "text/grammar/schema.h"
#include "text/grammar/schema_gen.h"

enum {
    SCHEMA_MAX_DEPTH = 128,
    SCHEMA_MAX_ALL = 24, /* schemas that one value must meet */
    SCHEMA_MAX_RULES = 1 << 16,
    SCHEMA_MAX_VALUES = 200000, /* JSON values in a schema */
    IMPOSSIBLE = -2,
};

enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8, /* that is no integer */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ANY = 127,
};

/* What has been seen to in a schema of the list. */
enum { USED_REFS = 1, USED_ANY_OF = 2, USED_ONE_OF = 4, USED_VALUES = 8 };

struct all {
    const json_t *s[SCHEMA_MAX_ALL];                    /* objects; borrowed */
    uint8_t used[SCHEMA_MAX_ALL], from[SCHEMA_MAX_ALL]; /* from: who brought it in, or itself */
    int n;
};

struct gen {
    const json_t *root;
    struct buf *out;
    int n_rule, depth;
    int64_t work;     /* of LANG_MAX_WORK */
    json_t *keep;     /* schemas made here; owned, NULL at first */
    struct all *memo; /* [n_memo] owned */
    int *memo_rule;
    int n_memo, cap_memo;
    int32_t *slot; /* hash table of memo, -1 is free */
    int n_slot;
    int format_rule[32]; /* of a format alone: the language's id + 1, 0: not made yet */
    struct err *e;
};

int schema_unsupported(struct gen *g,
                       const char *what); /* "schema: WHAT cannot be enforced here" */

/* -1 with ERR_LIMIT when that is too much. */
int schema_work(struct gen *g, size_t steps);

/* 0, IMPOSSIBLE or -1: let the list meet s, too. */
int all_add(struct gen *g, struct all *a, const json_t *s, int from);
/* The same for what its schemas refer to ($ref, allOf); refuses unknown keywords. */
int all_expand(struct gen *g, struct all *a);
/* Whether schema k is schema i or came in by it. */
bool all_within(const struct all *a, int k, int i);
/* The first schema that has the keyword and not `used`; -1. */
int all_find(const struct all *a, const char *key, unsigned used);
/* Types it leaves, of TYPE_*; `guess`: by the keywords where no type is said.  -1. */
int all_types(struct gen *g, const struct all *a, bool guess);
/* The largest (smallest) of a count over the list; `otherwise` when there is none. */
int all_count(struct gen *g, const struct all *a, const char *key, bool largest, int otherwise,
              int *out);
/* The values of enum and const that it leaves, a new reference; NULL with code 0: it has neither.
 */
json_t *all_values(struct gen *g, const struct all *a);

/* The rule of what meets all of the list: its number, IMPOSSIBLE or -1. */
int schema_emit(struct gen *g, const struct all *a);

/* Bodies: append the right side of a rule to b.  0, IMPOSSIBLE or -1. */
int schema_string(struct gen *g, struct buf *b, const struct all *a);
int schema_number(struct gen *g, struct buf *b, const struct all *a, bool integer);
int schema_array(struct gen *g, struct buf *b, const struct all *a);
int schema_object(struct gen *g, struct buf *b, const struct all *a);

/* A constant, blanks between its parts allowed. */
void schema_constant(struct buf *b, const json_t *v);

/* Whether no value meets both; false when that is not known.  -1. */
int schema_disjoint(struct gen *g, const struct all *a, const struct all *b, int depth);

/* Conditions on a text, with the grammars they need. */
struct parts {
    struct lang_part p[LANG_MAX_PARTS];
    struct grammar *own[LANG_MAX_PARTS];
    int n, n_own;
};
int parts_gbnf(struct gen *g, struct parts *x, struct str gbnf, bool not );
int parts_regex(struct gen *g, struct parts *x, const json_t *pattern, bool whole, bool not );
int parts_length(struct gen *g, struct parts *x, int lo, int hi);
/* Of the strings that meet the list: pattern, format, lengths. */
int parts_of_string(struct gen *g, struct parts *x, const struct all *a);
int parts_of_number(struct gen *g, struct parts *x, const struct all *a, bool integer);
void parts_fini(struct parts *x);
