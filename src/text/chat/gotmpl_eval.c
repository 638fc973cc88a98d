/* Running a Go template's tree over its data, within the bounds of a run.  Follows
 * text/template/exec.go. */
#include <time.h>

#include "text/chat/gotmpl_priv.h"
#include "base/work.h"

/* How a list of nodes ended. */
enum flow { FLOW_FAIL = -1, FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

int gt_refuse(struct gt_run *r, const char *fmt, ...) {
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return gt_fail(r->e, ERR_FORMAT, r->line, "executing: %s", text);
}

int gt_refuse_limit(struct gt_run *r, const char *what, double limit, const char *unit) {
    return gt_fail(r->e, ERR_LIMIT, r->line, "executing: %s %.0f%s%s; that much is accepted", what,
                   limit, *unit ? " " : "", unit);
}

/* Of this thread's processor time: a busy machine refuses no template. */
static int64_t cpu_ns(void) {
    struct timespec t = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int step(struct gt_run *r) {
    if (++r->steps > GT_MAX_STEPS)
        return gt_refuse_limit(r, "it takes more than", GT_MAX_STEPS, "steps");
    if (work_stopped()) return work_given_up(r->e);
    if (r->steps % 64 == 1 && cpu_ns() - r->start_ns > (int64_t)GT_MAX_CPU_MS * 1000000)
        return gt_refuse_limit(r, "it takes longer than", GT_MAX_CPU_MS, "ms");
    return 0;
}

static int deeper(struct gt_run *r) {
    if (r->depth++ < GT_MAX_DEPTH) return 0;
    return gt_refuse_limit(r, "nested deeper than", GT_MAX_DEPTH, "");
}

/* ---- Variables ---------------------------------------------------------------------------------
 */

static int push(struct gt_run *r, struct str name, struct gt_val v) {
    if (r->n_var == GT_MAX_VARS) return gt_refuse_limit(r, "more variables than", GT_MAX_VARS, "");
    r->var[r->n_var].name = name;
    r->var[r->n_var++].v = v;
    return 0;
}

static struct gt_val *find(struct gt_run *r, struct str name) {
    for (int i = r->n_var - 1; i >= 0; i--)
        if (str_eq(r->var[i].name, name)) return &r->var[i].v;
    return NULL;
}

static int set(struct gt_run *r, const struct gt_pipe *pipe, int i, struct gt_val v) {
    if (!pipe->assign) return push(r, pipe->decl[i], v);
    struct gt_val *x = find(r, pipe->decl[i]);
    if (!x) return gt_refuse(r, "undefined variable");
    *x = v;
    return 0;
}

/* ---- Pipelines ---------------------------------------------------------------------------------
 */

static int eval_pipe(struct gt_run *r, const struct gt_pipe *pipe, const struct gt_val *dot,
                     struct gt_val *out);

static int eval_call(struct gt_run *r, const struct gt_arg *f, int n_arg, const struct gt_val *dot,
                     const struct gt_val *final, struct gt_val *out);

static int eval_fields(struct gt_run *r, const struct gt_name *f, struct gt_val *v) {
    for (; f; f = f->next) {
        const struct gt_val from = *v;
        if (gt_field(r, &from, f->name, v) != 0) return -1;
    }
    return 0;
}

/* An operand that is no function call. */
static int eval_term(struct gt_run *r, const struct gt_arg *a, const struct gt_val *dot,
                     struct gt_val *out) {
    *out = (struct gt_val){0};
    switch (a->type) {
    case GA_FIELD:
    case GA_DOT: *out = *dot; return 0;
    case GA_VAR: {
        const struct gt_val *v = find(r, a->text);
        if (!v) return gt_refuse(r, "undefined variable");
        *out = *v;
        return 0;
    }
    case GA_NIL: return 0;
    case GA_BOOL: *out = gt_bool(a->i != 0); return 0;
    case GA_INT: *out = gt_int(a->i); return 0;
    case GA_FLOAT: *out = (struct gt_val){.kind = GV_FLOAT, .f = a->f}; return 0;
    case GA_STR: *out = gt_text(a->text, true); return 0;
    case GA_FUNC: return eval_call(r, a, 1, dot, NULL, out);
    case GA_PIPE: break;
    }
    if (deeper(r) != 0 || eval_pipe(r, a->pipe, dot, out) != 0) return -1;
    r->depth--;
    return 0;
}

static int eval_arg(struct gt_run *r, const struct gt_arg *a, const struct gt_val *dot,
                    struct gt_val *out) {
    r->line = a->line;
    if (step(r) != 0 || eval_term(r, a, dot, out) != 0) return -1;
    r->line = a->line;
    return eval_fields(r, a->fields, out);
}

/* and, or: the first argument that decides; what follows is not evaluated. */
static int eval_logic(struct gt_run *r, const struct gt_arg *f, int n_arg, const struct gt_val *dot,
                      const struct gt_val *final, struct gt_val *out) {
    const bool stop_at = f->func->name[0] == 'o';
    const struct gt_arg *a = f->next;
    for (int i = 1; i < n_arg; i++, a = a->next) {
        if (eval_arg(r, a, dot, out) != 0) return -1;
        if (gt_truth(out) == stop_at) return 0;
    }
    if (final) *out = *final;
    return 0;
}

/* f and the arguments behind it; the last one may come from the pipeline. */
static int eval_call(struct gt_run *r, const struct gt_arg *f, int n_arg, const struct gt_val *dot,
                     const struct gt_val *final, struct gt_val *out) {
    const int n = n_arg - 1 + (final != NULL);
    const struct gt_func *fn = f->func;
    struct gt_val arg[GT_MAX_ARGS + 1] = {0};
    if (n < fn->min || n > fn->max)
        return gt_refuse(r, "%s: found %d arguments; %s%d are needed", fn->name, n,
                         fn->min == fn->max ? ""
                         : n < fn->min      ? "at least "
                                            : "at most ",
                         n < fn->min ? fn->min : fn->max);
    if (!fn->fn) return eval_logic(r, f, n_arg, dot, final, out);
    const struct gt_arg *a = f->next;
    for (int i = 0; i < n_arg - 1; i++, a = a->next)
        if (eval_arg(r, a, dot, &arg[i]) != 0) return -1;
    if (final) arg[n_arg - 1] = *final;
    r->line = f->line;
    return fn->fn(r, arg, n, out);
}

static int eval_cmd(struct gt_run *r, const struct gt_cmd *c, const struct gt_val *dot,
                    const struct gt_val *final, struct gt_val *out) {
    const struct gt_arg *a = c->arg;
    r->line = a->line;
    if (a->type == GA_FUNC) {
        if (step(r) != 0 || eval_call(r, a, c->n_arg, dot, final, out) != 0) return -1;
        return eval_fields(r, a->fields, out);
    }
    if (c->n_arg > 1 || final) return gt_refuse(r, "arguments for what is no function");
    if (a->type == GA_NIL) return gt_refuse(r, "nil is not a command");
    return eval_arg(r, a, dot, out);
}

static int eval_cmds(struct gt_run *r, const struct gt_pipe *pipe, const struct gt_val *dot,
                     struct gt_val *out) {
    struct gt_val final;
    for (const struct gt_cmd *c = pipe->cmd; c; c = c->next) {
        if (eval_cmd(r, c, dot, c == pipe->cmd ? NULL : &final, out) != 0) return -1;
        /* Go unwraps interfaces here, and a nil one is no value at all. */
        if (out->kind == GV_NIL) out->type = NULL;
        final = *out;
    }
    return 0;
}

static int eval_pipe(struct gt_run *r, const struct gt_pipe *pipe, const struct gt_val *dot,
                     struct gt_val *out) {
    if (eval_cmds(r, pipe, dot, out) != 0) return -1;
    for (int i = 0; i < pipe->n_decl; i++)
        if (set(r, pipe, i, *out) != 0) return -1;
    return 0;
}

/* ---- Nodes -------------------------------------------------------------------------------------
 */

static enum flow exec_list(struct gt_run *r, const struct gt_node *n, const struct gt_val *dot);

static enum flow emit(struct gt_run *r, struct str s, bool trusted) {
    if (r->out->text.n - r->out_start + s.n > GT_MAX_OUTPUT)
        return gt_refuse_limit(r, "it writes more than", GT_MAX_OUTPUT, "bytes");
    if (trusted)
        chat_say(r->out, s);
    else
        chat_quote(r->out, s);
    return r->out->failed ? err_nomem(r->e, "template") : FLOW_ON;
}

static enum flow emit_value(struct gt_run *r, const struct gt_val *v) {
    struct buf b = {0};
    if (v->kind == GV_STR) return emit(r, v->s, v->trusted);
    if (v->kind == GV_NIL) return emit(r, STR("<no value>"), true);
    enum flow f = gt_show(r, v, &b) == 0 ? FLOW_ON : FLOW_FAIL;
    if (f == FLOW_ON && b.failed) f = err_nomem(r->e, "template");
    if (f == FLOW_ON) f = emit(r, buf_view(&b), v->kind < GV_STR);
    buf_fini(&b);
    return f;
}

static enum flow exec_action(struct gt_run *r, const struct gt_node *n, const struct gt_val *dot) {
    struct gt_val v;
    if (eval_pipe(r, n->pipe, dot, &v) != 0) return FLOW_FAIL;
    return n->pipe->n_decl > 0 ? FLOW_ON : emit_value(r, &v);
}

/* if, with and their "else if" chains. */
static enum flow exec_if(struct gt_run *r, const struct gt_node *n, const struct gt_val *dot) {
    struct gt_val v;
    for (;; n = n->otherwise) {
        r->line = n->line;
        if (step(r) != 0 || eval_pipe(r, n->pipe, dot, &v) != 0) return FLOW_FAIL;
        if (gt_truth(&v)) return exec_list(r, n->body, n->type == GN_WITH ? &v : dot);
        if (!n->otherwise || !n->otherwise->chained) return exec_list(r, n->otherwise, dot);
    }
}

/* One turn of a range: `$v :=` or `$i, $v :=` and the body. */
static enum flow turn(struct gt_run *r, const struct gt_node *n, struct gt_val index,
                      struct gt_val v) {
    const int n_var = r->n_var, n_decl = n->pipe->n_decl;
    r->line = n->line;
    if (step(r) != 0) return FLOW_FAIL;
    if (n_decl == 2 && set(r, n->pipe, 0, index) != 0) return FLOW_FAIL;
    if (n_decl > 0 && set(r, n->pipe, n_decl - 1, v) != 0) return FLOW_FAIL;
    const enum flow f = exec_list(r, n->body, &v);
    r->n_var = n_var;
    return f;
}

static enum flow exec_range(struct gt_run *r, const struct gt_node *n, const struct gt_val *dot) {
    struct gt_val v;
    size_t len;
    enum flow f = FLOW_ON;
    const struct str *key = NULL;
    if (eval_cmds(r, n->pipe, dot, &v) != 0) return FLOW_FAIL;
    r->line = n->line;
    if (v.kind != GV_NIL && v.kind != GV_LIST && v.kind != GV_MAP)
        return gt_refuse(r, "range cannot iterate over type %s", gt_type_name(&v));
    len = gt_len(&v);
    if (v.kind == GV_MAP && !(key = gt_map_keys(r, &v, &len))) return FLOW_FAIL;
    if (len == 0) {
        for (int i = 0; i < n->pipe->n_decl; i++)
            if (set(r, n->pipe, i, v) != 0) return FLOW_FAIL;
        return exec_list(r, n->otherwise, dot);
    }
    for (size_t i = 0; i < len && (f == FLOW_ON || f == FLOW_CONTINUE); i++) {
        const struct gt_val index = key ? gt_text(key[i], false) : gt_int((int64_t)i);
        f = turn(r, n, index, key ? gt_map_get(&v, key[i]) : gt_item(&v, i));
    }
    return f == FLOW_FAIL ? f : FLOW_ON;
}

static enum flow exec_template(struct gt_run *r, const struct gt_node *n,
                               const struct gt_val *dot) {
    const struct gt_def *d = r->t->def;
    struct gt_val v = {0};
    while (d && !str_eq(d->name, n->text))
        d = d->next;
    if (!d)
        return gt_refuse(r, "template \"%.*s\" is not defined",
                         (int)(n->text.n < 60 ? n->text.n : 60), n->text.p);
    if (n->pipe && eval_pipe(r, n->pipe, dot, &v) != 0) return FLOW_FAIL;
    const int n_var = r->n_var;
    if (push(r, STR("$"), v) != 0) return FLOW_FAIL;
    const bool last_turn = r->last_turn;
    r->last_turn = false; /* the cut is in the main template */
    const enum flow f = exec_list(r, d->body, &v);
    r->last_turn = last_turn;
    r->n_var = n_var;
    return f;
}

static enum flow exec_node(struct gt_run *r, const struct gt_node *n, const struct gt_val *dot) {
    switch (n->type) {
    case GN_TEXT: return emit(r, n->text, true);
    case GN_ACTION: return exec_action(r, n, dot);
    case GN_BREAK: return FLOW_BREAK;
    case GN_CONTINUE: return FLOW_CONTINUE;
    default: break;
    }
    const int n_var = r->n_var;
    const enum flow f = n->type == GN_RANGE      ? exec_range(r, n, dot)
                        : n->type == GN_TEMPLATE ? exec_template(r, n, dot)
                                                 : exec_if(r, n, dot);
    r->n_var = n_var;
    return f;
}

static enum flow exec_list(struct gt_run *r, const struct gt_node *n, const struct gt_val *dot) {
    enum flow f = FLOW_ON;
    if (deeper(r) != 0) return FLOW_FAIL;
    for (; n && f == FLOW_ON; n = n->next) {
        if (r->last_turn && n->after) break;
        r->line = n->line;
        f = step(r) != 0 ? FLOW_FAIL : exec_node(r, n, dot);
    }
    r->depth--;
    return f;
}

int gt_exec(struct gt_run *r, const json_t *data) {
    const struct gt_val root = gt_root(data);
    r->n_var = r->depth = 0;
    if (push(r, STR("$"), root) != 0) return -1;
    return exec_list(r, r->t->body, &root) == FLOW_FAIL ? -1 : 0;
}
