/* See scan.h.  Nearly every block ends at one comparison of the whole. */
#include "sample/scan.h"

#include <math.h>

enum { BLOCK = 64 }; /* searched number by number when it holds one above */

/* Lanes of comparisons, which gcc and clang vectorise; a loop of 16 running maxima they do not. */
static int any_above(const float *x, float low) {
    int any = 0;
    for (int j = 0; j < BLOCK; j++)
        any |= x[j] > low;
    return any;
}

int32_t scan_best(const float *x, int n) {
    float max = -INFINITY;
    int best = 0;
    for (int i = 0; i < n; i += BLOCK) {
        const int end = n - i < BLOCK ? n : i + BLOCK;
        if (end - i == BLOCK && !any_above(x + i, max)) continue;
        for (int j = i; j < end; j++)
            if (x[j] > max) max = x[j], best = j;
    }
    return best;
}

int scan_above(const float *x, int n, int from, float low) {
    int i = from;
    for (; i < n && i % BLOCK != 0; i++)
        if (x[i] > low) return i;
    while (i + BLOCK <= n && !any_above(x + i, low))
        i += BLOCK;
    while (i < n && !(x[i] > low))
        i++;
    return i;
}
