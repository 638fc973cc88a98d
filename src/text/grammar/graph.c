/* What a parsed grammar must be before an answer is read with it: no rule may reach itself before
 * it reads a character (left recursion), or the acceptor's stack would grow without end.  Linear in
 * the nodes: which nodes a rule reaches without reading anything is a work list, where a call
 * that waits for its rule to turn out empty is woken once; the order of rules is Kahn's. */
#include "text/grammar/grammar.h"

#include <stdlib.h>

struct finish {
    struct grammar *g;
    int32_t *todo, *waiter, *edge, *before; /* waiter, edge: chains of calls by rule */
    int32_t *link, *out, *arg;              /* [n_node] of those chains */
    bool *reached, *empty;
    int n_todo;
};

static void reach(struct finish *f, int32_t node) {
    if (node < 0 || f->reached[node]) return;
    f->reached[node] = true;
    f->todo[f->n_todo++] = node;
}

static void step(struct finish *f, int32_t at) {
    const struct grammar_node *nd = &f->g->node[at];
    switch (nd->kind) {
    case NODE_SPLIT: reach(f, nd->arg); /* fall through */
    case NODE_EMPTY: reach(f, nd->next); break;
    case NODE_CALL:
        f->out[at] = f->edge[nd->rule], f->edge[nd->rule] = at;
        f->before[nd->arg]++;
        if (f->empty[nd->arg])
            reach(f, nd->next);
        else
            f->link[at] = f->waiter[nd->arg], f->waiter[nd->arg] = at;
        break;
    case NODE_END:
        f->empty[nd->rule] = true;
        for (int32_t w = f->waiter[nd->rule]; w >= 0; w = f->link[w])
            reach(f, f->g->node[w].next);
        f->waiter[nd->rule] = -1;
        break;
    case NODE_CHAR:
    case NODE_SET: break;
    }
}

/* Take rules that nobody calls first away; what stays is on a circle, or behind one. */
static int no_circle(struct finish *f, struct err *e) {
    const struct grammar *g = f->g;
    int gone = 0;
    f->n_todo = 0;
    for (int r = 0; r < g->n_rule; r++)
        if (!f->before[r]) f->todo[f->n_todo++] = r;
    for (; f->n_todo > 0; gone++)
        for (int32_t c = f->edge[f->todo[--f->n_todo]]; c >= 0; c = f->out[c])
            if (--f->before[g->node[c].arg] == 0) f->todo[f->n_todo++] = g->node[c].arg;
    if (gone == g->n_rule) return 0;
    int at = 0;
    while (!f->before[at] || (!g->rule[at].name.n && at + 1 < g->n_rule))
        at++;
    return err_set(e, ERR_FORMAT,
                   "grammar: left recursion at or behind rule \"%.*s\"; a rule must read something "
                   "before it comes to itself",
                   (int)(g->rule[at].name.n < 80 ? g->rule[at].name.n : 80), g->rule[at].name.p);
}

/* ---- what can end ---- */

/* Mark a node from which the end of its rule can be reached; by and by all that lead to it. */
static void can_end(struct finish *f, int32_t at) {
    if (f->reached[at]) return;
    f->reached[at] = true;
    f->todo[f->n_todo++] = at;
}

static void lead_to(struct finish *f, int32_t p) {
    const struct grammar_node *nd = &f->g->node[p];
    if (nd->kind == NODE_SET && !f->g->set[nd->arg].n) return;
    if (nd->kind == NODE_CALL && !f->empty[nd->arg])
        return; /* empty: of rules, that they can end */
    if (nd->kind != NODE_END) can_end(f, p);
}

/* Chains of who comes before a node, by next (waiter, link) and by the other branch (before, arg),
 * and of who calls a rule (edge, out). */
static void chain_up(struct finish *f) {
    const struct grammar *g = f->g;
    for (int i = 0; i <= g->n_node || i <= g->n_rule; i++)
        f->waiter[i] = f->before[i] = f->edge[i] = -1, f->reached[i] = f->empty[i] = false;
    for (int32_t i = 0; i < g->n_node; i++) {
        const struct grammar_node *nd = &g->node[i];
        if (nd->next < 0)
            continue; /* an end, or what is repeated {0,0} times: nobody comes there */
        f->link[i] = f->waiter[nd->next], f->waiter[nd->next] = i;
        if (nd->kind == NODE_SPLIT) f->arg[i] = f->before[nd->arg], f->before[nd->arg] = i;
        if (nd->kind == NODE_CALL) f->out[i] = f->edge[nd->arg], f->edge[nd->arg] = i;
    }
}

/* A branch that never comes to an end is no choice: where it was read an answer would get stuck. */
static int drop_endless(struct finish *f, struct err *e) {
    struct grammar *g = f->g;
    chain_up(f);
    f->n_todo = 0;
    for (int32_t i = 0; i < g->n_node; i++)
        if (g->node[i].kind == NODE_END) can_end(f, i);
    while (f->n_todo > 0) {
        const int32_t at = f->todo[--f->n_todo], r = g->node[at].rule;
        for (int32_t p = f->waiter[at]; p >= 0; p = f->link[p])
            lead_to(f, p);
        for (int32_t p = f->before[at]; p >= 0; p = f->arg[p])
            lead_to(f, p);
        if (g->rule[r].start != at || f->empty[r]) continue;
        f->empty[r] = true;
        for (int32_t c = f->edge[r]; c >= 0; c = f->out[c])
            if (f->reached[g->node[c].next]) can_end(f, c);
    }
    for (int32_t i = 0; i < g->n_node; i++) {
        struct grammar_node *nd = &g->node[i];
        if (nd->kind != NODE_SPLIT || nd->next < 0) continue;
        if (f->reached[nd->arg] == f->reached[nd->next]) continue;
        if (f->reached[nd->arg]) nd->next = nd->arg;
        nd->kind = NODE_EMPTY;
    }
    return f->empty[g->root]
               ? 0
               : err_set(e, ERR_FORMAT, "grammar: no text reaches the end of rule \"root\"");
}

