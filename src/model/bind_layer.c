/* What a layer has: its norms, its mixer, its feed-forward. */
#include "model/bind.h"

#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "quant/quant.h"

static struct norm bare_norm(const struct hparams *h) {
    return (struct norm){h->norm, h->n_embd, h->n_embd, NULL, NULL, h->norm_eps};
}

static void bind_norms(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    const struct arch *a = b->m->arch;
    const char *ffn_norm = a->ffn_norm ? a->ffn_norm : "ffn_norm";
    l->parallel = h->parallel;
    switch (a->norms) {
    case NORMS_BEFORE:
    case NORMS_BOTH:
        bind_norm(b, &l->attn_norm, il, "attn_norm", h->n_embd);
        if (!l->parallel || bind_has(b, il, ffn_norm, "weight"))
            bind_norm(b, &l->ffn_norm, il, ffn_norm, h->n_embd);
        else
            l->shared_norm = true;
        if (a->norms == NORMS_BEFORE) break;
        bind_norm(b, &l->attn_post_norm, il, "post_attention_norm", h->n_embd);
        bind_norm(b, &l->ffn_post_norm, il, "post_ffw_norm", h->n_embd);
        break;
    case NORMS_SHARED:
        bind_norm(b, &l->attn_norm, il, "attn_norm", h->n_embd);
        l->shared_norm = true;
        struct norm own;
        if (!bind_maybe_norm(b, &own, il, "attn_norm_2", h->n_embd)) break;
        l->ffn_norm = l->attn_norm;
        l->attn_norm = own;
        l->shared_norm = false;
        break;
    case NORMS_AFTER:
        bind_norm(b, &l->attn_post_norm, il, "post_attention_norm", h->n_embd);
        bind_norm(b, &l->ffn_post_norm, il, "post_ffw_norm", h->n_embd);
        break;
    case NORMS_OUTER:
        bind_norm(b, &l->attn_out_norm, il, "attn_output_norm", h->n_embd);
        bind_norm(b, &l->ffn_out_norm, il, "layer_output_norm", h->n_embd);
        bind_maybe_norm(b, &l->attn_again_norm, il, "attn_norm_2", h->n_embd);
        break;
    case NORMS_FREE: l->attn_norm = l->ffn_norm = bare_norm(h); break;
    }
}

/* Does layer il come in the form with tensor `name`, rather than that with `other`?  Where both are
 * missing another layer tells, so that the message names what ought to be there. */
static bool has_form(struct binder *b, int il, const char *name, const char *other) {
    if (bind_has(b, il, name, "weight")) return true;
    return !bind_has(b, il, other, "weight") && bind_has(b, il ? 0 : 1, name, "weight");
}

static void bind_attn(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    struct attn_weights *w = &l->attn;
    const int n_q = l->hp->n_head * h->k_dim, n_k = l->hp->n_kv_head * h->k_dim;
    const int n_v = l->hp->n_kv_head * h->v_dim, n_all = n_q + n_k + n_v;
    if (has_form(b, il, "attn_qkv", "attn_q")) {
        bind_rows(b, &w->q, il, "attn_qkv", 1, n_q, h->n_embd, 0, n_all);
        bind_rows(b, &w->k, il, "attn_qkv", 1, n_k, h->n_embd, n_q, n_all);
        bind_rows(b, &w->v, il, "attn_qkv", 1, n_v, h->n_embd, n_q + n_k, n_all);
    } else {
        bind_linear(b, &w->q, il, "attn_q", n_q, h->n_embd);
        bind_linear(b, &w->k, il, "attn_k", n_k, h->n_embd);
        bind_linear(b, &w->v, il, "attn_v", n_v, h->n_embd);
    }
    bind_linear(b, &w->o, il, "attn_output", h->n_embd, l->hp->n_head * h->v_dim);
    bind_head_norm(b, &w->q_norm, il, "attn_q_norm", l->hp->n_head, h->k_dim);
    bind_head_norm(b, &w->k_norm, il, "attn_k_norm", l->hp->n_kv_head, h->k_dim);
    w->sink = bind_vec(b, il, "attn_sinks", "weight", false, l->hp->n_head);
    l->mix = mix_attn;
}

