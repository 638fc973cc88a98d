/* Which pairs to join: the most frequent one of all words, again and again.
 *
 * Every byte of the distinct words is a node of a list; two neighbours are an occurrence of a pair,
 * and the occurrences of each pair are chained through the nodes where they begin.  Joining a pair
 * touches its own occurrences and their neighbours only; each join removes a node.  So the work of
 * all merges is linear in the number of bytes, whatever the text: a word of a million bytes costs
 * what a million bytes of short words cost.
 *
 * Counts of a pair only fall after the join that made its newer half, so a heap entry that is too
 * high is put back with the count of now when it comes up.  Occurrences are chained in the order of
 * the text, and a join that overlaps the one before it ("aaa") finds its node gone: joins happen
 * from left to right, as in encoding.
 *
 * A pair whose join is a token already (by another way) is not joined: then a piece has one rank,
 * and what encoding does is what was done here. */
#include <stdlib.h>

#include "text/symtab.h"
#include "train/bpe_priv.h"

struct node {
    int32_t sym;                /* token; -1 once joined to its left neighbour */
    int32_t prev, next;         /* in the word; -1: none */
    int32_t occ_prev, occ_next; /* where the pair (this, next) begins before and after; -1 */
    uint32_t word;
};

struct pair {
    int32_t left, right;
    uint64_t count;      /* over all words */
    int32_t first, last; /* occurrences; -1: none */
};

struct entry {
    uint64_t count;
    uint32_t pair;
};

struct learner {
    const struct bpe_words *w;
    struct bpe_tokens *out;
    struct symtab by_text;
    struct node *node; /* [w->n_byte], owned */
    struct pair *pair; /* [n_pair], owned */
    uint32_t n_pair, cap_pair;
    uint32_t *slot; /* [mask + 1] pair + 1, 0: free; owned */
    uint32_t mask;
    struct entry *heap; /* owned */
    size_t n_heap, cap_heap;
    uint32_t first_new; /* pairs from here on wait to enter the heap */
    bool failed;        /* memory ran out */
};

/* ---- pairs ---- */

static uint32_t pair_slot(const struct learner *l, int32_t left, int32_t right) {
    uint32_t i = mergetab_hash((uint32_t)left, (uint32_t)right) & l->mask;
    for (; l->slot[i]; i = (i + 1) & l->mask) {
        const struct pair *p = &l->pair[l->slot[i] - 1];
        if (p->left == left && p->right == right) break;
    }
    return i;
}

static bool grow_pairs(struct learner *l) {
    const uint32_t cap = l->cap_pair ? 2 * l->cap_pair : 1 << 12;
    struct pair *pair = realloc(l->pair, cap * sizeof *pair);
    if (pair) l->pair = pair;
    uint32_t *slot = calloc((size_t)cap * 2, sizeof *slot);
    if (!pair || !slot) {
        free(slot);
        return false;
    }
    free(l->slot);
    l->slot = slot;
    l->cap_pair = cap;
    l->mask = cap * 2 - 1;
    for (uint32_t i = 0; i < l->n_pair; i++)
        l->slot[pair_slot(l, l->pair[i].left, l->pair[i].right)] = i + 1;
    return true;
}

/* The pair, made when it is new; NULL: memory is out. */
static struct pair *get_pair(struct learner *l, int32_t left, int32_t right) {
    if (l->n_pair == l->cap_pair && !grow_pairs(l)) {
        l->failed = true;
        return NULL;
    }
    const uint32_t i = pair_slot(l, left, right);
    if (l->slot[i] == 0) {
        l->pair[l->n_pair] = (struct pair){left, right, 0, -1, -1};
        l->slot[i] = ++l->n_pair;
    }
    return &l->pair[l->slot[i] - 1];
}

static uint64_t weight(const struct learner *l, int32_t at) {
    return l->w->word[l->node[at].word].count;
}

