/* See model.h. */
#include "cli/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/pull.h"
#include "gguf/read.h"
#include "store/params.h"

struct store *cli_store(struct err *e) {
    return store_open(NULL, e);
}

/* ---- opening ---- */

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* A folder in the way does not hide the model of its name; something at a path does. */
bool cli_is_file(const char *arg) {
    struct stat st;
    const bool there = stat(arg, &st) == 0;
    if (there && (!S_ISDIR(st.st_mode) || strchr(arg, '/'))) return true;
    return ends_with(arg, ".gguf") || arg[0] == '/' || arg[0] == '~' ||
           strncmp(arg, "./", 2) == 0 || strncmp(arg, "../", 3) == 0;
}

enum fetch { FETCH_NOTHING, FETCH_SAFELY, FETCH_INSECURE };

static int open_name(struct cli_model *m, enum fetch fetch, struct err *e) {
    struct name n;
    struct err first = {0};
    if (name_parse(m->arg, &n, e) != 0) return -1;
    m->store = cli_store(e);
    if (!m->store) return -1;
    int rc = recipe_open(&m->r, m->store, &n, m->arg, &first);
    if (rc != 0 && first.code == ERR_NOT_FOUND && fetch &&
        (!m->r.manifest.bytes.n || n.pin.hex[0])) {
        recipe_close(&m->r);
        if (cli_pull(m->store, &n, fetch == FETCH_INSECURE, false, e) != 0) return -1;
        rc = recipe_open(&m->r, m->store, &n, m->arg, &first);
    }
    return rc == 0 ? 0 : err_set(e, first.code, "%s", first.msg);
}

static int open_model(struct cli_model *m, const char *arg, enum fetch fetch, struct err *e) {
    *m = (struct cli_model){.arg = arg};
    if (!cli_is_file(arg)) return open_name(m, fetch, e);
    if (snprintf(m->r.path, sizeof m->r.path, "%s", arg) < (int)sizeof m->r.path) return 0;
    return err_set(e, ERR_USAGE, "a path of %zu bytes; at most %zu are accepted", strlen(arg),
                   sizeof m->r.path - 1);
}

int cli_model_open(struct cli_model *m, const char *arg, struct err *e) {
    return open_model(m, arg, FETCH_NOTHING, e);
}

int cli_model_fetch(struct cli_model *m, const char *arg, bool insecure, struct err *e) {
    return open_model(m, arg, insecure ? FETCH_INSECURE : FETCH_SAFELY, e);
}

void cli_model_close(struct cli_model *m) {
    recipe_close(&m->r);
    model_config_fini(&m->config);
    store_close(m->store);
    m->store = NULL;
}

/* ---- texts ---- */

int cli_model_text(const struct cli_model *m, enum layer_kind kind, struct buf *out,
                   struct err *e) {
    return m->store ? recipe_text(&m->r, kind, out, e) : 0;
}

static int each_param(const struct cli_model *m, param_fn *fn, void *ctx, struct err *e) {
    json_t *o;
    if (recipe_params(&m->r, &o, e) != 0) return -1;
    param_each(o, fn, ctx);
    json_decref(o);
    return 0;
}

/* ---- a run ---- */

struct applying {
    const struct cli_model *m;
    struct chat *c;
};

static void warn(const struct cli_model *m, const char *what) {
    struct err shown; /* makes a stranger's text safe to print */
    err_set(&shown, ERR_NONE, "model '%s': %s", m->arg, what);
    fprintf(stderr, "warning: %s\n", shown.msg);
}

static void apply_param(void *ctx, const char *name, const char *value) {
    struct applying *a = ctx;
    struct err e = {0};
    char what[sizeof e.msg + 100];
    /* A model from outside must not choose which of the user's files are read. */
    if (strcmp(name, "draft") == 0)
        err_set(&e, ERR_USAGE, "a model cannot name a file here");
    else if (chat_set_option(a->c, name, value, &e) == 0)
        return;
    if (strncmp(e.msg, "unknown option", 14) == 0) err_set(&e, ERR_USAGE, "it is not known here");
    snprintf(what, sizeof what, "its parameter \"%.60s\" has no effect: %s", name, e.msg);
    warn(a->m, what);
}

static int add_messages(const struct cli_model *m, struct chat *c, struct err *e) {
    static const char *const role[] = {"system", "user", "assistant"};
    json_t *list, *v;
    size_t i;
    if (recipe_messages(&m->r, &list, e) != 0) return -1;
    int rc = 0;
    json_array_foreach(list, i, v) {
        const json_t *text = json_object_get(v, "content");
        int which = 0;
        while (strcmp(json_string_value(json_object_get(v, "role")), role[which]) != 0)
            which++;
        rc = chat_add_history(c, role[which],
                              (struct str){json_string_value(text), json_string_length(text)}, e);
        if (rc != 0) break;
    }
    json_decref(list);
    return rc;
}

/* The names of built-in templates and readers of answers. */
static int apply_config(struct cli_model *m, struct chat *c, struct err *e) {
    if (recipe_config(&m->r, &m->config, e) != 0) return -1;
    c->renderer = m->config.renderer;
    c->parser = m->config.parser;
    if (c->verbose && m->r.projector[0])
        warn(m, "its projector is not used: this version does not see images");
    return 0;
}

int cli_model_apply(struct cli_model *m, struct chat *c, struct err *e) {
    struct applying a = {m, c};
    c->path = m->r.path;
    c->name = m->arg;
    if (!m->store) return 0;
    if (apply_config(m, c, e) != 0 || each_param(m, apply_param, &a, e) != 0 ||
        cli_model_text(m, LAYER_SYSTEM, &c->system, e) != 0 ||
        cli_model_text(m, LAYER_TEMPLATE, &c->template, e) != 0 || add_messages(m, c, e) != 0)
        return -1;
    if (m->r.draft[0] && chat_set_option(c, "draft", m->r.draft, e) != 0) return -1;
    if (m->r.adapter[0]) c->lora = m->r.adapter, c->lora_scale = 1.0f;
    return 0;
}
