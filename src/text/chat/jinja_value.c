/* Values: made, compared, and taken from JSON. */
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja_priv.h"

struct jv jv_undef(const char *name) {
    return (struct jv){.kind = J_UNDEF, .name = name};
}

struct jv jv_none(void) {
    return (struct jv){.kind = J_NONE};
}

struct jv jv_bool(bool b) {
    return (struct jv){.kind = J_BOOL, .b = b};
}

struct jv jv_int(jint i) {
    return (struct jv){.kind = J_INT, .i = i};
}

struct jv jv_float(double f) {
    return (struct jv){.kind = J_FLOAT, .f = f};
}

/* Borrows p. */
struct jv jv_text(struct jrun *r, const char *p, size_t n, bool quoted) {
    struct jstr *s = jr_alloc(r, 1, sizeof *s);
    if (!s) return jv_undef(NULL);
    *s = (struct jstr){.p = p, .n = n, .quoted = quoted};
    return (struct jv){.kind = J_STR, .s = s};
}

struct jv jv_z(struct jrun *r, const char *z) {
    return jv_text(r, z, strlen(z), false);
}

struct jv jv_sub(struct jrun *r, const struct jstr *s, size_t at, size_t n) {
    struct jv v = jv_text(r, s->p + at, n, s->quoted);
    if (v.kind == J_STR && s->mark) ((struct jstr *)v.s)->mark = s->mark + at;
    if (v.kind == J_STR) ((struct jstr *)v.s)->safe = s->safe;
    return v;
}

struct jv jv_list(struct jrun *r, size_t cap) {
    struct jlist *l = jr_alloc(r, 1, sizeof *l);
    if (!l) return jv_undef(NULL);
    *l = (struct jlist){.v = cap ? jr_alloc(r, cap, sizeof *l->v) : NULL};
    l->cap = l->v ? cap : 0;
    return (struct jv){.kind = J_LIST, .l = l};
}

void jv_push(struct jrun *r, struct jv list, struct jv v) {
    if (list.kind != J_LIST || !jr_step(r, 0)) return;
    struct jlist *l = list.l;
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 8;
        struct jv *p = jr_alloc(r, cap, sizeof *p);
        if (!p) return;
        if (l->n) memcpy(p, l->v, l->n * sizeof *p);
        l->v = p;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

struct jv jv_dict(struct jrun *r) {
    struct jdict *d = jr_alloc(r, 1, sizeof *d);
    if (!d) return jv_undef(NULL);
    *d = (struct jdict){0};
    return (struct jv){.kind = J_DICT, .d = d};
}

static void add(struct jrun *r, struct jdict *d, struct jv k, struct jv v) {
    if (d->n == d->cap) {
        const size_t cap = d->cap ? 2 * d->cap : 8;
        struct jv *nk = jr_alloc(r, 2 * cap, sizeof *nk);
        if (!nk) return;
        if (d->n) memcpy(nk, d->k, d->n * sizeof *nk);
        if (d->n) memcpy(nk + cap, d->v, d->n * sizeof *nk);
        d->k = nk;
        d->v = nk + cap;
        d->cap = cap;
    }
    d->k[d->n] = k;
    d->v[d->n++] = v;
}

const struct jv *jv_find(struct jrun *r, const struct jdict *d, struct jv key) {
    if (key.kind == J_STR) return jv_get(r, d, jv_str(key));
    for (size_t i = 0; i < d->n && jr_step(r, 0); i++)
        if (jv_equal(r, d->k[i], key)) return &d->v[i];
    return NULL;
}

const struct jv *jv_get(struct jrun *r, const struct jdict *d, struct str key) {
    if (!jr_step(r, 16 * d->n)) return NULL;
    for (size_t i = 0; i < d->n; i++)
        if (d->k[i].kind == J_STR && str_eq(jv_str(d->k[i]), key)) return &d->v[i];
    return NULL;
}

void jv_set(struct jrun *r, struct jdict *d, struct jv k, struct jv v) {
    if (k.kind == J_LIST || k.kind == J_DICT || k.kind == J_SPACE) {
        jr_fail(r, ERR_FORMAT, "a key that is a %s", jv_kind(k));
        return;
    }
    struct jv *old = (struct jv *)jv_find(r, d, k);
    if (old)
        *old = v;
    else if (!r->failed)
        add(r, d, k, v);
}

/* Texts are borrowed from j.  How deep j may be, its parser has said. */
/* The words for who speaks: alone they forge nothing, and templates make control tokens of them. */
static bool is_role(const char *key, const json_t *value) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    if (strcmp(key, "role") != 0 || !json_is_string(value)) return false;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(json_string_value(value), roles[i]) == 0) return true;
    return false;
}

