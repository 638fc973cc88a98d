/* TRAINFILE: see tune.h.  What can go wrong without a second thought goes wrong first: settings,
 * data, memory; nothing is in the store before all is done. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cores.h"
#include "base/json.h"
#include "base/output.h"
#include "create/tune_priv.h"
#include "engine/mix.h"
#include "train/log.h"

/* ---- settings ---- */

static enum qtype type_of(void *ctx, const char *tensor) {
    const struct tune_types *t = ctx;
    for (int i = 0; t && i < gguf_n_tensor(t->g); i++)
        if (strcmp(gguf_tensor_at(t->g, i)->name, tensor) == 0) return t->type[i];
    return QT_F32;
}

const char *create_tune_param(const char *parameter) {
    return strncmp(parameter, "train_", 6) == 0 ? parameter + 6 : NULL;
}

bool create_tunes(const struct modelfile *m, const struct create_opts *o) {
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == MF_TRAINFILE) return true;
    return o->train_file != NULL;
}

static int merge_check(const struct create_opts *o, struct err *e) {
    int mix;
    return o->merge && *o->merge ? create_find_mix(o->merge, &mix, e) : 0;
}

/* As they were set, zeros for the defaults. */
static int settings(const struct modelfile *m, const struct create_opts *o, struct tune_opts *out,
                    struct err *e) {
    const bool tunes = create_tunes(m, o);
    *out = o->tune ? *o->tune : (struct tune_opts){.val = 0};
    for (int i = 0; i < m->n; i++) {
        const struct modelfile_line *l = &m->line[i];
        const char *name = l->command == MF_PARAMETER ? create_tune_param(l->name) : NULL;
        if (!tunes && (name || l->command == MF_VALIDFILE)) {
            err_set(e, ERR_FORMAT, "%s without TRAINFILE; it is a setting of training",
                    name ? l->name : "VALIDFILE");
            return create_at_line(l, e);
        }
        if (name && tune_set(out, name, l->name, l->value.p, e) != 0) return create_at_line(l, e);
    }
    if (!tunes && (o->log || o->plan_only))
        return err_set(e, ERR_USAGE, "create: found a setting of training; TRAINFILE is missing");
    if (!tunes) return merge_check(o, e);
    if (o->log && output_check(o->log, e) != 0) return -1;
    if (out->train.method == TRAIN_QAT && !out->type)
        return err_set(e, ERR_USAGE,
                       "method qat: the type of the result is missing; set type, as "
                       "Q4_K_M or Q8_0");
    out->train.fake = type_of;
    struct train_opts unused;
    return merge_check(o, e) == 0 ? train_resolve(&out->train, &unused, e) : -1;
}

int create_tune_check(const struct modelfile *m, const struct create_opts *o, struct err *e) {
    struct tune_opts unused;
    return settings(m, o, &unused, e);
}

static const char *line_value(const struct modelfile *m, enum modelfile_command command) {
    const char *v = NULL;
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == command && m->line[i].value.n) v = m->line[i].value.p;
    return v;
}

/* The types that the file's tensors will have. */
static int choose_types(struct tuning *t, struct err *e) {
    int mix, n_fallback;
    if (t->o.train.method != TRAIN_QAT) return 0;
    t->types.g = t->g;
    t->types.type = calloc((size_t)gguf_n_tensor(t->g) + 1, sizeof *t->types.type);
    t->set.train.fake_ctx = &t->types;
    if (!t->types.type) return err_nomem(e, "training");
    if (create_find_mix(t->o.type, &mix, e) != 0) return -1;
    return mix_choose(t->g, mix, false, false, t->types.type, &n_fallback, e);
}

/* ---- events ---- */

static json_t *start_json(const struct tuning *t) {
    char name[NAME_TEXT];
    json_t *o = json_object();
    name_short(t->name, name);
    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "steps", json_integer(t->plan.n_step));
    json_object_set_new(o, "examples", json_integer(t->data.part.n));
    json_object_set_new(o, "valid_examples", json_integer(t->data.judge.n));
    json_object_set_new(o, "tokens_per_epoch", json_integer(t->plan.n_tok));
    json_object_set_new(o, "memory_bytes", json_integer((json_int_t)t->plan.total_bytes));
    json_object_set_new(o, "recipe", tune_recipe(&t->o, &t->plan));
    return o;
}

