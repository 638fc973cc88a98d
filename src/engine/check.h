/* Is a file that claims to be a model one that can be run?  For commands that read a file without
 * running it: what `run` would refuse must not be shown as sound, or be quantized. */
#pragma once

#include "base/err.h"
#include "gguf/read.h"

/* Vocabulary, hyper-parameters, names and shapes of the tensors.  0 also for what this build cannot
 * judge: other architectures and tokenizers, adapters, importance files.  Errors as of vocab_load
 * and model_open. */
int engine_check_model(const struct gguf *g, struct err *e);

/* Does the adapter file fit this model?  0 also where this build cannot open the model; errors else
 * as of model_adapter_open. */
int engine_check_adapter(const struct gguf *model, const char *adapter, struct err *e);

/* The first, opening PATH for it. */
int engine_check_file(const char *path, struct err *e);
