/* The table of models: who wants one, who gets it, who waits.  See models_priv.h for the whole. */
#include "server/models_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"

enum { DEFAULT_MAX_LOADED = 3, DEFAULT_MAX_QUEUE = 512 };

/* ---- the settings ---- */

static int take_opts(struct models *m, const struct models_opts *o, struct err *e) {
    char *preload = o->preload ? strdup(o->preload) : NULL;
    if (o->preload && !preload) return err_nomem(e, "models");
    free((char *)m->o.preload);
    m->o = *o;
    m->o.preload = preload;
    m->limit_bytes = o->max_bytes;
    if (o->max_bytes)
        m->o.max_bytes = o->max_bytes > o->own_bytes ? o->max_bytes - o->own_bytes : 1;
    if (m->o.max_loaded <= 0) m->o.max_loaded = DEFAULT_MAX_LOADED;
    if (m->o.max_queue <= 0) m->o.max_queue = DEFAULT_MAX_QUEUE;
    return 0;
}

void models_configure(struct models *m, const struct models_opts *o) {
    pthread_mutex_lock(&m->lock);
    if (take_opts(m, o, NULL) != 0) log_line(m->log, LOG_WARN, "settings of models: out of memory");
    pthread_cond_broadcast(&m->changed);
    pthread_cond_signal(&m->tick);
    pthread_mutex_unlock(&m->lock);
}

int64_t models_request_timeout(struct models *m) {
    pthread_mutex_lock(&m->lock);
    const int64_t limit = m->o.request_timeout_ns;
    pthread_mutex_unlock(&m->lock);
    return limit;
}

/* ---- opening and closing ---- */

static void init_cond(pthread_cond_t *c) {
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
}

struct models *models_open(const struct models_opts *o, struct err *e) {
    struct models *m = calloc(1, sizeof *m);
    if (!m) {
        err_nomem(e, "models");
        return NULL;
    }
    pthread_mutex_init(&m->lock, NULL);
    init_cond(&m->changed);
    init_cond(&m->tick);
    m->log = o->log;
    m->store = o->store;
    if (take_opts(m, o, e) != 0) goto fail;
    m->has_clock = pthread_create(&m->clock, NULL, models_clock, m) == 0;
    if (!m->has_clock) {
        err_set(e, ERR_IO, "models: a thread cannot be started");
        goto fail;
    }
    m->preloading = m->o.preload != NULL;
    if (m->o.preload) m->has_preload = pthread_create(&m->preload, NULL, models_preload, m) == 0;
    return m;
fail:
    models_close(m);
    return NULL;
}

