/* The life cycle of models: found in the store, loaded into an engine child on demand, kept for
 * keep_alive, unloaded when idle or when another needs the room; and the memory limit over all.
 *
 * One mutex guards the table; loads run on a thread of their own each; nothing here blocks the net
 * thread.  Times are monotonic. */
#pragma once

#include "server/ask.h"
#include "store/store.h"

struct models;
struct log; /* log.h */

struct models_opts {
    struct store *store;        /* borrowed */
    struct log *log;            /* borrowed; NULL: nothing is said */
    uint64_t max_bytes;         /* MEMORY: weights, caches and compute of all; 0: none */
    uint64_t own_bytes;         /* of max_bytes, for this process: models get the rest */
    int n_parallel;             /* NUM_PARALLEL; 0: chosen by memory */
    int max_loaded;             /* MAX_LOADED_MODELS; 0: 3 */
    int max_queue;              /* MAX_QUEUE; 0: 512 */
    int64_t keep_alive_ns;      /* KEEP_ALIVE; < 0: for ever */
    int64_t load_timeout_ns;    /* LOAD_TIMEOUT; 0: none */
    int64_t request_timeout_ns; /* REQUEST_TIMEOUT: of a request, queue included; 0: none */
    const char *preload;        /* MODEL: pulled if missing, loaded at the start; or NULL */
};

struct models *models_open(const struct models_opts *o, struct err *e);
/* New settings (SIGHUP); what is loaded stays until it is used again. */
void models_configure(struct models *m, const struct models_opts *o);
/* No more loads; models_close waits for what runs. */
void models_drain(struct models *m);
void models_close(struct models *m);

/* "5m", "-1", "300ms", "1h30m", seconds as a number; absent (NULL, null): `usual`.  Negative: for
 * ever.  ERR_USAGE. */
int models_keep_alive(const json_t *v, int64_t usual_ns, int64_t *ns, struct err *e);
/* The same of another field of a request. */
int models_duration(const char *field, const json_t *v, int64_t usual_ns, int64_t *ns,
                    struct err *e);
/* REQUEST_TIMEOUT; 0: none. */
int64_t models_request_timeout(struct models *m);

/* The loaded ones as /api/ps has them, each by the name that it was last asked for by (names of one
 * manifest share a child): [{"name", "model", "size", "digest", "details",
 * "expires_at", "size_vram", "context_length"...}]. */
json_t *models_list(struct models *m);
/* Unload by name, also by a prefix of it that ps shows; waits for nothing.  False: not loaded. */
bool models_unload(struct models *m, const struct name *n);

/* ---- what takes memory beside the models: a training job (trainings.h) ---- */

/* What it may plan with: all that is left when the idle models go; a part of what the machine has
 * left without a limit.  0: not known. */
uint64_t models_room(struct models *m);
/* Count so many bytes, instead of what was counted before, as taken by `what` ("training job 1f",
 * for those who do not fit beside it): idle models leave for it, and
 * it waits until they have.  ERR_LIMIT with the numbers, and nothing is counted: models in use need
 * what is missing.  0 bytes: always. */
int models_reserve(struct models *m, const char *what, uint64_t bytes, struct err *e);
/* So many of them are in use already: what the machine has left is less for that. */
void models_reserved_used(struct models *m, uint64_t bytes);

struct models_stats {
    int n_loaded, n_waiting, n_running;
    uint64_t bytes_planned, bytes_used, max_bytes;
    long n_loads, n_evictions, n_crashes, n_refused;
};
struct models_stats models_stats(struct models *m);
/* The setting MODEL is still being pulled or loaded. */
bool models_preloading(struct models *m);
