/* Phi-1.5 and Phi-2: one layer norm feeds attention and a plain MLP in parallel; everything has
 * a bias. */
#include "model/arch.h"

const struct arch arch_phi2 = {
    .name = "phi2",
    .rope = ROPE_HALVES,
    .norm = NORM_LAYER,
    .norms = NORMS_SHARED,
    .ffn = FFN_MLP,
    .act = ACT_GELU,
    .untied = true,
};
