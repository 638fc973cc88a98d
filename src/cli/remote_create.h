/* `cria create` on a server: its files are sent as blobs, its commands are the fields of
 * /api/create (COMPAT.md 2.6), or of /api/train. */
#pragma once

#include "cli/remote.h"
#include "create/create.h"

/* As create_model: folder and quantize of o, and its stop, are used, with a TRAINFILE also merge,
 * resume and on_train; what a server cannot be told (link, quality, insecure, threads, log,
 * plan_only) must not be set.  What is on the server already is not sent
 * again.  say: as of create_model; also "hashing FILE" and "copying file sha256:..." with bytes. */
int remote_create(struct remote *r, const char *name, const struct modelfile *m,
                  const struct create_opts *o, create_event_fn *say, void *ctx, struct err *e);
