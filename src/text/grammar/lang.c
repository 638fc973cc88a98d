/* See lang.h.  Code points that no part tells apart are one class (an interval between two cuts);
 * the product is built from the start by breadth first search, then what cannot reach an end is
 * left out. */
#include "text/grammar/lang.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "text/grammar/dfa.h"
#include "text/grammar/schema_gen.h"

enum { MAX_CUTS = 1024, DEAD = -1 };

struct cuts {
    uint32_t at[MAX_CUTS]; /* ascending, without repetition, once sorted; class i begins at at[i] */
    int n;
    bool full;
};

struct product {
    const struct lang_part *part;
    int n_part, n_state, cap, n_slot;
    struct cuts cuts;
    int32_t *tuple; /* [n_state][n_part] */
    int32_t *next;  /* [n_state][cuts.n] or DEAD */
    int32_t *slot;  /* hash table, -1 is free */
    bool *ends;     /* [n_state] */
    bool *alive;    /* [n_state] an end can be reached */
    int32_t *seen;  /* [n_state] the last state whose rule has it; for rules */
    int64_t *work;
    struct err *e;
};

/* ---- one part ---- */

/* A number read digit by digit beside a bound: what is known of it so far. */
struct digits {
    unsigned neg : 1, begun : 1, point : 1, nonzero : 1, over : 1, n : 6, order : 2;
}; /* order: 1 the same so far, 0 less, 2 greater; over: more digits before the point than bound */

static int32_t digits_pack(struct digits d) {
    return (int32_t)((unsigned)d.neg | d.begun << 1 | d.point << 2 | d.nonzero << 3 | d.over << 4 |
                     (unsigned)d.n << 5 | (unsigned)d.order << 11);
}

static struct digits digits_of(int32_t s) {
    const unsigned u = (unsigned)s;
    return (struct digits){u & 1,      u >> 1 & 1,  u >> 2 & 1, u >> 3 & 1,
                           u >> 4 & 1, u >> 5 & 63, u >> 11 & 3};
}

static int32_t bound_step(const struct lang_decimal *b, int32_t state, uint32_t cp) {
    struct digits d = digits_of(state);
    if (cp == '-') {
        if (d.begun) return DEAD;
        d.neg = 1, d.begun = 1;
    } else if (cp == '.') {
        if (d.point) return DEAD;
        if (d.over)
            d.order = 2;
        else if ((int)d.n < b->n_int)
            d.order = 0;
        d.point = 1, d.n = 0, d.over = 0;
    } else if (cp >= '0' && cp <= '9') {
        const int most = d.point ? b->n_frac : b->n_int, base = d.point ? b->n_int : 0;
        const char c = (char)cp;
        d.begun = 1;
        if (c != '0') d.nonzero = 1;
        if (!d.point && !d.nonzero) { /* a 0 before the point is no digit */
        } else if ((int)d.n < most) {
            const char want = b->digit[base + d.n];
            if (d.order == 1 && c != want) d.order = c < want ? 0 : 2;
            d.n++;
        } else if (!d.point) {
            d.over = 1;
        } else if (d.order == 1 && c != '0') {
            d.order = 2;
        }
    } else {
        return DEAD;
    }
    return digits_pack(d);
}

/* -1, 0, 1: the number against the bound. */
static int bound_order(const struct lang_decimal *b, int32_t state) {
    const struct digits d = digits_of(state);
    int order = (int)d.order - 1;
    bool zero = true;
    for (int i = 0; i < b->n_int + b->n_frac; i++)
        zero = zero && b->digit[i] == '0';
    if (!d.point) order = d.over ? 1 : (int)d.n < b->n_int ? -1 : order;
    if (order == 0) { /* digits of the bound that were not read */
        for (int i = d.point ? (int)d.n : 0; i < b->n_frac; i++)
            if (b->digit[b->n_int + i] != '0') order = -1;
    }
    if (!d.nonzero) return zero ? 0 : b->negative ? 1 : -1;
    if (zero) return d.neg ? -1 : 1;
    if (d.neg != b->negative) return d.neg ? -1 : 1;
    return d.neg ? -order : order;
}

