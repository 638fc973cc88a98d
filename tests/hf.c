/* A golden GGUF as a Hugging Face folder: names, row order and values of the tensors as the
 * published checkpoints have them, in safetensors files. */
#include "hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/f16.h"
#include "base/os.h"
#include "hf_priv.h"

struct tensor {
    char name[160];
    int n_dim;
    int64_t shape[4]; /* row-major */
    size_t n;
    float *x;     /* owned */
    int64_t *ids; /* instead of x: I64; owned */
};

struct list {
    struct tensor *v;
    size_t n, cap;
};

int hf_put(const char *dir, const char *name, const void *bytes, size_t n) {
    char path[1400];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (os_write_file(path, bytes, n, &e) == 0) return 0;
    fprintf(stderr, "%s\n", e.msg);
    return -1;
}

int hf_put_json(const char *dir, const char *name, json_t *j) {
    char *text = json_dumps(j, JSON_INDENT(2));
    json_decref(j);
    if (!text) return -1;
    const int rc = hf_put(dir, name, text, strlen(text));
    free(text);
    return rc;
}

static struct tensor *add(struct list *l, const char *name, size_t n, int n_dim, int64_t d0,
                          int64_t d1) {
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->v = realloc(l->v, l->cap * sizeof *l->v);
    }
    struct tensor *t = &l->v[l->n++];
    *t = (struct tensor){.n = n, .n_dim = n_dim, .shape = {d0, d1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->x = calloc(n ? n : 1, sizeof *t->x);
    return t;
}

static void list_fini(struct list *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].x), free(l->v[i].ids);
    free(l->v);
}

/* What a GGUF tensor is called, and what happens to it. */
enum change { SAME, HEADS, KV_HEADS, NORM, EXPERTS, ONE_ROW };
struct rule {
    const char *gguf, *hf; /* hf: %d is the layer, a second one the expert */
    enum change change;
};

/* Whole names first; the rest are blk.N. ones, without that prefix. */
static const struct rule outer[] = {
    {"token_embd.weight", "model.embed_tokens.weight", SAME},
    {"output_norm.weight", "model.norm.weight", NORM},
    {"output.weight", "lm_head.weight", SAME},
    {NULL, NULL, SAME},
};
static const struct rule decoder[] = {
    {"attn_norm.weight", "input_layernorm.weight", NORM},
    {"attn_q", "self_attn.q_proj", HEADS},
    {"attn_k", "self_attn.k_proj", KV_HEADS},
    {"attn_v", "self_attn.v_proj", SAME},
    {"attn_qkv", "self_attn.qkv_proj", SAME},
    {"attn_output", "self_attn.o_proj", SAME},
    {"attn_q_norm.weight", "self_attn.q_norm.weight", NORM},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", NORM},
    {"post_attention_norm.weight", "post_attention_layernorm.weight", NORM},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight", NORM},
    {"ffn_gate", "mlp.gate_proj", SAME},
    {"ffn_up", "mlp.up_proj", SAME},
    {"ffn_down", "mlp.down_proj", SAME},
    {"ffn_gate_inp.weight", "mlp.gate.weight", SAME},
    {"ffn_gate_exps.weight", "mlp.experts.%d.gate_proj.weight", EXPERTS},
    {"ffn_up_exps.weight", "mlp.experts.%d.up_proj.weight", EXPERTS},
    {"ffn_down_exps.weight", "mlp.experts.%d.down_proj.weight", EXPERTS},
    {"ffn_gate_shexp", "mlp.shared_expert.gate_proj", SAME},
    {"ffn_up_shexp", "mlp.shared_expert.up_proj", SAME},
    {"ffn_down_shexp", "mlp.shared_expert.down_proj", SAME},
    {"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", ONE_ROW},
    {NULL, NULL, SAME},
};
static const struct rule mixtral[] = {
    {"ffn_gate_inp.weight", "block_sparse_moe.gate.weight", SAME},
    {"ffn_gate_exps.weight", "block_sparse_moe.experts.%d.w1.weight", EXPERTS},
    {"ffn_down_exps.weight", "block_sparse_moe.experts.%d.w2.weight", EXPERTS},
    {"ffn_up_exps.weight", "block_sparse_moe.experts.%d.w3.weight", EXPERTS},
    {NULL, NULL, SAME},
};
static const struct rule phi3[] = {
    {"ffn_up", "mlp.gate_up_proj", SAME}, /* gate's rows, then up's */
    {NULL, NULL, SAME},
};
static const struct rule gemma[] = {
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight", NORM},
    {NULL, NULL, SAME},
};
static const struct rule plain[] = {
    {"ffn_norm.weight", "post_attention_layernorm.weight", SAME},
    {NULL, NULL, SAME},
};
static const struct rule bert_outer[] = {
    {"token_embd.weight", "embeddings.word_embeddings.weight", SAME},
    {"token_types.weight", "embeddings.token_type_embeddings.weight", SAME},
    {"position_embd.weight", "embeddings.position_embeddings.weight", SAME},
    {"token_embd_norm", "embeddings.LayerNorm", SAME},
    {NULL, NULL, SAME},
};
static const struct rule bert[] = {
    {"attn_q", "attention.self.query", SAME},
    {"attn_k", "attention.self.key", SAME},
    {"attn_v", "attention.self.value", SAME},
    {"attn_output", "attention.output.dense", SAME},
    {"attn_output_norm", "attention.output.LayerNorm", SAME},
    {"ffn_up", "intermediate.dense", SAME},
    {"ffn_down", "output.dense", SAME},
    {"layer_output_norm", "output.LayerNorm", SAME},
    {NULL, NULL, SAME},
};

