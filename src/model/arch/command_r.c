/* Command R: one layer norm feeds both halves in parallel. */
#include "model/arch.h"

const struct arch arch_command_r = {
    .name = "command-r",
    .rope = ROPE_PAIRS,
    .scale_keys = true,
    .norm = NORM_LAYER,
    .norms = NORMS_SHARED,
};
