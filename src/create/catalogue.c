/* See catalogue.h. */
#include "create/catalogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/mix.h"
#include "model/arch.h"

enum { METADATA_BYTES = 48 }; /* for an entry of the vocabulary: 61 of Llama 3's, 39 of Qwen 2's */

static const char *const task_name[N_TASK] = {"chat", "code", "math", "multilingual", "embed"};

unsigned catalogue_task_by_name(const char *name) {
    for (int i = 0; i < N_TASK; i++)
        if (strcasecmp(name, task_name[i]) == 0) return 1u << i;
    return 0;
}

const char *catalogue_task_name(unsigned task) {
    for (int i = 0; i < N_TASK; i++)
        if (task == 1u << i) return task_name[i];
    return "";
}

void catalogue_name(const struct catalogue_model *m, char out[CATALOGUE_NAME]) {
    snprintf(out, CATALOGUE_NAME, "%s:%s", m->name, m->tag);
}

/* Registries write "q4_K_M", "q8_0", "fp16". */
void catalogue_pull_name(const struct catalogue_model *m, int mix, char out[CATALOGUE_NAME]) {
    const char *type = gguf_file_type_name((uint32_t)mix);
    if (!m->file_tag || !type)
        catalogue_name(m, out);
    else if (mix == MIX_F16)
        snprintf(out, CATALOGUE_NAME, "%s:%s-fp16", m->name, m->file_tag);
    else
        snprintf(out, CATALOGUE_NAME, "%s:%s-q%s", m->name, m->file_tag, type + 1);
}

/* F16 is left out where there is Q8_0: it answers alike at half of the speed. */
const int *catalogue_mixes(const struct catalogue_model *m) {
    static const int all[] = {MIX_Q8_0,   MIX_Q6_K,   MIX_Q5_K_M, MIX_Q4_K_M,
                              MIX_Q4_K_S, MIX_Q3_K_M, MIX_Q2_K,   -1};
    static const int two[] = {MIX_Q8_0, MIX_Q4_K_M, -1}, f16[] = {MIX_F16, -1};
    return m->files == FILES_ALL ? all : m->files == FILES_TWO ? two : f16;
}

bool catalogue_matches(const struct catalogue_model *m, const char *word) {
    char name[CATALOGUE_NAME];
    catalogue_name(m, name);
    if (strcasestr(name, word) || strcasestr(m->arch, word) || strcasestr(m->licence, word))
        return true;
    for (int i = 0; i < N_TASK; i++)
        if (m->tasks & 1u << i && strcasestr(task_name[i], word)) return true;
    return false;
}

/* ---- tensors ---- */

struct tensors {
    struct gguf_tensor *t;
    char (*name)[64];
    int n;
};

static void add(struct tensors *l, int layer, const char *name, int n_in, int n_out, int n_mat) {
    struct gguf_tensor *t = &l->t[l->n];
    char *full = l->name[l->n++];
    if (layer < 0)
        snprintf(full, 64, "%s", name);
    else
        snprintf(full, 64, "blk.%d.%s", layer, name);
    *t = (struct gguf_tensor){.name = full,
                              .type = n_out ? QT_F16 : QT_F32,
                              .n_dim = n_mat   ? 3
                                       : n_out ? 2
                                               : 1,
                              .ne = {n_in, n_out ? n_out : 1, n_mat ? n_mat : 1, 1}};
}

static void add_vector(struct tensors *l, int layer, const char *stem, const char *end, int n) {
    char name[48];
    snprintf(name, sizeof name, "%s.%s", stem, end);
    add(l, layer, name, n, 0, 0);
}

static void add_linear(struct tensors *l, int layer, const char *stem, int n_in, int n_out,
                       bool bias) {
    char name[48];
    snprintf(name, sizeof name, "%s.weight", stem);
    add(l, layer, name, n_in, n_out, 0);
    if (bias) add_vector(l, layer, stem, "bias", n_out);
}

static void add_norm(struct tensors *l, int layer, const char *stem, int n, unsigned parts) {
    add_vector(l, layer, stem, "weight", n);
    /* Nomic's encoder has biases in its norms only. */
    if (parts & (PART_BIAS | PART_ENCODER)) add_vector(l, layer, stem, "bias", n);
}

