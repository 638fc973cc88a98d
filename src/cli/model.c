/* See model.h. */
#include "cli/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/pull.h"
#include "gguf/read.h"
#include "store/config.h"

enum { MAX_TEXT = 16 << 20 };

struct store *cli_store(struct err *e) {
    return store_open(NULL, e);
}

/* ---- opening ---- */

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* A folder in the way does not hide the model of its name; something at a path does. */
static bool is_file(const char *arg) {
    struct stat st;
    const bool there = stat(arg, &st) == 0;
    if (there && (!S_ISDIR(st.st_mode) || strchr(arg, '/'))) return true;
    return ends_with(arg, ".gguf") || arg[0] == '/' || arg[0] == '~' ||
           strncmp(arg, "./", 2) == 0 || strncmp(arg, "../", 3) == 0;
}

static int missing(const char *arg, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "model '%s' not found", arg);
}

/* Where a layer's blob is.  At most one layer of a kind can be used. */
static int layer_path(const struct cli_model *m, enum layer_kind kind, char path[STORE_PATH],
                      struct err *e) {
    const struct layer *l = NULL;
    path[0] = 0;
    for (int i = 0; i < m->manifest.n_layer; i++) {
        if (m->manifest.layer[i].kind != kind) continue;
        if (l)
            return err_set(e, ERR_UNSUPPORTED, "model '%s': more than one layer %s; one is used",
                           m->arg, l->media_type);
        l = &m->manifest.layer[i];
    }
    if (!l) return 0;
    if (store_blob(m->store, &l->digest, path, NULL, e) == 0) return 0;
    char what[NAME_TEXT + 16];
    snprintf(what, sizeof what, "model '%.*s'", NAME_TEXT, m->arg);
    return err_prefix(e, what);
}

/* A model without weights of its own: what its config says it is. */
static int no_weights(const struct cli_model *m, struct err *e) {
    struct buf text = {0};
    struct model_config c = {0};
    const bool known =
        store_read_blob(m->store, &m->manifest.config.digest, CONFIG_MAX_BYTES, &text, NULL) == 0 &&
        model_config_parse(m->arg, buf_view(&text), &c, NULL) == 0;
    if (known && (c.remote_host || c.remote_model))
        err_set(e, ERR_UNSUPPORTED,
                "model '%s' runs on another host (%s); only models that are here are run", m->arg,
                c.remote_host ? c.remote_host : c.remote_model);
    else
        err_set(e, ERR_UNSUPPORTED, "model '%s' holds no GGUF file; its format is \"%s\"", m->arg,
                known && c.model_format ? c.model_format : "not known");
    model_config_fini(&c);
    buf_fini(&text);
    return -1;
}

static int open_name(struct cli_model *m, bool pull, struct err *e) {
    struct name n;
    struct err first = {0};
    if (name_parse(m->arg, &n, e) != 0) return -1;
    m->store = cli_store(e);
    if (!m->store) return -1;
    int rc = store_get(m->store, &n, &m->name, &m->manifest, &first);
    if (rc != 0 && first.code == ERR_NOT_FOUND && pull) {
        manifest_fini(&m->manifest);
        if (cli_pull(m->store, &n, false, false, e) != 0) return -1;
        rc = store_get(m->store, &n, &m->name, &m->manifest, &first);
    }
    if (rc != 0 && first.code == ERR_NOT_FOUND && !n.pin.hex[0]) return missing(m->arg, e);
    if (rc != 0) return err_set(e, first.code, "%s", first.msg);
    if (layer_path(m, LAYER_MODEL, m->path, e) != 0 ||
        layer_path(m, LAYER_ADAPTER, m->adapter, e) != 0 ||
        layer_path(m, LAYER_DRAFT, m->draft, e) != 0)
        return -1;
    return m->path[0] ? 0 : no_weights(m, e);
}

static int open_model(struct cli_model *m, const char *arg, bool pull, struct err *e) {
    *m = (struct cli_model){.arg = arg};
    if (!is_file(arg)) return open_name(m, pull, e);
    if (snprintf(m->path, sizeof m->path, "%s", arg) < (int)sizeof m->path) return 0;
    return err_set(e, ERR_USAGE, "a path of %zu bytes; at most %zu are accepted", strlen(arg),
                   sizeof m->path - 1);
}

int cli_model_open(struct cli_model *m, const char *arg, struct err *e) {
    return open_model(m, arg, false, e);
}

int cli_model_fetch(struct cli_model *m, const char *arg, struct err *e) {
    return open_model(m, arg, true, e);
}

void cli_model_close(struct cli_model *m) {
    manifest_fini(&m->manifest);
    store_close(m->store);
    m->store = NULL;
}

/* ---- texts ---- */

int cli_model_text(const struct cli_model *m, enum layer_kind kind, struct buf *out,
                   struct err *e) {
    const struct layer *l = manifest_layer(&m->manifest, kind);
    return l ? store_read_blob(m->store, &l->digest, MAX_TEXT, out, e) : 0;
}

