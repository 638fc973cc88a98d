/* Expressions to values. */
#include <math.h>
#include <string.h>

#include "text/chat/jinja_priv.h"

enum { MAX_DEPTH = 600, MAX_ARGS = 64 };

const struct jv *jr_look(const struct jrun *r, struct str name) {
    for (const struct jscope *s = r->scope; s; s = s->parent)
        for (size_t i = s->n; i-- > 0;)
            if (str_eq(s->name[i], name)) return &s->value[i];
    return NULL;
}

static const char *terminated(struct jrun *r, struct str s) {
    char *z = jr_alloc(r, s.n + 1, 1);
    if (!z) return NULL;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    return z;
}

static struct jv method(struct jrun *r, const struct jentry *table, struct jv v, struct str name) {
    jcall_fn *fn = jentry_find(table, name);
    return fn ? jv_func(r, "method", fn, v) : jv_undef(terminated(r, name));
}

static struct jv macro_attr(struct jrun *r, const struct jmacro *m, struct str name) {
    struct jv l = jv_list(r, 0);
    if (str_is(name, "name")) return jv_text(r, m->def->text.p, m->def->text.n, false);
    if (!str_is(name, "arguments")) return jv_undef(terminated(r, name));
    for (const struct jnode *p = m->def->list; p && !r->failed; p = p->next)
        jv_push(r, l, jv_text(r, p->text.p, p->text.n, false));
    l.kind = r->failed ? J_UNDEF : J_TUPLE;
    return l;
}

struct jv jr_attr(struct jrun *r, struct jv v, struct str name) {
    const struct jv *x = NULL;
    switch (v.kind) {
    case J_UNDEF: return jr_fail(r, ERR_FORMAT, "%s is undefined", v.name ? v.name : "a value");
    case J_STR: return method(r, jinja_str_methods, v, name);
    case J_LIST: return method(r, jinja_list_methods, v, name);
    case J_TUPLE:
        if (v.l->group && str_is(name, "grouper")) return v.l->v[0];
        if (v.l->group && str_is(name, "list")) return v.l->v[1];
        return method(r, jinja_tuple_methods, v, name);
    case J_INT:
    case J_BOOL:
    case J_FLOAT: return method(r, jinja_number_methods, v, name);
    case J_DICT:
        if (jentry_find(jinja_dict_methods, name)) return method(r, jinja_dict_methods, v, name);
        x = jv_get(r, v.d, name);
        break;
    case J_SPACE: x = jv_get(r, v.d, name); break;
    case J_MACRO: return macro_attr(r, v.m, name);
    default: break;
    }
    return x ? *x : jv_undef(terminated(r, name));
}

struct jv jr_item(struct jrun *r, struct jv v, struct jv key) {
    if (v.kind == J_UNDEF)
        return jr_fail(r, ERR_FORMAT, "%s is undefined", v.name ? v.name : "a value");
    if (v.kind == J_DICT) {
        const struct jv *x = jv_find(r, v.d, key);
        if (x) return *x;
        if (key.kind == J_STR && jentry_find(jinja_dict_methods, jv_str(key)))
            return jr_attr(r, v, jv_str(key));
        return jv_undef(key.kind == J_STR ? terminated(r, jv_str(key)) : "item");
    }
    const bool whole = key.kind == J_INT || key.kind == J_BOOL;
    jint i = whole ? jv_whole(key) : 0;
    if (whole && (v.kind == J_LIST || v.kind == J_TUPLE)) {
        if (i < 0) i += (jint)v.l->n;
        return i >= 0 && i < (jint)v.l->n ? v.l->v[i] : jv_undef("item");
    }
    if (whole && v.kind == J_STR) {
        const jint n = jr_step(r, v.s->n) ? (jint)jv_chars(v.s) : 0;
        if (i < 0) i += n;
        if (i < 0 || i >= n) return jv_undef("item");
        const size_t at = jv_char_at(v.s, (size_t)i);
        return jv_sub(r, v.s, at, jv_char_at(v.s, (size_t)i + 1) - at);
    }
    if (key.kind == J_STR) return jr_attr(r, v, jv_str(key));
    return jv_undef("item");
}

