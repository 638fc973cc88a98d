/* What the files of the conversion share.  Data flow of convert_model:
 *
 *   config.json       -> convert_family.c: which family -> convert_keys.c: hyper-parameters
 *   tokenizer files   -> convert_tokenizer.c: tokens, merges, special ids (convert_spm.c reads
 *                        SentencePiece files, convert_pretok.c names the pre-tokenizer)
 *   *.safetensors     -> convert_names.c: what each tensor is called in GGUF
 *                     -> convert_tensors.c: order, shapes, types, the data */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/str.h"
#include "create/convert.h"
#include "gguf/safetensors.h"
#include "gguf/write.h"

enum { CONVERT_PATH = 4096, CONVERT_NAME = 128 };

enum family_flag {
    FAMILY_PAIRS = 1,      /* GGUF rotates pairs (2i, 2i+1), the hub halves (i, i + n/2) */
    FAMILY_NORM_PLUS = 2,  /* norms are stored as w - 1 */
    FAMILY_SANDWICH = 4,   /* post_attention_layernorm stands behind attention, not before FFN */
    FAMILY_TIED = 8,       /* the head is the embedding, whatever else is stored */
    FAMILY_OWN_HEAD = 16,  /* GGUF wants the head even where it is the embedding */
    FAMILY_ENCODER = 32,   /* no head; layer norms */
    FAMILY_NO_PREFIX = 64, /* SentencePiece without a blank put before the text */
    FAMILY_FUSED = 128,    /* the hub, too, has q|k|v and gate|up in one */
};

struct conversion;

struct family {
    const char *model_type; /* config.json */
    const char *arch;       /* general.architecture */
    unsigned flags;
    int (*keys)(struct conversion *c, struct err *e); /* beyond those all share; or NULL */
};

struct conversion {
    const char *folder;
    const struct convert_opts *o;
    const struct family *family;
    json_t *root;           /* config.json; owned */
    const json_t *config;   /* of the text model: root or its "text_config" */
    json_t *tok_config;     /* tokenizer_config.json; owned, may be NULL */
    json_t *tokenizer;      /* tokenizer.json; owned, may be NULL */
    struct safetensors *st; /* owned */
    struct gguf_writer *w;  /* owned until finished */
    struct arena a;         /* names, token texts */
    int n_layer, n_head, n_kv_head, n_expert, head_dim;
    int n_vocab;               /* rows of the embedding */
    const float *rope_divisor; /* [n_rot / 2] of "llama3" scaling, or NULL */
    const float *rope_long, *rope_short;
    int n_rot;
};

/* ---- convert.c ---- */

/* The object in a file of the folder, the caller's to json_decref.  0 with *out NULL when the file
 * is not there; -1 with ERR_FORMAT, ERR_LIMIT, ERR_IO. */
int convert_read_json(const char *folder, const char *name, json_t **out, struct err *e);
/* ERR_FORMAT: "FOLDER/config.json: "KEY" WHAT"; of several names ("a|b") the one that is there. */
int convert_key_error(const struct conversion *c, const char *key, struct err *e, const char *what);
/* Free what c owns; an unfinished result is removed. */
void convert_fini(struct conversion *c);

/* ---- convert_family.c ---- */

const struct family *family_of_type(const char *model_type);
const struct family *family_of_arch(struct str arch);
/* Does config.json's "layer_types" say what GGUF's form of the family does? */
int family_check_layer_types(const struct conversion *c, struct err *e);
/* "llama mistral ..." for messages. */
void family_list(char *out, size_t n);

/* ---- convert_keys.c ---- */

/* The first of these names ("a|b") that config.json has and that is not null, or NULL. */
const json_t *convert_config(const struct conversion *c, const char *names);
int convert_set_u32(struct conversion *c, const char *key, int64_t v, struct err *e);
int convert_set_f32(struct conversion *c, const char *key, double v, struct err *e);
/* ARCH.key from the first name there is; nothing when there is none. */
int convert_copy_u32(struct conversion *c, const char *key, const char *names, struct err *e);
int convert_copy_f32(struct conversion *c, const char *key, const char *names, struct err *e);
/* How layers of this type rotate, or NULL. */
const json_t *convert_rope_object(const struct conversion *c, const char *layer_type);
/* All hyper-parameters into the writer, and the sizes and rope factors that tensors need into c.
 * ERR_FORMAT and ERR_UNSUPPORTED name the key of config.json. */