/* The JSON of a layer; *out NULL when there is none. */
static int read_json(const struct cli_model *m, enum layer_kind kind, json_t **out, struct err *e) {
    struct buf text = {0};
    json_error_t je;
    *out = NULL;
    int rc = cli_model_text(m, kind, &text, e);
    if (rc == 0 && text.n) {
        *out = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &je);
        if (!*out)
            rc = err_set(e, ERR_FORMAT, "model '%s': its layer %s is no JSON: %s", m->arg,
                         layer_media_type(kind), je.text);
    }
    buf_fini(&text);
    return rc;
}

/* A value as text; false: none that an option has. */
static bool value_text(const json_t *v, char out[4096]) {
    switch (json_typeof(v)) {
    case JSON_STRING: return snprintf(out, 4096, "%s", json_string_value(v)) < 4096;
    case JSON_INTEGER: snprintf(out, 4096, "%lld", (long long)json_integer_value(v)); return true;
    case JSON_REAL: snprintf(out, 4096, "%.9g", json_real_value(v)); return true;
    case JSON_TRUE: snprintf(out, 4096, "true"); return true;
    case JSON_FALSE: snprintf(out, 4096, "false"); return true;
    default: return false;
    }
}

/* Called for each parameter, for one of several values for each value. */
typedef void param_fn(void *ctx, const char *name, const char *value);

static int each_param(const struct cli_model *m, param_fn *fn, void *ctx, struct err *e) {
    json_t *o, *v, *item;
    const char *name;
    size_t i;
    char text[4096];
    if (read_json(m, LAYER_PARAMS, &o, e) != 0) return -1;
    json_object_foreach(o, name, v) {
        if (!json_is_array(v) && value_text(v, text)) fn(ctx, name, text);
        json_array_foreach(v, i, item) if (value_text(item, text)) fn(ctx, name, text);
    }
    json_decref(o);
    return 0;
}

static void print_param(void *ctx, const char *name, const char *value) {
    buf_printf(ctx, "%-30s %s\n", name, value);
}

int cli_model_parameters(const struct cli_model *m, struct buf *out, struct err *e) {
    if (each_param(m, print_param, out, e) != 0) return -1;
    return out->failed ? err_nomem(e, "parameters") : 0;
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
    if (read_json(m, LAYER_MESSAGES, &list, e) != 0) return -1;
    int rc = 0;
    json_array_foreach(list, i, v) {
        const char *r = json_string_value(json_object_get(v, "role"));
        const json_t *text = json_object_get(v, "content");
        int which = 0;
        while (which < 3 && (!r || strcmp(r, role[which]) != 0))
            which++;
        if (which == 3 || !json_is_string(text))
            rc = err_set(e, ERR_FORMAT,
                         "model '%s': a message without a role (system, user, assistant) and text",
                         m->arg);
        if (rc == 0)
            rc = chat_add_history(
                c, role[which], (struct str){json_string_value(text), json_string_length(text)}, e);
        if (rc != 0) break;
    }
    json_decref(list);
    return rc;
}

/* What is in the model and not done here: for those who ask. */
static int note_rest(const struct cli_model *m, struct err *e) {
    struct buf text = {0};
    struct model_config c;
    int rc = store_read_blob(m->store, &m->manifest.config.digest, CONFIG_MAX_BYTES, &text, e);
    if (rc != 0) return -1;
    /* An odd config is no reason not to run. */
    if (model_config_parse(m->arg, buf_view(&text), &c, NULL) == 0 && (c.renderer || c.parser))
        warn(m, "its RENDERER and PARSER are not in this version: the GGUF file's own chat "
                "template is used");
    model_config_fini(&c);
    buf_fini(&text);
    if (manifest_layer(&m->manifest, LAYER_TEMPLATE))
        warn(m, "its TEMPLATE is used only where the GGUF file has no chat template that is known "
                "here");
    if (manifest_layer(&m->manifest, LAYER_PROJECTOR))
        warn(m, "its projector is not used: this version does not see images");
    return 0;
}

int cli_model_apply(const struct cli_model *m, struct chat *c, struct err *e) {
    struct applying a = {m, c};
    c->path = m->path;
    c->name = m->arg;
    if (!m->store) return 0;
    if ((c->verbose && note_rest(m, e) != 0) || each_param(m, apply_param, &a, e) != 0 ||
        cli_model_text(m, LAYER_SYSTEM, &c->system, e) != 0 ||
        cli_model_text(m, LAYER_TEMPLATE, &c->template, e) != 0 || add_messages(m, c, e) != 0)
        return -1;
    if (m->draft[0] && chat_set_option(c, "draft", m->draft, e) != 0) return -1;
    if (m->adapter[0]) c->lora = m->adapter, c->lora_scale = 1.0f;
    return 0;
}
