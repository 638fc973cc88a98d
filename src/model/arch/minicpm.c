/* MiniCPM (arXiv:2404.06395): scales that old files leave to the reader. */
#include "model/arch.h"

#include <math.h>

static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    h->embed_scale = 12.0f;
    h->residual_scale = 1.4f / sqrtf((float)h->n_layer);
    h->logit_scale = (float)h->n_embd / 256.0f;
    if (hparams_f32(h, g, "embedding_scale", &h->embed_scale, e) < 0 ||
        hparams_f32(h, g, "residual_scale", &h->residual_scale, e) < 0 ||
        hparams_f32(h, g, "logit_scale", &h->logit_scale, e) < 0)
        return -1;
    h->logit_scale = 1.0f / h->logit_scale; /* in files it is a divisor */
    return 0;
}

const struct arch arch_minicpm = {
    .name = "minicpm",
    .rope = ROPE_PAIRS,
    .adjust = adjust,
};