/* A slice's bound, as Python's PySlice_AdjustIndices. */
static jint bound(struct jrun *r, const struct jnode *n, jint len, jint otherwise, bool back) {
    const struct jv v = n ? jr_eval(r, n) : jv_none();
    if (v.kind == J_NONE || r->failed) return otherwise;
    if (v.kind != J_INT && v.kind != J_BOOL) {
        jr_fail(r, ERR_FORMAT, "a slice needs whole numbers, not a %s", jv_kind(v));
        return 0;
    }
    jint i = jv_whole(v);
    if (i < 0) i += len;
    if (i < 0) return back ? -1 : 0;
    return i >= len ? (back ? len - 1 : len) : i;
}

static struct jv slice(struct jrun *r, const struct jnode *n) {
    const struct jv v = jr_eval(r, n->a);
    if (v.kind != J_LIST && v.kind != J_TUPLE && v.kind != J_STR)
        return jr_fail(r, ERR_FORMAT, "a %s has no slices", jv_kind(v));
    const struct jv sv = n->list ? jr_eval(r, n->list) : jv_int(1);
    const jint step = sv.kind == J_NONE ? 1 : sv.kind == J_INT ? sv.i : 0;
    if (step == 0 || step > INT32_MAX || step < -INT32_MAX)
        return jr_fail(r, ERR_FORMAT, "a slice with a step that is none");
    if (v.kind == J_STR) jr_step(r, v.s->n);
    const jint len = v.kind == J_STR ? (jint)jv_chars(v.s) : (jint)v.l->n;
    const bool back = step < 0;
    const jint lo = bound(r, n->b, len, back ? len - 1 : 0, back),
               hi = bound(r, n->c, len, back ? -1 : len, back);
    if (r->failed) return v;
    if (v.kind == J_STR && step == 1) {
        const size_t a = jv_char_at(v.s, (size_t)lo), z = hi > lo ? jv_char_at(v.s, (size_t)hi) : a;
        return jv_sub(r, v.s, a, z - a);
    }
    const struct jlist *from = jv_items(r, v);
    struct jv out = jv_list(r, 0);
    struct jbuild b = {0};
    for (jint i = lo; !r->failed && (back ? i > hi : i < hi); i += step)
        if (v.kind == J_STR)
            jb_str(r, &b, from->v[i]);
        else
            jv_push(r, out, from->v[i]);
    if (v.kind == J_STR) return jb_take(r, &b);
    out.kind = r->failed ? J_UNDEF : v.kind;
    return out;
}

static struct jv whole_op(struct jrun *r, int op, jint a, jint b) {
    jint v = 0;
    bool over = false;
    switch (op) {
    case '+': over = __builtin_add_overflow(a, b, &v); break;
    case '-': over = __builtin_sub_overflow(a, b, &v); break;
    case '*': over = __builtin_mul_overflow(a, b, &v); break;
    case OP_DIV:
    case '%': {
        const jint q = b == -1 ? 0 : a / b, m = b == -1 ? 0 : a % b;
        const bool down = m != 0 && (m < 0) != (b < 0);
        if (b == -1)
            over = op == OP_DIV && __builtin_sub_overflow((jint)0, a, &v);
        else
            v = op == OP_DIV ? q - down : m + (down ? b : 0);
        break;
    }
    case OP_POW:
        for (v = 1; b > 0 && !over && jr_step(r, 0); b--)
            over = __builtin_mul_overflow(v, a, &v);
        break;
    }
    return over ? jr_fail(r, ERR_LIMIT, "a number of more than 127 bits") : jv_int(v);
}

/* With the divisor's sign, as Python's. */
static double modulo(double x, double y) {
    const double m = fmod(x, y);
    if (m == 0) return copysign(0, y);
    return (m < 0) != (y < 0) ? m + y : m;
}

