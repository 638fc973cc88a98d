/* Private to gguf/: one file of a model (a model is one file or several splits), and reading the
 * value of one key.  Data flow of gguf_open: file.c parses and checks each file, read.c joins the
 * files to one list of tensors, value.c reads values for the public calls. */
#pragma once

#include "base/arena.h"
#include "base/os.h"
#include "gguf/read.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are copied from the file as they are");

enum { GGUF_MIN_ALIGNMENT = 8, GGUF_MAX_ALIGNMENT = 1 << 20, GGUF_DEFAULT_ALIGNMENT = 32 };

struct gguf_file {
    const char *path;     /* in the arena */
    const uint8_t *bytes; /* the whole file: borrowed from map, or from the caller */
    size_t n_bytes;
    struct os_map map; /* nothing when the caller gave the bytes */
    int version;
    uint32_t alignment;
    struct gguf_kv *kv;            /* [n_kv], in the file's order; in the arena */
    const struct gguf_kv **by_key; /* [n_kv], sorted by key */
    int n_kv;
    struct gguf_tensor *tensor; /* [n_tensor], in the file's order; in the arena */
    int n_tensor;
};

/* Map PATH, parse and check its header.  What is allocated lives in the arena, but the mapping:
 * gguf_file_close, also after a failure. */
int gguf_file_open(struct gguf_file *f, const char *path, struct arena *a, struct err *e);
/* The same for a file in memory; path is its name in messages. */
int gguf_file_parse(struct gguf_file *f, const char *path, const void *bytes, size_t n_bytes,
                    struct arena *a, struct err *e);
void gguf_file_close(struct gguf_file *f);
const struct gguf_kv *gguf_file_find(const struct gguf_file *f, struct str key);

/* The value of one key as the public gguf_get_ calls give it; -1 with the key named.  kv may be
 * NULL: 0. */
int gguf_value_u32(const char *path, const struct gguf_kv *kv, uint32_t *out, struct err *e);

/* Bytes of one value of a fixed-size type; 0 for strings and arrays. */
size_t gguf_type_bytes(enum gguf_type t);

/* Bytes of ne[0] x ... x ne[3] values; ne[0] a multiple of the type's block.  False on overflow. */
bool gguf_shape_bytes(enum qtype type, const int64_t ne[4], size_t *n_bytes);

/* At most the first 100 bytes of a name, for messages: whole characters. */
struct gguf_shown {
    char z[112];
};
struct gguf_shown gguf_show_name(struct str name);
