/* GPT-2: learned positions. */
#include "model/arch.h"

const struct arch arch_gpt2 = {
    .name = "gpt2",
    .norm = NORM_LAYER,
    .ffn = FFN_MLP,
    .act = ACT_GELU,
    .positions = true,
};
