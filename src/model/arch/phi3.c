/* Phi-3, Phi-3.5, Phi-4 (arXiv:2404.14219): fused projections, long-context RoPE factors; the
 * reference ignores the sliding window. */
#include "model/arch.h"

const struct arch arch_phi3 = {
    .name = "phi3",
    .rope = ROPE_HALVES,
    .expert_renorm = true,
};
