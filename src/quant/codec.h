/* The decoders and encoders of the families, for the table in quant.c only. */
#pragma once

#include "quant/quant.h"

quant_decode_fn f32_decode, f16_decode, bf16_decode;
quant_encode_fn f32_encode, f16_encode, bf16_encode;

quant_decode_fn q4_0_decode, q4_1_decode, q5_0_decode, q5_1_decode, q8_0_decode;
quant_encode_fn q4_0_encode, q4_1_encode, q5_0_encode, q5_1_encode, q8_0_encode;

quant_decode_fn q2_k_decode, q3_k_decode, q4_k_decode, q5_k_decode, q6_k_decode;
quant_encode_fn q2_k_encode, q3_k_encode, q4_k_encode, q5_k_encode, q6_k_encode;

quant_decode_fn iq1_s_decode, iq1_m_decode;
quant_decode_fn iq2_xxs_decode, iq2_xs_decode, iq2_s_decode;
quant_decode_fn iq3_xxs_decode, iq3_s_decode;
quant_decode_fn iq4_nl_decode, iq4_xs_decode;
quant_encode_fn iq1_s_encode, iq1_m_encode;
quant_encode_fn iq2_xxs_encode, iq2_xs_encode, iq2_s_encode;
quant_encode_fn iq3_xxs_encode, iq3_s_encode;
quant_encode_fn iq4_nl_encode, iq4_xs_encode;

quant_decode_fn tq1_0_decode, tq2_0_decode;
quant_encode_fn q1_0_encode, q2_0_encode;
quant_encode_fn tq1_0_encode, tq2_0_encode;
quant_decode_fn mxfp4_decode, nvfp4_decode;
quant_encode_fn mxfp4_encode, nvfp4_encode;
quant_decode_fn q1_0_decode, q2_0_decode;
quant_encode_fn q1_0_encode, q2_0_encode;
