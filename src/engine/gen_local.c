/* gen.h in this process: one thread takes the tasks in order. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/embed.h"
#include "engine/gen_priv.h"
#include "engine/gen_request.h"
#include "engine/memory.h"
#include "engine/prompt.h"

struct task {
    struct gen_task base;
    struct task *next;
    json_t *request; /* owned */
    gen_event_fn *fn;
    void *ctx;
    volatile int stop; /* atomic: cancelled */
    bool paused;       /* under the gen's lock */
    int64_t start_ns;
    struct gen_stats stats;
};

struct local {
    struct gen base;
    struct engine *engine;
    struct session *session;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t change; /* of what follows, and of a task's pause */
    struct task *first, **last, *running;
    bool closing;
    int n_waiting;
    void (*told)(void *ctx);
    void *told_ctx;
};

static struct local *local_of(const struct gen *g) {
    return (struct local *)(uintptr_t)g;
}

/* ---- events ---- */

static void send(struct task *t, struct gen_event ev) {
    struct local *g = local_of(t->base.gen);
    t->fn(t->ctx, &ev);
    if (g->told) g->told(g->told_ctx);
}

static void send_data(struct task *t, json_t *data) {
    send(t, (struct gen_event){.kind = GEN_RESULT, .data = data});
    json_decref(data);
}

/* ---- answers ---- */

struct answering {
    struct local *g;
    struct task *t;
    bool prompt_told;
};

