/* See dfa.h. */
#include "text/grammar/dfa.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "text/grammar/accept_priv.h"
#include "text/grammar/vocab_tree.h"

enum { TABLE_MIN = 256 };

static uint32_t pair_hash(struct dfa_pair p) {
    uint64_t h = ((uint64_t)(uint32_t)p.node << 32 | (uint32_t)p.frame) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32);
}

static bool pair_eq(struct dfa_pair a, struct dfa_pair b) {
    return a.node == b.node && a.frame == b.frame;
}

/* ---- frames ---- */

static void frame_slots_fill(struct dfa *d) {
    const uint32_t n = 2 * (uint32_t)d->cap_frame;
    memset(d->frame_slot, 0xff, n * sizeof *d->frame_slot);
    for (int32_t f = 0; f < d->n_frame; f++) {
        uint32_t i = pair_hash(d->frame[f]) % n;
        while (d->frame_slot[i] >= 0)
            i = (i + 1) % n;
        d->frame_slot[i] = f;
    }
}

static bool frames_grow(struct dfa *d) {
    const int to = d->cap_frame ? d->cap_frame * 2 : TABLE_MIN;
    if (to > ACCEPT_MAX_FRAMES) return false;
    struct dfa_pair *f = realloc(d->frame, (size_t)to * sizeof *f);
    if (f) d->frame = f;
    int32_t *s = f ? realloc(d->frame_slot, 2 * (size_t)to * sizeof *s) : NULL;
    if (!s) return false;
    d->frame_slot = s, d->cap_frame = to;
    frame_slots_fill(d);
    return true;
}

static int32_t frame_of(struct dfa *d, struct dfa_pair p) {
    if (d->n_frame == d->cap_frame && !frames_grow(d)) {
        d->full = true;
        return -1;
    }
    const uint32_t n = 2 * (uint32_t)d->cap_frame;
    uint32_t i = pair_hash(p) % n;
    for (; d->frame_slot[i] >= 0; i = (i + 1) % n)
        if (pair_eq(d->frame[d->frame_slot[i]], p)) return d->frame_slot[i];
    d->frame[d->n_frame] = p;
    return d->frame_slot[i] = d->n_frame++;
}

/* ---- states ---- */

static size_t state_bytes(const struct dfa *d, int n_state, int n_item) {
    return (size_t)n_state * (sizeof *d->state + (size_t)d->n_class * sizeof *d->next) +
           (size_t)n_item * sizeof *d->item;
}

static void state_slots_fill(struct dfa *d) {
    const uint32_t n = 2 * (uint32_t)d->cap_state;
    memset(d->state_slot, 0xff, n * sizeof *d->state_slot);
    for (int32_t s = 0; s < d->n_state; s++) {
        uint32_t i = d->state[s].hash % n;
        while (d->state_slot[i] >= 0)
            i = (i + 1) % n;
        d->state_slot[i] = s;
    }
}

/* Room for one more state of n positions. */
static bool states_grow(struct dfa *d, int n) {
    if (state_bytes(d, d->n_state + 1, d->n_item + n) > DFA_MAX_BYTES) return false;
    if (d->n_item + n > d->cap_item) {
        int to = d->cap_item ? d->cap_item : TABLE_MIN;
        while (to < d->n_item + n)
            to *= 2;
        struct dfa_pair *item = realloc(d->item, (size_t)to * sizeof *item);
        if (!item) return false;
        d->item = item, d->cap_item = to;
    }
    if (d->n_state < d->cap_state) return true;
    const int to = d->cap_state ? d->cap_state * 2 : TABLE_MIN / 4;
    struct dfa_state *st = realloc(d->state, (size_t)to * sizeof *st);
    if (st) d->state = st;
    int32_t *next = st ? realloc(d->next, (size_t)to * (size_t)d->n_class * sizeof *next) : NULL;
    if (next) d->next = next;
    int32_t *slot = next ? realloc(d->state_slot, 2 * (size_t)to * sizeof *slot) : NULL;
    if (!slot) return false;
    d->state_slot = slot, d->cap_state = to;
    state_slots_fill(d);
    return true;
}

