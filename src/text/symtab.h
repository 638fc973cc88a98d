/* Two hash tables that make a vocabulary quick to load: text -> id over borrowed strings, and
 * (left id, right id) -> merge.  Open addressing, linear probing, at most two thirds full; no
 * allocation per entry.  A file whose keys collide on purpose is refused (SYMTAB_MAX_PROBE), so
 * that every later lookup is bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { SYMTAB_MAX_PROBE = 512 };

struct symtab {
    uint64_t *slot; /* owned; high half: hash, low half: id + 1, 0 = empty */
    uint32_t mask;
    uint32_t n;
};

/* Room for n_keys without growing.  false: memory is out. */
bool symtab_init(struct symtab *t, uint32_t n_keys);
void symtab_fini(struct symtab *t);

/* The id whose text equals key, or -1; text[id] is what was added. */
int32_t symtab_find(const struct symtab *t, const struct str *text, struct str key);

/* Add text[id] unless an equal text is there: returns id, or the id of the equal one, or -1 when
 * memory is out or the keys collide beyond reason. */
int32_t symtab_add(struct symtab *t, const struct str *text, int32_t id);

struct merge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* lower merges first */
    uint32_t result;      /* id of the concatenation; UINT32_MAX marks an empty slot */
};

struct mergetab {
    struct merge *slot; /* owned */
    uint32_t mask;
};

bool mergetab_init(struct mergetab *t, uint32_t n_merges);
void mergetab_fini(struct mergetab *t);

/* An equal pair that is there already keeps its (lower) rank.  false: collisions beyond reason. */
bool mergetab_add(struct mergetab *t, struct merge m);

static inline uint32_t mergetab_hash(uint32_t left, uint32_t right) {
    const uint64_t k = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(k >> 32) ^ (uint32_t)k >> 15;
}

/* A hint that the pair's slot is needed soon. */
static inline void mergetab_prefetch(const struct mergetab *t, uint32_t left, uint32_t right) {
    __builtin_prefetch(&t->slot[mergetab_hash(left, right) & t->mask], 1);
}

/* The merge of two neighbours, or NULL. */
static inline const struct merge *mergetab_find(const struct mergetab *t, int32_t left,
                                                int32_t right) {
    if (!t->slot) return NULL;
    for (uint32_t i = mergetab_hash((uint32_t)left, (uint32_t)right);; i++) {
        const struct merge *m = &t->slot[i & t->mask];
        if (m->result == UINT32_MAX) return NULL;
        if (m->left == (uint32_t)left && m->right == (uint32_t)right) return m;
    }
}
