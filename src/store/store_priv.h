/* What the files of the store share: its folders, its lock, a walk over its manifests.  Everything
 * inside is reached from a folder's descriptor by a name without slashes, and what stands under
 * that name is never followed when it is a symbolic link: a planted link cannot lead out of the
 * store.  The root and the folders blobs and manifests themselves may be links: users move them to
 * other disks. */
#pragma once

#include <sys/stat.h>

#include "store/store.h"

enum { STORE_ROOT_MAX = STORE_PATH - 512, BLOB_NAME = 7 + DIGEST_HEX + 1, TEMP_NAME = 40 };

#define DIR_BLOBS "blobs"
#define DIR_MANIFESTS "manifests"
#define DIR_OURS ".cria"
#define DIR_LEASES ".cria/leases"
#define DIR_LINKS ".cria/links"
#define TEMP_PREFIX                                                                                \
    "cria-tmp-"               /* files being written; whose writer holds a lock while it lives     \
                               */
#define RUN_PREFIX "train-"   /* folders in .cria: checkpoints of fine-tunes (create/tune_work.c) */
#define WORK_PREFIX "create-" /* folders in .cria, the same for files on their way to the store */
#define MANIFEST_TEMP ".cria-tmp-"

struct store { /* immutable after store_open */
    char root[STORE_ROOT_MAX];
};

/* ---- store.c: folders and files ---- */

/* A descriptor of folder rel ("": the root); -1 with ERR_NOT_FOUND when it is not there and not to
 * be made. */
int store_dir(const struct store *s, const char *rel, bool make, struct err *e);
/* The same folder for readdir; takes dir, also when it fails. */
void *store_read_dir(int dir, struct err *e, const char *where);
/* root/rel/name */
void store_path(const struct store *s, const char *rel, const char *name, char out[STORE_PATH]);
/* err_errno with that path. */
int store_fail(const struct store *s, const char *rel, const char *name, struct err *e);

enum store_lock { STORE_SHARED, STORE_EXCLUSIVE };
/* Wait for the store's lock; close() ends it.  Whoever removes or names blobs holds it exclusively;
 * whoever says what it needs shares it.  Not to be taken twice by one thread. */
int store_lock(const struct store *s, enum store_lock how, struct err *e);

/* "sha256-<hex>" */
void blob_name(const struct digest *d, char out[BLOB_NAME]);
bool blob_name_parse(const char *name, struct digest *d);
/* PREFIX and 16 random digits. */
int temp_name(const char *prefix, char out[TEMP_NAME], struct err *e);
/* Write all of these bytes; 0, or -1 with errno. */
int write_fully(int fd, const void *bytes, size_t n);
/* The later of a file's times of change, Unix seconds: a renamed file is a young one. */
int64_t file_age_base_s(const struct stat *st);

/* ---- models.c: manifests on disk ---- */

/* The names of folders and file as they are there. */
struct model_path {
    char part[4][NAME_HOST_MAX + 1]; /* host, namespace, model, tag */
};

struct manifest_file {
    const struct model_path *path;
    const struct name *name; /* NULL: the path is no name, the file none of ours */
    int dir;                 /* the folder it is in, borrowed */
    int64_t modified_s;
};

/* Called for each manifest file.  Nonzero ends the walk with -1. */
typedef int manifest_fn(void *ctx, const struct manifest_file *f, struct err *e);
/* *unread (may be NULL) becomes true when a folder or file there cannot be looked at (a link, no
 * permission): the walk goes on.  A store without manifests is an empty one. */
int store_walk(const struct store *s, manifest_fn *fn, void *ctx, bool *unread, struct err *e);

/* Read and parse.  manifest_fini also after a failure. */
int manifest_read(int dir, const struct model_path *p, struct manifest *m, struct err *e);

/* All blobs of the manifest are in the store; ERR_NOT_FOUND naming the first that is not. */
int store_has_all(struct store *s, const struct name *n, const struct manifest *m, struct err *e);

/* store_put by whoever holds the lock. */
int store_put_locked(struct store *s, const struct name *n, struct str bytes, struct err *e);

/* ---- digest sets: gc.c ---- */

struct digest_set {
    struct digest *v; /* [n], owned */
    size_t n, cap;
};
int digest_set_add(struct digest_set *set, const struct digest *d, struct err *e);
void digest_set_sort(struct digest_set *set);
bool digest_set_has(const struct digest_set *set, const struct digest *d); /* after sorting */
void digest_set_fini(struct digest_set *set);

/* Add what a manifest names. */
int digest_set_manifest(struct digest_set *set, const struct manifest *m, struct err *e);
/* Remove blobs of `those` that no manifest and no lease names; under the exclusive lock. */
int store_collect_those(struct store *s, const struct digest_set *those, struct err *e);

/* ---- lease.c ---- */

struct store *lease_store(const struct lease *l);
/* What living leases name; the files of dead ones are removed unless dry.  Under the lock. */
int store_leased(const struct store *s, bool dry, struct digest_set *set, struct err *e);
/* Does some process download this blob now? */
bool store_download_held(const struct store *s, const struct digest *d);

/* ---- link.c ---- */

/* The user's file that blob d is a note of.  1: there is one; 0: none; -1 with e: it is not what it
 * was. */
int store_link_get(const struct store *s, const struct digest *d, char path[STORE_PATH],
                   uint64_t *n_bytes, struct err *e);
/* A file outside, open; its state is checked again once it has been hashed. */
int store_link_put(struct lease *l, const char *path, struct digest *out, uint64_t *n_bytes,
                   store_progress_fn *progress, void *ctx, struct err *e);

/* ---- blob.c ---- */

/* Hash fd from its beginning to its end.  n_bytes: for progress. */
int hash_file(int fd, const char *where, uint64_t n_bytes, struct digest *out,
              store_progress_fn *progress, void *ctx, struct err *e);
/* Open a regular file of the user's, without waiting on a fifo. */
int open_regular(const char *path, struct stat *st, struct err *e);
/* Open blob d, or the file that it is a link to. */
int blob_open(struct store *s, const struct digest *d, struct stat *st, struct err *e);
