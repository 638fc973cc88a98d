/* `cria doctor`: what this machine, this build and this set-up look like. */
#include "cli/commands.h"

#include <stdio.h>

#include "base/cpu.h"
#include "base/version.h"

static bool as_json;

const struct opt *cmd_doctor_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

int cmd_doctor(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_doctor_options(), args, &n_args, e) != 0) return -1;
    if (n_args) return err_set(e, ERR_USAGE, "doctor: found \"%s\"; it takes no argument", args[0]);
    printf("cria %s on %s\n", CRIA_VERSION, cpu_info()->name);
    return 0;
}
