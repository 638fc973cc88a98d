/* A request of engine/gen.h as one of OpenAI's chat completions, a stream with its sums. */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* New.  NULL: ERR_UNSUPPORTED with the field that is not passed on. */
json_t *remote_request(const json_t *gen, const char *model, struct err *e);
