/* The life of one model, on a thread of its own: wait for room, open, serve, close. */
#include "server/models_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"

/* ---- room ---- */

/* An older one of this name, or of the same model, is on its way out: its memory is waited for. */
static bool has_older(const struct loaded *l) {
    for (const struct loaded *o = l->models->list; o != l; o = o->next)
        if (o->leaving && (name_eq(&o->asked, &l->asked) || digest_eq(&o->id, &l->id))) return true;
    return false;
}

/* Those that wait for room take it in their turns (models_queue.c), so that a small one cannot keep
 * a large one waiting for ever. */
static bool is_first(const struct loaded *l) {
    bool behind = false;
    for (const struct loaded *o = l->models->list; o; o = o->next) {
        if (o == l) {
            behind = true;
            continue;
        }
        if (o->phase != PHASE_WAITING || has_older(o)) continue;
        if (behind ? !models_before(l, o) : models_before(o, l)) return false;
    }
    return !has_older(l);
}

static int give_up(const struct loaded *l, struct err *e) {
    if (l->models->draining) return err_set(e, ERR_BUSY, "the server is shutting down");
    if (!l->wants) return err_set(e, ERR_CANCELLED, "nobody waits for it any more");
    return 0;
}

/* A process is as large as that before it knows what the model needs: it is not started with less.
 */
static uint64_t least_bytes(const struct loaded *l) {
    return recipe_file_bytes(&l->recipe) + GEN_PROGRAM_BYTES;
}

static int too_large(const struct loaded *l, const struct room *r, struct err *e) {
    return err_set(e, ERR_LIMIT,
                   "model \"%s\" needs at least %.1f MB of memory; %.1f MB may be used", l->text,
                   (double)least_bytes(l) * 1e-6, (double)room_left(r) * 1e-6);
}

/* One try with the room there is.  Lock held, but not while it opens. */
static int try_open(struct loaded *l, const struct room *r, struct err *e) {
    struct models *m = l->models;
    if (r->limited && least_bytes(l) > room_left(r)) return too_large(l, r, e);
    l->phase = PHASE_OPENING;
    l->since_ns = os_now_ns();
    l->bytes = m->o.max_bytes ? room_left(r) : least_bytes(l);
    pthread_cond_signal(&m->tick);       /* its timeout */
    pthread_cond_broadcast(&m->changed); /* the next one's turn */
    pthread_mutex_unlock(&m->lock);
    const int rc = loaded_open(l, r, e);
    pthread_mutex_lock(&m->lock);
    l->bytes = rc == 0 ? gen_info(l->gen)->n_bytes : 0;
    l->phase = rc == 0 ? PHASE_READY : PHASE_WAITING;
    if (rc != 0 && l->timed_out)
        err_set(e, ERR_TIMEOUT, "model \"%s\": loading took longer than %.3g seconds", l->text,
                (double)m->o.load_timeout_ns * 1e-9);
    pthread_cond_broadcast(&m->changed);
    return rc;
}

/* There is no more than when it was tried last. */
static bool is_same(const struct room *r, const struct room *before) {
    return before->limited && room_left(r) <= room_left(before) && r->more == before->more;
}

/* One step of those below.  0: READY; 1: try again at once; 2: when something has changed; -1. Lock
 * held. */
static int open_step(struct loaded *l, struct room *tried, struct err *e) {
    struct models *m = l->models;
    struct err why;
    if (give_up(l, &why) != 0) return err_set(e, why.code, "%s", why.msg);
    const struct room all = {.limited = m->o.max_bytes > 0, .limit = m->o.max_bytes};
    if (all.limited && least_bytes(l) > room_left(&all)) return too_large(l, &all, e); /* ever */
    if (!is_first(l)) return 2;
    struct room r = room_for(l);
    if (r.n_loaded < m->o.max_loaded && !is_same(&r, tried)) {
        if (try_open(l, &r, e) == 0) return 0;
        if (e->code != ERR_LIMIT) return -1;
        /* Without the others it would be no different. */
        if (least_bytes(l) > r.limit) return -1;
        *tried = r;
        r = room_for(l);
        if (!is_same(&r, tried)) return 1; /* somebody went while it was tried */
    }
    if (room_make(l)) return 2;
    return e->code ? -1 : err_set(e, ERR_LIMIT, "no model may be loaded");
}

/* Who else has what it lacks. */
static void name_other(const struct models *m, struct err *e) {
    const struct err was = *e;
    if (was.code == ERR_LIMIT && m->other_bytes)
        err_set(e, ERR_LIMIT, "%s; %s holds %.1f MB", was.msg, m->other_name,
                (double)m->other_bytes * 1e-6);
}

/* Lock held. */
static int open_in_turn(struct loaded *l, struct err *e) {
    struct room tried = {.limited = false};
    for (;;) {
        const int rc = open_step(l, &tried, e);
        if (rc < 0) name_other(l->models, e);
        if (rc <= 0) return rc;
        if (rc == 2) models_await_change(l->models, INT64_MAX);
    }
}

/* ---- the others' turn ---- */

static struct want *take_wants(struct loaded *l) {
    struct want *list = l->wants;
    l->wants = NULL;
    return list;
}

