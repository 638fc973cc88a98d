/* `cria pull NAME...`: models from registries into the store. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/model.h"
#include "cli/pull.h"
#include "cli/remote_store.h"
#include "policy/leave.h"

static bool insecure, all, as_json;

const struct opt *cmd_pull_options(void) {
    static const struct opt table[] = {
        {"all", 0, OPT_FLAG, &all, 0, 0, NULL, "all models that are in the store"},
        {"insecure", 0, OPT_FLAG, &insecure, 0, 0, NULL, CLI_INSECURE_HELP},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "progress as JSON lines on standard output"},
        {0},
    };
    return table;
}

/* The names of all models, or those of the command line: free(); NULL with e set. */
static struct name *names_of_store(struct remote *r, struct store *s, int *n, struct err *e) {
    struct store_entry *list;
    if ((r ? remote_list(r, NULL, &list, n, e) : store_list(s, NULL, &list, n, e)) != 0)
        return NULL;
    struct name *names = calloc((size_t)*n + 1, sizeof *names);
    for (int i = 0; names && i < *n; i++)
        names[i] = list[i].name;
    free(list);
    if (!names) err_nomem(e, "pull");
    return names;
}

static struct name *names_of(const char *const *args, int n, struct err *e) {
    struct name *names = calloc((size_t)n + 1, sizeof *names);
    if (!names) err_nomem(e, "pull");
    for (int i = 0; names && i < n; i++)
        if (name_parse(args[i], &names[i], e) != 0) {
            free(names);
            return NULL;
        }
    return names;
}

/* With --all every model is tried, and the first error is the answer. */
static int pull_each(struct remote *r, struct store *s, const struct name *names, int n,
                     struct err *e) {
    int rc = 0;
    if (insecure && cli_check_one_host("pull", names, n, e) != 0) return -1;
    for (int i = 0; i < n; i++) {
        struct err why;
        char name[NAME_TEXT];
        name_short(&names[i], name);
        if ((r ? remote_transfer(r, "pull", name, insecure, as_json, &why)
               : cli_pull(s, &names[i], insecure, as_json, &why)) == 0)
            continue;
        if (rc == 0)
            *e = why;
        else
            fprintf(stderr, "Error: %s\n", why.msg);
        rc = -1;
        if (!all || why.code == ERR_CANCELLED) break;
    }
    return rc;
}

int cmd_pull(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n;
    if (cli_parse(argc, argv, cmd_pull_options(), args, &n, e) != 0) return -1;
    if (cli_check_args("pull", n, !all, all ? 0 : CLI_MAX_ARGS, "NAME...", e) != 0) return -1;
    if (policy_check_leaving("pull", e) != 0) return -1; /* nor is a server asked to */
    struct remote *r;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    struct store *s = r ? NULL : cli_store(e);
    if (!r && !s) return -1;
    struct name *names = all ? names_of_store(r, s, &n, e) : names_of(args, n, e);
    const int rc = names ? pull_each(r, s, names, n, e) : -1;
    free(names);
    store_close(s);
    remote_close(r);
    return rc;
}
