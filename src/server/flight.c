/* See flight.h.
 *
 *   flight_start -> join (an answer that is being made), or lead -> the next step -> on_event
 *   on_event -> record, leader, followers ... GEN_END: keep, tell all; or `lead_again`
 *
 * Locks, in this order: a flight's turn (who tells events), a request's task_lock, a flight's lock.
 * Whoever tells a GEN_END holds none of them: the next question of the same client may follow. */
#include "server/flight.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/work.h"
#include "server/ask_steps.h"
#include "server/models.h"
#include "server/request_priv.h"
#include "store/name.h"

struct member {
    struct member *next;
    struct flight *flight;
    struct request *r; /* counted */
    struct ask a;      /* model, gen: owned; the leader's gen is NULL once it has gone on */
};

struct flight {
    struct flight *next; /* flights.lock */
    struct flights *all;
    struct answer_cache *store;
    uint8_t key[ANSWER_KEY_BYTES];
    char model[NAME_TEXT];
    int64_t ttl_s;
    uint64_t terms;
    bool held;
    atomic_int n_ref;
    struct member *leader; /* owned */
    struct request *r;     /* the leader's, counted: longer than the leader */

    pthread_mutex_t turn; /* of what follows; events are told under it, but the last */
    struct answer_record record;
    bool begun; /* an event was told */

    pthread_mutex_t lock; /* of what follows; both to change the list */
    struct member *followers, **last;
    bool closed; /* nobody may join any more */
};

struct flights {
    pthread_mutex_t lock;
    struct flight *list;
};

/* ---- making and ending ---- */

static void member_free(struct member *m) {
    if (!m) return;
    json_decref(m->a.gen);
    free((char *)m->a.model);
    request_unref(m->r);
    free(m);
}

/* Takes a->gen. */
static struct member *member_new(struct request *r, const struct ask *a, struct err *e) {
    struct member *m = calloc(1, sizeof *m);
    char *model = strdup(a->model);
    if (!m || !model) {
        free(m);
        free(model);
        json_decref(a->gen);
        err_nomem(e, "request");
        return NULL;
    }
    m->a = *a;
    m->a.model = model;
    if (!m->a.start_ns) m->a.start_ns = os_now_ns(); /* also for one that leads later */
    m->r = r;
    request_ref(r);
    return m;
}

