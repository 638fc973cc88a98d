/* Writing GGUF v3.  Keys and tensors are declared first, then the data follows in the same order,
 * so that a file of any size is written with one pass and little memory.  Written to PATH.partial
 * beside the target, fsynced and renamed by gguf_writer_finish: a crash leaves no half file under
 * the name. */
#pragma once

#include "gguf/read.h"

struct gguf_writer;

/* alignment: 0 for the format's default, 32; else a power of two, 8 to 1 MiB.  PATH must not exist
 * or be a regular file. */
struct gguf_writer *gguf_writer_new(const char *path, uint32_t alignment, struct err *e);

/* Setting a key again replaces its value, in its first place.  The keys that describe the file
 * itself, general.alignment and split.*, are the writer's: setting or copying them does nothing. */
int gguf_set_u32(struct gguf_writer *w, const char *key, uint32_t v, struct err *e);
int gguf_set_i32(struct gguf_writer *w, const char *key, int32_t v, struct err *e);
int gguf_set_u64(struct gguf_writer *w, const char *key, uint64_t v, struct err *e);
int gguf_set_f32(struct gguf_writer *w, const char *key, float v, struct err *e);
int gguf_set_bool(struct gguf_writer *w, const char *key, bool v, struct err *e);
int gguf_set_str(struct gguf_writer *w, const char *key, struct str v, struct err *e);
/* v: n elements, packed, native order; not strings. */
int gguf_set_arr(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *v,
                 uint64_t n, struct err *e);
int gguf_set_strs(struct gguf_writer *w, const char *key, const struct str *v, uint64_t n,
                  struct err *e);
/* A key of another file, byte for byte. */
int gguf_copy_kv(struct gguf_writer *w, const struct gguf_kv *kv, struct err *e);

/* Declare a tensor; ne has n_dim entries. */
int gguf_add_tensor(struct gguf_writer *w, const char *name, enum qtype type, int n_dim,
                    const int64_t *ne, struct err *e);

/* Data of the declared tensors, in order; one tensor's bytes may come in several calls.  The
 * header is written by the first call; no declaration is accepted after it. */
int gguf_write_data(struct gguf_writer *w, const void *bytes, size_t n, struct err *e);

/* Check that every byte declared was written, fsync, rename.  Frees w also on failure. */
int gguf_writer_finish(struct gguf_writer *w, struct err *e);

/* The same without any data: all tensors read as zeros, and the file takes no room on the disk
 * where the file system has holes.  For those who only look at shapes. */
int gguf_writer_finish_hollow(struct gguf_writer *w, struct err *e);

/* Give up: remove the partial file and free w (NULL is fine). */
void gguf_writer_abort(struct gguf_writer *w);
