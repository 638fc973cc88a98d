/* See scheduler.h: the thread, the queue, and who begins when. */
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/sched_priv.h"

bool sched_stopped(const struct sched_job *j) {
    return __atomic_load_n(&j->stop, __ATOMIC_RELAXED);
}

bool sched_paused(const struct sched_job *j) {
    return __atomic_load_n(&j->paused, __ATOMIC_RELAXED);
}

/* ---- ends ---- */

/* For whoever asks; also before a job's end is told. */
static void measure_load(struct scheduler *s) {
    struct sched_load l = {.n_running = s->n_age + s->n_text};
    for (const struct sched_job *j = s->job; j; j = j->next)
        l.n_waiting += j->n_begun == 0;
    l.kv_bytes = (uint64_t)(kv_pool_n_page(s->kv) - kv_pool_n_free(s->kv)) * kv_page_bytes(s->kv);
    pthread_mutex_lock(&s->lock);
    s->load = l;
    pthread_mutex_unlock(&s->lock);
}

void sched_job_failed(struct sched_job *j, const struct err *e) {
    if (!j->err.code) j->err = *e;
    __atomic_store_n(&j->stop, 1, __ATOMIC_RELAXED);
}

static void remove_job(struct scheduler *s, struct sched_job *j) {
    struct sched_job **at = &s->job;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
}

void sched_choice_ended(struct scheduler *s, struct sched_job *j) {
    s->n_ended++;
    if (++j->n_ended < j->n) return;
    remove_job(s, j);
    measure_load(s);
    if (!j->err.code && sched_stopped(j)) err_set(&j->err, ERR_CANCELLED, "cancelled");
    const struct err e = j->err;
    j->on->done(j, &e);
}

/* The choices that never began. */
static void end_unbegun(struct scheduler *s, struct sched_job *j) {
    const struct decode_stats none = {.why = DECODE_CANCELLED, .stop = -1};
    while (j->n_begun < j->n) {
        const int choice = j->n_begun++;
        const bool last = j->n_ended + 1 == j->n;
        if (j->answer) j->on->finish(j, choice, &none);
        sched_choice_ended(s, j);
        if (last) return; /* j is gone */
    }
}

void sched_slot_end(struct scheduler *s, struct slot *t) {
    struct sched_job *j = t->job;
    if (!t->failed) sequence_end(t->q, sched_stopped(j));
    const struct decode_stats st = *sequence_stats(t->q);
    if (t->failed) sched_job_failed(j, &t->err);
    sequence_free(t->q);
    t->q = NULL, t->job = NULL;
    if (t->failed || !session_exact(t->s)) session_truncate(t->s, 0); /* of use to nobody */
    if (s->drafts == t) s->drafts = NULL;
    int i = 0;
    while (s->age[i] != t)
        i++;
    memmove(&s->age[i], &s->age[i + 1], (size_t)(--s->n_age - i) * sizeof *s->age);
    if (!t->failed) j->on->finish(j, t->choice, &st);
    sched_choice_ended(s, j);
}

/* Whoever was cancelled leaves. */
static void drop_cancelled(struct scheduler *s) {
    for (int i = 0; i < s->n_age;)
        if (sched_stopped(s->age[i]->job))
            sched_slot_end(s, s->age[i]);
        else
            i++;
    for (int i = 0; i < SCHED_TEXTS; i++)
        if (s->text[i].job && sched_stopped(s->text[i].job)) sched_text_end(s, &s->text[i]);
    for (struct sched_job *j = s->job, *next; j; j = next) {
        next = j->next;
        if (sched_stopped(j)) end_unbegun(s, j);
    }
}

/* ---- beginnings ---- */

static int event(void *ctx, const struct decode_event *ev) {
    struct slot *t = ctx;
    const struct decode_stats *st = sequence_stats(t->q);
    if (!t->first_ns) t->first_ns = os_now_ns();
    return t->job->on->event(t->job, t->choice, ev, st);
}

static int n_active(const struct scheduler *s) {
    int n = 0;
    for (int i = 0; i < s->n_age; i++)
        n += !s->age[i]->parked;
    return n;
}

static int n_same(const struct session *s, const struct decode_request *r) {
    const int32_t *tok = session_tokens(s);
    int n = 0;
    while (n < session_n_tok(s) && n < r->n_prompt && tok[n] == r->prompt[n])
        n++;
    return n;
}

