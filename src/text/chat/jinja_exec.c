/* Statements: scopes, loops, macros. */
#include <string.h>

#include "text/chat/jinja_priv.h"

enum { MAX_MACROS = 100 };

struct jscope *jr_push(struct jrun *r, struct jscope *parent) {
    struct jscope *s = jr_alloc(r, 1, sizeof *s);
    if (s) *s = (struct jscope){.parent = parent};
    return s;
}

static void set_in(struct jrun *r, struct jscope *s, struct str name, struct jv v) {
    if (r->failed) return;
    for (size_t i = 0; i < s->n; i++)
        if (str_eq(s->name[i], name)) {
            s->value[i] = v;
            return;
        }
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 4;
        struct str *names = jr_alloc(r, cap, sizeof *names);
        struct jv *values = jr_alloc(r, cap, sizeof *values);
        if (!values) return;
        if (s->n) memcpy(names, s->name, s->n * sizeof *names);
        if (s->n) memcpy(values, s->value, s->n * sizeof *values);
        s->name = names;
        s->value = values;
        s->cap = cap;
    }
    s->name[s->n] = name;
    s->value[s->n++] = v;
}

void jr_assign(struct jrun *r, struct str name, struct jv v) {
    if (r->scope) set_in(r, r->scope, name, v);
}

static void assign(struct jrun *r, const struct jnode *t, struct jv v) {
    if (r->failed) return;
    if (t->kind == N_NAME) {
        jr_assign(r, t->text, v);
    } else if (t->kind == N_ATTR) {
        const struct jv *ns = jr_look(r, t->a->text);
        if (!ns || ns->kind != J_SPACE)
            jr_fail(r, ERR_FORMAT, "only a namespace's attributes can be set");
        else
            jv_set(r, ns->d, jv_text(r, t->text.p, t->text.n, false), v);
    } else {
        const struct jlist *l = jv_items(r, v);
        size_t i = 0;
        for (t = t->list; t && l && i < l->n; t = t->next)
            assign(r, t, l->v[i++]);
        if (l && (t || i < l->n))
            jr_fail(r, ERR_FORMAT, "%zu values do not fit the names they are for", l->n);
    }
}

/* What the statements write, as one value. */
static struct jv captured(struct jrun *r, const struct jnode *body) {
    struct jbuild b = {0}, *outer = r->out;
    r->out = &b;
    jr_exec(r, body);
    r->out = outer;
    return jb_take(r, &b);
}

static struct jv in_scope(struct jrun *r, const struct jnode *body) {
    struct jscope *outer = r->scope;
    r->scope = jr_push(r, outer);
    const struct jv v = captured(r, body);
    r->scope = outer;
    return v;
}

static struct jv filtered(struct jrun *r, const struct jnode *filters, struct jv v) {
    const struct jv outer = r->input;
    r->input = v;
    v = r->failed ? v : jr_eval(r, filters);
    r->input = outer;
    return v;
}

struct loop {
    const struct jnode *n;
    const struct jlist *items;
    struct jdict *info;
    struct jv last;
};

static struct jv cycle(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jv *i = jv_get(r, self.d, STR("index0"));
    if (a->n == 0 || !i) return jr_fail(r, ERR_FORMAT, "cycle needs values");
    return a->v[i->i % a->n];
}

static struct jv changed(struct jrun *r, struct jv self, const struct jargs *a) {
    struct jv l = jv_list(r, (size_t)a->n);
    for (int i = 0; i < a->n; i++)
        jv_push(r, l, a->v[i]);
    const struct jv *old = jv_get(r, self.d, STR("__changed__"));
    const bool same = old && !r->failed && jv_equal(r, *old, l);
    if (!r->failed) jv_set(r, self.d, jv_z(r, "__changed__"), l);
    return jv_bool(!same);
}

static void info(struct jrun *r, const struct loop *l, const char *key, struct jv v) {
    const struct jv k = jv_z(r, key);
    if (!r->failed) jv_set(r, l->info, k, v);
}

static void loop_info(struct jrun *r, const struct loop *l, size_t i) {
    const size_t n = l->items->n;
    const struct jv *v = l->items->v;
    info(r, l, "index", jv_int((jint)i + 1));
    info(r, l, "index0", jv_int((jint)i));
    info(r, l, "revindex", jv_int((jint)(n - i)));
    info(r, l, "revindex0", jv_int((jint)(n - i - 1)));
    info(r, l, "first", jv_bool(i == 0));
    info(r, l, "last", jv_bool(i + 1 == n));
    info(r, l, "previtem", i ? v[i - 1] : jv_undef("there is no previous item"));
    info(r, l, "nextitem", i + 1 < n ? v[i + 1] : jv_undef("there is no next item"));
}

/* The items that pass the loop's own condition. */
static const struct jlist *chosen(struct jrun *r, const struct jnode *n,
                                  const struct jlist *items) {
    struct jv l = jv_list(r, 0);
    struct jscope *outer = r->scope;
    r->scope = jr_push(r, outer);
    for (size_t i = 0; i < items->n && !r->failed; i++) {
        assign(r, n->a, items->v[i]);
        if (!r->failed && jv_truth(jr_eval(r, n->c))) jv_push(r, l, items->v[i]);
    }
    r->scope = outer;
    return r->failed ? NULL : l.l;
}

