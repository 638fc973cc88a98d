/* SmolLM 3: every fourth layer does not rotate. */
#include "model/arch.h"

const struct arch arch_smollm3 = {
    .name = "smollm3",
    .rope = ROPE_PAIRS,
    .no_rope_period = 4,
};
