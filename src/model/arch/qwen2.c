/* Qwen 2 and 2.5 (arXiv:2407.10671): biases on q, k and v, which the binder sees. */
#include "model/arch.h"

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .rope = ROPE_HALVES,
};
