/* The model store on disk, in Ollama's layout byte for byte (COMPAT.md 4.1):
 *
 *   manifests/<host>/<namespace>/<model>/<tag>   what a model is made of
 *   blobs/sha256-<64 hex>                        its parts, named by what they hold
 *   .cria/                                       ours: lock, leases, links, state of downloads
 *
 * Several processes may use one store at once, Ollama among them.  Whoever makes a model holds a
 * lease: the blobs it has named there are not removed by a garbage collection, of whichever
 * process, until the lease ends (it ends with its process, too).  Nothing is ever changed in place:
 * a file is written beside its name, hashed on the way, fsynced and renamed. */
#pragma once

#include "base/buf.h"
#include "store/manifest.h"
#include "store/name.h"

struct store; /* any number of threads */

/* root NULL: the setting MODELS, else ~/.cria/models.  Makes nothing: a store that is not there is
 * an empty one until something is written.  ERR_USAGE when there is no home. */
struct store *store_open(const char *root, struct err *e);
void store_close(struct store *s);
const char *store_root(const struct store *s);

/* ---- models ---- */

/* The manifest of a model as it is stored; *found (may be NULL) gets the name with its letter case
 * there.  A pin must equal the id.  ERR_NOT_FOUND: "model 'x' not found"; ERR_FORMAT when it is
 * damaged. */
int store_get(struct store *s, const struct name *n, struct name *found, struct manifest *m,
              struct err *e);

/* Put these bytes under the name, replacing what was there, once all blobs that they name are in
 * the store (ERR_NOT_FOUND naming the first that is not).  The old model's blobs stay until a
 * collection. */
int store_put(struct store *s, const struct name *n, struct str manifest_bytes, struct err *e);

int store_copy(struct store *s, const struct name *from, const struct name *to, struct err *e);
int store_remove(struct store *s, const struct name *n, struct err *e); /* and what only it used */

struct store_entry {
    struct name name;
    struct digest id;
    uint64_t n_bytes;   /* of all its blobs */
    int64_t modified_s; /* of the manifest file, Unix time */
    bool damaged;       /* the manifest does not parse; id and n_bytes are 0 */
};
/* All models whose short name begins with PREFIX (NULL: all), letter case aside, newest first.
 * free(*list). */
int store_list(struct store *s, const char *prefix, struct store_entry **list, int *n,
               struct err *e);

/* ---- blobs ---- */

enum { STORE_PATH = 4096 };

/* Where a blob's bytes are: its file in the store, or the user's file that it is a link to.
 * ERR_NOT_FOUND when neither is there; ERR_FORMAT when a linked file is no longer what it was (size
 * and time of change). */
int store_blob(struct store *s, const struct digest *d, char path[STORE_PATH], uint64_t *n_bytes,
               struct err *e);
bool store_has_blob(struct store *s, const struct digest *d, uint64_t n_bytes);

/* Every file outside of the store that a blob is a link to and that is still what it was. */
int store_each_link(const struct store *s, void (*fn)(void *ctx, const char *path), void *ctx,
                    struct err *e);

/* The blob as text, for templates, parameters, configs. */
int store_read_blob(struct store *s, const struct digest *d, size_t max_bytes, struct buf *out,
                    struct err *e);

/* ---- leases ---- */

struct lease; /* one thread at a time */

/* Makes the store's folders.  store_lease_end(NULL) is fine. */
struct lease *store_lease(struct store *s, struct err *e);
void store_lease_end(struct lease *l);
/* From now on a collection leaves this blob alone, whether or not it is there yet. */
int store_lease_add(struct lease *l, const struct digest *d, struct err *e);

/* ---- writing blobs; all are added to the lease ---- */

/* Small ones from memory. */
int store_write_blob(struct lease *l, const void *bytes, size_t n, struct digest *out,
                     struct err *e);

/* Piece by piece; hashed while it is written. */
struct blob_writer;
/* expect NULL: any; n_bytes: how many will come, 0 not known (room on the disk is checked first:
 * ERR_LIMIT "needs X, Y free"). */
struct blob_writer *blob_writer_new(struct lease *l, const struct digest *expect, uint64_t n_bytes,
                                    struct err *e);
int blob_writer_add(struct blob_writer *w, const void *bytes, size_t n, struct err *e);
/* fsync, rename.  ERR_FORMAT "digest mismatch ..." when it is not what was expected: then nothing
 * has the name.  Frees w always. */
int blob_writer_finish(struct blob_writer *w, struct digest *out, struct err *e);
void blob_writer_abort(struct blob_writer *w);

/* Called with the bytes done and all; nonzero stops with ERR_CANCELLED. */
typedef int store_progress_fn(void *ctx, uint64_t done, uint64_t all);

enum store_add {
    STORE_COPY, /* a clone of the file's extents where the file system can, else a copy */
    STORE_LINK, /* a note of the path, size and time of change; the file stays where it is */
    STORE_MOVE, /* a temporary file of ours: renamed where that is possible */
};
/* A regular file becomes a blob. */
int store_add_file(struct lease *l, const char *path, enum store_add how, struct digest *out,
                   uint64_t *n_bytes, store_progress_fn *progress, void *ctx, struct err *e);

/* ---- downloads (store/pull.c) ----
 *
 * A blob on its way is blobs/sha256-<hex>-partial, beside it the state of its parts as Ollama keeps
 * it (COMPAT.md 4.3).  The path of such a file, for a blob or for part N of its state (N >= 0). */
void store_partial_path(const struct store *s, const struct digest *d, int part,
                        char path[STORE_PATH]);
/* The whole partial file, hashed by the caller as `got`, becomes the blob: ERR_FORMAT when got is
 * not d, and the partial file is gone. */
int store_finish_partial(struct lease *l, const struct digest *d, const struct digest *got,
                         struct err *e);
/* Only one of all processes downloads a blob: waits (polling *stop, may be NULL) until this one
 * may. The lock ends with store_unlock_download or the process. */
int store_lock_download(struct store *s, const struct digest *d, const volatile int *stop, int *fd,
                        struct err *e);
void store_unlock_download(int fd);

/* ---- care ---- */

struct store_gc {
    int n_blobs, n_partial;
    uint64_t n_bytes;
    bool kept_all; /* a manifest is damaged or unreadable: what it needs is not known, so nothing
                      was removed */
};
/* Remove blobs that no manifest and no lease names, what dead processes left unfinished, and
 * partial downloads and checkpoints of more than a week ago that nobody holds.  grace_s: unnamed
 * blobs younger than that stay (another program may be making a model; Ollama takes an hour); 0:
 * none stays, nor do younger downloads; checkpoints do.  dry: only count. */
int store_collect(struct store *s, int64_t grace_s, bool dry, struct store_gc *out, struct err *e);

struct store_check {
    int n_models, n_blobs;
    int n_missing, n_wrong, n_damaged; /* blobs not there, blobs of other bytes, manifests */
};
/* Says what is wrong: one call per finding, in one line. */
typedef void store_finding_fn(void *ctx, const char *model, const struct digest *d,
                              const char *what);
/* Hash all blobs of one model (n NULL: of all).  0 also with findings. */
int store_verify(struct store *s, const struct name *n, struct store_check *out,
                 store_finding_fn *say, store_progress_fn *progress, void *ctx, struct err *e);
/* A blob that is not what its name says: out of the way, so that it is fetched again. */
int store_discard_blob(struct store *s, const struct digest *d, struct err *e);
