/* A binary min-heap of possible merges, shared by BPE and SPM. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct heap_item {
    uint64_t key; /* priority in the high half, position in the low: leftmost first among equals */
    int32_t a, b; /* what the pair was when it was queued, to tell stale entries */
};

struct heap {
    struct heap_item *v; /* owned */
    size_t n, cap;
    bool failed;
};

static inline void heap_push(struct heap *h, struct heap_item x) {
    if (h->n == h->cap) {
        const size_t cap = h->cap ? 2 * h->cap : 256;
        struct heap_item *v = realloc(h->v, cap * sizeof *v);
        if (!v) {
            h->failed = true;
            return;
        }
        h->v = v;
        h->cap = cap;
    }
    size_t i = h->n++;
    for (; i > 0 && h->v[(i - 1) / 2].key > x.key; i = (i - 1) / 2)
        h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = x;
}

static inline struct heap_item heap_pop(struct heap *h) {
    const struct heap_item top = h->v[0], last = h->v[--h->n];
    size_t i = 0;
    for (size_t c = 1; c < h->n; c = 2 * i + 1) {
        if (c + 1 < h->n && h->v[c + 1].key < h->v[c].key) c++;
        if (h->v[c].key >= last.key) break;
        h->v[i] = h->v[c];
        i = c;
    }
    h->v[i] = last;
    return top;
}
