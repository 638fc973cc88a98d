/* The options that `cria tune` and `cria train` have in common: data, log, memory, how to go on,
 * and the settings of a training by the names of tune_set(). */
#pragma once

#include "cli/cli.h"
#include "create/create.h"
#include "create/tune.h"

enum tune_command { TUNE_ADAPTS, TUNE_FROM_NOTHING }; /* tune, train */

enum { TUNE_MAX_SETTINGS = 32, TUNE_COMMON = 9 };

struct tune_flags {
    const char *data, *valid, *log, *memory;
    bool resume, restart, dry_run, as_json;
    int n_threads;
    const char *value[TUNE_MAX_SETTINGS]; /* as they were typed */
};

/* Fill an option table, which has room for n_own + TUNE_COMMON + TUNE_MAX_SETTINGS and the end: the
 * data, the command's own options, how to run, the settings. */
void tune_flags_table(enum tune_command c, struct tune_flags *f, const struct opt *own, int n_own,
                      struct opt *table);

/* What was typed, into *t; "--lr: found ..." when it does not parse. */
int tune_flags_set(enum tune_command c, const struct tune_flags *f, struct tune_opts *t,
                   struct err *e);

/* --data is there; --resume and --restart are not both. */
int tune_flags_check(enum tune_command c, const struct tune_flags *f, struct err *e);

/* What --merge means to create_opts.  An argument too many that is a type was meant as its value:
 * ERR_USAGE shows how that is written. */
int tune_flags_merge(const char *typed, const char *const *args, int n_args, const char **merge,
                     struct err *e);

/* FROM base, TRAINFILE, VALIDFILE; m->line has room for three. */
void tune_flags_modelfile(const struct tune_flags *f, const char *base, struct modelfile *m);

/* What create_model() needs of it; the rest is the command's. */
struct create_opts tune_flags_create(const struct tune_flags *f, const struct tune_opts *t);
