/* Gemma 3 (arXiv:2503.19786): five of six layers are windowed, with RoPE of their own. */
#include "model/arch.h"

#include <math.h>

/* The 27B model scales queries by n_embd / n_head (config.json: query_pre_attn_scalar); the others
 * by head_dim, which is the default. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)g, (void)e;
    if (h->n_layer == 62) h->attn_scale = 1.0f / sqrtf((float)(h->n_embd / h->layer[0].n_head));
    return 0;
}

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .rope = ROPE_HALVES,
    .norms = NORMS_BOTH,
    .act = ACT_GELU,
    .embed_sqrt = true,
    .window = {.period = 6, .rope_base = 10000, .rope_plain = true},
    .adjust = adjust,
};
