/* Fields of a request's JSON object: checked once against a table, read without surprise after
 * that. Null is as if absent.  A field that nobody knows is an error: what is sent takes effect or
 * is refused, it is never dropped (DESIGN.md 1). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum field_type {
    FIELD_BOOL,
    FIELD_INT,
    FIELD_TEXT,
    FIELD_OBJECT,
    FIELD_ARRAY,
    FIELD_ANY,     /* its reader checks it */
    FIELD_IGNORED, /* any value; means nothing any more */
};

struct field {
    const char *name; /* NULL ends a table */
    enum field_type type;
};

/* ERR_USAGE: the first field that is not in the table (with those that are) or of another type. */
int field_check(const json_t *o, const struct field *table, struct err *e);

/* Borrowed; absent or null: NULL, the default. */
json_t *field_get(const json_t *o, const char *name);
const char *field_text(const json_t *o, const char *name);
bool field_bool(const json_t *o, const char *name, bool usual);
json_int_t field_int(const json_t *o, const char *name, json_int_t usual);

/* The same value, to be set or appended elsewhere, too: only its count of references changes. */
static inline json_t *field_share(const json_t *v) {
    return (json_t *)(uintptr_t)v;
}

/* Set the field in `to` as it is in `from`, unless it is absent there. */
void field_copy(json_t *to, const json_t *from, const char *name);
