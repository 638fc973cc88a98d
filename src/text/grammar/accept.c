/* Reading an answer with a grammar: the set of all positions that the bytes so far allow.
 *
 * A position is a node and a frame: where to go on when the rule ends, and the frame below.  Frames
 * are shared: one (node, below) exists once, so that equal positions are equal pairs.  A call at a
 * rule's end pushes nothing, hence lists by right recursion stay flat.  Within a character of
 * several bytes only the set of code points that can still come out is narrowed. */
#include "text/grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

enum { TABLE_MIN = 256, COLLECT_AT = 1 << 12 };

struct pair {
    int32_t node, frame; /* frame -1: none, the answer may end */
};

struct acceptor {
    const struct grammar *g;
    struct pair *item, *next; /* [ACCEPT_MAX_ITEMS], owned; nodes that read */
    int n_item, n_next;
    bool done, next_done;
    struct pair *frame; /* [cap_frame]: return node and the frame below, which is older */
    int32_t *slot;      /* [n_slot] hash table of frames, -1 is free */
    int n_frame, cap_frame, n_slot;
    struct pair *seen; /* [2 * ACCEPT_MAX_ITEMS] hash set of one step; stamp says of which */
    uint32_t *stamp, now;
    struct pair *todo;
    int n_todo, n_seen;
    uint32_t cp; /* of the unfinished character */
    int need, have;
    bool full; /* a limit was met in this step */
};

static uint32_t hash(struct pair p) {
    uint64_t h = ((uint64_t)(uint32_t)p.node << 32 | (uint32_t)p.frame) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32);
}

static bool pair_eq(struct pair a, struct pair b) {
    return a.node == b.node && a.frame == b.frame;
}

static void slot_put(struct acceptor *a, int32_t f) {
    uint32_t i = hash(a->frame[f]) % (uint32_t)a->n_slot;
    while (a->slot[i] >= 0)
        i = (i + 1) % (uint32_t)a->n_slot;
    a->slot[i] = f;
}

static void slots_fill(struct acceptor *a) {
    memset(a->slot, 0xff, (size_t)a->n_slot * sizeof *a->slot);
    for (int f = 0; f < a->n_frame; f++)
        slot_put(a, f);
}

static bool frames_grow(struct acceptor *a) {
    const int to = a->cap_frame ? a->cap_frame * 2 : TABLE_MIN;
    if (to > ACCEPT_MAX_FRAMES) return false;
    struct pair *f = realloc(a->frame, (size_t)to * sizeof *f);
    if (f) a->frame = f;
    int32_t *s = f ? realloc(a->slot, 2 * (size_t)to * sizeof *s) : NULL;
    if (!s) return false;
    a->slot = s, a->cap_frame = to, a->n_slot = 2 * to;
    slots_fill(a);
    return true;
}

static int32_t frame_of(struct acceptor *a, struct pair p) {
    if (a->n_frame == a->cap_frame && !frames_grow(a)) {
        a->full = true;
        return -1;
    }
    uint32_t i = hash(p) % (uint32_t)a->n_slot;
    for (; a->slot[i] >= 0; i = (i + 1) % (uint32_t)a->n_slot)
        if (pair_eq(a->frame[a->slot[i]], p)) return a->slot[i];
    a->frame[a->n_frame] = p;
    return a->slot[i] = a->n_frame++;
}

static void visit(struct acceptor *a, int32_t node, int32_t frame) {
    const struct pair p = {node, frame};
    const uint32_t n = 2 * ACCEPT_MAX_ITEMS;
    uint32_t i = hash(p) % n;
    for (; a->stamp[i] == a->now; i = (i + 1) % n)
        if (pair_eq(a->seen[i], p)) return;
    if (a->n_seen == ACCEPT_MAX_ITEMS) {
        a->full = true;
        return;
    }
    a->stamp[i] = a->now, a->seen[i] = p, a->n_seen++;
    a->todo[a->n_todo++] = p;
}

static void call(struct acceptor *a, const struct grammar_node *nd, int32_t frame) {
    if (a->g->node[nd->next].kind != NODE_END) frame = frame_of(a, (struct pair){nd->next, frame});
    if (!a->full) visit(a, a->g->rule[nd->arg].start, frame);
}

/* From what is to do to the nodes that read. */
static void follow(struct acceptor *a) {
    while (a->n_todo > 0 && !a->full) {
        const struct pair p = a->todo[--a->n_todo];
        const struct grammar_node *nd = &a->g->node[p.node];
        switch (nd->kind) {
        case NODE_EMPTY: visit(a, nd->next, p.frame); break;
        case NODE_SPLIT:
            visit(a, nd->arg, p.frame);
            visit(a, nd->next, p.frame);
            break;
        case NODE_CALL: call(a, nd, p.frame); break;
        case NODE_END:
            if (p.frame < 0)
                a->next_done = true;
            else
                visit(a, a->frame[p.frame].node, a->frame[p.frame].frame);
            break;
        case NODE_CHAR:
        case NODE_SET: a->next[a->n_next++] = p; break;
        }
    }
}