/* Waits while the reader is slow; nonzero: cancelled. */
static int wait_resumed(struct local *g, struct task *t) {
    pthread_mutex_lock(&g->lock);
    while (t->paused && !t->stop)
        pthread_cond_wait(&g->change, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return __atomic_load_n(&t->stop, __ATOMIC_RELAXED);
}

static int hear(void *ctx, const struct decode_event *ev) {
    struct answering *a = ctx;
    if (!a->prompt_told) {
        a->prompt_told = true;
        send(a->t, (struct gen_event){.kind = GEN_PROMPT, .stats = a->t->stats});
    }
    send(a->t, (struct gen_event){.kind = GEN_TEXT,
                                  .text = ev->text,
                                  .token = ev->token >= 0 ? &ev->token : NULL,
                                  .n_token = ev->token >= 0});
    return wait_resumed(a->g, a->t);
}

static int make_prompt(struct local *g, const struct gen_request *q, struct ids *out,
                       struct err *e) {
    const struct vocab *v = engine_vocab(g->engine);
    if (q->op == GEN_OP_TEXT) {
        for (int i = 0; i < q->n_token; i++)
            ids_push(out, q->token[i]);
        return q->prompt.p ? prompt_encode(v, q->prompt, out, e) : 0;
    }
    const size_t n = json_array_size(q->messages);
    struct chat_message *m = calloc(n + 1, sizeof *m);
    if (!m) return err_nomem(e, "messages");
    for (size_t i = 0; i < n; i++) {
        const json_t *j = json_array_get(q->messages, i), *c = json_object_get(j, "content");
        m[i].role = str_of(json_string_value(json_object_get(j, "role")));
        m[i].content =
            json_is_string(c) ? (struct str){json_string_value(c), json_string_length(c)} : STR("");
    }
    const int rc = prompt_chat(g->engine, m, (int)n, out, e);
    free(m);
    return rc;
}

static int answer(struct local *g, struct task *t, struct gen_request *q, struct err *e) {
    struct ids prompt = {0};
    struct decode_request r = {0};
    struct decode_stats st = {0};
    struct answering a = {g, t, false};
    int rc = make_prompt(g, q, &prompt, e);
    if (rc == 0) rc = run_options_request(&q->options, engine_vocab(g->engine), &r, e);
    if (rc == 0) {
        r.prompt = prompt.v, r.n_prompt = (int)prompt.n;
        t->stats.n_prompt = r.n_prompt;
        rc = decode_run(g->session, &r, hear, &a, &t->stop, &st, e);
    }
    ids_fini(&prompt);
    if (rc != 0) return -1;
    t->stats = (struct gen_stats){.n_prompt = st.n_prompt,
                                  .n_cached = st.n_prompt_cached,
                                  .n_eval = st.n_eval,
                                  .n_shift = st.n_shift,
                                  .n_drafted = st.n_drafted,
                                  .n_accepted = st.n_accepted,
                                  .queue_ns = t->stats.queue_ns,
                                  .prompt_ns = st.prompt_ns,
                                  .eval_ns = st.eval_ns};
    if (!a.prompt_told) send(t, (struct gen_event){.kind = GEN_PROMPT, .stats = t->stats});
    const enum gen_why why = st.why == DECODE_STOP     ? GEN_STOP
                             : st.why == DECODE_LENGTH ? GEN_LENGTH
                                                       : GEN_CANCELLED;
    send(t, (struct gen_event){.kind = GEN_FINISH, .why = why, .stats = t->stats});
    return why == GEN_CANCELLED ? err_set(e, ERR_CANCELLED, "cancelled") : 0;
}

/* ---- the other operations ---- */

static int tokenize(struct local *g, struct task *t, const struct gen_request *q, struct err *e) {
    const struct vocab *v = engine_vocab(g->engine);
    struct ids ids = {0};
    const struct tok_opts o = {.add_special = !q->no_bos, .parse_special = q->special};
    if (tok_encode(v, q->text, o, &ids, e) != 0) {
        ids_fini(&ids);
        return -1;
    }
    json_t *data = json_pack("{s:[]}", "tokens"), *list = json_object_get(data, "tokens");
    json_t *pieces = json_array();
    struct buf piece = {0};
    for (size_t i = 0; i < ids.n; i++) {
        json_array_append_new(list, json_integer(ids.v[i]));
        if (!q->pieces) continue;
        buf_reset(&piece);
        tok_piece(v, ids.v[i], true, &piece);
        json_t *text = json_stringn(piece.p ? piece.p : "", piece.n);
        if (!text) { /* part of a character */
            text = json_array();
            for (size_t k = 0; k < piece.n; k++)
                json_array_append_new(text, json_integer((unsigned char)piece.p[k]));
        }
        json_array_append_new(pieces, text);
    }
    if (q->pieces) json_object_set(data, "pieces", pieces);
    json_decref(pieces);
    buf_fini(&piece);
    ids_fini(&ids);
    send_data(t, data);
    return 0;
}

static int detokenize(struct local *g, struct task *t, const struct gen_request *q, struct err *e) {
    struct buf text = {0};
    const struct detok_opts o = {0};
    const int rc = tok_decode(engine_vocab(g->engine), q->token, (size_t)q->n_token, o, &text, e);
    if (rc == 0) {
        json_t *s = json_stringn(text.p ? text.p : "", text.n);
        send_data(t, json_pack("{s:o}", "text", s ? s : json_string("")));
    }
    buf_fini(&text);
    return rc;
}

static int render(struct local *g, struct task *t, const struct gen_request *q, struct err *e) {
    struct ids ids = {0};
    struct buf text = {0};
    int rc = make_prompt(g, q, &ids, e);
    const struct detok_opts o = {.special = true, .keep_all = true};
    if (rc == 0) rc = tok_decode(engine_vocab(g->engine), ids.v, ids.n, o, &text, e);
    if (rc == 0)
        send_data(t,
                  json_pack("{s:s, s:i}", "prompt", text.p ? text.p : "", "n_tokens", (int)ids.n));
    ids_fini(&ids);
    buf_fini(&text);
    return rc;
}

static int embed(struct local *g, struct task *t, const struct gen_request *q, struct err *e) {
    const int n_embd = model_n_embd(engine_model(g->engine));
    float *row = calloc((size_t)n_embd, sizeof *row);
    int rc = row ? 0 : err_nomem(e, "embed");
    for (size_t i = 0; rc == 0 && i < json_array_size(q->input); i++) {
        const json_t *v = json_array_get(q->input, i);
        struct ids ids = {0};
        for (size_t k = 0; k < json_array_size(v); k++)
            ids_push(&ids, (int32_t)json_integer_value(json_array_get(v, k)));
        if (json_is_string(v))
            rc = prompt_encode(engine_vocab(g->engine),
                               (struct str){json_string_value(v), json_string_length(v)}, &ids, e);
        struct gen_stats st = {0};
        if (rc == 0 && !q->no_truncate) st.n_truncated = embed_truncate(g->engine, &ids);
        if (rc == 0)
            rc = embed_tokens(g->session, ids.v, (int)ids.n, POOL_MODEL, !q->unscaled, row, e);
        st.n_prompt = (int)ids.n;
        t->stats.n_prompt += st.n_prompt, t->stats.n_truncated += st.n_truncated;
        if (rc == 0)
            send(t, (struct gen_event){.kind = GEN_VECTOR,
                                       .choice = (int)i,
                                       .vector = row,
                                       .n_vector = n_embd,
                                       .stats = st});
        ids_fini(&ids);
    }
    free(row);
    return rc;
}

/* ---- one task ---- */

static int refuse(const char *what, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED, "key \"%s\": not supported by this build", what);
}

