/* The folder beside a model while `cria train` makes it: MODEL.gguf.train, with the model to begin
 * with and a store of its own, in which create keeps checkpoints and what comes of them.  After an
 * interruption it stays; the same command goes on from it. */
#pragma once

#include "store/store.h"

struct train_work {
    char folder[STORE_PATH], base[STORE_PATH]; /* base: the model to begin with */
    char plan[STORE_PATH];                     /* its shapes without weights, for a plan */
    struct store *store;                       /* owned */
    bool was_there;                            /* left by an earlier run */
};

/* Make the folder unless it is there, open the store in it.  train_work_close also after a failure.
 */
int train_work_open(struct train_work *w, const char *out, struct err *e);
/* remove: the folder goes with what we put there, and what others put there stays. */
void train_work_close(struct train_work *w, bool remove);

/* What a plan is made with: the base where it is there and of the same shapes and texts as plan;
 * else plan. */
const char *train_work_planned(const struct train_work *w);

/* The model's file of a name in that store. */
int train_work_model(struct train_work *w, const struct name *n, char path[STORE_PATH],
                     struct err *e);

/* Write OUT: the file PATH with the JSON of how the model of this name was trained as a key. */
int train_work_deliver(struct train_work *w, const struct name *trained, const char *path,
                       const char *out, struct err *e);
