/* Counters and histograms, as Prometheus reads them (text format 0.0.4). */
#pragma once

#include "base/buf.h"
#include "server/log.h"
#include "server/models.h"
#include "server/response_cache.h"

struct metrics;

struct metrics *metrics_new(struct err *e);
void metrics_free(struct metrics *m);
/* A request at its end; route: its index in the tables, -1 for none.  Any thread. */
void metrics_count(struct metrics *m, int route, const struct log_request *r);
/* One number, for those that keep their own. */
void metrics_number(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t v);
void metrics_seconds(struct buf *b, const char *name, const char *type, const char *help, double s);
/* loaded: models_list(); n_malformed: requests without a valid head. */
void metrics_write(struct metrics *m, struct models_stats models, const json_t *loaded,
                   const struct response_cache_stats *cache, long n_malformed, struct buf *out);

/* What `cria top` shows: {"uptime_s", "requests", "failed", "tokens", "prompt_tokens",
 * "cached_tokens", "waiting", "running", "refused", "memory": {"limit", "planned", "used"},
 * "first_token", "token": histograms {"bounds": [seconds], "n": [one more], "sum"}}; counts since
 * the start. */
json_t *metrics_json(struct metrics *m, struct models_stats models);
