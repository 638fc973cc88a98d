/* The files of the prefix cache: their layout, and reading them back with nothing believed.  A
 * page:
 *
 *      0  magic "CRIAKVP1"
 *      8  u32 version, u32 index of the page in its prefix
 *     16  u64 bytes of data
 *     24  u64 check: hash64 of the data, seeded with hash64 of the header with check = 0
 *     32  space [32]   who may use it: model, types, machine... (engine/identity.h)
 *     64  chain [32]   SHA-256 over space and all tokens before this page
 *     96  i32 [64]     this page's tokens
 *    352  data         the page's bytes as they stand in the pool
 *
 * A note (what a model file's digest is; engine/identity.h):
 *
 *      0  magic "CRIAKVN1"
 *      8  key [32]      which file, in which state
 *     40  digest [32]
 *     72  u64 check: hash64 of all before it
 *
 * Little-endian.  Tokens are compared exactly: this page's as they are, those before it by a digest
 * that nobody can find a second text for.  The check finds torn and damaged files; it is no defence
 * against someone who may write the user's own files. */
#pragma once

#include "backend/ops.h"
#include "base/err.h"
#include "base/sha256.h"

enum { PREFIX_HEAD_BYTES = 352, PREFIX_NOTE_BYTES = 80 };

/* What a file must say to be the one that is wanted. */
struct prefix_key {
    uint8_t space[SHA256_BYTES], chain[SHA256_BYTES];
    uint32_t index;
    const int32_t *tok; /* [KV_PAGE], borrowed */
    size_t n_bytes;     /* of data */
};

void prefix_page_head(const struct prefix_key *k, const void *data,
                      uint8_t head[PREFIX_HEAD_BYTES]);

/* Read the file open at fd into data[0..k->n_bytes).  ERR_FORMAT: torn, damaged, another page than
 * k, or writable by others; ERR_LIMIT: no regular file of this user; ERR_IO.  data is undefined
 * then. */
int prefix_page_read(int fd, const struct prefix_key *k, uint8_t *data, struct err *e);

void prefix_note_make(const uint8_t key[SHA256_BYTES], const uint8_t digest[SHA256_BYTES],
                      uint8_t note[PREFIX_NOTE_BYTES]);

/* The digest that the note in the file open at fd holds for key; errors as above. */
int prefix_note_read(int fd, const uint8_t key[SHA256_BYTES], uint8_t digest[SHA256_BYTES],
                     struct err *e);

/* Write head and data (NULL: none) to `name` in the folder open at dir so that it appears complete
 * or not at all: a temporary file, which its writer keeps locked (flock), fsync, rename.  mtime_ns
 * 0: now.  0, or -1 with errno set. */
struct prefix_parts {
    const void *head, *data;
    size_t n_head, n_data;
    int64_t mtime_ns;
};
#define PREFIX_TEMP "tmp-" /* what temporary names begin with */
int prefix_file_write(int dir, const char *name, const struct prefix_parts *w);
