/* Reading an answer with a grammar, by bytes and by tokens: a place among the grammar's states
 * (dfa.h), and the tokens that may come there.
 *
 * A mask is one walk over the tree of all tokens with a state for each level on the way down; it is
 * remembered with its state, so that what comes again and again (the inside of a string) is walked
 * once. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar/accept_priv.h"
#include "text/grammar/dfa.h"
#include "text/grammar/vocab_tree.h"

static int too_much(struct err *e) {
    return err_set(e, ERR_LIMIT,
                   "grammar: too ambiguous to follow; accepted: %d positions at a time, %d frames, "
                   "%d steps a token",
                   ACCEPT_MAX_ITEMS, ACCEPT_MAX_FRAMES, DFA_MAX_WORK);
}

static struct acceptor *join(struct dfa *d, int32_t state) {
    struct acceptor *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->dfa = d, a->state = state, a->later = d->acceptor;
    if (a->later) a->later->earlier = a;
    d->acceptor = a;
    return a;
}

struct acceptor *accept_new(const struct grammar *g, struct err *e) {
    struct dfa *d = g->dfa;
    struct acceptor *a = NULL;
    pthread_mutex_lock(&d->lock);
    dfa_begin(d);
    const int32_t start = dfa_start(d);
    if (start == DFA_FULL)
        too_much(e);
    else if (!(a = join(d, start)))
        err_nomem(e, "grammar");
    pthread_mutex_unlock(&d->lock);
    return a;
}

void accept_free(struct acceptor *a) {
    if (!a) return;
    struct dfa *d = a->dfa;
    pthread_mutex_lock(&d->lock);
    if (a->later) a->later->earlier = a->earlier;
    if (a->earlier)
        a->earlier->later = a->later;
    else
        d->acceptor = a->later;
    pthread_mutex_unlock(&d->lock);
    free(a);
}

/* 1 with the state behind the text, 0, or -1 with *e. */
static int read_text(struct dfa *d, int32_t *state, struct str s, struct err *e) {
    int32_t at = *state;
    for (size_t i = 0; i < s.n; i++) {
        at = dfa_step(d, at, (uint8_t)s.p[i]);
        if (at == DFA_DEAD) return 0;
        if (at == DFA_FULL) return too_much(e);
    }
    *state = at;
    return 1;
}

int accept_byte(struct acceptor *a, uint8_t b, struct err *e) {
    const char c = (char)b;
    struct dfa *d = a->dfa;
    pthread_mutex_lock(&d->lock);
    dfa_begin(d);
    const int rc = read_text(d, &a->state, (struct str){&c, 1}, e);
    pthread_mutex_unlock(&d->lock);
    return rc;
}

int accept_text(struct acceptor *a, struct str text, bool stay, struct err *e) {
    struct dfa *d = a->dfa;
    pthread_mutex_lock(&d->lock);
    dfa_begin(d);
    int32_t to = a->state;
    const int rc = read_text(d, &to, text, e);
    if (rc == 1 && !stay) a->state = to;
    pthread_mutex_unlock(&d->lock);
    return rc;
}

bool accept_done(const struct acceptor *a) {
    pthread_mutex_lock(&a->dfa->lock);
    const bool done = a->dfa->state[a->state].done;
    pthread_mutex_unlock(&a->dfa->lock);
    return done;
}

/* ---- tokens ---- */

static bool is_end(const struct grammar_vocab *gv, int32_t id) {
    for (int i = 0; i < gv->n_end; i++)
        if (gv->end[i] == id) return true;
    return false;
}

static int read_token(struct acceptor *a, const struct grammar_vocab *gv, int32_t id, bool stay,
                      struct err *e) {
    if (id < 0 || id >= gv->n_vocab) return 0;
    struct dfa *d = a->dfa;
    const struct str s = vocab_tree_text(gv, id);
    pthread_mutex_lock(&d->lock);
    dfa_begin(d);
    int32_t to = a->state;
    const int rc = s.n ? read_text(d, &to, s, e) : d->state[to].done && is_end(gv, id);
    if (rc == 1 && !stay) a->state = to;
    pthread_mutex_unlock(&d->lock);
    return rc;
}

int accept_allows(struct acceptor *a, const struct grammar_vocab *gv, int32_t id, struct err *e) {
    return read_token(a, gv, id, true, e);
}

int accept_token(struct acceptor *a, const struct grammar_vocab *gv, int32_t id, struct err *e) {
    return read_token(a, gv, id, false, e);
}

/* ---- masks ---- */

static void allow(uint32_t *bits, int32_t id) {
    bits[id / 32] |= 1u << id % 32;
}

/* The tokens of the nodes from..to, which all may come; how many. */
static int allow_nodes(const struct grammar_vocab *gv, uint32_t *bits, int from, int to) {
    for (int k = gv->first[from]; k < gv->first[to]; k++)
        allow(bits, gv->order[k]);
    return gv->first[to] - gv->first[from];
}

