/* Granite 3: Llama with scales on embeddings, residuals, attention and logits, all keys. */
#include "model/arch.h"

/* The file's logit_scale is a divisor; RoPE can be switched off. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    bool rope = true;
    if (hparams_bool(h, g, "rope.scaling.finetuned", &rope, e) < 0) return -1;
    for (int il = 0; il < h->n_layer && !rope; il++)
        h->layer[il].rope_set = -1;
    h->logit_scale = 1.0f / h->logit_scale;
    return 0;
}

const struct arch arch_granite = {
    .name = "granite",
    .rope = ROPE_PAIRS,
    .scale_keys = true,
    .expert_renorm = true,
    .adjust = adjust,
};
