/* Learning rates by step; see optim.h. */
#include "train/optim.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {
    [SCHEDULE_COSINE] = "cosine", [SCHEDULE_LINEAR] = "linear", [SCHEDULE_CONSTANT] = "constant"};
enum { N_KIND = sizeof names / sizeof *names };

double schedule_lr(const struct schedule *s, int64_t t) {
    if (t < s->warmup) return s->lr * (double)(t + 1) / s->warmup;
    const int64_t fall = (int64_t)s->total - s->warmup;
    const double q = fmin(1.0, (double)(t - s->warmup) / (double)(fall > 1 ? fall : 1));
    double f = 1.0;
    if (s->kind == SCHEDULE_COSINE) f = (1.0 + cos(3.14159265358979323846 * q)) / 2;
    if (s->kind == SCHEDULE_LINEAR) f = 1.0 - q;
    return s->lr * (s->min_ratio + (1.0 - s->min_ratio) * f);
}

int schedule_by_name(const char *name) {
    for (int i = 0; i < N_KIND; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

const char *schedule_name(enum schedule_kind k) {
    return names[k];
}
