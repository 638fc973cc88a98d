/* Fine-tuning as a part of create: TRAINFILE, VALIDFILE and PARAMETER train_* of a Modelfile.
 *
 *   FROM's model, its template and SYSTEM + examples -> tokens (train/data.h) -> a plan
 *     -> a run (train/train.h), checkpoints in the store's .cria/train-<what it is>
 *     -> an adapter, or a merged model -> a layer; recipe and figures -> config "training"
 *
 * The same create, run again after it was interrupted or killed, goes on where the last checkpoint
 * was made; the folder goes when the model is in the store.  Nothing else is left by a failure. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "gguf/read.h"
#include "train/train.h"

/* Zero values are the defaults. */
struct tune_opts {
    struct train_opts train;
    double val;       /* share of the examples that only judge; 0: 0.05; negative: none */
    bool last_only;   /* learn a conversation's last answer only */
    bool cut;         /* examples longer than the context lose their end, instead of being left
                       * out */
    bool skip_bad;    /* lines that are no examples are counted, not errors */
    const char *type; /* method qat: of the result; borrowed */
};

/* Set one by its name ("epochs", "lr"...) from a value's text, which must stay.  ERR_USAGE: not
 * known (lists the known), no value of its kind; `shown` ("--lr") is what errors call it. */
int tune_set(struct tune_opts *o, const char *name, const char *shown, const char *value,
             struct err *e);
void tune_list(struct buf *out); /* append " epochs lr ..." */

/* The model's own context in tokens; 0: it does not say.  A run whose longest example nobody has
 * set takes no longer ones. */
int tune_model_ctx(const struct gguf *g);

/* The memory limit of a run: `text` as --memory has it ("4g"), or NULL: the setting MEMORY, if that
 * is set.  ERR_USAGE. */
int tune_memory(const char *text, struct tune_opts *o, struct err *e);

/* An event of a run as `--json` and /api/train tell it, and the plan before: new objects, NULL when
 * memory is out.  What is no number, as a loss that overflowed, is null. */
json_t *tune_event_json(const struct train_event *ev);
json_t *tune_plan_json(const struct train_plan *p);
