/* What the doors `debug logits`, `greedy` and `layers` share: a model opened in the plain state
 * that golden data were made with, and token ids from the command line. */
#pragma once

#include <stdint.h>

#include "cli/cli.h"
#include "engine/session.h"

struct debug_model {
    struct engine *engine;
    struct session *session;
    int32_t *tok; /* [n_tok], owned */
    int n_tok;
};

/* Options of all three doors; a door puts its own before them and ends the table. */
struct debug_model_flags {
    const char *tokens, *lora, *kv;
    int batch, ctx, threads;
};
extern struct debug_model_flags debug_model_flags;
/* clang-format off */
#define DEBUG_MODEL_OPTIONS                                                                        \
    {"tokens", 0, OPT_STR, &debug_model_flags.tokens, 0, 0, "IDS", "token ids, between blanks or commas"},     \
    {"lora", 0, OPT_STR, &debug_model_flags.lora, 0, 0, "FILE[:SCALE]", "apply an adapter"},       \
    {"kv", 0, OPT_STR, &debug_model_flags.kv, 0, 0, "TYPE", "f32 (default) f16 bf16 q8_0 q4_0"},   \
    {"batch", 0, OPT_INT, &debug_model_flags.batch, 1, 1 << 16, "N", "tokens in one step (default: 512)"},     \
    {"ctx", 0, OPT_INT, &debug_model_flags.ctx, 4, 1 << 24, "N", "context (default: 512)"},        \
    {"threads", 0, OPT_INT, &debug_model_flags.threads, 1, 512, "N", "threads (default: cores)"}
/* clang-format on */

/* Parse argv (one argument, the model) and open it.  Errors: -1. */
int debug_model_open(struct debug_model *d, int argc, char **argv, const struct opt *table,
                     struct err *e);
void debug_model_close(struct debug_model *d);
