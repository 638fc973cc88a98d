/* A task: what the scheduler is to do for it, and what is told of that. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sha256.h"
#include "engine/local.h"

static struct local *gen_of(const struct task *t) {
    return (struct local *)(uintptr_t)t->base.gen;
}

static struct task *task_of(struct sched_job *j) {
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
        json_decref(t->choice[i].logprobs);
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

static void tell(struct task *t, const struct gen_event *ev) {
    t->fn(t->ctx, ev);
}

void local_task_end(struct local *g, struct task *t, const struct err *e) {
    struct gen_event ev = {.kind = GEN_END, .err = *e};
    (void)g;
    ev.why = e->code == ERR_CANCELLED ? GEN_CANCELLED : GEN_STOP;
    if (!t->all.queue_ns) t->all.queue_ns = os_now_ns() - t->start_ns;
    ev.stats = t->all;
    tell(t, &ev);
    task_free(t);
}

static bool answers(const struct task *t) {
    return t->q.op == GEN_OP_CHAT || t->q.op == GEN_OP_TEXT;
}

/* Of one that the scheduler has not seen. */
void local_task_cancelled(struct local *g, struct task *t) {
    struct err e;
    err_set(&e, ERR_CANCELLED, "cancelled");
    for (int i = 0; answers(t) && i < t->q.n; i++)
        tell(t, &(struct gen_event){.kind = GEN_FINISH, .choice = i, .why = GEN_CANCELLED});
    local_task_end(g, t, &e);
}

/* ---- events of answers ---- */

static struct gen_stats stats_of(const struct task *t, const struct decode_stats *st) {
    return (struct gen_stats){.n_prompt = st->n_prompt,
                              .n_cached = st->n_prompt_cached,
                              .n_eval = st->n_eval,
                              .n_truncated = t->all.n_truncated,
                              .n_shift = st->n_shift,
                              .n_drafted = st->n_drafted,
                              .n_accepted = st->n_accepted,
                              .queue_ns = t->job.begin_ns ? t->job.begin_ns - t->start_ns : 0,
                              .prompt_ns = st->prompt_ns,
                              .eval_ns = st->eval_ns};
}

/* The first answer's prompt has been read. */
static void tell_prompt(struct task *t, const struct decode_stats *st) {
    if (t->prompt_told) return;
    t->prompt_told = true;
    t->all = stats_of(t, st);
    t->all.n_eval = t->all.n_shift = t->all.n_drafted = t->all.n_accepted = 0;
    t->all.eval_ns = 0;
    tell(t, &(struct gen_event){.kind = GEN_PROMPT, .stats = t->all});
    if (!t->q.echo || !t->q.prompt.p) return;
    for (int i = 0; i < t->q.n; i++)
        tell(t, &(struct gen_event){.kind = GEN_TEXT, .choice = i, .text = t->q.prompt});
}

/* {"token", "logprob", "bytes"} */
static json_t *candidate_json(const struct vocab *v, const struct candidate *c) {
    struct buf piece = {0};
    tok_piece(v, c->id, true, &piece);
    json_t *bytes = json_array(), *text = json_stringn(piece.p ? piece.p : "", piece.n);
    for (size_t i = 0; i < piece.n; i++)
        json_array_append_new(bytes, json_integer((unsigned char)piece.p[i]));
    if (!text) { /* part of a character */
        buf_reset(&piece);
        text = json_string("\xef\xbf\xbd");
    }
    buf_fini(&piece);
    const double p = c->p > 0 ? log((double)c->p) : -9999.0; /* JSON has no -infinity */
    return json_pack("{s:o, s:f, s:o}", "token", text, "logprob", p, "bytes", bytes);
}

static void add_logprobs(struct task *t, struct choice *c, const struct decode_event *ev) {
    const struct vocab *v = engine_vocab(gen_of(t)->engine);
    json_t *one = candidate_json(v, &ev->chosen), *top = json_array();
    for (int i = 0; i < ev->n_top && i < t->q.top_logprobs; i++)
        json_array_append_new(top, candidate_json(v, &ev->top[i]));
    json_object_set_new(one, "top_logprobs", top);
    if (!c->logprobs) c->logprobs = json_array();
    json_array_append_new(c->logprobs, one);
}

static int on_event(struct sched_job *j, int choice, const struct decode_event *ev,
                    const struct decode_stats *st) {
    struct task *t = task_of(j);
    struct choice *c = &t->choice[choice];
    tell_prompt(t, st);
    if (ev->token >= 0) {
        c->id[c->n_id++] = ev->token;
        if (t->q.logprobs) add_logprobs(t, c, ev);
    }
    if (ev->text.n == 0 && c->n_id < PENDING_IDS) return 0;
    tell(t, &(struct gen_event){.kind = GEN_TEXT,
                                .choice = choice,
                                .text = ev->text,
                                .data = c->logprobs,
                                .token = c->id,
                                .n_token = c->n_id});
    c->n_id = 0;
    json_decref(c->logprobs);
    c->logprobs = NULL;
    return 0;
}