static int write_log(struct tuning *t, const struct train_event *ev, struct err *e) {
    const struct run_step s = {ev->step, ev->epoch, ev->loss, ev->lr,     ev->grad_norm,
                               ev->clip, ev->n_tok, ev->tps,  ev->seconds};
    char text[96];
    json_t *more = NULL;
    int rc = 0;
    switch (ev->kind) {
    case TRAIN_START:
        more = start_json(t);
        rc = run_log_start(t->log, ev->step, more, e);
        break;
    case TRAIN_STEP: rc = run_log_step(t->log, &s, e); break;
    case TRAIN_SKIP:
        snprintf(text, sizeof text, "loss %g, gradient %g: out of all proportion", ev->loss,
                 ev->grad_norm);
        rc = run_log_skip(t->log, ev->step, text, e);
        break;
    case TRAIN_VALID: rc = run_log_validation(t->log, ev->step, ev->valid_loss, ev->best, e); break;
    case TRAIN_CHECKPOINT:
        snprintf(text, sizeof text, "step-%06d.ckpt", ev->step);
        rc = run_log_checkpoint(t->log, ev->step, text, e);
        break;
    case TRAIN_END:
        more = json_pack("{s:i}", "of", ev->n_step);
        rc = run_log_end(t->log, ev->step, more, e);
        break;
    }
    json_decref(more);
    return rc;
}

/* For those who only hear statuses. */
static void say_event(struct tuning *t, const struct train_event *ev) {
    struct creation *k = t->k;
    char text[128];
    if (ev->kind == TRAIN_STEP && k->say) {
        snprintf(text, sizeof text, "training: step %d of %d, loss %.4f, %.0f tokens/s", ev->step,
                 ev->n_step, ev->loss, ev->tps);
        k->say(k->ctx, text, NULL, (uint64_t)ev->step, (uint64_t)ev->n_step);
    }
    if (ev->kind != TRAIN_VALID) return;
    snprintf(text, sizeof text, "validation: step %d, loss %.4f%s", ev->step, ev->valid_loss,
             ev->best ? ", the best so far" : "");
    create_say(k, text, NULL);
}

static void on_event(void *ctx, const struct train_event *ev) {
    struct tuning *t = ctx;
    struct err e = {0};
    if (t->log && write_log(t, ev, &e) != 0) { /* a full disk does not end a day's work */
        char text[sizeof e.msg + 32];
        snprintf(text, sizeof text, "warning: the log ends here: %s", e.msg);
        create_say(t->k, text, NULL);
        run_log_close(t->log);
        t->log = NULL;
    }
    if (t->k->o->on_train)
        t->k->o->on_train(t->k->ctx, &t->plan, ev);
    else
        say_event(t, ev);
}

/* The log is none of the files that are read. */
static int check_log(const struct tuning *t, struct err *e) {
    const struct create_opts *o = t->k->o;
    char base[STORE_PATH];
    if (!o->log) return 0;
    if (output_not_input(o->log, t->data.train_path, e) != 0 ||
        output_not_input(o->log, t->data.valid_path, e) != 0)
        return -1;
    for (int i = 0; i < t->m->n; i++) {
        enum create_what what = CREATE_NOTHING;
        const struct modelfile_line *l = &t->m->line[i];
        const bool file = l->command == MF_FROM || l->command == MF_ADAPTER;
        if (file && create_look(o->folder, l->value.p, base, &what, NULL) == 0 &&
            what == CREATE_FILE && output_not_input(o->log, base, e) != 0)
            return -1;
    }
    return 0;
}

/* ---- from data to parameters ---- */

static int plan(struct tuning *t, struct err *e) {
    const int n = t->k->o->n_threads ? t->k->o->n_threads : cores_default_threads(e);
    if (n < 0) return -1;
    if (train_plan(t->g, &t->data.d, &t->set.train, n, &t->plan, e) != 0) return -1;
    t->team = team_new(n, e);
    if (!t->team || train_plan_time(t->team, t->g, &t->data.d, &t->set.train, &t->plan, e) != 0)
        return -1;
    tune_say_plan(t->k, &t->o, &t->plan, &t->data);
    return t->k->o->on_plan ? t->k->o->on_plan(t->k->ctx, &t->plan, e) : 0;
}

