/* See create_view.h.  While it trains, people see one line that changes
 *
 *     step 120/300  40% [########............] loss 0.812 val 0.934 45 tokens/s 12m30s left
 *
 * and logs, where stderr is no terminal, get a line for each validation and each twentieth of the
 * run. */
#include "cli/create_view.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/text.h"
#include "create/tune.h"
#include "train/plot.h"
#include "train/train.h"

enum { SHOW_EVERY_NS = 100 * 1000 * 1000, LINES = 20, BAR = 20, LEAST_BAR = 5, SPARK = 40 };

/* ---- statuses ---- */

static void end_bar(struct create_view *v) {
    if (v->on) progress_end(&v->bar);
    v->on = false;
    if (v->on_line) fputs("\r\x1b[K", stderr);
    v->on_line = false;
}

static void print_status(const char *status, const char *digest, uint64_t completed,
                         uint64_t total) {
    json_t *o = json_pack("{s:s}", "status", status);
    if (digest) json_object_set_new(o, "digest", json_string(digest));
    if (total) {
        json_object_set_new(o, "total", json_integer((json_int_t)total));
        json_object_set_new(o, "completed", json_integer((json_int_t)completed));
    }
    cli_print_json(o);
}

void create_view_status(void *view, const char *status, const char *digest, uint64_t completed,
                        uint64_t total) {
    struct create_view *v = view;
    struct buf text = {0};
    if (v->as_json) {
        print_status(status, digest, completed, total);
        return;
    }
    if (total == 0) {
        end_bar(v);
        text_escape(&text, str_of(status), false);
        fprintf(stderr, "%s\n", text.p ? text.p : "");
        buf_fini(&text);
        return;
    }
    if (!v->on) {
        text_escape(&text, str_of(status), false);
        snprintf(v->label, sizeof v->label, "%.60s", text.p ? text.p : "");
        buf_fini(&text);
        progress_start(&v->bar, v->label, (double)total, "B");
        v->on = true;
    }
    progress_update(&v->bar, (double)completed);
    if (completed >= total) end_bar(v);
}

/* ---- a run remembered, for its curve ---- */

static void *grown(void *array, int n, int *cap, size_t size) {
    if (n < *cap) return array;
    const int more = *cap ? 2 * *cap : 256;
    void *p = realloc(array, (size_t)more * size);
    if (p) *cap = more;
    return p;
}

static void remember(struct create_view *v, const struct train_event *ev) {
    struct run_record *r = &v->run;
    if (ev->kind == TRAIN_STEP) {
        struct run_step *s = grown(r->step, r->n_step, &v->cap_step, sizeof *s);
        if (!s) return; /* a curve with a gap */
        r->step = s;
        r->step[r->n_step++] = (struct run_step){.step = ev->step, .loss = ev->loss};
    }
    if (ev->kind == TRAIN_VALID) {
        struct run_point *p = grown(r->valid, r->n_valid, &v->cap_valid, sizeof *p);
        if (!p) return;
        r->valid = p;
        r->valid[r->n_valid++] = (struct run_point){ev->step, ev->valid_loss};
    }
    if (ev->kind == TRAIN_CHECKPOINT) v->checkpointed = true;
}

/* ---- JSON ---- */

static void print_event(const struct train_event *ev) {
    cli_print_json(tune_event_json(ev));
    fflush(stdout);
}

/* ---- words ---- */

static void append_left(struct buf *b, double s) {
    if (!isfinite(s)) return;
    const long n = s <= 0 ? 0 : s < 1 ? 1 : s > 3599999 ? 3599999 : lround(s);
    if (n < 60)
        buf_printf(b, " %lds left", n);
    else if (n < 3600)
        buf_printf(b, " %ldm%02lds left", n / 60, n % 60);
    else
        buf_printf(b, " %ldh%02ldm left", n / 3600, n / 60 % 60);
}

static void append_figures(struct buf *b, const struct train_event *ev) {
    buf_printf(b, " loss %.4g", ev->loss);
    if (isfinite(ev->valid_loss)) buf_printf(b, " val %.4g", ev->valid_loss);
    buf_printf(b, " %.*f tokens/s", ev->tps < 10 ? 1 : 0, ev->tps);
    append_left(b, ev->left_s);
}

