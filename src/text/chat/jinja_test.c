/* Tests ("is string") and the helpers for arguments. */
#include <string.h>

#include "text/chat/jinja_priv.h"

jcall_fn *jentry_find(const struct jentry *table, struct str name) {
    for (; table->name; table++)
        if (str_is(name, table->name)) return table->fn;
    return NULL;
}

/* Argument i, or the one with that name; NULL: absent. */
const struct jv *ja_get(const struct jargs *a, int i, const char *name) {
    if (i >= 0 && i < a->n) return &a->v[i];
    for (int k = 0; name && k < a->n_kw; k++)
        if (str_is(a->kw[k], name)) return &a->v[a->n + k];
    return NULL;
}

jint ja_int(struct jrun *r, const struct jargs *a, int i, const char *name, jint otherwise) {
    const struct jv *v = ja_get(a, i, name);
    if (!v || v->kind == J_NONE) return otherwise;
    if (v->kind == J_INT || v->kind == J_BOOL) return jv_whole(*v);
    jr_fail(r, ERR_FORMAT, "argument %s: found a %s; an int is needed", name ? name : "",
            jv_kind(*v));
    return otherwise;
}

bool ja_flag(const struct jargs *a, int i, const char *name, bool otherwise) {
    const struct jv *v = ja_get(a, i, name);
    return v ? jv_truth(*v) : otherwise;
}

#define TEST(name, cond)                                                                           \
    static struct jv name(struct jrun *r, struct jv v, const struct jargs *a) {                    \
        (void)r, (void)a;                                                                          \
        return jv_bool(cond);                                                                      \
    }
TEST(t_defined, v.kind != J_UNDEF)
TEST(t_undefined, v.kind == J_UNDEF)
TEST(t_none, v.kind == J_NONE)
TEST(t_boolean, v.kind == J_BOOL)
TEST(t_true, v.kind == J_BOOL && v.b)
TEST(t_false, v.kind == J_BOOL && !v.b)
TEST(t_integer, v.kind == J_INT)
TEST(t_float, v.kind == J_FLOAT)
TEST(t_number, jv_is_num(v))
TEST(t_string, v.kind == J_STR)
TEST(t_mapping, v.kind == J_DICT)
TEST(t_callable, v.kind == J_FUNC || v.kind == J_MACRO)
TEST(t_iterable, v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_DICT ||
                     v.kind == J_UNDEF)
TEST(t_sequence, v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_DICT ||
                     v.kind == J_UNDEF)

static struct jv arg(struct jrun *r, const struct jargs *a) {
    return a->n > 0 ? a->v[0] : jr_fail(r, ERR_FORMAT, "a test without the value that it needs");
}

static bool odd(struct jrun *r, struct jv v) {
    const struct jv m = jr_binary(r, '%', v, jv_int(2));
    return !r->failed && jv_is_num(m) && jv_num(m) == 1;
}

static bool even(struct jrun *r, struct jv v) {
    const struct jv m = jr_binary(r, '%', v, jv_int(2));
    return !r->failed && jv_is_num(m) && jv_num(m) == 0;
}

static bool divisible(struct jrun *r, struct jv v, struct jv by) {
    const struct jv m = jr_binary(r, '%', v, by);
    return jv_is_num(m) && jv_num(m) == 0;
}

static bool cased(struct jrun *r, struct jv v, jcall_fn *fn) {
    const struct jargs none = {0};
    v = jv_to_str(r, v);
    return !r->failed && jv_truth(fn(r, v, &none));
}

TEST(t_eq, jv_equal(r, v, arg(r, a)))
TEST(t_ne, !jv_equal(r, v, arg(r, a)))
TEST(t_lt, jv_compare(r, v, arg(r, a)) < 0)
TEST(t_le, jv_compare(r, v, arg(r, a)) <= 0)
TEST(t_gt, jv_compare(r, v, arg(r, a)) > 0)
TEST(t_ge, jv_compare(r, v, arg(r, a)) >= 0)
TEST(t_in, jr_contains(r, arg(r, a), v))
TEST(t_sameas, v.kind == arg(r, a).kind && jv_equal(r, v, arg(r, a)))
TEST(t_odd, odd(r, v))
TEST(t_even, even(r, v))
TEST(t_divisibleby, divisible(r, v, arg(r, a)))
TEST(t_upper, cased(r, v, jm_isupper))
TEST(t_lower, cased(r, v, jm_islower))
TEST(t_escaped, v.kind == J_STR && v.s->safe)
TEST(t_filter, v.kind == J_STR && (jentry_find(jinja_filters, jv_str(v)) ||
                                   jentry_find(jinja_list_filters, jv_str(v))))
TEST(t_test, v.kind == J_STR && jentry_find(jinja_tests, jv_str(v)))

const struct jentry jinja_tests[] = {
    {"defined", t_defined},
    {"undefined", t_undefined},
    {"none", t_none},
    {"boolean", t_boolean},
    {"true", t_true},
    {"false", t_false},
    {"integer", t_integer},
    {"float", t_float},
    {"number", t_number},
    {"string", t_string},
    {"mapping", t_mapping},
    {"callable", t_callable},
    {"iterable", t_iterable},
    {"sequence", t_sequence},
    {"eq", t_eq},
    {"equalto", t_eq},
    {"==", t_eq},
    {"ne", t_ne},
    {"!=", t_ne},
    {"lt", t_lt},
    {"<", t_lt},
    {"lessthan", t_lt},
    {"le", t_le},
    {"<=", t_le},
    {"gt", t_gt},
    {">", t_gt},
    {"greaterthan", t_gt},
    {"ge", t_ge},
    {">=", t_ge},
    {"in", t_in},
    {"sameas", t_sameas},
    {"odd", t_odd},
    {"even", t_even},
    {"divisibleby", t_divisibleby},
    {"upper", t_upper},
    {"lower", t_lower},
    {"escaped", t_escaped},
    {"filter", t_filter},
    {"test", t_test},
    {0},
};

bool jr_test(struct jrun *r, struct str name, struct jv v, const struct jargs *a) {
    jcall_fn *fn = jentry_find(jinja_tests, name);
    if (!fn) {
        jr_fail(r, ERR_FORMAT, "no test is named %.*s", (int)(name.n > 60 ? 60 : name.n), name.p);
        return false;
    }
    return jv_truth(fn(r, v, a));
}
