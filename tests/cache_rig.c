/* See cache_rig.h. */
#include "cache_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- servers ---- */

void cache_home_start(struct cache_home *h, struct serve *s) {
    h->dir = temp_folder();
    snprintf(h->home, sizeof h->home, "HOME=%s", h->dir);
    snprintf(h->models, sizeof h->models, "CRIA_MODELS=%s/models", h->dir);
    serve_start(s, NULL, (const char *const[]){"CRIA_RESPONSE_CACHE=on", h->home, h->models, NULL});
    api_make(s, "plain", "llama32", CACHE_PLAIN);
    api_make(s, "bert", "bert", "");
}

int cache_home_stop(struct cache_home *h, struct serve *s) {
    const int rc = serve_stop(s);
    temp_remove(h->dir);
    return rc;
}

struct serve cache_server;
struct cache_home cache_home;

int cache_group_start(void **state) {
    (void)state;
    cache_home_start(&cache_home, &cache_server);
    return 0;
}

int cache_group_stop(void **state) {
    (void)state;
    return cache_home_stop(&cache_home, &cache_server);
}

void cache_serve(struct serve *s, const struct cache_home *h, const char *a, const char *b,
                 const char *c) {
    serve_start(s, NULL, (const char *const[]){h->models, a, b, c, NULL});
}

/* ---- asking ---- */

long metric_of(const struct serve *s, const char *name) {
    long v;
    if (!serve_metric(s, name, &v)) fail_msg("no metric %s", name);
    return v;
}

long n_run(const struct serve *s) {
    return metric_of(s, "queue_seconds_count");
}

long n_run_settled(const struct serve *s) {
    long n = n_run(s), before;
    do {
        before = n;
        usleep(150000);
        n = n_run(s);
    } while (n != before);
    return n;
}

/* A request is counted a moment after its client has the answer. */
void expect_runs(const struct serve *s, long n) {
    for (int i = 0; i < 400 && n_run(s) < n; i++)
        usleep(5000);
    assert_int_equal(n_run(s), n);
}

long n_stored(const struct serve *s) {
    usleep(200000);
    return metric_of(s, "response_cache_stores_total");
}

const char *cache_of(const struct serve *s, const char *path, const char *headers, const char *body,
                     struct buf *out) {
    static char word[4][16];
    static int k;
    struct answer a;
    ask(s, &a, "POST", path, headers, body);
    if (a.status != 200) fail_msg("%s %s: %d %s", path, body, a.status, a.body.p);
    assert_true(a.whole);
    const char *v = answer_header(&a, "X-Cache");
    k = (k + 1) % 4;
    snprintf(word[k], sizeof word[k], "%s", v ? v : "none");
    if (out) {
        *out = a.body;
        a.body = (struct buf){0};
    }
    answer_fini(&a);
    return word[k];
}

/* ---- answers ---- */

static void without_times(json_t *j) {
    static const char *const gone[] = {"created_at",    "created", "id",         "total_duration",
                                       "load_duration", "item_id", "response_id"};
    const char *key;
    json_t *v;
    size_t i;
    for (size_t k = 0; k < sizeof gone / sizeof *gone; k++)
        json_object_del(j, gone[k]);
    json_object_foreach(j, key, v) without_times(v);
    json_array_foreach(j, i, v) without_times(v);
}

json_t *cache_pieces(const struct buf *body) {
    struct answer a = {.body = *body};
    json_error_t je;
    json_t *j = json_loadb(body->p, body->n, JSON_ALLOW_NUL, &je);
    if (!j) j = answer_stream(&a);
    assert_true(json_array_size(j) + json_object_size(j) > 0);
    without_times(j);
    return j;
}

/* ---- many ---- */

/* Not answer_header(): its texts are those of all threads. */
void cache_word(const struct answer *a, char out[16]) {
    static const char name[] = "\r\nX-Cache: ";
    const char *at = a->head.p ? strstr(a->head.p, name) : NULL;
    snprintf(out, 16, "%.*s", at ? (int)strcspn(at + sizeof name - 1, "\r") : 4,
             at ? at + sizeof name - 1 : "none");
}

static void *ask_once(void *arg) {
    struct cache_asker *k = arg;
    struct answer a;
    ask(k->s, &a, "POST", GENERATE, NULL, k->body);
    cache_word(&a, k->cache);
    if (a.status != 200 || !a.whole) strcpy(k->cache, "failed");
    k->got = a.body;
    a.body = (struct buf){0};
    answer_fini(&a);
    return NULL;
}

void cache_ask_beside(struct cache_asker *k, const struct serve *s, const char *body) {
    *k = (struct cache_asker){.s = s, .body = body};
    assert_int_equal(pthread_create(&k->thread, NULL, ask_once, k), 0);
}

int cache_by_size(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}
