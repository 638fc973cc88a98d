/* InternLM 2 (arXiv:2403.17297). */
#include "model/arch.h"

const struct arch arch_internlm2 = {
    .name = "internlm2",
    .rope = ROPE_PAIRS,
    .untied = true,
};
