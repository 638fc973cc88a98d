/* See plot.h: the SVG.
 *
 *   record -> ranges -> axes with round ticks -> grid, curves (one or a few points a pixel column)
 *          -> legend
 *
 * Only shapes, text and a style sheet are written: no script, no reference to anything outside. */
#include "train/plot.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { WIDTH = 860, HEIGHT = 480, LEFT = 72, RIGHT = 780, TOP = 56, BOTTOM = 416 };
enum { MAX_TICKS = 12, MAX_MARKS = 200 };

/* ---- text ---- */

/* What XML 1.0 (2.2) does not have among printable characters: U+FFFE and U+FFFF. */
static bool is_forbidden(const char *p, int len) {
    return len == 3 && (memcmp(p, "\xef\xbf\xbe", 3) == 0 || memcmp(p, "\xef\xbf\xbf", 3) == 0);
}

/* XML's own characters as entities; controls, reordering characters and broken UTF-8 as U+FFFD. */
static void put_escaped(struct buf *out, const char *text) {
    for (size_t i = 0, n = strlen(text); i < n;) {
        const int len = utf8_printable(text + i, n - i);
        switch (text[i]) {
        case '&': buf_str(out, "&amp;"); break;
        case '<': buf_str(out, "&lt;"); break;
        case '>': buf_str(out, "&gt;"); break;
        case '"': buf_str(out, "&quot;"); break;
        case '\'': buf_str(out, "&#39;"); break;
        default:
            if (len && !is_forbidden(text + i, len))
                buf_append(out, text + i, (size_t)len);
            else
                buf_str(out, "\xef\xbf\xbd");
        }
        i += len ? (size_t)len : 1;
    }
}

/* ---- axes ---- */

struct axis {
    double lo, hi, tick;    /* lo is a multiple of tick */
    double at_lo, at_hi;    /* where they are in the picture */
    int n_tick, n_decimals; /* n_decimals < 0: %g */
};

static double at(const struct axis *a, double v) {
    return a->at_lo + (v - a->lo) / (a->hi - a->lo) * (a->at_hi - a->at_lo);
}

/* 1, 2 or 5 times a power of ten, so that about n of them make up the range. */
static double round_tick(double range, int n) {
    const double raw = range / n, power = pow(10, floor(log10(raw))), f = raw / power;
    return power * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
}

static struct axis axis_of(double lo, double hi, double least_tick, double at_lo, double at_hi) {
    struct axis a = {.at_lo = at_lo, .at_hi = at_hi};
    if (!(hi - lo > 1e-6 * fabs(hi) && hi - lo > 1e-12)) { /* one value: some room around it */
        const double half = fabs(lo) > 1e-12 ? fabs(lo) / 2 : 0.5;
        lo -= half, hi = lo + 2 * half;
    }
    a.tick = fmax(round_tick(hi - lo, 6), least_tick);
    a.lo = a.tick * floor(lo / a.tick + 1e-9);
    a.hi = a.tick * ceil(hi / a.tick - 1e-9);
    if (!(a.hi > a.lo)) a.hi = a.lo + a.tick;
    a.n_tick = (int)fmin(round((a.hi - a.lo) / a.tick) + 1, MAX_TICKS);
    a.n_decimals = (int)fmax(0, ceil(-log10(a.tick) - 1e-9));
    if ((a.n_decimals > 4 && a.hi < 100 * a.tick) || a.hi >= 1e7) a.n_decimals = -1;
    return a;
}

/* Steps from 0 to the last one, ticks at whole steps. */
static struct axis step_axis(double last) {
    struct axis a = axis_of(0, last, 1, LEFT, RIGHT);
    a.hi = last;
    a.n_tick = (int)fmin(floor(last / a.tick + 1e-9) + 1, MAX_TICKS);
    return a;
}

static double tick_value(const struct axis *a, int i) {
    const double v = a->lo + i * a->tick;
    return fabs(v) < a->tick / 2 ? 0 : v; /* no "-0" */
}

static void put_tick_label(struct buf *out, const struct axis *a, int i) {
    if (a->n_decimals < 0)
        buf_printf(out, "%.3g", tick_value(a, i));
    else
        buf_printf(out, "%.*f", a->n_decimals, tick_value(a, i));
}

