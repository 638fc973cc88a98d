/* The loop of a training run; see train.h.
 *
 *     validate when it is due -> step -> checkpoint when it is due -> ...
 *
 * Whatever decides what comes next is in train_state or follows from its step: so a run that is
 * resumed cannot tell that it was interrupted. */
#include "train/adapter_file.h"
#include "train/train.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "train/train_priv.h"

/* A loss is out of all proportion when the guard says so (optim.h) and it is also far above the
 * mean of those before: one that has become small varies by many of its own deviations. */
#define MAX_Z 10.0
#define MAX_RATIO 2.0
#define MAX_RISE 1.0 /* nats */
/* From here on a square, and with it AdamW's second moment, would be infinite for ever. */
#define MAX_NORM 1e18
enum { MAX_SKIPPED_IN_ROW = 20, MAX_SKIPPED_AT_END = 2 };

bool train_stopped(const struct trainer *r) {
    return r->o.stop && __atomic_load_n(r->o.stop, __ATOMIC_RELAXED);
}

/* ---- life ---- */

/* n_most: sequences at hand at a time. */
static int alloc_dpo(struct trainer *r, int n_most, struct err *e) {
    const int n_all = r->d.n_seq + r->d.n_valid;
    if (r->o.method != TRAIN_DPO) return 0;
    r->all_reference = calloc((size_t)n_all, sizeof *r->all_reference);
    r->reference = calloc((size_t)n_most, sizeof *r->reference);
    r->policy = calloc((size_t)n_most, sizeof *r->policy);
    r->seq_coef = calloc((size_t)n_most, sizeof *r->seq_coef);
    r->pack_logp = calloc((size_t)n_most, sizeof *r->pack_logp);
    if (!r->all_reference || !r->reference || !r->policy || !r->seq_coef || !r->pack_logp)
        return err_nomem(e, "training");
    for (int i = 0; i < n_all; i++)
        r->all_reference[i] = NAN;
    return 0;
}

static int alloc(struct trainer *r, struct err *e) {
    const int unit = train_unit(&r->o), n_pick = r->o.batch * unit;
    const int n_most = n_pick > r->d.n_valid ? n_pick : r->d.n_valid;
    r->n_unit = r->d.n_seq / unit;
    r->order = calloc((size_t)r->n_unit, sizeof *r->order);
    r->pick = calloc((size_t)n_pick, sizeof *r->pick);
    r->valid = calloc((size_t)r->d.n_valid + 1, sizeof *r->valid);
    if (r->d.n_valid) r->best = calloc(r->p->n_plane, sizeof *r->best);
    if (!r->order || !r->pick || !r->valid || (r->d.n_valid && !r->best))
        return err_nomem(e, "training");
    for (int i = 0; i < r->d.n_valid; i++)
        r->valid[i] = &r->d.valid[i];
    if (alloc_dpo(r, n_most, e) != 0) return -1;
    return micro_init(&r->m, r->o.micro_rows, r->plan.max_rows, n_most, e);
}

static int start(struct trainer *r, struct err *e) {
    const struct grad_opts go = train_grad_opts(&r->o, &r->plan);
    r->grad = grad_new(r->team, r->g, &go, e);
    if (!r->grad) return -1;
    r->p = grad_params(r->grad);
    if (!train_is_full(&r->o)) {
        struct rng rng;
        rng_seed(&rng, r->o.seed);
        lora_init(r->p, &rng);
        if (r->o.from && adapter_file_read(r->o.from, r->p, e) != 0) return -1;
        grad_refresh(r->grad);
    }
    r->order_epoch = -1;
    r->s = (struct train_state){.best_step = -1, .best_loss = NAN};
    rng_seed(&r->s.rng, r->o.seed);
    r->s.own[OWN_VALID_AT] = -1;
    r->s.own[OWN_FIRST_LOSS] = r->s.own[OWN_FIRST_VALID] = r->s.own[OWN_VALID] = NAN;
    if (alloc(r, e) != 0) return -1;
    return r->o.dir ? train_save_init(r, e) : 0;
}

