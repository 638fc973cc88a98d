/* What tests of /api/train share: a server with a small model to train, examples sent as blobs,
 * jobs and their lines. */
#pragma once

#include "api_rig.h"

/* "base": a golden model of the training set, through blobs and create. */
void train_base(const struct serve *s);
/* n questions with answers that cannot be guessed, sent as a blob. */
void train_examples(const struct serve *s, int n, char digest[80]);
/* These bytes as a blob. */
void train_blob(const struct serve *s, const char *text, char digest[80]);

/* The body of a job "model" from base; options: JSON without braces; more: further fields, as
 * ",\"stream\":false", or "".  free(). */
char *train_body(const char *model, const char *digest, const char *options, const char *more);
/* Options of a job that takes minutes, if nobody stops it. */
#define TRAIN_LONG                                                                                 \
    "\"epochs\":20000,\"patience\":0,\"ctx\":64,\"batch\":2,\"val\":0,\"save_every\":20"

/* The first of GET /api/train; json_decref. */
json_t *train_job(const struct serve *s);
/* Waits until it is in this state, at this step or a later one. */
void train_wait(const struct serve *s, const char *state, int step);
/* The process that trains; 0: there is none. */
pid_t train_process(const struct serve *s);

/* The first line with this event, or status that begins so; borrowed; NULL: none. */
const json_t *train_line(const json_t *lines, const char *key, const char *begins);
int train_count(const json_t *lines, const char *key, const char *begins);
