/* Statements to trees.  What the fields of a node hold stands beside its parser. */
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja_priv.h"

enum { MAX_NEST = 100, MAX_HEIGHT = 400 };

struct jnode *jp_fail(struct jparse *p, const char *what) {
    if (!p->failed) err_set(p->e, ERR_FORMAT, "%s: line %d: %s", p->name, p->tok->line, what);
    p->failed = true;
    return NULL;
}

bool jp_enter(struct jparse *p) {
    if (!p->failed && p->depth >= MAX_NEST) {
        err_set(p->e, ERR_LIMIT, "%s: line %d: nested deeper than the %d that are accepted",
                p->name, p->tok->line, MAX_NEST);
        p->failed = true;
    }
    if (p->failed) return false;
    p->depth++;
    return true;
}

/* Operands first: they are parsed before their node is made. */
struct jnode *jp_node(struct jparse *p, enum jnode_kind kind, struct jnode *a, struct jnode *b) {
    if (p->failed) return NULL;
    struct jnode *n = arena_alloc(p->arena, sizeof *n);
    if (!n) return jp_fail(p, "out of memory");
    n->kind = kind;
    n->line = p->tok->line;
    n->a = a;
    n->b = b;
    const int ha = a ? a->height : 0, hb = b ? b->height : 0;
    n->height = 1 + (ha > hb ? ha : hb);
    if (n->height <= MAX_HEIGHT) return n;
    err_set(p->e, ERR_LIMIT, "%s: line %d: more than %d operators in a row", p->name, n->line,
            MAX_HEIGHT);
    p->failed = true;
    return NULL;
}

bool jp_is(const struct jparse *p, int op) {
    return p->tok->kind == T_OP && p->tok->op == op;
}

bool jp_is_name(const struct jparse *p, const char *name) {
    return p->tok->kind == T_NAME && str_is(p->tok->text, name);
}

bool jp_take(struct jparse *p, int op) {
    if (p->failed || !jp_is(p, op)) return false;
    p->tok++;
    return true;
}

bool jp_take_name(struct jparse *p, const char *name) {
    if (p->failed || !jp_is_name(p, name)) return false;
    p->tok++;
    return true;
}

void jp_need(struct jparse *p, int op) {
    const char what[] = {'"', (char)op, '"', ' ', 'i', 's', ' ', 'm',
                         'i', 's',      's', 'i', 'n', 'g', 0};
    if (!p->failed && !jp_take(p, op)) jp_fail(p, what);
}

static void block_end(struct jparse *p) {
    if (p->failed) return;
    if (p->tok->kind != T_BLOCK_END)
        jp_fail(p, "\"%}\" is missing");
    else
        p->tok++;
}

static struct str take_name(struct jparse *p) {
    if (!p->failed && p->tok->kind == T_NAME) return p->tok++->text;
    jp_fail(p, "a name is missing");
    return STR("");
}

static struct jnode *statement(struct jparse *p);

static struct jnode *print(struct jparse *p) {
    struct jnode *n = jp_node(p, N_PRINT, jp_tuple(p, true), NULL);
    if (!p->failed && p->tok->kind != T_VAR_END) return jp_fail(p, "\"}}\" is missing");
    if (!p->failed) p->tok++;
    return n;
}

/* Up to a block that begins with one of the names, which stays to be read. */
static struct jnode *body(struct jparse *p, const char *end1, const char *end2, const char *end3) {
    struct jnode *first = NULL, **tail = &first;
    if (!jp_enter(p)) return NULL;
    while (!p->failed) {
        struct jnode *n = NULL;
        if (p->tok->kind == T_TEXT) {
            n = jp_node(p, N_TEXT, NULL, NULL);
            if (n) n->text = p->tok++->text;
        } else if (p->tok->kind == T_VAR) {
            p->tok++;
            n = print(p);
        } else if (p->tok->kind == T_BLOCK) {
            p->tok++;
            if (end1 && (jp_is_name(p, end1) || (end2 && jp_is_name(p, end2)) ||
                         (end3 && jp_is_name(p, end3))))
                break;
            n = statement(p);
        } else {
            if (end1) jp_fail(p, "the template ends inside a block");
            break;
        }
        if (!n) break;
        *tail = n;
        tail = &n->next;
    }
    p->depth--;
    return first;
}

static struct jnode *body_to(struct jparse *p, const char *end) {
    block_end(p);
    struct jnode *b = body(p, end, NULL, NULL);
    if (!p->failed) p->tok++;
    return b;
}

