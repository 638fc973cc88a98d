/* The table of tensor element types: who decodes and encodes what. */
#include "quant/quant.h"

#include "quant/codec.h"

static const struct quant_type types[QT_COUNT] = {
    [QT_F32] = {f32_decode, f32_encode, 32},
    [QT_F16] = {f16_decode, f16_encode, 16},
    [QT_BF16] = {bf16_decode, bf16_encode, 16},
    [QT_Q4_0] = {q4_0_decode, q4_0_encode, 4.5},
    [QT_Q4_1] = {q4_1_decode, q4_1_encode, 5},
    [QT_Q5_0] = {q5_0_decode, q5_0_encode, 5.5},
    [QT_Q5_1] = {q5_1_decode, q5_1_encode, 6},
    [QT_Q8_0] = {q8_0_decode, q8_0_encode, 8.5},
    [QT_Q2_K] = {q2_k_decode, q2_k_encode, 2.625},
    [QT_Q3_K] = {q3_k_decode, q3_k_encode, 3.4375},
    [QT_Q4_K] = {q4_k_decode, q4_k_encode, 4.5},
    [QT_Q5_K] = {q5_k_decode, q5_k_encode, 5.5},
    [QT_Q6_K] = {q6_k_decode, q6_k_encode, 6.5625},
    [QT_IQ1_S] = {iq1_s_decode, iq1_s_encode, 1.5625},
    [QT_IQ1_M] = {iq1_m_decode, iq1_m_encode, 1.75},
    [QT_IQ2_XXS] = {iq2_xxs_decode, iq2_xxs_encode, 2.0625},
    [QT_IQ2_XS] = {iq2_xs_decode, iq2_xs_encode, 2.3125},
    [QT_IQ2_S] = {iq2_s_decode, iq2_s_encode, 2.5625},
    [QT_IQ3_XXS] = {iq3_xxs_decode, iq3_xxs_encode, 3.0625},
    [QT_IQ3_S] = {iq3_s_decode, iq3_s_encode, 3.4375},
    [QT_IQ4_NL] = {iq4_nl_decode, iq4_nl_encode, 4.5},
    [QT_IQ4_XS] = {iq4_xs_decode, iq4_xs_encode, 4.25},
    [QT_TQ1_0] = {tq1_0_decode, tq1_0_encode, 1.6875},
    [QT_TQ2_0] = {tq2_0_decode, tq2_0_encode, 2.0625},
    [QT_MXFP4] = {mxfp4_decode, mxfp4_encode, 4.25},
    [QT_NVFP4] = {nvfp4_decode, nvfp4_encode, 4.5},
    [QT_Q1_0] = {q1_0_decode, q1_0_encode, 1.125},
    [QT_Q2_0] = {q2_0_decode, q2_0_encode, 2.25},
    [QT_I8] = {.bits = 8},
    [QT_I16] = {.bits = 16},
    [QT_I32] = {.bits = 32},
    [QT_I64] = {.bits = 64},
    [QT_F64] = {.bits = 64},
};

const struct quant_type *quant_type(enum qtype t) {
    return &types[t];
}