/* Whatever is below node i may come: no need to look. */
static bool takes_all(struct dfa *d, int32_t state, const struct grammar_vocab *gv, int i) {
    enum { WORTH = 24 };
    return gv->skip[i] - i > WORTH && dfa_takes(d, state, gv->below[i], gv->height[i]);
}

/* DFA_FULL or how many.  Nodes that may come lie in runs between those that may not, and only runs
 * are turned into bits: whether a node has a token is as good as random to a branch. */
static int walk(struct dfa *d, int32_t from, const struct grammar_vocab *gv, uint32_t *bits) {
    int32_t state[VOCAB_TREE_MAX_TEXT + 1] = {from};
    const bool whole = !d->state[from].part.need; /* the groups of bytes are those of characters */
    int n = 0, run = 0, i = 0;
    while (i < gv->n_node) {
        const int level = gv->level[i];
        const int32_t to = dfa_step(d, state[level], gv->byte[i]);
        if (to >= 0) {
            state[level + 1] = to;
            i = whole && takes_all(d, to, gv, i) ? gv->skip[i] : i + 1;
            continue;
        }
        if (to == DFA_FULL) return DFA_FULL;
        n += allow_nodes(gv, bits, run, i);
        run = i = gv->skip[i];
    }
    n += allow_nodes(gv, bits, run, i);
    for (int k = 0; d->state[from].done && k < gv->n_end; k++, n++)
        allow(bits, gv->end[k]);
    return n;
}

static size_t mask_bytes(const struct grammar_vocab *gv) {
    return ((size_t)gv->n_vocab + 31) / 32 * sizeof(uint32_t);
}

/* Where to remember the mask of a state: what has not been used for longest goes.  NULL: nowhere.
 */
static struct dfa_mask *mask_slot(struct dfa *d, const struct grammar_vocab *gv) {
    if (d->mask_of != gv->serial) {
        for (int i = 0; i < d->n_mask; i++) {
            if (d->mask[i].state >= 0) d->state[d->mask[i].state].mask = -1;
            free(d->mask[i].bits);
        }
        d->n_mask = 0, d->mask_of = gv->serial;
    }
    const int most = (int)(DFA_MAX_MASK_BYTES / (mask_bytes(gv) + 1)) + 1;
    if (d->n_mask < most) {
        struct dfa_mask *m = realloc(d->mask, ((size_t)d->n_mask + 1) * sizeof *m);
        if (m) d->mask = m;
        uint32_t *bits = m ? malloc(mask_bytes(gv)) : NULL;
        if (bits) {
            d->mask[d->n_mask] = (struct dfa_mask){.bits = bits, .state = -1};
            return &d->mask[d->n_mask++];
        }
    }
    struct dfa_mask *old = d->n_mask ? d->mask : NULL;
    for (int i = 1; i < d->n_mask; i++)
        if (d->mask[i].used < old->used) old = &d->mask[i];
    if (old && old->state >= 0) d->state[old->state].mask = -1;
    return old;
}

static int mask_of(struct dfa *d, int32_t state, const struct grammar_vocab *gv,
                   uint32_t *allowed) {
    const size_t n = mask_bytes(gv);
    const int had = d->mask_of == gv->serial ? d->state[state].mask : -1;
    d->clock++;
    if (had >= 0) {
        d->mask[had].used = d->clock;
        memcpy(allowed, d->mask[had].bits, n);
        return d->mask[had].n_allowed;
    }
    memset(allowed, 0, n);
    const int n_allowed = walk(d, state, gv, allowed);
    struct dfa_mask *m = n_allowed >= 0 ? mask_slot(d, gv) : NULL;
    if (m) {
        memcpy(m->bits, allowed, n);
        m->state = state, m->n_allowed = n_allowed, m->used = d->clock;
        d->state[state].mask = (int32_t)(m - d->mask);
    }
    return n_allowed;
}

int accept_mask(struct acceptor *a, const struct grammar_vocab *gv, uint32_t *allowed,
                struct err *e) {
    struct dfa *d = a->dfa;
    pthread_mutex_lock(&d->lock);
    dfa_begin(d);
    const int n = mask_of(d, a->state, gv, allowed);
    pthread_mutex_unlock(&d->lock);
    return n == DFA_FULL ? too_much(e) : n;
}

bool accept_mask_is_cheap(struct acceptor *a, const struct grammar_vocab *gv) {
    enum { FEW = 32 };
    struct dfa *d = a->dfa;
    int n = 0;
    pthread_mutex_lock(&d->lock);
    dfa_begin(d);
    const bool known = d->mask_of == gv->serial && d->state[a->state].mask >= 0;
    for (int b = ' '; b < 0x7f && !known && n < FEW; b++)
        n += dfa_step(d, a->state, (uint8_t)b) != DFA_DEAD;
    pthread_mutex_unlock(&d->lock);
    return known || n < FEW;
}
