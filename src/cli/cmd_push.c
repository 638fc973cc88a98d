/* `cria push NAME`: a model of the store to the registry that its name says. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/model.h"
#include "cli/pull.h"
#include "cli/remote_store.h"
#include "policy/leave.h"

static bool insecure, as_json;

const struct opt *cmd_push_options(void) {
    static const struct opt table[] = {
        {"insecure", 0, OPT_FLAG, &insecure, 0, 0, NULL, CLI_INSECURE_HELP},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "progress as JSON lines on standard output"},
        {0},
    };
    return table;
}

static int push_from_here(const struct name *n, struct err *e) {
    struct store *s = cli_store(e);
    if (!s) return -1;
    const struct registry_opts o = {.insecure = insecure, .stop = &cli_interrupted};
    struct pull_progress p = {.json = as_json};
    const int rc = registry_push(s, n, &o, pull_progress_say, &p, e);
    pull_progress_end(&p);
    store_close(s);
    return rc;
}

int cmd_push(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct name n;
    if (cli_parse(argc, argv, cmd_push_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("push", n_args, 1, 1, "NAME", e) != 0) return -1;
    if (name_parse(args[0], &n, e) != 0) return -1;
    if (policy_check_leaving("push", e) != 0) return -1; /* nor is a server asked to */
    struct remote *r;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    const int rc =
        r ? remote_transfer(r, "push", args[0], insecure, as_json, e) : push_from_here(&n, e);
    remote_close(r);
    const bool known = n.tls || strcmp(n.host, NAME_DEFAULT_HOST) == 0;
    const char *scheme = n.plain_http ? "http://" : known ? "https://" : "";
    if (rc == 0 && !as_json)
        fprintf(stderr, "\nYou can find your model at:\n\n\t%s%s/%s/%s\n", scheme, n.host, n.space,
                n.model);
    return rc;
}
