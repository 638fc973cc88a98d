/* OLMo 1 (arXiv:2402.00838): layer norms without weights; q, k and v may be clamped. */
#include "model/arch.h"

const struct arch arch_olmo = {
    .name = "olmo",
    .rope = ROPE_PAIRS,
    .norm = NORM_LAYER,
    .norms = NORMS_FREE,
};
