/* What tensors are called: on hubs, in GGUF.  '#' stands for a number: the first is the layer, the
 * second an expert. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "create/convert_priv.h"

struct rule {
    const char *hub, *gguf; /* without ".weight" and ".bias"; gguf NULL: nothing a model needs */
    enum tensor_op op;
    unsigned only; /* families with one of these flags; 0: all */
};

#define ATT "layers.#.self_attn."
#define MLP "layers.#.mlp."
#define MOE "layers.#.block_sparse_moe."
#define ENC "encoder.layer.#."
#define NOM "encoder.layers.#."

static const struct rule rules[] = {
    {"embed_tokens", "token_embd", OP_COPY, 0},
    {"norm", "output_norm", OP_COPY, 0},
    {"lm_head", "output", OP_COPY, 0},
    {"layers.#.input_layernorm", "attn_norm", OP_COPY, 0},
    {ATT "q_proj", "attn_q", OP_ROTATE_Q, 0},
    {ATT "k_proj", "attn_k", OP_ROTATE_K, 0},
    {ATT "v_proj", "attn_v", OP_COPY, 0},
    {ATT "qkv_proj", "attn_qkv", OP_COPY, FAMILY_FUSED},
    {ATT "o_proj", "attn_output", OP_COPY, 0},
    {ATT "q_norm", "attn_q_norm", OP_COPY, 0},
    {ATT "k_norm", "attn_k_norm", OP_COPY, 0},
    {"layers.#.post_attention_layernorm", "post_attention_norm", OP_COPY, FAMILY_SANDWICH},
    {"layers.#.post_attention_layernorm", "ffn_norm", OP_COPY, 0},
    {"layers.#.pre_feedforward_layernorm", "ffn_norm", OP_COPY, 0},
    {"layers.#.post_feedforward_layernorm", "post_ffw_norm", OP_COPY, 0},
    {MLP "gate_proj", "ffn_gate", OP_COPY, 0},
    {MLP "gate_up_proj", "ffn_up", OP_COPY, FAMILY_FUSED},
    {MLP "up_proj", "ffn_up", OP_COPY, 0},
    {MLP "down_proj", "ffn_down", OP_COPY, 0},
    {MLP "gate", "ffn_gate_inp", OP_COPY, 0},
    {MLP "experts.#.gate_proj", "ffn_gate_exps", OP_COPY, 0},
    {MLP "experts.#.up_proj", "ffn_up_exps", OP_COPY, 0},
    {MLP "experts.#.down_proj", "ffn_down_exps", OP_COPY, 0},
    {MLP "shared_expert.gate_proj", "ffn_gate_shexp", OP_COPY, 0},
    {MLP "shared_expert.up_proj", "ffn_up_shexp", OP_COPY, 0},
    {MLP "shared_expert.down_proj", "ffn_down_shexp", OP_COPY, 0},
    {MLP "shared_expert_gate", "ffn_gate_inp_shexp", OP_COPY, 0},
    {MOE "gate", "ffn_gate_inp", OP_COPY, 0},
    {MOE "experts.#.w1", "ffn_gate_exps", OP_COPY, 0},
    {MOE "experts.#.w3", "ffn_up_exps", OP_COPY, 0},
    {MOE "experts.#.w2", "ffn_down_exps", OP_COPY, 0},
    /* BERT */
    {"embeddings.word_embeddings", "token_embd", OP_COPY, 0},
    {"embeddings.position_embeddings", "position_embd", OP_COPY, 0},
    {"embeddings.token_type_embeddings", "token_types", OP_COPY, 0},
    {"embeddings.LayerNorm", "token_embd_norm", OP_COPY, 0},
    {ENC "attention.self.query", "attn_q", OP_COPY, 0},
    {ENC "attention.self.key", "attn_k", OP_COPY, 0},
    {ENC "attention.self.value", "attn_v", OP_COPY, 0},
    {ENC "attention.output.dense", "attn_output", OP_COPY, 0},
    {ENC "attention.output.LayerNorm", "attn_output_norm", OP_COPY, 0},
    {ENC "intermediate.dense", "ffn_up", OP_COPY, 0},
    {ENC "output.dense", "ffn_down", OP_COPY, 0},
    {ENC "output.LayerNorm", "layer_output_norm", OP_COPY, 0},
    /* Nomic Embed: fc12 goes through the activation, fc11 does not. */
    {"emb_ln", "token_embd_norm", OP_COPY, 0},
    {NOM "attn.Wqkv", "attn_qkv", OP_COPY, 0},
    {NOM "attn.out_proj", "attn_output", OP_COPY, 0},
    {NOM "norm1", "attn_output_norm", OP_COPY, 0},
    {NOM "mlp.fc11", "ffn_up", OP_COPY, 0},
    {NOM "mlp.fc12", "ffn_gate", OP_COPY, 0},
    {NOM "mlp.fc2", "ffn_down", OP_COPY, 0},
    {NOM "norm2", "layer_output_norm", OP_COPY, 0},
    /* Tables that can be computed, and heads for other tasks. */
    {ATT "rotary_emb.inv_freq", NULL, OP_COPY, 0},
    {"embeddings.position_ids", NULL, OP_COPY, 0},
    {"pooler.dense", NULL, OP_COPY, FAMILY_ENCODER},
};

