/* Fuzz target: open a GGUF file in memory and touch whatever it offers.  Reads beyond the file show
 * under ASan, as the block ends where the file ends. */
#include <stdlib.h>
#include <string.h>

#include "gguf/read.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile uint64_t sink;

static void walk_key(const struct gguf *g, const struct gguf_kv *kv) {
    char key[256];
    uint32_t u;
    int32_t i;
    float f;
    bool b;
    struct str s;
    const struct gguf_kv *arr;
    struct err e;
    uint64_t cursor = 0;
    for (uint64_t k = 0; k < kv->n; k++) {
        if (kv->elem_type == GGUF_STR) {
            s = gguf_next_str(kv, &cursor);
            sink += s.n ? (uint8_t)s.p[s.n - 1] : 0;
        } else if (kv->elem_type == GGUF_F32 || kv->elem_type == GGUF_F64) {
            sink += gguf_float_at(kv, k) > 0;
        } else {
            sink += (uint64_t)gguf_int_at(kv, k);
        }
    }
    if (kv->key.n >= sizeof key) return;
    memcpy(key, kv->key.p, kv->key.n);
    key[kv->key.n] = 0;
    if (gguf_find(g, key) != kv) abort();
    gguf_get_u32(g, key, &u, &e);
    gguf_get_i32(g, key, &i, &e);
    gguf_get_f32(g, key, &f, &e);
    gguf_get_bool(g, key, &b, &e);
    gguf_get_str(g, key, &s, &e);
    gguf_get_arr(g, key, GGUF_I32, &arr, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct err e = {0};
    void *block;
    if (posix_memalign(&block, 64, n) != 0) return 0;
    if (n) memcpy(block, bytes, n);
    struct gguf *g = gguf_open_bytes("fuzz", block, n, &e);
    if (!g && (e.code == ERR_NONE || strncmp(e.msg, "fuzz: ", 6) != 0)) abort();
    for (int i = 0; g && i < gguf_n_kv(g); i++)
        walk_key(g, gguf_kv_at(g, i));
    for (int i = 0; g && i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (gguf_tensor(g, t->name) != t) abort();
        for (size_t k = 0; k < t->n_bytes; k += 61)
            sink += t->data[k];
        sink += t->data[t->n_bytes - 1];
    }
    gguf_close(g);
    free(block);
    return 0;
}
