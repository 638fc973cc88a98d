/* The plain forward pass of toy models: rows one at a time, everything in double, formulas as in
 * the papers.  Slow and obvious on purpose. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "toy_weights.h"

static const struct tensor *find(const struct toy_model *m, int il, const char *name,
                                 const char *suffix) {
    char full[96];
    if (il < 0)
        snprintf(full, sizeof full, "%s.%s", name, suffix);
    else
        snprintf(full, sizeof full, "blk.%d.%s.%s", il, name, suffix);
    for (int i = 0; i < m->n_w; i++)
        if (!strcmp(m->w[i].name, full)) return &m->w[i];
    return NULL;
}

/* Rows [row0, row0 + n_out) of map `mat` of a linear. */
static void linear(const struct toy_model *m, int il, const char *name, int mat, int row0,
                   int n_out, const double *x, double *y) {
    const struct tensor *w = find(m, il, name, "weight"), *b = find(m, il, name, "bias");
    if (!w) fail_msg("toy: no %s in layer %d", name, il);
    for (int r = 0; r < n_out; r++) {
        const size_t row = (size_t)mat * (size_t)w->ne[1] + (size_t)(row0 + r);
        double s = b ? (double)b->v[row] : 0;
        for (int i = 0; i < w->ne[0]; i++)
            s += (double)w->v[row * (size_t)w->ne[0] + (size_t)i] * x[i];
        y[r] = s;
    }
}

static void norm(const struct toy_model *m, int il, const char *name, int group, int n,
                 const double *x, double *y) {
    const struct tensor *w = find(m, il, name, "weight"), *b = find(m, il, name, "bias");
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++)
        mean += x[i] / n;
    if (!m->t.layer_norm) mean = 0;
    for (int i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / n;
    const int at = w && w->ne[1] > 1 ? group * n : 0;
    for (int i = 0; i < n; i++)
        y[i] = (x[i] - mean) / sqrt(square + (double)1e-5f) * (w ? (double)w->v[at + i] : 1) +
               (b ? (double)b->v[at + i] : 0);
}