/* What stands before the names above, longest first; and what begins a part that is no text model.
 */
static const char *const prefixes[] = {"model.language_model.", "language_model.model.",
                                       "language_model.", "model.", "bert."};
static const char *const foreign[] = {"vision_tower.",
                                      "model.vision_tower.",
                                      "multi_modal_projector.",
                                      "model.multi_modal_projector.",
                                      "cls.",
                                      "bert.pooler."};

static bool starts(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* A number without sign or leading zeros, below a million; -1 when there is none. */
static int take_number(const char **s) {
    char *end;
    if (!isdigit((unsigned char)**s) || (**s == '0' && isdigit((unsigned char)(*s)[1]))) return -1;
    const long v = strtol(*s, &end, 10);
    if (v > 999999) return -1;
    *s = end;
    return (int)v;
}

/* Does the name (n bytes) fit the pattern?  number[2] gets what '#' stood for. */
static bool fits(const char *pattern, const char *name, size_t n, int number[2]) {
    const char *end = name + n;
    int k = 0;
    number[0] = number[1] = -1;
    for (; *pattern; pattern++) {
        if (*pattern == '#') {
            number[k] = take_number(&name);
            if (number[k++] < 0) return false;
        } else if (name < end && *name == *pattern) {
            name++;
        } else {
            return false;
        }
    }
    return name == end;
}

static bool ends(const char *s, size_t *n, const char *suffix) {
    const size_t k = strlen(suffix);
    if (*n <= k || memcmp(s + *n - k, suffix, k) != 0) return false;
    *n -= k;
    return true;
}

int tensor_name(const struct family *f, const char *hub, struct tensor_name *out) {
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (starts(hub, foreign[i])) return 0;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts(hub, prefixes[i])) {
            hub += strlen(prefixes[i]);
            break;
        }
    size_t n = strlen(hub);
    const char *kind = ends(hub, &n, ".weight") ? ".weight" : ends(hub, &n, ".bias") ? ".bias" : "";
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        int number[2];
        if ((r->only && !(f->flags & r->only)) || !fits(r->hub, hub, n, number)) continue;
        if (!r->gguf) return 0;
        if (!*kind) return -1;
        *out = (struct tensor_name){.layer = number[0], .expert = number[1], .order = (int)i};
        if (f->flags & FAMILY_PAIRS) out->op = r->op;
        if (number[0] >= 0)
            snprintf(out->name, sizeof out->name, "blk.%d.%s%s", number[0], r->gguf, kind);
        else
            snprintf(out->name, sizeof out->name, "%s%s", r->gguf, kind);
        return 1;
    }
    return -1;
}

/* The other way: from GGUF's name (without its ending) to the first of the hub's that the family
 * can have.  Encoders have names of their own for the same parts. */
int tensor_hub_name(const struct family *f, const char *gguf, struct hub_name *out) {
    size_t n = strlen(gguf);
    int number[2];
    if ((f->flags & FAMILY_ENCODER) || !ends(gguf, &n, ".weight")) return -1;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        const char *mark = strchr(r->hub, '#');
        char pattern[CONVERT_NAME];
        if (!r->gguf || (r->only && !(f->flags & r->only)) || (mark && strchr(mark + 1, '#')))
            continue;
        if (strcmp(r->gguf, "ffn_gate_inp") == 0) continue; /* which one says the checkpoint only */
        snprintf(pattern, sizeof pattern, "%s%s", mark ? "blk.#." : "", r->gguf);
        if (!fits(pattern, gguf, n, number)) continue;
        *out = (struct hub_name){.layer = number[0],
                                 .op = f->flags & FAMILY_PAIRS ? r->op : OP_COPY,
                                 .inner = strcmp(r->hub, "lm_head") != 0};
        if (mark)
            snprintf(out->module, sizeof out->module, "%.*s%d%s", (int)(mark - r->hub), r->hub,
                     number[0], mark + 1);
        else
            snprintf(out->module, sizeof out->module, "%s", r->hub);
        return 1;
    }
    return -1;
}
