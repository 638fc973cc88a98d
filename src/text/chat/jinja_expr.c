/* Expressions to trees, in Jinja's order of precedence: if-else, or, and, not, comparisons, + -,
 * ~, * / // %, **, unary, then postfix, filters and tests. */
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja_priv.h"

static void append(struct jnode ***tail, struct jnode *n) {
    if (!n) return;
    **tail = n;
    *tail = &n->next;
}

static bool starts_name(const struct jparse *p, const char *const *names) {
    for (; *names; names++)
        if (jp_is_name(p, *names)) return true;
    return false;
}

static struct jnode *number(struct jparse *p) {
    struct jnode *n = jp_node(p, N_CONST, NULL, NULL);
    char z[128];
    size_t k = 0;
    for (size_t i = 0; i < p->tok->text.n && k < sizeof z - 1; i++)
        if (p->tok->text.p[i] != '_') z[k++] = p->tok->text.p[i];
    z[k] = 0;
    if (!n) return n;
    n->value = jv_float(strtod(z, NULL));
    if (p->tok->kind == T_INT) {
        const int base = z[0] == '0' && (z[1] | 32) == 'x'   ? 16
                         : z[0] == '0' && (z[1] | 32) == 'o' ? 8
                         : z[0] == '0' && (z[1] | 32) == 'b' ? 2
                                                             : 10;
        jint i = 0;
        for (const char *c = z + (base == 10 ? 0 : 2); *c; c++) {
            const int d = *c <= '9' ? *c - '0' : (*c | 32) - 'a' + 10;
            if (d < 0 || d >= base || i > ((jint)1 << 120))
                return jp_fail(p, "a number that is none or too large");
            i = i * base + d;
        }
        n->value = jv_int(i);
    }
    p->tok++;
    return n;
}

static struct jnode *string(struct jparse *p) {
    struct jnode *n = jp_node(p, N_CONST, NULL, NULL);
    struct jstr *s = arena_alloc(p->arena, sizeof *s);
    size_t total = 0;
    for (const struct jtok *t = p->tok; t->kind == T_STR; t++)
        total += t->text.n;
    char *text = arena_alloc(p->arena, total + 1);
    if (!n || !s || !text) return jp_fail(p, "out of memory");
    *s = (struct jstr){.p = text, .n = total};
    for (; p->tok->kind == T_STR; p->tok++) {
        memcpy(text, p->tok->text.p, p->tok->text.n);
        text += p->tok->text.n;
    }
    n->value = (struct jv){.kind = J_STR, .s = s};
    return n;
}

static struct jnode *name(struct jparse *p) {
    static const char *const known[] = {"true", "True", "false", "False", "none", "None"};
    struct jnode *n = jp_node(p, N_NAME, NULL, NULL);
    if (!n) return n;
    n->text = p->tok->text;
    for (int i = 0; i < 6; i++)
        if (jp_is_name(p, known[i])) {
            n->kind = N_CONST;
            n->value = i < 4 ? jv_bool(i < 2) : jv_none();
        }
    p->tok++;
    return n;
}

static struct jnode *list(struct jparse *p) {
    struct jnode *n = jp_node(p, N_LIST, NULL, NULL), **tail = n ? &n->list : NULL;
    while (!p->failed && !jp_take(p, ']')) {
        append(&tail, jp_expr(p, true));
        if (!jp_is(p, ']')) jp_need(p, ',');
    }
    return n;
}

static struct jnode *dict(struct jparse *p) {
    struct jnode *n = jp_node(p, N_DICT, NULL, NULL), **tail = n ? &n->list : NULL;
    while (!p->failed && !jp_take(p, '}')) {
        struct jnode *k = jp_expr(p, true);
        jp_need(p, ':');
        append(&tail, jp_node(p, N_PAIR, k, jp_expr(p, true)));
        if (!jp_is(p, '}')) jp_need(p, ',');
    }
    return n;
}

struct jnode *jp_primary(struct jparse *p) {
    switch (p->tok->kind) {
    case T_NAME: return name(p);
    case T_STR: return string(p);
    case T_INT:
    case T_FLOAT: return number(p);
    default: break;
    }
    if (jp_take(p, '[')) return list(p);
    if (jp_take(p, '{')) return dict(p);
    if (jp_take(p, '(')) {
        struct jnode *n = jp_is(p, ')') ? jp_node(p, N_TUPLE, NULL, NULL) : jp_tuple(p, true);
        jp_need(p, ')');
        return n;
    }
    return jp_fail(p, "an expression is missing");
}

