/* The tape's memory, and what it knows of values that were saved already. */
#include "train/tape.h"

#include <assert.h>
#include <string.h>

float *grad_of(const struct train_ctx *c, const void *p) {
    int lo = 0, hi = c->n_range; /* the last range that begins at or before p */
    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if ((const void *)c->range[mid].lo <= p)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0 || p >= (const void *)c->range[lo - 1].hi) return NULL;
    return c->range[lo - 1].g + ((const float *)p - c->range[lo - 1].lo);
}

void tape_begin(struct train_ctx *c, struct tape *t) {
    c->tape = t;
    c->n_recent = 0;
    if (t) t->n_op = 0, t->used = 0;
}

struct tape_op *tape_push(struct train_ctx *c, enum tape_kind kind) {
    struct tape *t = c->tape;
    if (!t) return NULL;
    assert(t->n_op < TAPE_OPS);
    struct tape_op *op = &t->op[t->n_op++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    return op;
}

/* Worker 0. */
static float *take(struct tape *t, size_t n) {
    float *p = t->mem ? (float *)(void *)(t->mem + t->used) : NULL;
    t->used += (n * sizeof(float) + 63) & ~(size_t)63;
    assert(!t->mem || t->used <= t->cap); /* the dry run counted the same */
    return p;
}

float *tape_room(struct worker *w, size_t n) {
    struct train_ctx *c = train_ctx(w);
    if (!c->tape) return NULL;
    team_barrier(w); /* everybody has read the last one */
    if (w->id == 0) c->room = take(c->tape, n);
    team_barrier(w);
    return c->room;
}

static const struct tape_recent *known(const struct train_ctx *c, const float *x, int n,
                                       int n_col) {
    for (int i = 0; i < c->n_recent; i++) {
        const struct tape_recent *r = &c->recent[i];
        if (r->src == x && r->n == n && r->n_col == n_col) return r;
    }
    return NULL;
}

static void forget(struct train_ctx *c, const float *y) {
    for (int i = 0; i < c->n_recent; i++)
        if (c->recent[i].src == y) c->recent[i--] = c->recent[--c->n_recent];
}

static void remember(struct train_ctx *c, struct tape_recent r) {
    forget(c, r.src);
    if (c->n_recent < TAPE_RECENT) c->recent[c->n_recent++] = r;
}

/* Note the pages of n floats at y. */
static void touch(struct train_ctx *c, const float *y, size_t n) {
    const size_t lo = (size_t)((const uint8_t *)y - c->work) / TAPE_PAGE;
    const size_t hi = ((size_t)((const uint8_t *)(y + n) - c->work) + TAPE_PAGE - 1) / TAPE_PAGE;
    for (size_t i = lo; i < hi; i++)
        c->page[i / 64] |= (uint64_t)1 << i % 64;
}

void tape_wrote(struct train_ctx *c, const float *y, int ld, int n, int n_col, int glu) {
    if (c->dry) touch(c, y, (size_t)(n - 1) * (size_t)ld + (size_t)n_col);
    forget(c, y);
    if (glu >= 0) remember(c, (struct tape_recent){y, NULL, n, n_col, glu});
}

float *tape_save(struct worker *w, const float *x, int ldx, int n, int n_col, int *glu) {
    struct train_ctx *c = train_ctx(w);
    if (glu) *glu = -1;
    if (!c->tape) return NULL;
    const struct tape_recent *r = known(c, x, n, n_col);
    if (r && (glu || r->glu < 0)) {
        float *saved = r->saved;
        if (glu) *glu = r->glu;
        team_barrier(w); /* worker 0 goes on to change recent */
        return saved;
    }
    float *to = tape_room(w, (size_t)n * (size_t)n_col); /* its barriers end the look at recent */
    if (w->id == 0) remember(c, (struct tape_recent){x, to, n, n_col, -1});
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi && !c->dry; i++)
        memcpy(to + (size_t)i * n_col, x + (size_t)i * ldx, (size_t)n_col * sizeof *to);
    team_barrier(w);
    return to;
}
