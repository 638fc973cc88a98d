/* `cria tune plot RUN.jsonl -o LOSS.svg`: the loss curve of a run from its log. */
#include <stdio.h>
#include <unistd.h>

#include "base/os.h"
#include "base/output.h"
#include "cli/commands.h"
#include "train/plot.h"

static const char *out_path, *title;

static const struct opt options[] = {
    {"output", 'o', OPT_STR, &out_path, 0, 0, "FILE", "the SVG file (default: standard output)"},
    {"title", 0, OPT_STR, &title, 0, 0, "TEXT", "instead of the run's name"},
    {0},
};

static void print_curve(const struct run_record *r) {
    struct buf b = {0};
    plot_spark(r, 40, &b);
    if (b.p) fprintf(stderr, "loss %s\n", b.p);
    buf_fini(&b);
}

static int plot(const char *path, struct err *e) {
    struct run_record r = {.name = NULL};
    struct buf svg = {0};
    int rc = out_path ? output_not_input(out_path, path, e) : 0;
    if (rc == 0 && out_path) rc = output_check(out_path, e);
    if (rc == 0) rc = run_record_read(path, &r, e);
    if (rc == 0) rc = plot_svg(&r, title, &svg, e);
    if (rc == 0 && out_path) rc = os_write_file(out_path, svg.p, svg.n, e);
    if (rc == 0 && !out_path) fwrite(svg.p, 1, svg.n, stdout);
    if (rc == 0 && out_path) print_curve(&r);
    buf_fini(&svg);
    run_record_fini(&r);
    return rc;
}

int cmd_tune_plot(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, options, args, &n_args, e) != 0) return -1;
    if (cli_check_args("tune plot", n_args, 1, 1, "RUN.jsonl [-o LOSS.svg]", e) != 0) return -1;
    return plot(args[0], e);
}
