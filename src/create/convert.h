/* Safetensors models as hubs publish them (config.json, tokenizer.json or tokenizer.model,
 * model*.safetensors) to GGUF. */
#pragma once

#include <stdint.h>

#include "base/err.h"

/* Bytes of tensors done, of all; nonzero stops with ERR_CANCELLED. */
typedef int convert_progress_fn(void *ctx, uint64_t done, uint64_t all);

struct convert_opts {
    convert_progress_fn *progress; /* may be NULL */
    void *ctx;
};

/* Write the model in FOLDER to OUT, which appears only when it is whole.  Matrices keep their type
 * (F64 becomes F32); vectors become F32.  Weights are streamed: memory is bounded by the tokenizer
 * and the largest row, not by the model.  Errors name the file and the key or tensor:
 * ERR_UNSUPPORTED for an architecture that is not known (lists those that are), ERR_FORMAT,
 * ERR_NOT_FOUND, ERR_IO. */
int convert_model(const char *folder, const char *out, const struct convert_opts *o, struct err *e);

/* A PEFT adapter (adapter_config.json, adapter_model.safetensors) for the base model in the GGUF
 * file BASE. */
int convert_adapter(const char *folder, const char *base, const char *out,
                    const struct convert_opts *o, struct err *e);
