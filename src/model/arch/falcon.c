/* Falcon (arXiv:2311.16867): parallel halves; 7B shares one norm, 40B has two. */
#include "model/arch.h"

const struct arch arch_falcon = {
    .name = "falcon",
    .rope = ROPE_HALVES,
    .norm = NORM_LAYER,
    .norms = NORMS_SHARED,
    .ffn = FFN_MLP,
    .act = ACT_GELU,
};