static int by_pair(const void *pa, const void *pb) {
    const struct dfa_pair *a = pa, *b = pb;
    return a->node != b->node     ? (a->node < b->node ? -1 : 1)
           : a->frame != b->frame ? (a->frame < b->frame ? -1 : 1)
                                  : 0;
}

static uint32_t state_hash(const struct dfa_pair *item, int n, struct dfa_partial p, bool done) {
    const uint64_t part = (uint64_t)p.cp << 24 | (uint64_t)p.have << 16 | p.need << 8 | done;
    return (uint32_t)hash64(item, (size_t)n * sizeof *item, part);
}

/* The state of out[n_out], which gets sorted. */
static int32_t state_of(struct dfa *d, struct dfa_partial part) {
    const int n = d->n_out;
    if (n > 1) qsort(d->out, (size_t)n, sizeof *d->out, by_pair);
    const uint32_t h = state_hash(d->out, n, part, d->out_done);
    if (!states_grow(d, n)) {
        d->full = true;
        return DFA_FULL;
    }
    const uint32_t n_slot = 2 * (uint32_t)d->cap_state;
    uint32_t i = h % n_slot;
    for (; d->state_slot[i] >= 0; i = (i + 1) % n_slot) {
        const struct dfa_state *s = &d->state[d->state_slot[i]];
        if (s->hash == h && s->n == n && s->done == d->out_done && s->part.cp == part.cp &&
            s->part.need == part.need && s->part.have == part.have &&
            (!n || !memcmp(d->item + s->first, d->out, (size_t)n * sizeof *d->out)))
            return d->state_slot[i];
    }
    if (n) memcpy(d->item + d->n_item, d->out, (size_t)n * sizeof *d->out);
    d->state[d->n_state] = (struct dfa_state){
        .hash = h, .first = d->n_item, .n = n, .mask = -1, .part = part, .done = d->out_done};
    d->n_item += n;
    int32_t *row = d->next + (size_t)d->n_state * (size_t)d->n_class;
    for (int c = 0; c < d->n_class; c++)
        row[c] = DFA_UNKNOWN;
    return d->state_slot[i] = d->n_state++;
}

/* ---- a step ---- */

static void visit(struct dfa *d, int32_t node, int32_t frame) {
    const struct dfa_pair p = {node, frame};
    const uint32_t n = 2 * (uint32_t)d->most;
    uint32_t i = pair_hash(p) % n;
    for (; d->stamp[i] == d->now; i = (i + 1) % n)
        if (pair_eq(d->seen[i], p)) return;
    if (d->n_seen == d->most || ++d->work > DFA_MAX_WORK) {
        d->full = true;
        return;
    }
    d->stamp[i] = d->now, d->seen[i] = p, d->n_seen++;
    d->todo[d->n_todo++] = p;
}

static void call(struct dfa *d, const struct grammar_node *nd, int32_t frame) {
    if (d->g->node[nd->next].kind != NODE_END)
        frame = frame_of(d, (struct dfa_pair){nd->next, frame});
    if (!d->full) visit(d, d->g->rule[nd->arg].start, frame);
}

/* From what is to do to the nodes that read. */
static void follow(struct dfa *d) {
    while (d->n_todo > 0 && !d->full) {
        const struct dfa_pair p = d->todo[--d->n_todo];
        const struct grammar_node *nd = &d->g->node[p.node];
        switch (nd->kind) {
        case NODE_EMPTY: visit(d, nd->next, p.frame); break;
        case NODE_SPLIT:
            visit(d, nd->arg, p.frame);
            visit(d, nd->next, p.frame);
            break;
        case NODE_CALL: call(d, nd, p.frame); break;
        case NODE_END:
            if (p.frame < 0)
                d->out_done = true;
            else
                visit(d, d->frame[p.frame].node, d->frame[p.frame].frame);
            break;
        case NODE_CHAR:
        case NODE_SET: d->out[d->n_out++] = p; break;
        }
    }
}

static void step_begin(struct dfa *d) {
    d->n_out = d->n_todo = d->n_seen = 0;
    d->out_done = d->full = false;
    if (++d->now == 0) {
        memset(d->stamp, 0, 2 * (size_t)d->most * sizeof *d->stamp);
        d->now = 1;
    }
}