static int check_known(const struct gen_request *q, struct err *e) {
    const bool talks = q->op == GEN_OP_CHAT || q->op == GEN_OP_RENDER;
    if (json_array_size(q->tools)) return refuse("tools", e);
    if (talks && q->documents) return refuse("documents", e);
    if (q->vars) return refuse("template_vars", e);
    if (q->go_on) return refuse("continue", e);
    if (q->suffix.p) return refuse("suffix", e);
    if (q->system.p) return refuse("system", e);
    if (q->echo) return refuse("echo", e);
    if (q->images) return refuse("images", e);
    if (q->format) return refuse("format", e);
    if (q->n > 1) return refuse("n", e);
    if (q->logprobs) return refuse("logprobs", e);
    if (q->template.p) return refuse("template", e);
    if (q->adapter.p) return refuse("adapter", e);
    if (q->dimensions) return refuse("dimensions", e);
    if (q->op == GEN_OP_RERANK) return refuse("op", e);
    return 0;
}

static int run_request(struct local *g, struct task *t, struct err *e) {
    struct gen_request q;
    int rc = gen_request_read(&q, t->request, e);
    if (rc == 0) rc = check_known(&q, e);
    if (rc == 0 && t->stop) rc = err_set(e, ERR_CANCELLED, "cancelled");
    if (rc == 0) switch (q.op) {
        case GEN_OP_CHAT:
        case GEN_OP_TEXT: rc = answer(g, t, &q, e); break;
        case GEN_OP_EMBED: rc = embed(g, t, &q, e); break;
        case GEN_OP_TOKENIZE: rc = tokenize(g, t, &q, e); break;
        case GEN_OP_DETOKENIZE: rc = detokenize(g, t, &q, e); break;
        case GEN_OP_RENDER: rc = render(g, t, &q, e); break;
        case GEN_OP_RERANK: break;
        }
    gen_request_fini(&q);
    return rc;
}

static void run_task(struct local *g, struct task *t) {
    struct gen_event end = {.kind = GEN_END};
    t->stats.queue_ns = os_now_ns() - t->start_ns;
    if (run_request(g, t, &end.err) == 0) end.err = (struct err){0};
    end.stats = t->stats;
    end.why = end.err.code == ERR_CANCELLED ? GEN_CANCELLED : GEN_STOP;
    send(t, end);
    json_decref(t->request);
    free(t);
}

