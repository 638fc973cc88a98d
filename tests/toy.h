/* Toy models: small random models of any architecture, described by what they compute, and a slow
 * plain forward pass in double that shares no code with the program.  What the two agree on is
 * how an architecture is wired. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum toy_norms {
    TOY_BEFORE,
    TOY_SHARED,
    TOY_SHARED_TWO,
    TOY_PARALLEL,
    TOY_AFTER,
    TOY_BOTH,
    TOY_OUTER,
    TOY_OUTER_TWO,
    TOY_FREE
};
enum toy_qk_norm { TOY_QK_NONE, TOY_QK_HEAD, TOY_QK_OWN, TOY_QK_ROW };

struct toy {
    const char *arch;
    int n_layer, n_embd, n_head, n_kv, head_dim; /* zero: 3, 48, 4, 2, n_embd / n_head */
    int n_rot, n_ff;                             /* zero: head_dim, 80 */
    enum toy_norms norms;
    bool layer_norm, norm_bias, qkv_bias, o_bias, ffn_bias, head_bias, tied;
    bool fused_qkv, fused_up, mlp, gelu;
    char rope; /* 'p' pairs, 'h' halves, 0 none */
    int no_rope_period, window, window_period;
    bool rope_only_windowed, rope_plain_windowed;
    enum toy_qk_norm qk_norm;
    double embed_scale, residual_scale, logit_mul, attn_scale, clamp; /* 0: off */
    double attn_cap, logit_cap;                                       /* soft caps; 0: none */
    int n_expert, n_used, n_ff_exp, n_ff_shared, n_dense;
    bool renorm, sigmoid, select_bias, shared_gate;
    double expert_scale;
    int n_group, n_group_used;
    int q_rank, kv_rank, v_dim; /* latent attention */
    bool kv_b;                  /* one matrix, as in old files */
    double yarn, yarn_log;      /* factor; yarn_log_multiplier */
    int yarn_orig;
    bool encoder, positions, types, alibi;
    const char *const
        *keys; /* further "name=value" metadata: floats, true, false; NULL-terminated */
};

enum { TOY_VOCAB = 96, TOY_CTX = 128 };

/* One or more for every architecture but those of golden outputs only (toy_archs.c). */
extern const struct toy toy_archs[];
extern const int toy_n_arch;

struct toy_model; /* the weights, by tensor name */

struct toy_model *toy_new(const struct toy *t, uint64_t seed);
void toy_free(struct toy_model *m);
void toy_write(const struct toy_model *m, const char *path);

/* The same without tensor `skip`; its name. */
int toy_n_tensor(const struct toy_model *m);
const char *toy_write_without(const struct toy_model *m, const char *path, int skip);

/* Rows [n][TOY_VOCAB] of logits ([n][n_embd] for encoders), into out. */
void toy_forward(const struct toy_model *m, const int32_t *tok, int n, double *out);
