/* `cria debug kernels`: which kernel stands in each slot of the table, after CRIA_CPU. */
#include "cli/commands.h"

#include <stdio.h>

#include "cpu/cpu.h"

const struct opt *debug_kernels_options(void) {
    static const struct opt table[] = {{0}};
    return table;
}

int debug_kernels(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, debug_kernels_options(), args, &n_args, e) != 0) return -1;
    if (n_args)
        return err_set(e, ERR_USAGE, "debug kernels: found \"%s\"; it takes no argument", args[0]);
    for (int i = 0; i < cpu_n_kernel(); i++)
        puts(cpu_kernel_line(i));
    return 0;
}
