/* EXAONE 3 (arXiv:2408.03541). */
#include "model/arch.h"

const struct arch arch_exaone = {
    .name = "exaone",
    .rope = ROPE_HALVES,
};
