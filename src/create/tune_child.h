/* The process that does a training job of a server (server/trainings.h).
 *
 *     front -> child   the order, one line (create/tune_order.h); "go" and a line feed when it may
 *                      take the memory of its plan.  The end of what comes: stop, with a checkpoint
 *     child -> front   lines of JSON: {"status": ...} as of create, {"event": "plan" and those of
 *                      tune_event_json()}; the last is {"status": "success"} or
 *                      {"error": text, "code": enum err_code}
 *
 * It has the lowest priority, and after the order has come no rights but to use the store's folder
 * and to read what the base model is made of (base/sandbox.h): no network, no other program.  When
 * the front dies it ends as if it was told to. */
#pragma once

#include "base/sandbox.h"

/* Do the job that comes over fd, which is taken over.  0 when the model was made; -1, and the front
 * has been told. */
int tune_child_run(int fd, struct err *e);

/* What it does before that: it keeps the store's folder, the [n_readable] files outside of it, and
 * max_bytes of memory (0: no limit). */
int tune_child_shut(const char *store, const char *const *readable, int n_readable,
                    uint64_t max_bytes, struct sandbox_state *got, struct err *e);
