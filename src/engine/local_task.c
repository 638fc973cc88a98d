/* A task: what the scheduler is to do for it, and what is told of that. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sha256.h"
#include "base/work.h"
#include "engine/local.h"

struct task *local_task_of(struct sched_job *j) {
    return (struct task *)(void *)((char *)j - offsetof(struct task, job));
}

struct task *local_task_new(struct local *g, const json_t *request, gen_event_fn *fn, void *ctx) {
    struct task *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->base.gen = &g->base;
    t->fn = fn, t->ctx = ctx;
    t->start_ns = os_now_ns();
    if (gen_request_read(&t->q, request, &t->err) == 0) t->err.code = ERR_NONE;
    return t;
}

static void task_free(struct task *t) {
    for (int i = 0; t->choice && i < t->q.n; i++)
        local_choice_fini(&t->choice[i]);
    for (int i = 0; i < LOCAL_RULES; i++)
        grammar_free(t->grammar[i]);
    if (t->own_template) chat_template_free(t->own_template);
    free(t->shown);
    grammar_free(t->strict);
    free(t->mask);
    for (int i = 0; t->input && i < t->n_input; i++)
        ids_fini(&t->input[i]);
    ids_fini(&t->prompt);
    free(t->answer);
    free(t->choice);
    free(t->input);
    free(t->text);
    free(t->truncated);
    free(t->vector);
    gen_request_fini(&t->q);
    free(t);
}

void local_tell(struct task *t, const struct gen_event *ev) {
    t->fn(t->ctx, ev);
}

/* GEN_END, and free it. */
static void task_end(struct task *t, const struct err *e) {
    struct gen_event ev = {.kind = GEN_END, .err = *e};
    ev.why = e->code == ERR_CANCELLED ? GEN_CANCELLED : GEN_STOP;
    if (!t->all.queue_ns) t->all.queue_ns = os_now_ns() - t->start_ns;
    ev.stats = t->all;
    local_tell(t, &ev);
    task_free(t);
}

static bool answers(const struct task *t) {
    return t->q.op == GEN_OP_CHAT || t->q.op == GEN_OP_TEXT;
}

/* Of one that the scheduler has not seen. */
void local_task_cancelled(struct task *t) {
    struct err e;
    err_set(&e, ERR_CANCELLED, "cancelled");
    for (int i = 0; answers(t) && i < t->q.n; i++)
        local_tell(t, &(struct gen_event){.kind = GEN_FINISH, .choice = i, .why = GEN_CANCELLED});
    task_end(t, &e);
}

/* ---- of vectors ---- */

static void tell_vector(struct task *t, int i, const float *v, int n, const struct gen_stats *st) {
    local_tell(t, &(struct gen_event){
                      .kind = GEN_VECTOR, .choice = i, .vector = v, .n_vector = n, .stats = *st});
}

/* The first dimensions, of length 1 again. */
static const float *fewer(struct task *t, const float *v, int n) {
    double sq = 0;
    for (int k = 0; k < n; k++)
        sq += (double)v[k] * (double)v[k];
    const double scale = !t->q.unscaled && sq > 0 ? 1 / sqrt(sq) : 1;
    for (int k = 0; k < n; k++)
        t->vector[k] = (float)(v[k] * scale);
    return t->vector;
}

static void on_vector(struct sched_job *j, int i, const float *v, int n_embd) {
    struct task *t = local_task_of(j);
    const struct gen_stats st = {.n_prompt = t->text[i].n, .n_truncated = t->truncated[i]};
    t->all.n_prompt += st.n_prompt, t->all.n_truncated += st.n_truncated;
    if (t->q.op == GEN_OP_RERANK)
        memcpy(t->vector + (size_t)i * (size_t)n_embd, v, (size_t)n_embd * sizeof *v);
    else if (t->q.dimensions)
        tell_vector(t, i, fewer(t, v, t->q.dimensions), t->q.dimensions, &st);
    else
        tell_vector(t, i, v, n_embd, &st);
}

static void on_done(struct sched_job *j, const struct err *e) {
    struct task *t = local_task_of(j);
    struct local *g = local_of(t->base.gen);
    t->all.queue_ns = j->begin_ns ? j->begin_ns - t->start_ns : os_now_ns() - t->start_ns;
    if (!answers(t) && j->begin_ns) t->all.prompt_ns = os_now_ns() - j->begin_ns;
    if (t->q.op == GEN_OP_RERANK && e->code == ERR_NONE) {
        json_t *data = local_rank(t->vector, t->n_input, g->base.info.n_embd);
        local_tell(t, &(struct gen_event){.kind = GEN_RESULT, .data = data});
        json_decref(data);
    }
    task_end(t, e);
}

static const struct sched_events events = {
    .event = local_event, .finish = local_finish, .vector = on_vector, .done = on_done};

/* ---- jobs ---- */

/* 0 (nobody) for an empty text. */
static int name_of(struct str text, uint64_t *id, struct err *e) {
    uint8_t sum[SHA256_BYTES];
    struct sha256 sha;
    *id = 0;
    if (text.n == 0) return 0;
    sha256_init(&sha);
    sha256_add(&sha, text.p, text.n);
    if (sha256_final(&sha, sum) != 0) return err_nomem(e, "user");
    memcpy(id, sum, sizeof *id);
    *id |= 1;
    return 0;
}

