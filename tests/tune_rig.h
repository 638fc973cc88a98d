/* Fine-tunes as a user starts them: `cria tune` on a small model, in a store of its own. */
#pragma once

#include "support.h"

#include <sys/types.h>

struct tune_rig {
    char *dir;        /* data, logs, exports; the store is dir/store */
    char model[4096]; /* a GGUF file of F32 */
};
void tune_rig_open(struct tune_rig *r, const char *model); /* golden("train/models/...") */
void tune_rig_close(struct tune_rig *r);

/* dir/name; valid for the next 7 calls. */
const char *tune_path(const struct tune_rig *r, const char *name);
void tune_write(const struct tune_rig *r, const char *name, const char *text);
/* n questions with answers that cannot be guessed, of different lengths, as JSONL. */
void tune_examples(const struct tune_rig *r, const char *name, int n);

/* `cria tune MODEL --data dir/DATA --out OUT` and more words, blanks between them; the test fails
 * when its exit code is another.  out and err stay until the next call. */
struct ran *tune(struct tune_rig *r, int code, const char *data, const char *out, const char *more);
/* Any command, words with blanks between. */
struct ran *tune_cria(struct tune_rig *r, int code, const char *words);
/* The same as `tune`, not waited for; its words go to dir/running. */
pid_t tune_start(struct tune_rig *r, const char *data, const char *out, const char *more);

void tune_says(const struct buf *b, const char *text); /* holds it, or the test fails */

/* "sha256:..." of a model's adapter layer, or NULL without one; valid until the next call. */
const char *tune_adapter(struct tune_rig *r, const char *name);
/* All values of its tensors, in the order of the file; free(). */
float *tune_weights(struct tune_rig *r, const char *name, size_t *n);
/* What `show` says of its training; json_decref. */
json_t *tune_lineage_of(struct tune_rig *r, const char *name);

/* The store is sound, holds n models (-1: any number), and nothing of unfinished work: no folders
 * of create, and of checkpoints n_runs (-1: whatever a killed process may have left). */
void tune_store_is(struct tune_rig *r, int n_models, int n_runs);
