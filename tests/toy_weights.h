/* The weights of a toy model; between toy.c and toy_forward.c. */
#pragma once

#include "toy.h"

struct tensor {
    char name[64];
    int n_dim, ne[3];
    float *v;
};

struct toy_model {
    struct toy t;
    struct tensor *w; /* [n_w] */
    int n_w, cap_w;
    uint64_t seed;
};
