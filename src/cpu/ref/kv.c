/* Formats of the KV cache, plain: rounding is the encoders' of quant/. */
#include "cpu/ref/ref.h"

#include <string.h>

#include "base/f16.h"
#include "quant/quant.h"

void kv_store_f32_ref(int n, const float *x, void *row) {
    memcpy(row, x, (size_t)n * sizeof *x);
}

void kv_load_f32_ref(int n, const void *row, float *y) {
    memcpy(y, row, (size_t)n * sizeof *y);
}

void kv_store_f16_ref(int n, const float *x, void *row) {
    uint16_t *h = row;
    for (int i = 0; i < n; i++)
        h[i] = f32_to_f16(x[i]);
}

void kv_load_f16_ref(int n, const void *row, float *y) {
    const uint16_t *h = row;
    for (int i = 0; i < n; i++)
        y[i] = f16_to_f32(h[i]);
}

void kv_store_bf16_ref(int n, const float *x, void *row) {
    uint16_t *h = row;
    for (int i = 0; i < n; i++)
        h[i] = f32_to_bf16(x[i]);
}

void kv_load_bf16_ref(int n, const void *row, float *y) {
    const uint16_t *h = row;
    for (int i = 0; i < n; i++)
        y[i] = bf16_to_f32(h[i]);
}

void kv_store_q8_0_ref(int n, const float *x, void *row) {
    quant_type(QT_Q8_0)->encode(x, row, (size_t)n, NULL);
}

void kv_load_q8_0_ref(int n, const void *row, float *y) {
    quant_type(QT_Q8_0)->decode(row, y, (size_t)n);
}

void kv_store_q4_0_ref(int n, const float *x, void *row) {
    quant_type(QT_Q4_0)->encode(x, row, (size_t)n, NULL);
}

void kv_load_q4_0_ref(int n, const void *row, float *y) {
    quant_type(QT_Q4_0)->decode(row, y, (size_t)n);
}

/* Any head size: a row goes through a strip of whole quantized blocks. */
static void k_tile(void (*load)(int, const void *, float *), size_t block, size_t block_bytes,
                   int n_key, int dim, const uint8_t *rows, size_t row_bytes, float *kt) {
    enum { STRIP = 64 };
    float x[STRIP];
    memset(kt, 0, (size_t)dim * KV_PAGE * sizeof *kt);
    for (int key = 0; key < n_key; key++) {
        const uint8_t *row = rows + (size_t)key * row_bytes;
        for (int d0 = 0; d0 < dim; d0 += STRIP) {
            const int n = dim - d0 < STRIP ? dim - d0 : STRIP;
            load(n, row + (size_t)d0 / block * block_bytes, x);
            for (int d = 0; d < n; d++)
                kt[(size_t)(d0 + d) * KV_PAGE + key] = x[d];
        }
    }
}

void k_tile_f32_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,
                    float *kt) {
    (void)ahead;
    k_tile(kv_load_f32_ref, 1, 4, n_key, dim, rows, row_bytes, kt);
}

void k_tile_f16_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,
                    float *kt) {
    (void)ahead;
    k_tile(kv_load_f16_ref, 1, 2, n_key, dim, rows, row_bytes, kt);
}

void k_tile_bf16_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                     const uint8_t *ahead, float *kt) {
    (void)ahead;
    k_tile(kv_load_bf16_ref, 1, 2, n_key, dim, rows, row_bytes, kt);
}

void k_tile_q8_0_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                     const uint8_t *ahead, float *kt) {
    (void)ahead;
    k_tile(kv_load_q8_0_ref, 32, 34, n_key, dim, rows, row_bytes, kt);
}

void k_tile_q4_0_ref(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                     const uint8_t *ahead, float *kt) {
    (void)ahead;
    k_tile(kv_load_q4_0_ref, 32, 18, n_key, dim, rows, row_bytes, kt);
}
