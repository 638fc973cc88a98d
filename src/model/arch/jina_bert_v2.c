/* Jina Embeddings 2 (arXiv:2310.19923): BERT with ALiBi and a gated feed-forward. */
#include "model/arch.h"

static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    (void)g, (void)e;
    h->alibi = true;
    return 0;
}

const struct arch arch_jina_bert_v2 = {
    .name = "jina-bert-v2",
    .norm = NORM_LAYER,
    .norms = NORMS_OUTER,
    .act = ACT_GELU,
    .encoder = true,
    .adjust = adjust,
};
