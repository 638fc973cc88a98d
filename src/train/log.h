/* The log of a run, run.jsonl: an object a line, for people, plots and scripts.
 *
 *     {"event":"start","step":0,"time":"2026-11-27T04:00:00Z", ...what the plan says}
 *     {"event":"step","step":1,"epoch":0.01,"loss":2.5,"lr":0.0001,"grad_norm":3,"clip":0.3,
 *      "tokens":512,"tokens_per_s":60.1,"elapsed_s":8.5}
 *     {"event":"validation","step":50,"loss":2.1,"best":true}
 *     {"event":"skip","step":51,"reason":"loss 98.1 out of all proportion"}
 *     {"event":"checkpoint","step":60,"path":"step-000060.ckpt"}
 *     {"event":"end","step":300, ...}
 *
 * "step" counts optimizer steps that are done.  Lines are only ever appended, each by one write.  A
 * run that was resumed at step 60 appends to the same file, beginning with a start line of step 60:
 * for readers, lines before it of later steps do not count.  What is no number (a loss that
 * overflowed) is null. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct run_step {
    int64_t step;
    double epoch, loss, lr, grad_norm, clip; /* NaN: null, or missing when read */
    int64_t n_tok;                           /* of this step */
    double tps, seconds;
};

/* ---- writing: one thread at a time ---- */

struct run_log;

/* Made when missing, appended to when not; a line that a killed process left unfinished is ended.
 * ERR_IO, ERR_NOMEM. */
struct run_log *run_log_open(const char *path, struct err *e);
void run_log_close(struct run_log *l); /* accepts NULL */

/* Of each: 0, or -1 with ERR_IO (the disk is full) or ERR_NOMEM; the file then has no part of the
 * line.  l NULL: nothing is written, 0.  more: an object whose members join the line, or NULL. */
int run_log_start(struct run_log *l, int64_t step, const json_t *more, struct err *e);
int run_log_step(struct run_log *l, const struct run_step *s, struct err *e);
int run_log_validation(struct run_log *l, int64_t step, double loss, bool best, struct err *e);
int run_log_skip(struct run_log *l, int64_t step, const char *reason, struct err *e);
int run_log_checkpoint(struct run_log *l, int64_t step, const char *path, struct err *e);
int run_log_end(struct run_log *l, int64_t step, const json_t *more, struct err *e);

/* ---- reading ---- */

struct run_point {
    int64_t step;
    double loss;
};

struct run_record {
    struct run_step *step; /* [n_step], owned; ascending steps */
    int n_step;
    struct run_point *valid; /* [n_valid], owned; ascending steps */
    int n_valid;
    int64_t *skip; /* [n_skip], owned; ascending */
    int n_skip;
    int n_start; /* 2 and more: it was resumed, or begun anew */
    bool ended;  /* an end line is the last of its part */
    char *name;  /* "name" of the last start line, owned; or NULL */
};

/* The run as it went: of lines for one step the last counts.  Unknown events and members are passed
 * over, and so is an unfinished line at the end or before a start line.  ERR_FORMAT names any other
 * broken line by its number: "run.jsonl:17: ...".  ERR_LIMIT: more than 256 MiB. */
int run_record_read(const char *path, struct run_record *r, struct err *e);
int run_record_parse(const char *where, struct str bytes, struct run_record *r, struct err *e);
void run_record_fini(struct run_record *r);
