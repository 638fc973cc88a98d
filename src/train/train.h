/* A training run: sequences in, trained parameters out.
 *
 *   epochs -> a shuffled order of the sequences -> steps of `batch` sequences
 *     step -> micro-batches of at most `micro_rows` rows
 *          -> grad_run, each row's weight one over the labels of the WHOLE step
 *          -> norm, spike guard, clip, schedule -> optim_step
 *     now and then: validation (the best parameters are kept), a checkpoint, an event
 *
 * A run depends on its options, its data and its base alone: not on the number of threads, nor on
 * where it was interrupted.  One thread at a time. */
#pragma once

#include "train/grad.h"
#include "train/optim.h"
#include "train/params.h"

struct lora_set; /* model/lora_set.h */

enum train_method {
    TRAIN_LORA, /* adapters on a frozen base */
    TRAIN_FULL, /* all weights */
    TRAIN_DPO,  /* adapters from preferences (arXiv:2305.18290); sequences 2k are chosen, 2k + 1
                 * rejected */
    TRAIN_QAT,  /* all weights, rounded in the forward as they will be in the file */
};
const char *train_method_name(enum train_method m); /* "lora", "full", "dpo", "qat" */
int train_method_by_name(const char *name);         /* -1 for another */

/* One sequence, a batch's rows: label[i] is what row i is to predict, or -1; the last has none. */
struct train_seq {
    const int32_t *tok, *label; /* [n] each, borrowed */
    int n;
};

struct train_data {
    const struct train_seq *seq, *valid; /* [n_seq], [n_valid]; borrowed until trainer_free */
    int n_seq, n_valid;                  /* n_valid 0: no validation */
    uint64_t n_bytes;                    /* what holds them in memory: part of the plan */
};

enum train_precision { TRAIN_AUTO, TRAIN_F32, TRAIN_BF16 };
enum train_recompute { TRAIN_RECOMPUTE_AUTO, TRAIN_RECOMPUTE_NONE, TRAIN_RECOMPUTE_ALL };

/* All-zero is the default of each; where zero has a meaning of its own, a negative value is it. */
struct train_opts {
    enum train_method method;
    double epochs;               /* 3 */
    int max_steps;               /* no more than that; 0: epochs decide */
    double lr;                   /* 2e-4; all weights: 5e-4; DPO: 5e-5 */
    struct lora_opts lora;       /* its defaults */
    const struct lora_set *from; /* TRAIN_LORA: pairs to go on from, of which lora are the options
                                  * (adapter_file_opts); read by trainer_new; NULL: fresh ones */
    int ctx;                     /* 1024: the longest sequence there may be */
    int batch;                   /* 8 sequences a step; DPO: pairs */
    int micro_rows;              /* rows of one forward; ctx */
    double warmup;               /* 0.03 of the steps; negative: none */
    enum schedule_kind schedule;
    double min_ratio;    /* 0.1; negative: to zero */
    double clip;         /* 1.0; negative: none */
    double weight_decay; /* adapters 0, all weights 0.1; negative: 0 */
    double beta2;        /* 0.999 */
    int valid_every;     /* steps; a quarter of an epoch, a tenth of the run if that is more */
    int patience;        /* 3 validations without a better one end the run; negative: never */
    uint64_t seed;       /* 0 */
    enum train_precision precision; /* bf16 where the processor has it */
    enum train_recompute recompute; /* as little as the memory allows */
    double dpo_beta;                /* 0.1 */
    /* TRAIN_QAT: the type that a tensor will have in the file. */
    enum qtype (*fake)(void *ctx, const char *tensor);
    void *fake_ctx;
    uint64_t memory_bytes; /* limit of the plan; 0: none */

    const uint8_t *base_digest; /* SHA-256 of the base's file; NULL: read it for that, with dir */
    const char *dir;            /* folder of checkpoints, which is there; NULL: none are made */
    int checkpoint_every;       /* steps; 0: by time */
    double checkpoint_s;        /* 60 s */
    const volatile int *stop;   /* set: finish the step, checkpoint, ERR_CANCELLED; or NULL */

    bool resolved; /* train_resolve's: zeros are zeros now */
};

/* Every default put in, and a negative value that means zero made so; options that are resolved
 * stay as they are.  ERR_USAGE names what is out of bounds.  What follows from the data
 * (valid_every) stays for the plan. */
int train_resolve(const struct train_opts *in, struct train_opts *out, struct err *e);

/* ---- before ---- */