static int32_t past_empty(const struct grammar *g, int32_t at) {
    while (at >= 0 && g->node[at].kind == NODE_EMPTY)
        at = g->node[at].next;
    return at;
}

static void skip_empty(struct grammar *g) {
    for (int i = g->n_node - 1; i >= 0; i--) {
        struct grammar_node *nd = &g->node[i];
        nd->next = past_empty(g, nd->next);
        if (nd->kind == NODE_SPLIT) nd->arg = past_empty(g, nd->arg);
    }
    for (int r = 0; r < g->n_rule; r++)
        g->rule[r].start = past_empty(g, g->rule[r].start);
}

/* ---- sets ---- */

static int by_lo(const void *pa, const void *pb) {
    const struct grammar_range *a = pa, *b = pb;
    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

/* One set's ranges to out: ascending, apart, none negated.  Returns how many. */
static int tidy(struct grammar_range *r, int n, bool negated, struct grammar_range *out) {
    int m = 0;
    uint32_t free_from = 0; /* of a negated set */
    if (n > 1) qsort(r, (size_t)n, sizeof *r, by_lo);
    for (int i = 0; i < n;) {
        struct grammar_range one = r[i++];
        for (; i < n && r[i].lo <= one.hi + 1; i++)
            if (r[i].hi > one.hi) one.hi = r[i].hi;
        if (!negated)
            out[m++] = one;
        else if (one.lo > free_from)
            out[m++] = (struct grammar_range){free_from, one.lo - 1};
        free_from = one.hi + 1;
    }
    if (negated && free_from <= GRAMMAR_MAX_CP)
        out[m++] = (struct grammar_range){free_from, GRAMMAR_MAX_CP};
    return m;
}

/* All sets as grammar_reads wants them. */
static int tidy_sets(struct grammar *g, struct err *e) {
    struct grammar_range *all = malloc(((size_t)g->n_range + (size_t)g->n_set + 1) * sizeof *all);
    if (!all) return err_nomem(e, "grammar");
    int n = 0;
    for (int i = 0; i < g->n_set; i++) {
        struct grammar_set *s = &g->set[i];
        struct grammar_range *from = s->n ? g->range + s->first : NULL;
        s->first = n;
        s->n = tidy(from, s->n, s->negated, all + n);
        s->negated = false;
        n += s->n;
    }
    free(g->range);
    g->range = all, g->n_range = n;
    return 0;
}

enum grammar_part grammar_reads(const struct grammar *g, const struct grammar_node *nd, uint32_t lo,
                                uint32_t hi) {
    if (nd->kind == NODE_CHAR) {
        const uint32_t c = (uint32_t)nd->arg;
        return c < lo || c > hi ? READS_NONE : lo == hi ? READS_ALL : READS_SOME;
    }
    if (nd->kind != NODE_SET) return READS_NONE;
    const struct grammar_set *s = &g->set[nd->arg];
    int from = s->first, to = s->first + s->n; /* the first range that does not end below lo */
    while (from < to) {
        const int mid = from + (to - from) / 2;
        if (g->range[mid].hi < lo)
            from = mid + 1;
        else
            to = mid;
    }
    if (from == s->first + s->n || g->range[from].lo > hi) return READS_NONE;
    return g->range[from].lo <= lo && g->range[from].hi >= hi ? READS_ALL : READS_SOME;
}

int grammar_finish(struct grammar *g, struct err *e) {
    const size_t n = (size_t)(g->n_node > g->n_rule ? g->n_node : g->n_rule) + 1;
    int32_t *mem = malloc(7 * n * sizeof *mem);
    bool *flags = calloc(2 * n, sizeof *flags);
    struct finish f = {.g = g,
                       .todo = mem,
                       .waiter = mem + n,
                       .edge = mem + 2 * n,
                       .before = mem + 3 * n,
                       .link = mem + 4 * n,
                       .out = mem + 5 * n,
                       .arg = mem + 6 * n,
                       .reached = flags,
                       .empty = flags + n};
    int rc = -1;
    if (!mem || !flags) {
        err_nomem(e, "grammar");
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        f.waiter[i] = f.edge[i] = -1, f.before[i] = 0;
    for (int r = 0; r < g->n_rule; r++) {
        reach(&f, g->rule[r].start);
        while (f.n_todo > 0)
            step(&f, f.todo[--f.n_todo]);
    }
    rc = no_circle(&f, e);
    if (rc == 0) rc = tidy_sets(g, e);
    if (rc == 0) rc = drop_endless(&f, e);
    if (rc == 0) skip_empty(g);
done:
    free(mem), free(flags);
    return rc;
}