/* Old files hold k_b and v_b of all heads in one matrix, each head's k rows before its v rows.
 * v_b is a view of it; k_b is needed transposed, so it is decoded into the arena: as floats where
 * the file has floats, else as halves, whose rounding is far below that of a quantized type. */
static void bind_kv_b(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    const int n_head = l->hp->n_head, nope = h->k_dim - h->n_rot, rank = h->kv_rank;
    struct mla_weights *w = &l->mla;
    struct linear all;
    bind_linear(b, &all, il, "attn_kv_b", n_head * (nope + h->v_dim), rank);
    if (b->failed) return;
    b->m->n_linear--; /* its halves take no adapter: they are not the tensor any more */
    const size_t head_bytes = all.w.row_bytes * (size_t)(nope + h->v_dim);
    w->v_b = (struct linear){
        .w = all.w, .n_mat = n_head, .mat_bytes = head_bytes, .id = -1, .scale = NULL};
    w->v_b.w.data += all.w.row_bytes * (size_t)nope;
    w->v_b.w.n_row = h->v_dim;

    const enum qtype type = all.w.type == QT_F32 ? QT_F32 : QT_F16;
    const size_t one = type == QT_F32 ? 4 : 2, n = (size_t)nope * (size_t)rank;
    uint8_t *out = bind_alloc(b, n * (size_t)n_head, one);
    float *row = bind_alloc(b, (size_t)rank, sizeof *row);
    if (!out || !row) return;
    for (int ih = 0; ih < n_head; ih++)
        for (int i = 0; i < nope; i++) {
            const uint8_t *src = all.w.data + head_bytes * (size_t)ih + all.w.row_bytes * (size_t)i;
            quant_type(all.w.type)->decode(src, row, (size_t)rank);
            for (int j = 0; j < rank; j++) {
                const size_t at = n * (size_t)ih + (size_t)j * (size_t)nope + (size_t)i;
                const uint16_t half = f32_to_f16(row[j]);
                memcpy(out + at * one, type == QT_F32 ? (void *)&row[j] : (void *)&half, one);
            }
        }
    w->k_b = (struct linear){.w = {out, type, rank, nope, one * (size_t)nope},
                             .n_mat = n_head,
                             .mat_bytes = n * one,
                             .id = -1};
}

static void bind_mla(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    struct mla_weights *w = &l->mla;
    const int n_head = l->hp->n_head, n_q = n_head * h->k_dim;
    w->q_a.id = -1;
    if (bind_has(b, il, "attn_q", "weight") || !h->q_rank) {
        bind_linear(b, &w->q, il, "attn_q", n_q, h->n_embd);
    } else {
        bind_linear(b, &w->q_a, il, "attn_q_a", h->q_rank, h->n_embd);
        bind_norm(b, &w->q_a_norm, il, "attn_q_a_norm", h->q_rank);
        bind_linear(b, &w->q, il, "attn_q_b", n_q, h->q_rank);
    }
    bind_linear(b, &w->kv_a, il, "attn_kv_a_mqa", h->kv_rank + h->n_rot, h->n_embd);
    bind_norm(b, &w->kv_a_norm, il, "attn_kv_a_norm", h->kv_rank);
    if (has_form(b, il, "attn_kv_b", "attn_k_b")) {
        bind_kv_b(b, l, il);
    } else {
        const int nope = h->k_dim - h->n_rot;
        bind_rows(b, &w->k_b, il, "attn_k_b", n_head, h->kv_rank, nope, 0, h->kv_rank);
        bind_rows(b, &w->v_b, il, "attn_v_b", n_head, h->v_dim, h->kv_rank, 0, h->v_dim);
    }
    bind_linear(b, &w->o, il, "attn_output", h->n_embd, n_head * h->v_dim);
    l->mix = mix_mla;
}

static int64_t up_rows(const struct binder *b, int il) {
    char name[BIND_NAME];
    snprintf(name, sizeof name, "blk.%d.ffn_up.weight", il);
    const struct gguf_tensor *t = gguf_tensor(b->m->g, name);
    return t ? t->ne[1] : 0;
}

