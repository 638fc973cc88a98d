/* The last step of the row: a request on its way to one model and back.
 *
 *   ask_one: check -> models_want ... granted: capabilities, ready() -> gen_start
 *   on_event: every event to fn; GEN_END: fn, then the model and the request are given back
 *
 *   no first piece in time, or before the deadline: the task is cancelled, and the end is told
 * without waiting for its own, which an engine that hangs never sends
 *
 * Who ends what: `granted` is called once per ask; when it starts no task it tells GEN_END itself,
 * else the task's GEN_END is the last.  GEN_END may come before gen_start has returned, so both
 * hold a reference, and the model is given back with the last one. */
#include "server/ask.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/work.h"
#include "server/allow.h"
#include "server/ask_able.h"
#include "server/ask_options.h"
#include "server/ask_steps.h"
#include "server/request_priv.h"

struct work {
    struct want want; /* first: fn and late get it */
    struct models *models;
    struct request *r; /* counted */
    struct ask a;      /* model: owned */
    struct ask_model known;
    int64_t start_ns;
    bool has_model, has_text;
    bool muted; /* its first piece came too late: the task is being cancelled */
    atomic_int n_ref;
    atomic_bool gone;     /* the client has left while it waited */
    pthread_mutex_t lock; /* of what follows; no lock of the request is taken under it */
    pthread_cond_t attached;
    struct gen_task *task; /* NULL before gen_start and from GEN_END on */
    bool attaching, telling, ended, late;
    bool abandoned; /* its end was told before the task's */
};

/* What ask_model is asked about: the work whose fn or ready this thread is in. */
static _Thread_local const struct work *current;

static _Thread_local const struct request *lent; /* ask_model_lend */

const struct ask_model *ask_model(const struct request *r) {
    const bool known = current && current->has_model && (current->r == r || lent == r);
    return known ? &current->known : NULL;
}

void ask_model_lend(const struct request *to) {
    lent = to;
}