/* state: rest * 16 + places seen, 15: no point yet. */
static int32_t multiple_step(const struct lang_part *p, int32_t state, uint32_t cp) {
    const int rest = state / 16, seen = state % 16;
    if (cp == '-') return state;
    if (cp == '.') return seen == 15 ? rest * 16 : DEAD;
    if (cp < '0' || cp > '9') return DEAD;
    if (seen != 15 && seen >= p->places) return cp == '0' ? state : DEAD;
    return (rest * 10 + (int32_t)(cp - '0')) % p->step * 16 + (seen == 15 ? 15 : seen + 1);
}

static bool multiple_ends(const struct lang_part *p, int32_t state) {
    int64_t rest = state / 16;
    for (int i = state % 16 == 15 ? 0 : state % 16; i < p->places; i++)
        rest = rest * 10 % p->step;
    return rest == 0;
}

static int32_t part_start(const struct lang_part *p) {
    switch (p->kind) {
    case LANG_GRAMMAR: return dfa_start(p->g->dfa);
    case LANG_LENGTH: return 0;
    case LANG_AT_LEAST:
    case LANG_AT_MOST: return digits_pack((struct digits){.order = 1});
    case LANG_MULTIPLE: return 15;
    }
    return DEAD;
}

/* The state behind cp, DEAD or DFA_FULL.  A part that is a `not` never dies: DEAD is a state. */
static int32_t part_step(const struct lang_part *p, int32_t s, uint32_t cp) {
    char u[4];
    switch (p->kind) {
    case LANG_GRAMMAR: {
        const int n = utf8_encode(cp, u);
        for (int i = 0; i < n && s >= 0; i++)
            s = dfa_step(p->g->dfa, s, (uint8_t)u[i]);
        return s;
    }
    case LANG_LENGTH: return s == p->hi ? DEAD : s >= p->lo && p->hi < 0 ? s : s + 1;
    case LANG_AT_LEAST:
    case LANG_AT_MOST: return bound_step(&p->bound, s, cp);
    case LANG_MULTIPLE: return multiple_step(p, s, cp);
    }
    return DEAD;
}

static bool part_ends(const struct lang_part *p, int32_t s) {
    int order = 0;
    switch (p->kind) {
    case LANG_GRAMMAR: return (s >= 0 && p->g->dfa->state[s].done) != p->not ;
    case LANG_LENGTH: return s >= p->lo;
    case LANG_AT_LEAST:
    case LANG_AT_MOST:
        order = bound_order(&p->bound, s);
        if (order == 0) return !p->strictly;
        return p->kind == LANG_AT_LEAST ? order > 0 : order < 0;
    case LANG_MULTIPLE: return multiple_ends(p, s);
    }
    return false;
}

/* ---- classes of code points ---- */

static void cut(struct cuts *c, uint32_t at) {
    if (at > GRAMMAR_MAX_CP) return;
    if (c->n == MAX_CUTS)
        c->full = true;
    else
        c->at[c->n++] = at;
}

