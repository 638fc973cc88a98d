/* Counters and histograms, as Prometheus reads them (text format 0.0.4). */
#pragma once

#include "base/buf.h"
#include "server/log.h"
#include "server/models.h"

struct metrics;

struct metrics *metrics_new(struct err *e);
void metrics_free(struct metrics *m);
/* A request at its end; route: its index in the tables, -1 for none.  Any thread. */
void metrics_count(struct metrics *m, int route, const struct log_request *r);
/* n_malformed: requests without a valid head. */
void metrics_write(struct metrics *m, struct models_stats models, long n_malformed,
                   struct buf *out);
