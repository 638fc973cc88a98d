/* BERT (arXiv:1810.04805), MiniLM, BGE, E5: an encoder with learned positions. */
#include "model/arch.h"

const struct arch arch_bert = {
    .name = "bert",
    .norm = NORM_LAYER,
    .norms = NORMS_OUTER,
    .ffn = FFN_MLP,
    .act = ACT_GELU,
    .encoder = true,
    .positions = true,
};