static void run_loop(struct jrun *r, const struct jnode *n, struct jv over, int depth);

/* loop(items) inside a recursive loop; self: the tuple (node, depth) hides in a dict. */
struct recursion {
    const struct jnode *n;
    struct jscope *scope;
    int depth;
};

static struct jv recurse(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct recursion *x = (const struct recursion *)(const void *)self.s->p;
    if (a->n != 1) return jr_fail(r, ERR_FORMAT, "loop() needs one value");
    if (++r->n_macro > MAX_MACROS)
        jr_fail(r, ERR_LIMIT, "loops call themselves more than %d deep", MAX_MACROS);
    struct jbuild b = {0}, *outer = r->out;
    struct jscope *scope = r->scope;
    r->out = &b;
    r->scope = x->scope;
    if (!r->failed) run_loop(r, x->n, a->v[0], x->depth + 1);
    r->scope = scope;
    r->out = outer;
    r->n_macro--;
    return jb_take(r, &b);
}

static void loop_start(struct jrun *r, struct loop *l, int depth) {
    struct jv space = jv_dict(r);
    space.kind = J_SPACE;
    if (r->failed) return;
    l->info = space.d;
    info(r, l, "length", jv_int((jint)l->items->n));
    info(r, l, "depth", jv_int(depth + 1));
    info(r, l, "depth0", jv_int(depth));
    info(r, l, "cycle", jv_func(r, "cycle", cycle, space));
    info(r, l, "changed", jv_func(r, "changed", changed, space));
    struct recursion *x = l->n->op ? jr_alloc(r, 1, sizeof *x) : NULL;
    if (!x) return;
    *x = (struct recursion){l->n, r->scope, depth};
    info(r, l, "__call__",
         jv_func(r, "loop", recurse, jv_text(r, (const char *)x, sizeof *x, false)));
}

static void run_loop(struct jrun *r, const struct jnode *n, struct jv over, int depth) {
    struct loop l = {.n = n, .items = jv_items(r, over)};
    if (l.items && n->c) l.items = chosen(r, n, l.items);
    if (!l.items) return;
    struct jscope *outer = r->scope, *s = NULL;
    if (l.items->n) loop_start(r, &l, depth);
    for (size_t i = 0; i < l.items->n && jr_step(r, 0); i++) {
        if (!s || s->captured) s = jr_push(r, outer);
        if (!s) break;
        s->n = 0;
        r->scope = s;
        loop_info(r, &l, i);
        jr_assign(r, STR("loop"), (struct jv){.kind = J_SPACE, .d = l.info});
        assign(r, n->a, l.items->v[i]);
        jr_exec(r, n->body);
        const enum jflow flow = r->flow;
        r->flow = FLOW_ON;
        if (flow == FLOW_BREAK) break;
    }
    r->scope = outer;
    if (l.items->n == 0) jr_exec(r, n->orelse);
}

static struct jv macro_value(struct jrun *r, const struct jnode *n) {
    struct jmacro *m = jr_alloc(r, 1, sizeof *m);
    if (!m) return jv_undef(NULL);
    *m = (struct jmacro){n, r->scope};
    for (struct jscope *s = r->scope; s; s = s->parent)
        s->captured = true;
    return (struct jv){.kind = J_MACRO, .m = m};
}

static const struct jv *keyword(const struct jargs *a, struct str name) {
    for (int i = 0; i < a->n_kw; i++)
        if (str_eq(a->kw[i], name)) return &a->v[a->n + i];
    return NULL;
}

/* What is left over when the parameters have theirs. */
static void spare_arguments(struct jrun *r, const struct jmacro *m, const struct jargs *a,
                            int n_param) {
    const int takes = m->def->op;
    struct jv rest = jv_list(r, 0), kw = jv_dict(r);
    for (int i = n_param; i < a->n && !r->failed; i++)
        jv_push(r, rest, a->v[i]);
    for (int i = 0; i < a->n_kw && !r->failed; i++) {
        bool known = (takes & JM_CALLER) && str_is(a->kw[i], "caller");
        for (const struct jnode *p = m->def->list; p && !known; p = p->next)
            known = str_eq(p->text, a->kw[i]);
        const struct jv k = jv_text(r, a->kw[i].p, a->kw[i].n, false);
        if (!known && !r->failed) jv_set(r, kw.d, k, a->v[a->n + i]);
    }
    if (r->failed) return;
    if (rest.l->n && !(takes & JM_VARARGS))
        jr_fail(r, ERR_FORMAT, "a macro takes not more than %d arguments", n_param);
    if (kw.d->n && !(takes & JM_KWARGS))
        jr_fail(r, ERR_FORMAT, "a macro takes no argument named %.*s",
                (int)(kw.d->k[0].s->n > 60 ? 60 : kw.d->k[0].s->n), kw.d->k[0].s->p);
    rest.kind = J_TUPLE;
    if (takes & JM_VARARGS) jr_assign(r, STR("varargs"), rest);
    if (takes & JM_KWARGS) jr_assign(r, STR("kwargs"), kw);
    const struct jv *caller = keyword(a, STR("caller"));
    if (takes & JM_CALLER) jr_assign(r, STR("caller"), caller ? *caller : jv_undef("caller"));
}

