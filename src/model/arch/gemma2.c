/* Gemma 2 (arXiv:2408.00118): norms around both halves, every other layer windowed.  Soft caps
 * are keys. */
#include "model/arch.h"

#include <math.h>

/* Old files leave the soft caps out.  The 27B model scales queries by n_embd / n_head (config.json:
 * query_pre_attn_scalar); the others by head_dim, which is the default. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)e;
    if (!gguf_find(g, "gemma2.attn_logit_softcapping")) h->attn_softcap = 50;
    if (!gguf_find(g, "gemma2.final_logit_softcapping")) h->logit_softcap = 30;
    if (h->n_layer == 46) h->attn_scale = 1.0f / sqrtf((float)(h->n_embd / h->layer[0].n_head));
    return 0;
}

const struct arch arch_gemma2 = {
    .name = "gemma2",
    .rope = ROPE_HALVES,
    .norms = NORMS_BOTH,
    .act = ACT_GELU,
    .embed_sqrt = true,
    .window = {.period = 2, .size = 4096},
    .adjust = adjust,
};
