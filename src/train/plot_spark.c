/* See plot.h: the line of blocks. */
#include "train/plot.h"

#include "base/utf8.h"

enum { LOWEST = 0x2581, N_HEIGHT = 8 };

/* The mean of the numbers among the losses [lo, hi), or NaN. */
static double mean_of(const struct run_record *r, int lo, int hi) {
    double sum = 0;
    int n = 0;
    for (int i = lo; i < hi; i++)
        if (plot_shows(r->step[i].loss)) sum += r->step[i].loss, n++;
    return n ? sum / n : (double)NAN;
}

static double column(const struct run_record *r, int n_col, int i) {
    const int lo = (int)((int64_t)r->n_step * i / n_col);
    return mean_of(r, lo, (int)((int64_t)r->n_step * (i + 1) / n_col));
}

static void put_blocks(const struct run_record *r, int n_col, struct buf *out) {
    double lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < n_col; i++) {
        const double v = column(r, n_col, i);
        lo = fmin(lo, v), hi = fmax(hi, v); /* NaN is passed over */
    }
    for (int i = 0; i < n_col; i++) {
        const double v = column(r, n_col, i);
        char c[4];
        if (isnan(v)) {
            buf_byte(out, ' ');
            continue;
        }
        const int h = hi > lo ? (int)((v - lo) / (hi - lo) * N_HEIGHT) : 0;
        buf_append(out, c,
                   (size_t)utf8_encode(LOWEST + (uint32_t)(h < N_HEIGHT ? h : N_HEIGHT - 1), c));
    }
}

void plot_spark(const struct run_record *r, int n_col, struct buf *out) {
    int first = -1, last = -1, low = -1;
    for (int i = 0; i < r->n_step; i++) {
        const double v = r->step[i].loss;
        if (!plot_shows(v)) continue;
        if (first < 0) first = i;
        if (low < 0 || v < r->step[low].loss) low = i;
        last = i;
    }
    if (first < 0) {
        buf_str(out, "no steps yet");
        return;
    }
    buf_printf(out, "%.4g ", r->step[first].loss);
    put_blocks(r, n_col < r->n_step ? (n_col > 1 ? n_col : 1) : r->n_step, out);
    buf_printf(out, " %.4g, lowest %.4g at step %lld", r->step[last].loss, r->step[low].loss,
               (long long)r->step[low].step);
}
