/* What the files of fine-tuning share. */
#pragma once

#include "create/create_priv.h"
#include "create/tune.h"
#include "model/lora_set.h"
#include "train/data.h"

/* Examples on their way into a run. */
struct tune_data {
    struct dataset train, valid; /* valid: of a file of its own */
    struct data_part part, judge;
    struct train_seq *seq; /* [d.n_seq + d.n_valid], owned: d's */
    struct train_data d;
    char train_path[STORE_PATH], valid_path[STORE_PATH]; /* empty: none */
    const char *shown;                                   /* the first as the user calls it */
};

/* ---- tune_data.c ---- */

/* Find the files (paths, a folder of train.jsonl and valid.jsonl, a client's blobs). */
int tune_data_find(struct creation *k, const struct modelfile *m, struct tune_data *t,
                   struct err *e);
/* Read and part them.  o: resolved; g: the model; renderer: or NULL. */
int tune_data_read(struct creation *k, const struct tune_opts *o, const struct gguf *g,
                   const char *renderer, struct tune_data *t, struct err *e);
void tune_data_fini(struct tune_data *t);

/* ---- tune_report.c ---- */

/* All settings that matter, resolved. */
json_t *tune_recipe(const struct tune_opts *o, const struct train_plan *p);
/* What was trained on what, for the config. */
json_t *tune_lineage(const struct tune_opts *o, const struct train_plan *p,
                     const struct tune_data *t, const struct train_result *r);
/* "plan: ..." in a few statuses. */
void tune_say_plan(struct creation *k, const struct tune_opts *o, const struct train_plan *p,
                   const struct tune_data *d);
void tune_say_result(struct creation *k, const struct train_plan *p, const struct train_result *r);

/* ---- tune_result.c ---- */

/* What was trained, all borrowed. */
struct tune_result {
    const struct tune_opts *o; /* resolved */
    const struct train_plan *plan;
    const struct tune_data *data;
    const struct gguf *base;
    const struct digest *base_digest;
    const char *base_name; /* or NULL */
    const struct params *params;
};
/* The adapter as a layer; or, with create_opts.merge and where all weights were trained, a model.
 */
int tune_add_result(struct creation *k, const struct tune_result *r, struct err *e);

/* ---- tune_work.c ---- */

/* The folder of a run's checkpoints, made if need be: .cria/train-XXXXXXXXXXXXXXXX of the text that
 * says what it is, which is kept in it.  Those that nobody has touched for a month go. */
int tune_folder(struct store *s, const char *what, char path[STORE_PATH], struct err *e);
/* Its path only. */
int tune_folder_path(const struct store *s, const char *what, char path[STORE_PATH], struct err *e);

/* What another run has left. */
struct tune_trace {
    int64_t step;    /* of its newest checkpoint */
    struct buf what; /* as it was given to tune_folder(); owned; may be empty: not known */
};
/* The one with the newest checkpoint of all but that of `what` for which alike(what, its own) is
 * true; alike NULL: of all.  False: none.  buf_fini out->what in either case. */
bool tune_trace_find(const struct store *s, const char *what,
                     bool (*alike)(const char *what, const char *other), struct tune_trace *out);
/* All but that of `what` go, unless a run is at work there. */
void tune_trace_remove(const struct store *s, const char *what);

/* ---- create_tune.c ---- */

/* What quantization will make of a tensor. */
struct tune_types {
    const struct gguf *g;
    enum qtype *type; /* [gguf_n_tensor(g)], owned */
};

/* A run, from its settings to what it made. */
struct tuning {
    struct creation *k;
    const struct name *name;
    const struct modelfile *m;
    struct tune_opts set, o; /* as it was set; with all defaults */
    struct tune_data data;
    struct gguf *g;
    struct team *team;
    struct train_plan plan;
    struct trainer *trainer;
    struct train_result result;
    struct run_log *log;
    char base[STORE_PATH];
    struct digest base_digest;
    struct lora_set from; /* what is trained further; n 0: nothing */
    struct digest from_digest;
    struct tune_types types;
};

/* ---- tune_base.c ---- */

/* The model's file and, where it has an adapter that is trained further, that one's settings. */
int tune_open_base(struct tuning *t, struct err *e);
/* What the base is called: FROM, or of a file its general.name, else the file's own name.  out is
 * cut. */
void tune_base_name(const struct tuning *t, char out[256]);
/* t->o of t->set.  Where nothing was said the context is no longer than the model's own. */
int tune_fill_settings(struct tuning *t, struct err *e);

/* ---- tune_resume.c ---- */

/* The folder of the run's checkpoints, into k->train_dir. */
int tune_find_folder(struct tuning *t, struct err *e);
/* Go on from a checkpoint, as the options say.  The trainer is there. */
int tune_resume(struct tuning *t, struct err *e);
/* Of a plan: say whether there is a checkpoint to go on from; errors as of the run. */
int tune_say_checkpoint(struct tuning *t, struct err *e);
