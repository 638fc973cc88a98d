/* `cria data X`: training data before it is trained on, and what is kept of users' data.  One line
 * per command, each in cmd_data_<x>.c. */
#include "cli/commands.h"

/* clang-format off */
const struct command data_commands[] = {
    {"check", NULL, "FILE", "what is in a file of training data, and what is wrong with it", cmd_data_check, .options = cmd_data_check_options},
    {"prepare", NULL, "RAW.jsonl OUT.jsonl", "any format to {\"messages\"}, without bad and double lines", cmd_data_prepare, .options = cmd_data_prepare_options},
    {"retention", NULL, "", "what is kept of prompts and answers: where, how much, how it is wiped", cmd_data_retention, .options = cmd_data_retention_options},
    {0},
};
/* clang-format on */
