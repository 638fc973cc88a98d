/* Byte trie: building and walking. */
#include "text/trie.h"

#include <stdlib.h>

struct trie_edge {
    uint32_t from; /* node << 8 | byte; UINT32_MAX = empty */
    int32_t to;
};

enum { TRIE_MAX_NODES = 1 << 23 }; /* so that node << 8 fits and never reads as empty */

static uint32_t hash(uint32_t from) {
    const uint64_t k = from * 0x9e3779b97f4a7c15u;
    return (uint32_t)(k >> 32) ^ (uint32_t)(k >> 54);
}

static struct trie_edge *find(const struct trie *t, uint32_t from) {
    for (uint32_t i = hash(from);; i++) {
        struct trie_edge *e = &t->edge[i & t->mask];
        if (e->from == from || e->from == UINT32_MAX) return e;
    }
}

static bool grow_edges(struct trie *t) {
    const uint32_t cap = t->edge ? 2 * (t->mask + 1) : 256;
    struct trie bigger = {.edge = malloc(cap * sizeof *t->edge), .mask = cap - 1};
    if (!bigger.edge) return false;
    memset(bigger.edge, 0xff, cap * sizeof *t->edge);
    for (uint32_t i = 0; t->edge && i <= t->mask; i++)
        if (t->edge[i].from != UINT32_MAX) *find(&bigger, t->edge[i].from) = t->edge[i];
    free(t->edge);
    t->edge = bigger.edge;
    t->mask = bigger.mask;
    return true;
}

static int32_t new_node(struct trie *t) {
    if (t->n_node == t->cap_node) {
        const uint32_t cap = t->cap_node ? 2 * t->cap_node : 256;
        if (cap > TRIE_MAX_NODES) return -1;
        int32_t *v = realloc(t->value, cap * sizeof *v);
        if (!v) return -1;
        t->value = v;
        t->cap_node = cap;
    }
    t->value[t->n_node] = -1;
    return (int32_t)t->n_node++;
}

bool trie_add(struct trie *t, struct str key, int32_t value) {
    if (t->n_node == 0 && new_node(t) < 0) return false;
    int32_t node = TRIE_ROOT;
    for (size_t i = 0; i < key.n; i++) {
        if (2 * (t->n_edge + 1) > t->mask && !grow_edges(t)) return false;
        struct trie_edge *e = find(t, (uint32_t)node << 8 | (uint8_t)key.p[i]);
        if (e->from == UINT32_MAX) {
            const int32_t child = new_node(t);
            if (child < 0) return false;
            *e = (struct trie_edge){(uint32_t)node << 8 | (uint8_t)key.p[i], child};
            t->n_edge++;
        }
        node = e->to;
    }
    if (t->value[node] < 0) t->value[node] = value;
    return true;
}

void trie_fini(struct trie *t) {
    free(t->edge);
    free(t->value);
    *t = (struct trie){0};
}

int32_t trie_step(const struct trie *t, int32_t node, uint8_t byte) {
    if (!t->edge) return TRIE_NONE;
    const struct trie_edge *e = find(t, (uint32_t)node << 8 | byte);
    return e->from == UINT32_MAX ? TRIE_NONE : e->to;
}

int32_t trie_longest(const struct trie *t, const char *p, size_t n, size_t *len) {
    int32_t node = TRIE_ROOT, best = -1;
    for (size_t i = 0; i < n; i++) {
        node = trie_step(t, node, (uint8_t)p[i]);
        if (node == TRIE_NONE) break;
        if (t->value[node] < 0) continue;
        best = t->value[node];
        *len = i + 1;
    }
    return best;
}
