/* A fine-tune in words and in JSON: the plan, the result, the lineage that the model keeps. */
#include <math.h>
#include <stdio.h>

#include "create/tune_priv.h"
#include "store/digest.h"

/* ---- JSON ---- */

static void set_real(json_t *o, const char *key, double v) {
    char z[32];
    if (!isfinite(v)) return;
    snprintf(z, sizeof z, "%.6g", v); /* a figure, not all bits of a double */
    json_object_set_new(o, key, json_real(strtod(z, NULL)));
}

static void set_int(json_t *o, const char *key, int64_t v) {
    json_object_set_new(o, key, json_integer(v));
}

static void set_text(json_t *o, const char *key, const char *text) {
    json_object_set_new(o, key, json_string(text));
}

static void set_lora(json_t *o, const struct lora_opts *l) {
    static const char *const name[] = {"q", "k", "v", "o", "gate", "up", "down"};
    struct buf targets = {0};
    for (int i = 0; i < 7; i++)
        if (l->targets >> i & 1) buf_printf(&targets, "%s%s", targets.n ? "," : "", name[i]);
    set_int(o, "rank", l->rank);
    set_real(o, "alpha", (double)l->alpha);
    set_text(o, "targets", l->targets == LORA_ALL || targets.failed ? "all" : targets.p);
    if (l->stabilized) json_object_set_new(o, "rslora", json_true());
    if (l->dropout > 0) set_real(o, "dropout", (double)l->dropout);
    if (l->last_layers) set_int(o, "layers", l->last_layers);
    buf_fini(&targets);
}

json_t *tune_recipe(const struct tune_opts *t, const struct train_plan *p) {
    const struct train_opts *o = &t->train;
    json_t *j = json_object();
    set_text(j, "method", train_method_name(o->method));
    if (o->method == TRAIN_LORA || o->method == TRAIN_DPO) set_lora(j, &o->lora);
    if (o->method == TRAIN_DPO) set_real(j, "beta", o->dpo_beta);
    if (o->method == TRAIN_QAT) set_text(j, "type", t->type);
    set_real(j, "epochs", o->epochs);
    if (o->max_steps) set_int(j, "steps", o->max_steps);
    set_real(j, "lr", o->lr);
    set_text(j, "schedule", schedule_name(o->schedule));
    set_real(j, "warmup", o->warmup);
    set_real(j, "min_lr", o->min_ratio);
    set_int(j, "batch", o->batch);
    set_int(j, "ctx", o->ctx);
    if (o->micro_rows != o->ctx) set_int(j, "rows", o->micro_rows);
    set_real(j, "clip", o->clip);
    if (o->weight_decay > 0) set_real(j, "weight_decay", o->weight_decay);
    set_int(j, "val_every", p->valid_every);
    set_int(j, "patience", o->patience);
    set_int(j, "seed", (int64_t)o->seed);
    set_text(j, "precision", p->prec == GEMM_BF16 ? "bf16" : "f32");
    if (t->last_only) json_object_set_new(j, "last_only", json_true());
    return j;
}

static void set_digest(json_t *o, const char *key, const uint8_t hash[32]) {
    struct digest d;
    char text[DIGEST_TEXT];
    digest_from_hash(hash, &d);
    digest_format(&d, text);
    set_text(o, key, text);
}

json_t *tune_lineage(const struct tune_opts *o, const struct train_plan *p,
                     const struct tune_data *t, const struct train_result *r) {
    json_t *j = json_object();
    const char *slash = strrchr(t->shown, '/');
    set_text(j, "data", slash && slash[1] ? slash + 1 : t->shown);
    set_digest(j, "data_digest", t->train.count.file_digest);
    if (t->valid_path[0]) set_digest(j, "valid_digest", t->valid.count.file_digest);
    set_int(j, "examples", t->part.n);
    if (t->judge.n) set_int(j, "valid_examples", t->judge.n);
    set_real(j, "epochs", r->epoch);
    set_int(j, "steps", r->step);
    if (r->best_step != r->step) set_int(j, "best_step", r->best_step);
    if (r->n_skipped) set_int(j, "skipped_steps", r->n_skipped);
    set_int(j, "tokens", r->n_tok);
    set_real(j, "loss_before", r->first_loss);
    set_real(j, "loss_after", r->last_loss);
    set_real(j, "valid_loss_before", r->first_valid);
    set_real(j, "valid_loss_after", r->best_valid);
    json_object_set_new(j, "recipe", tune_recipe(o, p));
    return j;
}