static void flight_unref(struct flight *f) {
    if (atomic_fetch_sub(&f->n_ref, 1) != 1) return;
    member_free(f->leader);
    request_unref(f->r);
    answer_record_fini(&f->record);
    pthread_mutex_destroy(&f->turn);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* Takes m as its leader; one reference, the generation's. */
static struct flight *flight_new(struct flights *all, const struct flight_opts *o, struct member *m,
                                 struct err *e) {
    struct flight *f = calloc(1, sizeof *f);
    if (!f) {
        err_nomem(e, "request");
        return NULL;
    }
    f->all = all;
    f->store = o->store;
    f->ttl_s = o->ttl_s;
    f->terms = o->terms;
    f->held = o->held;
    memcpy(f->key, o->key, sizeof f->key);
    strncpy(f->model, o->model, sizeof f->model - 1);
    atomic_init(&f->n_ref, 1);
    f->leader = m;
    f->r = m->r;
    request_ref(m->r);
    m->flight = f;
    f->last = &f->followers;
    pthread_mutex_init(&f->turn, NULL);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

static void leave_table(struct flight *f) {
    pthread_mutex_lock(&f->all->lock);
    struct flight **at = &f->all->list;
    while (*at && *at != f)
        at = &(*at)->next;
    if (*at) *at = f->next;
    pthread_mutex_unlock(&f->all->lock);
}

static void enter_table(struct flight *f) {
    pthread_mutex_lock(&f->all->lock);
    f->next = f->all->list;
    f->all->list = f;
    pthread_mutex_unlock(&f->all->lock);
}

/* Nobody joins from now on; those that did, in the order they came, without their hooks. */
static struct member *take_followers(struct flight *f) {
    leave_table(f);
    pthread_mutex_lock(&f->turn); /* whoever is joining has joined then */
    pthread_mutex_lock(&f->lock);
    struct member *list = f->followers;
    f->followers = NULL;
    f->last = &f->followers;
    f->closed = true;
    pthread_mutex_unlock(&f->lock);
    pthread_mutex_unlock(&f->turn);
    for (struct member *m = list; m; m = m->next)
        request_on_gone(m->r, NULL, NULL);
    return list;
}

/* ---- who wants it ---- */

/* For the leader's request (request_share), under its task_lock. */
static bool is_wanted(void *ctx, bool leaving) {
    struct flight *f = ctx;
    bool wanted = false;
    pthread_mutex_lock(&f->lock);
    for (const struct member *m = f->followers; m && !wanted; m = m->next)
        wanted = !request_gone(m->r);
    if (leaving && !wanted) f->closed = true; /* it is being cancelled */
    pthread_mutex_unlock(&f->lock);
    return wanted;
}

/* A follower's client has left: perhaps nobody is there now. */
static void on_gone(void *ctx) {
    const struct member *m = ctx;
    request_unwanted(m->flight->r);
}

/* ---- telling ---- */

/* Who answers for the leader answers for m. */
static void share_fallback(const struct flight *f, struct member *m) {
    const char *why = request_fallback_reason(f->r);
    if (why && !request_fallback_reason(m->r))
        request_announce_fallback(m->r, request_served(f->r, f->model), why);
}

/* As if the leader's model were its own. */
static void tell(struct member *m, const struct gen_event *ev) {
    ask_model_lend(m->r);
    m->a.fn(m->a.ctx, ev);
    ask_model_lend(NULL);
}

/* The last; m is gone. */
static void tell_end(struct member *m, const struct gen_event *ev) {
    if (ev->err.code == ERR_BUSY && !stream_started(m->r)) reply_header(m->r, "Retry-After: 1\r\n");
    tell(m, ev);
    member_free(m);
}

static void tell_error(struct member *m, const struct err *e) {
    const struct gen_event ev = {.kind = GEN_END, .err = *e};
    tell_end(m, &ev);
}

/* Another model may have answered: its answer is not this one's. */
static void keep(struct flight *f) {
    const struct ask_model *by = ask_model(f->r);
    const struct answer_label label = {request_key(f->r), f->model};
    if (f->store && f->record.whole && !request_fallback_reason(f->r) && by &&
        strcmp(by->name, f->model) == 0)
        answer_cache_put(f->store, f->key, &label, f->ttl_s, &f->record);
}

static void lead_again(const struct flight *f, struct member *list);

/* The leader's time is over; those that came later have some left. */
static bool is_over(const struct flight *f) {
    const int64_t limit = models_request_timeout(server_models(request_server(f->r)));
    return limit > 0 && os_now_ns() - f->leader->a.start_ns >= limit;
}

/* Why the leader failed is no reason for the others to. */
static bool is_its_own(const struct flight *f, const struct err *e) {
    return e->code != ERR_NONE && !f->begun &&
           (e->code == ERR_CANCELLED || e->code == ERR_BUSY || request_gone(f->r) ||
            (e->code == ERR_TIMEOUT && is_over(f)));
}

static void end(struct flight *f, const struct gen_event *ev) {
    struct member *list = take_followers(f), *next;
    const bool again = is_its_own(f, &ev->err);
    request_share(f->r, NULL, NULL);
    answer_record_add(&f->record, ev);
    keep(f);
    f->leader->a.fn(f->leader->a.ctx, ev);
    if (again) {
        lead_again(f, list);
    } else {
        for (struct member *m = list; m; m = next) {
            next = m->next;
            share_fallback(f, m);
            tell_end(m, ev);
        }
    }
    flight_unref(f);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct flight *f = ctx;
    if (ev->kind == GEN_END) {
        end(f, ev);
        return;
    }
    pthread_mutex_lock(&f->turn);
    f->begun = true;
    answer_record_add(&f->record, ev);
    f->leader->a.fn(f->leader->a.ctx, ev);
    for (struct member *m = f->followers; m; m = m->next) {
        share_fallback(f, m);
        tell(m, ev);
    }
    pthread_mutex_unlock(&f->turn);
}

/* ---- leading and following ---- */

static int on_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct flight *f = ctx;
    return f->leader->a.ready(f->leader->a.ctx, m, gen, e);
}

/* After 0 f is its events'. */
static int lead(struct flight *f, struct err *e) {
    struct member *m = f->leader;
    struct ask own = m->a;
    own.fn = on_event;
    own.ready = m->a.ready ? on_ready : NULL;
    own.ctx = f;
    m->a.gen = NULL;
    request_note_cache(m->r, CACHED_MISS);
    request_share(m->r, is_wanted, f);
    if (ask_pii_answer(m->r, &own, e) == 0) return 0;
    request_share(m->r, NULL, NULL);
    return -1;
}

/* The flight has failed before it began: the others try again, one of them leads.  Any of them may
 * be refused, too.  This thread may come from the work of the leader, who has left. */
static void lead_again(const struct flight *before, struct member *list) {
    work_watch(NULL, NULL);
    struct flight_opts o = {.store = before->store,
                            .model = before->model,
                            .ttl_s = before->ttl_s,
                            .terms = before->terms,
                            .held = before->held};
    memcpy(o.key, before->key, sizeof o.key);
    while (list) {
        struct err e = {0};
        struct member *m = list;
        list = m->next;
        struct flight *f = NULL;
        if (request_gone(m->r))
            err_set(&e, ERR_CANCELLED, "the client has left");
        else
            f = flight_new(before->all, &o, m, &e);
        if (!f) {
            tell_error(m, &e);
            continue;
        }
        f->followers = list;
        for (struct member *k = list; k; k = k->next) {
            k->flight = f;
            f->last = &k->next;
        }
        for (struct member *k = list; k; k = k->next)
            request_on_gone(k->r, on_gone, k);
        enter_table(f);
        if (lead(f, &e) == 0) return;
        list = take_followers(f);
        f->leader = NULL;
        flight_unref(f);
        tell_error(m, &e);
    }
}

/* False: it is too late. */
static bool join(struct flight *f, struct member *m) {
    pthread_mutex_lock(&f->turn);
    pthread_mutex_lock(&f->lock);
    const bool open = !f->closed && !f->record.failed;
    if (open) {
        m->flight = f;
        *f->last = m;
        f->last = &m->next;
    }
    pthread_mutex_unlock(&f->lock);
    if (open) {
        request_note_cache(m->r, CACHED_HIT);
        request_set_model(m->r, f->model);
        request_on_gone(m->r, on_gone, m);
        if (f->begun) share_fallback(f, m); /* known by then */
        answer_record_play(&f->record, m->a.gen, m->a.fn, m->a.ctx);
    }
    pthread_mutex_unlock(&f->turn);
    if (open) request_hurry(f->r);
    return open;
}

static bool is_same(const struct flight *a, const struct flight *b) {
    return memcmp(a->key, b->key, sizeof a->key) == 0 && a->terms == b->terms && a->held == b->held;
}

/* The flight of this key, counted; or `own` enters
 * the table: NULL. */
static struct flight *find_or_enter(struct flights *all, struct flight *own) {
    pthread_mutex_lock(&all->lock);
    struct flight *f = all->list;
    while (f && !is_same(f, own))
        f = f->next;
    if (f) {
        atomic_fetch_add(&f->n_ref, 1);
    } else {
        own->next = all->list;
        all->list = own;
    }
    pthread_mutex_unlock(&all->lock);
    return f;
}

int flight_start(struct flights *all, struct request *r, const struct ask *a,
                 const struct flight_opts *o, bool *followed, struct err *e) {
    *followed = false;
    struct member *m = member_new(r, a, e);
    struct flight *f = m ? flight_new(all, o, m, e) : NULL, *other;
    if (!f) {
        member_free(m);
        return -1;
    }
    if (!o->alone && (other = find_or_enter(all, f))) {
        f->leader = NULL; /* while it joins nobody else may free it */
        *followed = join(other, m);
        flight_unref(other);
        if (*followed) {
            flight_unref(f);
            return 0;
        }
        m->flight = f;
        f->leader = m;
        enter_table(f);
    }
    if (lead(f, e) == 0) return 0;
    lead_again(f, take_followers(f));
    flight_unref(f);
    return -1;
}

struct flights *flights_new(void) {
    struct flights *all = calloc(1, sizeof *all);
    if (all) pthread_mutex_init(&all->lock, NULL);
    return all;
}

void flights_free(struct flights *all) {
    if (!all) return;
    pthread_mutex_destroy(&all->lock);
    free(all);
}
