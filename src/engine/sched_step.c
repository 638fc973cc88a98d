/* What goes into a step: a row, and guesses, of each sequence that writes; then of prompts what
 * fits beside them. */
#include <string.h>

#include "base/os.h"
#include "engine/sched_priv.h"
#include "engine/step_cost.h"

/* ---- pages ---- */

static bool yield(struct slot *t) {
    if (session_n_tok(t->s) == 0) return false;
    sequence_yield(t->q);
    t->stalled = true;
    return true;
}

static bool free_idle(struct scheduler *s) {
    for (int i = 0; i < s->n_slot; i++) {
        struct slot *t = &s->slot[i];
        if (t->q || !t->s || session_n_tok(t->s) == 0) continue;
        session_truncate(t->s, 0);
        return true;
    }
    return false;
}

bool sched_make_pages(struct scheduler *s, const struct slot *t) {
    if (free_idle(s)) return true;
    for (int i = s->n_age - 1; i >= 0; i--) /* those whose readers are slow */
        if (s->age[i] != t && sched_paused(s->age[i]->job) && yield(s->age[i])) return true;
    if (!t) return false;
    for (int i = s->n_age - 1; i >= 0 && s->age[i] != t; i--)
        if (s->age[i]->n_row == 0 && yield(s->age[i])) return true;
    return false;
}

/* Somebody else has pages that will be free one day. */
static bool others_hold(const struct scheduler *s, const struct slot *t) {
    for (int i = 0; i < s->n_age; i++)
        if (s->age[i] != t && session_n_tok(s->age[i]->s) > 0) return true;
    return s->n_text > 0;
}

/* Those that gave up their pages begin again when somebody has ended, or nobody else goes on. */
static void wake_stalled(struct scheduler *s) {
    bool others = false;
    for (int i = 0; i < s->n_age; i++) {
        const struct slot *t = s->age[i];
        others |= !t->stalled && !t->parked && !sched_paused(t->job);
    }
    for (int i = 0; i < s->n_age; i++) {
        struct slot *t = s->age[i];
        if (!t->stalled || t->parked || sched_paused(t->job)) continue;
        if (others && s->n_ended == s->n_ended_woken) continue;
        t->stalled = t->begun = false;
        others = true; /* one at a time */
    }
    s->n_ended_woken = s->n_ended;
}

/* ---- one sequence's share ---- */

/* Put t into the step with at most n_max rows.  False: it cannot go on now. */
static bool feed(struct scheduler *s, struct slot *t, int n_max, int n_other) {
    struct batch_seq *b = &s->batch[s->n_fed];
    const bool reads = sequence_state(t->q) == SEQ_READS;
    struct err e = {0};
    int n = sequence_next(t->q, n_max, n_other, b, &e);
    while (n < 0 && e.code == ERR_LIMIT && sched_make_pages(s, t))
        n = sequence_next(t->q, n_max, n_other, b, &e);
    if (n < 0 && e.code == ERR_LIMIT && others_hold(s, t)) {
        yield(t);
        t->stalled = true;
        return false;
    }
    if (n < 0) t->failed = true, t->err = e;
    if (n <= 0) return false;
    t->n_row = n, t->n_out = b->n_out, t->reads = reads;
    s->fed[s->n_fed++] = t;
    s->n_row += n, s->n_out += b->n_out;
    if (reads) s->n_prompt_row += n;
    return true;
}

static bool goes_on(const struct slot *t) {
    return !t->parked && !t->stalled && !sched_paused(t->job) && !t->failed &&
           sequence_state(t->q) != SEQ_DONE;
}

/* ---- prompts that begin alike ---- */

/* How many tokens both texts begin with. */
static int common(struct sequence_text a, struct sequence_text b) {
    int n = 0;
    while (n < a.n && n < b.n && a.tok[n] == b.tok[n])
        n++;
    return n;
}

/* a is about to compute whole pages that t wants, too, or all of its prompt. */
static bool computes_for(const struct slot *a, const struct slot *t) {
    const bool in_step = a->n_row > 0 && a->reads;
    if (!in_step && (!goes_on(a) || sequence_state(a->q) != SEQ_READS)) return false;
    if (a->job == t->job) return true; /* another answer to the same prompt */
    if (session_scope(a->s) != session_scope(t->s)) return false;
    const struct sequence_text text = sequence_text(t->q);
    int n = common(sequence_text(a->q), text);
    if (n == text.n) n--; /* the last is read by everybody */
    n -= n % KV_PAGE;
    return n > session_n_tok(t->s) && n > session_n_tok(a->s) - (in_step ? a->n_row : 0);
}

/* t need not wait for another; what others have computed since it came is taken over. */
static bool may_read(struct scheduler *s, struct slot *t) {
    for (int i = 0; engine_prefix(s->o.engine) && i < s->n_age && s->age[i] != t; i++)
        if (computes_for(s->age[i], t)) return false;
    if (!t->begun) sched_look_up(s, t);
    t->begun = true;
    return true;
}

/* ---- the step ---- */

/* A sequence with its first token waits for those that came before that token and will have read
 * their prompts soon: clients that arrive together get their first tokens together. */
