/* File types ("Q4_K_M"): which tensor of a model gets which element type.  The rules are those of
 * llama.cpp's quantizer, so that a name means the same everywhere. */
#pragma once

#include "gguf/read.h"

/* Ids of general.file_type that the rules treat apart. */
enum mix_id {
    MIX_F32 = 0,
    MIX_F16 = 1,
    MIX_Q4_0 = 2,
    MIX_Q4_1 = 3,
    MIX_Q8_0 = 7,
    MIX_Q5_0 = 8,
    MIX_Q5_1 = 9,
    MIX_Q2_K = 10,
    MIX_Q3_K_S = 11,
    MIX_Q3_K_M = 12,
    MIX_Q3_K_L = 13,
    MIX_Q4_K_S = 14,
    MIX_Q4_K_M = 15,
    MIX_Q5_K_S = 16,
    MIX_Q5_K_M = 17,
    MIX_Q6_K = 18,
    MIX_IQ2_XXS = 19,
    MIX_IQ2_XS = 20,
    MIX_Q2_K_S = 21,
    MIX_IQ3_XS = 22,
    MIX_IQ3_XXS = 23,
    MIX_IQ1_S = 24,
    MIX_IQ4_NL = 25,
    MIX_IQ3_S = 26,
    MIX_IQ3_M = 27,
    MIX_IQ2_S = 28,
    MIX_IQ2_M = 29,
    MIX_IQ4_XS = 30,
    MIX_IQ1_M = 31,
    MIX_BF16 = 32,
    MIX_TQ1_0 = 36,
    MIX_TQ2_0 = 37,
    MIX_MXFP4 = 38,
    MIX_NVFP4 = 39,
    MIX_Q1_0 = 40,
    MIX_Q2_0 = 41,
};

/* The id of a name, case-insensitive; "Q3_K", "Q4_K" and "Q5_K" are their _M.  -1: unknown. */
int mix_by_name(const char *name);

/* All names, "F32 F16 Q4_0 ...", for messages; 400 bytes suffice. */
void mix_list(char *out, size_t n);

/* The type most tensors of a file type get; -1 for an id without one. */
int mix_base_type(int mix);

/* What the rules ask about a model; what is not known is 0. */
struct mix_model {
    struct str arch;
    int n_layer, n_head, n_kv_head, n_expert; /* of the first layer */
    const struct gguf_tensor *const *tensor;  /* [n_tensor]; their data is not looked at */
    int n_tensor;
};

/* The type for each tensor in out[n_tensor]: its own for what is not quantized (norms, biases,
 * routers and other small things).
 *
 *   pure         the base type for every tensor that is quantized at all
 *   has_imatrix  importance values will be used: some guards are then not needed
 *   n_fallback   how many tensors got another type because their rows do not fill its blocks
 *
 * Error: ERR_NOMEM. */
int mix_choose_of(const struct mix_model *mm, int mix, bool pure, bool has_imatrix, enum qtype *out,
                  int *n_fallback, struct err *e);

/* The same for the tensors of a file. */
int mix_choose(const struct gguf *g, int mix, bool pure, bool has_imatrix, enum qtype *out,
               int *n_fallback, struct err *e);
