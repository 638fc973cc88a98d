/* The life of a request: made by the net thread, ended once, freed with its last reference (the
 * handler's side has one, the net's the other). */
#include "server/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/os.h"
#include "server/allow.h"
#include "server/front_priv.h"

/* ---- accessors ---- */

struct server *request_server(const struct request *r) {
    return r->server;
}

const struct http_head *request_head(const struct request *r) {
    return net_req_head(r->net);
}

const char *request_param(const struct request *r) {
    return r->param ? r->param : "";
}

struct str request_body(const struct request *r) {
    return r->sink_open ? STR("") : buf_view(&r->body);
}

void *request_sink(const struct request *r) {
    return r->sink;
}

const char *request_user(const struct request *r) {
    return *r->user ? r->user : r->peer;
}

const char *request_key(const struct request *r) {
    return r->user;
}

json_t *request_turn(const struct request *r, const char *theirs) {
    if (!theirs || *r->user) return json_string(request_user(r));
    return json_sprintf("%s/%s", request_user(r), theirs);
}

json_t *request_json(struct request *r) {
    struct err e;
    if (r->json) return r->json;
    if (r->body.n == 0) {
        reply_error(r, 400, "missing request body");
        return NULL;
    }
    r->json = json_read_object("request body", buf_view(&r->body), JSON_VALUES_MAX, &e);
    if (!r->json) {
        reply_err(r, &e);
        return NULL;
    }
    r->n_json = r->body.n; /* the JSON has its bytes now, and counts as much */
    buf_fini(&r->body);
    r->body = (struct buf){0};
    return r->json;
}

void request_set_model(struct request *r, const char *name) {
    char *copy = name ? strdup(name) : NULL;
    pthread_mutex_lock(&r->lock);
    free(r->model);
    r->model = copy;
    pthread_mutex_unlock(&r->lock);
}

const json_t *request_object(const struct request *r) {
    return r->json;
}

void request_note_fallback(struct request *r, const char *model, const char *reason) {
    char *copy = strdup(model);
    pthread_mutex_lock(&r->lock);
    free(r->served);
    r->served = copy;
    r->why_served = reason;
    pthread_mutex_unlock(&r->lock);
}

const char *request_served(const struct request *r, const char *asked) {
    return r->served ? r->served : asked;
}

void request_announce_fallback(struct request *r, const char *model, const char *reason) {
    struct buf line = {0};
    request_note_fallback(r, model, reason);
    if (!stream_started(r)) {
        buf_printf(&line, "X-Fallback: %s; reason=%s\r\n", model, reason);
        if (!line.failed) reply_header(r, line.p);
    }
    buf_fini(&line);
}

const char *request_fallback_reason(const struct request *r) {
    return r->why_served;
}

void request_set_receipt(struct request *r, json_t *receipt) {
    json_decref(r->receipt);
    r->receipt = receipt;
}

void request_tell(const struct request *r, json_t *o) {
    if (o && r->why_served) json_object_set_new(o, "fallback_reason", json_string(r->why_served));
    if (o && r->receipt) json_object_set(o, "receipt", r->receipt);
}

void request_note_work(struct request *r, const struct gen_stats *s, int64_t load_ns) {
    pthread_mutex_lock(&r->lock);
    r->work_done = *s;
    r->load_ns = load_ns;
    r->worked = true;
    pthread_mutex_unlock(&r->lock);
}

static void add_work(struct gen_stats *to, const struct gen_stats *s) {
    to->n_prompt += s->n_prompt, to->n_cached += s->n_cached;
    to->n_eval += s->n_eval, to->n_truncated += s->n_truncated, to->n_shift += s->n_shift;
    to->n_drafted += s->n_drafted, to->n_accepted += s->n_accepted;
    to->queue_ns += s->queue_ns, to->prompt_ns += s->prompt_ns, to->eval_ns += s->eval_ns;
}

void request_next_work(struct request *r) {
    pthread_mutex_lock(&r->lock);
    add_work(&r->work_before, &r->work_done);
    r->work_done = (struct gen_stats){0};
    pthread_mutex_unlock(&r->lock);
}

struct gen_stats request_work(const struct request *r) {
    struct gen_stats all = r->work_before;
    add_work(&all, &r->work_done);
    return all;
}

void request_note_first(struct request *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->first_ns) r->first_ns = os_now_ns();
    pthread_mutex_unlock(&r->lock);
}

/* ---- beginning and end ---- */

/* Ids that nobody can foretell nor meet twice: a counter through a keyed mix (splitmix64). */
static void make_id(struct server *s, char id[ID_HEX + 1]) {
    uint64_t x = s->id_key + (uint64_t)atomic_fetch_add(&s->n_id, 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    snprintf(id, ID_HEX + 1, "%016llx", (unsigned long long)(x ^ x >> 31));
}

struct request *request_new(struct server *s, struct net_req *net) {
    struct request *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->server = s;
    r->net = net;
    r->start_ns = os_now_ns();
    atomic_init(&r->n_ref, 2);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->task_lock, NULL);
    make_id(s, r->id);
    snprintf(r->peer, sizeof r->peer, "%s", net_req_peer(net));
    buf_printf(&r->headers, "X-Request-Id: %s\r\n", r->id);
    return r;
}

void request_ref(struct request *r) {
    atomic_fetch_add(&r->n_ref, 1);
}