static struct jv num_op(struct jrun *r, int op, struct jv a, struct jv b) {
    const bool whole = a.kind != J_FLOAT && b.kind != J_FLOAT;
    const double x = jv_num(a), y = jv_num(b);
    if ((op == '/' || op == OP_DIV || op == '%') && y == 0)
        return jr_fail(r, ERR_FORMAT, "division by zero");
    if (whole && op != '/' && !(op == OP_POW && jv_whole(b) < 0))
        return whole_op(r, op, jv_whole(a), jv_whole(b));
    switch (op) {
    case '+': return jv_float(x + y);
    case '-': return jv_float(x - y);
    case '*': return jv_float(x * y);
    case '/':
        if (whole) return jv_float((double)((long double)jv_whole(a) / (long double)jv_whole(b)));
        return jv_float(x / y);
    case OP_DIV: {
        const double q = (x - modulo(x, y)) / y, down = floor(q);
        return jv_float(q - down > 0.5 ? down + 1 : down);
    }
    case '%': return jv_float(modulo(x, y));
    default:
        if (x == 0 && y < 0) return jr_fail(r, ERR_FORMAT, "zero to a negative power");
        if (x < 0 && y != floor(y)) return jr_fail(r, ERR_FORMAT, "a complex number");
        return jv_float(pow(x, y));
    }
}

static struct jv joined(struct jrun *r, struct jv a, struct jv b) {
    struct jv l = jv_list(r, a.l->n + b.l->n);
    for (size_t i = 0; i < a.l->n && !r->failed; i++)
        jv_push(r, l, a.l->v[i]);
    for (size_t i = 0; i < b.l->n && !r->failed; i++)
        jv_push(r, l, b.l->v[i]);
    l.kind = r->failed ? J_UNDEF : a.kind;
    return l;
}

static struct jv repeated(struct jrun *r, struct jv a, jint n) {
    struct jbuild b = {0};
    struct jv l = jv_list(r, 0);
    const size_t size = a.kind == J_STR ? a.s->n : a.l->n;
    for (jint i = 0; size && i < n && !r->failed; i++)
        if (a.kind == J_STR)
            jb_str(r, &b, a);
        else
            for (size_t k = 0; k < size && !r->failed; k++)
                jv_push(r, l, a.l->v[k]);
    if (a.kind == J_STR) return jb_take(r, &b);
    l.kind = r->failed ? J_UNDEF : a.kind;
    return l;
}

static struct jv added(struct jrun *r, struct jv a, struct jv b) {
    const struct jargs none = {0};
    const bool safe = a.s->safe || b.s->safe;
    if (safe && !a.s->safe) a = jf_escape(r, a, &none);
    if (safe && !b.s->safe) b = jf_escape(r, b, &none);
    struct jbuild out = {0};
    jb_str(r, &out, a);
    jb_str(r, &out, b);
    const struct jv v = jb_take(r, &out);
    if (!r->failed) ((struct jstr *)v.s)->safe = safe;
    return v;
}

struct jv jr_binary(struct jrun *r, int op, struct jv a, struct jv b) {
    if (r->failed) return a;
    const bool seq = a.kind == J_STR || a.kind == J_LIST || a.kind == J_TUPLE;
    if (jv_is_num(a) && jv_is_num(b)) return num_op(r, op, a, b);
    if (op == '%' && a.kind == J_STR) return jv_percent(r, a, b);
    if (op == '+' && a.kind == J_STR && b.kind == J_STR) return added(r, a, b);
    if (op == '+' && seq && a.kind == b.kind) return joined(r, a, b);
    if (op == '*' && seq && (b.kind == J_INT || b.kind == J_BOOL))
        return repeated(r, a, jv_whole(b));
    if (op == '*' && (a.kind == J_INT || a.kind == J_BOOL) &&
        (b.kind == J_STR || b.kind == J_LIST || b.kind == J_TUPLE))
        return repeated(r, b, jv_whole(a));
    return jr_fail(r, ERR_FORMAT, "%s%s: no operation of a %s and a %s",
                   a.kind == J_UNDEF && a.name   ? a.name
                   : b.kind == J_UNDEF && b.name ? b.name
                                                 : "operator",
                   a.kind == J_UNDEF || b.kind == J_UNDEF ? " is undefined" : "", jv_kind(a),
                   jv_kind(b));
}

bool jr_contains(struct jrun *r, struct jv box, struct jv v) {
    if (box.kind == J_STR) {
        if (v.kind != J_STR) {
            jr_fail(r, ERR_FORMAT, "a %s in a str", jv_kind(v));
            return false;
        }
        return jr_step(r, box.s->n) &&
               (v.s->n == 0 || (box.s->n && memmem(box.s->p, box.s->n, v.s->p, v.s->n)));
    }
    if (box.kind == J_DICT) return jv_hashable(r, v) && jv_find(r, box.d, v) != NULL;
    const struct jlist *l = jv_items(r, box);
    for (size_t i = 0; l && i < l->n && !r->failed; i++)
        if (jv_equal(r, l->v[i], v)) return true;
    return false;
}

