/* See manifest.h. */
#include "store/manifest.h"

#include <string.h>

#include "base/checked.h"
#include "base/json.h"

#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_EXTENSION "application/vnd.cria."

/* A layer has five values of its own and its object; some registries add annotations. */
enum { MAX_VALUES = 16 * MANIFEST_MAX_LAYERS };

static const struct {
    const char *word;
    enum layer_kind kind;
} kinds[] = {
    {"model", LAYER_MODEL},     {"projector", LAYER_PROJECTOR}, {"adapter", LAYER_ADAPTER},
    {"draft", LAYER_DRAFT},     {"template", LAYER_TEMPLATE},   {"prompt", LAYER_TEMPLATE},
    {"system", LAYER_SYSTEM},   {"params", LAYER_PARAMS},       {"messages", LAYER_MESSAGES},
    {"license", LAYER_LICENSE},
};
enum { N_KIND = sizeof kinds / sizeof *kinds };

enum layer_kind layer_kind_of(const char *media_type) {
    const struct str s = str_of(media_type);
    if (str_starts(s, STR(MEDIA_EXTENSION))) return LAYER_EXTENSION;
    if (!str_starts(s, STR(MEDIA_LAYER))) return LAYER_OTHER;
    for (int i = 0; i < N_KIND; i++)
        if (strcmp(media_type + sizeof MEDIA_LAYER - 1, kinds[i].word) == 0) return kinds[i].kind;
    return LAYER_OTHER;
}

const char *layer_media_type(enum layer_kind kind) {
    switch (kind) {
    case LAYER_MODEL: return MEDIA_LAYER "model";
    case LAYER_PROJECTOR: return MEDIA_LAYER "projector";
    case LAYER_ADAPTER: return MEDIA_LAYER "adapter";
    case LAYER_DRAFT: return MEDIA_LAYER "draft";
    case LAYER_TEMPLATE: return MEDIA_LAYER "template";
    case LAYER_SYSTEM: return MEDIA_LAYER "system";
    case LAYER_PARAMS: return MEDIA_LAYER "params";
    case LAYER_MESSAGES: return MEDIA_LAYER "messages";
    case LAYER_LICENSE: return MEDIA_LAYER "license";
    case LAYER_OTHER:
    case LAYER_EXTENSION: break;
    }
    return NULL;
}

/* ---- reading ---- */

struct reader {
    const char *where;
    struct manifest *m;
    struct err *e;
};

/* A copy of the string o[key]; *out NULL when there is none. */
static int read_text(const struct reader *r, const json_t *o, const char *key, const char **out) {
    const json_t *v = json_object_get(o, key);
    *out = NULL;
    if (!v || json_is_null(v)) return 0;
    if (!json_is_string(v))
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is no text", r->where, key);
    *out = arena_strndup(&r->m->a, json_string_value(v), json_string_length(v));
    return *out ? 0 : err_nomem(r->e, r->where);
}

static int read_layer(const struct reader *r, const json_t *o, const char *what, struct layer *l) {
    const char *digest;
    if (!json_is_object(o))
        return err_set(r->e, ERR_FORMAT, "%s: the %s is no object", r->where, what);
    if (read_text(r, o, "mediaType", &l->media_type) != 0 ||
        read_text(r, o, "digest", &digest) != 0 || read_text(r, o, "from", &l->from) != 0 ||
        read_text(r, o, "name", &l->name) != 0)
        return -1;
    if (!l->media_type)
        return err_set(r->e, ERR_FORMAT, "%s: a %s without a mediaType", r->where, what);
    if (digest_parse(str_of(digest ? digest : ""), &l->digest, r->e) != 0)
        return err_prefix(r->e, r->where);
    const json_t *size = json_object_get(o, "size");
    const json_int_t n = json_is_integer(size) ? json_integer_value(size) : -1;
    if (n < 0 || (uint64_t)n > LAYER_MAX_BYTES)
        return err_set(r->e, ERR_FORMAT, "%s: a %s whose size is none; 0 to %llu are accepted",
                       r->where, what, (unsigned long long)LAYER_MAX_BYTES);
    l->n_bytes = (uint64_t)n;
    l->kind = layer_kind_of(l->media_type);
    return 0;
}