static const struct rule nomic_outer[] = {
    {"token_embd.weight", "embeddings.word_embeddings.weight", SAME},
    {"token_types.weight", "embeddings.token_type_embeddings.weight", SAME},
    {"token_embd_norm", "emb_ln", SAME},
    {NULL, NULL, SAME},
};
static const struct rule nomic[] = {
    {"attn_qkv", "attn.Wqkv", SAME}, /* all of q, all of k, all of v */
    {"attn_output", "attn.out_proj", SAME},
    {"attn_output_norm", "norm1", SAME},
    {"ffn_up", "mlp.fc11", SAME},
    {"ffn_gate", "mlp.fc12", SAME}, /* the activated one */
    {"ffn_down", "mlp.fc2", SAME},
    {"layer_output_norm", "norm2", SAME},
    {NULL, NULL, SAME},
};

/* The rule for NAME; what follows the rule's name (".weight", ".bias") goes to *suffix. */
static const struct rule *match(const struct rule *r, const char *name, const char **suffix) {
    for (; r->gguf; r++) {
        const size_t n = strlen(r->gguf);
        if (strncmp(name, r->gguf, n) != 0) continue;
        if (name[n] && strcmp(name + n, ".weight") != 0 && strcmp(name + n, ".bias") != 0) continue;
        *suffix = name + n;
        return r;
    }
    return NULL;
}

static const struct rule *rule_of(enum hf_family f, const char *name, const char **suffix) {
    if (hf_is_encoder(f)) return match(f == HF_BERT ? bert : nomic, name, suffix);
    const struct rule *own = f == HF_MIXTRAL                    ? mixtral
                             : f == HF_PHI3                     ? phi3
                             : f == HF_GEMMA2 || f == HF_GEMMA3 ? gemma
                                                                : plain;
    const struct rule *r = match(own, name, suffix);
    if (!r && own != plain) {
        r = match(decoder, name, suffix);
        if (!r && own != gemma) r = match(plain, name, suffix);
        return r;
    }
    return r ? r : match(decoder, name, suffix);
}

/* transformers rotates the halves of a head (i, i + d/2); these families' GGUF, pairs
 * (2i, 2i + 1).  Rows of row_n values. */
static void unpair(float *x, size_t n, size_t row_n, int64_t n_head) {
    const size_t d = n / row_n / (size_t)n_head, half = d / 2;
    float *from = malloc(n * sizeof *from);
    memcpy(from, x, n * sizeof *from);
    for (size_t h = 0; h < (size_t)n_head; h++)
        for (size_t j = 0; j < half; j++)
            for (size_t p = 0; p < 2; p++)
                memcpy(x + (h * d + p * half + j) * row_n, from + (h * d + 2 * j + p) * row_n,
                       row_n * sizeof *x);
    free(from);
}

static int pairs_of(enum hf_family f) {
    return f == HF_LLAMA || f == HF_MISTRAL || f == HF_MIXTRAL || f == HF_GRANITE ||
           f == HF_SMOLLM3;
}