/* a: test; body; orelse.  An elif is a chain of orelse, read in a loop. */
static struct jnode *parse_if(struct jparse *p) {
    struct jnode *first = NULL, **at = &first;
    for (;;) {
        struct jnode *n = jp_node(p, N_IF, jp_tuple(p, false), NULL);
        if (!n) return NULL;
        *at = n;
        block_end(p);
        n->body = body(p, "elif", "else", "endif");
        if (p->failed) return NULL;
        at = &n->orelse;
        if (!jp_take_name(p, "elif")) break;
    }
    if (jp_take_name(p, "else"))
        *at = body_to(p, "endif");
    else
        p->tok++;
    block_end(p);
    return first;
}

/* Names to assign to: one, a.b, or several. */
static struct jnode *target(struct jparse *p) {
    struct jnode *first = NULL, **tail = &first;
    const bool paren = jp_take(p, '(');
    do {
        struct jnode *n = jp_node(p, N_NAME, NULL, NULL);
        if (!n) return NULL;
        n->text = take_name(p);
        if (jp_take(p, '.')) {
            struct jnode *m = jp_node(p, N_ATTR, n, NULL);
            if (!m) return NULL;
            m->text = take_name(p);
            n = m;
        }
        *tail = n;
        tail = &n->next;
    } while (jp_take(p, ',') && p->tok->kind == T_NAME && !jp_is_name(p, "in"));
    if (paren) jp_need(p, ')');
    if (!first || !first->next) return first;
    struct jnode *t = jp_node(p, N_TUPLE, NULL, NULL);
    if (t) t->list = first;
    return t;
}

/* a: target; b: what is iterated; c: filter; op: recursive; body; orelse. */
static struct jnode *parse_for(struct jparse *p) {
    struct jnode *t = target(p);
    if (!p->failed && !jp_take_name(p, "in")) return jp_fail(p, "\"in\" is missing");
    struct jnode *n = jp_node(p, N_FOR, t, jp_tuple(p, false));
    if (!n) return NULL;
    if (jp_take_name(p, "if")) n->c = jp_expr(p, true);
    n->op = jp_take_name(p, "recursive");
    block_end(p);
    p->n_loop++;
    n->body = body(p, "else", "endfor", NULL);
    p->n_loop--;
    if (jp_take_name(p, "else"))
        n->orelse = body_to(p, "endfor");
    else if (!p->failed)
        p->tok++;
    block_end(p);
    return n;
}

/* a: target; b: value, or the filters of a block over N_INPUT; body. */
static struct jnode *parse_set(struct jparse *p) {
    struct jnode *t = target(p);
    if (jp_take(p, '=')) {
        struct jnode *n = jp_node(p, N_SET, t, jp_tuple(p, true));
        block_end(p);
        return n;
    }
    struct jnode *f = jp_filters(p, jp_node(p, N_INPUT, NULL, NULL), false);
    struct jnode *n = jp_node(p, N_SET_BLOCK, t, f);
    struct jnode *b = body_to(p, "endset");
    block_end(p);
    if (n) n->body = b;
    return n;
}

/* list of N_NAME: text, a: default. */
static struct jnode *parameters(struct jparse *p) {
    struct jnode *first = NULL, **tail = &first;
    jp_need(p, '(');
    while (!p->failed && !jp_take(p, ')')) {
        struct jnode *n = jp_node(p, N_NAME, NULL, NULL);
        if (!n) return NULL;
        n->text = take_name(p);
        if (jp_take(p, '=')) n->a = jp_expr(p, true);
        *tail = n;
        tail = &n->next;
        if (!jp_is(p, ')')) jp_need(p, ',');
    }
    return first;
}

/* Which of the names that a macro may ask for stand between two tokens. */
static int extras(const struct jtok *from, const struct jtok *to) {
    int found = 0;
    for (const struct jtok *t = from; t < to; t++) {
        if (t->kind != T_NAME || (t > from && t[-1].kind == T_OP && t[-1].op == '.')) continue;
        found |= str_is(t->text, "varargs")  ? JM_VARARGS
                 : str_is(t->text, "kwargs") ? JM_KWARGS
                 : str_is(t->text, "caller") ? JM_CALLER
                                             : 0;
    }
    return found;
}

