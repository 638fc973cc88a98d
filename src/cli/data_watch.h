/* What the commands that read training data show of it: progress, lines that are wrong, counts. */
#pragma once

#include <stdio.h>

#include "cli/cli.h"
#include "train/data.h"

enum { DATA_WATCH_KEPT = 1000 };

/* The ctx of data_opts and prepare_opts.  All-zero is ready; data_watch_fini. */
struct data_watch {
    json_t *issues; /* [{"line", "column", "kind", "message", "error"}], the first DATA_WATCH_KEPT;
                     * owned, or NULL */
    int n_issue;
    struct progress bar;
};
void data_watch_issue(void *watch, const struct data_issue *i);
void data_watch_progress(void *watch, uint64_t done_bytes, uint64_t all_bytes);
void data_watch_fini(struct data_watch *w);

/* "FILE: line 3, column 7: broken JSON: ...", the first `most` of them, and how many are left. */
void data_watch_print(FILE *to, const char *path, const struct data_watch *w, int most);

/* {"lines", "formats": {name: n}, "faults": {name: n}} */
json_t *data_counts_json(const struct data_counts *c);
/* Append "3 duplicate, 1 too long" of the faults from..to; whether there are any. */
bool data_counts_list(const struct data_counts *c, enum example_fault from, enum example_fault to,
                      struct buf *out);
/* Lines with errors. */
int data_counts_errors(const struct data_counts *c);