static int by_number(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void sort_cuts(struct cuts *c) {
    int n = 0;
    qsort(c->at, (size_t)c->n, sizeof *c->at, by_number);
    for (int i = 0; i < c->n; i++)
        if (!n || c->at[n - 1] != c->at[i]) c->at[n++] = c->at[i];
    c->n = n;
}

/* For two more. */
static void make_room(struct cuts *c) {
    if (c->n <= MAX_CUTS - 2) return;
    sort_cuts(c);
    if (c->n > MAX_CUTS / 2) c->full = true; /* or nearly; sorting must not become a habit */
}

static void cut_grammar(struct cuts *c, const struct grammar *g) {
    for (int i = 0; i < g->n_node && !c->full; i++) {
        make_room(c);
        if (g->node[i].kind != NODE_CHAR) continue;
        cut(c, (uint32_t)g->node[i].arg), cut(c, (uint32_t)g->node[i].arg + 1);
    }
    for (int i = 0; i < g->n_range && !c->full; i++) {
        make_room(c);
        cut(c, g->range[i].lo), cut(c, g->range[i].hi + 1);
    }
}

static void make_cuts(struct product *x) {
    struct cuts *c = &x->cuts;
    cut(c, 0), cut(c, 0xd800), cut(c, 0xe000);
    for (int i = 0; i < x->n_part; i++) {
        if (x->part[i].kind == LANG_GRAMMAR) cut_grammar(c, x->part[i].g);
        if (x->part[i].kind == LANG_AT_LEAST || x->part[i].kind == LANG_AT_MOST ||
            x->part[i].kind == LANG_MULTIPLE)
            for (uint32_t cp = '-'; cp <= '9' + 1; cp++)
                cut(c, cp);
        sort_cuts(c);
    }
}

/* ---- the product ---- */

static int too_large(struct product *x) {
    return err_set(x->e, ERR_LIMIT,
                   "schema: patterns, lengths or names too large together; accepted: %d states, %d "
                   "steps",
                   LANG_MAX_STATES, LANG_MAX_WORK);
}

static bool product_grow(struct product *x) {
    const int to = x->cap ? 2 * x->cap : 64;
    const size_t n = (size_t)to, n_part = (size_t)x->n_part, n_class = (size_t)x->cuts.n;
    int32_t *t = realloc(x->tuple, n * n_part * sizeof *t);
    if (t) x->tuple = t;
    int32_t *next = t ? realloc(x->next, n * n_class * sizeof *next) : NULL;
    if (next) x->next = next;
    bool *ends = next ? realloc(x->ends, n * sizeof *ends) : NULL;
    if (ends) x->ends = ends;
    int32_t *slot = ends ? realloc(x->slot, 2 * n * sizeof *slot) : NULL;
    if (!slot) return false;
    x->slot = slot, x->cap = to, x->n_slot = 2 * to;
    memset(slot, 0xff, (size_t)x->n_slot * sizeof *slot);
    for (int s = 0; s < x->n_state; s++) {
        uint64_t i = hash64(x->tuple + (size_t)s * n_part, n_part * sizeof *t, 0);
        while (slot[i % (uint64_t)x->n_slot] >= 0)
            i++;
        slot[i % (uint64_t)x->n_slot] = s;
    }
    return true;
}

/* The state of this tuple; DEAD with an error when there is no room for it. */
static int32_t product_state(struct product *x, const int32_t *tuple) {
    const size_t bytes = (size_t)x->n_part * sizeof *tuple;
    if (x->n_state == x->cap && !product_grow(x)) {
        err_nomem(x->e, "schema");
        return DEAD;
    }
    uint64_t i = hash64(tuple, bytes, 0);
    for (; x->slot[i % (uint64_t)x->n_slot] >= 0; i++) {
        const int32_t s = x->slot[i % (uint64_t)x->n_slot];
        if (!memcmp(x->tuple + (size_t)s * (size_t)x->n_part, tuple, bytes)) return s;
    }
    if (x->n_state >= LANG_MAX_STATES || (int64_t)x->n_state * x->cuts.n > LANG_MAX_CELLS) {
        too_large(x);
        return DEAD;
    }
    memcpy(x->tuple + (size_t)x->n_state * (size_t)x->n_part, tuple, bytes);
    x->ends[x->n_state] = true;
    for (int k = 0; k < x->n_part; k++)
        if (!part_ends(&x->part[k], tuple[k])) x->ends[x->n_state] = false;
    return x->slot[i % (uint64_t)x->n_slot] = x->n_state++;
}

/* The tuple behind a code point; false: some part dies. */
static bool step(struct product *x, const int32_t *from, uint32_t cp, int32_t *to) {
    if (cp >= 0xd800 && cp < 0xe000) return false;
    for (int k = 0; k < x->n_part; k++) {
        const struct lang_part *p = &x->part[k];
        to[k] = p->not &&from[k] == DEAD ? DEAD : part_step(p, from[k], cp);
        if (to[k] == DFA_FULL) too_large(x);
        if (to[k] == DFA_FULL || (to[k] == DEAD && !p->not )) return false;
    }
    return true;
}

static int build(struct product *x) {
    int32_t tuple[LANG_MAX_PARTS], from[LANG_MAX_PARTS];
    make_cuts(x);
    if (x->cuts.full) return too_large(x);
    for (int k = 0; k < x->n_part; k++) {
        if (x->part[k].kind == LANG_GRAMMAR) dfa_begin(x->part[k].g->dfa);
        if ((tuple[k] = part_start(&x->part[k])) == DFA_FULL) return too_large(x);
    }
    product_state(x, tuple);
    for (int s = 0; s < x->n_state && !x->e->code; s++) {
        *x->work += (int64_t)x->cuts.n * x->n_part;
        if (*x->work > LANG_MAX_WORK) return too_large(x);
        for (int k = 0; k < x->n_part; k++)
            if (x->part[k].kind == LANG_GRAMMAR) { /* its positions take longer than a step */
                *x->work += 8 * x->part[k].g->dfa->work;
                x->part[k].g->dfa->work = 0;
            }
        for (int c = 0; c < x->cuts.n && !x->e->code; c++) {
            memcpy(from, x->tuple + (size_t)s * (size_t)x->n_part,
                   (size_t)x->n_part * sizeof *from);
            const int32_t to = step(x, from, x->cuts.at[c], tuple) ? product_state(x, tuple) : DEAD;
            x->next[(size_t)s * (size_t)x->cuts.n + (size_t)c] = to;
        }
    }
    return x->e->code ? -1 : 0;
}

/* Mark what reaches an end, from the ends backwards along chains of edges by target. */
static int mark_alive(struct product *x) {
    const size_t n = (size_t)x->n_state, n_class = (size_t)x->cuts.n;
    int32_t *first = malloc((n + 1) * sizeof *first), *todo = malloc((n + 1) * sizeof *todo);
    int32_t *link = malloc((n * n_class + 1) * sizeof *link);
    int n_todo = 0;
    x->alive = calloc(n + 1, sizeof *x->alive);
    if (!first || !todo || !link || !x->alive) {
        free(first), free(todo), free(link);
        return err_nomem(x->e, "schema");
    }
    memset(first, 0xff, n * sizeof *first);
    for (size_t i = 0; i < n * n_class; i++)
        if (x->next[i] >= 0) link[i] = first[x->next[i]], first[x->next[i]] = (int32_t)i;
    for (size_t s = 0; s < n; s++)
        if (x->ends[s]) x->alive[s] = true, todo[n_todo++] = (int32_t)s;
    while (n_todo > 0)
        for (int32_t i = first[todo[--n_todo]]; i >= 0; i = link[i]) {
            const int32_t s = i / x->cuts.n;
            if (!x->alive[s]) x->alive[s] = true, todo[n_todo++] = s;
        }
    free(first), free(todo), free(link);
    return 0;
}

static int product_make(struct product *x, const struct lang_part *part, int n, int64_t *work,
                        struct err *e) {
    *x = (struct product){.part = part, .n_part = n, .work = work, .e = e};
    if (n > LANG_MAX_PARTS) return too_large(x);
    return build(x) == 0 ? mark_alive(x) : -1;
}

static void product_fini(struct product *x) {
    free(x->tuple), free(x->next), free(x->slot), free(x->ends), free(x->alive);
    free(x->seen);
}

/* ---- rules ---- */

static int32_t target(const struct product *x, int s, int c) {
    const int32_t t = x->next[(size_t)s * (size_t)x->cuts.n + (size_t)c];
    return t >= 0 && x->alive[t] ? t : DEAD;
}

/* Any text goes on from here: the one state that nearly everything ends in. */
static bool universal(const struct product *x, int s) {
    for (int c = 0; c < x->cuts.n; c++)
        if (x->cuts.at[c] != 0xd800 && target(x, s, c) != s) return false;
    return x->ends[s];
}

/* The code points that lead from s to t; returns how many ranges. */
static int ranges_to(const struct product *x, int s, int32_t t, struct gen_ranges *r) {
    r->n = 0;
    for (int c = 0; c < x->cuts.n; c++) {
        if (target(x, s, c) != t) continue;
        const uint32_t lo = x->cuts.at[c];
        const uint32_t hi = c + 1 < x->cuts.n ? x->cuts.at[c + 1] - 1 : GRAMMAR_MAX_CP;
        const bool joins = r->n && (r->hi[r->n - 1] + 1 == lo || /* surrogates are nothing */
                                    (r->hi[r->n - 1] == 0xd7ff && lo == 0xe000));
        if (joins)
            r->hi[r->n - 1] = hi;
        else if (r->n < GEN_MAX_RANGES)
            r->lo[r->n] = lo, r->hi[r->n++] = hi;
        else
            return GEN_MAX_RANGES + 1;
    }
    return r->n;
}

static int state_rule(struct product *x, int s, bool raw, int id, struct buf *out) {
    struct gen_ranges r;
    buf_printf(out, "l%d-%d ::=", id, s);
    if (!raw && universal(x, s)) {
        buf_str(out, " char*\n");
        return 0;
    }
    bool more = false;
    for (int c = 0; c < x->cuts.n; c++) {
        const int32_t t = target(x, s, c);
        if (t < 0 || x->seen[t] == s + 1) continue;
        x->seen[t] = s + 1;
        if (ranges_to(x, s, t, &r) > GEN_MAX_RANGES) return too_large(x);
        buf_str(out, more ? " |" : "");
        gen_class(out, &r, raw);
        buf_printf(out, " l%d-%d", id, (int)t);
        more = true;
    }
    if (x->ends[s]) buf_str(out, more ? " | \"\"" : " \"\"");
    buf_str(out, "\n");
    if (out->n > GRAMMAR_MAX_BYTES) return too_large(x);
    return 0;
}

int lang_rules(const struct lang_part *part, int n, bool raw, int id, struct buf *out,
               char name[32], int64_t *work, struct err *e) {
    struct product x;
    int rc = product_make(&x, part, n, work, e);
    if (rc == 0) rc = x.alive[0];
    if (rc == 1 && !(x.seen = calloc((size_t)x.n_state, sizeof *x.seen)))
        rc = err_nomem(e, "schema");
    for (int s = 0; rc == 1 && s < x.n_state; s++)
        if (x.alive[s] && state_rule(&x, s, raw, id, out) != 0) rc = -1;
    product_fini(&x);
    snprintf(name, 32, "l%d-0", id);
    return rc;
}

int lang_meets(const struct lang_part *part, int n, int64_t *work, struct err *e) {
    struct product x;
    int rc = product_make(&x, part, n, work, e);
    if (rc == 0) rc = x.alive[0];
    product_fini(&x);
    return rc;
}

bool lang_accepts(const struct lang_part *part, int n, struct str text) {
    for (int k = 0; k < n; k++) {
        if (part[k].kind == LANG_GRAMMAR) dfa_begin(part[k].g->dfa);
        int32_t s = part_start(&part[k]);
        for (size_t i = 0; i < text.n && s >= 0;) {
            uint32_t cp;
            i += (size_t)utf8_decode(text.p + i, text.n - i, &cp);
            s = part_step(&part[k], s, cp);
        }
        if ((s < 0 && !part[k].not ) || !part_ends(&part[k], s)) return false;
    }
    return true;
}

/* ---- decimals ---- */

bool lang_decimal(double x, bool up, struct lang_decimal *out, bool *rounded) {
    char t[64];
    *out = (struct lang_decimal){.negative = x < 0};
    *rounded = false;
    if (!(fabs(x) < 1e15)) return false;
    x = fabs(x);
    const int n_int = x < 1 ? 0 : (int)floor(log10(x)) + 1, places = 15 - (n_int > 14 ? 14 : n_int);
    snprintf(t, sizeof t, "%.*f", places, x);
    const double back = strtod(t, NULL);
    if (back != x) { /* the digits are too few: to the side that was asked for */
        const double ulp = pow(10, -places);
        const bool away = up != out->negative; /* a larger absolute value */
        *rounded = true;
        if (away && back < x) snprintf(t, sizeof t, "%.*f", places, back + ulp);
        if (!away && back > x) snprintf(t, sizeof t, "%.*f", places, back - ulp);
    }
    const char *point = strchr(t, '.'), *p = t;
    while (*p == '0')
        p++;
    for (; p < point; p++)
        out->digit[out->n_int++] = *p;
    for (p = point + 1; *p; p++)
        out->digit[out->n_int + out->n_frac++] = *p;
    while (out->n_frac && out->digit[out->n_int + out->n_frac - 1] == '0')
        out->n_frac--;
    return true;
}
