/* What this installation keeps of what was asked of it: where, how much, how long, and how it is
 * wiped.  The audit log is told of a wipe and never part of one. */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct settings;

/* Everything that is kept, by these settings and the environment, as an array of
 * {"what", "path", "bytes", "max_bytes", "max_age_s", "files", "wipe"}; max_bytes and max_age_s are
 * null where there is no limit, path is null where nothing is kept.  NULL: out of memory. */
json_t *keep_list(const struct settings *t, struct err *e);

/* The words of `cria forget` and of /api/forget. */
enum {
    KEEP_RESPONSES = 1,
    KEEP_CACHE = 2,
    KEEP_PREFIX = 4,
    KEEP_HISTORY = 8, /* of the user who asks: the command line's own */
    KEEP_ALL = 15,
};
/* Wipe those.  Databases are emptied, with their free pages, while others have them open.  *done
 * gets
 * {"responses": rows, "cache": rows, "prefix_cache": files, "history": files}; json_decref. */
int keep_forget(const struct settings *t, unsigned what, json_t **done, struct err *e);