struct trainer *trainer_new(struct team *t, const struct gguf *g, const struct train_data *d,
                            const struct train_opts *o, const struct train_plan *p, struct err *e) {
    struct trainer *r = calloc(1, sizeof *r);
    if (!r) {
        err_nomem(e, "training");
        return NULL;
    }
    r->team = t, r->g = g, r->d = *d, r->plan = *p, r->lock_fd = -1;
    if (train_resolve(o, &r->o, e) == 0 && train_plan_check(p, d, &r->o, e) == 0 &&
        start(r, e) == 0)
        return r;
    trainer_free(r);
    return NULL;
}

void trainer_free(struct trainer *r) {
    if (!r) return;
    train_save_fini(r);
    grad_free(r->grad);
    micro_fini(&r->m);
    free(r->best);
    free(r->order);
    free(r->pick);
    free(r->valid);
    free(r->all_reference);
    free(r->reference);
    free(r->policy);
    free(r->seq_coef);
    free(r->pack_logp);
    free(r);
}

int trainer_step(const struct trainer *r) {
    return (int)r->s.step;
}

const struct params *trainer_params(const struct trainer *r) {
    return r->p;
}

struct grad *trainer_grad(const struct trainer *r) {
    return r->grad;
}

/* ---- events ---- */

static double epoch_of(const struct trainer *r) {
    return (double)r->s.step / r->plan.step_per_epoch;
}

/* From the means of this process's steps and validations. */
static double seconds_left(const struct trainer *r, double seconds) {
    const double steps = r->plan.n_step - (double)r->s.step;
    if (r->run_steps == 0) return NAN;
    const double valid = r->run_valid ? (double)r->valid_ns * 1e-9 / r->run_valid : 0;
    return seconds / r->run_steps * steps + valid * ceil(steps / r->plan.valid_every);
}

static void tell(struct trainer *r, enum train_event_kind kind, struct train_event ev) {
    if (!r->say) return;
    const double seconds = (double)r->run_ns * 1e-9;
    ev.kind = kind;
    ev.step = (int)r->s.step;
    ev.n_step = r->plan.n_step;
    ev.epoch = epoch_of(r);
    ev.valid_loss = r->s.own[OWN_VALID];
    ev.best_loss = r->s.best_loss;
    ev.tps = seconds > 0 ? (double)r->run_tok / seconds : 0;
    ev.seconds = r->s.own[OWN_SECONDS];
    ev.left_s = seconds_left(r, seconds);
    r->say(r->say_ctx, &ev);
}

/* ---- a step ---- */

/* The sequences of the step that is next; returns how many. */
static int pick(struct trainer *r) {
    const int unit = train_unit(&r->o), spe = r->plan.step_per_epoch;
    const int at = (int)r->s.step, epoch = at / spe, from = at % spe * r->o.batch;
    const int n = r->n_unit - from < r->o.batch ? r->n_unit - from : r->o.batch;
    if (epoch != r->order_epoch) {
        train_order(r->order, r->n_unit, r->o.seed, epoch);
        r->order_epoch = epoch;
    }
    for (int i = 0; i < n * unit; i++)
        r->pick[i] = &r->d.seq[(size_t)r->order[from + i / unit] * (size_t)unit + i % unit];
    return n * unit;
}

static double mean_seen(const struct spike_guard *g) {
    double sum = 0;
    for (int i = 0; i < g->n; i++)
        sum += g->seen[i];
    return g->n ? sum / g->n : 0;
}

static bool is_spike(struct spike_guard *g, double loss) {
    const bool near = loss <= MAX_RATIO * mean_seen(g) + MAX_RISE;
    return spike_guard_check(g, loss, near ? 0 : MAX_Z); /* what is accepted joins the window */
}

/* Far too many, or nothing but that; or the run ends with them and there are no parameters of
 * before to take. */
static bool is_lost(const struct trainer *r) {
    if (r->s.n_skipped >= MAX_SKIPPED_IN_ROW || r->s.own[OWN_N_SKIPPED] >= r->plan.n_step)
        return true;
    return r->s.step >= r->plan.n_step && r->s.best_step < 0 && r->s.n_skipped > MAX_SKIPPED_AT_END;
}