/* ---- ranges ---- */

static int by_value(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

struct range {
    double lo, hi; /* hi < lo: nothing */
};

static void widen(struct range *r, double v) {
    if (!plot_shows(v)) return;
    if (v < r->lo) r->lo = v;
    if (v > r->hi) r->hi = v;
}

/* Losses from the lowest to the highest; but when the highest fiftieth reaches three times as far
 * as the rest does, to the end of the rest.  Validations are always inside. */
static int loss_range(const struct run_record *r, struct range *out) {
    double *v = malloc(((size_t)r->n_step + 1) * sizeof *v);
    int n = 0;
    if (!v) return -1;
    *out = (struct range){INFINITY, -INFINITY};
    for (int i = 0; i < r->n_step; i++)
        if (plot_shows(r->step[i].loss)) v[n++] = r->step[i].loss;
    if (n) {
        qsort(v, (size_t)n, sizeof *v, by_value);
        const double lo = v[0], top = v[n - 1], most = v[(n - 1) - n / 50];
        *out = (struct range){lo, top - lo > 3 * (most - lo) && most > lo ? most : top};
    }
    free(v);
    for (int i = 0; i < r->n_valid; i++)
        widen(out, r->valid[i].loss);
    return 0;
}

static double last_step(const struct run_record *r) {
    double last = 1;
    if (r->n_step) last = fmax(last, (double)r->step[r->n_step - 1].step);
    if (r->n_valid) last = fmax(last, (double)r->valid[r->n_valid - 1].step);
    return last;
}

/* ---- curves ---- */

/* Points come from left to right.  Those of one pixel column become at most four: the first, the
 * lowest, the highest and the last, which is all that could be seen of them. */
struct pen {
    struct buf *out;
    bool down; /* the next point is joined to the one before */
    int column, n;
    double x, first, lo, hi, last;
};

static void pen_point(struct pen *p, double x, double y) {
    buf_printf(p->out, "%c%.2f %.2f", p->down ? 'L' : 'M', x,
               fmax(-2 * HEIGHT, fmin(y, 2 * HEIGHT)));
    p->down = true;
}

static void pen_flush(struct pen *p) {
    if (p->n == 0) return;
    pen_point(p, p->x, p->first);
    if (p->n > 2 && p->lo != p->first) pen_point(p, p->x, p->lo);
    if (p->n > 2 && p->hi != p->first) pen_point(p, p->x, p->hi);
    if (p->n > 1) pen_point(p, p->x, p->last);
    p->n = 0;
}

static void pen_to(struct pen *p, double x, double y) {
    if (isnan(y)) { /* a gap */
        pen_flush(p);
        p->down = false;
        return;
    }
    if (p->n && p->column != (int)x) pen_flush(p);
    if (p->n == 0) p->x = x, p->column = (int)x, p->first = p->lo = p->hi = y;
    p->lo = fmin(p->lo, y), p->hi = fmax(p->hi, y), p->last = y;
    p->n++;
}

/* A path of values [n] at the steps of r. */
static void put_curve(struct buf *out, const char *class, const struct run_record *r,
                      const double *v, const struct axis *x, const struct axis *y) {
    struct pen p = {.out = out};
    buf_printf(out, "<path class=\"%s\" d=\"", class);
    for (int i = 0; i < r->n_step; i++)
        pen_to(&p, at(x, (double)r->step[i].step), plot_shows(v[i]) ? at(y, v[i]) : (double)NAN);
    pen_flush(&p);
    buf_str(out, "\"/>\n");
}

static bool counts(const struct run_record *r, int i, double top) {
    return plot_shows(r->step[i].loss) && r->step[i].loss <= top;
}

/* The mean of the losses from i - half to i + half, as far as there are any.  What left the frame
 * (a spike) would make a plateau of its mean. */
static void moving_mean(const struct run_record *r, int half, double top, double *out) {
    const int n = r->n_step;
    double sum = 0;
    int count = 0, lo = 0, hi = 0; /* of [lo, hi) */
    for (int i = 0; i < n; i++) {
        for (; hi < n && hi <= i + half; hi++)
            if (counts(r, hi, top)) sum += r->step[hi].loss, count++;
        for (; lo < i - half; lo++)
            if (counts(r, lo, top)) sum -= r->step[lo].loss, count--;
        out[i] = count ? sum / count : (double)NAN;
    }
}

enum { SMOOTH_FROM = 10 }; /* fewer steps are a curve as they are */

static int put_curves(struct buf *out, const struct run_record *r, const struct axis *x,
                      const struct axis *y, const struct axis *lr) {
    double *v = malloc(((size_t)r->n_step + 1) * sizeof *v);
    if (!v) return -1;
    for (int i = 0; i < r->n_step; i++)
        v[i] = r->step[i].lr;
    if (lr) put_curve(out, "lr", r, v, x, lr);
    for (int i = 0; i < r->n_step; i++)
        v[i] = r->step[i].loss;
    put_curve(out, r->n_step < SMOOTH_FROM ? "mean" : "train", r, v, x, y);
    if (r->n_step >= SMOOTH_FROM) {
        moving_mean(r, 2 + r->n_step / 60, y->hi, v);
        put_curve(out, "mean", r, v, x, y);
    }
    free(v);
    return 0;
}

static void put_validation(struct buf *out, const struct run_record *r, const struct axis *x,
                           const struct axis *y) {
    for (int i = 0; i < r->n_valid; i++) {
        const struct run_point *p = &r->valid[i];
        if (!plot_shows(p->loss)) continue;
        buf_printf(out,
                   "<circle class=\"valid\" cx=\"%.2f\" cy=\"%.2f\" r=\"3.5\"><title>validation "
                   "%.4g at step %lld</title></circle>\n",
                   at(x, (double)p->step), at(y, p->loss), p->loss, (long long)p->step);
    }
}

static void put_skips(struct buf *out, const struct run_record *r, const struct axis *x) {
    for (int i = 0; i < r->n_skip && i < MAX_MARKS; i++)
        buf_printf(out,
                   "<path class=\"skip\" d=\"M%.2f %dl-4 8h8z\"><title>step %lld was "
                   "skipped</title></path>\n",
                   at(x, (double)r->skip[i]), BOTTOM - 8, (long long)r->skip[i]);
}

/* ---- the frame ---- */

static void put_style(struct buf *out) {
    buf_str(out, "<style>\n"
                 "text{font:12px system-ui,sans-serif;fill:#444b54}\n"
                 ".title{font-size:16px;font-weight:600;fill:#16191d}\n"
                 ".bg{fill:#fff}.grid{stroke:#e3e7ec}.frame{stroke:#8b939c;fill:none}\n"
                 "path{fill:none;stroke-linejoin:round}\n"
                 ".train{stroke:#2f6fde;stroke-opacity:.4}.mean{stroke:#2f6fde;stroke-width:2.2}\n"
                 ".lr{stroke:#8b939c;stroke-opacity:.6;stroke-dasharray:4 3}\n"
                 ".valid{fill:#d9480f}.skip{fill:#c92a2a}\n"
                 "@media (prefers-color-scheme:dark){\n"
                 "text{fill:#b3bac3}.title{fill:#eef1f4}\n"
                 ".bg{fill:#15181c}.grid{stroke:#2a2f36}.frame{stroke:#6b737c}\n"
                 ".train,.mean{stroke:#79a8ff}.lr{stroke:#6b737c}\n"
                 ".valid{fill:#ff9e64}.skip{fill:#ff6b6b}}\n"
                 "</style>\n");
}

static void put_head(struct buf *out, const char *title) {
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
               "height=\"%d\" role=\"img\">\n<title>",
               WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_escaped(out, title);
    buf_str(out, "</title>\n");
    put_style(out);
    buf_printf(out,
               "<clipPath id=\"inside\"><rect x=\"%d\" y=\"%d\" width=\"%d\" "
               "height=\"%d\"/></clipPath>\n<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n"
               "<text class=\"title\" x=\"%d\" y=\"30\">",
               LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, WIDTH, HEIGHT, LEFT);
    put_escaped(out, title);
    buf_str(out, "</text>\n");
}

static void put_x_axis(struct buf *out, const struct axis *a) {
    for (int i = 0; i < a->n_tick; i++) {
        const double x = at(a, tick_value(a, i));
        buf_printf(out, "<text class=\"xtick\" x=\"%.2f\" y=\"%d\" text-anchor=\"middle\">", x,
                   BOTTOM + 20);
        put_tick_label(out, a, i);
        buf_str(out, "</text>\n");
    }
    buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n",
               (LEFT + RIGHT) / 2, BOTTOM + 44);
}

