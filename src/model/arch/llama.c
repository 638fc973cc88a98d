/* Llama 1-3 (arXiv:2302.13971), Mistral, Mixtral, TinyLlama, SmolLM: the default decoder.  Mistral
 * files that carry a sliding window run without it, as in the reference. */
#include "model/arch.h"

const struct arch arch_llama = {
    .name = "llama",
    .rope = ROPE_PAIRS,
    .expert_renorm = true,
};