static void request_free(void *arg) {
    struct request *r = arg;
    atomic_fetch_sub(&r->server->n_gathered, (long long)(r->body.n + r->n_json));
    json_decref(r->json);
    json_decref(r->receipt);
    buf_fini(&r->headers);
    buf_fini(&r->body);
    buf_fini(&r->pending);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->task_lock);
    keys_unref(r->keys);
    audit_facts_fini(r->server->audit, &r->audit);
    free(r->model);
    free(r->served);
    free(r->path);
    free(r);
}

/* The last is the net thread or a model's reader, mostly: 100,000 messages would hold it up for 30
 * ms. */
void request_unref(struct request *r) {
    if (atomic_fetch_sub(&r->n_ref, 1) != 1) return;
    if (r->n_json <= BODY_SMALL) {
        request_free(r);
        return;
    }
    r->work = (struct work){.fn = request_free, .arg = r};
    workers_submit(r->server->workers, WORK_LARGE, &r->work);
}

void request_finish(struct request *r, bool complete) {
    pthread_mutex_lock(&r->lock);
    if (r->gone && !r->started) r->status = 499;
    const int status = r->status;
    pthread_mutex_unlock(&r->lock);
    allow_settle(r, status);
    pthread_mutex_lock(&r->lock);
    const struct http_head *h = net_req_head(r->net);
    const struct str *parent = http_head_get(h, "traceparent");
    struct trace trace;
    const struct gen_stats work = request_work(r);
    const struct log_request l = {
        .trace = parent && trace_parse(*parent, &trace) ? &trace : NULL,
        .id = r->id,
        .peer = r->peer,
        .user = r->user,
        .method = http_method_name(h->method),
        .path = r->path ? r->path : "",
        .model = r->model,
        .fallback = r->why_served,
        .status = r->status,
        .cut = r->started && (r->gone || r->cut),
        .n_body = r->n_body,
        .n_sent = r->n_sent,
        .start_ns = r->start_ns,
        .body_ns = r->body_ns,
        .first_ns = r->first_ns,
        .load_ns = r->load_ns,
        .work = r->worked ? &work : NULL,
        .cache = request_cache_word(r->cached),
    };
    log_put_request(r->server->log, &l);
    metrics_count(r->server->metrics, r->route ? route_index(r->route) : -1, &l);
    audit_end(r, &l);
    pthread_mutex_unlock(&r->lock);
    net_reply_end(r->net, complete);
    request_unref(r);
}

/* ---- what becomes of the client ---- */

bool request_gone(const struct request *r) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&r->lock; /* only looks */
    pthread_mutex_lock(lock);
    const bool gone = r->gone;
    pthread_mutex_unlock(lock);
    return gone;
}

const volatile int *request_left(const struct request *r) {
    return &r->gone;
}

void request_set_gone(struct request *r) {
    __atomic_store_n(&r->gone, 1, __ATOMIC_RELAXED);
}

void request_attach(struct request *r, struct gen_task *task) {
    pthread_mutex_lock(&r->task_lock);
    pthread_mutex_lock(&r->lock);
    const bool gone = r->gone, slow = r->pending.n > PAUSE_BYTES;
    pthread_mutex_unlock(&r->lock);
    const bool left = gone && !request_is_wanted(r, true);
    r->task = task;
    r->task_paused = task && slow && !gone && !request_is_wanted(r, false);
    if (task && left)
        gen_cancel(task);
    else if (r->task_paused)
        gen_pause(task);
    pthread_mutex_unlock(&r->task_lock);
}

void request_on_gone(struct request *r, request_gone_fn *fn, void *ctx) {
    pthread_mutex_lock(&r->task_lock);
    const bool gone = fn && request_gone(r) && !request_is_wanted(r, true);
    r->gone_fn = gone ? NULL : fn;
    r->gone_ctx = ctx;
    pthread_mutex_unlock(&r->task_lock);
    if (gone) fn(ctx);
}

/* ---- others that want the same ---- */

bool request_is_wanted(struct request *r, bool leaving) {
    return r->wanted && r->wanted(r->wanted_ctx, leaving);
}

void request_share(struct request *r, request_wanted_fn *fn, void *ctx) {
    pthread_mutex_lock(&r->task_lock);
    r->wanted = fn;
    r->wanted_ctx = ctx;
    pthread_mutex_unlock(&r->task_lock);
}

void request_unwanted(struct request *r) {
    if (request_gone(r)) stream_tell_gone(r);
}

void request_hurry(struct request *r) {
    pthread_mutex_lock(&r->task_lock);
    if (r->task_paused && r->task) gen_resume(r->task);
    r->task_paused = false;
    pthread_mutex_unlock(&r->task_lock);
}

/* ---- the response cache ---- */

void request_note_cache(struct request *r, enum cached c) {
    pthread_mutex_lock(&r->lock);
    if (c > r->cached) r->cached = c;
    pthread_mutex_unlock(&r->lock);
}

const char *request_cache_word(enum cached c) {
    static const char *const word[] = {
        [CACHED_HIT] = "hit", [CACHED_MISS] = "miss", [CACHED_BYPASS] = "bypass"};
    return word[c];
}

const char *request_cache_header(struct request *r) {
    static const char *const line[] = {"", "X-Cache: HIT\r\n", "X-Cache: MISS\r\n",
                                       "X-Cache: BYPASS\r\n"};
    pthread_mutex_lock(&r->lock);
    const enum cached c = r->cached;
    pthread_mutex_unlock(&r->lock);
    return line[c];
}