/* left: the axis of the loss, with a grid; else that of the learning rate. */
static void put_y_axis(struct buf *out, const struct axis *a, bool left) {
    const int x = left ? LEFT - 8 : RIGHT + 8, name_x = left ? 20 : WIDTH - 10;
    for (int i = 0; i < a->n_tick; i++) {
        const double y = at(a, tick_value(a, i));
        if (left)
            buf_printf(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.2f\" x2=\"%d\" y2=\"%.2f\"/>\n",
                       LEFT, y, RIGHT, y);
        buf_printf(out,
                   "<text class=\"%s\" x=\"%d\" y=\"%.2f\" dy=\".35em\" "
                   "text-anchor=\"%s\">",
                   left ? "ytick" : "lrtick", x, y, left ? "end" : "start");
        put_tick_label(out, a, i);
        buf_str(out, "</text>\n");
    }
    buf_printf(out,
               "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 %d "
               "%d)\">%s</text>\n",
               name_x, (TOP + BOTTOM) / 2, name_x, (TOP + BOTTOM) / 2,
               left ? "loss" : "learning rate");
}

/* From right to left, above the frame; each entry knows its width. */
static void put_legend(struct buf *out, const struct run_record *r, bool lr) {
    const struct {
        bool shown;
        const char *class, *name;
        int width;
    } entry[] = {
        {lr, "lr", "learning rate", 115},
        {r->n_valid > 0, "valid", "validation", 90},
        {r->n_step >= SMOOTH_FROM, "mean", "moving mean", 112},
        {r->n_step > 0, r->n_step < SMOOTH_FROM ? "mean" : "train", "training", 88},
    };
    int x = RIGHT;
    for (size_t i = 0; i < sizeof entry / sizeof *entry; i++) {
        if (!entry[i].shown) continue;
        x -= entry[i].width;
        if (strcmp(entry[i].class, "valid") == 0)
            buf_printf(out, "<circle class=\"valid\" cx=\"%d\" cy=\"44\" r=\"3.5\"/>", x + 10);
        else
            buf_printf(out, "<path class=\"%s\" d=\"M%d 44h20\"/>", entry[i].class, x);
        buf_printf(out, "<text x=\"%d\" y=\"48\">%s</text>\n", x + 26, entry[i].name);
    }
}