/* The code points that can come of the bytes so far and b: false when none (RFC 3629). */
static bool narrow(struct dfa_partial was, uint8_t b, struct dfa_partial *now, uint32_t *lo,
                   uint32_t *hi) {
    if (!was.need) {
        const int need = b < 0x80   ? 0
                         : b < 0xc2 ? -1
                         : b < 0xe0 ? 1
                         : b < 0xf0 ? 2
                         : b < 0xf5 ? 3
                                    : -1;
        if (need < 0) return false;
        *now = (struct dfa_partial){need ? b & (0x3fu >> need) : b, (uint8_t)need, 1};
    } else {
        if ((b & 0xc0) != 0x80) return false;
        *now = was;
        now->need--;
        if (was.cp == DFA_ANY) return true;
        now->cp = was.cp << 6 | (b & 0x3f), now->have++;
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    *lo = now->cp << 6 * now->need, *hi = *lo | ((1u << 6 * now->need) - 1);
    if (*lo < least[now->need + now->have]) *lo = least[now->need + now->have];
    if (*hi > 0x10ffff) *hi = 0x10ffff;
    if (*lo >= 0xd800 && *lo <= 0xdfff) *lo = 0xe000;
    if (*hi >= 0xd800 && *hi <= 0xdfff) *hi = 0xd7ff;
    return *lo <= *hi;
}

/* The bits so far say nothing any more when all positions read all that can come of them, and
 * every byte 80..BF may come next. */
static bool says_nothing(const struct dfa_partial *p, uint32_t lo, uint32_t hi) {
    return p->cp != DFA_ANY && hi - lo + 1 == 1u << 6 * p->need;
}

int32_t dfa_make_step(struct dfa *d, int32_t state, uint8_t b) {
    const struct dfa_state s = d->state[state];
    struct dfa_partial part;
    uint32_t lo = 0, hi = 0;
    int32_t to = DFA_DEAD;
    if (narrow(s.part, b, &part, &lo, &hi)) {
        bool all = true;
        step_begin(d);
        d->work += s.n / 8;
        for (int i = 0; i < s.n; i++) {
            const struct dfa_pair p = d->item[s.first + i];
            const struct grammar_node *nd = &d->g->node[p.node];
            if (part.cp != DFA_ANY) {
                const enum grammar_part reads = grammar_reads(d->g, nd, lo, hi);
                if (reads == READS_NONE) continue;
                all = all && reads == READS_ALL;
            }
            if (part.need)
                d->out[d->n_out++] = p;
            else
                visit(d, nd->next, p.frame);
        }
        if (part.need && all && says_nothing(&part, lo, hi)) part.cp = DFA_ANY;
        if (part.cp == DFA_ANY || !part.need) part.have = 0;
        if (!part.need) part.cp = 0, follow(d);
        if (!d->full && (d->n_out || d->out_done)) to = state_of(d, part);
        if (d->full) return DFA_FULL;
    }
    d->next[(size_t)state * (size_t)d->n_class + d->class[b]] = to;
    return to;
}

int32_t dfa_start(struct dfa *d) {
    step_begin(d);
    visit(d, d->g->rule[d->g->root].start, -1);
    follow(d);
    return d->full ? DFA_FULL : state_of(d, (struct dfa_partial){0});
}

/* ---- any text of some bytes ---- */

/* From inside a character, whatever its bytes are, to `end`. */
static bool comes_to(struct dfa *d, int32_t at, int32_t end) {
    if (at < 0 || d->state[at].part.cp != DFA_ANY) return false;
    while (at >= 0 && d->state[at].part.need)
        at = dfa_step(d, at, 0x80);
    return at == end;
}

/* Every character beyond ASCII leads from s to `end`. */
static bool all_text_comes_to(struct dfa *d, int32_t s, int32_t end) {
    static const uint8_t special[][3] = {
        {0xe0, 0xa0, 0xbf}, {0xed, 0x80, 0x9f}, {0xf0, 0x90, 0xbf}, {0xf4, 0x80, 0x8f}};
    for (int b = 0xc2; b < 0xf5; b++) {
        const int32_t at = dfa_step(d, s, (uint8_t)b);
        const uint8_t *sp = NULL;
        for (int k = 0; k < 4; k++)
            if (special[k][0] == b) sp = special[k];
        if (at < 0 || (!sp && !comes_to(d, at, end))) return false;
        for (int c = sp ? sp[1] : 1; sp && c <= sp[2]; c++)
            if (!comes_to(d, dfa_step(d, at, (uint8_t)c), end)) return false;
    }
    return true;
}

static void find_groups(struct dfa *d, int32_t s) {
    static const char samples[] = {'a', '0', 'A'}; /* where none goes on nothing much does */
    uint32_t groups = 0;
    int32_t ahead = DFA_DEAD;
    for (int i = 0; i < 3 && ahead < 0; i++)
        ahead = dfa_step(d, s, (uint8_t)samples[i]);
    if (ahead >= 0) {
        groups = ~(1u << VOCAB_TREE_TEXT | 1u << VOCAB_TREE_BROKEN);
        for (int b = 0; b < 0x80; b++)
            if (dfa_step(d, s, (uint8_t)b) != ahead)
                groups &= ~(1u << vocab_tree_group((uint8_t)b));
        if (groups && all_text_comes_to(d, s, ahead)) groups |= 1u << VOCAB_TREE_TEXT;
    }
    d->state[s].groups = groups, d->state[s].ahead = ahead, d->state[s].groups_known = true;
}

bool dfa_takes(struct dfa *d, int32_t state, uint32_t groups, int n) {
    enum { FAR = 32 }; /* states ahead that are looked at */
    for (int i = 0; i < n; i++) {
        if (d->state[state].part.need || i == FAR) return false;
        if (!d->state[state].groups_known) find_groups(d, state);
        if (groups & ~d->state[state].groups) return false;
        if (d->state[state].ahead == state) return true;
        state = d->state[state].ahead;
    }
    return true;
}

/* ---- forgetting ---- */

/* Frames that some state stands on, moved together.  A frame is younger than the one below it, so
 * one pass down marks and one pass up moves. */
static void frames_collect(struct dfa *d, int32_t *to) {
    memset(to, 0, (size_t)d->n_frame * sizeof *to);
    for (int i = 0; i < d->n_item; i++)
        if (d->item[i].frame >= 0) to[d->item[i].frame] = 1;
    for (int f = d->n_frame - 1; f >= 0; f--)
        if (to[f] && d->frame[f].frame >= 0) to[d->frame[f].frame] = 1;
    int n = 0;
    for (int f = 0; f < d->n_frame; f++) {
        if (!to[f]) continue;
        const struct dfa_pair p = d->frame[f];
        d->frame[n] = (struct dfa_pair){p.node, p.frame < 0 ? -1 : to[p.frame]};
        to[f] = n++;
    }
    for (int i = 0; i < d->n_item; i++)
        if (d->item[i].frame >= 0) d->item[i].frame = to[d->item[i].frame];
    d->n_frame = n;
    if (d->cap_frame) frame_slots_fill(d);
}

/* Keep the states that acceptors are in.  Positions lie in the order of their states, which stays,
 * so that moving down overwrites nothing. */
static void states_collect(struct dfa *d, int32_t *to) {
    memset(to, 0xff, (size_t)d->n_state * sizeof *to);
    for (struct acceptor *a = d->acceptor; a; a = a->later)
        to[a->state] = 0;
    int n = 0, n_item = 0;
    for (int s = 0; s < d->n_state; s++) {
        if (to[s] < 0) continue;
        struct dfa_state st = d->state[s];
        memmove(d->item + n_item, d->item + st.first, (size_t)st.n * sizeof *d->item);
        st.first = n_item, st.mask = -1, st.groups_known = false;
        n_item += st.n;
        d->state[n] = st;
        to[s] = n++;
    }
    for (struct acceptor *a = d->acceptor; a; a = a->later)
        a->state = to[a->state];
    d->n_state = n, d->n_item = n_item;
    for (size_t i = 0; i < (size_t)n * (size_t)d->n_class; i++)
        d->next[i] = DFA_UNKNOWN;
}

void dfa_begin(struct dfa *d) {
    d->work = 0;
    if (state_bytes(d, d->n_state, d->n_item) < d->soft_bytes && d->n_frame < d->soft_frames)
        return;
    int32_t *to = malloc((size_t)(d->n_state + d->n_frame + 1) * sizeof *to);
    if (!to) return; /* the hard limits still hold */
    states_collect(d, to);
    frames_collect(d, to);
    free(to);
    for (int s = 0; s < d->n_state; s++)
        d->state[s].hash = state_hash(d->item + d->state[s].first, d->state[s].n, d->state[s].part,
                                      d->state[s].done);
    state_slots_fill(d);
    for (int i = 0; i < d->n_mask; i++)
        d->mask[i].state = -1;
    const size_t left = 2 * state_bytes(d, d->n_state, d->n_item);
    d->soft_bytes = left > DFA_SOFT_BYTES ? left : DFA_SOFT_BYTES;
    d->soft_frames = 2 * d->n_frame > DFA_SOFT_FRAMES ? 2 * d->n_frame : DFA_SOFT_FRAMES;
}

/* ---- classes of bytes ---- */

static void edge(bool *starts, uint32_t cp) {
    char u[4];
    const int n = utf8_encode(cp, u);
    for (int i = 0; i < n; i++)
        starts[(uint8_t)u[i]] = starts[(uint8_t)u[i] + 1] = true;
}

/* Bytes are told apart where UTF-8 does and where an end of a range has them. */
static void classes(struct dfa *d) {
    static const uint8_t utf8[] = {0x00, 0x80, 0x90, 0xa0, 0xc0, 0xc2, 0xe0,
                                   0xe1, 0xed, 0xee, 0xf0, 0xf1, 0xf4, 0xf5};
    bool starts[257] = {false};
    for (size_t i = 0; i < sizeof utf8; i++)
        starts[utf8[i]] = true;
    for (int i = 0; i < d->g->n_node; i++)
        if (d->g->node[i].kind == NODE_CHAR) edge(starts, (uint32_t)d->g->node[i].arg);
    for (int i = 0; i < d->g->n_range; i++) {
        const struct grammar_range r = d->g->range[i];
        if (r.lo < 0x80)
            starts[r.lo] = true;
        else if (r.lo > 0x80)
            edge(starts, r.lo);
        if (r.hi < 0x80)
            starts[r.hi + 1] = true;
        else if (r.hi < 0x10ffff)
            edge(starts, r.hi);
    }
    for (int b = 0; b < 256; b++) {
        d->n_class += starts[b];
        d->class[b] = (uint8_t)(d->n_class - 1);
    }
}

struct dfa *dfa_new(const struct grammar *g, struct err *e) {
    struct dfa *d = calloc(1, sizeof *d);
    if (!d) goto nomem;
    if (pthread_mutex_init(&d->lock, NULL) != 0) {
        free(d);
        d = NULL;
        goto nomem;
    }
    d->g = g, d->soft_bytes = DFA_SOFT_BYTES, d->soft_frames = DFA_SOFT_FRAMES;
    d->most = g->n_node < ACCEPT_MAX_ITEMS / 16 ? 1024 + 15 * g->n_node : ACCEPT_MAX_ITEMS;
    const size_t n = (size_t)d->most;
    d->todo = malloc(n * sizeof *d->todo), d->out = malloc(n * sizeof *d->out);
    d->seen = malloc(2 * n * sizeof *d->seen), d->stamp = calloc(2 * n, sizeof *d->stamp);
    if (!d->todo || !d->out || !d->seen || !d->stamp) goto nomem;
    classes(d);
    return d;
nomem:
    err_nomem(e, "grammar");
    dfa_free(d);
    return NULL;
}

void dfa_free(struct dfa *d) {
    if (!d) return;
    for (int i = 0; i < d->n_mask; i++)
        free(d->mask[i].bits);
    free(d->state), free(d->next), free(d->item), free(d->state_slot), free(d->frame);
    free(d->frame_slot), free(d->seen), free(d->stamp), free(d->todo), free(d->out), free(d->mask);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
