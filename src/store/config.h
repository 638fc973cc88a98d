/* The config blob of a model: a JSON object that says what kind of model it is (COMPAT.md 4.1). */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum { CONFIG_MAX_BYTES = 1 << 20, CONFIG_MAX_FAMILIES = 16, CONFIG_MAX_CAPABILITIES = 16 };

/* Texts are NULL when the config does not have them. */
struct model_config {
    const char *model_format, *model_family, *model_type,
        *file_type; /* "gguf" "llama" "3.2B" "Q4_K_M" */
    const char *renderer, *parser, *requires_version;
    const char *family[CONFIG_MAX_FAMILIES];
    int n_family;
    const char *capability[CONFIG_MAX_CAPABILITIES];
    int n_capability;
    uint64_t context_length, embedding_length; /* 0: not there */
    const char *base_name;
    const char *remote_host, *remote_model; /* a cloud model: refused */
    const char *training; /* JSON of an object: how it was fine-tuned (create/tune.h) */
    struct arena a;       /* owns the texts that were parsed */
};

/* Unknown keys are passed over.  model_config_fini also after a failure. */
int model_config_parse(const char *where, struct str bytes, struct model_config *c, struct err *e);
void model_config_fini(struct model_config *c);

/* Append the JSON, keys in Ollama's order, what is missing left out, rootfs of the n layers'
 * digests
 * ("sha256:..."). */
int model_config_build(const struct model_config *c, const char *const *diff_id, int n,
                       struct buf *out, struct err *e);