struct jv jv_of_json(struct jrun *r, const json_t *j, bool quoted) {
    struct jv v = jv_none();
    if (r->failed) return v;
    switch (json_typeof(j)) {
    case JSON_NULL: return v;
    case JSON_TRUE:
    case JSON_FALSE: return jv_bool(json_is_true(j));
    case JSON_INTEGER: return jv_int(json_integer_value(j));
    case JSON_REAL: return jv_float(json_real_value(j));
    case JSON_STRING: return jv_text(r, json_string_value(j), json_string_length(j), quoted);
    case JSON_ARRAY:
        v = jv_list(r, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j) && !r->failed; i++)
            v.l->v[v.l->n++] = jv_of_json(r, json_array_get(j, i), quoted);
        return v;
    case JSON_OBJECT: break;
    }
    v = jv_dict(r);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)j, key, value) {
        const struct jv k = jv_text(r, key, strlen(key), quoted);
        const struct jv x = jv_of_json(r, value, quoted && !is_role(key, value));
        if (r->failed) break;
        add(r, v.d, k, x);
    }
    return v;
}

bool jv_truth(struct jv v) {
    switch (v.kind) {
    case J_UNDEF:
    case J_NONE: return false;
    case J_BOOL: return v.b;
    case J_INT: return v.i != 0;
    case J_FLOAT: return v.f != 0;
    case J_STR: return v.s->n > 0;
    case J_LIST:
    case J_TUPLE: return v.l->n > 0;
    case J_DICT: return v.d->n > 0;
    default: return true;
    }
}

bool jv_is_num(struct jv v) {
    return v.kind == J_BOOL || v.kind == J_INT || v.kind == J_FLOAT;
}

double jv_num(struct jv v) {
    return v.kind == J_FLOAT ? v.f : (double)jv_whole(v);
}

jint jv_whole(struct jv v) {
    return v.kind == J_BOOL ? v.b : v.i;
}

const char *jv_kind(struct jv v) {
    static const char *const names[] = {
        "undefined value", "None", "bool",      "int",      "float", "str", "list",
        "tuple",           "dict", "namespace", "function", "macro"};
    return names[v.kind];
}

static bool equal_lists(struct jrun *r, const struct jlist *a, const struct jlist *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jv_equal(r, a->v[i], b->v[i])) return false;
    return true;
}

static bool equal_dicts(struct jrun *r, const struct jdict *a, const struct jdict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct jv *v = jv_find(r, b, a->k[i]);
        if (!v || !jv_equal(r, a->v[i], *v)) return false;
    }
    return true;
}

static bool equal_inside(struct jrun *r, struct jv a, struct jv b) {
    switch (a.kind) {
    case J_UNDEF:
    case J_NONE: return true;
    case J_STR: return jr_step(r, a.s->n) && str_eq(jv_str(a), jv_str(b));
    case J_LIST:
    case J_TUPLE: return equal_lists(r, a.l, b.l);
    case J_DICT: return equal_dicts(r, a.d, b.d);
    default: return a.d == b.d;
    }
}

