/* The command table, sorted by use: one line per command. */
#include "cli/commands.h"

/* clang-format off */
const struct command cli_commands[] = {
    {"run", NULL, "FILE [PROMPT...]", "answer a prompt, or chat", cmd_run, .options = cmd_run_options},
    {"show", NULL, "FILE", "what is in a model file", cmd_show, .options = cmd_show_options},
    {"tokenize", NULL, "FILE [TEXT...]", "turn text into tokens, or ids into text", cmd_tokenize, .options = cmd_tokenize_options},
    {"embed", NULL, "FILE [TEXT...]", "print the vector of each text", cmd_embed, .options = cmd_embed_options},
    {"bench", NULL, "FILE", "tokens per second, beside the limits of this machine", cmd_bench, .options = cmd_bench_options},
    {"perplexity", NULL, "FILE TEXTFILE", "measure how well a model foretells a text", cmd_perplexity, .options = cmd_perplexity_options},
    {"quantize", NULL, "IN OUT TYPE", "make a model file smaller: Q4_K_M, Q8_0, F16...", cmd_quantize, .options = cmd_quantize_options},
    {"doctor", NULL, "", "show this machine, this build and what is missing", cmd_doctor, cmd_doctor_options, .any_settings = true},
    {"debug", NULL, "COMMAND", "doors for tests and for looking inside", .sub = debug_commands},
    {0},
};
/* clang-format on */