static void add_attention(struct tensors *l, const struct catalogue_model *m, int il) {
    const int n_q = m->n_head * m->head_dim, n_kv = m->n_kv_head * m->head_dim;
    const bool bias = m->parts & PART_BIAS, qkv_bias = bias || m->parts & PART_QKV_BIAS;
    if (m->parts & PART_FUSED_QKV) {
        add_linear(l, il, "attn_qkv", m->n_embd, n_q + 2 * n_kv, qkv_bias);
    } else {
        add_linear(l, il, "attn_q", m->n_embd, n_q, qkv_bias);
        add_linear(l, il, "attn_k", m->n_embd, n_kv, qkv_bias);
        add_linear(l, il, "attn_v", m->n_embd, n_kv, qkv_bias);
    }
    if (m->parts & (PART_QK_NORM | PART_QK_NORM_ROW)) {
        const bool head = m->parts & PART_QK_NORM;
        add_vector(l, il, "attn_q_norm", "weight", head ? m->head_dim : n_q);
        add_vector(l, il, "attn_k_norm", "weight", head ? m->head_dim : n_kv);
    }
    add_linear(l, il, "attn_output", n_q, m->n_embd, bias);
}

static void add_norms(struct tensors *l, const struct catalogue_model *m, int il) {
    const bool encoder = m->parts & PART_ENCODER,
               post = m->parts & (PART_POST_NORM | PART_ONLY_POST);
    if (encoder) {
        add_norm(l, il, "attn_output_norm", m->n_embd, m->parts);
        add_norm(l, il, "layer_output_norm", m->n_embd, m->parts);
        return;
    }
    if (!(m->parts & PART_ONLY_POST)) add_norm(l, il, "attn_norm", m->n_embd, m->parts);
    if (!(m->parts & (PART_ONLY_POST | PART_ONE_NORM)))
        add_norm(l, il, "ffn_norm", m->n_embd, m->parts);
    if (!post) return;
    add_norm(l, il, "post_attention_norm", m->n_embd, m->parts);
    add_norm(l, il, "post_ffw_norm", m->n_embd, m->parts);
}

static void add_ffn(struct tensors *l, const struct catalogue_model *m, int il) {
    const bool bias = m->parts & PART_BIAS, fused = m->parts & PART_FUSED_UP;
    if (m->n_expert) {
        add(l, il, "ffn_gate_inp.weight", m->n_embd, m->n_expert, 0);
        add(l, il, "ffn_gate_exps.weight", m->n_embd, m->n_ff, m->n_expert);
        add(l, il, "ffn_up_exps.weight", m->n_embd, m->n_ff, m->n_expert);
        add(l, il, "ffn_down_exps.weight", m->n_ff, m->n_embd, m->n_expert);
        return;
    }
    if (!(m->parts & (PART_MLP | PART_FUSED_UP)))
        add_linear(l, il, "ffn_gate", m->n_embd, m->n_ff, false);
    add_linear(l, il, "ffn_up", m->n_embd, fused ? 2 * m->n_ff : m->n_ff, bias);
    add_linear(l, il, "ffn_down", m->n_ff, m->n_embd, bias);
}

/* tensors_free also after an error. */
static int make_tensors(struct tensors *l, const struct catalogue_model *m, struct err *e) {
    const int most_outside = 8, most_of_layer = 24;
    const size_t cap = (size_t)(most_outside + most_of_layer * m->n_layer);
    *l = (struct tensors){calloc(cap, sizeof *l->t), calloc(cap, sizeof *l->name), 0};
    if (!l->t || !l->name) return err_nomem(e, m->name);
    add(l, -1, "token_embd.weight", m->n_embd, m->n_vocab, 0);
    if (m->parts & PART_POSITIONS) add(l, -1, "position_embd.weight", m->n_embd, m->n_ctx, 0);
    if (m->parts & PART_ENCODER) {
        add(l, -1, "token_types.weight", m->n_embd, 2, 0);
        add_norm(l, -1, "token_embd_norm", m->n_embd, m->parts);
    } else {
        add_norm(l, -1, "output_norm", m->n_embd, m->parts);
        if (!(m->parts & PART_TIED)) add(l, -1, "output.weight", m->n_embd, m->n_vocab, 0);
    }
    for (int il = 0; il < m->n_layer; il++) {
        add_attention(l, m, il);
        add_norms(l, m, il);
        add_ffn(l, m, il);
    }
    return 0;
}