/* What the prefix cache keeps apart. */
static int choose_scope(struct local *g, struct task *t, struct err *e) {
    struct str tenant = t->q.tenant, adapter = t->q.adapter;
    struct buf b = {0};
    t->job.adapter = engine_adapter(g->engine);
    t->job.scope = PREFIX_COMMON;
    if (adapter.p && engine_adapter_named(g->engine, adapter, &t->job.adapter, e) != 0) return -1;
    const bool other = t->job.adapter != engine_adapter(g->engine);
    if (!other && tenant.n == 0) return 0;
    buf_append(&b, g->secret, sizeof g->secret);
    buf_append(&b, &t->job.adapter, sizeof t->job.adapter);
    if (tenant.n) buf_append(&b, tenant.p, tenant.n);
    const int rc = b.failed ? err_nomem(e, "tenant") : name_of(buf_view(&b), &t->job.scope, e);
    buf_fini(&b);
    return rc;
}

static int make_answers(struct local *g, struct task *t, struct err *e) {
    struct gen_request *q = &t->q;
    struct decode_request r = {0};
    if (local_prompt(g, t, e) != 0) return -1;
    gen_request_forget_talk(q); /* the scheduler's thread would give it back otherwise */
    if (run_options_request(&q->options, engine_vocab(g->engine), &r, e) != 0) return -1;
    t->answer = calloc((size_t)q->n, sizeof *t->answer);
    t->choice = calloc((size_t)q->n, sizeof *t->choice);
    if (!t->answer || !t->choice) return err_nomem(e, "choices");
    if (local_answers(g, t, &r, e) != 0) return -1;
    r.prompt = t->prompt.v, r.n_prompt = (int)t->prompt.n;
    if (q->logprobs) r.n_logprobs = q->top_logprobs > 0 ? q->top_logprobs : 1;
    for (int i = 0; i < q->n; i++) {
        t->answer[i] = r;
        t->answer[i].choose_ctx = &t->choice[i];
        if (r.sampler.seed >= 0) t->answer[i].sampler.seed = r.sampler.seed + i;
    }
    t->job.answer = t->answer;
    t->job.n = q->n;
    return 0;
}

static int make_vectors(struct local *g, struct task *t, struct err *e) {
    struct gen_request *q = &t->q;
    const int n_embd = g->base.info.n_embd;
    const bool rank = q->op == GEN_OP_RERANK;
    if (q->dimensions > n_embd) {
        err_set(e, ERR_USAGE, "key \"dimensions\": %d; the model has %d", q->dimensions, n_embd);
        return err_field(e, "dimensions");
    }
    if (local_inputs(g, t, e) != 0) return -1;
    gen_request_forget_talk(q);
    t->vector = calloc((size_t)(rank ? t->n_input : 1) * (size_t)n_embd, sizeof *t->vector);
    if (!t->vector) return err_nomem(e, "vectors");
    t->job.text = t->text;
    t->job.n = t->n_input;
    t->job.unscaled = q->unscaled && !rank;
    return 0;
}

static json_t *run_here(struct local *g, struct task *t, struct err *e) {
    switch (t->q.op) {
    case GEN_OP_TOKENIZE: return local_tokenize(g, &t->q, e);
    case GEN_OP_DETOKENIZE: return local_detokenize(g, &t->q, e);
    default: return local_render(g, t, e);
    }
}

static int prepare(struct local *g, struct task *t, struct err *e) {
    if (t->err.code) {
        *e = t->err;
        return -1;
    }
    if (json_array_size(t->q.images) > 0)
        return err_set(e, ERR_UNSUPPORTED, "key \"images\": this model reads text only");
    if (choose_scope(g, t, e) != 0) return -1;
    t->job.on = &events;
    t->job.class = t->q.priority > 0 ? SCHED_HIGH : t->q.priority < 0 ? SCHED_LOW : SCHED_NORMAL;
    if (name_of(t->q.user, &t->job.user, e) != 0) return -1;
    switch (t->q.op) {
    case GEN_OP_CHAT:
    case GEN_OP_TEXT: return make_answers(g, t, e);
    case GEN_OP_EMBED:
    case GEN_OP_RERANK: return make_vectors(g, t, e);
    default: break;
    }
    json_t *data = run_here(g, t, e);
    if (!data) return -1;
    local_tell(t, &(struct gen_event){.kind = GEN_RESULT, .data = data});
    json_decref(data);
    return 0;
}

int local_task_prepare(struct local *g, struct task *t) {
    struct err e = {0};
    work_watch(&t->stop, &g->closing);
    const int rc = prepare(g, t, &e);
    const bool stopped = work_stopped();
    work_watch(NULL, NULL); /* t may be gone soon */
    if (rc != 0 && stopped)
        local_task_cancelled(t);
    else if (rc != 0)
        task_end(t, &e);
    else if (t->job.n == 0) /* answered at once, or nothing to embed */
        task_end(t, &(struct err){0});
    else
        return 1;
    return 0;
}
