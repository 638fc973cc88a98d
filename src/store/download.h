/* Private to store/: one blob from a registry, in parts (COMPAT.md 4.3). */
#pragma once

#include "store/registry_priv.h"

/* Told about every 60 ms and at the end; done never goes back. */
typedef void download_progress_fn(void *ctx, uint64_t done);

/* ERR_LIMIT when what is missing of a model is more than the disk has room for. */
int download_check_room(struct store *s, const struct manifest *m, struct err *e);

/* Fetch a blob that is not in the store, or wait until another process has.  What an earlier try
 * left is gone on with.  The lease names the blob. */
int download_blob(struct registry *r, struct store *s, struct lease *l, const struct layer *blob,
                  download_progress_fn *progress, void *ctx, struct err *e);