bool jv_equal(struct jrun *r, struct jv a, struct jv b) {
    if (jv_is_num(a) && jv_is_num(b)) {
        if (a.kind == J_FLOAT || b.kind == J_FLOAT) return jv_num(a) == jv_num(b);
        return jv_whole(a) == jv_whole(b);
    }
    if (a.kind != b.kind || !jr_step(r, 0)) return false;
    if (++r->depth > 400) jr_fail(r, ERR_LIMIT, "values nested too deep");
    const bool same = !r->failed && equal_inside(r, a, b);
    r->depth--;
    return same;
}

/* <0, 0, >0; fails for what has no order. */
int jv_compare(struct jrun *r, struct jv a, struct jv b) {
    if (!jr_step(r, 0)) return 0;
    if (jv_is_num(a) && jv_is_num(b)) {
        if (a.kind == J_FLOAT || b.kind == J_FLOAT) {
            const double x = jv_num(a), y = jv_num(b);
            return x < y ? -1 : x > y;
        }
        return jv_whole(a) < jv_whole(b) ? -1 : jv_whole(a) > jv_whole(b);
    }
    if (a.kind == J_STR && b.kind == J_STR) { /* UTF-8 sorts as its code points do */
        const size_t n = a.s->n < b.s->n ? a.s->n : b.s->n;
        jr_step(r, n);
        const int c = n ? memcmp(a.s->p, b.s->p, n) : 0;
        return c ? c : a.s->n < b.s->n ? -1 : a.s->n > b.s->n;
    }
    if ((a.kind == J_LIST || a.kind == J_TUPLE) && a.kind == b.kind) {
        for (size_t i = 0; i < a.l->n && i < b.l->n && !r->failed; i++) {
            if (jv_equal(r, a.l->v[i], b.l->v[i])) continue;
            if (a.l->v[i].kind == a.kind) break; /* lists of lists of lists: no order */
            return jv_compare(r, a.l->v[i], b.l->v[i]);
        }
        return a.l->n < b.l->n ? -1 : a.l->n > b.l->n;
    }
    jr_fail(r, ERR_FORMAT, "cannot compare a %s with a %s", jv_kind(a), jv_kind(b));
    return 0;
}

/* May it be a key, or in a set?  Fails where it may not. */
bool jv_hashable(struct jrun *r, struct jv v) {
    if (v.kind == J_LIST || v.kind == J_DICT)
        jr_fail(r, ERR_FORMAT, "a %s cannot be a key", jv_kind(v));
    return !r->failed;
}

/* What a loop sees; NULL after a failure. */
struct jlist *jv_items(struct jrun *r, struct jv v) {
    if (r->failed) return NULL;
    if (v.kind == J_LIST || v.kind == J_TUPLE) return v.l;
    if (v.kind == J_UNDEF) return jv_list(r, 0).l;
    if (v.kind == J_DICT) {
        struct jv l = jv_list(r, v.d->n);
        for (size_t i = 0; i < v.d->n && !r->failed; i++)
            jv_push(r, l, v.d->k[i]);
        return r->failed ? NULL : l.l;
    }
    if (v.kind != J_STR) {
        jr_fail(r, ERR_FORMAT, "a %s is not iterable", jv_kind(v));
        return NULL;
    }
    struct jv l = jv_list(r, jv_chars(v.s));
    for (size_t i = 0, n; i < v.s->n && !r->failed; i += n) {
        const struct jstr rest = {.p = v.s->p + i, .n = v.s->n - i};
        n = jv_char_at(&rest, 1);
        jv_push(r, l, jv_sub(r, v.s, i, n));
    }
    return r->failed ? NULL : l.l;
}

struct jv jv_func(struct jrun *r, const char *name, jcall_fn *fn, struct jv self) {
    struct jfunc *f = jr_alloc(r, 1, sizeof *f);
    if (!f) return jv_undef(NULL);
    *f = (struct jfunc){fn, self, name};
    return (struct jv){.kind = J_FUNC, .fn = f};
}
