/* Texts on their way to vectors: several in a batch of their own, for they end with the final rows
 * and not with the head. */
#include "engine/sched_priv.h"
#include "engine/step_cost.h"

bool sched_text_begin(struct scheduler *s, struct sched_job *j) {
    struct text_slot *t = s->text;
    struct err e = {0};
    while (t < s->text + SCHED_TEXTS && t->job)
        t++;
    if (t == s->text + SCHED_TEXTS) return false;
    const int choice = j->n_begun++;
    const struct sched_text *x = &j->text[choice];
    *t = (struct text_slot){.job = j, .choice = choice};
    s->n_text++;
    if (embedding_init(&t->x, s->o.engine, x->tok, x->n, POOL_MODEL, &e) == 0) {
        if (j->scope != PREFIX_COMMON) t->x.adapter = j->adapter; /* as begin_answer() */
        return true;
    }
    sched_job_failed(j, &e);
    sched_text_end(s, t);
    return true;
}

void sched_text_end(struct scheduler *s, struct text_slot *t) {
    struct sched_job *j = t->job;
    embedding_fini(&t->x);
    t->job = NULL;
    s->n_text--;
    sched_choice_ended(s, j);
}

bool sched_embed_due(const struct scheduler *s) {
    for (int i = 0; i < SCHED_TEXTS; i++)
        if (s->text[i].job && !sched_paused(s->text[i].job)) return true;
    return false;
}

/* Beside sequences that write, a batch takes no longer than a step may be stretched. */
static int most_rows(const struct scheduler *s) {
    const int n = engine_n_batch(s->o.engine);
    int n_write = 0;
    for (int i = 0; i < s->n_age; i++)
        n_write += sequence_state(s->age[i]->q) == SEQ_WRITES && !s->age[i]->parked;
    if (n_write == 0) return n;
    const int most = step_cost_prompt_rows(s->cost, n_write);
    return most < n ? most : n;
}

/* False: the step is full, or pages are short. */
static bool feed(struct scheduler *s, struct text_slot *t, int most) {
    struct batch_seq *b = &s->batch[s->n_fed];
    const int n_out = engine_n_out(s->o.engine) - s->n_out;
    struct err e = {0};
    int n = embedding_next(&t->x, most - s->n_row, n_out, b, &e);
    while (n < 0 && e.code == ERR_LIMIT && sched_make_pages(s, NULL))
        n = embedding_next(&t->x, most - s->n_row, n_out, b, &e);
    if (n < 0 && s->n_fed == 0 && s->n_age == 0 && s->n_text == 1)
        sched_job_failed(t->job, &e); /* nobody will give back any */
    if (n <= 0) return false;
    t->n_out = b->n_out;
    s->text_fed[s->n_fed++] = t;
    s->n_row += n, s->n_out += b->n_out;
    return true;
}

static void tell(struct scheduler *s, struct text_slot *t) {
    struct sched_job *j = t->job;
    embedding_vector(&t->x, !j->unscaled, s->vector);
    j->on->vector(j, t->choice, s->vector, t->x.n_embd);
    sched_text_end(s, t);
}

/* Texts whose pages are short wait for those before them, in which a page is freed; should all wait
 * for each other, the last begins again. */
static void unlock(struct scheduler *s) {
    for (int i = SCHED_TEXTS - 1; i >= 0; i--) {
        struct text_slot *t = &s->text[i];
        if (!t->job || t->x.kv.n_tok == 0) continue;
        kv_seq_truncate(&t->x.kv, 0);
        t->x.at = t->x.n_seen = 0;
        for (int k = 0; k < t->x.n_embd; k++)
            t->x.sum[k] = 0;
        return;
    }
}

void sched_embed_step(struct scheduler *s) {
    const int most = most_rows(s);
    s->n_fed = s->n_row = s->n_out = 0;
    for (int i = 0; i < SCHED_TEXTS; i++) {
        struct text_slot *t = &s->text[(s->text_first + (unsigned)i) % SCHED_TEXTS];
        if (!t->job || sched_paused(t->job) || sched_stopped(t->job)) continue;
        if (s->n_row < most && s->n_fed < SCHED_TEXTS) feed(s, t, most);
    }
    s->text_first++;
    if (s->n_fed == 0) {
        unlock(s);
        return;
    }
    struct forward *f = engine_forward(s->o.engine);
    const float *rows = forward_run_states(f, s->batch, s->n_fed);
    for (int i = 0; i < s->n_fed; i++) {
        struct text_slot *t = s->text_fed[i];
        embedding_take(&t->x, rows, t->n_out);
        rows += (size_t)t->n_out * (size_t)t->x.n_embd;
        if (embedding_done(&t->x)) tell(s, t);
    }
}
