/* A fine-tune on a server, for remote_create.c: TRAINFILE, VALIDFILE and PARAMETER train_* as the
 * fields of /api/train, its lines as the events of a run. */
#pragma once

#include "cli/remote.h"
#include "create/create.h"

bool remote_trains(const struct modelfile *m); /* has a TRAINFILE */

/* The path that TRAINFILE or VALIDFILE means, of a folder the file in it as MLX has it.  other (may
 * be NULL) gets the folder's valid.jsonl, empty without one.  ERR_NOT_FOUND. */
int remote_train_file(const char *folder, const struct modelfile_line *l, char path[STORE_PATH],
                      char other[STORE_PATH], struct err *e);

/* PARAMETER train_NAME; true when l is one. */
bool remote_train_option(json_t *body, const struct modelfile_line *l);
/* What is set beside the Modelfile; and what /api/train does not take is refused. */
int remote_train_settings(json_t *body, const struct create_opts *o, struct err *e);

/* A line of the stream: true when it was an event, of which o->on_train has been told.  id [64]
 * gets the job's. */
bool remote_train_hear(const json_t *line, const struct create_opts *o, void *ctx, char id[64]);

/* After Ctrl-C: the job of that id ends with a checkpoint; waits for it. */
void remote_train_cancel(struct remote *r, const char *id, const struct create_opts *o, void *ctx);
