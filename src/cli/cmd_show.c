/* `cria show MODEL`: what is in a model. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/model.h"
#include "cli/show.h"
#include "cli/text.h"
#include "engine/check.h"

static bool as_json, verbose, only_metadata, only_tensors, only_license, only_template;

const struct opt *cmd_show_options(void) {
    static const struct opt table[] = {
        {"verbose", 'v', OPT_FLAG, &verbose, 0, 0, NULL, "also metadata and tensors; long arrays"},
        {"metadata", 0, OPT_FLAG, &only_metadata, 0, 0, NULL, "only the metadata"},
        {"tensors", 0, OPT_FLAG, &only_tensors, 0, 0, NULL, "only the tensors"},
        {"license", 0, OPT_FLAG, &only_license, 0, 0, NULL, "only the license"},
        {"template", 0, OPT_FLAG, &only_template, 0, 0, NULL, "only the chat template"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static int print_text(const struct gguf *g, struct str text, const char *what, struct err *e) {
    struct buf b = {0};
    if (text.n == 0)
        return err_set(e, ERR_NOT_FOUND, "%s: the file holds no %s", gguf_path(g), what);
    text_escape(&b, text, true);
    if (b.failed) return err_nomem(e, gguf_path(g));
    fwrite(b.p, 1, b.n, stdout);
    if (b.p[b.n - 1] != '\n') putchar('\n');
    buf_fini(&b);
    return 0;
}

static int show(const struct gguf *g, struct err *e) {
    struct show_info s;
    if (show_read(&s, g, e) != 0) return -1;
    if (only_license) return print_text(g, s.license, "license", e);
    if (only_template) return print_text(g, s.chat_template, "chat template", e);
    const bool raw = only_metadata || only_tensors; /* a look inside, whatever it is */
    if (!raw && engine_check_model(g, e) != 0) return -1;
    if (as_json) {
        show_json(&s, g, verbose);
        return 0;
    }
    if (!only_metadata && !only_tensors) show_text(&s, g);
    if (verbose || only_metadata) show_metadata(g);
    if (verbose || only_tensors) show_tensors(g);
    return 0;
}

int cmd_show(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_show_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("show", n_args, 1, 1, "MODEL", e) != 0) return -1;
    if (only_metadata + only_tensors + only_license + only_template + as_json > 1)
        return err_set(e, ERR_USAGE,
                       "show: more than one of --metadata, --tensors, --license, "
                       "--template, --json; at most one");
    struct cli_model m;
    struct gguf *g = cli_model_open(&m, args[0], e) == 0 ? gguf_open(m.path, e) : NULL;
    const int rc = g ? show(g, e) : -1;
    gguf_close(g);
    cli_model_close(&m);
    return rc;
}