/* Is the gate the first half of ffn_up's rows (phi3, jina)? */
static bool gate_in_up(struct binder *b, int il, int n_ff) {
    if (b->m->arch->ffn != FFN_GLU || bind_has(b, il, "ffn_gate", "weight")) return false;
    const int64_t n = up_rows(b, il);
    return (n ? n : up_rows(b, il ? 0 : 1)) == 2 * (int64_t)n_ff;
}

static void bind_dense(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    const int n_ff = l->hp->n_ff;
    struct ffn_weights *w = &l->ffn;
    w->gate.id = -1;
    if (gate_in_up(b, il, n_ff)) {
        bind_rows(b, &w->gate, il, "ffn_up", 1, n_ff, h->n_embd, 0, 2 * n_ff);
        bind_rows(b, &w->up, il, "ffn_up", 1, n_ff, h->n_embd, n_ff, 2 * n_ff);
    } else {
        if (b->m->arch->ffn == FFN_GLU) bind_linear(b, &w->gate, il, "ffn_gate", n_ff, h->n_embd);
        bind_linear(b, &w->up, il, "ffn_up", n_ff, h->n_embd);
    }
    bind_linear(b, &w->down, il, "ffn_down", h->n_embd, n_ff);
    l->ffn_step = ffn_dense;
}

static void bind_experts(struct binder *b, struct moe_weights *w, int il) {
    const struct hparams *h = &b->m->hp;
    const int n = h->n_expert, n_ff = h->n_ff_exp;
    b->in_experts = true;
    if (bind_has(b, il, "ffn_gate_up_exps", "weight")) {
        bind_rows(b, &w->gate, il, "ffn_gate_up_exps", n, n_ff, h->n_embd, 0, 2 * n_ff);
        bind_rows(b, &w->up, il, "ffn_gate_up_exps", n, n_ff, h->n_embd, n_ff, 2 * n_ff);
    } else {
        bind_rows(b, &w->gate, il, "ffn_gate_exps", n, n_ff, h->n_embd, 0, n_ff);
        bind_rows(b, &w->up, il, "ffn_up_exps", n, n_ff, h->n_embd, 0, n_ff);
    }
    bind_rows(b, &w->down, il, "ffn_down_exps", n, h->n_embd, n_ff, 0, h->n_embd);
    b->in_experts = false;
}

static void bind_moe(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    struct moe_weights *w = &l->moe;
    bind_linear(b, &w->router, il, "ffn_gate_inp", h->n_expert, h->n_embd);
    w->select_bias = bind_vec(b, il, "exp_probs_b", "bias", false, h->n_expert);
    bind_experts(b, w, il);
    if (h->n_ff_shared) {
        bind_linear(b, &w->shared.gate, il, "ffn_gate_shexp", h->n_ff_shared, h->n_embd);
        bind_linear(b, &w->shared.up, il, "ffn_up_shexp", h->n_ff_shared, h->n_embd);
        bind_linear(b, &w->shared.down, il, "ffn_down_shexp", h->n_embd, h->n_ff_shared);
        w->shared_gate.id = -1;
        if (bind_has(b, il, "ffn_gate_inp_shexp", "weight"))
            bind_linear(b, &w->shared_gate, il, "ffn_gate_inp_shexp", 1, h->n_embd);
    }
    if (l->ffn_post_norm.kind != NORM_NONE || l->parallel)
        bind_error(b, ERR_UNSUPPORTED, "experts in a layer with parallel halves or later norms");
    l->ffn_step = ffn_moe;
}

void bind_layer(struct binder *b, struct layer *l, int il) {
    const struct hparams *h = &b->m->hp;
    *l = (struct layer){.il = il, .hp = &h->layer[il], .op = b->m->ops};
    bind_norms(b, l, il);
    if (h->kv_rank)
        bind_mla(b, l, il);
    else
        bind_attn(b, l, il);
    if (l->hp->moe)
        bind_moe(b, l, il);
    else
        bind_dense(b, l, il);
}