static double activate(const struct toy *t, double x) {
    if (!t->gelu) return x / (1 + exp(-x));
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

/* YaRN as in its paper, section 3: by wavelength against the original context. */
static void rotate(const struct toy *t, bool stretch, double *x, int pos) {
    const int half = t->n_rot / 2;
    const double pi = 3.141592653589793, base = 10000;
    double low = floor(t->n_rot * log(t->yarn_orig / (32 * 2 * pi)) / (2 * log(base)));
    double high = ceil(t->n_rot * log(t->yarn_orig / (1 * 2 * pi)) / (2 * log(base)));
    low = fmax(low, 0), high = fmin(high, t->n_rot - 1);
    double size = 1;
    if (stretch && t->yarn_log == 0) size = 1 + 0.1 * log(t->yarn);
    for (int i = 0; i < half; i++) {
        double f = pow(base, -2.0 * i / t->n_rot);
        if (stretch) {
            const double ramp = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
            f = f / t->yarn * ramp + f * (1 - ramp);
        }
        double *a = t->rope == 'p' ? &x[2 * i] : &x[i], *b = t->rope == 'p' ? a + 1 : a + half;
        const double c = cos(pos * f) * size, s = sin(pos * f) * size, va = *a, vb = *b;
        *a = va * c - vb * s, *b = va * s + vb * c;
    }
}

struct state {
    const struct toy_model *m;
    int n, il;
    double *x, *k, *v; /* [n][n_embd], [n][n_head][head_dim], [n][n_head][v_dim] of this layer */
};

static bool slides(const struct toy *t, int il) {
    return t->window && (il + 1) % t->window_period != 0;
}

static bool rotates(const struct toy *t, int il) {
    if (!t->rope) return false;
    if (t->no_rope_period && (il + 1) % t->no_rope_period == 0) return false;
    return !t->rope_only_windowed || slides(t, il);
}

static void head_norms(const struct toy_model *m, int il, const char *name, int n_head, double *x) {
    const struct toy *t = &m->t;
    if (t->qk_norm == TOY_QK_NONE) return;
    if (t->qk_norm == TOY_QK_ROW) {
        norm(m, il, name, 0, n_head * t->head_dim, x, x);
        return;
    }
    for (int h = 0; h < n_head; h++)
        norm(m, il, name, h, t->head_dim, x + h * t->head_dim, x + h * t->head_dim);
}

/* q, k, v of one row; k and v of every query head (repeated for grouped heads). */
static void project(struct state *s, const double *in, int pos, double *q, double *k, double *v) {
    const struct toy *t = &s->m->t;
    const int d = t->head_dim, n_q = t->n_head * d, n_k = t->n_kv * d, il = s->il;
    const bool stretch = t->yarn > 1 && !(t->rope_plain_windowed && slides(t, il));
    double kk[512], vv[512];
    const char *f = t->fused_qkv ? "attn_qkv" : NULL;
    linear(s->m, il, f ? f : "attn_q", 0, 0, n_q, in, q);
    linear(s->m, il, f ? f : "attn_k", 0, f ? n_q : 0, n_k, in, kk);
    linear(s->m, il, f ? f : "attn_v", 0, f ? n_q + n_k : 0, n_k, in, vv);
    if (t->clamp > 0) {
        for (int i = 0; i < n_q; i++)
            q[i] = fmin(fmax(q[i], -t->clamp), t->clamp);
        for (int i = 0; i < n_k; i++) {
            kk[i] = fmin(fmax(kk[i], -t->clamp), t->clamp);
            vv[i] = fmin(fmax(vv[i], -t->clamp), t->clamp);
        }
    }
    head_norms(s->m, il, "attn_q_norm", t->n_head, q);
    head_norms(s->m, il, "attn_k_norm", t->n_kv, kk);
    for (int h = 0; h < t->n_head && rotates(t, il); h++)
        rotate(t, stretch, q + h * d, pos);
    for (int h = 0; h < t->n_kv && rotates(t, il); h++)
        rotate(t, stretch, kk + h * d, pos);
    for (int h = 0; h < t->n_head; h++) {
        const int g = h / (t->n_head / t->n_kv);
        memcpy(k + h * d, kk + g * d, (size_t)d * sizeof *k);
        memcpy(v + h * d, vv + g * d, (size_t)d * sizeof *v);
    }
}

/* Latent attention, decompressed: every head's full k and v. */
static void project_latent(struct state *s, const double *in, int pos, double *q, double *k,
                           double *v) {
    const struct toy *t = &s->m->t;
    const int d = t->head_dim, plain = d - t->n_rot, il = s->il;
    double a[512], kv[512];
    if (t->q_rank) {
        linear(s->m, il, "attn_q_a", 0, 0, t->q_rank, in, a);
        norm(s->m, il, "attn_q_a_norm", 0, t->q_rank, a, a);
    }
    linear(s->m, il, t->q_rank ? "attn_q_b" : "attn_q", 0, 0, t->n_head * d, t->q_rank ? a : in, q);
    linear(s->m, il, "attn_kv_a_mqa", 0, 0, t->kv_rank + t->n_rot, in, kv);
    norm(s->m, il, "attn_kv_a_norm", 0, t->kv_rank, kv, kv);
    rotate(t, t->yarn > 1, kv + t->kv_rank, pos);
    for (int h = 0; h < t->n_head; h++) {
        rotate(t, t->yarn > 1, q + h * d + plain, pos);
        if (t->kv_b) {
            const int row = h * (plain + t->v_dim);
            linear(s->m, il, "attn_kv_b", 0, row, plain, kv, k + h * d);
            linear(s->m, il, "attn_kv_b", 0, row + plain, t->v_dim, kv, v + h * t->v_dim);
        } else { /* k_b is stored transposed: [kv_rank][plain] per head */
            const struct tensor *w = find(s->m, il, "attn_k_b", "weight");
            for (int i = 0; i < plain; i++) {
                k[h * d + i] = 0;
                for (int j = 0; j < t->kv_rank; j++)
                    k[h * d + i] += (double)w->v[(h * t->kv_rank + j) * plain + i] * kv[j];
            }
            linear(s->m, il, "attn_v_b", h, 0, t->v_dim, kv, v + h * t->v_dim);
        }
        memcpy(k + h * d + plain, kv + t->kv_rank, (size_t)t->n_rot * sizeof *k);
    }
}

static double score_scale(const struct toy *t) {
    double s = t->attn_scale;
    if (t->kv_rank && t->yarn > 1) { /* DeepSeek: mscale squared, from mscale_all_dim */
        const double m = t->yarn_log > 0 ? 1 + t->yarn_log * log(t->yarn) : 1 + 0.1 * log(t->yarn);
        s *= m * m;
    }
    return s;
}

static double soft_cap(double x, double cap) {
    return cap > 0 ? cap * tanh(x / cap) : x;
}

static void attend(struct state *s, int i, const double *q, double *out) {
    const struct toy *t = &s->m->t;
    const int d = t->head_dim, dv = t->v_dim;
    for (int h = 0; h < t->n_head; h++) {
        double p[TOY_CTX], most = -INFINITY, sum = 0;
        for (int j = 0; j < s->n; j++) {
            p[j] = -INFINITY;
            if ((!t->encoder && j > i) || (slides(t, s->il) && j <= i - t->window)) continue;
            double dot = 0;
            for (int c = 0; c < d; c++)
                dot += q[h * d + c] * s->k[(j * t->n_head + h) * d + c];
            p[j] = soft_cap(dot * score_scale(t), t->attn_cap);
            if (t->alibi) p[j] -= pow(2, -8.0 * (h + 1) / t->n_head) * abs(i - j);
            most = fmax(most, p[j]);
        }
        for (int j = 0; j < s->n; j++)
            sum += p[j] = exp(p[j] - most);
        for (int c = 0; c < dv; c++) {
            out[h * dv + c] = 0;
            for (int j = 0; j < s->n; j++)
                out[h * dv + c] += p[j] / sum * s->v[(j * t->n_head + h) * dv + c];
        }
    }
}

static void glu(const struct toy_model *m, int il, const char *gate, const char *up,
                const char *down, int mat, int n_ff, const double *in, double *out) {
    double a[512], b[512];
    if (gate) {
        linear(m, il, gate, mat, 0, n_ff, in, a);
        linear(m, il, up, mat, gate == up ? n_ff : 0, n_ff, in, b);
        for (int i = 0; i < n_ff; i++)
            a[i] = activate(&m->t, a[i]) * b[i];
    } else {
        linear(m, il, up, mat, 0, n_ff, in, a);
        for (int i = 0; i < n_ff; i++)
            a[i] = activate(&m->t, a[i]);
    }
    linear(m, il, down, mat, 0, m->t.n_embd, a, out);
}

/* Experts that may be chosen: all, or those of the groups with the best pairs. */
static void forbid_groups(const struct toy *t, double *select) {
    const int size = t->n_expert / t->n_group;
    double best[64];
    for (int g = 0; g < t->n_group; g++) {
        double a = -INFINITY, b = -INFINITY;
        for (int i = 0; i < size; i++) {
            const double v = select[g * size + i];
            if (v > a)
                b = a, a = v;
            else if (v > b)
                b = v;
        }
        best[g] = a + b;
    }
    for (int g = 0; g < t->n_group; g++) {
        int above = 0;
        for (int o = 0; o < t->n_group; o++)
            above += best[o] > best[g];
        for (int i = 0; i < size && above >= t->n_group_used; i++)
            select[g * size + i] = -INFINITY;
    }
}

static void experts(const struct toy_model *m, int il, const double *in, double *out) {
    const struct toy *t = &m->t;
    double p[64], select[64], weight[64], one[512], sum = 0;
    int chosen[64];
    const struct tensor *bias = find(m, il, "exp_probs_b", "bias");
    linear(m, il, "ffn_gate_inp", 0, 0, t->n_expert, in, p);
    for (int i = 0; i < t->n_expert; i++)
        sum += exp(p[i]);
    for (int i = 0; i < t->n_expert; i++) {
        p[i] = t->sigmoid ? 1 / (1 + exp(-p[i])) : exp(p[i]) / sum;
        select[i] = p[i] + (bias ? (double)bias->v[i] : 0);
    }
    if (t->n_group) forbid_groups(t, select);
    sum = 0;
    for (int k = 0; k < t->n_used; k++) {
        chosen[k] = 0;
        for (int i = 1; i < t->n_expert; i++)
            if (select[i] > select[chosen[k]]) chosen[k] = i;
        select[chosen[k]] = -INFINITY;
        sum += weight[k] = p[chosen[k]];
    }
    memset(out, 0, (size_t)t->n_embd * sizeof *out);
    for (int k = 0; k < t->n_used; k++) {
        glu(m, il, "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", chosen[k], t->n_ff_exp, in,
            one);
        for (int i = 0; i < t->n_embd; i++)
            out[i] += weight[k] / (t->renorm ? sum : 1) * t->expert_scale * one[i];
    }
    if (!t->n_ff_shared) return;
    glu(m, il, "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", 0, t->n_ff_shared, in, one);
    for (int i = 0; i < t->n_embd; i++)
        out[i] += one[i];
}

static void feed_forward(const struct toy_model *m, int il, const double *in, double *out) {
    const struct toy *t = &m->t;
    if (t->n_expert && il >= t->n_dense)
        experts(m, il, in, out);
    else
        glu(m, il,
            t->mlp        ? NULL
            : t->fused_up ? "ffn_up"
                          : "ffn_gate",
            t->fused_up ? "ffn_up" : "ffn_up", "ffn_down", 0, t->n_ff, in, out);
}

static void layer(struct state *s) {
    const struct toy_model *m = s->m;
    const struct toy *t = &m->t;
    const enum toy_norms kind = t->norms;
    const int n = t->n_embd, d = t->head_dim, dv = t->v_dim, il = s->il;
    const bool outer = kind == TOY_OUTER || kind == TOY_OUTER_TWO;
    const bool before = kind != TOY_AFTER && !outer;
    const bool side = kind == TOY_SHARED || kind == TOY_SHARED_TWO || kind == TOY_PARALLEL;
    double *q = calloc((size_t)(s->n * t->n_head * d), sizeof *q), att[512], b[512], in[512];
    double *side_in = calloc((size_t)(s->n * n), sizeof *side_in);
    for (int i = 0; i < s->n; i++) {
        const double *x = s->x + i * n;
        memcpy(in, x, (size_t)n * sizeof *in);
        if (before) norm(m, il, kind == TOY_SHARED_TWO ? "attn_norm_2" : "attn_norm", 0, n, x, in);
        if (side)
            norm(m, il, kind == TOY_PARALLEL ? "ffn_norm" : "attn_norm", 0, n, x, side_in + i * n);
        (t->kv_rank ? project_latent : project)(
            s, in, i, q + i * t->n_head * d, s->k + i * t->n_head * d, s->v + i * t->n_head * dv);
    }
    for (int i = 0; i < s->n; i++) {
        double *x = s->x + i * n;
        attend(s, i, q + i * t->n_head * d, att);
        linear(m, il, "attn_output", 0, 0, n, att, b);
        memcpy(in, x, (size_t)n * sizeof *in);
        if (kind == TOY_AFTER || kind == TOY_BOTH) norm(m, il, "post_attention_norm", 0, n, b, b);
        for (int c = 0; c < n; c++)
            x[c] += t->residual_scale * b[c];
        if (outer) norm(m, il, "attn_output_norm", 0, n, x, x);
        for (int c = 0; c < n && kind == TOY_OUTER_TWO; c++)
            x[c] += in[c];
        if (kind == TOY_OUTER_TWO) norm(m, il, "attn_norm_2", 0, n, x, x);
        memcpy(in, side ? side_in + i * n : x, (size_t)n * sizeof *in);
        if (before && !side) norm(m, il, "ffn_norm", 0, n, x, in);
        feed_forward(m, il, in, b);
        if (kind == TOY_AFTER || kind == TOY_BOTH) norm(m, il, "post_ffw_norm", 0, n, b, b);
        for (int c = 0; c < n; c++)
            x[c] += t->residual_scale * b[c];
        if (outer) norm(m, il, "layer_output_norm", 0, n, x, x);
    }
    free(q);
    free(side_in);
}

void toy_forward(const struct toy_model *m, const int32_t *tok, int n, double *out) {
    const struct toy *t = &m->t;
    const size_t heads = (size_t)(n * t->n_head);
    struct state s = {.m = m, .n = n};
    s.x = calloc((size_t)(n * t->n_embd), sizeof *s.x);
    s.k = calloc(heads * (size_t)t->head_dim, sizeof *s.k);
    s.v = calloc(heads * (size_t)t->v_dim, sizeof *s.v);
    const struct tensor *e = find(m, -1, "token_embd", "weight");
    const struct tensor *p = find(m, -1, "position_embd", "weight");
    const struct tensor *y = find(m, -1, "token_types", "weight");
    for (int i = 0; i < n; i++) {
        double *x = s.x + i * t->n_embd;
        for (int c = 0; c < t->n_embd; c++)
            x[c] = t->embed_scale * (double)e->v[tok[i] * t->n_embd + c] +
                   (p ? (double)p->v[i * t->n_embd + c] : 0) + (y ? (double)y->v[c] : 0);
        if (t->encoder) norm(m, -1, "token_embd_norm", 0, t->n_embd, x, x);
    }
    for (s.il = 0; s.il < t->n_layer; s.il++)
        layer(&s);
    for (int i = 0; i < n; i++) {
        double *x = s.x + i * t->n_embd;
        if (t->encoder) {
            memcpy(out + i * t->n_embd, x, (size_t)t->n_embd * sizeof *x);
            continue;
        }
        norm(m, -1, "output_norm", 0, t->n_embd, x, x);
        linear(m, -1, t->tied ? "token_embd" : "output", 0, 0, TOY_VOCAB, x, out + i * TOY_VOCAB);
        for (int c = 0; c < TOY_VOCAB; c++)
            out[i * TOY_VOCAB + c] = soft_cap(t->logit_mul * out[i * TOY_VOCAB + c], t->logit_cap);
    }
    free(s.x), free(s.k), free(s.v);
}
