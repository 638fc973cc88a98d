/* The options of a request, before the model is there: their types, what they ask of the loading,
 * and how they go over the model's own. */
#pragma once

#include "server/models_priv.h"

/* Types and ranges of the known ones (engine/run_options.h); unknown ones pass, the gen leaves them
 * out.  *key gets num_ctx, num_batch, num_thread, 0 where they are not set.  options may be NULL.
 * ERR_USAGE: `option "top_k" must be of type integer`. */
int options_check(const json_t *options, struct load_key *key, struct err *e);

/* A new object: the model's parameters (or NULL) under the request's (or NULL).  NULL: memory. */
json_t *options_merge(const json_t *params, const json_t *options);
