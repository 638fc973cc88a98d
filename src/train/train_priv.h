/* What the files of a training run share. */
#pragma once

#include "base/buf.h"
#include "base/sha256.h"
#include "train/checkpoint.h"
#include "train/rng.h"
#include "train/train.h"

static inline bool train_is_full(const struct train_opts *o) {
    return o->method == TRAIN_FULL || o->method == TRAIN_QAT;
}
/* Sequences that are drawn together: a preference's two. */
static inline int train_unit(const struct train_opts *o) {
    return o->method == TRAIN_DPO ? 2 : 1;
}
/* For a plan's kept_layers. */
struct grad_opts train_grad_opts(const struct train_opts *o, const struct train_plan *p);

/* Choose kept_layers of a plan that has all but its memory: the most whose activations fit into
 * `limit`; *fits false when none do (then the plan is that of none kept). */
int train_plan_fit(const struct gguf *g, const struct train_opts *o, int n_thread, uint64_t limit,
                   struct train_plan *p, bool *fits, struct err *e);
/* ERR_LIMIT for a plan over memory_bytes, with the settings that would fit (plan_refuse.c). */
int train_plan_refuse(const struct gguf *g, const struct train_opts *o, int n_thread,
                      const struct train_plan *p, struct err *e);

/* Everything is as large as the plan says: ERR_USAGE when it is not of these data and (resolved)
 * options. */
int train_plan_check(const struct train_plan *p, const struct train_data *d,
                     const struct train_opts *o, struct err *e);

/* Rows of the largest micro-batch of all steps and validations; -1: ERR_NOMEM. */
int train_plan_rows(const struct train_data *d, const struct train_opts *o, int n_step,
                    struct err *e);

/* The order of n units in an epoch: a permutation of 0..n-1 that depends on seed and epoch. */
void train_order(int32_t *order, int n, uint64_t seed, int epoch);

/* ---- a step: train_step.c ---- */

/* Sequences laid out as micro-batches of at most `capacity` rows, one after another.  max_rows:
 * what the largest of them comes to (train_plan_rows). */
struct micro {
    struct batch b;
    float *coef;       /* [max_rows] */
    double *nll;       /* [max_rows] */
    const int32_t *of; /* [b.n_seq]: which of the sequences each of the batch is */
    int capacity;      /* rows of a batch, at most */
    int max_rows;      /* there is room for */
    int *len;          /* [max_seq] */
    int32_t *order;    /* [max_seq], by pack */
    int *start;        /* [max_seq + 1] */
};
/* For at most max_seq sequences at a time. */
int micro_init(struct micro *m, int capacity, int max_rows, int max_seq, struct err *e);
void micro_fini(struct micro *m);
/* Lay out n sequences.  Returns the number of batches, or -1: ERR_NOMEM; ERR_LIMIT, one is larger
 * than max_rows. */
int micro_pack(struct micro *m, const struct train_seq *const *seq, int n, struct err *e);
/* Fill b with batch k of those. */
void micro_fill(struct micro *m, const struct train_seq *const *seq, int k);

/* The trainer's own figures in a checkpoint (train_state.own). */
enum {
    OWN_VALID_AT,  /* step of the last validation; -1: none */
    OWN_N_SKIPPED, /* steps, all together */
    OWN_STOPPED,   /* patience has ended the run */
    OWN_N_RECENT,  /* steps of this epoch, and their mean loss */
    OWN_RECENT_LOSS,
    OWN_FIRST_LOSS,
    OWN_FIRST_VALID, /* of the base; NaN as the next: none yet */
    OWN_VALID,
    OWN_SECONDS,
};

struct trainer {
    struct team *team; /* borrowed, as are g and d */
    const struct gguf *g;
    struct train_data d;
    struct train_opts o; /* resolved */
    struct train_plan plan;
    struct grad *grad;
    struct params *p; /* grad's */
    struct train_state s;
    float *best;    /* [n_plane] of the best validation; NULL without one */
    int32_t *order; /* [n_unit] of order_epoch */
    int n_unit, order_epoch;
    const struct train_seq **pick, **valid; /* [batch * unit] of a step, [n_valid] */
    struct micro m;
    /* DPO: log-probabilities under the base of all of seq and of valid (NaN: not asked yet); of
     * those at hand under base and adapter, and the weights of their rows, [max(2 batch, n_valid)];
     * of a micro-batch's. */
    double *all_reference, *reference, *policy, *seq_coef, *pack_logp;
    /* Of this process alone: time in steps and validations, of the last checkpoint. */
    int64_t run_ns, run_tok, valid_ns, mark_ns;
    int run_steps, run_valid;
    int64_t saved_step;
    bool resumed;
    bool spoilt;             /* trainer_resume failed: what is there may be of two checkpoints */
    struct checkpoint_id id; /* with a folder: what this run is; config is in config */
    struct buf config;
    int lock_fd; /* of the folder; -1: none */
    train_event_fn *say;
    void *say_ctx;
};

bool train_stopped(const struct trainer *r);

int train_count_labels(const struct train_seq *s);

/* What a step found out. */
struct step_sum {
    double loss, accuracy;
    int n_tok, n_label;
};
/* Gradients of the picked sequences, added to params.grad; coefficients are those of the mean over
 * all labels. */
int train_step_likelihood(struct trainer *r, int n, struct step_sum *out, struct err *e);
int train_step_dpo(struct trainer *r, int n, struct step_sum *out, struct err *e);
/* Means over the validation set; ERR_CANCELLED when stopped in between. */
int train_validate_likelihood(struct trainer *r, struct step_sum *out, struct err *e);
int train_validate_dpo(struct trainer *r, struct step_sum *out, struct err *e);

/* ---- checkpoints: train_save.c ---- */

/* Take the folder, and say what this run is; fini also without. */
int train_save_init(struct trainer *r, struct err *e);
void train_save_fini(struct trainer *r);
int train_save(struct trainer *r, struct err *e);
