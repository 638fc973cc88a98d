/* Open addressing with linear steps; at most half full.  The hashes are good ones (base/hash.h). */
#include "train/seen.h"

#include <stdlib.h>

static size_t slot_of(const struct seen *s, uint64_t key) {
    size_t at = (size_t)key & (s->cap - 1);
    while (s->key[at] && s->key[at] != key)
        at = (at + 1) & (s->cap - 1);
    return at;
}

static uint64_t key_of(uint64_t hash) {
    return hash ? hash : 1; /* 0 marks what is free */
}

static int grow(struct seen *s) {
    struct seen old = *s;
    s->cap = old.cap ? 2 * old.cap : 64;
    s->key = calloc(s->cap, sizeof *s->key);
    s->line = calloc(s->cap, sizeof *s->line);
    if (!s->key || !s->line) {
        free(s->key);
        free(s->line);
        *s = old;
        return -1;
    }
    for (size_t i = 0; i < old.cap; i++) {
        if (!old.key[i]) continue;
        const size_t at = slot_of(s, old.key[i]);
        s->key[at] = old.key[i];
        s->line[at] = old.line[i];
    }
    free(old.key);
    free(old.line);
    return 0;
}

int seen_add(struct seen *s, uint64_t hash, int line) {
    if (2 * (s->n + 1) > s->cap && grow(s) != 0) return -1;
    const size_t at = slot_of(s, key_of(hash));
    if (s->key[at]) return s->line[at];
    s->key[at] = key_of(hash);
    s->line[at] = line;
    s->n++;
    return 0;
}

int seen_find(const struct seen *s, uint64_t hash) {
    return s->cap ? s->line[slot_of(s, key_of(hash))] : 0;
}

void seen_fini(struct seen *s) {
    free(s->key);
    free(s->line);
    *s = (struct seen){0};
}
