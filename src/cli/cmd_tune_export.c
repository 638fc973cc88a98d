/* `cria tune export NAME FOLDER`: the adapter of a model as a PEFT folder, for other tools. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/model.h"
#include "create/export_adapter.h"

static const char *base_name;

static const struct opt options[] = {
    {"base", 0, OPT_STR, &base_name, 0, 0, "TEXT",
     "base_model_name_or_path: what the other tool calls the base"},
    {0},
};

static int export(const char *name, const char *folder, struct err *e) {
    struct cli_model m;
    const struct export_opts o = {.base_name = base_name};
    int rc = cli_model_open(&m, name, e);
    if (rc == 0 && !m.r.adapter[0] && m.store)
        rc = err_set(e, ERR_NOT_FOUND,
                     "model '%.200s' has no adapter; one that was fine-tuned, "
                     "and not merged, has",
                     name);
    /* A file: the adapter itself. */
    if (rc == 0)
        rc = export_adapter(m.store ? m.r.adapter : m.r.path, m.store ? m.r.path : NULL, folder, &o,
                            e);
    cli_model_close(&m);
    return rc;
}

int cmd_tune_export(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, options, args, &n_args, e) != 0) return -1;
    if (cli_check_args("tune export", n_args, 2, 2, "NAME FOLDER", e) != 0) return -1;
    return export(args[0], args[1], e);
}
