/* The examples of a file in their order, without what comes twice; what is wrong is told and
 * counted.  Lines that are well read but of no use to a caller are given back by reader_fault. */
#pragma once

#include "train/data.h"
#include "train/lines.h"
#include "train/seen.h"

struct reader {
    struct lines lines;
    const struct data_opts *o; /* borrowed */
    struct data_counts *count; /* borrowed */
    struct seen whole, ids;
    uint64_t hash, prompt_hash; /* of the example that was given last */
    bool pairs;                 /* its kind is that of all */
    int n_given;
    uint64_t told_bytes;
};

/* reader_close also after a failure.  o and count are borrowed until then; count is set to 0. */
int reader_open(struct reader *r, const char *path, const struct data_opts *o,
                struct data_counts *count, struct err *e);
void reader_close(struct reader *r);

/* The next example into *x (example_fini it): 1; 0 at the end; -1 with e: at the first error when
 * they are not skipped, ERR_CANCELLED. */
int reader_next(struct reader *r, struct example *x, struct err *e);

/* Tell and count a fault of the example that was given last; *why says what.  0: go on (also after
 * an error, when errors are skipped), -1 with e set. */
int reader_fault(struct reader *r, enum example_fault f, int column, int other,
                 const struct err *why, struct err *e);

/* After the end: ERR_FORMAT when no example is left of n_left; sets the file's digest. */
int reader_end(struct reader *r, int n_left, struct err *e);