static void put_frame(struct buf *out) {
    buf_printf(out,
               "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n</svg>\n",
               LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP);
}

static void put_empty(struct buf *out) {
    buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">no steps yet</text>\n",
               (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2);
    put_frame(out);
}

int plot_svg(const struct run_record *r, const char *title, struct buf *out, struct err *e) {
    struct range loss, rate = {0, 0};
    if (loss_range(r, &loss) != 0) return err_nomem(e, "plot");
    if (!title) title = r->name ? r->name : "training run";
    for (int i = 0; i < r->n_step; i++)
        widen(&rate, r->step[i].lr);
    put_head(out, title);
    if (loss.hi < loss.lo) {
        put_empty(out);
        return out->failed ? err_nomem(e, "plot") : 0;
    }
    const struct axis x = step_axis(last_step(r));
    const struct axis y = axis_of(loss.lo, loss.hi, 0, BOTTOM, TOP);
    const struct axis lr = axis_of(0, rate.hi, 0, BOTTOM, TOP);
    const bool has_lr = rate.hi > 0;
    put_y_axis(out, &y, true);
    put_x_axis(out, &x);
    if (has_lr) put_y_axis(out, &lr, false);
    put_legend(out, r, has_lr);
    buf_str(out, "<g clip-path=\"url(#inside)\">\n");
    if (put_curves(out, r, &x, &y, has_lr ? &lr : NULL) != 0) return err_nomem(e, "plot");
    put_skips(out, r, &x);
    buf_str(out, "</g>\n");
    put_validation(out, r, &x, &y);
    put_frame(out);
    return out->failed ? err_nomem(e, "plot") : 0;
}
