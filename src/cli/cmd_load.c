/* `cria load FILE`: models that `save` or another tool wrote as an OCI image layout. */
#include "cli/commands.h"
#include "cli/model.h"
#include "store/archive.h"

#include <stdio.h>

static const char *as;

const struct opt *cmd_load_options(void) {
    static const struct opt table[] = {
        {"as", 0, OPT_STR, &as, 0, 0, "NAME", "a name for the one model that is in it"},
        {0},
    };
    return table;
}

static int poll_interrupt(void *ctx, uint64_t done, uint64_t all) {
    (void)ctx, (void)done, (void)all;
    return cli_interrupted;
}

static void say(void *ctx, const struct name *n) {
    char name[NAME_TEXT];
    (void)ctx;
    name_short(n, name);
    printf("loaded '%s'\n", name);
}

int cmd_load(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct name n;
    const struct archive_opts o = {poll_interrupt, NULL};
    if (cli_parse(argc, argv, cmd_load_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("load", n_args, 1, 1, "FILE", e) != 0) return -1;
    if (as && name_parse(as, &n, e) != 0) return -1;
    struct store *s = cli_store(e);
    if (!s) return -1;
    const int rc = archive_load(s, args[0], as ? &n : NULL, &o, say, NULL, e);
    store_close(s);
    return rc;
}
