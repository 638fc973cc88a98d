/* The fields of a request: one table for each object that a client may send, checked before
 * anything looks at them.  A field has its type and range and is there when it must be, or the
 * request is refused by name, in the words of its API.
 *
 * What no table knows: Ollama's API ignores it, and says so (fault.ignored); the others refuse it.
 * Where a table says `refusal`, the field is known and this server cannot do it: never dropped
 * (DESIGN.md 1).
 *
 * Route tables (route.h) name the table of their body; docs/openapi.yaml is held against them by
 * tests/test_fields.c, which makes its wrong requests from them, too. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "server/request.h"

enum field_type {
    FIELD_TEXT = 1,
    FIELD_BOOL = 2,
    FIELD_INT = 4, /* also 3.0, as some languages write it */
    FIELD_NUMBER = 8,
    FIELD_ARRAY = 16,
    FIELD_OBJECT = 32,
    FIELD_ANY = 63,
};

struct field {
    const char *name;
    unsigned types;      /* of enum field_type; 0: the field is refused */
    double min, max;     /* of numbers; both 0: any */
    const char *one_of;  /* of texts: "a b c"; NULL: any */
    const char *refusal; /* why a field without types is refused: "...; use tools" */
    const char *also;    /* another name that clients use for it; NULL: none */
    bool required;
    bool apart; /* other types are refused by its reader, in words of its own */
};

enum { FIELD_PATH = ERR_FIELD }; /* of a field's path; a longer one is cut */

/* What is wrong with a request, and in which field: err.field, "messages[2].content". */
struct fault {
    struct err err;
    enum dialect dialect;     /* whose rules and words; the zero value is Ollama's */
    char ignored[FIELD_PATH]; /* names that were not known: "colour, size"; "": none */
};

/* Set *f and return -1.  The message becomes "PARAM: ...". */
__attribute__((format(printf, 4, 5))) int fault_set(struct fault *f, enum err_code code,
                                                    const char *param, const char *fmt, ...);
int fault_nomem(struct fault *f);
__attribute__((format(printf, 2, 3))) void field_path(char out[FIELD_PATH], const char *fmt, ...);

/* Hold object o against the table, which ends with a NULL name; where that row has a refusal, names
 * that are not known are refused with it in every dialect.  Null counts as absent and is
 * removed from o; a field that came under its other name gets its own.  where: the path of o with
 * its dot, "" for the request itself ("tools[0]."). */
int field_check(json_t *o, const char *where, const struct field *table, struct fault *f);

/* ---- values; borrowed ---- */

/* Absent or null: NULL, the default. */
json_t *field_get(const json_t *o, const char *name);
const char *field_text(const json_t *o, const char *name);
bool field_true(const json_t *o, const char *name);
bool field_bool(const json_t *o, const char *name, bool usual);
json_int_t field_int(const json_t *o, const char *name, json_int_t usual);
/* v, a number, as an integer. */
json_int_t field_integer(const json_t *v);
/* "a boolean", "an array"... */
const char *field_kind(const json_t *v);
/* The word is in a list of words with single blanks. */
bool field_among(const char *word, const char *list);

/* The same value, to be set or appended elsewhere, too: only its count of references changes. */
static inline json_t *field_share(const json_t *v) {
    return (json_t *)(uintptr_t)v;
}

/* Set the field in `to` as it is in `from`, unless it is absent there. */
void field_copy(json_t *to, const json_t *from, const char *name);
