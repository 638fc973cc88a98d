/* All bodies, and the table's entries for them: a folder's vec.c calls vec_fill. */
#pragma once

#include "cpu/kern_vec.h"
#include "cpu/simd/attn.h"
#include "cpu/simd/few.h"
#include "cpu/simd/glu.h"
#include "cpu/simd/kv.h"
#include "cpu/simd/rope.h"
#include "cpu/simd/rows.h"

#ifdef CPU_SIMD

/* What is missing stays scalar: copies of F32 rows are memcpy there too. */
static inline void vec_fill(struct kern_vec *k) {
    k->rms_norm = rms_norm;
    k->layer_norm = layer_norm;
    k->rms_back = rms_back;
    k->layer_back = layer_back;
    k->add_scaled = add_scaled;
    k->scale = scale;
    k->cap = cap_row;
    k->dot = dot;

    k->act[ACT_NONE] = act_none;
    k->act[ACT_SILU] = act_silu;
    k->act[ACT_GELU] = act_gelu;
    k->act[ACT_GELU_ERF] = act_gelu_erf;
    k->act[ACT_RELU] = act_relu;
    k->act[ACT_RELU2] = act_relu2;
    k->act[ACT_SWIGLU_OAI] = act_swiglu_oai;
    k->glu[ACT_NONE] = glu_none;
    k->glu[ACT_SILU] = glu_silu;
    k->glu[ACT_GELU] = glu_gelu;
    k->glu[ACT_GELU_ERF] = glu_gelu_erf;
    k->glu[ACT_RELU] = glu_relu;
    k->glu[ACT_RELU2] = glu_relu2;
    k->glu[ACT_SWIGLU_OAI] = glu_swiglu_oai;

    k->act_back[ACT_NONE] = act_back_none;
    k->act_back[ACT_SILU] = act_back_silu;
    k->act_back[ACT_GELU] = act_back_gelu;
    k->act_back[ACT_GELU_ERF] = act_back_gelu_erf;
    k->act_back[ACT_RELU] = act_back_relu;
    k->act_back[ACT_RELU2] = act_back_relu2;
    k->act_back[ACT_SWIGLU_OAI] = act_back_swiglu_oai;
    k->glu_back[ACT_NONE] = glu_back_none;
    k->glu_back[ACT_SILU] = glu_back_silu;
    k->glu_back[ACT_GELU] = glu_back_gelu;
    k->glu_back[ACT_GELU_ERF] = glu_back_gelu_erf;
    k->glu_back[ACT_RELU] = glu_back_relu;
    k->glu_back[ACT_RELU2] = glu_back_relu2;
    k->glu_back[ACT_SWIGLU_OAI] = glu_back_swiglu_oai;

    k->rope_pairs = rope_pairs;
    k->rope_halves = rope_halves;

    k->kv_store[KV_F16] = kv_store_f16;
    k->kv_store[KV_BF16] = kv_store_bf16;
    k->kv_store[KV_Q8_0] = kv_store_q8_0;
    k->kv_store[KV_Q4_0] = kv_store_q4_0;
    k->kv_load[KV_F16] = kv_load_f16;
    k->kv_load[KV_BF16] = kv_load_bf16;
    k->kv_load[KV_Q8_0] = kv_load_q8_0;
    k->kv_load[KV_Q4_0] = kv_load_q4_0;
    k->k_tile[KV_F32] = k_tile_f32;
    k->k_tile[KV_F16] = k_tile_f16;
    k->k_tile[KV_BF16] = k_tile_bf16;
    k->k_tile[KV_Q8_0] = k_tile_q8_0;
    k->k_tile[KV_Q4_0] = k_tile_q4_0;

    k->few_qk[KV_F32] = few_qk_f32;
    k->few_qk[KV_F16] = few_qk_f16;
    k->few_qk[KV_BF16] = few_qk_bf16;
    k->few_qk[KV_Q8_0] = few_qk_q8_0;
    k->few_qk[KV_Q4_0] = few_qk_q4_0;
    k->few_pv[KV_F32] = few_pv_f32;
    k->few_pv[KV_F16] = few_pv_f16;
    k->few_pv[KV_BF16] = few_pv_bf16;
    k->few_pv[KV_Q8_0] = few_pv_q8_0;
    k->few_pv[KV_Q4_0] = few_pv_q4_0;

    k->mul_tile = mul_tile;
    k->soft_page = soft_page;
    k->soft_back = soft_back;
}
#endif
