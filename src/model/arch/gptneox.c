/* GPT-NeoX, Pythia (arXiv:2204.06745): parallel halves with a norm each, unless a key says
 * otherwise. */
#include "model/arch.h"

static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    h->parallel = true;
    return hparams_bool(h, g, "use_parallel_residual", &h->parallel, e) < 0 ? -1 : 0;
}

const struct arch arch_gptneox = {
    .name = "gptneox",
    .rope = ROPE_HALVES,
    .norm = NORM_LAYER,
    .ffn = FFN_MLP,
    .act = ACT_GELU,
    .untied = true,
    .adjust = adjust,
};