static void change(const struct gguf *base, enum hf_family f, enum change c, struct tensor *t) {
    const size_t row_n = t->n_dim == 1 ? 1 : (size_t)t->shape[1];
    const int64_t n_head = hf_int(base, "attention.head_count", 1);
    if (c == HEADS && pairs_of(f)) unpair(t->x, t->n, row_n, n_head);
    if (c == KV_HEADS && pairs_of(f))
        unpair(t->x, t->n, row_n, hf_int(base, "attention.head_count_kv", n_head));
    if (c == NORM && (f == HF_GEMMA2 || f == HF_GEMMA3))
        for (size_t i = 0; i < t->n; i++)
            t->x[i] -= 1;
}

static int split_experts(struct list *l, const struct gguf_tensor *g, const char *name) {
    const size_t n = (size_t)(g->ne[0] * g->ne[1]);
    for (int64_t i = 0; i < g->ne[2]; i++) {
        char full[160];
        const char *mark = strstr(name, "%d");
        snprintf(full, sizeof full, "%.*s%lld%s", (int)(mark - name), name, (long long)i, mark + 2);
        struct tensor *t = add(l, full, n, 2, g->ne[1], g->ne[0]);
        memcpy(t->x, g->data + (size_t)i * n * 4, n * 4);
    }
    return 0;
}

/* "blk.7.attn_q" to its layer and the name behind it; -1: another name. */
static int layer_of(const char *name, const char **rest) {
    char *end;
    *rest = name;
    if (strncmp(name, "blk.", 4) != 0) return -1;
    const long il = strtol(name + 4, &end, 10);
    *rest = end + 1;
    return (int)il;
}

static int add_tensor(struct list *l, const struct gguf *g, enum hf_family f,
                      const struct gguf_tensor *s) {
    const char *rest, *suffix = "";
    char name[160];
    if (strncmp(s->name, "rope_f", 6) == 0) return 0; /* config.json has these */
    if (s->type != QT_F32) {
        fprintf(stderr, "%s: %s is not F32\n", gguf_path(g), s->name);
        return -1;
    }
    const int il = layer_of(s->name, &rest);
    const struct rule *r = il < 0 ? match(f == HF_BERT    ? bert_outer
                                          : f == HF_NOMIC ? nomic_outer
                                                          : outer,
                                          rest, &suffix)
                                  : rule_of(f, rest, &suffix);
    if (!r) {
        fprintf(stderr, "%s: %s has no name in this family\n", gguf_path(g), s->name);
        return -1;
    }
    if (il < 0)
        snprintf(name, sizeof name, "%s%s", r->hf, suffix);
    else
        snprintf(name, sizeof name, "%s.%d.%s%s",
                 f == HF_BERT    ? "encoder.layer"
                 : f == HF_NOMIC ? "encoder.layers"
                                 : "model.layers",
                 il, r->hf, suffix);
    if (r->change == EXPERTS) return split_experts(l, s, name);
    const int two = s->n_dim == 2;
    struct tensor *t =
        add(l, name, s->n_bytes / 4, two ? 2 : 1, two ? s->ne[1] : s->ne[0], two ? s->ne[0] : 1);
    if (r->change == ONE_ROW) t->n_dim = 2, t->shape[0] = 1, t->shape[1] = s->ne[0];
    memcpy(t->x, s->data, s->n_bytes);
    change(g, f, r->change, t);
    return 0;
}