/* The bar gets what room there is, and goes where there is little. */
static void draw(struct create_view *v, const struct train_event *ev) {
    const long long now = os_now_ns();
    const double share = ev->n_step > 0 ? (double)ev->step / ev->n_step : 1;
    struct buf b = {0}, figures = {0};
    if (now - v->shown_ns < SHOW_EVERY_NS && ev->step < ev->n_step) return;
    v->shown_ns = now;
    buf_printf(&b, "step %d/%d %3.0f%%", ev->step, ev->n_step, 100 * share);
    append_figures(&figures, ev);
    const int room = cli_columns() - 4 - (int)(b.n + figures.n);
    const int width = room > BAR ? BAR : room;
    if (width >= LEAST_BAR) {
        buf_str(&b, " [");
        for (int i = 0; i < width; i++)
            buf_byte(&b, i < (int)(share * width) ? '#' : '.');
        buf_byte(&b, ']');
    }
    buf_append(&b, figures.p, figures.n);
    if (b.p) cli_draw_line(b.p);
    v->on_line = true;
    buf_fini(&b);
    buf_fini(&figures);
}

static void print_line(struct create_view *v, const struct train_event *ev) {
    struct buf b = {0};
    const int every = ev->n_step / LINES > 1 ? ev->n_step / LINES : 1;
    if (ev->step - v->shown_step < every && ev->step < ev->n_step) return;
    v->shown_step = ev->step;
    append_figures(&b, ev);
    if (b.p) fprintf(stderr, "step %d/%d%s\n", ev->step, ev->n_step, b.p);
    buf_fini(&b);
}

static void print_words(struct create_view *v, const struct train_event *ev) {
    const bool people = cli_is_screen();
    if (ev->kind == TRAIN_STEP) people ? draw(v, ev) : print_line(v, ev);
    if (ev->kind != TRAIN_SKIP && ev->kind != TRAIN_VALID) return;
    end_bar(v);
    if (ev->kind == TRAIN_SKIP)
        fprintf(stderr, "step %d skipped: loss %.4g, gradient %.4g out of all proportion\n",
                ev->step, ev->loss, ev->grad_norm);
    else
        fprintf(stderr, "step %d/%d validation %.4g%s\n", ev->step, ev->n_step, ev->valid_loss,
                ev->best        ? ", the best so far"
                : ev->step == 0 ? ", before training"
                                : "");
}

void create_view_train(void *view, const struct train_plan *p, const struct train_event *ev) {
    struct create_view *v = view;
    (void)p;
    remember(v, ev);
    if (v->as_json)
        print_event(ev);
    else
        print_words(v, ev);
}

/* ---- the end ---- */

static bool is_plain(const char *word) {
    for (const char *c = word; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_-./=:,+@%", *c)) return false;
    return *word != 0;
}

/* As it could be typed again. */
static void print_command(int argc, char **argv) {
    struct buf b = {0};
    for (int i = 0; i < argc; i++) {
        buf_byte(&b, ' ');
        if (is_plain(argv[i])) {
            buf_str(&b, argv[i]);
            continue;
        }
        buf_byte(&b, '\'');
        for (const char *c = argv[i]; *c; c++)
            *c == '\'' ? buf_str(&b, "'\\''") : buf_byte(&b, *c);
        buf_byte(&b, '\'');
    }
    struct buf shown = {0};
    text_escape(&shown, buf_view(&b), false);
    if (shown.p) fprintf(stderr, "To go on: cria%s\n", shown.p);
    buf_fini(&shown);
    buf_fini(&b);
}

static void print_curve(const struct run_record *r) {
    struct buf b = {0};
    plot_spark(r, SPARK, &b);
    if (b.p) fprintf(stderr, "loss %s\n", b.p);
    buf_fini(&b);
}

void create_view_end(struct create_view *v, int rc, int argc, char **argv) {
    end_bar(v);
    if (rc == 0 && v->run.n_step > 1 && !v->as_json) print_curve(&v->run);
    if (rc != 0 && v->checkpointed && !v->as_json) print_command(argc, argv);
    free(v->run.step);
    free(v->run.valid);
}