static int run(struct tuning *t, struct err *e) {
    const struct create_opts *o = t->k->o;
    uint8_t base[32];
    if (tune_find_folder(t, e) != 0) return -1;
    digest_to_hash(&t->base_digest, base);
    t->set.train.dir = t->k->train_dir;
    t->set.train.base_digest = base;
    t->set.train.stop = o->stop;
    t->trainer = trainer_new(t->team, t->g, &t->data.d, &t->set.train, &t->plan, e);
    if (!t->trainer || tune_resume(t, e) != 0) return -1;
    if (o->log && !(t->log = run_log_open(o->log, e))) return -1;
    if (trainer_run(t->trainer, on_event, t, &t->result, e) == 0) {
        tune_say_result(t->k, &t->plan, &t->result);
        return 0;
    }
    if (e->code == ERR_CANCELLED) {
        char text[sizeof e->msg + 64];
        snprintf(text, sizeof text, "%s; the same command goes on from there", e->msg);
        create_say(t->k, text, NULL);
    }
    return -1;
}

/* ---- the end ---- */

static int add_result(struct tuning *t, struct err *e) {
    char name[256];
    tune_base_name(t, name);
    const struct tune_result r = {.o = &t->o,
                                  .plan = &t->plan,
                                  .data = &t->data,
                                  .base = t->g,
                                  .base_digest = &t->base_digest,
                                  .base_name = name,
                                  .params = trainer_params(t->trainer)};
    return tune_add_result(t->k, &r, e);
}

static int add_lineage(struct tuning *t, struct err *e) {
    char digest[DIGEST_TEXT], name[256];
    struct buf text = {0};
    json_t *o = json_object(), *j = tune_lineage(&t->o, &t->plan, &t->data, &t->result);
    digest_format(&t->base_digest, digest);
    tune_base_name(t, name);
    json_object_set_new(o, "base", json_string(name));
    json_object_set_new(o, "base_digest", json_string(digest));
    digest_format(&t->from_digest, digest);
    if (t->from.n) json_object_set_new(o, "from_adapter", json_string(digest));
    json_object_update(o, j);
    int rc = json_append_figures("training", o, &text, e);
    if (rc == 0) t->k->c.training = arena_strndup(&t->k->a, text.p, text.n);
    if (rc == 0 && !t->k->c.training) rc = err_nomem(e, "training");
    buf_fini(&text);
    json_decref(o);
    json_decref(j);
    return rc;
}

static void end(struct tuning *t) {
    run_log_close(t->log);
    trainer_free(t->trainer);
    team_free(t->team);
    lora_set_close(&t->from);
    gguf_close(t->g);
    tune_data_fini(&t->data);
    free(t->types.type);
}

int create_tune(struct creation *k, const struct name *n, const struct modelfile *m,
                struct err *e) {
    struct tuning t = {.k = k, .name = n, .m = m};
    const char *renderer = line_value(m, MF_RENDERER);
    int rc = settings(m, k->o, &t.set, e);
    if (rc == 0) rc = tune_open_base(&t, e);
    if (rc == 0) rc = tune_fill_settings(&t, e);
    if (rc == 0) rc = tune_data_find(k, m, &t.data, e);
    if (rc == 0) rc = check_log(&t, e);
    if (rc == 0) rc = tune_data_read(k, &t.o, t.g, renderer ? renderer : k->c.renderer, &t.data, e);
    if (rc == 0) rc = choose_types(&t, e);
    if (rc == 0) rc = plan(&t, e);
    if (rc == 0 && k->o->plan_only) rc = tune_say_checkpoint(&t, e);
    if (rc == 0 && !k->o->plan_only) {
        rc = run(&t, e);
        if (rc == 0) rc = add_result(&t, e);
        if (rc == 0) rc = add_lineage(&t, e);
    }
    end(&t);
    return rc;
}
