/* Sequences laid end to end, so that little is computed for nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Lay n units of len[i] rows (1 <= len[i] <= max) into packs of at most max rows by best-fit
 * decreasing (Johnson, "Near-optimal bin packing algorithms", 1973: at most 11/9 of the fewest
 * packs, and one more): the longest first, each into the fullest pack that has room for it.  Of
 * units of one length the earlier comes first.
 *
 *   order  [n]      out: units by pack
 *   start  [n + 1]  out: pack k has units order[start[k]] .. order[start[k + 1] - 1]
 *
 * Returns the number of packs, or -1: ERR_NOMEM.  The same lengths give the same packs.  Time
 * O(n log n + n max / 64). */
int pack_best_fit(const int *len, int n, int max, int32_t *order, int *start, struct err *e);
