/* gpt-oss (arXiv:2508.10925): attention sinks, every other layer windowed, experts with biases and
 * a clamped gate.  The norm before the feed-forward has another name in these files. */
#include "model/arch.h"

#include <math.h>

static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)g, (void)e;
    h->attn_scale = 1.0f / sqrtf((float)h->n_rot);
    return 0;
}

const struct arch arch_gpt_oss = {
    .name = "gpt-oss",
    .rope = ROPE_HALVES,
    .act = ACT_SWIGLU_OAI,
    .gate = GATE_SOFTMAX_TOPK,
    .window = {.period = 2, .size = -1},
    .ffn_norm = "post_attention_norm",
    .untied = true,
    .adjust = adjust,
};
