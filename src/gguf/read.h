/* Reading GGUF v2 and v3 (specification: ggml/docs/gguf.md): little-endian, one file or split
 * files (NAME-00001-of-0000N.gguf), mapped, nothing copied but names and short strings.
 *
 * Everything is checked here, once: counts and strings against ceilings, offsets and sizes
 * against the real file with checked arithmetic, types against what this build knows, duplicates
 * and overlaps.  Whoever holds a `struct gguf` may index its tensors' bytes without looking back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/qtype.h"
#include "base/str.h"

/* Ceilings (SECURITY.md F9); a file above one is refused with the key or tensor named. */
enum {
    GGUF_MAX_KV = 65536,
    GGUF_MAX_TENSORS = 65536,
    GGUF_MAX_KEY_BYTES = 65535,
    GGUF_MAX_NAME_BYTES = 127, /* a tensor's name */
    GGUF_MAX_STRING_BYTES = 16 << 20,
    GGUF_MAX_ARRAY = 64 << 20, /* elements */
    GGUF_MAX_SPLITS = 999,
};

/* Values are the file format's. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARR,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT,
};

struct gguf_kv {
    struct str key;
    enum gguf_type type; /* of the value; GGUF_ARR for arrays */
    enum gguf_type
        elem_type;       /* of an array's elements, never GGUF_ARR: nested arrays are refused */
    uint64_t n;          /* elements: 1, or the array's count */
    const uint8_t *data; /* the value's bytes in the mapping, unaligned, little-endian; for
                          * strings (and arrays of them) each is u64 length + bytes */
    uint64_t n_bytes;    /* of data */
};

struct gguf_tensor {
    const char *name; /* terminated, valid UTF-8, in the file's arena */
    enum qtype type;
    int n_dim;     /* 1..4 */
    int64_t ne[4]; /* ne[0] is the row length; 1 beyond n_dim; each >= 1, < 2^31 */
    const uint8_t
        *data; /* n_bytes in the mapping, aligned as the file says: at least 8, at most a page */
    size_t n_bytes;
    int split; /* index of the file it is in */
};

struct gguf; /* immutable after open: safe to read from any thread */

/* Open PATH and, for a split model, its siblings (any of them may be named; all must be there).
 * Only the header is read.  Errors name the file and the key or tensor. */
struct gguf *gguf_open(const char *path, struct err *e);
/* The same for one file that is in memory, 64-byte aligned, borrowed until gguf_close; name stands
 * for it in messages. */
struct gguf *gguf_open_bytes(const char *name, const void *bytes, size_t n_bytes, struct err *e);
void gguf_close(struct gguf *g);

const char *gguf_path(const struct gguf *g); /* as given to gguf_open */
int gguf_version(const struct gguf *g);
int gguf_n_split(const struct gguf *g);         /* files, >= 1 */
uint64_t gguf_file_bytes(const struct gguf *g); /* over all files */

/* File i of n_split: its bytes, and the descriptor it is mapped from (-1: opened from memory). */
struct gguf_bytes {
    const uint8_t *p;
    size_t n;
    int fd; /* borrowed */
};
struct gguf_bytes gguf_file_at(const struct gguf *g, int i);
uint64_t gguf_alignment(const struct gguf *g);

int gguf_n_kv(const struct gguf *g); /* of the first file */
const struct gguf_kv *gguf_kv_at(const struct gguf *g, int i);
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* or NULL; O(log n) */

int gguf_n_tensor(const struct gguf *g); /* over all files */
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int i);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name); /* or NULL */

/* Typed reads: 1 found, 0 absent (*out untouched), -1 present with another type or out of range
 * (error names the key, what was found and what is accepted).  gguf_get_u32 takes any integer
 * type whose value fits; gguf_get_f32 takes F32 and F64 and refuses NaN and infinity. */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct err *e);
int gguf_get_i32(const struct gguf *g, const char *key, int32_t *out, struct err *e);
int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err *e);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *e);

/* An array of `elem` (exactly), *out borrowed: read the elements with the functions below. */
int gguf_get_arr(const struct gguf *g, const char *key, enum gguf_type elem,
                 const struct gguf_kv **out, struct err *e);

/* Element i of an array (or i = 0 of a scalar) of any integer type, as int64; of any float type. */
int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i);
double gguf_float_at(const struct gguf_kv *kv, uint64_t i);

/* Walk the strings of an array: start with a cursor of zero; *cursor moves on. Always succeeds
 * n times: the file was checked. */
struct str gguf_next_str(const struct gguf_kv *kv, uint64_t *cursor);

/* "uint32", "string", "array of float32"... for messages. */
const char *gguf_type_name(enum gguf_type t);

/* What a quantized model's mix is called: the name of a general.file_type ("Q4_K_M"), NULL when it
 * is unknown; and the id of a name, case-insensitive, or -1. */
const char *gguf_file_type_name(uint32_t id);
int gguf_file_type_by_name(const char *name);