int convert_keys(struct conversion *c, struct err *e);

/* ---- convert_names.c ---- */

enum tensor_op { OP_COPY, OP_ROTATE_Q, OP_ROTATE_K };

struct tensor_name {
    char name[CONVERT_NAME]; /* in GGUF */
    enum tensor_op op;
    int layer;  /* -1: of none */
    int expert; /* -1: of none; else its part of a stack of matrices */
    int order;  /* within the layer */
};

/* 1 and *out; 0 when the tensor says nothing a model needs (rotary tables, poolers); -1 when its
 * name means nothing here. */
int tensor_name(const struct family *f, const char *hub, struct tensor_name *out);

/* What a weight is called in the checkpoints of a family: "layers.1.self_attn.q_proj". */
struct hub_name {
    char module[CONVERT_NAME]; /* without ".weight" */
    enum tensor_op op;         /* that made GGUF's rows */
    int layer;                 /* -1: of none */
    bool inner;                /* stands within "model." */
};

/* 1 and *out for GGUF's "blk.1.attn_q.weight"; -1 for a name that the family has no other for:
 * stacks of experts, everything of encoders. */
int tensor_hub_name(const struct family *f, const char *gguf, struct hub_name *out);

/* ---- convert_tensors.c ---- */

/* Row r of GGUF's matrix is this row of the hub's where OP_ROTATE_* moves rows, in heads of
 * head_rows: the pair (2i, 2i+1) comes from (i, i + head_rows/2). */
size_t tensor_source_row(size_t r, size_t head_rows);

/* Name, shape, type and source of every tensor, in the order of the data; owned by the caller. */
struct tensor_plan;
/* All tensors of the model, stacks of experts joined, and the vectors that config.json implies.
 * ERR_FORMAT and ERR_UNSUPPORTED name the hub's tensor. */
struct tensor_plan *tensor_plan_new(struct conversion *c, struct err *e);
/* No tensors yet. */
struct tensor_plan *tensor_plan_empty(struct conversion *c, struct err *e);
/* One more, behind the others: a matrix under a name of GGUF, with its rows moved as op says.  t is
 * borrowed. */
int tensor_plan_add(struct tensor_plan *p, const struct tensor_name *n, const struct st_tensor *t,
                    struct err *e);
/* First the declarations, then, after all keys are set, the data, with progress. */
int tensor_plan_declare(struct tensor_plan *p, struct err *e);
int tensor_plan_write(struct tensor_plan *p, struct err *e);
void tensor_plan_free(struct tensor_plan *p);

/* ---- tokens and tokenizer ---- */

struct tokens {
    struct arena *a;   /* of the texts */
    struct str *text;  /* [n] */
    float *score;      /* [n] */
    int32_t *type;     /* [n], enum token_attr; 0: no token yet */
    int n;             /* rows of the embedding */
    const char *where; /* the file, for messages */
    bool has_score;    /* SentencePiece */
    int add_prefix;    /* a blank before the text: 0, 1; -1 not known */
};

/* n_vocab tokens, none known yet. */
int tokens_init(struct tokens *t, int n_vocab, struct arena *a, struct err *e);
/* Token id reads text, which is copied.  Errors: an id over the embedding's rows. */
int tokens_set(struct tokens *t, int64_t id, struct str text, float score, int32_t type,
               struct err *e);
int tokens_find(const struct tokens *t, struct str text); /* or -1 */
/* The folder's tokenizer, whichever form it has, into the writer; then what convert_special adds:
 * special ids, what is put around a text, the chat template.  Errors name the file. */
int convert_tokenizer(struct conversion *c, struct err *e);
int convert_special(struct conversion *c, const struct tokens *t, struct err *e);
/* The pieces of a tokenizer.model (SentencePiece's protobuf).  ERR_FORMAT where it is broken,
 * ERR_UNSUPPORTED for a model that is not BPE. */
int spm_read(const char *path, struct tokens *t, struct err *e);
/* The name of the pre-tokenizer that cuts texts as tokenizer.json says; "default" and *known false
 * when none of ours does.  whole_words: a word that is a token needs no merges. */
const char *pretok_guess(const json_t *tokenizer, bool whole_words, bool *known, struct err *e);
