/* `cria stop NAME...`: a server unloads models, each when it has ended what it does. */
#include "cli/commands.h"

#include <stdio.h>

#include "cli/remote.h"

const struct opt *cmd_stop_options(void) {
    static const struct opt table[] = {{0}};
    return table;
}

/* As Ollama's clients do it: nothing to generate, and nothing to keep. */
static int stop_one(struct remote *r, const char *name, struct err *e) {
    struct err why = {0};
    json_t *body = json_pack("{s:s, s:i, s:b}", "model", name, "keep_alive", 0, "stream", 0);
    if (!body) return err_set(e, ERR_USAGE, "stop: a name that is no UTF-8 text");
    const int rc = remote_ask(r, NET_POST, "/api/generate", body, NULL, &why);
    json_decref(body);
    if (rc == 0) return 0;
    if (why.code == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND, "couldn't find model \"%s\" to stop", name);
    return err_set(e, why.code, "%s", why.msg);
}

/* One that cannot be stopped does not keep the others: the first error is the command's. */
int cmd_stop(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_stop_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("stop", n_args, 1, CLI_MAX_ARGS, "NAME...", e) != 0) return -1;
    struct remote *r;
    int rc = remote_need(&r, e);
    for (int i = 0; r && i < n_args && !cli_interrupted; i++) {
        struct err one = {0};
        if (stop_one(r, args[i], &one) == 0) continue;
        if (rc != 0)
            fprintf(stderr, "Error: %s\n", one.msg);
        else
            *e = one, rc = -1;
    }
    remote_close(r);
    return rc;
}
