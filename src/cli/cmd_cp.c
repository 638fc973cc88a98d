/* `cria cp NAME NEW`: a second name for a model; its blobs are shared. */
#include "cli/commands.h"

#include <stdio.h>

#include "cli/model.h"
#include "cli/remote_store.h"

const struct opt *cmd_cp_options(void) {
    static const struct opt table[] = {{0}};
    return table;
}

int cmd_cp(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct name from, to;
    if (cli_parse(argc, argv, cmd_cp_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("cp", n_args, 2, 2, "NAME NEW", e) != 0) return -1;
    if (name_parse(args[0], &from, e) != 0 || name_parse(args[1], &to, e) != 0) return -1;
    if (to.pin.hex[0])
        return err_set(e, ERR_USAGE, "cp: found a digest in \"%s\"; a name is accepted", args[1]);
    struct remote *r;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    struct store *s = r ? NULL : cli_store(e);
    const int rc = r ? remote_copy(r, args[0], args[1], e) : s ? store_copy(s, &from, &to, e) : -1;
    if (rc == 0) printf("copied '%s' to '%s'\n", args[0], args[1]);
    store_close(s);
    remote_close(r);
    return rc;
}
