/* Granite 3 with experts; see granite.c.  RoPE cannot be switched off here. */
#include "model/arch.h"

/* The file's logit_scale is a divisor. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)g, (void)e;
    h->logit_scale = 1.0f / h->logit_scale;
    return 0;
}

const struct arch arch_granitemoe = {
    .name = "granitemoe",
    .rope = ROPE_PAIRS,
    .scale_keys = true,
    .expert_renorm = true,
    .adjust = adjust,
};
