/* `cria create NAME [-f Modelfile]`: a model in the store, here or a server's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/remote_create.h"
#include "cli/text.h"
#include "create/create.h"

static const char *file, *quantize;
static bool use_link, quality, insecure, as_json;
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
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "a JSON object per status line"},
        {0},
    };
    return table;
}

/* ---- progress ---- */

struct view {
    struct progress bar;
    char label[64];
    bool on; /* a bar is shown */
};

static void end_bar(struct view *v) {
    if (v->on) progress_end(&v->bar);
    v->on = false;
}

static void print_event(const char *status, const char *digest, uint64_t completed,
                        uint64_t total) {
    json_t *o = json_pack("{s:s}", "status", status);
    if (digest) json_object_set_new(o, "digest", json_string(digest));
    if (total) {
        json_object_set_new(o, "total", json_integer((json_int_t)total));
        json_object_set_new(o, "completed", json_integer((json_int_t)completed));
    }
    cli_print_json(o);
}

static void on_event(void *ctx, const char *status, const char *digest, uint64_t completed,
                     uint64_t total) {
    struct view *v = ctx;
    if (as_json) {
        print_event(status, digest, completed, total);
        return;
    }
    if (total == 0) {
        struct buf text = {0};
        end_bar(v);
        text_escape(&text, str_of(status), false);
        fprintf(stderr, "%s\n", text.p ? text.p : "");
        buf_fini(&text);
        return;
    }
    if (!v->on) {
        struct buf text = {0};
        text_escape(&text, str_of(status), false);
        snprintf(v->label, sizeof v->label, "%.60s", text.p ? text.p : "");
        buf_fini(&text);
        progress_start(&v->bar, v->label, (double)total, "B");
        v->on = true;
    }
    progress_update(&v->bar, (double)completed);
    if (completed >= total) end_bar(v);
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
static const char *only_here(void) {
    return use_link    ? "--link"
           : quality   ? "--quality"
           : insecure  ? "--insecure"
           : n_threads ? "--threads"
                       : NULL;
}

static int create(struct remote *r, struct store *s, const char *name, struct err *e) {
    struct name n;
    char folder[STORE_PATH];
    struct buf text = {0};
    struct modelfile m = {0};
    struct view v = {.on = false};
    const struct create_opts o = {.folder = folder,
                                  .quantize = quantize,
                                  .link = use_link,
                                  .quality = quality,
                                  .insecure = insecure,
                                  .n_threads = n_threads,
                                  .stop = &cli_interrupted};
    int rc = read_modelfile(&text, folder, e);
    if (rc == 0) rc = modelfile_parse(buf_view(&text), &m, e);
    if (rc == 0) rc = name_parse(name, &n, e);
    if (rc == 0)
        rc = r ? remote_create(r, name, &m, &o, on_event, &v, e)
               : create_model(s, &n, &m, &o, on_event, &v, e);
    end_bar(&v);
    modelfile_fini(&m);
    buf_fini(&text);
    return rc;
}

int cmd_create(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct name n;
    if (cli_parse(argc, argv, cmd_create_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("create", n_args, 1, 1, "NAME", e) != 0) return -1;
    if (name_parse(args[0], &n, e) != 0) return -1;
    struct remote *r;
    int rc = remote_find(only_here(), &r, e);
    if (rc != 0) return rc;
    struct store *s = r ? NULL : cli_store(e);
    rc = r || s ? create(r, s, args[0], e) : -1;
    store_close(s);
    remote_close(r);
    return rc;
}