/* What BERT checkpoints also hold and an embedding does without. */
static void add_bert_rest(struct list *l, const struct gguf *g) {
    const int64_t n = hf_int(g, "embedding_length", 0), n_pos = hf_int(g, "context_length", 0);
    add(l, "pooler.dense.weight", (size_t)(n * n), 2, n, n);
    add(l, "pooler.dense.bias", (size_t)n, 1, n, 1);
    struct tensor *t = add(l, "embeddings.position_ids", 0, 2, 1, n_pos);
    t->ids = malloc((size_t)n_pos * sizeof *t->ids);
    for (int64_t i = 0; i < n_pos; i++)
        t->ids[i] = i;
    t->n = (size_t)n_pos;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static void append_values(struct buf *b, const struct tensor *t, unsigned flags) {
    if (t->ids) {
        buf_append(b, t->ids, t->n * sizeof *t->ids);
    } else if (flags & (HF_BF16 | HF_F16)) {
        for (size_t i = 0; i < t->n; i++) {
            const uint16_t h = flags & HF_BF16 ? f32_to_bf16(t->x[i]) : f32_to_f16(t->x[i]);
            buf_append(b, &h, 2);
        }
    } else {
        buf_append(b, t->x, t->n * 4);
    }
}

/* One file of tensors [from, to): length of the header, header padded to 8 bytes, values. */
static int put_safetensors(const char *dir, const char *name, const struct list *l, size_t from,
                           size_t to, unsigned flags) {
    struct buf data = {0}, file = {0};
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    for (size_t i = from; i < to; i++) {
        const struct tensor *t = &l->v[i];
        const size_t at = data.n;
        append_values(&data, t, flags);
        json_t *shape = json_array();
        for (int k = 0; k < t->n_dim; k++)
            json_array_append_new(shape, json_integer(t->shape[k]));
        const char *type = t->ids            ? "I64"
                           : flags & HF_BF16 ? "BF16"
                           : flags & HF_F16  ? "F16"
                                             : "F32";
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", type, "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)data.n));
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    const size_t n = strlen(text);
    const uint64_t padded = (n + 7) & ~(size_t)7;
    buf_append(&file, &padded, 8);
    buf_append(&file, text, n);
    for (size_t i = n; i < padded; i++)
        buf_byte(&file, ' ');
    buf_append(&file, data.p, data.n);
    const int rc = hf_put(dir, name, file.p, file.n);
    free(text), buf_fini(&data), buf_fini(&file);
    return rc;
}

static int put_shards(const char *dir, const struct list *l, unsigned flags) {
    static const char *const names[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    json_t *map = json_object();
    size_t total = 0;
    const size_t half = l->n / 2;
    for (size_t i = 0; i < l->n; i++) {
        json_object_set_new(map, l->v[i].name, json_string(names[i >= half]));
        total += l->v[i].n * (l->v[i].ids ? 8 : flags & (HF_BF16 | HF_F16) ? 2 : 4);
    }
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    const int rc = put_safetensors(dir, names[0], l, 0, half, flags) |
                   put_safetensors(dir, names[1], l, half, l->n, flags);
    return hf_put_json(dir, "model.safetensors.index.json", index) | rc;
}

static int put_tensors(const struct gguf *g, enum hf_family f, const char *dir, unsigned flags) {
    struct list l = {0};
    int rc = 0;
    for (int i = 0; i < gguf_n_tensor(g) && rc == 0; i++)
        rc = add_tensor(&l, g, f, gguf_tensor_at(g, i));
    if (rc == 0 && f == HF_BERT) add_bert_rest(&l, g);
    qsort(l.v, l.n, sizeof *l.v, by_name);
    if (rc == 0)
        rc = flags & HF_SHARDED ? put_shards(dir, &l, flags)
                                : put_safetensors(dir, "model.safetensors", &l, 0, l.n, flags);
    list_fini(&l);
    return rc;
}

/* sentence-transformers' files beside the model: how rows become one. */
static int put_pooling(const struct gguf *g, const char *dir) {
    char sub[1300];
    const int64_t kind = hf_int(g, "pooling_type", 1);
    snprintf(sub, sizeof sub, "%s/1_Pooling", dir);
    mkdir(sub, 0777);
    json_t *modules =
        json_pack("[{s:i, s:s, s:s, s:s}, {s:i, s:s, s:s, s:s}]", "idx", 0, "name", "0", "path", "",
                  "type", "sentence_transformers.models.Transformer", "idx", 1, "name", "1", "path",
                  "1_Pooling", "type", "sentence_transformers.models.Pooling");
    json_t *pooling =
        json_pack("{s:I, s:b, s:b, s:b, s:b}", "word_embedding_dimension",
                  (json_int_t)hf_int(g, "embedding_length", 0), "pooling_mode_cls_token", kind == 2,
                  "pooling_mode_mean_tokens", kind == 1, "pooling_mode_max_tokens", 0,
                  "pooling_mode_mean_sqrt_len_tokens", 0);
    return hf_put_json(dir, "modules.json", modules) | hf_put_json(sub, "config.json", pooling);
}

static int put_config(const struct gguf *g, enum hf_family f, const char *dir, unsigned flags) {
    json_t *c = hf_config(g, f, flags);
    if (!c) return -1;
    json_t *gen = json_pack("{s:b, s:O*, s:O*, s:s}", "_from_model_config", 1, "bos_token_id",
                            json_object_get(c, "bos_token_id"), "eos_token_id",
                            json_object_get(c, "eos_token_id"), "transformers_version", "4.52.4");
    int rc = hf_put_json(dir, "config.json", c);
    if (hf_is_encoder(f))
        json_decref(gen), rc |= put_pooling(g, dir);
    else
        rc |= hf_put_json(dir, "generation_config.json", gen);
    return rc;
}

int hf_write(const char *path, const char *dir, unsigned flags) {
    struct err e;
    struct gguf *g = gguf_open(path, &e);
    if (!g) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    const enum hf_family f = hf_family_of(g);
    int rc = -1;
    mkdir(dir, 0777);
    if (f == HF_UNKNOWN)
        fprintf(stderr, "%s: no Hugging Face family is known for this architecture\n", path);
    else
        rc = put_config(g, f, dir, flags) | put_tensors(g, f, dir, flags) |
             hf_write_tokenizer(g, f, dir, flags);
    gguf_close(g);
    return rc;
}

/* blk.N.W.weight.lora_a to its PEFT twin; the module's last name is noted as a target. */
static int add_lora(struct list *l, const struct gguf *base, enum hf_family f,
                    const struct gguf_tensor *s, json_t *targets) {
    char weight[160], name[200];
    const char *rest, *suffix = "", *mark = strstr(s->name, ".weight.lora_");
    if (!mark || s->type != QT_F32 || s->n_dim != 2) return -1;
    const int b = mark[13] == 'b';
    snprintf(weight, sizeof weight, "%.*s.weight", (int)(mark - s->name), s->name);
    const int il = layer_of(weight, &rest);
    const struct rule *r = il < 0 ? NULL : rule_of(f, rest, &suffix);
    if (!r || r->change == EXPERTS) return -1;
    snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_%c.weight", il, r->hf,
             b ? 'B' : 'A');
    struct tensor *t = add(l, name, s->n_bytes / 4, 2, s->ne[1], s->ne[0]);
    memcpy(t->x, s->data, s->n_bytes);
    if (b) change(base, f, r->change, t);
    json_object_set_new(targets, strrchr(r->hf, '.') + 1, json_true());
    return 0;
}

