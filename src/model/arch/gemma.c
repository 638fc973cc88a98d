/* Gemma (arXiv:2403.08295). */
#include "model/arch.h"

const struct arch arch_gemma = {
    .name = "gemma",
    .rope = ROPE_HALVES,
    .act = ACT_GELU,
    .embed_sqrt = true,
};
