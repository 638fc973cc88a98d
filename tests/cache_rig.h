/* What tests of the response cache share: servers with one store and small models, what the cache
 * did with a request, answers that can be compared. */
#pragma once

#include <pthread.h>

#include "api_rig.h"

/* Models "plain" (temperature 0, a context of 256) and "bert", in home/models. */
struct cache_home {
    char *dir;                   /* a temporary folder */
    char home[600], models[600]; /* "HOME=dir", "CRIA_MODELS=dir/models": for serve_start */
};
/* Starts s with CRIA_RESPONSE_CACHE=on, there. */
void cache_home_start(struct cache_home *h, struct serve *s);
int cache_home_stop(struct cache_home *h, struct serve *s);
/* The server of a group of tests, and where it is: for cmocka_run_group_tests. */
extern struct serve cache_server;
extern struct cache_home cache_home;
int cache_group_start(void **state);
int cache_group_stop(void **state);

/* Another server with those models and a home of its own, unless the settings (or NULL) name one.
 */
void cache_serve(struct serve *s, const struct cache_home *h, const char *a, const char *b,
                 const char *c);

/* A counter or gauge of /metrics. */
long metric_of(const struct serve *s, const char *name);
/* Requests that a model has worked for; at last so many. */
long n_run(const struct serve *s);
/* The same once requests that were answered have been counted. */
long n_run_settled(const struct serve *s);
void expect_runs(const struct serve *s, long n);
/* Answers stored so far, once what is under way is. */
long n_stored(const struct serve *s);

/* X-Cache of an answer that must be 200, "none" without one; its body in *out (buf_fini), unless
 * that is NULL.  Valid for the next 3 calls. */
const char *cache_of(const struct serve *s, const char *path, const char *headers, const char *body,
                     struct buf *out);

/* An answer, or the list of a stream's pieces, without what is another one each time: ids, the time
 * of day, how long this client waited.  json_decref. */
json_t *cache_pieces(const struct buf *body);

/* X-Cache of an answer, "none" without one; any thread. */
void cache_word(const struct answer *a, char out[16]);

/* One of many that ask at once, on a thread of its own (pthread_join). */
struct cache_asker {
    pthread_t thread;
    const struct serve *s;
    const char *body; /* for /api/generate */
    struct buf got;   /* buf_fini */
    char cache[16];   /* X-Cache, or "failed" */
};
void cache_ask_beside(struct cache_asker *k, const struct serve *s, const char *body);

int cache_by_size(const void *a, const void *b); /* of int64_t, for qsort */

#define GENERATE "/api/generate"
#define CACHE_PLAIN                                                                                \
    ",\"template\":\"{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>\""       \
    ",\"parameters\":{\"temperature\":0,\"num_ctx\":256}"
#define ASK(prompt, more) "{\"model\":\"plain\",\"prompt\":\"" prompt "\",\"stream\":false" more "}"
#define EIGHT "\"options\":{\"num_predict\":8}"
