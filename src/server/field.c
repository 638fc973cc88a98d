/* See field.h: one pass over the object, one over the table. */
#include "server/field.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/work.h"

/* ---- faults ---- */

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
    return err_field(&f->err, "%s", param);
}

int fault_nomem(struct fault *f) {
    return err_nomem(&f->err, "request");
}

void field_path(char out[FIELD_PATH], const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out, FIELD_PATH, fmt, ap);
    va_end(ap);
}

/* ---- values ---- */

json_t *field_get(const json_t *o, const char *name) {
    json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

const char *field_text(const json_t *o, const char *name) {
    return json_string_value(json_object_get(o, name));
}

bool field_true(const json_t *o, const char *name) {
    return json_is_true(json_object_get(o, name));
}

bool field_bool(const json_t *o, const char *name, bool usual) {
    const json_t *v = field_get(o, name);
    return v ? json_is_true(v) : usual;
}

json_int_t field_integer(const json_t *v) {
    return json_is_integer(v) ? json_integer_value(v) : (json_int_t)json_number_value(v);
}

json_int_t field_int(const json_t *o, const char *name, json_int_t usual) {
    const json_t *v = field_get(o, name);
    return v ? field_integer(v) : usual;
}

const char *field_kind(const json_t *v) {
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

bool field_among(const char *word, const char *list) {
    const size_t n = strlen(word);
    if (n == 0 || strchr(word, ' ')) return false;
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ')) return true;
    return false;
}

void field_copy(json_t *to, const json_t *from, const char *name) {
    json_t *v = field_get(from, name);
    if (v) json_object_set(to, name, v);
}

/* ---- the words of an API ---- */

/* In Ollama's API: "messages[0]: " and then the sentence, without a path before it. */
__attribute__((format(printf, 4, 5))) static int
native_fault(struct fault *f, const char *where, const char *name, const char *fmt, ...) {
    char at[FIELD_PATH];
    va_list ap;
    va_start(ap, fmt);
    err_vset(&f->err, ERR_USAGE, fmt, ap);
    va_end(ap);
    field_path(at, "%.*s", *where ? (int)strlen(where) - 1 : 0, where);
    if (*at) err_prefix(&f->err, at);
    return err_field(&f->err, "%s%.60s", where, name);
}

/* "a string or an array", or in Ollama's words "string or array". */
static void type_words(const struct field *d, bool article, char *out, size_t n) {
    static const char *const word[] = {"a string", "a boolean", "an integer",
                                       "a number", "an array",  "an object"};
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < 6; i++)
        if ((d->types >> i & 1) && at < n)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? " or " : "",
                                   article ? word[i] : strchr(word[i], ' ') + 1);
}

static int say_type(const struct field *d, const json_t *v, const char *where, struct fault *f) {
    const bool native = f->dialect == DIALECT_OLLAMA;
    char types[96], path[FIELD_PATH];
    type_words(d, !native, types, sizeof types);
    if (native) return native_fault(f, where, d->name, "\"%s\" must be of type %s", d->name, types);
    field_path(path, "%s%s", where, d->name);
    return fault_set(f, ERR_USAGE, path, "found %s; %s is accepted", field_kind(v), types);
}

static int say_range(const struct field *d, double x, const char *where, struct fault *f) {
    char path[FIELD_PATH];
    if (f->dialect == DIALECT_OLLAMA)
        return native_fault(f, where, d->name, "%s must be between %.17g and %.17g", d->name,
                            d->min, d->max);
    field_path(path, "%s%s", where, d->name);
    return fault_set(f, ERR_USAGE, path, "found %.17g; %.17g to %.17g is accepted", x, d->min,
                     d->max);
}

static int say_word(const struct field *d, const char *word, const char *where, struct fault *f) {
    char path[FIELD_PATH];
    field_path(path, "%s%s", where, d->name);
    return fault_set(f, ERR_USAGE, path, "found \"%.60s\"; accepted: %s", word, d->one_of);
}

static int say_missing(const struct field *d, const char *where, struct fault *f) {
    err_set(&f->err, ERR_USAGE, "%s%s is required", where, d->name);
    return err_field(&f->err, "%s%s", where, d->name);
}

