/* See metrics.h.  One mutex: a request takes it once. */
#include "server/metrics.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/os.h"
#include "server/front_priv.h"

/* Seconds; what lies above the last is in +Inf. */
static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                0.5,   1,      2.5,   5,    10,    30,   60,  300};
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
    pthread_mutex_t lock; /* of what follows */
    int n_route;
    struct histogram first, queue, load;
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

void metrics_write(struct metrics *m, struct models_stats models, long n_malformed, struct buf *b) {
    pthread_mutex_lock(&m->lock);
    write_routes(m, b);
    begin(b, "first_token_seconds", "histogram", "From a request's head to its first text.");
    histogram(b, "first_token_seconds", "", &m->first);
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
}
