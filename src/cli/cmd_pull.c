/* `cria pull NAME...`: models from registries into the store. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/model.h"
#include "cli/pull.h"

static bool insecure, all, as_json;

const struct opt *cmd_pull_options(void) {
    static const struct opt table[] = {
        {"all", 0, OPT_FLAG, &all, 0, 0, NULL, "all models that are in the store"},
        {"insecure", 0, OPT_FLAG, &insecure, 0, 0, NULL, "plain http, for this host only"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "progress as JSON lines on standard output"},
        {0},
    };
    return table;
}

/* Every model is tried; the first error is the answer. */
static int pull_all(struct store *s, struct err *e) {
    struct store_entry *list;
    int n, rc = store_list(s, NULL, &list, &n, e);
    for (int i = 0; rc != -2 && i < n; i++) {
        struct err why;
        if (cli_pull(s, &list[i].name, insecure, as_json, &why) == 0) continue;
        if (rc == 0)
            *e = why;
        else
            fprintf(stderr, "Error: %s\n", why.msg);
        rc = why.code == ERR_CANCELLED ? -2 : -1;
    }
    free(list);
    return rc == 0 ? 0 : -1;
}

int cmd_pull(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, rc = 0;
    struct name n;
    if (cli_parse(argc, argv, cmd_pull_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("pull", n_args, !all, all ? 0 : CLI_MAX_ARGS, "NAME...", e) != 0) return -1;
    struct store *s = cli_store(e);
    if (!s) return -1;
    if (all) rc = pull_all(s, e);
    for (int i = 0; rc == 0 && i < n_args; i++) {
        rc = name_parse(args[i], &n, e);
        if (rc == 0) rc = cli_pull(s, &n, insecure, as_json, e);
    }
    store_close(s);
    return rc;
}
