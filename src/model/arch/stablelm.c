/* StableLM 2 and 3B: layer norms, partial RoPE; the 12B model has one norm for both halves. */
#include "model/arch.h"

/* The key is not reliable: what counts is whether the second norm is there. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)e;
    h->parallel = !gguf_tensor(g, "blk.0.ffn_norm.weight");
    return 0;
}

const struct arch arch_stablelm = {
    .name = "stablelm",
    .rope = ROPE_HALVES,
    .norm = NORM_LAYER,
    .untied = true,
    .adjust = adjust,
};