static int say_refused(const struct field *d, const char *where, struct fault *f) {
    char path[FIELD_PATH];
    field_path(path, "%s%s", where, d->name);
    return fault_set(f, ERR_UNSUPPORTED, path, "%s",
                     d->refusal ? d->refusal : "not supported here");
}

/* A name from outside becomes part of a header: nothing but what names are made of. */
static void add_ignored(struct fault *f, const char *where, const char *name) {
    char one[FIELD_PATH];
    const size_t n = strlen(f->ignored);
    field_path(one, "%s%.40s", where, name);
    for (char *c = one; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_-.[]", *c)) *c = '?';
    if (n + strlen(one) + 3 < sizeof f->ignored)
        snprintf(f->ignored + n, sizeof f->ignored - n, "%s%s", n ? ", " : "", one);
}

static int say_unknown(const struct field *table, const char *name, const char *where,
                       struct fault *f) {
    char path[FIELD_PATH];
    while (table->name)
        table++;
    if (f->dialect == DIALECT_OLLAMA && !table->refusal) {
        add_ignored(f, where, name);
        return 0;
    }
    field_path(path, "%s%.60s", where, name);
    return fault_set(f, ERR_USAGE, path, "%s",
                     table->refusal ? table->refusal : "this field is not known here");
}

/* ---- the check ---- */

static bool is_whole(const json_t *v) {
    const double x = json_number_value(v);
    return json_is_integer(v) || (json_is_real(v) && x == floor(x) && fabs(x) < 9e15);
}

static bool has_type(const json_t *v, unsigned types) {
    return ((types & FIELD_TEXT) && json_is_string(v)) ||
           ((types & FIELD_BOOL) && json_is_boolean(v)) || ((types & FIELD_INT) && is_whole(v)) ||
           ((types & FIELD_NUMBER) && json_is_number(v)) ||
           ((types & FIELD_ARRAY) && json_is_array(v)) ||
           ((types & FIELD_OBJECT) && json_is_object(v));
}

static int check_value(const json_t *v, const char *where, const struct field *d, struct fault *f) {
    if (d->types == 0) return say_refused(d, where, f);
    if (d->apart) return 0;
    if (!has_type(v, d->types)) return say_type(d, v, where, f);
    const double x = json_number_value(v);
    if (json_is_number(v) && (d->min != 0 || d->max != 0) && !(x >= d->min && x <= d->max))
        return say_range(d, x, where, f);
    if (json_is_string(v) && d->one_of && !field_among(json_string_value(v), d->one_of))
        return say_word(d, json_string_value(v), where, f);
    return 0;
}

static const struct field *find(const struct field *table, const char *name) {
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0) return table;
    return NULL;
}

static bool is_other_name(const struct field *table, const char *name) {
    for (; table->name; table++)
        if (table->also && strcmp(table->also, name) == 0) return true;
    return false;
}

/* A client that knows both names may leave one of them empty. */
static int rename_other(json_t *o, const char *where, const struct field *d, struct fault *f) {
    json_t *other = d->also ? field_get(o, d->also) : NULL;
    const json_t *own = field_get(o, d->name);
    int rc = 0;
    if (other && (!own || (json_is_string(own) && json_string_length(own) == 0))) {
        rc = check_value(other, where, d, f);
        if (rc == 0 && json_object_set(o, d->name, other) != 0) rc = fault_nomem(f);
    }
    if (d->also) json_object_del(o, d->also);
    return rc;
}

int field_check(json_t *o, const char *where, const struct field *table, struct fault *f) {
    const char *name;
    void *next;
    json_t *v;
    if (work_stopped()) return work_given_up(&f->err);
    json_object_foreach_safe(o, next, name, v) {
        const struct field *d = find(table, name);
        if (!d && is_other_name(table, name)) continue;
        if (!d && say_unknown(table, name, where, f) != 0) return -1;
        if (!d) continue;
        if (json_is_null(v))
            json_object_del(o, name);
        else if (check_value(v, where, d, f) != 0)
            return -1;
    }
    for (const struct field *d = table; d->name; d++) {
        if (rename_other(o, where, d, f) != 0) return -1;
        if (d->required && !json_object_get(o, d->name)) return say_missing(d, where, f);
    }
    return 0;
}
