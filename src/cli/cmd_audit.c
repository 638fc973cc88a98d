/* `cria audit X`: the log of what was asked of a server.  One line per command, each in
 * cmd_audit_<x>.c. */
#include "cli/commands.h"

/* clang-format off */
const struct command audit_commands[] = {
    {"log", NULL, "[FILE]", "its entries, one a line", cmd_audit_log, .options = cmd_audit_log_options},
    {"verify", NULL, "[FILE]", "is it whole and unaltered?  The first bad entry is named", cmd_audit_verify, .options = cmd_audit_verify_options},
    {"export", NULL, "[FILE]", "entries as JSON lines, with prompts and answers for who has the key", cmd_audit_export, .options = cmd_audit_export_options},
    {"prune", NULL, "--before DATE [FILE]", "remove the oldest entries; the rest still verifies", cmd_audit_prune, .options = cmd_audit_prune_options},
    {"digest", NULL, "[TEXT-FILE|-]", "the digest that a text has in the log, to look for it", cmd_audit_digest, .options = cmd_audit_digest_options},
    {0},
};
/* clang-format on */
