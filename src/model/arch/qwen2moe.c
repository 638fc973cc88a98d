/* Qwen 1.5 and 2 with experts: the chosen experts' weights keep their sum below 1, and a shared
 * expert has its own gate. */
#include "model/arch.h"

/* Old files leave the experts' sizes out. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)e;
    if (h->n_expert && !gguf_find(g, "qwen2moe.expert_feed_forward_length"))
        h->n_ff_exp = h->layer[0].n_ff / h->n_expert_used;
    if (h->n_expert && !gguf_find(g, "qwen2moe.expert_shared_feed_forward_length"))
        h->n_ff_shared = h->layer[0].n_ff;
    return 0;
}

const struct arch arch_qwen2moe = {
    .name = "qwen2moe",
    .rope = ROPE_HALVES,
    .untied = true,
    .adjust = adjust,
};
