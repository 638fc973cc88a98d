/* `cria tune BASE --data FILE --out NAME`: the create of a Modelfile with FROM BASE and TRAINFILE
 * FILE, its settings as options.  `cria tune plot`, `cria tune export`: in files of their own. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/create_view.h"
#include "cli/model.h"
#include "cli/remote.h"
#include "cli/tune_flags.h"

static struct tune_flags flags;
static const char *out_name, *merge;
static bool use_link;

const struct opt *cmd_tune_options(void) {
    static const struct opt own[] = {
        {"out", 'o', OPT_STR, &out_name, 0, 0, "NAME", "of the model that is made"},
        {"merge", 0, OPT_MAYBE, &merge, 0, 0, "TYPE",
         "a model of its own, not an adapter; TYPE: of its weights (the base's)"},
        {"link", 0, OPT_FLAG, &use_link, 0, 0, NULL, "a BASE that is a file stays where it is"},
    };
    enum { N_OWN = sizeof own / sizeof *own };
    static struct opt table[N_OWN + TUNE_COMMON + TUNE_MAX_SETTINGS + 1];
    tune_flags_table(TUNE_ADAPTS, &flags, own, N_OWN, table);
    return table;
}

void cmd_tune_help(void) {
    puts("\nA BASE that has an adapter gets that one trained further.\n"
         "\nAlso: cria tune plot RUN.jsonl -o LOSS.svg    the loss curve of a --log\n"
         "      cria tune export NAME FOLDER            its adapter as PEFT has it");
}

static int check(struct err *e) {
    if (tune_flags_check(TUNE_ADAPTS, &flags, e) != 0) return -1;
    if (!out_name && !flags.dry_run)
        return err_set(e, ERR_USAGE, "tune: --out is missing; the name of the model to make");
    return 0;
}

static int tune(int argc, char **argv, const char *base, const struct tune_opts *t, struct err *e) {
    struct modelfile_line line[3];
    struct modelfile m = {.line = line};
    struct create_view v = {.as_json = flags.as_json};
    struct name n;
    struct create_opts o = tune_flags_create(&flags, t);
    o.link = use_link;
    o.merge = merge;
    tune_flags_modelfile(&flags, base, &m);
    if (name_parse(out_name ? out_name : "dry-run", &n, e) != 0) return -1;
    cli_catch_term();
    struct store *s = cli_store(e);
    const int rc = s ? create_model(s, &n, &m, &o, create_view_status, &v, e) : -1;
    create_view_end(&v, rc, argc, argv);
    store_close(s);
    return rc;
}

int cmd_tune(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    struct tune_opts t = {.val = 0};
    struct remote *r;
    int n_args;
    if (argc > 1 && strcmp(argv[1], "plot") == 0) return cmd_tune_plot(argc - 1, argv + 1, e);
    if (argc > 1 && strcmp(argv[1], "export") == 0) return cmd_tune_export(argc - 1, argv + 1, e);
    if (cli_parse(argc, argv, cmd_tune_options(), args, &n_args, e) != 0) return -1;
    if (tune_flags_set(TUNE_ADAPTS, &flags, &t, e) != 0 ||
        tune_flags_merge(merge, args, n_args, &merge, e) != 0 ||
        cli_check_args("tune", n_args, 1, 1, "BASE --data FILE --out NAME", e) != 0 ||
        check(e) != 0)
        return -1;
    const int rc = remote_find("tune", &r, e); /* an address elsewhere is refused */
    return rc != 0 ? rc : tune(argc, argv, args[0], &t, e);
}