/* op: '*' for a list of arguments, OP_POW for a dict of named ones. */
static struct jnode *arguments(struct jparse *p) {
    struct jnode *first = NULL, **tail = &first;
    while (!p->failed && !jp_take(p, ')')) {
        struct str kw = {0};
        const int star = jp_take(p, '*') ? '*' : jp_take(p, OP_POW) ? OP_POW : 0;
        if (!star && p->tok->kind == T_NAME && p->tok[1].kind == T_OP && p->tok[1].op == '=') {
            kw = p->tok->text;
            p->tok += 2;
        }
        struct jnode *a = jp_node(p, N_ARG, jp_expr(p, true), NULL);
        if (a) a->text = kw, a->op = star;
        append(&tail, a);
        if (!jp_is(p, ')')) jp_need(p, ',');
    }
    return first;
}

static struct jnode *call(struct jparse *p, struct jnode *f) {
    struct jnode *n = jp_node(p, N_CALL, f, NULL);
    struct jnode *args = arguments(p);
    if (n) n->list = args;
    return n;
}

static struct jnode *subscript(struct jparse *p, struct jnode *n) {
    struct jnode *part[3] = {0};
    int i = 0;
    bool slice = false;
    while (!p->failed && !jp_is(p, ']')) {
        if (jp_take(p, ':')) {
            slice = true;
            if (++i > 2) return jp_fail(p, "a slice of more than three parts");
        } else if (part[i]) {
            return jp_fail(p, "\"]\" is missing");
        } else {
            part[i] = jp_expr(p, true);
        }
    }
    jp_need(p, ']');
    if (!slice)
        return part[0] ? jp_node(p, N_ITEM, n, part[0]) : jp_fail(p, "a subscript is missing");
    struct jnode *s = jp_node(p, N_SLICE, n, part[0]);
    if (s) s->c = part[1];
    if (s) s->list = part[2];
    return s;
}

struct jnode *jp_postfix(struct jparse *p, struct jnode *n) {
    while (!p->failed) {
        if (jp_take(p, '.')) {
            if (p->tok->kind == T_INT) {
                n = jp_node(p, N_ITEM, n, number(p));
                continue;
            }
            if (p->tok->kind != T_NAME) return jp_fail(p, "a name is missing behind \".\"");
            n = jp_node(p, N_ATTR, n, NULL);
            if (n) n->text = p->tok->text;
            p->tok++;
        } else if (jp_take(p, '[')) {
            n = subscript(p, n);
        } else if (jp_take(p, '(')) {
            n = call(p, n);
        } else {
            break;
        }
    }
    return n;
}

/* The name of a filter or test; it may have dots. */
static struct str dotted(struct jparse *p) {
    struct str s = p->tok++->text;
    while (jp_is(p, '.') && p->tok[1].kind == T_NAME) {
        s.n = (size_t)(p->tok[1].text.p + p->tok[1].text.n - s.p);
        p->tok += 2;
    }
    return s;
}

static struct jnode *test(struct jparse *p, struct jnode *n) {
    static const char *const words[] = {"else", "or",  "and",       "if", "in",
                                        "is",   "not", "recursive", NULL};
    const bool negated = jp_take_name(p, "not");
    if (p->tok->kind != T_NAME) return jp_fail(p, "the name of a test is missing");
    struct jnode *t = jp_node(p, N_TEST, n, NULL), *arg = NULL;
    if (!t) return t;
    t->text = dotted(p);
    t->op = negated;
    if (jp_take(p, '(')) {
        arg = arguments(p);
    } else if ((p->tok->kind == T_NAME && !starts_name(p, words)) || p->tok->kind == T_STR ||
               p->tok->kind == T_INT || p->tok->kind == T_FLOAT || jp_is(p, '[') || jp_is(p, '{')) {
        arg = jp_node(p, N_ARG, jp_postfix(p, jp_primary(p)), NULL);
    } else if (jp_is_name(p, "is")) {
        return jp_fail(p, "a test of a test; \"and\" is accepted");
    }
    t->list = arg;
    return t;
}

/* bare: the first filter stands without its "|". */
struct jnode *jp_filters(struct jparse *p, struct jnode *n, bool bare) {
    while (!p->failed) {
        if (bare || jp_take(p, '|')) {
            bare = false;
            if (p->tok->kind != T_NAME) return jp_fail(p, "the name of a filter is missing");
            n = jp_node(p, N_FILTER, n, NULL);
            if (!n) return n;
            n->text = dotted(p);
            if (jp_take(p, '(')) n->list = arguments(p);
        } else if (jp_take_name(p, "is")) {
            n = test(p, n);
        } else if (jp_take(p, '(')) {
            n = call(p, n);
        } else {
            break;
        }
    }
    return n;
}

