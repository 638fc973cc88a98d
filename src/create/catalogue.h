/* Published small models: what is known about each without its file.  The facts are data
 * (catalogue_data.c); what follows from a shape - tensors, sizes by file type, hyper-parameters -
 * is computed here, by the rules that the quantizer and the loader use. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "model/hparams.h"

enum catalogue_task {
    TASK_CHAT = 1,
    TASK_CODE = 2,
    TASK_MATH = 4,
    TASK_MULTILINGUAL = 8,
    TASK_EMBED = 16,
    N_TASK = 5,
};

/* What layers have beside or instead of the default: norms before attention and feed-forward, Q, K,
 * V, a gated feed-forward, no biases, a head of its own. */
enum catalogue_part {
    PART_TIED = 1,         /* the embedding is the head, too */
    PART_QKV_BIAS = 2,     /* of Q, K and V */
    PART_BIAS = 4,         /* of everything, norms too */
    PART_FUSED_QKV = 8,    /* one matrix */
    PART_FUSED_UP = 16,    /* gate and up are one matrix */
    PART_QK_NORM = 32,     /* of each head */
    PART_QK_NORM_ROW = 64, /* over all heads */
    PART_POST_NORM = 128,  /* also after each half */
    PART_ONLY_POST = 256,  /* after each half only */
    PART_ONE_NORM = 512,   /* one for both halves */
    PART_MLP = 1024,       /* no gate */
    PART_POSITIONS = 2048, /* a learned table */
    PART_ENCODER = 4096,   /* norms on sums, token types, no head */
};

/* File types that the registry has: all from Q2_K to Q8_0; Q4_K_M and Q8_0; F16. */
enum catalogue_files { FILES_ALL, FILES_TWO, FILES_F16 };

struct catalogue_model {
    const char *name, *tag; /* "llama3.2", "3b" */
    const char *file_tag;   /* the tag of one file type goes on from this: "3b-instruct"; NULL: the
                               tag has one file */
    const char *arch;       /* as in GGUF */
    int n_embd, n_layer, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx;
    int n_expert, n_expert_used; /* n_ff is of one; 0: none */
    unsigned parts;              /* enum catalogue_part */
    double n_param_m;            /* millions, as published, without image parts */
    double n_image_m;            /* of an image part in the same file, F16; not read for text */
    unsigned tasks;              /* enum catalogue_task: what it is good at */
    unsigned made_for;           /* the one of them that it was made for; 0: none above others */
    enum catalogue_files files;
    int year; /* of publication */
    const char *licence;
};

extern const struct catalogue_model catalogue[]; /* ends with a NULL name */

/* "chat", ...; 0 for another word.  The name of a task; all of them in one line. */
unsigned catalogue_task_by_name(const char *name);
const char *catalogue_task_name(unsigned task);
#define CATALOGUE_TASKS "chat, code, math, multilingual, embed"

/* "name:tag" */
enum { CATALOGUE_NAME = 96 };
void catalogue_name(const struct catalogue_model *m, char out[CATALOGUE_NAME]);
/* What to pull for this file type. */
void catalogue_pull_name(const struct catalogue_model *m, int mix, char out[CATALOGUE_NAME]);

/* The file types to have of it, best first; ends with -1. */
const int *catalogue_mixes(const struct catalogue_model *m);

/* Does WORD occur in its name or tag, architecture, tasks or licence?  Letter case aside. */
bool catalogue_matches(const struct catalogue_model *m, const char *word);

struct catalogue_size {
    uint64_t file_bytes;   /* tensors, and about what the metadata takes; the image part, too */
    uint64_t loaded_bytes; /* the same without the image part */
    uint64_t read_bytes;   /* for one token: routed experts only, no look-up tables */
    double n_param;
};
/* As file type MIX (engine/mix.h).  ERR_NOMEM. */
int catalogue_size(const struct catalogue_model *m, int mix, struct catalogue_size *out,
                   struct err *e);

/* What the loader would read from its file, as far as memory depends on it.  ERR_UNSUPPORTED: this
 * build does not have the architecture. */
int catalogue_hparams(const struct catalogue_model *m, struct hparams *h, struct err *e);