struct jv jr_macro(struct jrun *r, const struct jmacro *m, const struct jargs *a) {
    if (r->n_macro >= MAX_MACROS)
        return jr_fail(r, ERR_LIMIT, "macros call each other more than %d deep", MAX_MACROS);
    struct jscope *outer = r->scope;
    r->n_macro++;
    r->scope = jr_push(r, m->scope);
    int i = 0;
    for (const struct jnode *p = m->def->list; p && !r->failed; p = p->next, i++) {
        const struct jv *kw = keyword(a, p->text);
        jr_assign(r, p->text,
                  i < a->n ? a->v[i]
                  : kw     ? *kw
                  : p->a   ? jr_eval(r, p->a)
                           : jv_undef("a parameter"));
    }
    if (!r->failed) spare_arguments(r, m, a, i);
    const struct jv v = r->failed ? jv_undef(NULL) : captured(r, m->def->body);
    r->flow = FLOW_ON;
    r->scope = outer;
    r->n_macro--;
    return v;
}

static struct jv call_block(struct jrun *r, const struct jnode *n) {
    struct jargs a;
    const struct jv f = jr_eval(r, n->a->a);
    jr_args(r, n->a->list, &a);
    const size_t n_arg = (size_t)(a.n + a.n_kw);
    struct jv *v = jr_alloc(r, n_arg + 1, sizeof *v);
    struct str *kw = jr_alloc(r, (size_t)a.n_kw + 1, sizeof *kw);
    if (r->failed) return f;
    if (n_arg) memcpy(v, a.v, n_arg * sizeof *v);
    if (a.n_kw) memcpy(kw, a.kw, (size_t)a.n_kw * sizeof *kw);
    v[n_arg] = macro_value(r, n);
    kw[a.n_kw++] = STR("caller");
    a.v = v;
    a.kw = kw;
    return jr_call(r, f, &a);
}

static void set_block(struct jrun *r, const struct jnode *n) {
    assign(r, n->a, filtered(r, n->b, in_scope(r, n->body)));
}

static void filter_block(struct jrun *r, const struct jnode *n) {
    const struct jv v = filtered(r, n->b, in_scope(r, n->body));
    if (!r->failed && v.kind != J_STR)
        jr_fail(r, ERR_FORMAT, "a filter block that gives a %s; a str is needed", jv_kind(v));
    else
        jb_str(r, r->out, v);
}

static void with(struct jrun *r, const struct jnode *n) {
    struct jscope *outer = r->scope, *s = jr_push(r, outer);
    for (const struct jnode *x = n->list; x && s; x = x->next) /* values see the outer scope */
        set_in(r, s, x->a->text, jr_eval(r, x->b));
    if (s) r->scope = s;
    jr_exec(r, n->body);
    r->scope = outer;
}

static void exec(struct jrun *r, const struct jnode *n) {
    switch (n->kind) {
    case N_TEXT: jb_put(r, r->out, n->text.p, n->text.n, false); break;
    case N_PRINT: jb_str(r, r->out, jr_eval(r, n->a)); break;
    case N_IF: /* an elif chain: no deeper than one if */
        for (; n && n->kind == N_IF && !r->failed; n = n->orelse)
            if (jv_truth(jr_eval(r, n->a))) {
                jr_exec(r, n->body);
                return;
            } else if (n->orelse && (n->orelse->kind != N_IF || n->orelse->next)) {
                jr_exec(r, n->orelse);
                return;
            }
        break;
    case N_FOR: run_loop(r, n, jr_eval(r, n->b), 0); break;
    case N_SET: assign(r, n->a, jr_eval(r, n->b)); break;
    case N_SET_BLOCK: set_block(r, n); break;
    case N_MACRO: jr_assign(r, n->text, macro_value(r, n)); break;
    case N_CALL_BLOCK: jb_str(r, r->out, call_block(r, n)); break;
    case N_FILTER_BLOCK: filter_block(r, n); break;
    case N_WITH: with(r, n); break;
    case N_GROUP: jr_exec(r, n->body); break;
    case N_BREAK: r->flow = FLOW_BREAK; break;
    case N_CONTINUE: r->flow = FLOW_CONTINUE; break;
    default: jr_fail(r, ERR_FORMAT, "no statement"); break;
    }
}

void jr_exec(struct jrun *r, const struct jnode *list) {
    if (++r->depth > 600) jr_fail(r, ERR_LIMIT, "deeper than a template may go");
    for (; list && r->flow == FLOW_ON && jr_step(r, 0); list = list->next) {
        r->line = list->line;
        exec(r, list);
    }
    r->depth--;
}
