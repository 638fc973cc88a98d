/* Bad model files, each bad in ONE way, made from a good one (SECURITY.md 1.1).  The good file is
 * taken apart into a draft, one thing in it is changed, and it is put together again without any
 * check: lengths, counts, offsets and types say what the case wants them to say. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum bad_kind {
    BAD_FILE,  /* gguf_open() must refuse it */
    BAD_MODEL, /* the file is sound, what it says is not: loading must refuse it */
    BAD_KIND,  /* nothing that this build runs; other commands may accept it */
    MAY_LOAD,  /* harmless; whatever happens must be orderly */
};

struct bad_case {
    const char *id;   /* row of SECURITY.md: "F1" */
    const char *name; /* what is wrong: "n_kv = 2^61"; unique */
    enum bad_kind kind;
    const char *blame; /* key, tensor or word that the message must hold; NULL */
    const uint8_t *bytes;
    size_t n;
};

typedef void bad_fn(void *ctx, const struct bad_case *c);

/* Call fn with each bad file made from the model at PATH; returns how many.
 *   structure: F1-F5, F8 (in part), F9-F11: the header's counts, lengths, types, offsets
 *   model:     F6-F8: hyper-parameters of any architecture, missing keys and tensors
 *   vocab:     F12: tokens, scores, merges, special ids */
int bad_structure_each(const char *path, bad_fn *fn, void *ctx);
int bad_hparams_each(const char *path, bad_fn *fn, void *ctx); /* the first part of model */
int bad_model_each(const char *path, bad_fn *fn, void *ctx);
int bad_vocab_each(const char *path, bad_fn *fn, void *ctx);

/* Cut the model at PATH into `n` splits PREFIX-00001-of-0000n.gguf in a folder; with `odd`
 * something is wrong with them (enum below). */
enum split_odd {
    SPLIT_GOOD,
    SPLIT_MISSING,       /* the last file is not there */
    SPLIT_COUNT,         /* the second says another split.count */
    SPLIT_NO_TWICE,      /* the second says the number of the first */
    SPLIT_NO_RANGE,      /* the second says a number beyond the count */
    SPLIT_NO_ABSENT,     /* the first lacks split.no */
    SPLIT_TOTAL,         /* all agree on a wrong number of tensors */
    SPLIT_TOTAL_DIFFERS, /* the second says another number of tensors */
    SPLIT_OTHER_MODEL,   /* the second names another architecture */
    SPLIT_SAME_TENSOR,   /* a tensor is in two files */
    SPLIT_NAME,          /* the files are not named as splits */
    SPLIT_TYPE,          /* split.count is a string */
    SPLIT_MANY,          /* split.count is 1000, one too many */
    SPLIT_MOST,          /* split.count is 999, but there are three files */
    SPLIT_ODD_COUNT,
};
/* The path of the first file in first[n_first]. */
void bad_split_write(const char *path, const char *folder, int n, enum split_odd odd, char *first,
                     size_t n_first);
