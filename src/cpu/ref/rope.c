/* Rotary position embedding, plain. */
#include "cpu/ref/ref.h"

void rope_pairs_ref(int n_pair, float *x, const float *cs) {
    for (int i = 0; i < n_pair; i++) {
        const float c = cs[2 * i], s = cs[2 * i + 1], a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = a * s + b * c;
    }
}

void rope_halves_ref(int n_pair, float *x, const float *cs) {
    for (int i = 0; i < n_pair; i++) {
        const float c = cs[2 * i], s = cs[2 * i + 1], a = x[i], b = x[i + n_pair];
        x[i] = a * c - b * s;
        x[i + n_pair] = a * s + b * c;
    }
}
