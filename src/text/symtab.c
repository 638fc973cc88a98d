/* Hash tables over borrowed strings and over pairs of ids. */
#include "text/symtab.h"

#include <stdlib.h>

static uint64_t load64(const char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Up to 8 bytes: two overlapping loads instead of a byte loop. */
static uint64_t load_short(const char *p, size_t n) {
    uint32_t a, b;
    if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        return (uint64_t)a << 32 | b;
    }
    if (n == 0) return 0;
    const uint8_t *u = (const uint8_t *)p;
    return (uint64_t)u[0] << 16 | (uint64_t)u[n / 2] << 8 | u[n - 1];
}

static uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static uint64_t hash_of(const char *p, size_t n) {
    const uint64_t k0 = 0xa0761d6478bd642fu, k1 = 0xe7037ed1a0b428dbu;
    uint64_t h = k0 ^ n;
    size_t left = n;
    for (; left > 16; left -= 16, p += 16)
        h = mix(load64(p) ^ k1, load64(p + 8) ^ h);
    if (left > 8) return mix(mix(load64(p) ^ k1, load64(p + left - 8) ^ h), k0);
    return mix(mix(load_short(p, left) ^ k1, h), k0);
}

/* Slots for n keys, at most two thirds full: a power of two. */
static uint32_t slots_for(uint32_t n) {
    uint32_t cap = 16;
    while (cap < n + (uint64_t)n / 2 && cap < 1u << 31)
        cap *= 2;
    return cap;
}

bool symtab_init(struct symtab *t, uint32_t n_keys) {
    const uint32_t cap = slots_for(n_keys);
    *t = (struct symtab){.slot = calloc(cap, sizeof *t->slot), .mask = cap - 1};
    return t->slot != NULL;
}

void symtab_fini(struct symtab *t) {
    free(t->slot);
    *t = (struct symtab){0};
}

int32_t symtab_find(const struct symtab *t, const struct str *text, struct str key) {
    if (!t->slot) return -1;
    const uint64_t h = hash_of(key.p, key.n);
    for (uint32_t i = (uint32_t)h;; i++) {
        const uint64_t s = t->slot[i & t->mask];
        if (s == 0) return -1;
        if (s >> 32 != h >> 32) continue;
        const int32_t id = (int32_t)((uint32_t)s - 1);
        if (str_eq(text[id], key)) return id;
    }
}

/* Where key is, or the empty slot where it belongs; UINT32_MAX after too many others. */
static uint32_t probe(const struct symtab *t, const struct str *text, struct str key, uint64_t h) {
    for (uint32_t k = 0; k < SYMTAB_MAX_PROBE; k++) {
        const uint32_t i = ((uint32_t)h + k) & t->mask;
        const uint64_t s = t->slot[i];
        if (s == 0) return i;
        if (s >> 32 == h >> 32 && str_eq(text[(uint32_t)s - 1], key)) return i;
    }
    return UINT32_MAX;
}

static bool grow(struct symtab *t, const struct str *text) {
    struct symtab bigger;
    if (t->mask >= 1u << 30 || !symtab_init(&bigger, t->mask + 1)) return false;
    for (uint32_t i = 0; i <= t->mask; i++) {
        if (t->slot[i] == 0) continue;
        const struct str key = text[(uint32_t)t->slot[i] - 1];
        const uint32_t to = probe(&bigger, text, key, hash_of(key.p, key.n));
        if (to == UINT32_MAX) {
            symtab_fini(&bigger);
            return false;
        }
        bigger.slot[to] = t->slot[i];
    }
    bigger.n = t->n;
    symtab_fini(t);
    *t = bigger;
    return true;
}

int32_t symtab_add(struct symtab *t, const struct str *text, int32_t id) {
    if (3 * (uint64_t)t->n > 2 * (uint64_t)t->mask && !grow(t, text)) return -1;
    const uint64_t h = hash_of(text[id].p, text[id].n);
    const uint32_t i = probe(t, text, text[id], h);
    if (i == UINT32_MAX) return -1;
    if (t->slot[i] != 0) return (int32_t)((uint32_t)t->slot[i] - 1);
    t->slot[i] = h >> 32 << 32 | ((uint32_t)id + 1);
    t->n++;
    return id;
}

bool mergetab_init(struct mergetab *t, uint32_t n_merges) {
    const uint32_t cap = slots_for(n_merges);
    *t = (struct mergetab){.slot = malloc(cap * sizeof *t->slot), .mask = cap - 1};
    if (t->slot) memset(t->slot, 0xff, cap * sizeof *t->slot);
    return t->slot != NULL;
}

void mergetab_fini(struct mergetab *t) {
    free(t->slot);
    *t = (struct mergetab){0};
}

bool mergetab_add(struct mergetab *t, struct merge m) {
    const uint32_t h = mergetab_hash(m.left, m.right);
    for (uint32_t k = 0; k < SYMTAB_MAX_PROBE; k++) {
        struct merge *s = &t->slot[(h + k) & t->mask];
        if (s->result == UINT32_MAX) {
            *s = m;
            return true;
        }
        if (s->left == m.left && s->right == m.right) return true;
    }
    return false;
}
