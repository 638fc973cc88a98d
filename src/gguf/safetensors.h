/* Reading safetensors files (the format's README; SECURITY.md F15): a JSON header of names, types,
 * shapes and offsets, then the data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum st_type {
    ST_F64,
    ST_F32,
    ST_F16,
    ST_BF16,
    ST_F8_E4M3,
    ST_F8_E5M2,
    ST_I64,
    ST_I32,
    ST_I16,
    ST_I8,
    ST_U64,
    ST_U32,
    ST_U16,
    ST_U8,
    ST_BOOL,
    ST_COUNT,
};

/* The format's own ceiling for the header; the others are ours. */
enum { ST_MAX_DIM = 8, ST_MAX_HEADER = 100 << 20, ST_MAX_TENSORS = 1 << 18, ST_MAX_FILES = 999 };

struct st_tensor {
    const char *name; /* terminated, valid UTF-8 */
    enum st_type type;
    int n_dim;
    int64_t shape[ST_MAX_DIM]; /* outermost first, as in the file: [rows][columns] */
    const uint8_t *data;       /* n_bytes in the mapping; aligned to nothing */
    size_t n_bytes;
};

struct safetensors; /* immutable: any number of threads */

/* A file, or a folder: its model.safetensors.index.json with all the files it names, else its
 * model.safetensors, else its adapter_model.safetensors, else its only *.safetensors.  Names in an
 * index are names of files in the folder, no paths.  Only the headers are read.  Errors name file
 * and tensor: ERR_FORMAT, ERR_LIMIT, ERR_NOT_FOUND, ERR_IO. */
struct safetensors *safetensors_open(const char *path, struct err *e);
void safetensors_close(struct safetensors *s);

int safetensors_n(const struct safetensors *s);
const struct st_tensor *safetensors_at(const struct safetensors *s, int i);
const struct st_tensor *safetensors_find(const struct safetensors *s,
                                         const char *name); /* or NULL */

size_t st_type_bytes(enum st_type t);
const char *st_type_name(enum st_type t);

/* Bytes [lo, hi) of a tensor are not needed any more: their pages need not stay in memory. */
void safetensors_forget(const struct st_tensor *t, size_t lo, size_t hi);

/* n values of a tensor from value `first` on, as floats.  For types of floats only. */
bool st_is_float(enum st_type t);
void safetensors_floats(const struct st_tensor *t, size_t first, size_t n, float *out);
