/* A pack: whole sequences laid end to end.  Attention stays inside each, positions restart. */
#pragma once

#include <stdint.h>

struct batch {
    int n, n_seq;
    int32_t *tok;       /* [n] */
    int32_t *label;     /* [n] the token that row i is to predict; -1: none.  The last row of a
                         * sequence has none */
    int32_t *seq_start; /* [n_seq + 1] */
};

static inline int batch_n_label(const struct batch *b) {
    int n = 0;
    for (int i = 0; i < b->n; i++)
        n += b->label[i] >= 0;
    return n;
}
