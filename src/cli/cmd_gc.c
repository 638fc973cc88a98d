/* `cria gc`: remove blobs that no model needs and what dead processes left. */
#include "cli/commands.h"

#include <stdio.h>

#include "cli/human.h"
#include "cli/model.h"
#include "create/create.h"

/* What Ollama waits before it removes: a program that knows no leases of ours may be at work. */
enum { GRACE_S = 3600 };

static bool dry_run, now, as_json;

const struct opt *cmd_gc_options(void) {
    static const struct opt table[] = {
        {"dry-run", 0, OPT_FLAG, &dry_run, 0, 0, NULL, "only say what would be removed"},
        {"now", 0, OPT_FLAG, &now, 0, 0, NULL,
         "also what is younger than an hour, and downloads that were broken off within a week"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: blobs, partial, bytes, kept_all, dry_run"},
        {0},
    };
    return table;
}

static void print_text(const struct store_gc *r) {
    char size[HUMAN_TEXT];
    human_bytes(r->n_bytes, size);
    printf("%s %d blobs and %d unfinished files, %s\n", dry_run ? "would remove" : "removed",
           r->n_blobs, r->n_partial, size);
}

int cmd_gc(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct store_gc r;
    if (cli_parse(argc, argv, cmd_gc_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("gc", n_args, 0, 0, "no arguments", e) != 0) return -1;
    struct store *s = cli_store(e);
    if (s && !dry_run) create_sweep(s);
    const int rc = s ? store_collect(s, now ? 0 : GRACE_S, dry_run, &r, e) : -1;
    store_close(s);
    if (rc != 0) return -1;
    if (as_json)
        cli_print_json(json_pack("{s:i, s:i, s:I, s:b, s:b}", "blobs", r.n_blobs, "partial",
                                 r.n_partial, "bytes", (json_int_t)r.n_bytes, "kept_all",
                                 r.kept_all, "dry_run", dry_run));
    else if (!r.kept_all)
        print_text(&r);
    if (r.kept_all)
        return err_set(e, ERR_FORMAT,
                       "gc: a manifest cannot be read, so it is not known which blobs are needed: "
                       "nothing was removed; `cria verify` names it");
    return 0;
}
