/* Who may take how much memory, and who goes when another needs it.
 *
 * The limit is MEMORY; without it what the machine, or our control group, has left when a model is
 * opened.  A model counts with its plan (gen_info.n_bytes), or with what it was seen to take where
 * that is more; one that is being opened with all that it was allowed. */
#include "server/models_priv.h"

#include <stdio.h>

#include "base/os.h"
#include "base/ram.h"

static uint64_t counts(const struct loaded *l) {
    return l->used_bytes > l->bytes ? l->used_bytes : l->bytes;
}

/* One that waits may be joining a process whose last other model has left: then that is its. */
static bool has_nothing(const struct loaded *l) {
    return l->phase == PHASE_WAITING && !l->process;
}

static bool is_idle(const struct loaded *l) {
    return l->phase == PHASE_READY && !l->leaving && l->n_use == 0;
}

/* What the others have not touched yet of what they may take: the machine still calls it free. */
static uint64_t promised(const struct loaded *l) {
    return l->bytes > l->used_bytes ? l->bytes - l->used_bytes : 0;
}

struct room room_for(const struct loaded *l) {
    const struct models *m = l->models;
    struct room r = {.limited = true, .limit = m->o.max_bytes};
    uint64_t later = m->other_bytes > m->other_used ? m->other_bytes - m->other_used : 0;
    r.taken = m->other_bytes;
    for (const struct loaded *o = m->list; o; o = o->next) {
        if (o == l || has_nothing(o)) continue;
        r.n_loaded += !loaded_is_guest(o);
        r.taken += counts(o);
        later += promised(o);
        r.more |= o->phase == PHASE_CLOSING || (o->phase == PHASE_READY && o->n_use == 0);
    }
    if (r.limit) return r;
    r.limit = ram_available_bytes("");
    r.limited = r.limit > 0;
    r.taken = later;
    return r;
}

bool room_make(struct loaded *l) {
    struct models *m = l->models;
    struct loaded *idle = NULL, *busy = NULL;
    bool going = false;
    for (struct loaded *o = m->list; o; o = o->next) {
        if (o == l || has_nothing(o)) continue;
        going |= o->leaving || o->phase != PHASE_READY;
        if (is_idle(o)) {
            if (!idle || o->since_ns < idle->since_ns) idle = o;
        } else if (o->phase == PHASE_READY && !o->leaving && !busy) {
            busy = o;
        }
    }
    if (going) return true; /* one at a time: the next only if that was not enough */
    struct loaded *victim = idle ? idle : busy;
    if (!victim) return false;
    log_line(l->models->log, LOG_INFO, "model %s: unloaded%s, to make room for %s", victim->text,
             idle ? "" : " when it has ended what it does", l->text);
    m->n_evictions++;
    models_leave(victim);
    return true;
}

void loaded_measure(struct loaded *l) {
    const uint64_t used = gen_load(l->gen).rss_bytes;
    pthread_mutex_lock(&l->models->lock);
    if (loaded_is_guest(l)) {
        pthread_mutex_unlock(&l->models->lock);
        return;
    }
    const uint64_t planned = l->bytes;
    const bool over = used > planned + planned / 20;
    const bool was_over = l->used_bytes > planned + planned / 20;
    if (used > l->used_bytes) l->used_bytes = used;
    pthread_mutex_unlock(&l->models->lock);
    if (over && !was_over)
        log_line(l->models->log, LOG_WARN, "model %s: takes %llu MiB; %llu MiB were planned",
                 l->text, (unsigned long long)used >> 20, (unsigned long long)planned >> 20);
}

/* ---- what is no model ---- */

/* One that is being opened counts with all that it was allowed: what it needs is known soon. */
static bool one_opens(const struct models *m) {
    for (const struct loaded *o = m->list; o; o = o->next)
        if (o->phase == PHASE_OPENING) return true;
    return false;
}

uint64_t models_room(struct models *m) {
    uint64_t taken = 0, later = 0;
    pthread_mutex_lock(&m->lock);
    while (one_opens(m))
        models_await_change(m, INT64_MAX);
    const uint64_t limit = m->o.max_bytes;
    for (const struct loaded *o = m->list; o; o = o->next) {
        if (!is_idle(o) && o->phase != PHASE_WAITING) taken += counts(o);
        later += promised(o);
    }
    pthread_mutex_unlock(&m->lock);
    if (limit) return limit > taken ? limit - taken : 1;
    /* A fifth stays for what nobody counts, the cache of files first of all. */
    const uint64_t available = ram_available_bytes("");
    return available > later ? (available - later) / 5 * 4 : available > 0;
}

/* The models', and whether some are on their way out.  Lock held. */
static uint64_t all_taken(const struct models *m, bool *going) {
    uint64_t taken = 0;
    *going = one_opens(m);
    for (const struct loaded *o = m->list; o; o = o->next) {
        if (o->phase == PHASE_WAITING) continue;
        taken += counts(o);
        *going |= o->phase == PHASE_CLOSING || (o->leaving && o->n_use == 0);
    }
    return taken;
}

static struct loaded *longest_idle(const struct models *m) {
    struct loaded *idle = NULL;
    for (struct loaded *o = m->list; o; o = o->next)
        if (is_idle(o) && (!idle || o->since_ns < idle->since_ns)) idle = o;
    return idle;
}

/* Lock held; it waits without. */
static int make_room(struct models *m, uint64_t bytes, struct err *e) {
    uint64_t taken;
    bool going;
    while ((taken = all_taken(m, &going)) + bytes > m->o.max_bytes && m->o.max_bytes) {
        struct loaded *idle = going ? NULL : longest_idle(m);
        if (m->draining || (!going && !idle))
            return err_set(e, ERR_LIMIT,
                           "%.1f MB of memory are needed; %.1f MB of %.1f MB may be used",
                           (double)bytes * 1e-6,
                           taken < m->o.max_bytes ? (double)(m->o.max_bytes - taken) * 1e-6 : 0,
                           (double)m->o.max_bytes * 1e-6);
        if (idle) {
            log_line(m->log, LOG_INFO, "model %s: unloaded, to make room for training", idle->text);
            m->n_evictions++;
            models_leave(idle);
        }
        models_await_change(m, INT64_MAX);
    }
    return 0;
}

int models_reserve(struct models *m, const char *what, uint64_t bytes, struct err *e) {
    pthread_mutex_lock(&m->lock);
    snprintf(m->other_name, sizeof m->other_name, "%s", what);
    m->other_bytes = bytes; /* at once: no load takes what the others leave */
    m->other_used = 0;
    const int rc = bytes ? make_room(m, bytes, e) : 0;
    if (rc != 0) m->other_bytes = 0;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

void models_reserved_used(struct models *m, uint64_t bytes) {
    pthread_mutex_lock(&m->lock);
    m->other_used = bytes;
    pthread_mutex_unlock(&m->lock);
}
