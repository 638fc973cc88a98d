/* AdamW with decoupled weight decay (arXiv:1711.05101), clipping by the global norm, learning-rate
 * schedules.  Every sum has a fixed order: one thread or many give the same bits. */
#pragma once

#include "base/team.h"
#include "train/params.h"

enum schedule_kind { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT };

struct schedule {
    enum schedule_kind kind;
    double lr; /* the highest */
    int warmup, total;
    double min_ratio; /* lr ends at lr * min_ratio */
};

/* Rate of step t = 0, 1...  t < warmup: lr (t+1) / warmup.  Then with q = min(1, (t - warmup) /
 * max(1, total - warmup)): lr (min_ratio + (1 - min_ratio) f), f = (1 + cos(pi q)) / 2, 1 - q or 1.
 */
double schedule_lr(const struct schedule *s, int64_t t);

/* "cosine", "linear", "constant"; -1 for another. */
int schedule_by_name(const char *name);
const char *schedule_name(enum schedule_kind k);

struct adamw {
    float beta1, beta2, eps; /* zeros stand for 0.9, 0.999, 1e-8 */
    float weight_decay;
    float max_norm; /* of the whole gradient; 0: no clipping */
};

/* Root of the sum of squares over all gradients: NaN or infinite when one is. */
double optim_grad_norm(struct team *t, const struct params *p);

/* One step, t = 0, 1...:
 *     g = clip grad;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *     w = w (1 - lr weight_decay) - lr mh / (sqrt(vh) + eps)
 * with mh = m / (1 - beta1^(t+1)), vh = v / (1 - beta2^(t+1)), clip = min(1, max_norm / norm);
 * decay only where param.decay.  Gradients are set to zero.  Returns clip. */
double optim_step(struct team *t, struct params *p, const struct adamw *o, int64_t step, double lr,
                  double grad_norm);

/* The gradients become zero. */
void optim_zero_grad(struct team *t, struct params *p);

/* A loss (or norm) that jumps out of the last 128 by many deviations: such a step is skipped and
 * logged (llm.c's outlier detector).  All-zero is a fresh guard; part of a checkpoint as it is. */
enum { SPIKE_WINDOW = 128 };
struct spike_guard {
    double seen[SPIKE_WINDOW];
    int32_t n, at;
};
/* True: skip this step.  Not finite always is; the value joins the window only when it is accepted.
 * With fewer than 32 seen everything finite is accepted. */
bool spike_guard_check(struct spike_guard *g, double value, double max_z);