static bool holds(struct jrun *r, int op, struct jv a, struct jv b) {
    switch (op) {
    case OP_EQ: return jv_equal(r, a, b);
    case OP_NE: return !jv_equal(r, a, b);
    case OP_IN: return jr_contains(r, b, a);
    case OP_NOT_IN: return !jr_contains(r, b, a);
    case '<': return jv_compare(r, a, b) < 0;
    case '>': return jv_compare(r, a, b) > 0;
    case OP_LE: return jv_compare(r, a, b) <= 0;
    default: return jv_compare(r, a, b) >= 0;
    }
}

static struct jv compare(struct jrun *r, const struct jnode *n) {
    struct jv a = jr_eval(r, n->a);
    for (const struct jnode *o = n->list; o && !r->failed; o = o->next) {
        const struct jv b = jr_eval(r, o->a);
        if (r->failed || !holds(r, o->op, a, b)) return jv_bool(false);
        a = b;
    }
    return jv_bool(true);
}

static void add_arg(struct jrun *r, struct jargs *a, struct str kw, struct jv v) {
    if (a->n + a->n_kw == MAX_ARGS)
        jr_fail(r, ERR_LIMIT, "a call with more than %d arguments", MAX_ARGS);
    else if (!kw.n && a->n_kw)
        jr_fail(r, ERR_FORMAT, "an argument without a name behind one with a name");
    if (r->failed) return;
    a->v[a->n + a->n_kw] = v;
    if (kw.n)
        a->kw[a->n_kw++] = kw;
    else
        a->n++;
}

/* *list and **dict. */
static void spread(struct jrun *r, struct jargs *a, int op, struct jv v) {
    if (op == OP_POW && v.kind != J_DICT) {
        jr_fail(r, ERR_FORMAT, "**: found a %s; a dict is needed", jv_kind(v));
        return;
    }
    const struct jlist *l = jv_items(r, v);
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        if (op == '*')
            add_arg(r, a, (struct str){0}, l->v[i]);
        else if (l->v[i].kind != J_STR || l->v[i].s->n == 0)
            jr_fail(r, ERR_FORMAT, "**: a key that is a %s", jv_kind(l->v[i]));
        else
            add_arg(r, a, jv_str(l->v[i]), v.d->v[i]);
    }
}

/* The arguments of a call; v and kw are the run's. */
struct jv jr_args(struct jrun *r, const struct jnode *list, struct jargs *a) {
    *a = (struct jargs){0};
    size_t n = 0;
    for (const struct jnode *x = list; x && n < MAX_ARGS; x = x->next)
        n = x->op ? MAX_ARGS : n + 1;
    if (n == 0) return jv_none();
    a->v = jr_alloc(r, n, sizeof *a->v);
    a->kw = jr_alloc(r, n, sizeof *a->kw);
    for (const struct jnode *x = list; x && !r->failed; x = x->next) {
        const struct jv v = jr_eval(r, x->a);
        if (r->failed) break;
        if (x->op)
            spread(r, a, x->op, v);
        else
            add_arg(r, a, x->text, v);
    }
    return jv_none();
}

struct jv jr_call(struct jrun *r, struct jv f, const struct jargs *a) {
    if (r->failed) return f;
    if (f.kind == J_FUNC) return f.fn->fn(r, f.fn->self, a);
    if (f.kind == J_MACRO) return jr_macro(r, f.m, a);
    if (f.kind == J_SPACE) { /* loop(...) of a recursive loop */
        const struct jv *x = jv_get(r, f.d, STR("__call__"));
        if (x) return jr_call(r, *x, a);
    }
    return jr_fail(r, ERR_FORMAT, "%s: a %s cannot be called",
                   f.kind == J_UNDEF && f.name ? f.name : "call", jv_kind(f));
}

static struct jv call(struct jrun *r, const struct jnode *n) {
    struct jargs a;
    const struct jv f = jr_eval(r, n->a);
    jr_args(r, n->list, &a);
    r->line = n->line;
    return jr_call(r, f, &a);
}