static void *serve(void *arg) {
    struct local *g = arg;
    pthread_mutex_lock(&g->lock);
    while (g->first || !g->closing) {
        struct task *t = g->first;
        if (!t) {
            pthread_cond_wait(&g->change, &g->lock);
            continue;
        }
        g->first = t->next;
        if (!g->first) g->last = &g->first;
        g->running = t, g->n_waiting--;
        pthread_mutex_unlock(&g->lock);
        run_task(g, t);
        pthread_mutex_lock(&g->lock);
        g->running = NULL;
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* ---- the table ---- */

static int local_start(struct gen *gen, const json_t *request, gen_event_fn *fn, void *ctx,
                       struct gen_task **out, struct err *e) {
    struct local *g = local_of(gen);
    struct task *t = calloc(1, sizeof *t);
    if (t) t->request = json_deep_copy(request);
    if (!t || !t->request) {
        free(t);
        return err_nomem(e, "request");
    }
    t->base.gen = gen, t->fn = fn, t->ctx = ctx, t->start_ns = os_now_ns();
    if (out) *out = &t->base;
    pthread_mutex_lock(&g->lock);
    *g->last = t;
    g->last = &t->next;
    g->n_waiting++;
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
    return 0;
}

static void local_cancel(struct gen_task *task) {
    struct task *t = (struct task *)task;
    struct local *g = local_of(task->gen);
    pthread_mutex_lock(&g->lock);
    __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
}

static void local_pause(struct gen_task *task, bool paused) {
    struct task *t = (struct task *)task;
    struct local *g = local_of(task->gen);
    pthread_mutex_lock(&g->lock);
    t->paused = paused;
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
}

static bool local_alive(const struct gen *g) {
    (void)g;
    return true;
}

static size_t rss_bytes(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static struct gen_load local_load(const struct gen *gen) {
    struct local *g = local_of(gen);
    pthread_mutex_lock(&g->lock);
    const struct gen_load l = {
        .n_running = g->running != NULL, .n_waiting = g->n_waiting, .rss_bytes = rss_bytes()};
    pthread_mutex_unlock(&g->lock);
    return l;
}

static void local_close(struct gen *gen) {
    struct local *g = local_of(gen);
    pthread_mutex_lock(&g->lock);
    g->closing = true;
    for (struct task *t = g->first; t; t = t->next)
        __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
    if (g->running) __atomic_store_n(&g->running->stop, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
    if (g->started) pthread_join(g->thread, NULL);
    session_free(g->session);
    engine_close(g->engine);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->change);
    free(g);
}

static const struct gen_impl local_impl = {
    .close = local_close,
    .alive = local_alive,
    .load = local_load,
    .start = local_start,
    .cancel = local_cancel,
    .pause = local_pause,
};

static void describe(struct local *g, const struct engine_opts *o) {
    struct memory_need need;
    const struct model *m = engine_model(g->engine);
    memory_taken(g->engine, &need);
    g->base.info = (struct gen_info){
        .arch = model_arch(m),
        .n_ctx = engine_n_ctx(g->engine),
        .n_ctx_train = model_n_ctx_train(m),
        .n_parallel = o->n_parallel,
        .n_embd = model_n_embd(m),
        .n_vocab = engine_n_vocab(g->engine),
        .embedding = model_is_embedding(m),
        .n_bytes = memory_total(&need),
        .weight_bytes = need.weights,
        .load_ns = (int64_t)(engine_load_s(g->engine) * 1e9),
    };
}

struct gen *gen_open_local(const char *path, const struct gen_opts *o, struct err *e) {
    struct local *g = calloc(1, sizeof *g);
    if (!g) {
        err_nomem(e, path);
        return NULL;
    }
    struct engine_opts eo = o->engine;
    if (eo.n_parallel == 0) eo.n_parallel = 4;
    g->base.impl = &local_impl;
    g->last = &g->first;
    g->told = o->told, g->told_ctx = o->told_ctx;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->change, NULL);
    g->engine = engine_open(path, &eo, e);
    if (!g->engine) goto fail;
    g->session = session_new(g->engine, e);
    if (!g->session) goto fail;
    describe(g, &eo);
    if (pthread_create(&g->thread, NULL, serve, g) != 0) {
        err_set(e, ERR_IO, "%s: no thread can be started", path);
        goto fail;
    }
    g->started = true;
    return &g->base;
fail:
    local_close(&g->base);
    return NULL;
}
