/* Opening, as JSON: what the front asks for, what the child says about its model.  See wire.h. */
#include "engine/wire.h"

#include <string.h>

#include "base/json.h"
#include "base/qtype.h"
#include "base/utf8.h"

enum { MAX_COUNT = 1 << 24, OPEN_VALUES = 4096, INFO_VALUES = 64 };

/* ---- options ---- */

static int set_text(json_t *o, const char *key, const char *v) {
    return v ? json_object_set_new(o, key, json_string(v)) : 0;
}

int wire_put_open(struct buf *out, const char *path, const struct gen_opts *o, struct err *e) {
    const struct engine_opts *g = &o->engine;
    json_t *j = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:I, s:I}", "path", path,
                          "n_ctx", g->n_ctx, "n_batch", g->n_batch, "n_threads", g->n_threads,
                          "n_parallel", g->n_parallel, "k_type", (int)g->k_type, "v_type",
                          (int)g->v_type, "vocab_only", (int)g->vocab_only, "cache_bytes",
                          (json_int_t)g->cache_bytes, "max_bytes", (json_int_t)o->max_bytes);
    int rc = j ? 0 : -1;
    rc |= set_text(j, "draft", o->draft) | set_text(j, "renderer", o->renderer);
    rc |= set_text(j, "parser", o->parser) | set_text(j, "cache", g->cache);
    if (g->n_lora)
        rc |= set_text(j, "lora", g->lora[0]) |
              json_object_set_new(j, "lora_scale", json_real(g->lora_scale ? g->lora_scale[0] : 1));
    if (g->chat_template.n)
        rc |= json_object_set_new(j, "chat_template",
                                  json_stringn(g->chat_template.p, g->chat_template.n));
    if (rc != 0)
        err_set(e, ERR_FORMAT, "%s: a path, name or template that is not UTF-8", path);
    else
        rc = wire_put_json(out, WIRE_OPEN, 0, j, e);
    json_decref(j);
    return rc;
}

static int get_int(const json_t *j, const char *key, int most, struct err *e) {
    const json_t *v = json_object_get(j, key);
    const json_int_t n = json_integer_value(v);
    if (json_is_integer(v) && n >= 0 && n <= most) return (int)n;
    return err_set(e, ERR_FORMAT, "engine process: \"%s\" is no number from 0 to %d", key, most);
}

static bool get_u64(const json_t *j, const char *key, uint64_t *out) {
    const json_t *v = json_object_get(j, key);
    *out = (uint64_t)json_integer_value(v);
    return json_is_integer(v) && json_integer_value(v) >= 0;
}

static const char *get_text(const json_t *j, const char *key) {
    return json_string_value(json_object_get(j, key)); /* NULL: absent */
}

static int read_opts(const json_t *j, struct wire_open *o, struct err *e) {
    struct engine_opts *g = &o->opts.engine;
    const int k = get_int(j, "k_type", QT_COUNT - 1, e), v = get_int(j, "v_type", QT_COUNT - 1, e);
    o->path = get_text(j, "path");
    g->n_ctx = get_int(j, "n_ctx", INT32_MAX, e);
    g->n_batch = get_int(j, "n_batch", INT32_MAX, e);
    g->n_threads = get_int(j, "n_threads", INT32_MAX, e);
    g->n_parallel = get_int(j, "n_parallel", INT32_MAX, e);
    if (k < 0 || v < 0 || g->n_ctx < 0 || g->n_batch < 0 || g->n_threads < 0 || g->n_parallel < 0)
        return -1;
    if (!o->path || !get_u64(j, "cache_bytes", &g->cache_bytes) ||
        !get_u64(j, "max_bytes", &o->opts.max_bytes))
        return err_set(e, ERR_FORMAT, "engine process: no path or sizes");
    g->k_type = (enum qtype)k;
    g->v_type = (enum qtype)v;
    g->vocab_only = json_is_true(json_object_get(j, "vocab_only"));
    g->cache = get_text(j, "cache");
    o->opts.draft = get_text(j, "draft");
    o->opts.renderer = get_text(j, "renderer");
    o->opts.parser = get_text(j, "parser");
    const json_t *t = json_object_get(j, "chat_template");
    if (t) g->chat_template = (struct str){json_string_value(t), json_string_length(t)};
    o->lora[0] = get_text(j, "lora");
    o->lora_scale[0] = (float)json_number_value(json_object_get(j, "lora_scale"));
    g->lora = o->lora;
    g->lora_scale = o->lora_scale;
    g->n_lora = o->lora[0] != NULL;
    return 0;
}

int wire_get_open(const struct wire_frame *f, struct wire_open *o, struct err *e) {
    *o = (struct wire_open){0};
    o->keep = json_read_object("engine process", f->body, OPEN_VALUES, e);
    return o->keep && read_opts(o->keep, o, e) == 0 ? 0 : -1;
}

