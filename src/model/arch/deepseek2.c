/* DeepSeek V2 and V3 (arXiv:2405.04434, 2412.19437): latent attention; dense layers first, then
 * experts.  Sizes are keys. */
#include "model/arch.h"

/* GLM-4.7-Flash files may lack the gating function; they are told apart by depth and vocabulary, as
 * the reference does. */
static int adjust(struct hparams *h, const struct gguf *g, struct err *e) {
    if (!h->kv_rank)
        return err_set(e, ERR_FORMAT, "key \"deepseek2.attention.kv_lora_rank\" is missing");
    const struct gguf_tensor *embed = gguf_tensor(g, "token_embd.weight");
    const bool told = gguf_find(g, "deepseek2.expert_gating_func") != NULL;
    const bool glm = (h->n_layer == 47 || h->n_layer == 48) && embed && embed->ne[1] == 154880;
    if (!told && glm) h->gate = GATE_SIGMOID;
    return 0;
}

const struct arch arch_deepseek2 = {
    .name = "deepseek2",
    .rope = ROPE_PAIRS,
    .router_keys = true,
    .adjust = adjust,
};
