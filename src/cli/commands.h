/* The functions behind the command tables: one line per command.  `cria X` is cmd_X() with its
 * options in cmd_X_options(), both in cmd_X.c; `cria debug X` is debug_X() in cmd_debug_X.c. */
#pragma once

#include "cli/cli.h"

#define CLI_COMMAND(x)                                                                             \
    int cmd_##x(int argc, char **argv, struct err *e);                                             \
    const struct opt *cmd_##x##_options(void)
#define CLI_DEBUG(x)                                                                               \
    int debug_##x(int argc, char **argv, struct err *e);                                           \
    const struct opt *debug_##x##_options(void)

CLI_COMMAND(serve);
void cmd_serve_help(void); /* the settings of a server */
CLI_COMMAND(ps);
CLI_COMMAND(stop);
CLI_COMMAND(pull);
CLI_COMMAND(push);
CLI_COMMAND(recommend);
CLI_COMMAND(search);
CLI_COMMAND(save);
CLI_COMMAND(load);
CLI_COMMAND(show);
CLI_COMMAND(run);
CLI_COMMAND(tokenize);
CLI_COMMAND(embed);
CLI_COMMAND(perplexity);
CLI_COMMAND(bench);
CLI_COMMAND(quantize);
CLI_COMMAND(create);
CLI_COMMAND(list);
CLI_COMMAND(cp);
CLI_COMMAND(rm);
CLI_COMMAND(verify);
CLI_COMMAND(gc);
CLI_COMMAND(doctor);

int cmd_engine(int argc, char **argv, struct err *e);

CLI_DEBUG(quant);
CLI_DEBUG(dequant);
CLI_DEBUG(kernels);
CLI_DEBUG(tokenize);
CLI_DEBUG(template);
CLI_DEBUG(sampler);
CLI_DEBUG(grammar);
CLI_DEBUG(schema);
CLI_DEBUG(tensor);
CLI_DEBUG(logits);
CLI_DEBUG(greedy);
CLI_DEBUG(layers);

extern const struct command debug_commands[]; /* cmd_debug.c */