static void add_stats(struct gen_stats *all, const struct gen_stats *st) {
    all->n_eval += st->n_eval;
    all->n_shift += st->n_shift;
    all->n_drafted += st->n_drafted;
    all->n_accepted += st->n_accepted;
    if (st->eval_ns > all->eval_ns) all->eval_ns = st->eval_ns; /* they run side by side */
}

static void on_finish(struct sched_job *j, int choice, const struct decode_stats *st) {
    struct task *t = task_of(j);
    struct choice *c = &t->choice[choice];
    struct gen_event ev = {.kind = GEN_FINISH, .choice = choice, .stats = stats_of(t, st)};
    if (st->n_prompt > 0) tell_prompt(t, st);
    if (c->n_id > 0) /* the last tokens had no text */
        tell(t, &(struct gen_event){.kind = GEN_TEXT,
                                    .choice = choice,
                                    .text = STR(""),
                                    .data = c->logprobs,
                                    .token = c->id,
                                    .n_token = c->n_id});
    c->n_id = 0;
    ev.why = st->why == DECODE_STOP     ? GEN_STOP
             : st->why == DECODE_LENGTH ? GEN_LENGTH
                                        : GEN_CANCELLED;
    if (st->stop >= 0) ev.stop = t->answer[choice].stop[st->stop];
    add_stats(&t->all, &ev.stats);
    tell(t, &ev);
}

/* ---- of vectors ---- */

static void tell_vector(struct task *t, int i, const float *v, int n, const struct gen_stats *st) {
    tell(t, &(struct gen_event){
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
    struct task *t = task_of(j);
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
    struct task *t = task_of(j);
    struct local *g = gen_of(t);
    t->all.queue_ns = j->begin_ns ? j->begin_ns - t->start_ns : os_now_ns() - t->start_ns;
    if (!answers(t) && j->begin_ns) t->all.prompt_ns = os_now_ns() - j->begin_ns;
    if (t->q.op == GEN_OP_RERANK && e->code == ERR_NONE) {
        json_t *data = local_rank(t->vector, t->n_input, g->base.info.n_embd);
        tell(t, &(struct gen_event){.kind = GEN_RESULT, .data = data});
        json_decref(data);
    }
    local_task_end(g, t, e);
}

static const struct sched_events events = {
    .event = on_event, .finish = on_finish, .vector = on_vector, .done = on_done};

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
    if (run_options_request(&q->options, engine_vocab(g->engine), &r, e) != 0) return -1;
    t->answer = calloc((size_t)q->n, sizeof *t->answer);
    t->choice = calloc((size_t)q->n, sizeof *t->choice);
    if (!t->answer || !t->choice) return err_nomem(e, "choices");
    r.prompt = t->prompt.v, r.n_prompt = (int)t->prompt.n;
    if (q->logprobs) r.n_logprobs = q->top_logprobs > 0 ? q->top_logprobs : 1;
    for (int i = 0; i < q->n; i++) {
        t->answer[i] = r;
        if (r.sampler.seed >= 0) t->answer[i].sampler.seed = r.sampler.seed + i;
    }
    t->job.answer = t->answer;
    t->job.n = q->n;
    return 0;
}

static int make_vectors(struct local *g, struct task *t, struct err *e) {
    const struct gen_request *q = &t->q;
    const int n_embd = g->base.info.n_embd;
    const bool rank = q->op == GEN_OP_RERANK;
    if (q->dimensions > n_embd)
        return err_set(e, ERR_USAGE, "key \"dimensions\": %d; the model has %d", q->dimensions,
                       n_embd);
    if (local_inputs(g, t, e) != 0) return -1;
    t->vector = calloc((size_t)(rank ? t->n_input : 1) * (size_t)n_embd, sizeof *t->vector);
    if (!t->vector) return err_nomem(e, "vectors");
    t->job.text = t->text;
    t->job.n = t->n_input;
    t->job.unscaled = q->unscaled && !rank;
    return 0;
}

static int refuse(const char *what, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED, "key \"%s\": not supported by this build", what);
}

/* What this build does not do yet. */
static int check_known(const struct gen_request *q, struct err *e) {
    const bool talks = q->op == GEN_OP_CHAT || q->op == GEN_OP_RENDER;
    if (json_array_size(q->tools)) return refuse("tools", e);
    if (talks && q->documents) return refuse("documents", e);
    if (q->vars) return refuse("template_vars", e);
    if (q->go_on) return refuse("continue", e);
    if (q->suffix.p) return refuse("suffix", e);
    if (q->images) return refuse("images", e);
    if (q->format) return refuse("format", e);
    if (q->template.p) return refuse("template", e);
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
    if (check_known(&t->q, e) != 0 || choose_scope(g, t, e) != 0) return -1;
    t->job.on = &events;
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
    tell(t, &(struct gen_event){.kind = GEN_RESULT, .data = data});
    json_decref(data);
    return 0;
}

int local_task_prepare(struct local *g, struct task *t) {
    struct err e = {0};
    if (prepare(g, t, &e) != 0)
        local_task_end(g, t, &e);
    else if (t->job.n == 0) /* answered at once, or nothing to embed */
        local_task_end(g, t, &(struct err){0});
    else
        return 1;
    return 0;
}