static void begin(struct acceptor *a) {
    a->n_next = a->n_todo = a->n_seen = 0;
    a->next_done = a->full = false;
    if (++a->now == 0) {
        memset(a->stamp, 0, 2 * ACCEPT_MAX_ITEMS * sizeof *a->stamp);
        a->now = 1;
    }
}

static void take(struct acceptor *a) {
    struct pair *was = a->item;
    a->item = a->next, a->next = was;
    a->n_item = a->n_next, a->done = a->next_done;
}

/* Forget frames that no position stands on.  A frame is younger than the one below it, so one
 * pass down marks and one pass up moves. */
static bool collect(struct acceptor *a) {
    int32_t *to = calloc((size_t)a->n_frame + 1, sizeof *to);
    if (!to) return false;
    for (int i = 0; i < a->n_item; i++)
        if (a->item[i].frame >= 0) to[a->item[i].frame] = 1;
    for (int f = a->n_frame - 1; f >= 0; f--)
        if (to[f] && a->frame[f].frame >= 0) to[a->frame[f].frame] = 1;
    int n = 0;
    for (int f = 0; f < a->n_frame; f++) {
        if (!to[f]) continue;
        const struct pair p = a->frame[f];
        a->frame[n] = (struct pair){p.node, p.frame < 0 ? -1 : to[p.frame]};
        to[f] = n++;
    }
    for (int i = 0; i < a->n_item; i++)
        if (a->item[i].frame >= 0) a->item[i].frame = to[a->item[i].frame];
    a->n_frame = n;
    slots_fill(a);
    free(to);
    return true;
}

struct acceptor *accept_new(const struct grammar *g, struct err *e) {
    struct acceptor *a = calloc(1, sizeof *a);
    const size_t n = ACCEPT_MAX_ITEMS;
    if (!a) goto nomem;
    a->g = g;
    a->item = malloc(n * sizeof *a->item), a->next = malloc(n * sizeof *a->next);
    a->todo = malloc(n * sizeof *a->todo), a->seen = malloc(2 * n * sizeof *a->seen);
    a->stamp = calloc(2 * n, sizeof *a->stamp);
    if (!a->item || !a->next || !a->todo || !a->seen || !a->stamp) goto nomem;
    begin(a);
    visit(a, g->rule[g->root].start, -1);
    follow(a);
    if (!a->full) {
        take(a);
        return a;
    }
    err_set(e, ERR_LIMIT, "grammar: too many ways to begin; accepted: %d", ACCEPT_MAX_ITEMS);
    accept_free(a);
    return NULL;
nomem:
    err_nomem(e, "grammar");
    accept_free(a);
    return NULL;
}

void accept_free(struct acceptor *a) {
    if (!a) return;
    free(a->item), free(a->next), free(a->todo), free(a->seen), free(a->stamp);
    free(a->frame), free(a->slot);
    free(a);
}

/* The code points that can come of the bytes so far and b: 0 when none (RFC 3629). */
static bool narrow(const struct acceptor *a, uint8_t b, uint32_t *cp, int *need, int *have,
                   uint32_t *lo, uint32_t *hi) {
    if (!a->need) {
        *need = b < 0x80 ? 0 : b < 0xc2 ? -1 : b < 0xe0 ? 1 : b < 0xf0 ? 2 : b < 0xf5 ? 3 : -1;
        if (*need < 0) return false;
        *cp = *need ? b & (0x3fu >> *need) : b;
        *have = 1;
    } else {
        if ((b & 0xc0) != 0x80) return false;
        *cp = a->cp << 6 | (b & 0x3f), *need = a->need - 1, *have = a->have + 1;
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    *lo = *cp << 6 * *need, *hi = *lo | ((1u << 6 * *need) - 1);
    if (*lo < least[*need + *have]) *lo = least[*need + *have];
    if (*hi > 0x10ffff) *hi = 0x10ffff;
    if (*lo >= 0xd800 && *lo <= 0xdfff) *lo = 0xe000;
    if (*hi >= 0xd800 && *hi <= 0xdfff) *hi = 0xd7ff;
    return *lo <= *hi;
}

int accept_byte(struct acceptor *a, uint8_t b, struct err *e) {
    uint32_t cp, lo, hi;
    int need, have;
    if (!narrow(a, b, &cp, &need, &have, &lo, &hi)) return 0;
    begin(a);
    for (int i = 0; i < a->n_item; i++) {
        const struct grammar_node *nd = &a->g->node[a->item[i].node];
        if (!grammar_reads(a->g, nd, lo, hi)) continue;
        if (need)
            a->next[a->n_next++] = a->item[i];
        else
            visit(a, nd->next, a->item[i].frame);
    }
    if (!need) follow(a);
    if (a->full)
        return err_set(e, ERR_LIMIT,
                       "grammar: too ambiguous to follow; accepted: %d positions, %d frames",
                       ACCEPT_MAX_ITEMS, ACCEPT_MAX_FRAMES);
    if (!a->n_next && !a->next_done) return 0;
    take(a);
    a->cp = cp, a->need = need, a->have = have;
    if (a->n_frame > COLLECT_AT && a->n_frame > a->cap_frame / 2 && !collect(a))
        return err_nomem(e, "grammar");
    return 1;
}

bool accept_done(const struct acceptor *a) {
    return a->done && !a->need;
}
