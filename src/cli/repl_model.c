/* See repl_model.h.  A chat borrows texts of its model, so the model that was loaded last stays
 * open here. */
#include "cli/repl_model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/model.h"
#include "cli/remote_store.h"
#include "create/create.h"
#include "gguf/read.h"

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
    if (!next->name) { /* not a server's */
        if (cli_model_fetch(&l->m, l->arg, false, e) != 0 || cli_model_apply(&l->m, next, e) != 0)
            return -1;
    } else {
        next->name = l->arg;
    }
    if (chat_open(next, e) != 0) return -1;
    if (talk_embeds(next->talk))
        return err_set(e, ERR_UNSUPPORTED, "%s: an embedding model does not chat", name);
    return 0;
}

int repl_load(struct chat *c, const char *name, struct err *e) {
    struct loaded *l = calloc(1, sizeof *l);
    struct chat next = {.name = c->path ? NULL : c->name}, old;
    if (!l) return err_nomem(e, name);
    chat_init(&next);
    next.raw = c->raw, next.json = c->json, next.verbose = c->verbose;
    next.hide_thinking = c->hide_thinking, next.keep_alive = c->keep_alive;
    fprintf(stderr, "Loading model '%s'\n", name);
    if (prepare(l, &next, name, e) != 0) {
        chat_fini(&next);
        unload(l);
        return -1;
    }
    old = *c;
    display_fini(&next.display);
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

static json_t *messages_of_turns(const struct chat *c) {
    json_t *list = chat_messages(c);
    if (c->system.n) json_array_remove(list, 0);
    return list;
}

/* On the server, which has the model. */
static int save_there(const struct chat *c, const char *name, struct err *e) {
    struct remote *r = remote_open(e);
    json_t *body = json_pack("{s:s, s:s, s:O, s:o*, s:b}", "model", name, "from", c->name,
                             "parameters", c->given, "messages", messages_of_turns(c), "stream", 0);
    if (body && c->system.n)
        json_object_set_new(body, "system", json_stringn(c->system.p, c->system.n));
    int rc = !r ? -1 : body ? 0 : err_set(e, ERR_FORMAT, "/save: a text is no UTF-8");
    if (rc == 0) rc = remote_ask(r, NET_POST, "/api/create", body, NULL, e);
    json_decref(body);
    remote_close(r);
    return rc;
}

static int save_here(const struct chat *c, const char *name, struct err *e) {
    struct name n;
    struct buf text = {0};
    if (name_parse(name, &n, e) != 0) return -1;
    int rc = print_chat(c, &text, e);
    if (rc == 0) rc = make(&n, buf_view(&text), e);
    buf_fini(&text);
    return rc;
}

int repl_save(const struct chat *c, const char *name, struct err *e) {
    const int rc = c->path ? save_here(c, name, e) : save_there(c, name, e);
    if (rc == 0) fprintf(stderr, "Created new model '%s'\n", name);
    return rc;
}

/* ---- looking ---- */

int repl_list(const struct chat *c, struct err *e) {
    struct store_entry *list = NULL;
    struct remote *r = c->path ? NULL : remote_open(e);
    struct store *s = c->path ? cli_store(e) : NULL;
    char shown[NAME_TEXT];
    int n = 0, rc = r   ? remote_list(r, NULL, &list, &n, e)
                    : s ? store_list(s, NULL, &list, &n, e)
                        : -1;
    for (int i = 0; rc == 0 && i < n; i++) {
        name_short(&list[i].name, shown);
        fprintf(stderr, "  %s\n", shown);
    }
    if (rc == 0) fputs(n ? "\n" : "No models yet; `cria pull NAME` fetches one.\n\n", stderr);
    free(list);
    store_close(s);
    remote_close(r);
    return rc;
}

/* The chat's model, when it is one of the store. */
static int open_named(const struct chat *c, struct cli_model *m, struct err *e) {
    const int rc = cli_model_open(m, c->name ? c->name : c->path, e);
    if (rc == 0 && !m->store)
        return err_set(e, ERR_UNSUPPORTED, "%s: a file; models of the store have this", c->path);
    return rc;
}

/* The template in use: the Modelfile's, else the file's. */
static int template_here(const struct chat *c, struct buf *out, struct err *e) {
    struct str s = {0};
    buf_append(out, c->template.p, c->template.n);
    if (out->n) return 0;
    struct gguf *g = gguf_open(c->path, e);
    if (!g) return -1;
    if (gguf_get_str(g, "tokenizer.chat_template", &s, NULL) > 0) buf_append(out, s.p, s.n);
    gguf_close(g);
    return 0;
}

static int text_here(const struct chat *c, const char *what, struct buf *out, struct err *e) {
    struct cli_model m = {0};
    if (strcmp(what, "template") == 0) return template_here(c, out, e);
    int rc = open_named(c, &m, e);
    if (rc == 0 && *what == 'l') rc = cli_model_text(&m, LAYER_LICENSE, out, e);
    if (rc == 0 && *what == 'm') rc = create_print_modelfile(m.store, &m.r.name, out, e);
    cli_model_close(&m);
    return rc;
}

int repl_text(const struct chat *c, const char *what, struct buf *out, struct err *e) {
    const json_t *shown = talk_shown(c->talk);
    if (!shown) return text_here(c, what, out, e);
    const json_t *text = json_object_get(shown, what);
    if (json_is_string(text)) buf_append(out, json_string_value(text), json_string_length(text));
    return 0;
}

void repl_show_server(const struct chat *c) {
    const json_t *details = json_object_get(talk_shown(c->talk), "details"), *v;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)details, key, v) {
        struct buf safe = {0};
        if (!json_string_length(v)) continue;
        display_escape((struct str){json_string_value(v), json_string_length(v)}, &safe);
        fprintf(stderr, "  %-20s %s\n", key, safe.p);
        buf_fini(&safe);
    }
    fputs("\n", stderr);
}
