/* What the files of create share.  Data flow of create_model:
 *
 *   FROM, ADAPTER, DRAFT  -> create_source.c: a GGUF file (found, joined, converted), quantized
 *                            (create_quantize.c) -> a blob and its layer, or the layers of a model
 *   blobs of a client     -> create_files.c: put together as a folder -> create_source.c
 *   the file's Jinja      -> create_detect.c: a named TEMPLATE
 *   TEMPLATE, PARAMETER.. -> create_layers.c: small blobs
 *   all layers            -> create.c: their order, the config, the manifest */
#pragma once

#include <jansson.h>

#include "create/create.h"
#include "gguf/read.h"
#include "store/config.h"

struct creation {
    struct store *s;
    struct lease *lease;
    const struct create_opts *o;
    create_event_fn *say;
    void *ctx;
    struct layer *layer; /* [n_layer], owned */
    int n_layer, cap_layer;
    bool inherited;        /* the model is one of the store */
    json_t *params;        /* owned; what the base model has, then what the Modelfile says */
    struct arena a;        /* texts that layers and config point to */
    struct model_config c; /* of the base model, if that is one of the store */
    char insecure_host[NAME_TEXT]; /* that --insecure was for; empty: none yet */
    char work[STORE_PATH];         /* folder for files on their way; empty: not made yet */
    int work_fd, n_work;           /* its lock; files so far */
    char train_dir[STORE_PATH];    /* of checkpoints, to be removed in the end; empty: none */
};

void create_say(struct creation *k, const char *status, const char *digest);
/* Has somebody asked it to end? */
bool create_stopped(const struct creation *k);
/* A progress line's state, as store and converter report it: start it with its status. */
struct create_bar {
    struct creation *k;
    const char *status;
};
int create_progress(void *bar, uint64_t done, uint64_t all);

/* ---- create.c ---- */

/* Of a layer: where its file is, its text.  Those of a plan are in no store: layer.from has the
 * path (and the digest is empty), or the text. */
int create_layer_path(const struct creation *k, const struct layer *l, char path[STORE_PATH],
                      struct err *e);
int create_layer_text(const struct creation *k, const struct layer *l, size_t max_bytes,
                      struct buf *out, struct err *e);

int create_add_layer(struct creation *k, const struct layer *l, struct err *e);
struct layer *create_layer(struct creation *k, enum layer_kind kind); /* the first, or NULL */
void create_drop_layers(struct creation *k, enum layer_kind kind);

/* ---- create_source.c ---- */

int create_from(struct creation *k, const struct modelfile_line *l, struct err *e);
int create_adapter(struct creation *k, const struct modelfile_line *l, struct err *e);
int create_draft(struct creation *k, const struct modelfile_line *l, struct err *e);
/* The model's layer in other types, when the options say so. */
int create_requantize(struct creation *k, struct err *e);

/* The same from a file, or a folder of files; `shown` is what errors of the folder begin with. */
int create_from_path(struct creation *k, char path[STORE_PATH], enum create_what what,
                     const char *shown, struct err *e);
int create_adapter_path(struct creation *k, char path[STORE_PATH], enum create_what what,
                        const char *shown, struct err *e);
int create_draft_path(struct creation *k, char path[STORE_PATH], enum create_what what,
                      struct err *e);
/* "(line N): " before the error; nothing where the command was in no file. */
int create_at_line(const struct modelfile_line *l, struct err *e);

/* A file that was made in the work folder becomes a layer. */
int create_add_made(struct creation *k, const char *path, enum layer_kind kind, struct err *e);

/* ---- create_merge.c ---- */

/* OUT from these, as the options say, with statuses. */
int create_merge_files(struct creation *k, const char *base, const char *adapter, const char *out,
                       struct err *e);
/* Model's and adapter's layers become one.  ERR_USAGE: there is no adapter. */
int create_merge(struct creation *k, struct err *e);

/* ---- create_tune.c ---- */

/* Does the Modelfile, or do the options, ask for a fine-tune? */
bool create_tunes(const struct modelfile *m, const struct create_opts *o);
/* "train_lr" -> "lr"; NULL: no parameter of training. */
const char *create_tune_param(const char *parameter);
/* Are the settings of both sound? */
int create_tune_check(const struct modelfile *m, const struct create_opts *o, struct err *e);
/* Train: the adapter's layer, or the model's, and the config's "training".  All other layers are
 * there.  n: what will be made. */
int create_tune(struct creation *k, const struct name *n, const struct modelfile *m, struct err *e);
/* A run's folder of checkpoints goes. */
void tune_folder_remove(const char *path);

/* ---- create_files.c ---- */

/* Where a client's blob is, held from now on. */
int create_take_file(struct creation *k, const struct create_file *f, char path[STORE_PATH],
                     struct err *e);

/* All that the options have of one of the three. */
int create_files(struct creation *k, enum modelfile_command as, struct err *e);

/* ---- create_work.c ---- */

/* A folder that does not exist yet, for links to files; removed at the end. */
int create_work_folder(struct creation *k, char path[STORE_PATH], struct err *e);
/* The path of a file that does not exist yet, in a folder that is removed at the end. */
int create_work_path(struct creation *k, char path[STORE_PATH], struct err *e);
void create_work_end(struct creation *k);

/* ---- create_quantize.c ---- */

/* A type that files can have, by name; ERR_USAGE lists them. */
int create_find_mix(const char *name, int *mix, struct err *e);
/* OUT from IN, with what is lost in statuses. */
int create_quantize(struct creation *k, const char *in, const char *out, struct err *e);
/* "Q4_K_M", "unknown"; of the file's key or of most of its weights. */
const char *create_file_type(const struct gguf *g);

/* ---- create_detect.c ---- */

/* TEMPLATE and parameters for a file that came without; a status tells which. */
int create_detect_template(struct creation *k, const struct modelfile *m, struct err *e);

/* ---- create_layers.c ---- */

/* Everything but files. */
int create_texts(struct creation *k, const struct modelfile *m, struct err *e);
/* A small blob; l gets its digest and size. */
int create_text_blob(struct creation *k, struct layer *l, struct str text, struct err *e);

/* ---- create_quality.c ---- */

struct quality {
    double kl, ppl_source, ppl; /* mean KL divergence per token in nats; perplexities */
    double same_top;            /* share of tokens for which both choose the same */
    int n_tok;
};
/* How far the model in file B answers from that in A, where a text of some hundred tokens goes on,
 * or at the labels of o->quality_seq; threads and stop are o's, too.  ERR_UNSUPPORTED for a model
 * that foretells no tokens or that this build does not run. */
int create_measure(const char *a, const char *b, const struct create_opts *o, struct quality *out,
                   struct err *e);