static int skip(struct trainer *r, struct train_event ev, struct err *e) {
    optim_zero_grad(r->team, r->p);
    r->s.own[OWN_N_SKIPPED]++;
    r->s.step++;
    tell(r, TRAIN_SKIP, ev);
    r->s.n_skipped++;
    if (!is_lost(r)) return 0;
    return err_set(e, ERR_FORMAT,
                   "training: %d steps in a row with a loss or gradient out of all proportion (the "
                   "last: loss %g, gradient %g); a lower learning rate than %g may help",
                   r->s.n_skipped, ev.loss, ev.grad_norm, r->o.lr);
}

/* The mean loss of the epoch so far, for the end's report. */
static void remember(struct trainer *r, double loss) {
    if (isnan(r->s.own[OWN_FIRST_LOSS])) r->s.own[OWN_FIRST_LOSS] = loss;
    if (r->s.step % r->plan.step_per_epoch == 0) r->s.own[OWN_N_RECENT] = 0;
    if (r->s.own[OWN_N_RECENT]++ == 0) r->s.own[OWN_RECENT_LOSS] = 0;
    r->s.own[OWN_RECENT_LOSS] += (loss - r->s.own[OWN_RECENT_LOSS]) / r->s.own[OWN_N_RECENT];
}

static int gradients(struct trainer *r, int n, struct step_sum *sum, struct err *e) {
    return r->o.method == TRAIN_DPO ? train_step_dpo(r, n, sum, e)
                                    : train_step_likelihood(r, n, sum, e);
}

static int step(struct trainer *r, struct err *e) {
    const struct schedule sched = {r->o.schedule, r->o.lr, r->plan.n_warmup, r->plan.n_step,
                                   r->o.min_ratio};
    const struct adamw adam = {.beta2 = (float)r->o.beta2,
                               .weight_decay = (float)r->o.weight_decay,
                               .max_norm = (float)r->o.clip};
    struct step_sum sum;
    const int64_t t0 = os_now_ns();
    const int n = pick(r);
    if (gradients(r, n, &sum, e) != 0) return -1;
    const double norm = optim_grad_norm(r->team, r->p);
    struct train_event ev = {.loss = sum.loss,
                             .accuracy = sum.accuracy,
                             .grad_norm = norm,
                             .lr = schedule_lr(&sched, r->s.step),
                             .n_tok = sum.n_tok,
                             .n_label = sum.n_label};
    if (!(norm <= MAX_NORM) || is_spike(&r->s.guard, sum.loss)) return skip(r, ev, e);
    ev.clip =
        optim_step(r->team, r->p, &adam, r->s.step - (int)r->s.own[OWN_N_SKIPPED], ev.lr, norm);
    grad_refresh(r->grad);
    remember(r, sum.loss);
    const int64_t took_ns = os_now_ns() - t0;
    r->s.n_skipped = 0;
    r->s.step++;
    r->s.n_tok += sum.n_tok;
    r->s.own[OWN_SECONDS] += (double)took_ns * 1e-9;
    r->run_ns += took_ns;
    r->run_tok += sum.n_tok;
    r->run_steps++;
    tell(r, TRAIN_STEP, ev);
    return 0;
}

/* ---- validation ---- */

static bool valid_is_due(const struct trainer *r) {
    return r->d.n_valid && r->s.own[OWN_VALID_AT] != r->s.step &&
           (r->s.step % r->plan.valid_every == 0 || r->s.step == r->plan.n_step);
}

/* Before the first step it only measures the base. */
static bool is_better(const struct trainer *r, double loss) {
    return r->s.step > 0 && isfinite(loss) && !(loss >= r->s.best_loss);
}

