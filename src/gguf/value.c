/* Values of keys: the typed reads.  The bytes lie unaligned in the mapping; file.c has checked
 * that they are all there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gguf/file.h"

static const struct {
    const char *name;
    size_t size;
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"uint8", 1},    [GGUF_I8] = {"int8", 1},    [GGUF_U16] = {"uint16", 2},
    [GGUF_I16] = {"int16", 2},   [GGUF_U32] = {"uint32", 4}, [GGUF_I32] = {"int32", 4},
    [GGUF_F32] = {"float32", 4}, [GGUF_BOOL] = {"bool", 1},  [GGUF_STR] = {"string", 0},
    [GGUF_ARR] = {"array", 0},   [GGUF_U64] = {"uint64", 8}, [GGUF_I64] = {"int64", 8},
    [GGUF_F64] = {"float64", 8},
};

const char *gguf_type_name(enum gguf_type t) {
    return (unsigned)t < GGUF_TYPE_COUNT ? types[t].name : "unknown";
}

size_t gguf_type_bytes(enum gguf_type t) {
    return types[t].size;
}

static bool is_integer(enum gguf_type t) {
    switch (t) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_U64:
    case GGUF_I64: return true;
    default: return false;
    }
}

static int wrong_type(const char *path, const struct gguf_kv *kv, const char *accepted,
                      struct err *e) {
    const bool array = kv->type == GGUF_ARR;
    return err_set(e, ERR_FORMAT, "%s: key '%s' is %s%s; %s is needed", path,
                   gguf_show_name(kv->key).z, array ? "an array of " : "",
                   gguf_type_name(array ? kv->elem_type : kv->type), accepted);
}

int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i) {
    const size_t size = types[kv->elem_type].size;
    const uint8_t *p = kv->data + i * size; /* i < n, checked with the file */
    uint64_t v = 0;
    memcpy(&v, p, size);
    switch (kv->elem_type) {
    case GGUF_I8: return (int8_t)v;
    case GGUF_I16: return (int16_t)v;
    case GGUF_I32: return (int32_t)v;
    default: return (int64_t)v;
    }
}

double gguf_float_at(const struct gguf_kv *kv, uint64_t i) {
    if (kv->elem_type == GGUF_F32) {
        float f;
        memcpy(&f, kv->data + i * sizeof f, sizeof f); /* i < n, as above */
        return (double)f;
    }
    double d;
    memcpy(&d, kv->data + i * sizeof d, sizeof d); /* i < n, as above */
    return d;
}

/* The integer of a scalar key within [lo, hi]; hi < 2^63, so a uint64 above 2^63 reads as negative
 * and is refused by its own test. */
static int get_integer(const char *path, const struct gguf_kv *kv, int64_t lo, int64_t hi,
                       int64_t *out, struct err *e) {
    if (!kv) return 0;
    if (!is_integer(kv->type)) return wrong_type(path, kv, "an integer", e);
    const int64_t v = gguf_int_at(kv, 0);
    if (kv->type == GGUF_U64 && v < 0)
        return err_set(e, ERR_FORMAT, "%s: key '%s' is %llu; %lld to %lld", path,
                       gguf_show_name(kv->key).z, (unsigned long long)v, (long long)lo,
                       (long long)hi);
    if (v < lo || v > hi)
        return err_set(e, ERR_FORMAT, "%s: key '%s' is %lld; %lld to %lld", path,
                       gguf_show_name(kv->key).z, (long long)v, (long long)lo, (long long)hi);
    *out = v;
    return 1;
}

int gguf_value_u32(const char *path, const struct gguf_kv *kv, uint32_t *out, struct err *e) {
    int64_t v = 0;
    const int found = get_integer(path, kv, 0, UINT32_MAX, &v, e);
    if (found == 1) *out = (uint32_t)v;
    return found;
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct err *e) {
    return gguf_value_u32(gguf_path(g), gguf_find(g, key), out, e);
}

int gguf_get_i32(const struct gguf *g, const char *key, int32_t *out, struct err *e) {
    int64_t v = 0;
    const int found = get_integer(gguf_path(g), gguf_find(g, key), INT32_MIN, INT32_MAX, &v, e);
    if (found == 1) *out = (int32_t)v;
    return found;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_F32 && kv->type != GGUF_F64)
        return wrong_type(gguf_path(g), kv, "float32", e);
    const double v = gguf_float_at(kv, 0);
    /* !(<=) also catches NaN. */
    if (!(fabs(v) <= 3.4028234663852886e38))
        return err_set(e, ERR_FORMAT, "%s: key '%s' is %g; a finite float32 is needed",
                       gguf_path(g), gguf_show_name(kv->key).z, v);
    *out = (float)v;
    return 1;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_BOOL) return wrong_type(gguf_path(g), kv, "bool", e);
    *out = kv->data[0] != 0;
    return 1;
}

int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    uint64_t cursor = 0;
    if (!kv) return 0;
    if (kv->type != GGUF_STR) return wrong_type(gguf_path(g), kv, "string", e);
    *out = gguf_next_str(kv, &cursor);
    return 1;
}

int gguf_get_arr(const struct gguf *g, const char *key, enum gguf_type elem,
                 const struct gguf_kv **out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_ARR || kv->elem_type != elem) {
        char accepted[48];
        snprintf(accepted, sizeof accepted, "an array of %s", gguf_type_name(elem));
        return wrong_type(gguf_path(g), kv, accepted, e);
    }
    *out = kv;
    return 1;
}

struct str gguf_next_str(const struct gguf_kv *kv, uint64_t *cursor) {
    uint64_t n;
    memcpy(&n, kv->data + *cursor, sizeof n);
    const char *p = (const char *)kv->data + *cursor + sizeof n;
    *cursor += sizeof n + n; /* <= n_bytes: walked with the file */
    return (struct str){p, (size_t)n};
}
