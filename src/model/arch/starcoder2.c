/* StarCoder 2 (arXiv:2402.19173): layer norms, plain MLP, biases. */
#include "model/arch.h"

const struct arch arch_starcoder2 = {
    .name = "starcoder2",
    .rope = ROPE_HALVES,
    .norm = NORM_LAYER,
    .ffn = FFN_MLP,
    .act = ACT_GELU,
};
