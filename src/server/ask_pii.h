/* Personal data on the row of steps (ask_steps.h), what its files share.
 *
 *   ask_pii.c         the request: its texts filtered, or it is refused
 *   ask_pii_answer.c  the answer: filtered below the cache, so that nothing is kept that the policy
 *                     takes out; above it what was replaced is given back */
#pragma once

#include "policy/model_policy.h"
#include "policy/pii_vault.h"
#include "server/ask_steps.h"

typedef int ask_step_fn(struct request *r, const struct ask *a, struct err *e);

/* As a step: the answer's texts filtered by `filter` (or NULL), then the vault's placeholders (or
 * NULL) given back; next is what it calls.  Takes the vault over. */
int ask_pii_watch(struct request *r, const struct ask *a, const struct pii_policy *filter,
                  struct pii_vault *vault, ask_step_fn *next, struct err *e);

/* As a step, for a model that stands in for another: what its own policy says, behind what was done
 * for the one that was asked.  Its `replace` is a redaction, so that placeholders are those of one
 * vault. */
int ask_pii_substitute(struct request *r, const struct ask *a, const struct model_policy *own,
                       ask_step_fn *next, struct err *e);
