/* Can a model do what a request asks? */
#pragma once

#include "engine/gen.h"

/* ERR_UNSUPPORTED with the field, in Ollama's words: what the model of this name cannot do. */
int ask_able(const char *model, const struct gen_info *i, const json_t *gen, struct err *e);