/* The pair that begins at a node occurs. */
static void link_pair(struct learner *l, int32_t at) {
    struct node *n = &l->node[at];
    struct pair *p = get_pair(l, n->sym, l->node[n->next].sym);
    if (!p) return;
    p->count += weight(l, at);
    n->occ_prev = p->last;
    n->occ_next = -1;
    if (p->last >= 0)
        l->node[p->last].occ_next = at;
    else
        p->first = at;
    p->last = at;
}

/* It does not any more: called before either half changes. */
static void unlink_pair(struct learner *l, int32_t at) {
    const struct node *n = &l->node[at];
    struct pair *p = &l->pair[l->slot[pair_slot(l, n->sym, l->node[n->next].sym)] - 1];
    p->count -= weight(l, at);
    if (n->occ_prev >= 0)
        l->node[n->occ_prev].occ_next = n->occ_next;
    else
        p->first = n->occ_next;
    if (n->occ_next >= 0)
        l->node[n->occ_next].occ_prev = n->occ_prev;
    else
        p->last = n->occ_prev;
}

/* ---- heap: the highest count on top ---- */

/* Equal counts: the lower left id, then the lower right one. */
static bool comes_first(const struct learner *l, struct entry a, struct entry b) {
    const struct pair *p = &l->pair[a.pair], *q = &l->pair[b.pair];
    if (a.count != b.count) return a.count > b.count;
    if (p->left != q->left) return p->left < q->left;
    return p->right < q->right;
}

static void push(struct learner *l, struct entry x) {
    struct entry *h = l->heap;
    if (l->n_heap == l->cap_heap) {
        const size_t cap = l->cap_heap ? 2 * l->cap_heap : 1024;
        h = realloc(l->heap, cap * sizeof *h);
        if (!h) {
            l->failed = true;
            return;
        }
        l->heap = h;
        l->cap_heap = cap;
    }
    size_t i = l->n_heap++;
    for (; i > 0 && comes_first(l, x, h[(i - 1) / 2]); i = (i - 1) / 2)
        h[i] = h[(i - 1) / 2];
    h[i] = x;
}

static struct entry pop(struct learner *l) {
    struct entry *h = l->heap;
    const struct entry top = h[0], last = h[--l->n_heap];
    size_t i = 0;
    for (size_t c = 1; c < l->n_heap; c = 2 * i + 1) {
        if (c + 1 < l->n_heap && comes_first(l, h[c + 1], h[c])) c++;
        if (!comes_first(l, h[c], last)) break;
        h[i] = h[c];
        i = c;
    }
    h[i] = last;
    return top;
}

static void push_new(struct learner *l, int min_count) {
    for (; l->first_new < l->n_pair; l->first_new++) {
        const uint64_t count = l->pair[l->first_new].count;
        if (count >= (uint64_t)min_count) push(l, (struct entry){count, l->first_new});
    }
}

/* ---- joining ---- */

/* The node at `at` and the next one become one node of token `made`. */
static void join(struct learner *l, int32_t at, int32_t made) {
    struct node *n = &l->node[at];
    const int32_t right = n->next, after = l->node[right].next;
    if (n->prev >= 0) unlink_pair(l, n->prev);
    if (after >= 0) unlink_pair(l, right);
    unlink_pair(l, at);
    l->node[right].sym = -1;
    n->sym = made;
    n->next = after;
    if (after >= 0) l->node[after].prev = at;
    if (n->prev >= 0) link_pair(l, n->prev);
    if (after >= 0) link_pair(l, at);
    l->out->n_piece -= weight(l, at);
}

/* All occurrences, in the order of the text.  A join takes its own off the chain, and with equal
 * halves ("aaa") the one that overlaps it. */
static void join_all(struct learner *l, uint32_t pair, int32_t made) {
    while (!l->failed && l->pair[pair].first >= 0)
        join(l, l->pair[pair].first, made);
}

/* Text of the join as the next token: its id, -1 when it is not to be (too long, or a token
 * already), -2 without memory. */
