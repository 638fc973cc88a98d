/* The scalar kernels of kern_vec.h, by name: where an instruction set has no better one, and what
 * the others' tails may call.  Contracts: kern_vec.h. */
#pragma once

#include "cpu/kern_vec.h"

void rms_norm_ref(int n, const float *x, const float *w, float eps, float *y);
void layer_norm_ref(int n, const float *x, const float *w, const float *b, float eps, float *y);
void rms_back_ref(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                  bool add, float stat[2]);
void layer_back_ref(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                    bool add, float stat[2]);
void add_scaled_ref(int n, float *x, const float *y, float a);
void scale_ref(int n, const float *x, float a, float *y);
void cap_ref(int n, float *x, float a, float cap);
float dot_ref(int n, const float *x, const float *y);

void act_none_ref(int n, const float *x, float *y);
void act_silu_ref(int n, const float *x, float *y);
void act_gelu_ref(int n, const float *x, float *y);
void act_gelu_erf_ref(int n, const float *x, float *y);
void act_relu_ref(int n, const float *x, float *y);
void act_relu2_ref(int n, const float *x, float *y);
void act_swiglu_oai_ref(int n, const float *x, float *y);
void glu_none_ref(int n, const float *gate, const float *up, float *y);
void glu_silu_ref(int n, const float *gate, const float *up, float *y);
void glu_gelu_ref(int n, const float *gate, const float *up, float *y);
void glu_gelu_erf_ref(int n, const float *gate, const float *up, float *y);
void glu_relu_ref(int n, const float *gate, const float *up, float *y);
void glu_relu2_ref(int n, const float *gate, const float *up, float *y);
void glu_swiglu_oai_ref(int n, const float *gate, const float *up, float *y);

void act_back_none_ref(int n, const float *x, const float *dy, float *dx);
void act_back_silu_ref(int n, const float *x, const float *dy, float *dx);
void act_back_gelu_ref(int n, const float *x, const float *dy, float *dx);
void act_back_gelu_erf_ref(int n, const float *x, const float *dy, float *dx);
void act_back_relu_ref(int n, const float *x, const float *dy, float *dx);
void act_back_relu2_ref(int n, const float *x, const float *dy, float *dx);
void act_back_swiglu_oai_ref(int n, const float *x, const float *dy, float *dx);
void glu_back_none_ref(int n, const float *gate, const float *up, const float *dy, float *dgate,
                       float *dup);
void glu_back_silu_ref(int n, const float *gate, const float *up, const float *dy, float *dgate,
                       float *dup);
void glu_back_gelu_ref(int n, const float *gate, const float *up, const float *dy, float *dgate,
                       float *dup);
void glu_back_gelu_erf_ref(int n, const float *gate, const float *up, const float *dy, float *dgate,
                           float *dup);
void glu_back_relu_ref(int n, const float *gate, const float *up, const float *dy, float *dgate,
                       float *dup);
void glu_back_relu2_ref(int n, const float *gate, const float *up, const float *dy, float *dgate,
                        float *dup);
void glu_back_swiglu_oai_ref(int n, const float *gate, const float *up, const float *dy,
                             float *dgate, float *dup);

void rope_pairs_ref(int n_pair, float *x, const float *cs);
void rope_halves_ref(int n_pair, float *x, const float *cs);

void kv_store_f32_ref(int n, const float *x, void *row);
void kv_store_f16_ref(int n, const float *x, void *row);
void kv_store_bf16_ref(int n, const float *x, void *row);
void kv_store_q8_0_ref(int n, const float *x, void *row);
void kv_store_q4_0_ref(int n, const float *x, void *row);
void kv_load_f32_ref(int n, const void *row, float *y);
void kv_load_f16_ref(int n, const void *row, float *y);
void kv_load_bf16_ref(int n, const void *row, float *y);
void kv_load_q8_0_ref(int n, const void *row, float *y);
void kv_load_q4_0_ref(int n, const void *row, float *y);
void k_tile_f32_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,
                    float *kt);
void k_tile_f16_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,
                    float *kt);
void k_tile_bf16_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                     const uint8_t *ahead, float *kt);
void k_tile_q8_0_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                     const uint8_t *ahead, float *kt);
void k_tile_q4_0_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                     const uint8_t *ahead, float *kt);

void mul_tile_ref(int n_row, int n_col, int n_k, const float *a, int lda, const float *b, int ldb,
                  float *c, int ldc, bool add);
float soft_page_ref(float *s, int lo, int hi, const struct soft *p, float *m, float *l);
void soft_back_ref(float *s, float *dp, int lo, int hi, const struct soft_back *p);
