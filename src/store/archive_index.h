/* index.json of an OCI image layout: which manifests an archive has, and the names of the models.
 */
#pragma once

#include "base/buf.h"
#include "store/digest.h"
#include "store/name.h"

enum { INDEX_MAX_BYTES = 4 << 20, INDEX_MAX_MODELS = 10000 };

struct index_entry {
    struct digest id;
    uint64_t n_bytes; /* of the manifest: 1 to MANIFEST_MAX_BYTES */
    struct name name;
};

/* 1 to INDEX_MAX_MODELS entries into *list, free() also after a failure.  as (may be NULL): the
 * name for the only one.  where begins the messages. */
int index_parse(const char *where, struct str text, const struct name *as,
                struct index_entry **list, int *n, struct err *e);
