/* See recipe.h. */
#include "store/recipe.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 16 << 20 };

/* ---- files ---- */

/* Where a layer's blob is.  At most one layer of a kind can be used. */
static int layer_path(const struct recipe *r, enum layer_kind kind, char path[STORE_PATH],
                      struct err *e) {
    const struct layer *l = NULL;
    path[0] = 0;
    for (int i = 0; i < r->manifest.n_layer; i++) {
        if (r->manifest.layer[i].kind != kind) continue;
        if (l)
            return err_set(e, ERR_UNSUPPORTED, "model '%s': more than one layer %s; one is used",
                           r->what, l->media_type);
        l = &r->manifest.layer[i];
    }
    if (!l) return 0;
    if (store_blob(r->store, &l->digest, path, NULL, e) == 0) return 0;
    char where[NAME_TEXT + 16];
    snprintf(where, sizeof where, "model '%.*s'", NAME_TEXT, r->what);
    return err_prefix(e, where);
}

/* A model without weights of its own: what its config says it is. */
static int no_weights(const struct recipe *r, struct err *e) {
    struct model_config c;
    const bool known = recipe_config(r, &c, NULL) == 0;
    if (known && (c.remote_host || c.remote_model))
        err_set(e, ERR_UNSUPPORTED,
                "model '%s' runs on another host (%s); only models that are here are run", r->what,
                c.remote_host ? c.remote_host : c.remote_model);
    else
        err_set(e, ERR_UNSUPPORTED, "model '%s' holds no GGUF file; its format is \"%s\"", r->what,
                known && c.model_format ? c.model_format : "not known");
    model_config_fini(&c);
    return -1;
}

int recipe_open(struct recipe *r, struct store *s, const struct name *n, const char *what,
                struct err *e) {
    struct err first = {0};
    *r = (struct recipe){.store = s, .what = what};
    const int rc = store_get(s, n, &r->name, &r->manifest, &first);
    if (rc != 0 && first.code == ERR_NOT_FOUND && !n->pin.hex[0])
        return err_set(e, ERR_NOT_FOUND, "model '%s' not found", what);
    if (rc != 0) return err_set(e, first.code, "%s", first.msg);
    if (layer_path(r, LAYER_MODEL, r->path, e) != 0 ||
        layer_path(r, LAYER_ADAPTER, r->adapter, e) != 0 ||
        layer_path(r, LAYER_DRAFT, r->draft, e) != 0)
        return -1;
    /* Vision models may have several; nobody here reads them yet. */
    if (layer_path(r, LAYER_PROJECTOR, r->projector, NULL) != 0) r->projector[0] = 0;
    return r->path[0] ? 0 : no_weights(r, e);
}

void recipe_close(struct recipe *r) {
    manifest_fini(&r->manifest);
}

uint64_t recipe_file_bytes(const struct recipe *r) {
    static const enum layer_kind files[] = {LAYER_MODEL, LAYER_ADAPTER, LAYER_DRAFT};
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const struct layer *l = manifest_layer(&r->manifest, files[i]);
        if (l) n += l->n_bytes;
    }
    return n;
}

/* ---- texts ---- */

int recipe_text(const struct recipe *r, enum layer_kind kind, struct buf *out, struct err *e) {
    const struct layer *l = manifest_layer(&r->manifest, kind);
    return l ? store_read_blob(r->store, &l->digest, MAX_TEXT, out, e) : 0;
}

/* The JSON of a layer; *out NULL when there is none. */
static int read_json(const struct recipe *r, enum layer_kind kind, json_t **out, struct err *e) {
    struct buf text = {0};
    json_error_t je;
    *out = NULL;
    int rc = recipe_text(r, kind, &text, e);
    if (rc == 0 && text.n) {
        *out = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &je);
        if (!*out)
            rc = err_set(e, ERR_FORMAT, "model '%s': its layer %s is no JSON: %s", r->what,
                         layer_media_type(kind), je.text);
    }
    buf_fini(&text);
    return rc;
}

int recipe_params(const struct recipe *r, json_t **out, struct err *e) {
    if (read_json(r, LAYER_PARAMS, out, e) != 0) return -1;
    if (!*out || json_is_object(*out)) return 0;
    json_decref(*out);
    *out = NULL;
    return err_set(e, ERR_FORMAT, "model '%s': its layer %s is no JSON object", r->what,
                   layer_media_type(LAYER_PARAMS));
}

static bool is_message(const json_t *v) {
    static const char *const role[] = {"system", "user", "assistant"};
    const char *is = json_string_value(json_object_get(v, "role"));
    for (size_t i = 0; is && i < sizeof role / sizeof *role; i++)
        if (strcmp(is, role[i]) == 0) return json_is_string(json_object_get(v, "content"));
    return false;
}

int recipe_messages(const struct recipe *r, json_t **out, struct err *e) {
    json_t *v;
    size_t i;
    if (read_json(r, LAYER_MESSAGES, out, e) != 0) return -1;
    json_array_foreach(*out, i, v) {
        if (is_message(v)) continue;
        json_decref(*out);
        *out = NULL;
        return err_set(e, ERR_FORMAT,
                       "model '%s': a message without a role (system, user, assistant) and text",
                       r->what);
    }
    return 0;
}

int recipe_config(const struct recipe *r, struct model_config *c, struct err *e) {
    struct buf text = {0};
    *c = (struct model_config){0};
    int rc = store_read_blob(r->store, &r->manifest.config.digest, CONFIG_MAX_BYTES, &text, e);
    if (rc == 0) rc = model_config_parse(r->what, buf_view(&text), c, e);
    buf_fini(&text);
    return rc;
}
