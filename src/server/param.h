/* Which field of a client's request an error is about, in the client's words ("param" of OpenAI's
 * errors): the engine has names of its own. */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* field: err.field, of a check here or of the engine ("options.num_predict", "format").  "" where
 * the client sent nothing of it: what was wrong is the model's own. */
void param_of(const json_t *body, const char *field, char out[ERR_FIELD]);
