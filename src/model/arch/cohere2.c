/* Command R7B: like command-r; three of four layers are windowed, the fourth does not rotate. */
#include "model/arch.h"

const struct arch arch_cohere2 = {
    .name = "cohere2",
    .rope = ROPE_PAIRS,
    .scale_keys = true,
    .norm = NORM_LAYER,
    .norms = NORMS_SHARED,
    .window = {.period = 4, .size = -1, .rope_only = true},
};
