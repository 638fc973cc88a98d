/* Nomic Embed (arXiv:2402.01613): BERT with RoPE and a gated feed-forward. */
#include "model/arch.h"

const struct arch arch_nomic_bert = {
    .name = "nomic-bert",
    .rope = ROPE_HALVES,
    .norm = NORM_LAYER,
    .norms = NORMS_OUTER,
    .encoder = true,
};