void models_drain(struct models *m) {
    pthread_mutex_lock(&m->lock);
    m->draining = true;
    __atomic_store_n(&m->stop, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void models_close(struct models *m) {
    if (!m) return;
    models_drain(m);
    if (m->has_preload) pthread_join(m->preload, NULL);
    pthread_mutex_lock(&m->lock);
    for (struct loaded *l = m->list; l; l = l->next) {
        models_leave(l);
        __atomic_store_n(&l->stop, 1, __ATOMIC_RELAXED);
    }
    while (m->n_thread || m->all)
        models_await_change(m, INT64_MAX);
    m->over = true;
    pthread_cond_signal(&m->tick);
    pthread_mutex_unlock(&m->lock);
    if (m->has_clock) pthread_join(m->clock, NULL);
    pthread_cond_destroy(&m->changed);
    pthread_cond_destroy(&m->tick);
    pthread_mutex_destroy(&m->lock);
    free((char *)m->o.preload);
    free(m);
}

void models_await_change(struct models *m, int64_t until_ns) {
    const int64_t longest = os_now_ns() + 1000000000, end = until_ns < longest ? until_ns : longest;
    const struct timespec t = {end / 1000000000, end % 1000000000};
    pthread_cond_timedwait(&m->changed, &m->lock, &t);
}

/* ---- what is there ---- */

int models_find(struct models *m, const struct name *n, struct name *found, struct digest *id,
                struct err *e) {
    struct manifest manifest;
    struct err why = {0};
    const int rc = store_get(m->store, n, found, &manifest, &why);
    *id = manifest.id;
    manifest_fini(&manifest);
    return rc == 0 ? 0 : err_set(e, why.code, "%s", why.msg);
}

void models_leave(struct loaded *l) {
    if (l->leaving) return;
    l->leaving = true;
    if (l->phase == PHASE_READY) l->since_ns = os_now_ns();
    pthread_cond_broadcast(&l->models->changed);
}

void models_check_alive(struct loaded *l) {
    if (l->phase != PHASE_READY || l->crashed || gen_alive(l->gen)) return;
    l->crashed = true;
    l->models->n_crashes += !loaded_is_guest(l);
    log_line(l->models->log, LOG_WARN,
             "model %s: its process has ended; the next request loads it again", l->text);
    models_leave(l);
}

/* The one that a request for this name gets: of the same manifest, by whatever name it was loaded.
 * One that was last asked for by this name leaves when the store has another model under it now. */
static struct loaded *find(struct models *m, const struct name *name, const struct digest *id) {
    struct loaded *found = NULL;
    for (struct loaded *l = m->list; l; l = l->next) {
        const bool same = digest_eq(&l->id, id);
        if (!same && !name_eq(&l->asked, name)) continue;
        models_check_alive(l);
        if (l->leaving) continue;
        if (same)
            found = l;
        else
            models_leave(l);
    }
    return found;
}

/* ---- wants ---- */

static int at_most(int n, int max) {
    return max > 0 && n > max ? max : n;
}

bool models_satisfies(const struct loaded *l, const struct want *w) {
    const struct gen_info *i = gen_info(l->gen);
    const struct load_key *k = &w->key;
    if (w->made == l) return true;
    return at_most(k->num_ctx, i->n_ctx_train) <= i->n_ctx &&
           (!k->num_batch || k->num_batch == l->key.num_batch) &&
           (!k->num_thread || k->num_thread == l->key.num_thread);
}

void models_grant(struct loaded *l, struct want *w) {
    w->at = l;
    w->state = WANT_USES;
    l->asked = w->found;
    l->n_use++;
    l->n_run += w->slot;
    if (w->has_keep_alive) l->keep_alive_ns = w->keep_alive_ns;
}

bool models_dispatch(struct models *m, struct want *w, const struct digest *id, bool admitted,
                     struct err *e) {
    struct loaded *l = find(m, &w->found, id);
    if (l && l->phase == PHASE_READY && !models_satisfies(l, w)) {
        log_line(m->log, LOG_INFO, "model %s: loaded again with other options", l->text);
        models_leave(l);
        l = NULL;
    }
    const bool there = l && l->phase == PHASE_READY;
    const bool waits = w->slot && (!there || l->n_run >= l->n_parallel);
    if (!admitted && waits && models_admit(m, w, e) != 0) return false;
    if (there) {
        models_grant(l, w);
        return true;
    }
    if (!l) {
        if (m->draining) return err_set(e, ERR_BUSY, "the server is shutting down"), false;
        l = loaded_new(m, &w->found, id, &w->key, e);
        if (!l) return false;
        w->made = l;
    }
    models_queue(l, w);
    return false;
}

static void link_all(struct models *m, struct want *w) {
    w->all_next = m->all;
    w->all_at = &m->all;
    if (m->all) m->all->all_at = &w->all_next;
    m->all = w;
}

static void unlink_all(struct want *w) {
    *w->all_at = w->all_next;
    if (w->all_next) w->all_next->all_at = w->all_at;
}

int models_want(struct models *m, struct want *w, struct err *e) {
    struct digest id;
    struct err why = {0};
    w->made = NULL;
    if (models_find(m, &w->name, &w->found, &id, e) != 0) return -1;
    pthread_mutex_lock(&m->lock);
    const bool granted = models_dispatch(m, w, &id, false, &why);
    const bool failed = !granted && why.code != ERR_NONE;
    if (!failed) {
        link_all(m, w);
        if (w->deadline_ns || w->first_ns || w->forgotten) pthread_cond_signal(&m->tick);
    }
    pthread_mutex_unlock(&m->lock);
    if (failed) return err_set(e, why.code, "%s", why.msg);
    if (granted) w->fn(w, NULL);
    return 0;
}

void models_forget(struct models *m, struct want *w) {
    pthread_mutex_lock(&m->lock);
    w->forgotten = true;
    if (w->state == WANT_WAITS) pthread_cond_signal(&m->tick);
    pthread_mutex_unlock(&m->lock);
}

void models_done(struct models *m, struct want *w) {
    pthread_mutex_lock(&m->lock);
    struct loaded *l = w->state == WANT_USES ? w->at : NULL;
    unlink_all(w);
    if (l) {
        l->n_use--;
        l->n_run -= w->slot;
        models_check_alive(l);
        if (!l->leaving) l->since_ns = os_now_ns();
    }
    if ((l && l->n_use == 0) || !m->all) pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void wants_tell(struct want *list, const struct err *e) {
    for (struct want *w = list, *next; w; w = next) {
        next = w->next; /* w is its owner's afterwards */
        w->fn(w, e);
    }
}

/* ---- unloading, figures ---- */

/* A name without a tag that is none of them stands for the only one of that model. */
static struct loaded *only_one(struct models *m, const struct name *n) {
    struct loaded *only = NULL;
    for (struct loaded *l = m->list; l; l = l->next) {
        struct name any = *n;
        memcpy(any.tag, l->asked.tag, sizeof any.tag);
        if (l->leaving || !name_eq(&l->asked, &any)) continue;
        if (only) return NULL;
        only = l;
    }
    return only;
}

bool models_unload(struct models *m, const struct name *n) {
    bool found = false;
    struct name unused;
    struct digest id;
    /* Another name of the same model means it, too. */
    const bool known = models_find(m, n, &unused, &id, NULL) == 0;
    pthread_mutex_lock(&m->lock);
    for (struct loaded *l = m->list; l; l = l->next) {
        if (l->leaving || !(name_eq(&l->asked, n) || (known && digest_eq(&l->id, &id)))) continue;
        models_leave(l);
        found = true;
    }
    struct loaded *only = found || n->has_tag ? NULL : only_one(m, n);
    if (only) models_leave(only);
    pthread_mutex_unlock(&m->lock);
    return found || only;
}

bool models_preloading(struct models *m) {
    pthread_mutex_lock(&m->lock);
    const bool yes = m->preloading;
    pthread_mutex_unlock(&m->lock);
    return yes;
}

struct models_stats models_stats(struct models *m) {
    pthread_mutex_lock(&m->lock);
    struct models_stats s = {.n_waiting = models_n_waiting(m),
                             .max_bytes = m->limit_bytes,
                             .n_loads = m->n_loads,
                             .n_evictions = m->n_evictions,
                             .n_crashes = m->n_crashes,
                             .n_refused = m->n_refused,
                             .bytes_planned = m->other_bytes,
                             .bytes_used = m->other_used};
    for (const struct loaded *l = m->list; l; l = l->next) {
        s.bytes_planned += l->bytes;
        if (l->phase != PHASE_READY) continue;
        s.n_loaded++;
        s.n_running += l->n_run < l->n_parallel ? l->n_run : l->n_parallel;
        if (!loaded_is_guest(l)) s.bytes_used += gen_load(l->gen).rss_bytes;
    }
    pthread_mutex_unlock(&m->lock);
    return s;
}