static void work_free(struct work *w) {
    json_decref(w->a.gen);
    free((char *)w->a.model);
    pthread_cond_destroy(&w->attached);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void work_unref(struct work *w) {
    if (atomic_fetch_sub(&w->n_ref, 1) != 1) return;
    request_unref(w->r);
    models_done(w->models, &w->want);
    work_free(w);
}

/* ---- the end ---- */

static void hand_on(struct work *w, const struct gen_event *ev) {
    const struct work *outer = current;
    current = w;
    w->a.fn(w->a.ctx, ev);
    current = outer;
}

static bool is_first_late(const struct work *w) {
    return w->want.first_ns == WANT_FIRST_LATE;
}

static void set_stage(struct work *w, enum chain_stage stage) {
    if (w->a.fate) w->a.fate->stage = stage;
}

/* Of the two limits that first_ns may be of, that of the first token. */
static bool is_token_late(const struct work *w) {
    return is_first_late(w) && w->a.first_token_ns &&
           os_now_ns() - w->start_ns >= w->a.first_token_ns;
}

static void say_token_late(struct work *w, struct err *e) {
    if (w->a.fate) w->a.fate->first_late = true;
    err_set(e, ERR_TIMEOUT, "model \"%s\": no token came within %.3g seconds", w->a.model,
            (double)w->a.first_token_ns * 1e-9);
}

/* Its end is none: what came before it was not told. */
static bool is_muted(const struct work *w, const struct err *e) {
    return is_first_late(w) && e->code == ERR_NONE;
}

/* The last event: drops a reference. */
static void end(struct work *w, const struct gen_event *ev) {
    struct gen_event last = *ev;
    pthread_mutex_lock(&w->lock);
    const bool late = w->late || is_first_late(w);
    pthread_mutex_unlock(&w->lock);
    if (is_token_late(w))
        say_token_late(w, &last.err);
    else if (late && (last.err.code == ERR_CANCELLED || is_muted(w, &last.err)))
        err_set(&last.err, ERR_TIMEOUT, "the answer took longer than a request may take");
    if (last.err.code != ERR_NONE && w->has_model) loaded_hide_paths(w->want.at, &last.err);
    if (strncmp(last.err.field, "tools[", 6) != 0)        /* param.c */
        last.err.field[strcspn(last.err.field, "[")] = 0; /* a list not the client's: ready() */
    request_note_work(w->r, &last.stats, w->known.load_ns);
    hand_on(w, &last);
    work_unref(w);
}

static void end_with(struct work *w, const struct err *e) {
    struct gen_event ev = {.kind = GEN_END};
    if (e) ev.err = *e;
    end(w, &ev);
}

/* ---- events ---- */

/* The first piece is there: its deadline is none any more, unless it has been noticed. */
static bool is_in_time(struct work *w) {
    long long at = w->want.first_ns;
    while (at > 0)
        if (atomic_compare_exchange_weak(&w->want.first_ns, &at, 0)) return true;
    return at != WANT_FIRST_LATE;
}

/* What comes before the first piece may come while the end is told: not both at once. */
static void tell_prompt(struct work *w, const struct gen_event *ev) {
    pthread_mutex_lock(&w->lock);
    w->telling = !w->abandoned;
    pthread_mutex_unlock(&w->lock);
    if (!w->telling) return;
    hand_on(w, ev);
    pthread_mutex_lock(&w->lock);
    w->telling = false;
    pthread_cond_broadcast(&w->attached);
    pthread_mutex_unlock(&w->lock);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct work *w = ctx;
    if (ev->kind == GEN_PROMPT) {
        tell_prompt(w, ev);
        return;
    }
    if (ev->kind != GEN_END) {
        if (!w->has_text) {
            w->has_text = true;
            w->muted = !is_in_time(w);
            if (!w->muted) request_note_first(w->r);
        }
        if (!w->muted) hand_on(w, ev);
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    while (w->attaching)
        pthread_cond_wait(&w->attached, &w->lock);
    w->task = NULL;
    const bool abandoned = w->abandoned;
    pthread_mutex_unlock(&w->lock);
    if (abandoned) {
        work_unref(w);
        return;
    }
    request_attach(w->r, NULL);
    end(w, ev);
}

/* The task is being cancelled; its end comes late or never, and is told now.  Takes a reference
 * over. */
static void abandon(struct work *w) {
    pthread_mutex_lock(&w->lock);
    while (w->attaching || w->telling)
        pthread_cond_wait(&w->attached, &w->lock);
    const bool over = w->ended || w->abandoned;
    w->attaching = !over;
    w->abandoned |= !over;
    pthread_mutex_unlock(&w->lock);
    if (over) {
        work_unref(w);
        return;
    }
    request_attach(w->r, NULL);
    pthread_mutex_lock(&w->lock);
    w->task = NULL;
    w->attaching = false;
    pthread_cond_broadcast(&w->attached);
    pthread_mutex_unlock(&w->lock);
    end(w, &(struct gen_event){.kind = GEN_END});
}

static void on_later(struct want *want) {
    abandon((struct work *)(void *)want);
}

/* The deadline is over; under the lock of the models. */
static void on_late(struct want *want) {
    struct work *w = (struct work *)(void *)want;
    pthread_mutex_lock(&w->lock);
    w->late = true;
    if (w->task) gen_cancel(w->task);
    want->goes_on = w->task && is_first_late(w);
    if (want->goes_on) atomic_fetch_add(&w->n_ref, 1);
    pthread_mutex_unlock(&w->lock);
}

static void on_gone(void *ctx) {
    struct work *w = ctx;
    atomic_store(&w->gone, true);
    models_forget(w->models, &w->want);
}

/* ---- the model is there ---- */

/* Complete the request with what the model brings. */
static int complete(struct work *w, const struct loaded *l, struct err *e) {
    json_t *gen = w->a.gen;
    int rc = ask_able(w->a.model, w->known.info, gen, e);
    if (!w->want.slot) json_object_del(gen, "options"); /* they have chosen how it is loaded */
    if (l->adapter && json_object_set_new(gen, "adapter", json_string(l->adapter)) != 0)
        return err_nomem(e, "adapter");
    if (rc == 0 && w->want.slot) {
        json_t *all = options_merge(l->params, json_object_get(gen, "options"));
        if (!all || json_object_set_new(gen, "options", all) != 0) rc = err_nomem(e, "options");
        if (rc == 0) request_audit_model(w->r, NULL, all);
    }
    if (rc == 0 && w->a.ready) {
        current = w;
        rc = w->a.ready(w->a.ctx, &w->known, gen, e);
        current = NULL;
    }
    return rc;
}

static void know(struct work *w, const struct loaded *l) {
    w->known = (struct ask_model){.name = l->text,
                                  .digest = l->id.hex,
                                  .asked = w->a.model,
                                  .info = gen_info(l->gen),
                                  .messages = l->messages,
                                  .system = l->system.n ? l->system.p : NULL,
                                  .template = l->template.n ? l->template.p : NULL,
                                  .load_ns = os_now_ns() - w->start_ns};
    w->has_model = true;
    request_set_model(w->r, l->text);
    request_audit_model(w->r, l->id.hex, NULL);
}

/* The request may now pause and cancel the task, if that has not ended meanwhile. */
static void attach(struct work *w, struct gen_task *task) {
    pthread_mutex_lock(&w->lock);
    w->attaching = !w->ended;
    if (w->attaching) w->task = task;
    if (w->attaching && w->late) gen_cancel(task);
    const bool alive = w->attaching;
    pthread_mutex_unlock(&w->lock);
    if (!alive) return;
    request_attach(w->r, task);
    pthread_mutex_lock(&w->lock);
    w->attaching = false;
    pthread_cond_broadcast(&w->attached);
    const bool late = w->late && is_first_late(w);
    pthread_mutex_unlock(&w->lock);
    if (!late) return;
    atomic_fetch_add(&w->n_ref, 1);
    abandon(w);
}

/* 0: the task ends it.  -1: there is none. */
static int start(struct work *w, const struct loaded *l, struct err *e) {
    struct gen_task *task = NULL;
    set_stage(w, CHAIN_RUN);
    atomic_fetch_add(&w->n_ref, 1);
    const int rc = gen_start(l->gen, w->a.gen, on_event, w, &task, e);
    work_watch(NULL, NULL);
    json_decref(w->a.gen); /* here: who tells the end has others to tell */
    w->a.gen = NULL;
    if (rc == 0) attach(w, task);
    work_unref(w);
    return rc;
}

/* The same. */
static int begin(struct work *w, const struct loaded *l, struct err *e) {
    work_watch(request_left(w->r), NULL);
    if (complete(w, l, e) == 0) return start(w, l, e);
    work_watch(NULL, NULL);
    return -1;
}

/* This thread may come from another request's work: models_done. */
static void granted(struct want *want, const struct err *failed) {
    struct work *w = (struct work *)(void *)want;
    struct err e = {0};
    work_watch(NULL, NULL);
    request_on_gone(w->r, NULL, NULL);
    set_stage(w, failed ? CHAIN_LOAD : CHAIN_READY);
    if (failed) {
        e = *failed;
        if (e.code == ERR_LIMIT && want->key.num_ctx) err_field(&e, "options.num_ctx");
        end_with(w, &e);
        return;
    }
    const struct loaded *l = want->at;
    know(w, l);
    if (atomic_load(&w->gone)) {
        err_set(&e, ERR_CANCELLED, "the client has left");
        end_with(w, &e);
    } else if (w->a.load_only) {
        end_with(w, NULL);
    } else if (begin(w, l, &e) != 0) {
        end_with(w, &e);
    }
}

/* ---- the beginning ---- */

static int64_t deadline(struct models *m, int64_t now) {
    const int64_t limit = models_request_timeout(m);
    return limit > 0 && limit < INT64_MAX - now ? now + limit : 0;
}

/* Until when the first piece must be there.  An engine that hangs never says an end, so that the
 * request's own deadline is told without it, too, while nothing of an answer was. */
static int64_t first_deadline(const struct work *w) {
    const int64_t whole = w->want.deadline_ns;
    const int64_t first = w->a.first_token_ns ? w->start_ns + w->a.first_token_ns : 0;
    return !first || (whole && whole < first) ? whole : first;
}

bool ask_takes_slot(const json_t *gen) {
    static const char *const those[] = {"chat", "text", "embed", "rerank"};
    const char *op = json_string_value(json_object_get(gen, "op"));
    for (size_t i = 0; op && i < sizeof those / sizeof *those; i++)
        if (strcmp(op, those[i]) == 0) return true;
    return false;
}

/* Whose turn it is where requests wait: for a model, and within it. */
static int set_class(struct work *w, struct err *e) {
    snprintf(w->want.owner, sizeof w->want.owner, "%s", request_key(w->r));
    w->want.class = allow_class(w->r);
    if (w->want.class == KEY_NORMAL) return 0;
    return json_object_set_new(w->a.gen, "priority", json_string(key_class_name[w->want.class])) ==
                   0
               ? 0
               : err_nomem(e, "request");
}

static int fill_want(struct work *w, struct err *e) {
    struct want *want = &w->want;
    const json_t *options = json_object_get(w->a.gen, "options");
    if (name_parse(w->a.model, &want->name, e) != 0) return err_field(e, "model");
    if (allow_model(w->r, &want->name, e) != 0) return -1;
    if (options_check(options, &want->key, e) != 0) return -1;
    want->has_keep_alive = w->a.keep_alive && !json_is_null(w->a.keep_alive);
    if (models_keep_alive(w->a.keep_alive, 0, &want->keep_alive_ns, e) != 0) return -1;
    want->slot = !w->a.load_only && ask_takes_slot(w->a.gen);
    want->deadline_ns = deadline(w->models, w->a.start_ns ? w->a.start_ns : w->start_ns);
    want->first_ns = first_deadline(w);
    want->fn = granted;
    want->late = on_late;
    want->later = on_later;
    if (set_class(w, e) != 0) return -1;
    /* One key's prompts must not show in the time, nor in "cached_tokens", of another's. */
    const char *key = request_key(w->r);
    if (*key && json_object_set_new(w->a.gen, "tenant", json_string(key)) != 0)
        return err_nomem(e, "request");
    if (json_object_get(w->a.gen, "user")) return 0; /* the dialect knows more */
    return json_object_set_new(w->a.gen, "user", request_turn(w->r, NULL)) == 0
               ? 0
               : err_nomem(e, "request");
}

static struct work *work_new(struct request *r, const struct ask *a, struct err *e) {
    struct work *w = calloc(1, sizeof *w);
    if (!w || !a->gen) {
        json_decref(a->gen);
        free(w);
        err_nomem(e, "request");
        return NULL;
    }
    w->a = *a;
    w->a.model = strdup(a->model);
    set_stage(w, CHAIN_CHECK);
    w->r = r;
    w->models = server_models(request_server(r));
    w->start_ns = os_now_ns();
    atomic_init(&w->n_ref, 1);
    atomic_init(&w->gone, false);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->attached, NULL);
    if (w->a.model && fill_want(w, e) == 0) return w;
    if (!w->a.model) err_nomem(e, "request");
    work_free(w);
    return NULL;
}

/* keep_alive 0 without work: what is loaded goes; what is not must be in the store at least. */
static bool unloads(const struct work *w) {
    return w->a.load_only && w->want.has_keep_alive && w->want.keep_alive_ns == 0;
}

static int unload(struct work *w, struct err *e) {
    struct name found;
    struct digest id;
    if (models_unload(w->models, &w->want.name)) return 0;
    return models_find(w->models, &w->want.name, &found, &id, e);
}

static int say_missing(const char *model, struct err *e) {
    if (e->code != ERR_NOT_FOUND) return -1;
    err_set(e, ERR_NOT_FOUND, "model \"%s\" not found, try pulling it first", model);
    return err_field(e, "model");
}

int ask_one(struct request *r, const struct ask *a, struct err *e) {
    struct work *w = work_new(r, a, e);
    if (!w) return -1;
    if (unloads(w)) {
        const struct gen_event done = {.kind = GEN_END};
        const int rc = unload(w, e);
        if (rc == 0) hand_on(w, &done);
        work_free(w);
        return rc == 0 ? 0 : say_missing(a->model, e);
    }
    set_stage(w, CHAIN_FIND);
    request_ref(r);
    request_on_gone(r, on_gone, w);
    if (models_want(w->models, &w->want, e) == 0) return 0;
    request_on_gone(r, NULL, NULL);
    work_free(w);
    request_unref(r);
    return say_missing(a->model, e);
}