static int read_layers(const struct reader *r, const json_t *list) {
    const size_t n = json_array_size(list);
    if (list && !json_is_array(list) && !json_is_null(list))
        return err_set(r->e, ERR_FORMAT, "%s: \"layers\" is no array", r->where);
    if (n > MANIFEST_MAX_LAYERS)
        return err_set(r->e, ERR_LIMIT, "%s: %zu layers; at most %d are accepted", r->where, n,
                       MANIFEST_MAX_LAYERS);
    r->m->layer = arena_calloc(&r->m->a, n + 1, sizeof *r->m->layer);
    if (!r->m->layer) return err_nomem(r->e, r->where);
    for (size_t i = 0; i < n; i++)
        if (read_layer(r, json_array_get(list, i), "layer", &r->m->layer[i]) != 0) return -1;
    r->m->n_layer = (int)n;
    return 0;
}

static int read_all(const struct reader *r, const json_t *o) {
    const char *media;
    const json_t *version = json_object_get(o, "schemaVersion"),
                 *config = json_object_get(o, "config");
    if (!json_is_integer(version) || json_integer_value(version) != 2)
        return err_set(r->e, ERR_FORMAT, "%s: no manifest of schemaVersion 2", r->where);
    if (read_text(r, o, "mediaType", &media) != 0) return -1;
    if (media && strcmp(media, MEDIA_MANIFEST) != 0 && strcmp(media, MEDIA_OCI_MANIFEST) != 0)
        return err_set(r->e, ERR_FORMAT, "%s: media type \"%s\"; %s is accepted", r->where, media,
                       MEDIA_MANIFEST);
    if (!config) return err_set(r->e, ERR_FORMAT, "%s: a manifest without a config", r->where);
    if (read_layer(r, config, "config", &r->m->config) != 0) return -1;
    r->m->config.kind = LAYER_OTHER;
    return read_layers(r, json_object_get(o, "layers"));
}

int manifest_parse(const char *where, const void *bytes, size_t n, struct manifest *m,
                   struct err *e) {
    const struct reader r = {where, m, e};
    *m = (struct manifest){0};
    if (n > MANIFEST_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: a manifest of %zu bytes; at most %d are accepted", where,
                       n, MANIFEST_MAX_BYTES);
    const char *copy = arena_strndup(&m->a, bytes, n);
    if (!copy) return err_nomem(e, where);
    m->bytes = (struct str){copy, n};
    if (digest_of(bytes, n, &m->id, e) != 0) return -1;
    json_t *o = json_read_object(where, m->bytes, MAX_VALUES, e);
    if (!o) return -1;
    const int rc = read_all(&r, o);
    json_decref(o);
    return rc;
}

void manifest_fini(struct manifest *m) {
    arena_fini(&m->a);
    *m = (struct manifest){0};
}

/* ---- writing ---- */

static json_t *layer_json(const struct layer *l) {
    char digest[DIGEST_TEXT];
    digest_format(&l->digest, digest);
    json_t *o = json_pack("{s:s, s:s, s:I}", "mediaType", l->media_type, "digest", digest, "size",
                          (json_int_t)l->n_bytes);
    if (o && l->from) json_object_set_new(o, "from", json_string(l->from));
    if (o && l->name) json_object_set_new(o, "name", json_string(l->name));
    return o;
}

int manifest_build(const struct layer *config, const struct layer *layer, int n_layer,
                   struct buf *out, struct err *e) {
    json_t *list = json_array();
    for (int i = 0; i < n_layer; i++)
        json_array_append_new(list, layer_json(&layer[i]));
    json_t *o = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MEDIA_MANIFEST,
                          "config", layer_json(config), "layers", list);
    /* A layer that could not be made (memory, text that is no UTF-8) is missing from the list. */
    int rc = -1;
    if (!o || json_array_size(list) != (size_t)n_layer)
        err_set(e, ERR_FORMAT, "manifest: a layer's texts are no UTF-8");
    else
        rc = json_append("manifest", o, out, e);
    json_decref(o);
    return rc;
}

const struct layer *manifest_layer(const struct manifest *m, enum layer_kind kind) {
    for (int i = 0; i < m->n_layer; i++)
        if (m->layer[i].kind == kind) return &m->layer[i];
    return NULL;
}

static bool came_before(const struct manifest *m, int i) {
    const struct digest *d = &m->layer[i].digest;
    if (digest_eq(d, &m->config.digest)) return true;
    for (int j = 0; j < i; j++)
        if (digest_eq(d, &m->layer[j].digest)) return true;
    return false;
}

uint64_t manifest_total_bytes(const struct manifest *m) {
    uint64_t sum = m->config.n_bytes; /* cannot overflow: 4097 * LAYER_MAX_BYTES < 2^57 */
    for (int i = 0; i < m->n_layer; i++)
        if (!came_before(m, i)) sum += m->layer[i].n_bytes;
    return sum;
}
