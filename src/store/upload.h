/* Private to store/: one blob into a registry, in an upload session (COMPAT.md 4.4; OCI
 * distribution specification, "push"). */
#pragma once

#include "store/registry_priv.h"

struct upload {
    struct registry *r;
    const struct layer *blob;
    const char *path;                  /* of the file with its bytes */
    char mount[2 * NAME_PART_MAX + 2]; /* "NAMESPACE/MODEL" of the same registry that has the blob,
                                      most likely; or empty */
    void (*progress)(void *ctx, uint64_t n_bytes);
    void *ctx;
};

/* Mounted, or sent.  A connection that breaks is gone on with from where the registry says that it
 * has got to; a session that it has lost is begun anew. */
int upload_blob(const struct upload *u, struct err *e);
