/* Bump allocation in chunks that double from 64 KiB; large requests get a chunk of their own. */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum { ALIGN = 64, FIRST_CHUNK = 64 * 1024, MAX_CHUNK = 4 * 1024 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used; /* payload bytes; the payload starts ALIGN bytes into the chunk */
};

_Static_assert(sizeof(struct arena_chunk) <= ALIGN, "the header fits before the payload");

static struct arena_chunk *chunk_new(struct arena *a, size_t need) {
    size_t size = a->chunk ? a->chunk->size * 2 : FIRST_CHUNK;
    if (size > MAX_CHUNK) size = MAX_CHUNK;
    if (size < need) size = need;
    struct arena_chunk *c = aligned_alloc(ALIGN, ALIGN + size); /* both multiples of ALIGN */
    if (!c) return NULL;
    *c = (struct arena_chunk){.next = a->chunk, .size = size};
    return a->chunk = c;
}

void *arena_alloc(struct arena *a, size_t n_bytes) {
    uint64_t need;
    if (!checked_align(n_bytes ? n_bytes : 1, ALIGN, &need) || need > SIZE_MAX / 2) return NULL;
    struct arena_chunk *c = a->chunk;
    if (!c || c->size - c->used < need) c = chunk_new(a, (size_t)need);
    if (!c) return NULL;
    void *p = (char *)c + ALIGN + c->used;
    c->used += (size_t)need;
    a->used_bytes += (size_t)need;
    return memset(p, 0, (size_t)need);
}

void *arena_calloc(struct arena *a, size_t count, size_t size) {
    uint64_t n;
    if (!checked_mul(count, size, &n)) return NULL;
    return arena_alloc(a, (size_t)n);
}

char *arena_strndup(struct arena *a, const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *p = arena_alloc(a, n + 1);
    if (p && n) memcpy(p, s, n);
    return p;
}

void arena_reset(struct arena *a) {
    struct arena_chunk *keep = a->chunk;
    if (!keep) return;
    a->chunk = keep->next;
    arena_fini(a);
    keep->next = NULL;
    keep->used = 0;
    a->chunk = keep;
}

void arena_fini(struct arena *a) {
    for (struct arena_chunk *c = a->chunk, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){0};
}
