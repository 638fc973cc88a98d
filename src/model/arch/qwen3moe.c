/* Qwen 3 with experts: like qwen3, the chosen experts' weights sum to 1. */
#include "model/arch.h"

/* Old files leave the experts' sizes out. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)e;
    if (h->n_expert && !gguf_find(g, "qwen3moe.expert_feed_forward_length"))
        h->n_ff_exp = h->layer[0].n_ff / h->n_expert_used;
    return 0;
}

const struct arch arch_qwen3moe = {
    .name = "qwen3moe",
    .rope = ROPE_HALVES,
    .expert_renorm = true,
    .adjust = adjust,
};