/* Lock held, but not while they are told. */
static void serve_wants(struct loaded *l) {
    struct models *m = l->models;
    struct want *list = take_wants(l), *granted = NULL, **end = &granted, *refused = NULL;
    struct err why = {0}; /* the last one's: the server ends, or has no thread */
    for (struct want *w = list, *next; w; w = next) {
        struct err e = {0};
        next = w->next;
        w->next = NULL;
        if (models_satisfies(l, w)) {
            models_grant(l, w);
        } else if (!models_dispatch(m, w, &l->id, true, &e)) {
            if (e.code == ERR_NONE) continue; /* it waits for another now */
            w->state = WANT_OVER, w->at = NULL;
            w->next = refused;
            refused = w;
            why = e;
            continue;
        }
        *end = w;
        end = &w->next;
    }
    pthread_mutex_unlock(&m->lock);
    wants_tell(granted, NULL);
    wants_tell(refused, &why);
    pthread_mutex_lock(&m->lock);
}

/* Lock held, but not while they are told. */
static void fail_wants(struct loaded *l, struct want *list, const struct err *why) {
    struct err e = *why;
    /* That it does not fit is no fault of a request: 500 in every API, as Ollama does it. */
    if (e.code == ERR_LIMIT) e.code = ERR_NOMEM;
    for (struct want *w = list; w; w = w->next)
        w->state = WANT_OVER, w->at = NULL;
    if (e.code != ERR_CANCELLED) log_line(l->models->log, LOG_WARN, "model %s: %s", l->text, e.msg);
    pthread_mutex_unlock(&l->models->lock);
    wants_tell(list, &e);
    pthread_mutex_lock(&l->models->lock);
}

/* It was tried with the largest context that somebody asked for: who asked for less, or for none,
 * is not refused for that one's sake.  False: nobody did.  Lock held, but not while they are told.
 */
static bool refuse_largest(struct loaded *l, const struct err *e) {
    struct want *over = NULL, **end = &over;
    int rest = -1;
    for (const struct want *w = l->wants; w; w = w->next)
        if (w->key.num_ctx < l->key.num_ctx && w->key.num_ctx > rest) rest = w->key.num_ctx;
    if (rest < 0) return false;
    for (struct want **at = &l->wants; *at;) {
        struct want *w = *at;
        if (w->key.num_ctx < l->key.num_ctx) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = NULL;
        *end = w;
        end = &w->next;
    }
    l->refused_ctx = l->key.num_ctx;
    l->key.num_ctx = rest;
    fail_wants(l, over, e);
    return true;
}

/* When an idle one ends; INT64_MAX: never. */
static int64_t expires(const struct loaded *l) {
    if (l->keep_alive_ns < 0) return INT64_MAX;
    const int64_t left = INT64_MAX - l->since_ns;
    return l->keep_alive_ns < left ? l->since_ns + l->keep_alive_ns : INT64_MAX;
}

/* Until nobody uses it and it shall leave.  Lock held. */
static void serve(struct loaded *l) {
    struct models *m = l->models;
    bool measured = false;
    while (!l->leaving || l->n_use) {
        const int64_t end = expires(l);
        if (l->n_use) {
            measured = false;
            models_await_change(m, INT64_MAX);
        } else if (os_now_ns() >= end) {
            models_leave(l);
        } else if (!measured) {
            measured = true;
            pthread_mutex_unlock(&m->lock);
            loaded_measure(l);
            pthread_mutex_lock(&m->lock);
        } else {
            models_await_change(m, end);
        }
    }
}

/* ---- beginning and end ---- */

static void remove_from_list(struct loaded *l) {
    struct loaded **at = &l->models->list;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
}

static void loaded_free(struct loaded *l) {
    recipe_close(&l->recipe);
    model_config_fini(&l->config);
    json_decref(l->params);
    json_decref(l->messages);
    buf_fini(&l->system);
    buf_fini(&l->template);
    free(l);
}

static void *live(void *arg) {
    struct loaded *l = arg;
    struct models *m = l->models;
    struct err e = {0};
    int rc = loaded_read(l, &e);
    pthread_mutex_lock(&m->lock);
    if (rc == 0 && !loaded_join(l)) {
        do {
            e = (struct err){0};
            rc = open_in_turn(l, &e);
        } while (rc != 0 && e.code == ERR_LIMIT && refuse_largest(l, &e));
    }
    if (rc == 0) {
        m->n_loads++;
        l->since_ns = os_now_ns();
        serve_wants(l);
        serve(l);
        l->phase = PHASE_CLOSING;
        loaded_leave_process(l);
    } else {
        l->leaving = true; /* before they are told: who asks again gets a new one */
        fail_wants(l, take_wants(l), &e);
    }
    remove_from_list(l);
    loaded_free(l);
    m->n_thread--;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

struct loaded *loaded_new(struct models *m, const struct name *n, const struct digest *id,
                          const struct load_key *key, struct err *e) {
    struct loaded *l = calloc(1, sizeof *l), **at = &m->list;
    pthread_attr_t a;
    pthread_t t;
    if (!l) {
        err_nomem(e, "model");
        return NULL;
    }
    *l = (struct loaded){.models = m,
                         .name = *n,
                         .asked = *n,
                         .id = *id,
                         .key = *key,
                         .keep_alive_ns = m->o.keep_alive_ns,
                         .phase = PHASE_WAITING};
    name_short(n, l->text);
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    /* It takes m->lock before it looks at the list. */
    const int rc = pthread_create(&t, &a, live, l);
    pthread_attr_destroy(&a);
    if (rc != 0) {
        free(l);
        err_set(e, ERR_IO, "models: a thread cannot be started");
        return NULL;
    }
    while (*at)
        at = &(*at)->next;
    *at = l;
    m->n_thread++;
    return l;
}
