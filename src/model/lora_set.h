/* An adapter file (GGUF, general.type "adapter") as what it holds: pairs A [rank][n_in] and B
 * [n_out][rank] of tensors of a base model, which is not needed to read them. */
#pragma once

#include "gguf/read.h"

enum { LORA_MAX_RANK = 1024 };

struct lora_set_pair {
    char *name;                      /* of the base's tensor: "blk.0.attn_q.weight"; owned */
    const struct gguf_tensor *a, *b; /* of a type with a decoder */
    int rank;
    float scale; /* alpha / rank; 1 for a file without an alpha */
};

struct lora_set {
    struct gguf *g;             /* owned */
    struct str arch;            /* of the base; in the mapping */
    float alpha;                /* 0: none */
    struct lora_set_pair *pair; /* [n], owned; in the file's order of A */
    int n;
};

/* Every tensor is half of a pair whose halves fit each other; there is at least one.  arch: what
 * the base is, or NULL for any.  Errors name the file and the key or tensor.  lora_set_close also
 * after a failure. */
int lora_set_open(struct lora_set *s, const char *path, const char *arch, struct err *e);
/* The same of an opened file, which is the set's from now on, also after a failure. */
int lora_set_take(struct lora_set *s, struct gguf *g, const char *arch, struct err *e);
void lora_set_close(struct lora_set *s);

const struct lora_set_pair *lora_set_find(const struct lora_set *s, const char *name); /* or NULL */
