/* Qwen 3 (arXiv:2505.09388): q and k are normalized per head, which the binder sees. */
#include "model/arch.h"

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .rope = ROPE_HALVES,
};
