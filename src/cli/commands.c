/* The command table, sorted by use: one line per command. */
#include "cli/commands.h"

/* clang-format off */
const struct command cli_commands[] = {
    {"run", NULL, "MODEL [PROMPT...]", "answer a prompt, or chat", cmd_run, .options = cmd_run_options},
    {"serve", "start", "", "answer other programs over HTTP", cmd_serve, .options = cmd_serve_options, .more_help = cmd_serve_help},
    {"show", NULL, "MODEL", "what is in a model", cmd_show, .options = cmd_show_options},
    {"pull", NULL, "NAME...", "fetch models from a registry", cmd_pull, .options = cmd_pull_options},
    {"recommend", NULL, "", "models that suit this machine, the best one first", cmd_recommend, .options = cmd_recommend_options},
    {"search", NULL, "WORD", "look for models in the catalogue, and for tags in a registry", cmd_search, .options = cmd_search_options},
    {"push", NULL, "NAME", "give a model to a registry", cmd_push, .options = cmd_push_options},
    {"tokenize", NULL, "MODEL [TEXT...]", "turn text into tokens, or ids into text", cmd_tokenize, .options = cmd_tokenize_options},
    {"embed", NULL, "MODEL [TEXT...]", "print the vector of each text", cmd_embed, .options = cmd_embed_options},
    {"bench", NULL, "MODEL", "tokens per second, beside the limits of this machine", cmd_bench, .options = cmd_bench_options},
    {"perplexity", NULL, "MODEL TEXTFILE", "measure how well a model foretells a text", cmd_perplexity, .options = cmd_perplexity_options},
    {"quantize", NULL, "IN OUT TYPE", "make a model file smaller: Q4_K_M, Q8_0, F16...", cmd_quantize, .options = cmd_quantize_options},
    {"create", NULL, "NAME", "make a model from a Modelfile", cmd_create, .options = cmd_create_options},
    {"list", "ls", "[PREFIX]", "the models that are here", cmd_list, .options = cmd_list_options},
    {"ps", NULL, "[PREFIX]", "the models that a server has loaded", cmd_ps, .options = cmd_ps_options},
    {"stop", NULL, "NAME...", "unload models from a server", cmd_stop, .options = cmd_stop_options},
    {"cp", NULL, "NAME NEW", "give a model a second name", cmd_cp, .options = cmd_cp_options},
    {"rm", NULL, "NAME...", "remove models", cmd_rm, .options = cmd_rm_options},
    {"save", NULL, "NAME... -o FILE", "models as a file, for machines without a network", cmd_save, .options = cmd_save_options},
    {"load", NULL, "FILE", "models from such a file", cmd_load, .options = cmd_load_options},
    {"verify", NULL, "[NAME...]", "read models again and compare them with their digests", cmd_verify, .options = cmd_verify_options},
    {"gc", NULL, "", "remove what no model needs", cmd_gc, .options = cmd_gc_options},
    {"doctor", NULL, "", "show this machine, this build and what is missing", cmd_doctor, cmd_doctor_options, .any_settings = true},
    {"engine", NULL, NULL, NULL, cmd_engine, .any_settings = true},
    {"debug", NULL, "COMMAND", "doors for tests and for looking inside", .sub = debug_commands},
    {0},
};
/* clang-format on */
