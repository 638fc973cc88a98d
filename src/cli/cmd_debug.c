/* `cria debug X`: doors for tests, for checking a build against reference data, and for looking
 * inside.  One line per door, each in cmd_debug_<x>.c. */
#include "cli/commands.h"

/* clang-format off */
const struct command debug_commands[] = {
    {"tokenize", NULL, "FILE", "texts to ids and back (JSON lines)", debug_tokenize, .options = debug_tokenize_options},
    {"template", NULL, "", "render chat templates (JSON lines)", debug_template, .options = debug_template_options},
    {"sampler", NULL, "", "run sampler stages over given logits (JSON lines)", debug_sampler, .options = debug_sampler_options},
    {"grammar", NULL, "", "read texts with GBNF grammars (JSON lines)", debug_grammar, .options = debug_grammar_options},
    {"schema", NULL, "", "read texts with JSON schemas (JSON lines)", debug_schema, .options = debug_schema_options},
    {"tensor", NULL, "FILE NAME", "shape, statistics and values of a tensor", debug_tensor, .options = debug_tensor_options},
    {"quant", NULL, "TYPE", "rows of raw floats (standard input) to blocks", debug_quant, .options = debug_quant_options},
    {"dequant", NULL, "TYPE", "blocks (standard input) to raw floats", debug_dequant, .options = debug_dequant_options},
    {"kernels", NULL, "", "which kernel stands in each slot", debug_kernels, .options = debug_kernels_options},
    {"gemm", NULL, "", "speed of training's products beside the peak", debug_gemm, .options = debug_gemm_options},
    {"logits", NULL, "FILE", "raw logits after token ids", debug_logits, .options = debug_logits_options},
    {"greedy", NULL, "FILE", "the most likely continuation of token ids", debug_greedy, .options = debug_greedy_options},
    {"layers", NULL, "FILE", "what flows through the layers", debug_layers, .options = debug_layers_options},
    {"train", NULL, "", "losses, gradients and steps of a reference case", debug_train, .options = debug_train_options},
    {0},
};
/* clang-format on */