void wire_open_fini(struct wire_open *o) {
    json_decref(o->keep);
    *o = (struct wire_open){0};
}

/* ---- adapters ---- */

int wire_put_adapter(struct buf *out, const struct wire_adapter *a, struct err *e) {
    json_t *j = json_pack("{s:s, s:I, s:f}", "name", a->name, "n_bytes", (json_int_t)a->n_bytes,
                          "scale", (double)a->scale);
    const int rc = j ? wire_put_json(out, WIRE_ADAPTER, 0, j, e)
                     : err_set(e, ERR_FORMAT, "adapter %s: a name that is not UTF-8", a->name);
    json_decref(j);
    return rc;
}

int wire_get_adapter(const struct wire_frame *f, struct wire_adapter *a, struct err *e) {
    *a = (struct wire_adapter){.keep = json_read_object("front", f->body, INFO_VALUES, e)};
    if (!a->keep) return -1;
    a->name = get_text(a->keep, "name");
    a->scale = (float)json_number_value(json_object_get(a->keep, "scale"));
    if (a->name && get_u64(a->keep, "n_bytes", &a->n_bytes) && a->n_bytes > 0) return 0;
    return err_set(e, ERR_FORMAT, "front: an adapter without a name or size");
}

/* ---- what a model is ---- */

int wire_put_ready(struct buf *out, const struct gen_info *i, struct err *e) {
    json_t *j = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:I}", "arch",
        i->arch ? i->arch : "", "n_ctx", i->n_ctx, "n_ctx_train", i->n_ctx_train, "n_parallel",
        i->n_parallel, "n_embd", i->n_embd, "n_vocab", i->n_vocab, "embedding", (int)i->embedding,
        "tools", (int)i->tools, "thinking", (int)i->thinking, "insert", (int)i->insert, "vision",
        (int)i->vision, "ctx_reduced", (int)i->ctx_reduced, "n_bytes", (json_int_t)i->n_bytes,
        "weight_bytes", (json_int_t)i->weight_bytes, "load_ns", (json_int_t)i->load_ns);
    const int rc = j ? wire_put_json(out, WIRE_READY, 0, j, e)
                     : err_set(e, ERR_FORMAT, "engine process: the architecture is not UTF-8");
    json_decref(j);
    return rc;
}

/* A name: no control bytes, nothing that an escape could begin with. */
static int read_arch(const char *text, char arch[WIRE_ARCH_BYTES], struct err *e) {
    const size_t n = text ? strlen(text) : WIRE_ARCH_BYTES;
    if (n >= WIRE_ARCH_BYTES) goto broken;
    for (size_t i = 0, k; i < n; i += k)
        if ((k = (size_t)utf8_printable(text + i, n - i)) == 0) goto broken;
    memcpy(arch, text, n + 1);
    return 0;
broken:
    return err_set(e, ERR_FORMAT, "engine process: an architecture without a name");
}

static int read_info(const json_t *j, struct gen_info *i, char arch[WIRE_ARCH_BYTES],
                     struct err *e) {
    const struct {
        const char *key;
        int *out;
    } count[] = {{"n_ctx", &i->n_ctx},
                 {"n_ctx_train", &i->n_ctx_train},
                 {"n_parallel", &i->n_parallel},
                 {"n_embd", &i->n_embd},
                 {"n_vocab", &i->n_vocab}};
    const struct {
        const char *key;
        bool *out;
    } flag[] = {{"embedding", &i->embedding}, {"tools", &i->tools},
                {"thinking", &i->thinking},   {"insert", &i->insert},
                {"vision", &i->vision},       {"ctx_reduced", &i->ctx_reduced}};
    uint64_t ns;
    for (size_t k = 0; k < sizeof count / sizeof *count; k++)
        if ((*count[k].out = get_int(j, count[k].key, MAX_COUNT, e)) < 0) return -1;
    for (size_t k = 0; k < sizeof flag / sizeof *flag; k++)
        *flag[k].out = json_is_true(json_object_get(j, flag[k].key));
    if (!get_u64(j, "n_bytes", &i->n_bytes) || !get_u64(j, "weight_bytes", &i->weight_bytes) ||
        !get_u64(j, "load_ns", &ns) || i->n_bytes >> 50 || i->weight_bytes >> 50)
        return err_set(e, ERR_FORMAT, "engine process: sizes out of range");
    i->load_ns = (int64_t)ns;
    i->arch = arch;
    return read_arch(get_text(j, "arch"), arch, e);
}

int wire_get_ready(const struct wire_frame *f, struct gen_info *info, char arch[WIRE_ARCH_BYTES],
                   struct err *e) {
    *info = (struct gen_info){0};
    json_t *j = json_read_object("engine process", f->body, INFO_VALUES, e);
    const int rc = j ? read_info(j, info, arch, e) : -1;
    json_decref(j);
    return rc;
}
