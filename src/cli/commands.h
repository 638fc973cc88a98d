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
CLI_COMMAND(top);
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
CLI_COMMAND(train);
CLI_COMMAND(tune);
void cmd_tune_help(void); /* plot and export */
int cmd_tune_plot(int argc, char **argv, struct err *e);
int cmd_tune_export(int argc, char **argv, struct err *e);
CLI_COMMAND(train_tokenizer);
CLI_COMMAND(train_init);
extern const struct command train_commands[]; /* cmd_train.c */
CLI_COMMAND(list);
CLI_COMMAND(cp);
CLI_COMMAND(rm);
CLI_COMMAND(verify);
CLI_COMMAND(verify_isolation);
extern const struct command verify_commands[]; /* cmd_verify_isolation.c */
CLI_COMMAND(gc);
CLI_COMMAND(replay);
CLI_COMMAND(pii);
CLI_COMMAND(doctor);
CLI_COMMAND(config);
int cmd_config_check(int argc, char **argv, struct err *e);
extern const struct command config_commands[]; /* cmd_config.c */

int cmd_engine(int argc, char **argv, struct err *e);
int cmd_trainer(int argc, char **argv, struct err *e);
int cmd_probe(int argc, char **argv, struct err *e);

/* `cria keys X`, in cmd_keys*.c */
CLI_COMMAND(keys_add);
CLI_COMMAND(keys_set);
CLI_COMMAND(keys_list);
CLI_COMMAND(keys_rm);
CLI_COMMAND(keys_usage);
extern const struct command keys_commands[]; /* cmd_keys.c */

/* `cria data X`, in cmd_data_X.c */
CLI_COMMAND(data_check);
CLI_COMMAND(data_prepare);
CLI_COMMAND(data_retention);
extern const struct command data_commands[]; /* cmd_data.c */

/* `cria cache X` */
CLI_COMMAND(cache_stats);
CLI_COMMAND(cache_clear);
CLI_COMMAND(cache_rm);
extern const struct command cache_commands[]; /* cmd_cache.c */

CLI_COMMAND(forget);
/* `cria audit X`, in cmd_audit_X.c; digest: in cmd_audit_prune.c */
CLI_COMMAND(audit_log);
CLI_COMMAND(audit_verify);
CLI_COMMAND(audit_export);
CLI_COMMAND(audit_prune);
CLI_COMMAND(audit_digest);
extern const struct command audit_commands[]; /* cmd_audit.c */

CLI_DEBUG(quant);
CLI_DEBUG(dequant);
CLI_DEBUG(kernels);
CLI_DEBUG(gemm);
CLI_DEBUG(tokenize);
CLI_DEBUG(template);
CLI_DEBUG(sampler);
CLI_DEBUG(grammar);
CLI_DEBUG(schema);
CLI_DEBUG(tensor);
CLI_DEBUG(logits);
CLI_DEBUG(greedy);
CLI_DEBUG(layers);
CLI_DEBUG(train);

extern const struct command debug_commands[]; /* cmd_debug.c */
