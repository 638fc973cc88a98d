/* `cria create NAME [-f Modelfile]`: a model in the store, here or a server's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/create_view.h"
#include "cli/model.h"
#include "cli/remote_create.h"
#include "cli/remote_train.h"
#include "cli/tune_flags.h"
#include "create/tune.h"

static const char *file, *quantize;
static const char *merge, *log_path, *memory;
static bool use_link, quality, insecure, as_json, dry_run, must_resume, restart;
static int n_threads;

const struct opt *cmd_create_options(void) {
    static const struct opt table[] = {
        {"file", 'f', OPT_STR, &file, 0, 0, "FILE",
         "the Modelfile (default: Modelfile; without one, FROM .)"},
        {"quantize", 'q', OPT_STR, &quantize, 0, 0, "TYPE",
         "in fewer bits, as Q4_K_M (cria quantize --types lists the types)"},
        {"link", 0, OPT_FLAG, &use_link, 0, 0, NULL, "GGUF files stay where they are"},
        {"quality", 0, OPT_FLAG, &quality, 0, 0, NULL,
         "with -q: how far the answers are from the source's (KL divergence)"},
        {"insecure", 0, OPT_FLAG, &insecure, 0, 0, NULL,
         "for a FROM that is pulled: any certificate, or plain http"},
        {"threads", 0, OPT_INT, &n_threads, 1, 512, "N", "threads (default: cores)"},
        {"merge", 0, OPT_MAYBE, &merge, 0, 0, "TYPE",
         "with ADAPTER or TRAINFILE: a model of its own; TYPE: of its weights"},
        {"log", 0, OPT_STR, &log_path, 0, 0, "FILE", "with TRAINFILE: what happens, as JSON lines"},
        {"memory", 0, OPT_STR, &memory, 0, 0, "BYTES",
         "with TRAINFILE: at most, as 4g (default: the setting MEMORY)"},
        {"dry-run", 0, OPT_FLAG, &dry_run, 0, 0, NULL, "with TRAINFILE: only the plan"},
        {"resume", 0, OPT_FLAG, &must_resume, 0, 0, NULL,
         "with TRAINFILE: only if there is a checkpoint (one is used anyway)"},
        {"restart", 0, OPT_FLAG, &restart, 0, 0, NULL, "with TRAINFILE: not from a checkpoint"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "a JSON object per line: statuses, events"},
        {0},
    };
    return table;
}

/* ---- the Modelfile ---- */

/* The text; folder: what its paths are relative to. */
static int read_modelfile(struct buf *text, char folder[STORE_PATH], struct err *e) {
    const char *path = file ? file : "Modelfile";
    const char *slash = strrchr(path, '/');
    const int n = slash ? (int)(slash - path) : 0;
    if (n >= STORE_PATH) return err_set(e, ERR_USAGE, "%s: too long", "--file");
    snprintf(folder, STORE_PATH, "%.*s", slash ? n + (n == 0) : 1, slash ? path : ".");
    if (os_read_file(path, MODELFILE_MAX_BYTES, text, e) == 0) return 0;
    if (e->code != ERR_NOT_FOUND) return -1;
    if (file) return err_set(e, ERR_NOT_FOUND, "specified Modelfile wasn't found");
    buf_str(text, "FROM .\n");
    return text->failed ? err_nomem(e, path) : 0;
}

/* What is done with this machine's files and time. */
static const char *only_here(const struct modelfile *m) {
    return use_link                     ? "--link"
           : quality                    ? "--quality"
           : insecure                   ? "--insecure"
           : n_threads                  ? "--threads"
           : merge && !remote_trains(m) ? "--merge"
           : log_path                   ? "--log"
           : memory                     ? "--memory"
           : dry_run                    ? "--dry-run"
           : must_resume                ? "--resume"
                                        : NULL;
}

/* A server on this machine trains beside its answers, with what they leave: whoever waits here has
 * more of the machine by doing it here. */
static struct remote *unless_better_here(struct remote *r, const struct modelfile *m) {
    if (!r || !remote_trains(m) || !remote_is_here(r)) return r;
    remote_close(r);
    return NULL;
}

static int check_training(const struct modelfile *m, struct err *e) {
    const char *option = log_path      ? "--log"
                         : memory      ? "--memory"
                         : dry_run     ? "--dry-run"
                         : must_resume ? "--resume"
                         : restart     ? "--restart"
                                       : NULL;
    if (must_resume && restart)
        return err_set(e, ERR_USAGE, "create: --resume and --restart; at most one");
    if (!option || remote_trains(m)) return 0;
    return err_set(e, ERR_USAGE, "create: %s without TRAINFILE; it is an option of training",
                   option);
}

/* "Modelfile (line 3): ..." */
static void name_modelfile(struct err *e) {
    const struct err was = *e;
    if (strncmp(was.msg, "(line ", 6) == 0 && access(file ? file : "Modelfile", F_OK) == 0)
        err_set(e, was.code, "%.200s %s", file ? file : "Modelfile", was.msg);
}

static int make(const struct name *n, const char *name, const struct modelfile *m,
                const struct create_opts *o, struct create_view *v, struct err *e) {
    struct remote *r;
    int rc = remote_find(only_here(m), &r, e);
    if (rc != 0) return rc;
    r = unless_better_here(r, m);
    struct store *s = r ? NULL : cli_store(e);
    if (r)
        rc = remote_create(r, name, m, o, create_view_status, v, e);
    else
        rc = s ? create_model(s, n, m, o, create_view_status, v, e) : -1;
    store_close(s);
    remote_close(r);
    return rc;
}

static int create(int argc, char **argv, const char *name, struct err *e) {
    struct name n;
    char folder[STORE_PATH];
    struct buf text = {0};
    struct modelfile m = {0};
    struct create_view v = {.as_json = as_json};
    struct tune_opts t = {.val = 0};
    const struct create_opts o = {.folder = folder,
                                  .quantize = quantize,
                                  .link = use_link,
                                  .quality = quality,
                                  .insecure = insecure,
                                  .n_threads = n_threads,
                                  .stop = &cli_interrupted,
                                  .tune = &t,
                                  .merge = merge,
                                  .log = log_path,
                                  .plan_only = dry_run,
                                  .resume = must_resume ? CREATE_RESUME_MUST
                                            : restart   ? CREATE_RESTART
                                                        : CREATE_RESUME,
                                  .on_train = create_view_train};
    int rc = name_parse(name, &n, e);
    if (rc == 0) rc = tune_memory(memory, &t, e);
    if (rc == 0) rc = read_modelfile(&text, folder, e);
    if (rc == 0) rc = modelfile_parse(buf_view(&text), &m, e);
    if (rc == 0) rc = check_training(&m, e);
    if (rc == 0 && remote_trains(&m)) cli_catch_term();
    if (rc == 0) rc = make(&n, name, &m, &o, &v, e);
    if (rc < 0) name_modelfile(e);
    create_view_end(&v, rc, argc, argv);
    modelfile_fini(&m);
    buf_fini(&text);
    return rc;
}

int cmd_create(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_create_options(), args, &n_args, e) != 0) return -1;
    if (tune_flags_merge(merge, args, n_args, &merge, e) != 0 ||
        cli_check_args("create", n_args, 1, 1, "NAME", e) != 0)
        return -1;
    return create(argc, argv, args[0], e);
}