/* A free slot: the one whose cache begins most like the request, else one without, else any. */
static struct slot *free_slot(struct scheduler *s, const struct sched_job *j) {
    struct slot *best = NULL;
    int best_score = -1;
    for (int i = 0; i < s->n_slot; i++) {
        struct slot *t = &s->slot[i];
        if (t->q) continue;
        int score = i < s->o.n_parallel; /* a new one, a few times */
        if (t->s) {
            const bool same = session_scope(t->s) == j->scope;
            const int n = same ? n_same(t->s, j->answer) : 0;
            score = n > 0 ? 2 + n : session_n_tok(t->s) == 0 ? 2 : 0;
        }
        if (score > best_score) best = t, best_score = score;
    }
    return best;
}

/* Another choice of the job. */
static struct slot *sibling(const struct scheduler *s, const struct slot *of) {
    for (int i = 0; i < s->n_age; i++)
        if (s->age[i] != of && s->age[i]->job == of->job) return s->age[i];
    return NULL;
}

/* All but the prompt's last token is shared with a choice that has it. */
static void share_prompt(struct scheduler *s, struct slot *t) {
    const struct slot *from = sibling(s, t);
    const int n = t->job->answer->n_prompt - 1;
    if (!from || n < 1 || from->n_row > 0 || sequence_unread(from->q)) return;
    if (sequence_stats(t->q)->n_eval > 0 || session_n_tok(t->s) >= n) return;
    if (session_n_tok(from->s) < n || !session_exact(from->s)) return;
    (void)session_fork(t->s, from->s, n, NULL); /* out of pages: then it is read again */
}

void sched_look_up(struct scheduler *s, struct slot *t) {
    share_prompt(s, t);
    sequence_begin(t->q);
}

/* The next choice of j, an answer.  False: not now. */
static bool begin_answer(struct scheduler *s, struct sched_job *j) {
    struct slot *t = free_slot(s, j);
    struct err e = {0};
    if (!t) return false;
    struct session *session = t->s ? t->s : session_new(s->o.engine, &e);
    *t = (struct slot){.s = session, .job = j, .choice = j->n_begun};
    if (session && session_scope(session) != j->scope) session_reset(session, j->adapter, j->scope);
    struct decode_request r = j->answer[t->choice];
    if (s->o.draft && !s->drafts && r.n_draft >= 0) r.draft = s->o.draft;
    if (session) t->q = sequence_new(session, &r, event, t, &j->stop, &e);
    j->n_begun++;
    if (!t->q) {
        sched_job_failed(j, &e);
        sched_choice_ended(s, j);
        return true;
    }
    if (r.draft) s->drafts = t;
    s->age[s->n_age++] = t;
    sched_look_up(s, t);
    return true;
}

/* Each choice that begins costs its user a turn. */
static bool begin(struct scheduler *s, struct sched_job *j) {
    const uint64_t turn = j->turn;
    const enum sched_class class = j->class;
    const bool last = j->n_begun + 1 == j->n;
    if (!j->begin_ns) j->begin_ns = os_now_ns();
    if (!last) j->turn++; /* before it may be gone */
    if (!(j->answer ? begin_answer(s, j) : sched_text_begin(s, j))) {
        if (!last) j->turn--;
        return false;
    }
    sched_turn_taken(s, class, turn);
    return true;
}

/* Those whose readers are slow make room when others wait, and come back when they can. */
static void park(struct scheduler *s) {
    const bool others = sched_next_job(s, true) != NULL;
    for (int i = 0; i < s->n_age; i++) {
        struct slot *t = s->age[i];
        if (!t->parked && others && sched_paused(t->job)) t->parked = true;
    }
    for (int i = 0; i < s->n_age && n_active(s) < s->o.n_parallel; i++)
        if (s->age[i]->parked && !sched_paused(s->age[i]->job)) s->age[i]->parked = false;
}

/* Somebody waits for pages, and nobody new may take them before.  One whose reader is slow does not
 * count: it would keep all others out for as long as that reader likes. */
static bool any_stalled(const struct scheduler *s) {
    for (int i = 0; i < s->n_age; i++)
        if (s->age[i]->stalled && !s->age[i]->parked && !sched_paused(s->age[i]->job)) return true;
    return false;
}

static void admit(struct scheduler *s) {
    struct sched_job *j;
    park(s);
    while (!any_stalled(s) && n_active(s) < s->o.n_parallel &&
           (j = sched_next_job(s, true)) != NULL)
        if (!begin(s, j)) break;
    while ((j = sched_next_job(s, false)) != NULL)
        if (!begin(s, j)) break;
}