static int validate(struct trainer *r, struct err *e) {
    struct step_sum sum;
    const int64_t t0 = os_now_ns();
    if ((r->o.method == TRAIN_DPO ? train_validate_dpo(r, &sum, e)
                                  : train_validate_likelihood(r, &sum, e)) != 0)
        return -1;
    r->s.own[OWN_VALID] = sum.loss;
    r->s.own[OWN_VALID_AT] = (double)r->s.step;
    if (r->s.step == 0) r->s.own[OWN_FIRST_VALID] = sum.loss;
    const bool better = is_better(r, sum.loss);
    if (better) {
        memcpy(r->best, r->p->w, r->p->n_plane * sizeof *r->best);
        r->s.best_loss = sum.loss;
        r->s.best_step = r->s.step;
        r->s.n_worse = 0;
    } else if (r->s.step > 0) {
        r->s.n_worse++;
    }
    if (r->o.patience && r->s.n_worse >= r->o.patience && r->s.step < r->plan.n_step)
        r->s.own[OWN_STOPPED] = 1;
    r->valid_ns += os_now_ns() - t0;
    r->s.own[OWN_SECONDS] += (double)(os_now_ns() - t0) * 1e-9;
    r->run_valid++;
    tell(r, TRAIN_VALID,
         (struct train_event){.best = better,
                              .loss = r->s.own[OWN_RECENT_LOSS],
                              .accuracy = sum.accuracy,
                              .n_tok = sum.n_tok,
                              .n_label = sum.n_label});
    return 0;
}

/* ---- all ---- */

static int save(struct trainer *r, struct err *e) {
    if (!r->o.dir) return 0;
    if (train_save(r, e) != 0) return -1;
    r->saved_step = r->s.step;
    r->mark_ns = os_now_ns();
    tell(r, TRAIN_CHECKPOINT, (struct train_event){.loss = r->s.own[OWN_RECENT_LOSS]});
    return 0;
}

static bool save_is_due(const struct trainer *r) {
    if (!r->o.dir || r->saved_step == r->s.step) return false;
    if (r->o.checkpoint_every) return r->s.step % r->o.checkpoint_every == 0;
    return (double)(os_now_ns() - r->mark_ns) * 1e-9 >= r->o.checkpoint_s;
}

/* ERR_CANCELLED, unless the checkpoint cannot be written. */
static int interrupt(struct trainer *r, struct err *e) {
    if (save(r, e) != 0) return -1;
    return err_set(e, ERR_CANCELLED, "training: interrupted after step %d of %d", (int)r->s.step,
                   r->plan.n_step);
}

static int loop(struct trainer *r, struct err *e) {
    for (;;) {
        if (train_stopped(r)) return interrupt(r, e);
        if (valid_is_due(r) && validate(r, e) != 0)
            return e->code == ERR_CANCELLED ? interrupt(r, e) : -1;
        if (r->s.own[OWN_STOPPED] || r->s.step >= r->plan.n_step) return save(r, e);
        if (save_is_due(r) && save(r, e) != 0) return -1;
        if (step(r, e) != 0) return -1;
    }
}

static void take_best(struct trainer *r) {
    if (r->s.best_step < 0 || r->s.best_step == r->s.step) return;
    memcpy(r->p->w, r->best, r->p->n_plane * sizeof *r->best);
    grad_refresh(r->grad);
}

int trainer_run(struct trainer *r, train_event_fn *say, void *ctx, struct train_result *out,
                struct err *e) {
    struct err own = {0};
    struct err *err = e ? e : &own;
    assert(!r->spoilt);
    r->say = say, r->say_ctx = ctx;
    r->mark_ns = os_now_ns();
    r->saved_step = r->resumed ? r->s.step : -1;
    tell(r, TRAIN_START, (struct train_event){.loss = r->s.own[OWN_RECENT_LOSS]});
    if (loop(r, err) != 0) return -1;
    take_best(r);
    *out =
        (struct train_result){.step = (int)r->s.step,
                              .n_step = r->plan.n_step,
                              .best_step = (int)(r->s.best_step < 0 ? r->s.step : r->s.best_step),
                              .n_skipped = (int)r->s.own[OWN_N_SKIPPED],
                              .stopped_early = r->s.own[OWN_STOPPED] != 0,
                              .n_tok = r->s.n_tok,
                              .epoch = epoch_of(r),
                              .first_loss = r->s.own[OWN_FIRST_LOSS],
                              .last_loss = r->s.own[OWN_RECENT_LOSS],
                              .first_valid = r->s.own[OWN_FIRST_VALID],
                              .best_valid = r->s.best_loss,
                              .seconds = r->s.own[OWN_SECONDS]};
    tell(r, TRAIN_END, (struct train_event){.loss = r->s.own[OWN_RECENT_LOSS]});
    return 0;
}
