/* `cria data prepare RAW.jsonl OUT.jsonl`: training data of any format in one, without what is
 * broken or comes twice; with --split a second file for validation, which shares no prompt with it.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/data_watch.h"
#include "cli/text.h"
#include "train/prepare.h"

enum { ISSUES_SHOWN = 20 };

static struct {
    const char *system;
    double split;
    int seed;
    bool json, all;
} flags;

const struct opt *cmd_data_prepare_options(void) {
    static const struct opt table[] = {
        {"system", 0, OPT_STR, &flags.system, 0, 0, "TEXT",
         "system message of examples without one"},
        {"split", 0, OPT_FLOAT, &flags.split, 0, 0.9, "SHARE",
         "this share of the examples to OUT.valid.jsonl; one prompt, one side"},
        {"seed", 0, OPT_INT, &flags.seed, 0, INT_MAX, "N", "chance of the split (default: 0)"},
        {"all", 0, OPT_FLAG, &flags.all, 0, 0, NULL, "every line that is left out"},
        {"json", 0, OPT_FLAG, &flags.json, 0, 0, NULL,
         "one object: out, examples, valid_out, valid_examples, lines, formats, faults, issues"},
        {0},
    };
    return table;
}

/* OUT.jsonl -> OUT.valid.jsonl */
static int valid_name(const char *out, char path[PATH_MAX], struct err *e) {
    static const char end[] = ".jsonl";
    size_t n = strlen(out);
    if (n > sizeof end - 1 && strcmp(out + n - (sizeof end - 1), end) == 0) n -= sizeof end - 1;
    if (snprintf(path, PATH_MAX, "%.*s.valid%s", (int)n, out, end) < PATH_MAX) return 0;
    return err_set(e, ERR_USAGE, "%s: the path is too long", out);
}

static void print_json(const struct prepare_result *r, const struct data_watch *w, const char *out,
                       const char *valid_out) {
    json_t *o = data_counts_json(&r->count);
    json_object_set_new(o, "out", json_string(out));
    json_object_set_new(o, "examples", json_integer(r->n_train));
    if (flags.split > 0) {
        json_object_set_new(o, "valid_out", json_string(valid_out));
        json_object_set_new(o, "valid_examples", json_integer(r->n_valid));
    }
    json_object_set_new(o, "issues", w->issues ? json_incref(w->issues) : json_array());
    cli_print_json(o);
}

static void print_file(const char *path, int n) {
    struct buf b = {0};
    text_escape(&b, str_of(path), false);
    printf("%s: %d example%s\n", b.p ? b.p : "", n, n == 1 ? "" : "s");
    buf_fini(&b);
}

static void print_text(const struct prepare_result *r, const struct data_watch *w, const char *in,
                       const char *out, const char *valid_out) {
    struct buf b = {0};
    print_file(out, r->n_train);
    if (flags.split > 0) print_file(valid_out, r->n_valid);
    if (!data_counts_list(&r->count, EXAMPLE_BROKEN, EXAMPLE_DUPLICATE_ID, &b)) return;
    fprintf(stderr, "left out of %d lines: %s\n", r->count.n_line, b.p);
    data_watch_print(stderr, in, w, flags.all ? DATA_WATCH_KEPT : ISSUES_SHOWN);
    buf_fini(&b);
}

/* The other part of an earlier split has examples that are in this file now. */
static void warn_old(const char *valid_out) {
    struct buf b = {0};
    if (flags.split > 0 || access(valid_out, F_OK) != 0) return;
    text_escape(&b, str_of(valid_out), false);
    fprintf(stderr,
            "%s: warning: it is of an earlier --split and was left as it is; its examples may be "
            "in the new file, too\n",
            b.p ? b.p : "");
    buf_fini(&b);
}

int cmd_data_prepare(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    char valid_out[PATH_MAX];
    if (cli_parse(argc, argv, cmd_data_prepare_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("data prepare", n_args, 2, 2, "RAW.jsonl OUT.jsonl", e) != 0) return -1;
    if (valid_name(args[1], valid_out, e) != 0) return -1;
    struct data_watch watch = {.n_issue = 0};
    struct prepare_result r;
    const struct prepare_opts o = {.system = str_of(flags.system ? flags.system : ""),
                                   .split = flags.split,
                                   .seed = (uint64_t)flags.seed,
                                   .on_issue = data_watch_issue,
                                   .on_progress = data_watch_progress,
                                   .ctx = &watch,
                                   .stop = &cli_interrupted};
    const int rc = prepare_file(args[0], args[1], valid_out, &o, &r, e);
    if (watch.bar.label) progress_end(&watch.bar);
    if (rc == 0) warn_old(valid_out);
    if (rc == 0 && flags.json)
        print_json(&r, &watch, args[1], valid_out);
    else if (rc == 0)
        print_text(&r, &watch, args[0], args[1], valid_out);
    data_watch_fini(&watch);
    return rc;
}
