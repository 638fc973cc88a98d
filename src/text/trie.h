/* Byte trie over a few thousand to a few hundred thousand keys: children in one open-addressing
 * table keyed by (node, byte).  Serves special-token search, WordPiece and Unigram. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct trie {
    struct trie_edge *edge; /* owned */
    uint32_t mask, n_edge;
    int32_t *value; /* [cap_node], owned: key's id, or -1 */
    uint32_t n_node, cap_node;
};

enum { TRIE_ROOT = 0, TRIE_NONE = -1 };

/* All-zero is an empty trie.  Keeps the first value of equal keys.  false: memory is out. */
bool trie_add(struct trie *t, struct str key, int32_t value);
void trie_fini(struct trie *t);

/* The child of a node, or TRIE_NONE. */
int32_t trie_step(const struct trie *t, int32_t node, uint8_t byte);

static inline int32_t trie_value(const struct trie *t, int32_t node) {
    return t->value[node];
}

/* The longest key that p[0..n) starts with: its value, *len its length; or -1. */
int32_t trie_longest(const struct trie *t, const char *p, size_t n, size_t *len);
