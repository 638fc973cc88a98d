/* How many rows the largest micro-batch of a run will have: every step is laid out once, by lengths
 * alone, in the order that the run will have.  Memory for more would only be planned, never used.
 */
#include <stdlib.h>

#include "train/pack.h"
#include "train/train_priv.h"

/* Of a longer run the capacity of a micro-batch is taken: laying it out would take seconds. */
enum { MAX_LAID_OUT = 1 << 22 }; /* sequences */

struct layout {
    int *len, *start; /* [n_most], [n_most + 1] */
    int32_t *order;   /* [n_most], by pack */
    int32_t *drawn;   /* [n_unit]: units in an epoch's order */
    int rows, largest;
};

/* The largest pack of the n first lengths. */
static int lay_out(struct layout *l, int n, struct err *e) {
    const int n_pack = pack_best_fit(l->len, n, l->rows, l->order, l->start, e);
    for (int k = 0; k < n_pack; k++) {
        int rows = 0;
        for (int i = l->start[k]; i < l->start[k + 1]; i++)
            rows += l->len[l->order[i]];
        if (rows > l->largest) l->largest = rows;
    }
    return n_pack < 0 ? -1 : 0;
}

static int lay_out_steps(struct layout *l, const struct train_data *d, const struct train_opts *o,
                         int n_step, struct err *e) {
    const int unit = train_unit(o), n_unit = d->n_seq / unit;
    const int step_per_epoch = (n_unit + o->batch - 1) / o->batch;
    for (int s = 0; s < n_step; s++) {
        const int from = s % step_per_epoch * o->batch;
        int n = 0;
        if (from == 0) train_order(l->drawn, n_unit, o->seed, s / step_per_epoch);
        for (int i = from; i < n_unit && i < from + o->batch; i++)
            for (int k = 0; k < unit; k++)
                l->len[n++] = d->seq[l->drawn[i] * unit + k].n;
        if (lay_out(l, n, e) != 0) return -1;
    }
    return 0;
}

/* The reference of preferences is asked pair by pair. */
static int lay_out_pairs(struct layout *l, const struct train_seq *s, int n, struct err *e) {
    for (int i = 0; i + 1 < n; i += 2) {
        l->len[0] = s[i].n, l->len[1] = s[i + 1].n;
        if (lay_out(l, 2, e) != 0) return -1;
    }
    return 0;
}

static int lay_out_all(struct layout *l, const struct train_data *d, const struct train_opts *o,
                       int n_step, struct err *e) {
    if (lay_out_steps(l, d, o, n_step, e) != 0) return -1;
    if (o->method == TRAIN_DPO && (lay_out_pairs(l, d->seq, d->n_seq, e) != 0 ||
                                   lay_out_pairs(l, d->valid, d->n_valid, e) != 0))
        return -1;
    for (int i = 0; i < d->n_valid; i++)
        l->len[i] = d->valid[i].n;
    return lay_out(l, d->n_valid, e);
}

int train_plan_rows(const struct train_data *d, const struct train_opts *o, int n_step,
                    struct err *e) {
    const int unit = train_unit(o), n_pick = o->batch * unit;
    if ((int64_t)n_step * n_pick > MAX_LAID_OUT) return o->micro_rows;
    const size_t n_most = (size_t)(n_pick > d->n_valid ? n_pick : d->n_valid) + 2;
    struct layout l = {.len = calloc(n_most, sizeof *l.len),
                       .start = calloc(n_most + 1, sizeof *l.start),
                       .order = calloc(n_most, sizeof *l.order),
                       .drawn = calloc((size_t)d->n_seq, sizeof *l.drawn),
                       .rows = o->micro_rows};
    int rc = l.len && l.start && l.order && l.drawn ? 0 : err_nomem(e, "training");
    if (rc == 0) rc = lay_out_all(&l, d, o, n_step, e);
    free(l.len);
    free(l.start);
    free(l.order);
    free(l.drawn);
    return rc == 0 ? l.largest : -1;
}
