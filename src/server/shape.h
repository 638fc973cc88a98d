/* The fields of a request, checked against a table before anything looks at them: each is known,
 * has its type and range, or the request is refused by name.  Nothing is dropped.
 *
 * The OpenAI and Anthropic dialects share this; a fault says which field was wrong, as OpenAI's
 * errors do ("param"). */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

enum field_type {
    SHAPE_TEXT = 1,
    SHAPE_BOOL = 2,
    SHAPE_INT = 4, /* also 3.0, as some languages write it */
    SHAPE_NUMBER = 8,
    SHAPE_ARRAY = 16,
    SHAPE_OBJECT = 32,
    SHAPE_ANY = 63,
};

struct shape {
    const char *name;
    unsigned types;      /* of enum field_type; 0: the field is refused */
    double min, max;     /* of numbers; both 0: any */
    const char *one_of;  /* of texts: "a b c"; NULL: any */
    const char *refusal; /* why a field without types is refused: "...; use tools" */
    bool required;
};

enum { SHAPE_PATH = 160 }; /* of a field's path; a longer one is cut */

/* What is wrong with a request, and in which field. */
struct fault {
    struct err err;
    char param[SHAPE_PATH]; /* "messages[2].content"; empty: not known */
};

/* Set *f and return -1.  The message becomes "PARAM: ...". */
__attribute__((format(printf, 4, 5))) int fault_set(struct fault *f, enum err_code code,
                                                    const char *param, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void shape_path(char out[SHAPE_PATH], const char *fmt, ...);
int fault_nomem(struct fault *f);

/* Every key of object j is in the table (ends with a NULL name), has its type and range; what is
 * required is there.  null counts as absent and is removed from j.  where: the path of j with its
 * dot, "" for the request itself ("tools[0]."). */
int shape_check(json_t *j, const char *where, const struct shape *table, struct fault *f);

/* For values inside of j: the text of key, which must be there (-1: SHAPE_TEXT needed). */
const char *shape_text(const json_t *j, const char *key);
/* "a boolean", "an array"... */
const char *shape_kind(const json_t *v);
/* v, a number, as an integer. */
json_int_t shape_integer(const json_t *v);
bool shape_true(const json_t *j, const char *key);
/* The word is in a list of words with single blanks. */
bool shape_among(const char *word, const char *list);
