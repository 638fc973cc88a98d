/* Names of the vector kernels' slots, and the element types of the KV cache. */
#include <assert.h>
#include <string.h>

#include "cpu/kern_vec.h"

enum kv_type kv_type_of(enum qtype t) {
    switch (t) {
    case QT_F32: return KV_F32;
    case QT_F16: return KV_F16;
    case QT_BF16: return KV_BF16;
    case QT_Q8_0: return KV_Q8_0;
    case QT_Q4_0: return KV_Q4_0;
    default: assert(!"not a type of the KV cache"); return KV_F32;
    }
}

static const struct {
    const char *name;
    size_t at;
} slots[] = {
#define SLOT(name, field)                                                                          \
    { name, offsetof(struct kern_vec, field) }
    SLOT("rms_norm", rms_norm),
    SLOT("layer_norm", layer_norm),
    SLOT("rms_back", rms_back),
    SLOT("layer_back", layer_back),
    SLOT("add_scaled", add_scaled),
    SLOT("scale", scale),
    SLOT("cap", cap),
    SLOT("dot", dot),
    SLOT("act none", act[ACT_NONE]),
    SLOT("act silu", act[ACT_SILU]),
    SLOT("act gelu", act[ACT_GELU]),
    SLOT("act gelu_erf", act[ACT_GELU_ERF]),
    SLOT("act relu", act[ACT_RELU]),
    SLOT("act relu2", act[ACT_RELU2]),
    SLOT("act swiglu_oai", act[ACT_SWIGLU_OAI]),
    SLOT("glu none", glu[ACT_NONE]),
    SLOT("glu silu", glu[ACT_SILU]),
    SLOT("glu gelu", glu[ACT_GELU]),
    SLOT("glu gelu_erf", glu[ACT_GELU_ERF]),
    SLOT("glu relu", glu[ACT_RELU]),
    SLOT("glu relu2", glu[ACT_RELU2]),
    SLOT("glu swiglu_oai", glu[ACT_SWIGLU_OAI]),
    SLOT("act_back none", act_back[ACT_NONE]),
    SLOT("act_back silu", act_back[ACT_SILU]),
    SLOT("act_back gelu", act_back[ACT_GELU]),
    SLOT("act_back gelu_erf", act_back[ACT_GELU_ERF]),
    SLOT("act_back relu", act_back[ACT_RELU]),
    SLOT("act_back relu2", act_back[ACT_RELU2]),
    SLOT("act_back swiglu_oai", act_back[ACT_SWIGLU_OAI]),
    SLOT("glu_back none", glu_back[ACT_NONE]),
    SLOT("glu_back silu", glu_back[ACT_SILU]),
    SLOT("glu_back gelu", glu_back[ACT_GELU]),
    SLOT("glu_back gelu_erf", glu_back[ACT_GELU_ERF]),
    SLOT("glu_back relu", glu_back[ACT_RELU]),
    SLOT("glu_back relu2", glu_back[ACT_RELU2]),
    SLOT("glu_back swiglu_oai", glu_back[ACT_SWIGLU_OAI]),
    SLOT("rope pairs", rope_pairs),
    SLOT("rope halves", rope_halves),
    SLOT("kv_store F32", kv_store[KV_F32]),
    SLOT("kv_store F16", kv_store[KV_F16]),
    SLOT("kv_store BF16", kv_store[KV_BF16]),
    SLOT("kv_store Q8_0", kv_store[KV_Q8_0]),
    SLOT("kv_store Q4_0", kv_store[KV_Q4_0]),
    SLOT("kv_load F32", kv_load[KV_F32]),
    SLOT("kv_load F16", kv_load[KV_F16]),
    SLOT("kv_load BF16", kv_load[KV_BF16]),
    SLOT("kv_load Q8_0", kv_load[KV_Q8_0]),
    SLOT("kv_load Q4_0", kv_load[KV_Q4_0]),
    SLOT("k_tile F32", k_tile[KV_F32]),
    SLOT("k_tile F16", k_tile[KV_F16]),
    SLOT("k_tile BF16", k_tile[KV_BF16]),
    SLOT("k_tile Q8_0", k_tile[KV_Q8_0]),
    SLOT("k_tile Q4_0", k_tile[KV_Q4_0]),
    SLOT("few_qk F32", few_qk[KV_F32]),
    SLOT("few_qk F16", few_qk[KV_F16]),
    SLOT("few_qk BF16", few_qk[KV_BF16]),
    SLOT("few_qk Q8_0", few_qk[KV_Q8_0]),
    SLOT("few_qk Q4_0", few_qk[KV_Q4_0]),
    SLOT("few_pv F32", few_pv[KV_F32]),
    SLOT("few_pv F16", few_pv[KV_F16]),
    SLOT("few_pv BF16", few_pv[KV_BF16]),
    SLOT("few_pv Q8_0", few_pv[KV_Q8_0]),
    SLOT("few_pv Q4_0", few_pv[KV_Q4_0]),
    SLOT("mul_tile", mul_tile),
    SLOT("soft_page", soft_page),
    SLOT("soft_back", soft_back),
#undef SLOT
};

const char *kern_vec_slot(const struct kern_vec *k, int i, void (**fn)(void)) {
    if (i < 0 || (size_t)i >= sizeof slots / sizeof *slots) return NULL;
    memcpy(fn, (const char *)k + slots[i].at, sizeof *fn);
    return slots[i].name;
}
