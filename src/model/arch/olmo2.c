/* OLMo 2 (arXiv:2501.00656): norms after each half only; q and k are normalized over all heads.
 * OLMo 3 (arXiv:2512.13961) is the same with windows: three of four layers, without YaRN. */
#include "model/arch.h"

/* The reference rotates windowed layers plainly, whatever else the file says. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)g, (void)e;
    h->rope_set[1].base = h->rope_set[0].base;
    h->rope_set[1].magnitude = 1;
    return 0;
}

const struct arch arch_olmo2 = {
    .name = "olmo2",
    .rope = ROPE_HALVES,
    .norms = NORMS_AFTER,
    .untied = true,
    .window = {.period = 4, .rope_plain = true},
    .adjust = adjust,
};
