/* Models as files, for machines without a network: an OCI image layout (oci-layout, index.json,
 * blobs/sha256/<hex>) in a folder or a tar archive.  Manifests keep their bytes, so that a model
 * has the same id on the other side. */
#pragma once

#include "store/store.h"

/* Bytes done, of all (0: not known); nonzero stops with ERR_CANCELLED. */
struct archive_opts {
    store_progress_fn *progress; /* or NULL */
    void *ctx;
};

/* The models into TO: a folder when it ends with "/" or is one, "-" standard output, else a tar
 * file, which appears only when it is whole. */
int archive_save(struct store *s, const struct name *models, int n_models, const char *to,
                 const struct archive_opts *o, struct err *e);

/* Called for each model that was put into the store. */
typedef void archive_loaded_fn(void *ctx, const struct name *n);

/* All models of the archive FROM ("-": a tar archive on standard input); every blob is compared
 * with its digest.  as (may be NULL): the name for the one model that is in it.  Models
 * appear once all of them are whole: an archive with a broken one gives none, and what came is
 * removed again.  (Where the store itself fails while they are named, those named before stay.)
 * A folder may be given by a symbolic link; inside it none is followed. */
int archive_load(struct store *s, const char *from, const struct name *as,
                 const struct archive_opts *o, archive_loaded_fn *loaded, void *ctx, struct err *e);