static void tensors_free(struct tensors *l) {
    free(l->t);
    free(l->name);
}

/* ---- sizes ---- */

/* A row of each look-up table is read, of experts those that are used; vectors do not count. */
static double share_read(const struct catalogue_model *m, const struct gguf_tensor *t) {
    const bool table = strcmp(t->name, "position_embd.weight") == 0 ||
                       strcmp(t->name, "token_types.weight") == 0 ||
                       (strcmp(t->name, "token_embd.weight") == 0 && !(m->parts & PART_TIED));
    if (table || t->n_dim < 2) return 0;
    return t->n_dim > 2 ? (double)m->n_expert_used / m->n_expert : 1;
}

static int sum_up(const struct catalogue_model *m, const struct tensors *l, int mix,
                  struct catalogue_size *out, struct err *e) {
    const struct gguf_tensor **list = calloc((size_t)l->n, sizeof *list);
    enum qtype *type = calloc((size_t)l->n, sizeof *type);
    int rc = -1, n_fallback;
    double tensors = 0, read = 0;
    if (!list || !type) {
        err_nomem(e, m->name);
        goto done;
    }
    for (int i = 0; i < l->n; i++)
        list[i] = &l->t[i];
    const struct mix_model mm = {str_of(m->arch), m->n_layer, m->n_head, m->n_kv_head,
                                 m->n_expert,     list,       l->n};
    rc = mix_choose_of(&mm, mix, false, false, type, &n_fallback, e);
    *out = (struct catalogue_size){0};
    for (int i = 0; rc == 0 && i < l->n; i++) {
        const struct gguf_tensor *t = &l->t[i];
        const double rows = (double)t->ne[1] * (double)t->ne[2];
        const double bytes = (double)qtype_row_bytes(type[i], (int)t->ne[0]) * rows;
        tensors += bytes;
        read += bytes * share_read(m, t);
        out->n_param += rows * (double)t->ne[0];
    }
    out->loaded_bytes = (uint64_t)(tensors + (double)m->n_vocab * METADATA_BYTES);
    out->file_bytes = out->loaded_bytes + (uint64_t)(m->n_image_m * 1e6 * 2);
    out->read_bytes = (uint64_t)read;
done:
    free(list);
    free(type);
    return rc;
}

int catalogue_size(const struct catalogue_model *m, int mix, struct catalogue_size *out,
                   struct err *e) {
    struct tensors l;
    int rc = make_tensors(&l, m, e);
    if (rc == 0) rc = sum_up(m, &l, mix, out, e);
    tensors_free(&l);
    return rc;
}

int catalogue_hparams(const struct catalogue_model *m, struct hparams *h, struct err *e) {
    const struct arch *a = arch_find(str_of(m->arch), e);
    if (!a) return -1;
    *h = (struct hparams){
        .n_layer = m->n_layer,
        .n_embd = m->n_embd,
        .n_ctx_train = m->n_ctx,
        .n_vocab = m->n_vocab,
        .k_dim = m->head_dim,
        .v_dim = m->head_dim,
        .n_rot = a->rope == ROPE_NONE ? 0 : m->head_dim,
        .n_expert = m->n_expert,
        .n_expert_used = m->n_expert_used,
        .n_ff_exp = m->n_expert ? m->n_ff : 0,
    };
    snprintf(h->arch, sizeof h->arch, "%s", m->arch);
    const int period = a->window.size ? a->window.period : 0;
    for (int il = 0; il < m->n_layer; il++)
        h->layer[il] = (struct layer_hparams){
            .n_head = m->n_head,
            .n_kv_head = m->n_kv_head,
            .n_ff = m->n_ff,
            .moe = m->n_expert > 0,
            .rope_set = a->rope == ROPE_NONE                 ? -1
                        : period && il % period < period - 1 ? 1
                                                             : 0,
        };
    return 0;
}