struct jnode *jp_unary(struct jparse *p, bool filters) {
    struct jnode *n;
    if (!jp_enter(p)) return NULL;
    if (jp_take(p, '-'))
        n = jp_node(p, N_NEG, jp_unary(p, false), NULL);
    else if (jp_take(p, '+'))
        n = jp_node(p, N_POS, jp_unary(p, false), NULL);
    else
        n = jp_primary(p);
    n = jp_postfix(p, n);
    if (filters) n = jp_filters(p, n, false);
    p->depth--;
    return n;
}

static struct jnode *binary(struct jparse *p, const int *ops,
                            struct jnode *(*next)(struct jparse *)) {
    struct jnode *n = next(p);
    while (!p->failed) {
        int op = 0;
        for (const int *o = ops; *o && !op; o++)
            if (jp_take(p, *o)) op = *o;
        if (!op) break;
        n = jp_node(p, N_BINARY, n, next(p));
        if (n) n->op = op;
    }
    return n;
}

static struct jnode *unary(struct jparse *p) {
    return jp_unary(p, true);
}

static struct jnode *power(struct jparse *p) {
    static const int ops[] = {OP_POW, 0};
    return binary(p, ops, unary);
}

static struct jnode *product(struct jparse *p) {
    static const int ops[] = {'*', '/', OP_DIV, '%', 0};
    return binary(p, ops, power);
}

static struct jnode *concat(struct jparse *p) {
    struct jnode *n = product(p);
    if (!jp_is(p, '~')) return n;
    struct jnode *c = jp_node(p, N_CONCAT, NULL, NULL), **tail = c ? &c->list : NULL;
    if (!c) return c;
    append(&tail, n);
    while (!p->failed && jp_take(p, '~'))
        append(&tail, product(p));
    return c;
}

static struct jnode *sum(struct jparse *p) {
    static const int ops[] = {'+', '-', 0};
    return binary(p, ops, concat);
}

static int compare_op(struct jparse *p) {
    static const int ops[] = {OP_EQ, OP_NE, OP_LE, OP_GE, '<', '>', 0};
    for (const int *o = ops; *o; o++)
        if (jp_take(p, *o)) return *o;
    if (jp_take_name(p, "in")) return OP_IN;
    if (jp_is_name(p, "not") && p->tok[1].kind == T_NAME && str_is(p->tok[1].text, "in")) {
        p->tok += 2;
        return OP_NOT_IN;
    }
    return 0;
}

static struct jnode *compare(struct jparse *p) {
    struct jnode *n = sum(p), *c = NULL, **tail = NULL;
    for (int op; !p->failed && (op = compare_op(p)) != 0;) {
        if (!c) {
            c = jp_node(p, N_COMPARE, n, NULL);
            if (!c) return c;
            tail = &c->list;
        }
        struct jnode *o = jp_node(p, N_OPERAND, sum(p), NULL);
        if (o) o->op = op;
        append(&tail, o);
    }
    return c ? c : n;
}

static struct jnode *negation(struct jparse *p) {
    if (!jp_is_name(p, "not")) return compare(p);
    if (!jp_enter(p)) return NULL;
    p->tok++;
    struct jnode *n = jp_node(p, N_NOT, negation(p), NULL);
    p->depth--;
    return n;
}

static struct jnode *conjunction(struct jparse *p) {
    struct jnode *n = negation(p);
    while (!p->failed && jp_take_name(p, "and"))
        n = jp_node(p, N_AND, n, negation(p));
    return n;
}

static struct jnode *disjunction(struct jparse *p) {
    struct jnode *n = conjunction(p);
    while (!p->failed && jp_take_name(p, "or"))
        n = jp_node(p, N_OR, n, conjunction(p));
    return n;
}

struct jnode *jp_expr(struct jparse *p, bool cond) {
    if (!jp_enter(p)) return NULL;
    struct jnode *n = disjunction(p);
    while (cond && !p->failed && jp_take_name(p, "if")) {
        struct jnode *c = jp_node(p, N_COND, disjunction(p), n);
        if (c && jp_take_name(p, "else")) c->c = jp_expr(p, true);
        n = c;
    }
    p->depth--;
    return n;
}

/* One expression, or several with commas: a tuple. */
struct jnode *jp_tuple(struct jparse *p, bool cond) {
    struct jnode *n = jp_expr(p, cond);
    if (!jp_is(p, ',')) return n;
    struct jnode *t = jp_node(p, N_TUPLE, NULL, NULL), **tail = t ? &t->list : NULL;
    if (!t) return t;
    append(&tail, n);
    while (!p->failed && jp_take(p, ',')) {
        if (p->tok->kind == T_VAR_END || p->tok->kind == T_BLOCK_END || jp_is(p, ')')) break;
        append(&tail, jp_expr(p, cond));
    }
    return t;
}
