/* `cria show --json`. */
#include <math.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/show.h"

enum {
    SHORT_ARRAY = 64,     /* elements that are shown always */
    LONG_ARRAY = 4 << 20, /* more are not shown even when verbose: a tree of them fills gigabytes */
};

/* A JSON string; bytes that are not UTF-8 become U+FFFD. */
static json_t *string_value(struct str s) {
    struct buf b = {0};
    json_t *v;
    if (utf8_valid_prefix(s.p, s.n) == s.n) return json_stringn_nocheck(s.p, s.n);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        char out[4];
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        buf_append(&b, out, (size_t)utf8_encode(cp, out));
    }
    v = b.failed ? NULL : json_stringn_nocheck(b.p, b.n);
    buf_fini(&b);
    return v;
}

static json_t *element(const struct gguf_kv *kv, uint64_t i, uint64_t *cursor) {
    switch (kv->elem_type) {
    case GGUF_STR: return string_value(gguf_next_str(kv, cursor));
    case GGUF_F32:
    case GGUF_F64: {
        const double v = gguf_float_at(kv, i);
        return isfinite(v) ? json_real(v) : json_null(); /* JSON has no word for it */
    }
    case GGUF_BOOL: return json_boolean(gguf_int_at(kv, i));
    case GGUF_U64: {
        const int64_t v = gguf_int_at(kv, i);
        return v < 0 ? json_real((double)(uint64_t)v) : json_integer(v);
    }
    default: return json_integer(gguf_int_at(kv, i));
    }
}

static json_t *value(const struct gguf_kv *kv, bool verbose) {
    uint64_t cursor = 0;
    if (kv->type != GGUF_ARR) return element(kv, 0, &cursor);
    if (kv->n > (verbose ? LONG_ARRAY : SHORT_ARRAY)) return json_null();
    json_t *a = json_array();
    for (uint64_t i = 0; i < kv->n; i++)
        json_array_append_new(a, element(kv, i, &cursor));
    return a;
}

static json_t *metadata(const struct gguf *g, bool verbose) {
    json_t *o = json_object();
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        json_object_setn_new_nocheck(o, kv->key.p, kv->key.n, value(kv, verbose));
    }
    return o;
}

static json_t *tensors(const struct gguf *g) {
    json_t *a = json_array();
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dim; d++)
            json_array_append_new(shape, json_integer(t->ne[d]));
        json_array_append_new(a, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "type",
                                           qtype_name(t->type), "shape", shape, "bytes",
                                           (json_int_t)t->n_bytes));
    }
    return a;
}

static void set_string(json_t *o, const char *key, struct str s) {
    if (s.n) json_object_set_new(o, key, string_value(s));
}

static void set_count(json_t *o, const char *key, double n) {
    if (n > 0) json_object_set_new(o, key, json_integer((json_int_t)n));
}

void show_json(const struct show_info *s, const struct gguf *g, bool verbose) {
    json_t *o = json_object(), *can = json_array();
    if (s->name) {
        set_string(o, "name", str_of(s->name));
        set_string(o, "id", str_of(s->id));
    }
    set_string(o, "path", str_of(gguf_path(g)));
    set_count(o, "gguf_version", gguf_version(g));
    set_count(o, "files", gguf_n_split(g));
    set_count(o, "bytes", (double)gguf_file_bytes(g));
    set_string(o, "architecture", s->architecture);
    set_count(o, "parameters", s->n_param);
    set_count(o, "context_length", s->context_length);
    set_count(o, "embedding_length", s->embedding_length);
    if (s->quantization) json_object_set_new(o, "quantization", json_string(s->quantization));
    for (int i = 0; i < s->n_capability; i++)
        json_array_append_new(can, json_string(s->capability[i]));
    json_object_set_new(o, "capabilities", can);
    set_string(o, "license", s->license);
    set_string(o, "license_link", s->license_link);
    if (s->name) {
        set_string(o, "requires", s->requires_version);
        set_string(o, "system", s->system);
        set_string(o, "template", s->chat_template);
        set_string(o, "parameter_lines", s->parameters);
        set_string(o, "modelfile", s->modelfile);
    }
    json_object_set_new(o, "metadata", metadata(g, verbose));
    json_object_set_new(o, "tensors", tensors(g));
    cli_print_json(o);
}