struct train_plan {
    int n_seq, n_valid, n_step, step_per_epoch, n_warmup, valid_every;
    int64_t n_tok, n_label; /* of one epoch */
    int64_t n_valid_tok, n_valid_label;
    int max_seq_rows, max_rows; /* of a sequence, of a micro-batch */
    int n_layer, kept_layers;   /* activations kept of so many, the others recomputed */
    enum gemm_prec prec;
    struct grad_need need;
    uint64_t data_bytes, best_bytes, run_bytes; /* sequences; the best parameters of validation;
                                                 * the run's own */
    uint64_t program_bytes;                     /* what the process has in memory besides */
    uint64_t total_bytes;                       /* all of these */
    double flops;                               /* of the whole run, validation included */
    double seconds;                             /* expected; 0 until train_plan_time() */
};

/* ERR_FORMAT: no sequence with a label, one that is too long; ERR_USAGE: an option out of bounds;
 * ERR_LIMIT: over memory_bytes, with the settings that would fit; else as grad_need(). */
int train_plan(const struct gguf *g, const struct train_data *d, const struct train_opts *o,
               int n_thread, struct train_plan *out, struct err *e);

/* Measure for a moment and set p->seconds.  d and o: those of the plan.  ERR_NOMEM. */
int train_plan_time(struct team *t, const struct gguf *g, const struct train_data *d,
                    const struct train_opts *o, struct train_plan *p, struct err *e);

/* ---- during ---- */

enum train_event_kind {
    TRAIN_START,      /* the run begins, or goes on at `step` */
    TRAIN_STEP,       /* after each */
    TRAIN_SKIP,       /* a step whose loss or gradient was out of all proportion: nothing changed */
    TRAIN_VALID,      /* validation; best: no earlier one was better */
    TRAIN_CHECKPOINT, /* written */
    TRAIN_END,
};

struct train_event {
    enum train_event_kind kind;
    int step, n_step;  /* steps done; of all */
    double epoch;      /* done */
    double loss;       /* mean over the step's labels, in nats; DPO: its loss */
    double accuracy;   /* DPO: share of pairs with the chosen one ahead */
    double valid_loss; /* the latest; NaN: none yet */
    double best_loss;  /* the lowest validation so far; NaN: none yet */
    double lr, grad_norm, clip;
    int n_tok, n_label; /* of the step */
    double tps;         /* tokens per second since the start, validation aside */
    double seconds;     /* since the start of this process's part */
    double left_s;      /* what is left to do; NaN: not known yet */
    bool best;
};
typedef void train_event_fn(void *ctx, const struct train_event *ev);

struct train_result {
    int step, n_step, best_step; /* done, planned; whose parameters these are */
    int n_skipped;
    bool stopped_early; /* patience ended */
    int64_t n_tok;
    double epoch;
    double first_loss, last_loss;   /* of the first step; mean of the last steps of an epoch */
    double first_valid, best_valid; /* before any step; of these parameters; NaN: none */
    double seconds;                 /* all processes together */
};

struct trainer;

/* Parameters as they are in the beginning.  d, g and t are borrowed until trainer_free.  ERR_USAGE:
 * the plan is not of these data and options; ERR_LIMIT: the settings' text is too long for a
 * checkpoint; else as grad_new(), checkpoint_lock(). */
struct trainer *trainer_new(struct team *t, const struct gguf *g, const struct train_data *d,
                            const struct train_opts *o, const struct train_plan *p, struct err *e);
void trainer_free(struct trainer *r);

/* Go on where the newest whole checkpoint of o->dir was made: then the result is that of a run that
 * was never interrupted, bit for bit.  *found false: there is none.  ERR_USAGE: it is another
 * run's (options, data or base differ; the message says which).  Else as checkpoint_load().  After
 * an error only trainer_free is left: parameters may be half read. */
int trainer_resume(struct trainer *r, bool *found, struct err *e);

/* To the end: the parameters are then those of the best validation, or the last.  say may be NULL.
 * ERR_CANCELLED after opts.stop, with a checkpoint when there is a folder; ERR_IO when none could
 * be written; ERR_FORMAT when too many steps in a row were out of all proportion, or the last ones
 * without a validation before them. */
int trainer_run(struct trainer *r, train_event_fn *say, void *ctx, struct train_result *out,
                struct err *e);

int trainer_step(const struct trainer *r); /* done */
const struct params *trainer_params(const struct trainer *r);
struct grad *trainer_grad(const struct trainer *r);
