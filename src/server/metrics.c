/* See metrics.h.  One mutex: a request takes it once. */
#include "server/metrics.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "base/version.h"
#include "cpu/cpu.h"
#include "server/front_priv.h"

/* Seconds; what lies above the last is in +Inf. */
static const double bounds[] = {1e-5, 1e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                0.25, 0.5,  1,     2.5,    5,     10,   30,    60,   300};
enum { N_BOUND = sizeof bounds / sizeof *bounds, N_STATUS = 600 - 200 };

struct histogram {
    uint64_t n[N_BOUND + 1];
    double sum;
};

struct per_route {
    uint32_t n[N_STATUS]; /* by status - 200 */
    struct histogram all;
};

struct metrics {
    int64_t start_ns, start_s; /* monotonic; Unix time */
    pthread_mutex_t lock;      /* of what follows */
    int n_route;
    struct histogram first, queue, load, token, prompt_token;
    uint64_t n_prompt, n_cached, n_eval, n_truncated, n_sent, n_body, n_cut;
    struct per_route route[]; /* [n_route + 1]; the last is for requests without one */
};

struct metrics *metrics_new(struct err *e) {
    int n = 0;
    while (route_at(n))
        n++;
    struct metrics *m = calloc(1, sizeof *m + (size_t)(n + 1) * sizeof *m->route);
    if (!m) {
        err_nomem(e, "metrics");
        return NULL;
    }
    m->n_route = n;
    m->start_ns = os_now_ns();
    m->start_s = time(NULL);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m) {
    if (!m) return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void add(struct histogram *h, int64_t ns) {
    const double s = (double)ns / 1e9;
    int i = 0;
    while (i < N_BOUND && s > bounds[i])
        i++;
    h->n[i]++;
    h->sum += s;
}

/* The mean of a request's n, once for the request. */
static void add_each(struct histogram *h, int64_t ns, int n) {
    if (n > 0 && ns > 0) add(h, ns / n);
}

void metrics_count(struct metrics *m, int route, const struct log_request *r) {
    pthread_mutex_lock(&m->lock);
    struct per_route *p = &m->route[route < 0 ? m->n_route : route];
    if (r->status >= 200 && r->status < 600) p->n[r->status - 200]++;
    add(&p->all, os_now_ns() - r->start_ns);
    m->n_sent += (uint64_t)r->n_sent;
    m->n_body += (uint64_t)r->n_body;
    m->n_cut += r->cut;
    if (r->work) {
        m->n_prompt += (uint64_t)r->work->n_prompt;
        m->n_cached += (uint64_t)r->work->n_cached;
        m->n_eval += (uint64_t)r->work->n_eval;
        m->n_truncated += (uint64_t)r->work->n_truncated;
        add(&m->queue, r->work->queue_ns);
        if (r->load_ns) add(&m->load, r->load_ns);
        add_each(&m->token, r->work->eval_ns, r->work->n_eval);
        add_each(&m->prompt_token, r->work->prompt_ns, r->work->n_prompt - r->work->n_cached);
        if (r->first_ns) add(&m->first, r->first_ns - r->start_ns);
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- text ---- */

static void begin(struct buf *b, const char *name, const char *type, const char *help) {
    buf_printf(b, "# HELP cria_%s %s\n# TYPE cria_%s %s\n", name, help, name, type);
}

static void number(struct buf *b, const char *name, const char *type, const char *help,
                   uint64_t v) {
    begin(b, name, type, help);
    buf_printf(b, "cria_%s %llu\n", name, (unsigned long long)v);
}

void metrics_number(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t v) {
    number(b, name, type, help, v);
}

void metrics_seconds(struct buf *b, const char *name, const char *type, const char *help,
                     double s) {
    begin(b, name, type, help);
    buf_printf(b, "cria_%s %.6f\n", name, s);
}

static void histogram(struct buf *b, const char *name, const char *label,
                      const struct histogram *h) {
    const char *comma = *label ? "," : "";
    uint64_t n = 0;
    for (int i = 0; i < N_BOUND; i++) {
        n += h->n[i];
        buf_printf(b, "cria_%s_bucket{%s%sle=\"%g\"} %llu\n", name, label, comma, bounds[i],
                   (unsigned long long)n);
    }
    n += h->n[N_BOUND];
    buf_printf(b, "cria_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, label, comma,
               (unsigned long long)n);
    buf_printf(b, *label ? "cria_%s_sum{%s} %.6f\n" : "cria_%s_sum%s %.6f\n", name, label, h->sum);
    buf_printf(b, *label ? "cria_%s_count{%s} %llu\n" : "cria_%s_count%s %llu\n", name, label,
               (unsigned long long)n);
}

/* Labels are the tables' own texts: nothing from outside is in them. */
static void route_label(const struct metrics *m, int i, char *out, size_t n) {
    const struct route *r = i < m->n_route ? route_at(i) : NULL;
    snprintf(out, n, "route=\"%s\",method=\"%s\"", r ? r->path : "none",
             r ? http_method_name(r->method) : "any");
}

static void write_routes(const struct metrics *m, struct buf *b) {
    char label[200];
    begin(b, "requests_total", "counter", "Requests by route and status.");
    for (int i = 0; i <= m->n_route; i++) {
        route_label(m, i, label, sizeof label);
        for (int k = 0; k < N_STATUS; k++)
            if (m->route[i].n[k])
                buf_printf(b, "cria_requests_total{%s,status=\"%d\"} %u\n", label, k + 200,
                           m->route[i].n[k]);
    }
    begin(b, "request_seconds", "histogram", "From a request's head to the end of its answer.");
    for (int i = 0; i <= m->n_route; i++) {
        uint64_t n = 0;
        for (int k = 0; k <= N_BOUND; k++)
            n += m->route[i].all.n[k];
        route_label(m, i, label, sizeof label);
        if (n) histogram(b, "request_seconds", label, &m->route[i].all);
    }
}

static void write_models(const struct models_stats *s, struct buf *b) {
    number(b, "models_loaded", "gauge", "Models in memory.", (uint64_t)s->n_loaded);
    number(b, "requests_waiting", "gauge", "Requests that wait for a model.",
           (uint64_t)s->n_waiting);
    number(b, "requests_running", "gauge", "Requests that a model works for.",
           (uint64_t)s->n_running);
    number(b, "memory_planned_bytes", "gauge", "What the loaded models may come to use.",
           s->bytes_planned);
    number(b, "memory_used_bytes", "gauge", "What they use.", s->bytes_used);
    number(b, "memory_limit_bytes", "gauge", "Limit over all models; 0: none.", s->max_bytes);
    number(b, "model_loads_total", "counter", "Loads.", (uint64_t)s->n_loads);
    number(b, "model_evictions_total", "counter", "Models that left for others.",
           (uint64_t)s->n_evictions);
    number(b, "model_crashes_total", "counter", "Engines that died.", (uint64_t)s->n_crashes);
    number(b, "requests_refused_total", "counter", "Requests refused because the queue was full.",
           (uint64_t)s->n_refused);
}

/* A number of each loaded model.  A name has no character that a label would have to escape
 * (store/name.h). */
static void write_loaded(const json_t *loaded, const char *name, const char *key, const char *help,
                         struct buf *b) {
    size_t i;
    json_t *l;
    begin(b, name, "gauge", help);
    json_array_foreach(loaded, i, l) {
        const json_t *v = json_object_get(l, key);
        if (v)
            buf_printf(b, "cria_%s{model=\"%s\"} %lld\n", name,
                       json_string_value(json_object_get(l, "name")),
                       (long long)json_integer_value(v));
    }
}

static void write_each_model(const json_t *loaded, struct buf *b) {
    write_loaded(loaded, "model_slots", "parallel", "Sequences that a model runs at once.", b);
    write_loaded(loaded, "model_requests", "running", "Requests that use a model.", b);
    write_loaded(loaded, "model_waiting", "waiting", "Requests that wait for a slot of it.", b);
    write_loaded(loaded, "model_planned_bytes", "size", "What a model may come to use.", b);
    write_loaded(loaded, "model_used_bytes", "size_used", "What its process uses.", b);
    write_loaded(loaded, "model_weights_bytes", "size_weights", "Its weights.", b);
    write_loaded(loaded, "model_kv_bytes", "size_kv", "Pages of its cache in use.", b);
}

/* Of this program and process. */
static void write_process(const struct metrics *m, struct buf *b) {
    begin(b, "build_info", "gauge", "1; what was built, and whose kernels run.");
    buf_printf(b, "cria_build_info{version=\"%s\",isa=\"%s\"} 1\n", CRIA_VERSION, cpu_isa());
    number(b, "start_time_seconds", "gauge", "When the server began, Unix time.",
           (uint64_t)m->start_s);
    number(b, "front_resident_bytes", "gauge", "What the front's process uses.", os_rss_bytes());
}

static void write_cache(const struct response_cache_stats *s, struct buf *b) {
    const struct answer_cache_stats *t = &s->store;
    const struct {
        const char *name, *type, *help;
        int64_t v;
    } row[] = {
        {"response_cache_hits_total", "counter", "Answers from the response cache.",
         s->n[CACHE_HIT]},
        {"response_cache_misses_total", "counter", "Answers that were made, to be kept.",
         s->n[CACHE_MISS]},
        {"response_cache_shared_total", "counter", "Answers that were being made for another.",
         s->n[CACHE_SHARED]},
        {"response_cache_bypasses_total", "counter", "Answers that were not to be cached.",
         s->n[CACHE_BYPASS]},
        {"response_cache_stores_total", "counter", "Answers written.", t->n_put},
        {"response_cache_evictions_total", "counter",
         "Answers that left for others, or with their time.", t->n_gone},
        {"response_cache_errors_total", "counter",
         "Times the store failed, or an answer in it was damaged.", t->n_error + s->n_open_failed},
        {"response_cache_dropped_total", "counter",
         "Answers that were not written, as too many waited.", t->n_dropped},
        {"response_cache_entries", "gauge", "Answers in the store.", t->n},
        {"response_cache_bytes", "gauge", "What they take.", t->n_bytes},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].v >= 0) number(b, row[i].name, row[i].type, row[i].help, (uint64_t)row[i].v);
}

void metrics_write(struct metrics *m, struct models_stats models, const json_t *loaded,
                   const struct response_cache_stats *cache, long n_malformed, struct buf *b) {
    pthread_mutex_lock(&m->lock);
    write_routes(m, b);
    begin(b, "first_token_seconds", "histogram", "From a request's head to its first text.");
    histogram(b, "first_token_seconds", "", &m->first);
    begin(b, "token_seconds", "histogram", "For a token of the answer, the mean of each request.");
    histogram(b, "token_seconds", "", &m->token);
    begin(b, "prompt_token_seconds", "histogram",
          "For a token of the prompt that was in no cache, the mean of each request.");
    histogram(b, "prompt_token_seconds", "", &m->prompt_token);
    begin(b, "queue_seconds", "histogram", "Waiting for a turn of the model.");
    histogram(b, "queue_seconds", "", &m->queue);
    begin(b, "load_seconds", "histogram", "Waiting for a model to be loaded.");
    histogram(b, "load_seconds", "", &m->load);
    number(b, "prompt_tokens_total", "counter", "Tokens of prompts.", m->n_prompt);
    number(b, "cached_tokens_total", "counter", "Of them, those found in a cache.", m->n_cached);
    number(b, "tokens_total", "counter", "Tokens generated.", m->n_eval);
    number(b, "truncated_tokens_total", "counter", "Tokens of prompts that were left out.",
           m->n_truncated);
    number(b, "received_bytes_total", "counter", "Bytes of bodies.", m->n_body);
    number(b, "sent_bytes_total", "counter", "Bytes of answers.", m->n_sent);
    number(b, "replies_cut_total", "counter", "Answers that did not arrive whole.", m->n_cut);
    pthread_mutex_unlock(&m->lock);
    number(b, "malformed_requests_total", "counter", "Requests without a valid head.",
           (uint64_t)n_malformed);
    write_models(&models, b);
    write_cache(cache, b);
    write_each_model(loaded, b);
    write_process(m, b);
}

/* ---- JSON ---- */

static json_t *histogram_json(const struct histogram *h) {
    json_t *limits = json_array(), *n = json_array();
    for (int i = 0; i <= N_BOUND; i++) {
        if (i < N_BOUND) json_array_append_new(limits, json_real(bounds[i]));
        json_array_append_new(n, json_integer((json_int_t)h->n[i]));
    }
    return json_pack("{s:o, s:o, s:f}", "bounds", limits, "n", n, "sum", h->sum);
}

json_t *metrics_json(struct metrics *m, struct models_stats models) {
    uint64_t n_request = 0, n_failed = 0;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i <= m->n_route; i++)
        for (int k = 0; k < N_STATUS; k++) {
            n_request += m->route[i].n[k];
            if (k + 200 >= 500) n_failed += m->route[i].n[k];
        }
    json_t *j =
        json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "uptime_s",
                  (double)(os_now_ns() - m->start_ns) / 1e9, "requests", (json_int_t)n_request,
                  "failed", (json_int_t)n_failed, "tokens", (json_int_t)m->n_eval, "prompt_tokens",
                  (json_int_t)m->n_prompt, "cached_tokens", (json_int_t)m->n_cached, "first_token",
                  histogram_json(&m->first), "token", histogram_json(&m->token));
    pthread_mutex_unlock(&m->lock);
    json_t *memory =
        json_pack("{s:I, s:I, s:I}", "limit", (json_int_t)models.max_bytes, "planned",
                  (json_int_t)models.bytes_planned, "used", (json_int_t)models.bytes_used);
    json_object_set_new(j, "waiting", json_integer(models.n_waiting));
    json_object_set_new(j, "running", json_integer(models.n_running));
    json_object_set_new(j, "refused", json_integer(models.n_refused));
    json_object_set_new(j, "memory", memory);
    return j;
}
