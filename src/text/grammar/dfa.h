/* The states that reading with a grammar can be in, made as they are met and kept while there is
 * room: a state is the set of all positions that the bytes so far allow, and a step from it costs a
 * look into a table once it was taken.
 *
 * A position is a node and a frame: where to go on when the rule ends, and the frame below.  Frames
 * are shared: one (node, below) exists once, so that equal positions are equal pairs and equal sets
 * one state.  A call at a rule's end pushes nothing, hence lists by right recursion stay flat.
 * Within a character of several bytes only the set of code points that can still come out is
 * narrowed.
 *
 * All acceptors of a grammar share one of these; they hold `lock` around everything below. */
#pragma once

#include <pthread.h>

#include "text/grammar/grammar.h"

enum { DFA_DEAD = -1, DFA_UNKNOWN = -2, DFA_FULL = -3 };
enum {
    DFA_MAX_WORK = 120000,    /* positions visited in one call: about 3 ms */
    DFA_SOFT_BYTES = 2 << 20, /* of states, when those nobody is in are forgotten */
    DFA_SOFT_FRAMES = 1 << 15,
    DFA_MAX_BYTES = 8 << 20,      /* of states and their positions, or the grammar is refused */
    DFA_MAX_MASK_BYTES = 2 << 20, /* of remembered masks */
};

struct dfa_pair {
    int32_t node, frame; /* frame -1: none, the answer may end */
};

/* Between characters need is 0.  Inside one: `need` bytes are missing; cp holds the bits so far, or
 * DFA_ANY where every position reads whatever comes out. */
struct dfa_partial {
    uint32_t cp;
    uint8_t need, have;
};
#define DFA_ANY UINT32_MAX

struct dfa_state {
    uint32_t hash;
    int32_t first, n; /* positions, in item[], ascending */
    int32_t mask;     /* remembered, or -1 */
    uint32_t groups;  /* of bytes (vocab_tree.h) that all lead to `ahead` */
    int32_t ahead;
    struct dfa_partial part;
    bool done, groups_known; /* done: the answer may end here */
};

/* Tokens allowed in a state. */
struct dfa_mask {
    uint32_t *bits; /* owned */
    int32_t state;  /* -1: free */
    int n_allowed;
    uint64_t used; /* when */
};

struct dfa {
    pthread_mutex_t lock;
    const struct grammar *g;   /* borrowed */
    struct acceptor *acceptor; /* all of them, a list; their states stay */
    uint8_t class[256];        /* bytes that no set tells apart have one class */
    int n_class;
    struct dfa_state *state;
    int32_t *next; /* [n_state][n_class]: a state, DFA_DEAD or DFA_UNKNOWN */
    struct dfa_pair *item;
    int32_t *state_slot; /* hash table of states, -1 is free; the same of frames */
    struct dfa_pair *frame;
    int32_t *frame_slot;
    int n_state, cap_state, n_item, cap_item, n_frame, cap_frame;
    size_t soft_bytes;
    int soft_frames;
    struct dfa_pair *seen; /* hash set of one step; stamp says of which */
    uint32_t *stamp, now;
    struct dfa_pair *todo, *out;
    int n_todo, n_seen, n_out;
    int most;            /* positions at a time: ACCEPT_MAX_ITEMS, less for a small grammar */
    bool out_done, full; /* full: a limit was met in this step */
    int work;            /* positions visited since dfa_begin */
    struct dfa_mask *mask;
    int n_mask;
    uint64_t clock, mask_of; /* whose masks: a grammar_vocab's serial */
};

/* NULL with ERR_NOMEM. */
struct dfa *dfa_new(const struct grammar *g, struct err *e);
void dfa_free(struct dfa *d);

/* Before a call's first step: its budget is whole again, and what nobody uses may be forgotten
 * (acceptors' states get other numbers then). */
void dfa_begin(struct dfa *d);
/* The state at the beginning; DFA_FULL. */
int32_t dfa_start(struct dfa *d);
/* Where byte b leads, computed now; also DFA_DEAD (it may not follow) and DFA_FULL. */
int32_t dfa_make_step(struct dfa *d, int32_t state, uint8_t b);

/* Any text of at most n bytes (those beyond ASCII as characters) out of these groups may come. */
bool dfa_takes(struct dfa *d, int32_t state, uint32_t groups, int n);

static inline int32_t dfa_step(struct dfa *d, int32_t state, uint8_t b) {
    const int32_t to = d->next[(size_t)state * (size_t)d->n_class + d->class[b]];
    return to == DFA_UNKNOWN ? dfa_make_step(d, state, b) : to;
}
