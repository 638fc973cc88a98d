/* OLMo 2 (arXiv:2501.00656): norms after each half only; q and k are normalized over all heads. */
#include "model/arch.h"

const struct arch arch_olmo2 = {
    .name = "olmo2",
    .rope = ROPE_HALVES,
    .norms = NORMS_AFTER,
    .untied = true,
};