/* ---- words ---- */

static void append_time(struct buf *b, double s) {
    if (s < 1)
        buf_str(b, "1 s");
    else if (s < 90)
        buf_printf(b, "%.0f s", s);
    else if (s < 5400)
        buf_printf(b, "%.0f min", s / 60);
    else
        buf_printf(b, "%.1f h", s / 3600);
}

static void append_size(struct buf *b, uint64_t n) {
    if (n < 1000 * 1000 * 1000)
        buf_printf(b, "%.1f MB", (double)n / 1e6);
    else
        buf_printf(b, "%.2f GB", (double)n / 1e9);
}

static void append_part(struct buf *b, const char *what, uint64_t n) {
    if (n < 100 * 1000) return;
    buf_printf(b, "%s%s ", b->p[b->n - 1] == '(' ? "" : ", ", what);
    append_size(b, n);
}

static void say(struct creation *k, struct buf *b) {
    if (!b->failed && b->p) create_say(k, b->p, NULL);
    buf_fini(b);
}

/* 3,330; what has more than four digits as 12.3K. */
static void append_count(struct buf *b, double n) {
    if (n >= 10000)
        buf_count(b, n);
    else if (n >= 1000)
        buf_printf(b, "%d,%03d", (int)n / 1000, (int)n % 1000);
    else
        buf_printf(b, "%.3g", n);
}

static const char *plural(double n) {
    return n == 1 ? "" : "s";
}

void tune_say_plan(struct creation *k, const struct tune_opts *o, const struct train_plan *p,
                   const struct tune_data *d) {
    const double epochs = (double)p->n_step / p->step_per_epoch;
    struct buf b = {0};
    buf_printf(&b, "plan: %s, %d step%s of %d examples (", train_method_name(o->train.method),
               p->n_step, plural(p->n_step), o->train.batch);
    append_count(&b, epochs < 100 ? epochs : round(epochs));
    buf_printf(&b, " epoch%s), ", plural(epochs));
    if (!d->valid_path[0] && d->judge.n)
        buf_printf(&b, "%d examples + %d held out, ", d->part.n, d->judge.n);
    append_count(&b, round((double)p->n_tok * epochs));
    buf_str(&b, " tokens");
    if (p->n_valid)
        buf_printf(&b, ", validation every %d step%s", p->valid_every, plural(p->valid_every));
    if (p->seconds > 0) {
        buf_str(&b, ", about ");
        append_time(&b, p->seconds);
    }
    say(k, &b);
    buf_str(&b, "plan: memory ");
    append_size(&b, p->total_bytes);
    buf_str(&b, " (");
    append_part(&b, "model", p->need.weights);
    append_part(&b, "trained values", p->need.params);
    append_part(&b, "activations", p->need.activations);
    append_part(&b, "output", p->need.head);
    append_part(&b, "scratch", p->need.scratch);
    append_part(&b, "data", p->data_bytes + p->best_bytes + p->run_bytes);
    append_part(&b, "program", p->program_bytes);
    buf_str(&b, ")");
    if (p->kept_layers < p->n_layer)
        buf_printf(&b, ", %d of %d layers computed twice", p->n_layer - p->kept_layers, p->n_layer);
    say(k, &b);
}

void tune_say_result(struct creation *k, const struct train_plan *p, const struct train_result *r) {
    const int n_last = (r->step - 1) % p->step_per_epoch + 1; /* of the last epoch */
    struct buf b = {0};
    buf_printf(&b, "trained: %d step%s, loss %.4f -> %.4f (", r->step, plural(r->step),
               r->first_loss, r->last_loss);
    if (n_last > 1)
        buf_printf(&b, "the first, and the mean of the last %d steps)", n_last);
    else
        buf_str(&b, "the first and the last step)");
    if (isfinite(r->best_valid))
        buf_printf(&b, ", validation %.4f -> %.4f (of step %d)", r->first_valid, r->best_valid,
                   r->best_step);
    if (r->stopped_early) buf_str(&b, ", ended early: it did not get better");
    if (r->n_skipped) buf_printf(&b, ", %d step%s skipped", r->n_skipped, plural(r->n_skipped));
    buf_str(&b, ", ");
    append_time(&b, r->seconds);
    say(k, &b);
}