static int32_t name_token(struct learner *l, const struct pair *p, int max_bytes) {
    struct bpe_tokens *t = l->out;
    const struct str a = t->text[p->left], b = t->text[p->right];
    const int32_t id = 256 + t->n_merge;
    char joined[2048];
    if (a.n + b.n > (size_t)max_bytes) return -1;
    memcpy(joined, a.p, a.n);
    memcpy(joined + a.n, b.p, b.n);
    if (symtab_find(&l->by_text, t->text, (struct str){joined, a.n + b.n}) >= 0) return -1;
    const char *copy = arena_strndup(&t->arena, joined, a.n + b.n);
    if (!copy) return -2;
    t->text[id] = (struct str){copy, a.n + b.n};
    return symtab_add(&l->by_text, t->text, id) == id ? id : -2;
}

/* The pair to join next; false: none is frequent enough. */
static bool best_pair(struct learner *l, int min_count, uint32_t *best) {
    while (l->n_heap > 0) {
        const struct entry top = pop(l);
        const uint64_t now = l->pair[top.pair].count;
        *best = top.pair;
        if (now == top.count) return true;
        if (now >= (uint64_t)min_count) push(l, (struct entry){now, top.pair});
    }
    return false;
}

static int merge_loop(struct learner *l, const struct bpe_limits *lim, struct err *e) {
    struct bpe_tokens *t = l->out;
    uint32_t best;
    while (!l->failed && t->n_merge < lim->n_merge) {
        if (lim->stop && *lim->stop) return err_set(e, ERR_CANCELLED, "interrupted");
        push_new(l, lim->min_count);
        if (!best_pair(l, lim->min_count, &best)) break;
        const struct pair p = l->pair[best];
        const int32_t made = name_token(l, &p, lim->max_token_bytes);
        if (made == -1) continue;
        if (made < 0) l->failed = true;
        t->merge[t->n_merge++] = (struct bpe_merge){p.left, p.right};
        join_all(l, best, made);
    }
    return l->failed ? err_nomem(e, "tokenizer") : 0;
}

/* ---- the beginning ---- */

static bool begin_tokens(struct learner *l, int n_token, int n_merge) {
    struct bpe_tokens *t = l->out;
    t->text = arena_calloc(&t->arena, (size_t)n_token, sizeof *t->text);
    t->merge = arena_calloc(&t->arena, (size_t)n_merge + 1, sizeof *t->merge);
    char *byte = arena_alloc(&t->arena, 256);
    if (!t->text || !t->merge || !byte || !symtab_init(&l->by_text, (uint32_t)n_token))
        return false;
    for (int i = 0; i < 256; i++) {
        byte[i] = (char)i;
        t->text[i] = (struct str){byte + i, 1};
        if (symtab_add(&l->by_text, t->text, i) != i) return false;
    }
    return true;
}

static bool begin_nodes(struct learner *l) {
    const struct bpe_words *w = l->w;
    l->node = malloc((w->n_byte + 1) * sizeof *l->node);
    if (!l->node) return false;
    for (uint32_t i = 0; i < w->n_word; i++) {
        const int32_t lo = (int32_t)w->word[i].at, hi = lo + (int32_t)w->word[i].n;
        for (int32_t at = lo; at < hi; at++)
            l->node[at] = (struct node){.sym = (uint8_t)w->bytes[at],
                                        .prev = at > lo ? at - 1 : -1,
                                        .next = at + 1 < hi ? at + 1 : -1,
                                        .word = i};
        for (int32_t at = lo; at + 1 < hi && !l->failed; at++)
            link_pair(l, at);
        l->out->n_piece += w->word[i].count * w->word[i].n;
    }
    return !l->failed;
}

int bpe_learn(const struct bpe_words *w, const struct bpe_limits *lim, int n_control,
              struct bpe_tokens *out, struct err *e) {
    struct learner l = {.w = w, .out = out};
    int rc = grow_pairs(&l) && begin_tokens(&l, 256 + lim->n_merge + n_control, lim->n_merge) &&
                     begin_nodes(&l)
                 ? 0
                 : err_nomem(e, "tokenizer");
    if (rc == 0) rc = merge_loop(&l, lim, e);
    symtab_fini(&l.by_text);
    free(l.node);
    free(l.pair);
    free(l.slot);
    free(l.heap);
    return rc;
}
