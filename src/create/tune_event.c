/* What happens in a run, as JSON objects, in the words of its log (train/log.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "create/tune.h"

static void set_real(json_t *o, const char *key, double v) {
    char z[32];
    snprintf(z, sizeof z, "%.9g", v); /* a figure, not all bits of a double */
    json_object_set_new(o, key, isfinite(v) ? json_real(strtod(z, NULL)) : json_null());
}

static void set_int(json_t *o, const char *key, int64_t v) {
    json_object_set_new(o, key, json_integer(v));
}

static void add_step(json_t *o, const struct train_event *ev) {
    set_real(o, "epoch", ev->epoch);
    set_real(o, "loss", ev->loss);
    set_real(o, "lr", ev->lr);
    set_real(o, "grad_norm", ev->grad_norm);
    if (ev->kind == TRAIN_STEP) set_real(o, "clip", ev->clip);
    set_int(o, "tokens", ev->n_tok);
    set_real(o, "tokens_per_s", ev->tps);
    set_real(o, "elapsed_s", ev->seconds);
    set_real(o, "left_s", ev->left_s);
}

json_t *tune_event_json(const struct train_event *ev) {
    static const char *const name[] = {[TRAIN_START] = "start",
                                       [TRAIN_STEP] = "step",
                                       [TRAIN_SKIP] = "skip",
                                       [TRAIN_VALID] = "validation",
                                       [TRAIN_CHECKPOINT] = "checkpoint",
                                       [TRAIN_END] = "end"};
    json_t *o = json_pack("{s:s, s:i, s:i}", "event", name[ev->kind], "step", ev->step, "steps",
                          ev->n_step);
    if (ev->kind == TRAIN_STEP || ev->kind == TRAIN_SKIP) add_step(o, ev);
    if (ev->kind == TRAIN_VALID) {
        set_real(o, "loss", ev->valid_loss);
        json_object_set_new(o, "best", json_boolean(ev->best));
    }
    return o;
}

json_t *tune_plan_json(const struct train_plan *p) {
    json_t *o = json_pack("{s:s, s:i, s:i}", "event", "plan", "steps", p->n_step, "steps_per_epoch",
                          p->step_per_epoch);
    set_int(o, "sequences", p->n_seq);
    set_int(o, "valid_sequences", p->n_valid);
    set_int(o, "tokens_per_epoch", p->n_tok);
    set_int(o, "memory", (int64_t)p->total_bytes);
    set_real(o, "expected_s", p->seconds);
    return o;
}
