/* See config.h. */
#include "store/config.h"

#include "base/json.h"

enum { MAX_VALUES = 16384 };

struct reader {
    const char *where;
    const json_t *o;
    struct model_config *c;
    struct err *e;
};

static int copy_text(const struct reader *r, const json_t *v, const char *key, const char **out) {
    if (!json_is_string(v))
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is no text", r->where, key);
    if (json_string_length(v) == 0) return 0;
    *out = arena_strndup(&r->c->a, json_string_value(v), json_string_length(v));
    return *out ? 0 : err_nomem(r->e, r->where);
}

static int read_text(const struct reader *r, const char *key, const char **out) {
    const json_t *v = json_object_get(r->o, key);
    return !v || json_is_null(v) ? 0 : copy_text(r, v, key, out);
}

static int read_list(const struct reader *r, const char *key, const char **out, int max, int *n) {
    const json_t *v = json_object_get(r->o, key);
    if (!v || json_is_null(v)) return 0;
    if (!json_is_array(v) || json_array_size(v) > (size_t)max)
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is no list of at most %d texts", r->where, key,
                       max);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *text = NULL;
        if (copy_text(r, json_array_get(v, i), key, &text) != 0) return -1;
        if (text) out[(*n)++] = text;
    }
    return 0;
}

static int read_count(const struct reader *r, const char *key, uint64_t *out) {
    const json_t *v = json_object_get(r->o, key);
    if (!v || json_is_null(v)) return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is no count", r->where, key);
    *out = (uint64_t)json_integer_value(v);
    return 0;
}

/* An object as it came, for those who show it. */
static int read_object(const struct reader *r, const char *key, const char **out) {
    const json_t *v = json_object_get(r->o, key);
    struct buf b = {0};
    if (!v || json_is_null(v)) return 0;
    if (!json_is_object(v))
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is no object", r->where, key);
    int rc = json_append(r->where, v, &b, r->e);
    if (rc == 0) *out = arena_strndup(&r->c->a, b.p, b.n);
    if (rc == 0 && !*out) rc = err_nomem(r->e, r->where);
    buf_fini(&b);
    return rc;
}

static int read_all(const struct reader *r) {
    struct model_config *c = r->c;
    const struct {
        const char *key, **out;
    } text[] = {
        {"model_format", &c->model_format}, {"model_family", &c->model_family},
        {"model_type", &c->model_type},     {"file_type", &c->file_type},
        {"renderer", &c->renderer},         {"parser", &c->parser},
        {"requires", &c->requires_version}, {"base_name", &c->base_name},
        {"remote_host", &c->remote_host},   {"remote_model", &c->remote_model},
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (read_text(r, text[i].key, text[i].out) != 0) return -1;
    if (read_list(r, "model_families", c->family, CONFIG_MAX_FAMILIES, &c->n_family) != 0 ||
        read_list(r, "capabilities", c->capability, CONFIG_MAX_CAPABILITIES, &c->n_capability) !=
            0 ||
        read_count(r, "context_length", &c->context_length) != 0 ||
        read_object(r, "training", &c->training) != 0)
        return -1;
    return read_count(r, "embedding_length", &c->embedding_length);
}

int model_config_parse(const char *where, struct str bytes, struct model_config *c, struct err *e) {
    *c = (struct model_config){0};
    if (bytes.n > CONFIG_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: a config of %zu bytes; at most %d are accepted", where,
                       bytes.n, CONFIG_MAX_BYTES);
    json_t *o = json_read_object(where, bytes, MAX_VALUES, e);
    if (!o) return -1;
    const struct reader r = {where, o, c, e};
    const int rc = read_all(&r);
    json_decref(o);
    return rc;
}

void model_config_fini(struct model_config *c) {
    arena_fini(&c->a);
    *c = (struct model_config){0};
}

/* ---- writing ---- */

static void set_text(json_t *o, const char *key, const char *text) {
    if (text) json_object_set_new(o, key, json_string(text));
}

static void set_list(json_t *o, const char *key, const char *const *text, int n) {
    if (n == 0) return;
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_string(text[i]));
    json_object_set_new(o, key, list);
}

static void set_count(json_t *o, const char *key, uint64_t n) {
    if (n) json_object_set_new(o, key, json_integer((json_int_t)n));
}

int model_config_build(const struct model_config *c, const char *const *diff_id, int n,
                       struct buf *out, struct err *e) {
    json_t *o = json_object(), *root = json_object(), *ids = json_array();
    set_text(o, "model_format", c->model_format);
    set_text(o, "model_family", c->model_family);
    set_list(o, "model_families", c->family, c->n_family);
    set_text(o, "model_type", c->model_type);
    set_text(o, "file_type", c->file_type);
    set_text(o, "renderer", c->renderer);
    set_text(o, "parser", c->parser);
    set_text(o, "requires", c->requires_version);
    set_text(o, "remote_host", c->remote_host);
    set_text(o, "remote_model", c->remote_model);
    set_list(o, "capabilities", c->capability, c->n_capability);
    set_count(o, "context_length", c->context_length);
    set_count(o, "embedding_length", c->embedding_length);
    set_text(o, "base_name", c->base_name);
    if (c->training) json_object_set_new(o, "training", json_loads(c->training, 0, NULL));
    set_text(o, "architecture", "amd64");
    set_text(o, "os", "linux");
    for (int i = 0; i < n; i++)
        json_array_append_new(ids, json_string(diff_id[i]));
    json_object_set_new(root, "type", json_string("layers"));
    json_object_set_new(root, "diff_ids", ids);
    json_object_set_new(o, "rootfs", root);
    const int rc = json_append("config", o, out, e);
    json_decref(o);
    return rc;
}
