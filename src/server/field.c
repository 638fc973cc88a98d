/* See field.h. */
#include "server/field.h"

#include <string.h>

#include "base/buf.h"
#include "store/params.h"

static const char *const type_name[] = {"boolean", "integer", "string", "object", "array"};

static bool is_type(const json_t *v, enum field_type t) {
    switch (t) {
    case FIELD_BOOL: return json_is_boolean(v);
    case FIELD_INT: return json_is_integer(v);
    case FIELD_TEXT: return json_is_string(v);
    case FIELD_OBJECT: return json_is_object(v);
    case FIELD_ARRAY: return json_is_array(v);
    case FIELD_ANY:
    case FIELD_IGNORED: break;
    }
    return true;
}

/* A common slip is worth a better answer: an option outside of "options". */
static int unknown(const char *name, const struct field *table, struct err *e) {
    struct buf known = {0};
    bool options = false;
    for (const struct field *f = table; f->name; f++) {
        options = options || strcmp(f->name, "options") == 0;
        if (f->type != FIELD_IGNORED) buf_printf(&known, " %s", f->name);
    }
    if (options && param_find(name))
        err_set(e, ERR_USAGE, "unknown field \"%s\"; it is accepted in \"options\"", name);
    else
        err_set(e, ERR_USAGE, "unknown field \"%.60s\"; accepted:%s", name, buf_view(&known).p);
    buf_fini(&known);
    return -1;
}

int field_check(const json_t *o, const struct field *table, struct err *e) {
    const char *name;
    json_t *v;
    json_object_foreach(field_share(o), name, v) {
        const struct field *f = table;
        while (f->name && strcmp(f->name, name) != 0)
            f++;
        if (!f->name) return unknown(name, table, e);
        if (!json_is_null(v) && !is_type(v, f->type))
            return err_set(e, ERR_USAGE, "\"%s\" must be of type %s", name, type_name[f->type]);
    }
    return 0;
}

json_t *field_get(const json_t *o, const char *name) {
    json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

const char *field_text(const json_t *o, const char *name) {
    return json_string_value(field_get(o, name));
}

bool field_bool(const json_t *o, const char *name, bool usual) {
    const json_t *v = field_get(o, name);
    return v ? json_is_true(v) : usual;
}

json_int_t field_int(const json_t *o, const char *name, json_int_t usual) {
    const json_t *v = field_get(o, name);
    return v ? json_integer_value(v) : usual;
}

void field_copy(json_t *to, const json_t *from, const char *name) {
    json_t *v = field_get(from, name);
    if (v) json_object_set(to, name, v);
}