static bool held(const struct scheduler *s, const struct slot *t) {
    if (sequence_stats(t->q)->n_eval > 1 || !t->first_ns) return false;
    int64_t n = 0;
    for (int i = 0; i < s->n_age; i++) {
        const struct slot *r = s->age[i];
        if (!goes_on(r) || sequence_state(r->q) != SEQ_READS) continue;
        if (r->job->submit_ns < t->first_ns) n += sequence_unread(r->q);
    }
    return n > 0 && n <= SCHED_HOLD_ROWS;
}

static bool writes(const struct scheduler *s, const struct slot *t) {
    return goes_on(t) && sequence_state(t->q) == SEQ_WRITES && !held(s, t);
}

static int smaller(int a, int b) {
    return a < b ? a : b;
}

static void feed_writers(struct scheduler *s) {
    const int n_batch = engine_n_batch(s->o.engine), n_out = engine_n_out(s->o.engine);
    struct slot **t = s->plan;
    int left = 0;
    /* Who is held is decided before anybody is fed. */
    for (int i = 0; i < s->n_age; i++)
        if (writes(s, s->age[i])) t[left++] = s->age[i];
    for (int i = 0, n = left; i < n; i++) {
        left--; /* behind this one; each needs a row */
        const int room = smaller(n_batch - s->n_row, n_out - s->n_out) - left;
        if (goes_on(t[i])) feed(s, t[i], room, s->n_row + left);
    }
}

/* Whose prompt is next: short ones in order, but a long one is passed a few times only. */
static struct slot *next_reader(struct scheduler *s) {
    const int n_batch = engine_n_batch(s->o.engine);
    struct slot *first = NULL;
    for (int i = 0; i < s->n_age; i++) {
        struct slot *t = s->age[i];
        if (t->n_row > 0 || !goes_on(t) || sequence_state(t->q) != SEQ_READS) continue;
        if (!may_read(s, t)) continue;
        if (!first) {
            first = t;
            if (sequence_unread(t->q) <= n_batch || t->passed >= SCHED_PASSED) break;
        } else if (sequence_unread(t->q) <= n_batch) {
            first->passed++;
            return t;
        }
    }
    if (first) first->passed = 0;
    return first;
}

static void feed_readers(struct scheduler *s) {
    const int n_batch = engine_n_batch(s->o.engine), n_out = engine_n_out(s->o.engine);
    const int n_write = s->n_row;
    int most = n_batch - n_write, enough = most;
    if (n_write > 0)
        most = smaller(most, step_cost_prompt_rows(s->cost, n_write));
    else
        enough = SCHED_FULL_ROWS;
    for (int i = 0; i < s->n_slot && s->n_prompt_row < smaller(most, enough); i++) {
        struct slot *t = next_reader(s);
        if (!t || s->n_out >= n_out) return;
        if (!feed(s, t, most - s->n_prompt_row, 0)) return;
    }
}

/* A prompt alone in a step may be long: its client may leave meanwhile. */
static const float *run(struct scheduler *s) {
    struct forward *f = engine_forward(s->o.engine);
    const bool alone = s->n_fed == 1;
    const int64_t t0 = os_now_ns();
    forward_set_stop(f, alone ? &s->fed[0]->job->stop : NULL);
    const float *rows = forward_run(f, s->batch, s->n_fed);
    forward_set_stop(f, NULL);
    const int64_t ns = os_now_ns() - t0;
    if (!rows) return NULL;
    if (s->n_prompt_row > 0)
        step_cost_add_prompt(s->cost, s->n_row - s->n_prompt_row, s->n_prompt_row, ns);
    else
        step_cost_add(s->cost, s->n_row, ns);
    return rows;
}

/* Everybody's logits. */
static void take(struct scheduler *s, const float *rows) {
    const size_t n_vocab = (size_t)model_n_vocab(engine_model(s->o.engine));
    for (int i = 0; i < s->n_fed; i++) {
        struct slot *t = s->fed[i];
        if (t->reads) session_remember(t->s);
        if (t->n_out > 0 && sequence_take(t->q, rows, &t->err) != 0) t->failed = true;
        rows += n_vocab * (size_t)t->n_out;
    }
}

static void end_those_done(struct scheduler *s) {
    for (int i = 0; i < s->n_age;) {
        struct slot *t = s->age[i];
        t->n_row = 0;
        if (t->failed || sequence_state(t->q) == SEQ_DONE)
            sched_slot_end(s, t);
        else
            i++;
    }
}

/* The step was given up: what it was to compute is not there. */
static void undo(struct scheduler *s) {
    struct slot *t = s->fed[0];
    session_truncate(t->s, session_n_tok(t->s) - t->n_row);
    sequence_yield(t->q); /* it is cancelled, and will not come back */
}

bool sched_step_due(const struct scheduler *s) {
    for (int i = 0; i < s->n_age; i++) {
        const struct slot *t = s->age[i];
        if (goes_on(t) || (t->stalled && !t->parked && !sched_paused(t->job))) return true;
    }
    return false;
}

void sched_step(struct scheduler *s) {
    s->n_fed = s->n_row = s->n_out = s->n_prompt_row = 0;
    wake_stalled(s);
    feed_writers(s);
    feed_readers(s);
    if (s->n_fed > 0) {
        const float *rows = run(s);
        if (rows)
            take(s, rows);
        else
            undo(s);
    }
    end_those_done(s);
}
