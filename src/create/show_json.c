/* The JSON of a GGUF file's metadata and tensors. */
#include <math.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "create/show.h"

enum {
    SHORT_ARRAY = 64,     /* elements that are shown always */
    LONG_ARRAY = 4 << 20, /* more are not shown even when verbose: a tree of them fills gigabytes */
};

json_t *show_string(struct str s) {
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
    case GGUF_STR: return show_string(gguf_next_str(kv, cursor));
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

static json_t *value(const struct gguf_kv *kv, bool verbose, json_t *shortened) {
    uint64_t cursor = 0;
    if (kv->type != GGUF_ARR) return element(kv, 0, &cursor);
    if (kv->n > (verbose ? LONG_ARRAY : SHORT_ARRAY)) return json_incref(shortened);
    json_t *a = json_array();
    for (uint64_t i = 0; i < kv->n; i++)
        json_array_append_new(a, element(kv, i, &cursor));
    return a;
}

json_t *show_metadata_json(const struct gguf *g, bool verbose, json_t *shortened) {
    json_t *o = json_object();
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        if (utf8_valid_prefix(kv->key.p, kv->key.n) != kv->key.n) continue;
        json_object_setn_new_nocheck(o, kv->key.p, kv->key.n, value(kv, verbose, shortened));
    }
    return o;
}

json_t *show_tensors_json(const struct gguf *g) {
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
