/* Shared by tests/hf*.c. */
#pragma once

#include <jansson.h>

#include "gguf/read.h"

enum hf_family {
    HF_LLAMA,
    HF_MISTRAL,
    HF_MIXTRAL,
    HF_QWEN2,
    HF_QWEN3,
    HF_QWEN2MOE,
    HF_QWEN3MOE,
    HF_PHI3,
    HF_GEMMA2,
    HF_GEMMA3,
    HF_GRANITE,
    HF_OLMO2,
    HF_SMOLLM3,
    HF_BERT,
    HF_NOMIC,
    HF_UNKNOWN,
};

static inline int hf_is_encoder(enum hf_family f) {
    return f == HF_BERT || f == HF_NOMIC;
}

enum hf_family hf_family_of(const struct gguf *g);

/* ARCH.name of the file; a missing key gives def. */
int64_t hf_int(const struct gguf *g, const char *name, int64_t def);
double hf_num(const struct gguf *g, const char *name, double def);
/* The shortest decimal number that is this float: 1e-05, not 9.99999975e-06. */
double hf_short(float f);

json_t *hf_config(const struct gguf *g, enum hf_family f, unsigned flags);
int hf_write_tokenizer(const struct gguf *g, enum hf_family f, const char *dir, unsigned flags);

int hf_put(const char *dir, const char *name, const void *bytes, size_t n);
int hf_put_json(const char *dir, const char *name, json_t *j); /* takes j */
