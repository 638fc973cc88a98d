/* What `cria train` and the commands behind it share: the shape's options, a tokenizer learned from
 * files, the model to begin with. */
#pragma once

#include "base/buf.h"
#include "cli/cli.h"
#include "store/store.h"
#include "train/corpus.h"
#include "train/data.h"
#include "train/scratch.h"
#include "train/train.h"

/* Rows of an option table for a struct scratch_shape. */
#define TRAIN_SHAPE_OPTIONS(s)                                                                     \
    {"layers", 0, OPT_INT, &(s).n_layer, 1, 512, "N", "layers; default 6"},                        \
        {"embd", 0, OPT_INT, &(s).n_embd, 2, 65536, "N", "length of embeddings; default 256"},     \
        {"heads", 0, OPT_INT, &(s).n_head, 1, 1024, "N", "attention heads; default embd / 64"},    \
        {"kv-heads", 0,    OPT_INT, &(s).n_kv_head,                                                \
         1,          1024, "N",     "heads of keys and values; default as --heads"},               \
        {"ff", 0,       OPT_INT, &(s).n_ff,                                                        \
         1,    1 << 20, "N",     "length of the feed-forward; default 8/3 embd, rounded up"},      \
        {"ctx", 0, OPT_INT, &(s).n_ctx, 1, 1 << 24, "N", "context in tokens; default 1024"}, {     \
        "untied", 0, OPT_FLAG, &(s).untied, 0, 0, NULL,                                            \
            "an output matrix of its own instead of the embedding's"                               \
    }

/* How a tokenizer is learned. */
struct train_learn {
    const char *const *file; /* [n_file] text or JSONL, or a folder with train.jsonl */
    int n_file;
    int n_vocab;               /* 0: the default */
    struct opt_list extra;     /* further control tokens */
    struct str system;         /* for examples without a system message */
    bool skip_bad;             /* lines that are no examples */
    struct corpus_stats stats; /* out */
};

/* Read the files and learn, with a progress bar; what is odd about them is said on stderr.
 * bpe_tokens_fini also after a failure. */
int train_learn_tokens(struct train_learn *l, struct bpe_tokens *out, struct err *e);
/* Append "4096 tokens: 256 bytes, 3837 merges, 3 control; ...". */
void train_describe_tokens(const struct train_learn *l, const struct bpe_tokens *b,
                           struct buf *out);
/* The same as an object; NULL: memory is out. */
json_t *train_tokens_json(const struct train_learn *l, const struct bpe_tokens *b);

/* Append "6.16M parameters: 6 layers of 256, ...". */
void train_describe_shape(const struct scratch_shape *s, int n_vocab, struct buf *out);

/* general.name for a model in this file: its name without folder and ".gguf". */
void train_model_name(const char *path, char out[128]);

/* The file that a path of training data means: the path, or what a folder has under this name
 * ("train.jsonl", as MLX has it).  False: it is a folder's. */
bool train_data_path(const char *path, const char *in_folder, char out[STORE_PATH]);

/* Examples of DATA as the model in PATH reads them, to compare it with another one. */
struct train_sample {
    struct dataset data;   /* owned */
    struct train_seq *seq; /* [n], owned */
    int n;
};
/* train_sample_fini also after a failure. */
int train_sample_read(struct train_sample *s, const char *path, const char *data, struct err *e);
void train_sample_fini(struct train_sample *s);
