/* Who a cached page belongs to: everything its bits depend on besides the tokens, as one digest.
 *
 *   the model    SHA-256 of its files, all bytes.  Two fine-tunes of a model share every header and
 *                differ in weights only, and models come from strangers: nothing less than the
 *                whole content, under a hash that cannot be forged, tells them apart for sure
 *   the adapter  likewise, and its scale
 *   the cache    types, layout, page size; the angles of RoPE (phi3 chooses them by n_ctx)
 *   the program  its build id, the kernels in use, processor and C library: each may round
 *                differently, and a cached row must have the very bits of a computed one
 *
 * Reading a whole model takes 0.5 s per GB, too long for every start.  So its digest is kept in the
 * cache folder, in a file named by device, inode, size, mtime and ctime (which no program can set
 * back) and a sample of the content; a file that was changed in the last seconds is not kept, as a
 * later change might show the same time.  Without such a note the cache stays silent until the
 * first save, after the answer, has computed the digest. */
#pragma once

#include "base/sha256.h"
#include "gguf/read.h"
#include "model/forward.h"

struct identity;

struct identity_opts {
    const struct gguf *model, *adapter; /* borrowed; adapter may be NULL */
    float adapter_scale;
    const struct kv_pool *pool; /* read by identity_new only, as is forward */
    const struct model *weights;
    const struct forward *forward;
};

struct identity *identity_new(const struct identity_opts *o, struct err *e);
void identity_free(struct identity *d);

/* The digest, from notes in the folder open at dir.  compute: make and write those that are missing
 * (seconds).  0, or 1 when it is not known, -1 when it cannot be (a file changes while it is read,
 * memory). */
int identity_get(struct identity *d, int dir, bool compute, uint8_t out[SHA256_BYTES]);
