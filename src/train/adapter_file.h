/* A trained adapter as a GGUF file that every reader of such files takes (FINETUNE.md 2), and back.
 *
 *   general.type "adapter"   adapter.type "lora"   adapter.lora.alpha   general.architecture
 *   ARCH.block_count, .attention.head_count, .attention.head_count_kv, .feed_forward_length
 *                            of the base: what the adapter's form on the hub depends on
 *   cria.lora.alpha .rslora .dropout     as asked for; adapter.lora.alpha is what readers need
 *   cria.train.*             where it comes from: below
 *
 * The same parameters and notes give the same bytes. */
#pragma once

#include "gguf/write.h"
#include "model/lora_set.h"
#include "train/lora.h"

/* The keys of lineage; metrics are "cria.train." and their own names. */
#define ADAPTER_TRAIN "cria.train."
#define ADAPTER_BASE ADAPTER_TRAIN "base"
#define ADAPTER_BASE_DIGEST ADAPTER_TRAIN "base_digest"
#define ADAPTER_DATA_DIGEST ADAPTER_TRAIN "data_digest"
#define ADAPTER_RECIPE ADAPTER_TRAIN "recipe"

struct adapter_metric {
    const char *name; /* "val_loss" */
    double value;
    bool count; /* an integer >= 0 (kept as uint64), not a figure (float32) */
};

struct adapter_notes {
    const struct gguf *base;             /* the model trained on */
    const char *name;                    /* general.name; this and the next ones may be NULL */
    const char *base_name;               /* what the user calls the base */
    const char *base_digest;             /* "sha256:..." of its file */
    const char *data_digest;             /* of the training data */
    const char *recipe;                  /* all settings, as JSON */
    const struct adapter_metric *metric; /* [n_metric] */
    int n_metric;
    bool half; /* tensors as F16, not F32 */
};

/* Write the pairs p, which lora_declare declared by o, to PATH; it appears only when it is whole.
 * ERR_FORMAT names a tensor with a value that is not finite, or not in F16. */
int adapter_file_write(const char *path, const struct params *p, const struct lora_opts *o,
                       const struct adapter_notes *n, struct err *e);

/* The options that declare these pairs in a model of n_layer layers.  ERR_UNSUPPORTED: pairs of
 * several ranks, or of tensors that are not trained here. */
int adapter_file_opts(const struct lora_set *s, int n_layer, struct lora_opts *o, struct err *e);

/* The part of that which scales, for pairs of o->rank: alpha, stabilized, dropout. */
int adapter_file_scale(const struct lora_set *s, struct lora_opts *o, struct err *e);

/* What of a file is not its tensors, for other writers of adapters: the base's keys and, of o,
 * alpha, stabilized and dropout as adapter_file_scale() reads them. */
int adapter_file_keys(struct gguf_writer *w, const struct gguf *base, const struct lora_opts *o,
                      struct err *e);

/* The pairs into p, which is declared and initialized: what the file leaves out stays as it is.
 * ERR_FORMAT: a pair that p has not, or of another shape; a value that is not finite. */
int adapter_file_read(const struct lora_set *s, struct params *p, struct err *e);
