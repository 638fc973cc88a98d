/* `cria save NAME... -o FILE`: models as a file, for machines without a network. */
#include "cli/commands.h"
#include "cli/model.h"
#include "store/archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *out;

const struct opt *cmd_save_options(void) {
    static const struct opt table[] = {
        {"output", 'o', OPT_STR, &out, 0, 0, "FILE",
         "a tar file, a folder (FOLDER/), or - for standard output"},
        {0},
    };
    return table;
}

static int show(void *ctx, uint64_t done, uint64_t all) {
    struct progress *p = ctx;
    if (p->total == 0) progress_start(p, "saving", (double)all, "B");
    progress_update(p, (double)done);
    return cli_interrupted;
}

static int save(struct store *s, const char *const *args, int n, struct err *e) {
    struct progress p = {0};
    const struct archive_opts o = {show, &p};
    struct name *names = calloc((size_t)n, sizeof *names);
    int rc = names ? 0 : err_nomem(e, "save");
    for (int i = 0; rc == 0 && i < n; i++)
        rc = name_parse(args[i], &names[i], e);
    if (rc == 0) rc = archive_save(s, names, n, out, &o, e);
    progress_end(&p);
    free(names);
    return rc;
}

int cmd_save(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_save_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("save", n_args, 1, CLI_MAX_ARGS, "NAME... -o FILE", e) != 0) return -1;
    if (!out) return err_set(e, ERR_USAGE, "save: -o FILE is missing");
    if (strcmp(out, "-") == 0 && isatty(STDOUT_FILENO))
        return err_set(e, ERR_USAGE, "save: standard output is a terminal");
    struct store *s = cli_store(e);
    if (!s) return -1;
    const int rc = save(s, args, n_args, e);
    store_close(s);
    return rc;
}
