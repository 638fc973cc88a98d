/* See repl_model.h.  A chat borrows texts of its model, so the model that was loaded last stays
 * open here. */
#include "cli/repl_model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/model.h"
#include "create/create.h"

static struct loaded {
    struct cli_model m;
    char *arg; /* owned */
} * loaded;

static void unload(struct loaded *l) {
    if (!l) return;
    cli_model_close(&l->m);
    free(l->arg);
    free(l);
}

void repl_models_fini(void) {
    unload(loaded);
    loaded = NULL;
}

/* A chat like the old one with another model, not opened yet. */
static int prepare(struct loaded *l, struct chat *next, const char *name, struct err *e) {
    l->arg = strdup(name);
    if (!l->arg) return err_nomem(e, name);
    run_options_init(&next->options);
    if (cli_model_fetch(&l->m, l->arg, e) != 0 || cli_model_apply(&l->m, next, e) != 0 ||
        chat_open(next, e) != 0)
        return -1;
    if (model_is_embedding(engine_model(next->engine)))
        return err_set(e, ERR_UNSUPPORTED, "%s: an embedding model does not chat", name);
    return next->raw || engine_template(next->engine, e) ? 0 : -1;
}

int repl_load(struct chat *c, const char *name, struct err *e) {
    struct loaded *l = calloc(1, sizeof *l);
    struct chat next = {.raw = c->raw, .json = c->json, .verbose = c->verbose}, old;
    if (!l) return err_nomem(e, name);
    fprintf(stderr, "Loading model '%s'\n", name);
    if (prepare(l, &next, name, e) != 0) {
        chat_fini(&next);
        unload(l);
        return -1;
    }
    old = *c;
    next.display = old.display;
    memset(&old.display, 0, sizeof old.display);
    *c = next;
    chat_fini(&old);
    unload(loaded);
    loaded = l;
    return 0;
}

/* ---- /save ---- */

static int print(enum modelfile_command command, const char *name, struct str value,
                 struct buf *out, struct err *e) {
    const struct modelfile_line l = {.command = command, .name = name, .value = value};
    return modelfile_print(&l, out, e);
}

/* "name value" lines; a draft's path is no parameter of a model. */
static int print_parameters(const struct chat *c, struct buf *out, struct err *e) {
    struct buf text = {0};
    int rc = 0;
    run_options_print(&c->options, &text);
    char *rest = NULL;
    for (char *l = strtok_r(text.p, "\n", &rest); rc == 0 && l; l = strtok_r(NULL, "\n", &rest)) {
        char *value = l + strcspn(l, " ");
        if (*value) *value++ = 0;
        value += strspn(value, " ");
        if (strcmp(l, "draft") == 0) continue;
        rc = print(MF_PARAMETER, l, str_of(value), out, e);
    }
    if (text.failed) rc = err_nomem(e, "/save");
    buf_fini(&text);
    return rc;
}

static int print_chat(const struct chat *c, struct buf *out, struct err *e) {
    char path[PATH_MAX];
    const char *from = c->name ? c->name : c->path;
    if (!c->name || strcmp(c->name, c->path) == 0) from = realpath(c->path, path);
    if (!from) return err_errno(e, c->path);
    if (print(MF_FROM, NULL, str_of(from), out, e) != 0 || print_parameters(c, out, e) != 0 ||
        (c->system.n && print(MF_SYSTEM, NULL, buf_view(&c->system), out, e) != 0))
        return -1;
    for (int i = 0; i < c->n_turn; i++)
        if (print(MF_MESSAGE, c->turn[i].role, buf_view(&c->turn[i].text), out, e) != 0) return -1;
    return out->failed ? err_nomem(e, "/save") : 0;
}

static int make(const struct name *n, struct str text, struct err *e) {
    const struct create_opts o = {.folder = "/", .stop = &cli_interrupted};
    struct modelfile m = {0};
    struct store *s = cli_store(e);
    int rc = s ? modelfile_parse(text, &m, e) : -1;
    if (rc == 0) rc = create_model(s, n, &m, &o, NULL, NULL, e);
    modelfile_fini(&m);
    store_close(s);
    return rc;
}

int repl_save(const struct chat *c, const char *name, struct err *e) {
    struct name n;
    struct buf text = {0};
    if (name_parse(name, &n, e) != 0) return -1;
    int rc = print_chat(c, &text, e);
    if (rc == 0) rc = make(&n, buf_view(&text), e);
    buf_fini(&text);
    if (rc == 0) fprintf(stderr, "Created new model '%s'\n", name);
    return rc;
}

/* ---- looking ---- */

int repl_list(struct err *e) {
    struct store_entry *list = NULL;
    struct store *s = cli_store(e);
    char shown[NAME_TEXT];
    int n = 0, rc = s ? store_list(s, NULL, &list, &n, e) : -1;
    for (int i = 0; rc == 0 && i < n; i++) {
        name_short(&list[i].name, shown);
        fprintf(stderr, "  %s\n", shown);
    }
    if (rc == 0) fputs(n ? "\n" : "No models yet; `cria pull NAME` fetches one.\n\n", stderr);
    free(list);
    store_close(s);
    return rc;
}

/* The chat's model, when it is one of the store. */
static int open_named(const struct chat *c, struct cli_model *m, struct err *e) {
    const int rc = cli_model_open(m, c->name ? c->name : c->path, e);
    if (rc == 0 && !m->store)
        return err_set(e, ERR_UNSUPPORTED, "%s: a file; models of the store have this", c->path);
    return rc;
}

int repl_modelfile(const struct chat *c, struct buf *out, struct err *e) {
    struct cli_model m;
    int rc = open_named(c, &m, e);
    if (rc == 0) rc = create_print_modelfile(m.store, &m.r.name, out, e);
    cli_model_close(&m);
    return rc;
}

int repl_license(const struct chat *c, struct buf *out, struct err *e) {
    struct cli_model m;
    int rc = open_named(c, &m, e);
    if (rc == 0) rc = cli_model_text(&m, LAYER_LICENSE, out, e);
    cli_model_close(&m);
    return rc;
}