/* list: parameters; op: JM_...; body. */
static struct jnode *parse_macro(struct jparse *p) {
    struct jnode *n = jp_node(p, N_MACRO, NULL, NULL);
    if (!n) return NULL;
    n->text = take_name(p);
    n->list = parameters(p);
    const struct jtok *from = p->tok;
    const int outer = p->n_loop;
    p->n_loop = 0;
    n->body = body_to(p, "endmacro");
    p->n_loop = outer;
    n->op = extras(from, p->tok);
    jp_take_name(p, "endmacro");
    if (p->tok->kind == T_NAME) p->tok++; /* {% endmacro name %} */
    block_end(p);
    return n;
}

/* list: parameters of caller; a: the call; op: JM_...; body. */
static struct jnode *parse_call(struct jparse *p) {
    struct jnode *n = jp_node(p, N_CALL_BLOCK, NULL, NULL);
    if (!n) return NULL;
    n->text = STR("caller");
    if (jp_is(p, '(')) n->list = parameters(p);
    n->a = jp_expr(p, true);
    if (!p->failed && n->a->kind != N_CALL) return jp_fail(p, "a call is missing");
    const struct jtok *from = p->tok;
    const int outer = p->n_loop;
    p->n_loop = 0;
    n->body = body_to(p, "endcall");
    p->n_loop = outer;
    n->op = extras(from, p->tok);
    block_end(p);
    return n;
}

/* b: filters over N_INPUT; body. */
static struct jnode *parse_filter(struct jparse *p) {
    struct jnode *f = jp_filters(p, jp_node(p, N_INPUT, NULL, NULL), true);
    struct jnode *n = jp_node(p, N_FILTER_BLOCK, NULL, f);
    struct jnode *b = body_to(p, "endfilter");
    block_end(p);
    if (n) n->body = b;
    return n;
}

/* list of N_SET; body. */
static struct jnode *parse_with(struct jparse *p) {
    struct jnode *n = jp_node(p, N_WITH, NULL, NULL), **tail = n ? &n->list : NULL;
    while (n && !p->failed && p->tok->kind == T_NAME) {
        struct jnode *t = jp_node(p, N_NAME, NULL, NULL);
        if (!t) return NULL;
        t->text = take_name(p);
        jp_need(p, '=');
        struct jnode *s = jp_node(p, N_SET, t, jp_expr(p, true));
        if (!s) return NULL;
        *tail = s;
        tail = &s->next;
        if (!jp_take(p, ',')) break;
    }
    struct jnode *b = body_to(p, "endwith");
    block_end(p);
    if (n) n->body = b;
    return n;
}

static struct jnode *parse_generation(struct jparse *p) {
    struct jnode *n = jp_node(p, N_GROUP, NULL, NULL);
    struct jnode *b = body_to(p, "endgeneration");
    block_end(p);
    if (n) n->body = b;
    return n;
}

static struct jnode *parse_block(struct jparse *p) {
    struct jnode *n = jp_node(p, N_GROUP, NULL, NULL);
    take_name(p);
    struct jnode *b = body_to(p, "endblock");
    if (p->tok->kind == T_NAME) p->tok++;
    block_end(p);
    if (n) n->body = b;
    return n;
}

static struct jnode *parse_break(struct jparse *p) {
    if (!p->n_loop) return jp_fail(p, "a break outside of a loop");
    struct jnode *n = jp_node(p, N_BREAK, NULL, NULL);
    block_end(p);
    return n;
}

static struct jnode *parse_continue(struct jparse *p) {
    if (!p->n_loop) return jp_fail(p, "a continue outside of a loop");
    struct jnode *n = jp_node(p, N_CONTINUE, NULL, NULL);
    block_end(p);
    return n;
}

static struct jnode *statement(struct jparse *p) {
    static const struct {
        const char *name;
        struct jnode *(*parse)(struct jparse *);
    } table[] = {
        {"if", parse_if},
        {"for", parse_for},
        {"set", parse_set},
        {"macro", parse_macro},
        {"call", parse_call},
        {"filter", parse_filter},
        {"with", parse_with},
        {"generation", parse_generation},
        {"block", parse_block},
        {"break", parse_break},
        {"continue", parse_continue},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (jp_take_name(p, table[i].name)) return table[i].parse(p);
    return jp_fail(p, "an unknown statement; if, for, set, macro, call, filter, with, block, "
                      "generation, raw, break and continue are accepted");
}

struct jnode *jinja_parse(struct jparse *p) {
    return body(p, NULL, NULL, NULL);
}
