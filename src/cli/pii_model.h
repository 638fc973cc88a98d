/* Names and addresses in a text: a model is asked for them, with a schema that it must follow. */
#pragma once

#include "base/err.h"
#include "policy/pii.h"

/* Append what `model` (a file, or a name of the server's or the store's) finds of the kinds that p
 * looks for.  A text is read in pieces of some thousand bytes.  The model says values; where they
 * stand is searched in the piece, so that nothing is found that is not there.  0; -1; or an exit
 * code for which it has spoken. */
int pii_model_find(const char *model, struct str text, const struct pii_policy *p,
                   struct pii_hits *out, struct err *e);