/* ---- the queue ---- */

/* Under the lock. */
static void take_inbox(struct scheduler *s) {
    struct sched_job **end = &s->job;
    while (*end)
        end = &(*end)->next;
    while (s->inbox) {
        struct sched_job *j = s->inbox;
        s->inbox = j->next;
        sched_take_turn(s, j);
        j->next = NULL;
        *end = j;
        end = &j->next;
    }
    s->inbox_end = &s->inbox;
    for (struct sched_job *j = s->job; s->closing && j; j = j->next)
        __atomic_store_n(&j->stop, 1, __ATOMIC_RELAXED);
}

static bool busy(const struct scheduler *s) {
    return sched_step_due(s) || sched_embed_due(s);
}

static void *serve(void *arg) {
    struct scheduler *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        take_inbox(s);
        if (!s->stirred && !busy(s)) {
            if (s->closing && !s->job) break;
            pthread_cond_wait(&s->change, &s->lock);
            continue;
        }
        s->stirred = false;
        pthread_mutex_unlock(&s->lock);
        drop_cancelled(s);
        admit(s);
        if (sched_step_due(s)) sched_step(s);
        if (sched_embed_due(s)) sched_embed_step(s);
        if (s->o.told) s->o.told(s->o.told_ctx);
        measure_load(s);
        pthread_mutex_lock(&s->lock);
        /* Who ended made room for who waits. */
        if (s->n_ended != s->n_ended_seen) s->n_ended_seen = s->n_ended, s->stirred = true;
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- any thread ---- */

static void stir(struct scheduler *s) {
    s->stirred = true;
    pthread_cond_signal(&s->change);
}

void sched_submit(struct scheduler *s, struct sched_job *j) {
    j->submit_ns = os_now_ns();
    j->next = NULL;
    pthread_mutex_lock(&s->lock);
    *s->inbox_end = j;
    s->inbox_end = &j->next;
    stir(s);
    pthread_mutex_unlock(&s->lock);
}

void sched_cancel(struct scheduler *s, struct sched_job *j) {
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&j->stop, 1, __ATOMIC_RELAXED);
    stir(s);
    pthread_mutex_unlock(&s->lock);
}

void sched_pause(struct scheduler *s, struct sched_job *j, bool paused) {
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&j->paused, paused, __ATOMIC_RELAXED);
    stir(s);
    pthread_mutex_unlock(&s->lock);
}

struct sched_load sched_load(struct scheduler *s) {
    pthread_mutex_lock(&s->lock);
    struct sched_load l = s->load;
    for (const struct sched_job *j = s->inbox; j; j = j->next)
        l.n_waiting++;
    pthread_mutex_unlock(&s->lock);
    return l;
}

struct scheduler *sched_new(const struct sched_opts *o, struct err *e) {
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s) goto nomem;
    const int n = o->n_parallel * (1 + SCHED_PARKED), n_batch = n > SCHED_TEXTS ? n : SCHED_TEXTS;
    s->o = *o, s->n_slot = n;
    s->kv = engine_kv(o->engine);
    s->cost = engine_step_cost(o->engine);
    s->inbox_end = &s->inbox;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->change, NULL);
    s->slot = calloc((size_t)n, sizeof *s->slot);
    s->age = calloc((size_t)n, sizeof *s->age);
    s->text = calloc(SCHED_TEXTS, sizeof *s->text);
    s->batch = calloc((size_t)n_batch, sizeof *s->batch);
    s->fed = calloc((size_t)n, sizeof *s->fed);
    s->plan = calloc((size_t)n, sizeof *s->plan);
    s->vector = calloc((size_t)model_n_embd(engine_model(o->engine)), sizeof *s->vector);
    if (!s->slot || !s->age || !s->text || !s->batch || !s->fed || !s->plan || !s->vector)
        goto nomem;
    if (pthread_create(&s->thread, NULL, serve, s) != 0) {
        err_set(e, ERR_IO, "scheduler: no thread can be started");
        goto fail;
    }
    s->started = true;
    return s;
nomem:
    err_nomem(e, "scheduler");
fail:
    sched_free(s);
    return NULL;
}

void sched_free(struct scheduler *s) {
    if (!s) return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        stir(s);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (int i = 0; s->slot && i < s->n_slot; i++)
        session_free(s->slot[i].s);
    free(s->slot);
    free(s->age);
    free(s->text);
    free(s->batch);
    free(s->fed);
    free(s->plan);
    free(s->vector);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->change);
    free(s);
}