static json_t *adapter_config(const struct gguf *a, json_t *targets) {
    float alpha = 0;
    struct err e;
    json_t *names = json_array();
    const char *key;
    json_t *value;
    gguf_get_f32(a, "adapter.lora.alpha", &alpha, &e);
    json_object_foreach(targets, key, value) json_array_append_new(names, json_string(key));
    return json_pack(
        "{s:s, s:n, s:s, s:s, s:b, s:b, s:b, s:f, s:f, s:n, s:s, s:I, s:{}, s:{}, s:o, s:s, s:b, "
        "s:b}",
        "base_model_name_or_path", "golden", "auto_mapping", "bias", "none", "peft_type", "LORA",
        "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "lora_alpha",
        (double)alpha, "lora_dropout", 0.05, "modules_to_save", "revision", "main", "r",
        (json_int_t)gguf_tensor_at(a, 0)->ne[strstr(gguf_tensor_at(a, 0)->name, "lora_b") ? 0 : 1],
        "rank_pattern", "alpha_pattern", "target_modules", names, "task_type", "CAUSAL_LM",
        "use_dora", 0, "use_rslora", 0);
}

int hf_write_adapter(const char *adapter_gguf, const char *base_gguf, const char *dir) {
    struct err e;
    struct list l = {0};
    struct gguf *a = gguf_open(adapter_gguf, &e), *base = a ? gguf_open(base_gguf, &e) : NULL;
    json_t *targets = json_object();
    int rc = -1;
    mkdir(dir, 0777);
    if (!base) {
        fprintf(stderr, "%s\n", e.msg);
        goto done;
    }
    const enum hf_family f = hf_family_of(base);
    rc = f == HF_UNKNOWN ? -1 : 0;
    for (int i = 0; i < gguf_n_tensor(a) && rc == 0; i++)
        rc = add_lora(&l, base, f, gguf_tensor_at(a, i), targets);
    if (rc != 0) {
        fprintf(stderr, "%s: no PEFT form is known for this adapter\n", adapter_gguf);
        goto done;
    }
    qsort(l.v, l.n, sizeof *l.v, by_name);
    rc = put_safetensors(dir, "adapter_model.safetensors", &l, 0, l.n, 0) |
         hf_put_json(dir, "adapter_config.json", adapter_config(a, targets));
done:
    json_decref(targets);
    list_fini(&l);
    gguf_close(base);
    gguf_close(a);
    return rc;
}
