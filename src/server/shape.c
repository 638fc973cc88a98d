/* See shape.h: one pass over the object, one over the table. */
#include "server/shape.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *f, enum err_code code, const char *param, const char *fmt, ...) {
    va_list ap;
    struct err e = {0};
    va_start(ap, fmt);
    err_vset(&e, code, fmt, ap);
    va_end(ap);
    if (*param)
        err_set(&f->err, code, "%s: %s", param, e.msg);
    else
        f->err = e;
    shape_path(f->param, "%s", param);
    return -1;
}

void shape_path(char out[SHAPE_PATH], const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out, SHAPE_PATH, fmt, ap);
    va_end(ap);
}

int fault_nomem(struct fault *f) {
    f->param[0] = 0;
    return err_nomem(&f->err, "request");
}

const char *shape_kind(const json_t *v) {
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

json_int_t shape_integer(const json_t *v) {
    return json_is_integer(v) ? json_integer_value(v) : (json_int_t)json_number_value(v);
}

bool shape_true(const json_t *j, const char *key) {
    return json_is_true(json_object_get(j, key));
}

const char *shape_text(const json_t *j, const char *key) {
    return json_string_value(json_object_get(j, key));
}

bool shape_among(const char *word, const char *list) {
    const size_t n = strlen(word);
    if (n == 0 || strchr(word, ' ')) return false;
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ')) return true;
    return false;
}

static bool is_whole(const json_t *v) {
    const double x = json_number_value(v);
    return json_is_integer(v) || (json_is_real(v) && x == floor(x) && fabs(x) < 9e15);
}

static bool has_type(const json_t *v, unsigned types) {
    return ((types & SHAPE_TEXT) && json_is_string(v)) ||
           ((types & SHAPE_BOOL) && json_is_boolean(v)) || ((types & SHAPE_INT) && is_whole(v)) ||
           ((types & SHAPE_NUMBER) && json_is_number(v)) ||
           ((types & SHAPE_ARRAY) && json_is_array(v)) ||
           ((types & SHAPE_OBJECT) && json_is_object(v));
}

/* "a string or an array" */
static void type_words(unsigned types, char *out, size_t n) {
    static const char *const word[] = {"a string", "a boolean", "an integer",
                                       "a number", "an array",  "an object"};
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < 6; i++)
        if ((types >> i & 1) && at < n)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? " or " : "", word[i]);
}

static int check_value(const json_t *v, const char *param, const struct shape *d, struct fault *f) {
    char types[96];
    if (d->types == 0)
        return fault_set(f, ERR_UNSUPPORTED, param, "%s",
                         d->refusal ? d->refusal : "not supported here");
    type_words(d->types, types, sizeof types);
    if (!has_type(v, d->types))
        return fault_set(f, ERR_USAGE, param, "found %s; %s is accepted", shape_kind(v), types);
    const double x = json_number_value(v);
    if (json_is_number(v) && (d->min != 0 || d->max != 0) && !(x >= d->min && x <= d->max))
        return fault_set(f, ERR_USAGE, param, "found %.17g; %.17g to %.17g is accepted", x, d->min,
                         d->max);
    if (json_is_string(v) && d->one_of && !shape_among(json_string_value(v), d->one_of))
        return fault_set(f, ERR_USAGE, param, "found \"%.60s\"; accepted: %s", json_string_value(v),
                         d->one_of);
    return 0;
}

static const struct shape *find(const struct shape *table, const char *name) {
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0) return table;
    return NULL;
}

int shape_check(json_t *j, const char *where, const struct shape *table, struct fault *f) {
    const char *key;
    void *next;
    json_t *v;
    char param[SHAPE_PATH];
    json_object_foreach_safe(j, next, key, v) {
        const struct shape *d = find(table, key);
        shape_path(param, "%s%.60s", where, key);
        if (!d) return fault_set(f, ERR_USAGE, param, "this field is not known here");
        if (json_is_null(v))
            json_object_del(j, key);
        else if (check_value(v, param, d, f) != 0)
            return -1;
    }
    for (const struct shape *d = table; d->name; d++) {
        if (!d->required || json_object_get(j, d->name)) continue;
        shape_path(f->param, "%s%s", where, d->name);
        return err_set(&f->err, ERR_USAGE, "%s is required", f->param);
    }
    return 0;
}
