/* Hashes that were met, with the line of the first: for what comes twice. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct seen {
    uint64_t *key; /* [cap], owned; 0: free */
    int *line;     /* [cap], owned */
    size_t cap, n;
};

/* All-zero is empty. */

/* The line with which this hash came first; 0: it is new, and kept with `line` (> 0).  -1: out of
 * memory. */
int seen_add(struct seen *s, uint64_t hash, int line);
/* The same without keeping it: 0 when it is not there. */
int seen_find(const struct seen *s, uint64_t hash);
void seen_fini(struct seen *s);