static struct jv sequence(struct jrun *r, const struct jnode *n) {
    struct jv l = jv_list(r, 0);
    for (const struct jnode *x = n->list; x && !r->failed; x = x->next)
        jv_push(r, l, jr_eval(r, x));
    if (!r->failed && n->kind == N_TUPLE) l.kind = J_TUPLE;
    return r->failed ? jv_undef(NULL) : l;
}

static struct jv dict(struct jrun *r, const struct jnode *n) {
    struct jv d = jv_dict(r);
    for (const struct jnode *x = n->list; x && !r->failed; x = x->next) {
        const struct jv k = jr_eval(r, x->a), v = jr_eval(r, x->b);
        if (!r->failed) jv_set(r, d.d, k, v);
    }
    return d;
}

static struct jv concat(struct jrun *r, const struct jnode *n) {
    struct jbuild b = {0};
    for (const struct jnode *x = n->list; x && !r->failed; x = x->next)
        jb_str(r, &b, jr_eval(r, x));
    return jb_take(r, &b);
}

static struct jv name(struct jrun *r, const struct jnode *n) {
    const struct jv *v = jr_look(r, n->text);
    return v ? *v : jv_undef(terminated(r, n->text));
}

static struct jv applied(struct jrun *r, const struct jnode *n) {
    struct jargs a;
    const struct jv v = jr_eval(r, n->a);
    jr_args(r, n->list, &a);
    if (r->failed) return v;
    r->line = n->line;
    if (n->kind == N_FILTER) return jr_filter(r, n->text, v, &a);
    return jv_bool(jr_test(r, n->text, v, &a) != (n->op != 0));
}

static struct jv sign(struct jrun *r, const struct jnode *n) {
    const struct jv v = jr_eval(r, n->a);
    if (r->failed) return v;
    if (!jv_is_num(v)) return jr_fail(r, ERR_FORMAT, "a sign before a %s", jv_kind(v));
    return n->kind == N_NEG ? jr_binary(r, '-', jv_int(0), v) : v;
}

static struct jv eval(struct jrun *r, const struct jnode *n) {
    struct jv v;
    switch (n->kind) {
    case N_CONST: return n->value;
    case N_NAME: return name(r, n);
    case N_TUPLE:
    case N_LIST: return sequence(r, n);
    case N_DICT: return dict(r, n);
    case N_COND:
        if (jv_truth(jr_eval(r, n->a))) return jr_eval(r, n->b);
        return n->c ? jr_eval(r, n->c) : jv_undef("the else of an if");
    case N_OR: return jv_truth(v = jr_eval(r, n->a)) ? v : jr_eval(r, n->b);
    case N_AND: return !jv_truth(v = jr_eval(r, n->a)) ? v : jr_eval(r, n->b);
    case N_NOT: return jv_bool(!jv_truth(jr_eval(r, n->a)));
    case N_COMPARE: return compare(r, n);
    case N_BINARY: v = jr_eval(r, n->a); return jr_binary(r, n->op, v, jr_eval(r, n->b));
    case N_NEG:
    case N_POS: return sign(r, n);
    case N_CONCAT: return concat(r, n);
    case N_ATTR: v = jr_eval(r, n->a); return r->failed ? v : jr_attr(r, v, n->text);
    case N_ITEM: {
        v = jr_eval(r, n->a);
        const struct jv k = jr_eval(r, n->b);
        return r->failed ? v : jr_item(r, v, k);
    }
    case N_SLICE: return slice(r, n);
    case N_CALL: return call(r, n);
    case N_FILTER:
    case N_TEST: return applied(r, n);
    case N_INPUT: return r->input;
    default: return jr_fail(r, ERR_FORMAT, "no expression");
    }
}

struct jv jr_eval(struct jrun *r, const struct jnode *n) {
    if (!jr_step(r, 0)) return jv_undef(NULL);
    r->line = n->line;
    if (++r->depth > MAX_DEPTH)
        jr_fail(r, ERR_LIMIT, "deeper than the %d levels that a template may take", MAX_DEPTH);
    const struct jv v = r->failed ? jv_undef(NULL) : eval(r, n);
    r->depth--;
    return r->failed ? jv_undef(NULL) : v;
}
