/* Memory of one lifetime: allocations are bumped off chunks and freed together.  A model's and a
 * request's objects live in one each.  One thread at a time. */
#pragma once

#include <stddef.h>

#include "base/str.h"

struct arena {
    struct arena_chunk *chunk; /* newest first; owned */
    size_t used_bytes;         /* handed out, over all chunks */
};

/* All-zero is an empty arena. */

/* n bytes, zeroed, 64-byte aligned; NULL when memory is out.  Valid until reset or fini. */
void *arena_alloc(struct arena *a, size_t n_bytes);

/* The same for count objects of size bytes; NULL also when the product overflows. */
void *arena_calloc(struct arena *a, size_t count, size_t size);

/* A terminated copy of s; NULL when memory is out. */
char *arena_strndup(struct arena *a, const char *s, size_t n);

/* Forget everything, keep the newest chunk for reuse. */
void arena_reset(struct arena *a);

/* Free everything; the arena is empty again. */
void arena_fini(struct arena *a);
