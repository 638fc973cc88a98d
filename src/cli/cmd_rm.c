/* `cria rm NAME...`: remove models, and the blobs that only they used. */
#include "cli/commands.h"

#include <stdio.h>

#include "cli/model.h"
#include "cli/remote_store.h"

const struct opt *cmd_rm_options(void) {
    static const struct opt table[] = {{0}};
    return table;
}

/* One that cannot be removed does not keep the others: the first error is the command's. */
static int remove_one(struct remote *r, struct store *s, const char *arg, struct err *e) {
    struct name n;
    if (name_parse(arg, &n, e) != 0) return -1;
    if ((r ? remote_remove(r, arg, e) : store_remove(s, &n, e)) != 0) return -1;
    printf("deleted '%s'\n", arg);
    return 0;
}

int cmd_rm(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, rc = 0;
    if (cli_parse(argc, argv, cmd_rm_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("rm", n_args, 1, CLI_MAX_ARGS, "NAME...", e) != 0) return -1;
    struct remote *r;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    struct store *s = r ? NULL : cli_store(e);
    if (!r && !s) return -1;
    for (int i = 0; i < n_args && !cli_interrupted; i++) {
        struct err one = {0};
        if (remove_one(r, s, args[i], &one) == 0) continue;
        if (rc != 0)
            fprintf(stderr, "Error: %s\n", one.msg);
        else
            *e = one, rc = -1;
    }
    store_close(s);
    remote_close(r);
    return rc;
}
