/* OLMoE (arXiv:2409.02060): experts whose weights keep their sum; q and k are normalized over all
 * heads. */
#include "model/arch.h"

const struct arch arch_olmoe = {
    .name = "olmoe",
    .rope = ROPE_HALVES,
    .untied = true,
};
