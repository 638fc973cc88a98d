/* The clock of the models: deadlines of requests, loads that take too long, and wants that were
 * given up, which are told here because nobody else has a thread for it. */
#include "server/models_priv.h"

#include "base/os.h"

static void earlier(int64_t *next, int64_t t) {
    if (t < *next) *next = t;
}

/* Take w out of the line of those that wait. */
static void unqueue(struct want *w) {
    for (struct want **at = &w->at->wants; *at; at = &(*at)->next) {
        if (*at != w) continue;
        *at = w->next;
        break;
    }
    pthread_cond_broadcast(&w->at->models->changed); /* it may have been the last one */
    w->at = NULL;
    w->state = WANT_OVER;
}

/* Its first piece should be there by now, and is not.  From then on it will not be told. */
static bool is_first_late(struct want *w, int64_t now) {
    long long at = w->first_ns;
    return at > 0 && now >= at &&
           atomic_compare_exchange_strong(&w->first_ns, &at, WANT_FIRST_LATE);
}

/* Those whose time is over, or that were forgotten, or whose late has more to do, in lists. */
static void look_at_wants(struct models *m, int64_t now, struct want **late, struct want **gone,
                          struct want **going_on, int64_t *next) {
    for (struct want *w = m->all; w; w = w->all_next) {
        const bool counts = w->state != WANT_OVER && !w->told_late;
        const bool first_late = counts && is_first_late(w, now);
        const bool over = first_late || (counts && w->deadline_ns && now >= w->deadline_ns);
        const int64_t first_ns = w->first_ns;
        if (w->state == WANT_WAITS && (over || w->forgotten)) {
            struct want **list = w->forgotten ? gone : late;
            unqueue(w);
            w->next = *list;
            *list = w;
        } else if (over) {
            w->told_late = true;
            w->late(w);
            if (!w->goes_on) continue;
            w->later_next = *going_on;
            *going_on = w;
        } else if (counts) {
            if (w->deadline_ns) earlier(next, w->deadline_ns);
            if (first_ns > 0) earlier(next, first_ns);
        }
    }
}

static void look_at_loads(struct models *m, int64_t now, int64_t *next) {
    for (struct loaded *l = m->list; l; l = l->next) {
        if (l->phase != PHASE_OPENING || m->o.load_timeout_ns <= 0) continue;
        const int64_t end = l->since_ns + m->o.load_timeout_ns;
        if (now < end) {
            earlier(next, end);
        } else {
            l->timed_out = true;
            __atomic_store_n(&l->stop, 1, __ATOMIC_RELAXED);
        }
    }
}

static void wait_until(struct models *m, int64_t ns) {
    const struct timespec t = {ns / 1000000000, ns % 1000000000};
    if (ns == INT64_MAX)
        pthread_cond_wait(&m->tick, &m->lock);
    else
        pthread_cond_timedwait(&m->tick, &m->lock, &t);
}

void *models_clock(void *arg) {
    struct models *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->over) {
        struct want *late = NULL, *gone = NULL, *going_on = NULL;
        int64_t next = INT64_MAX;
        const int64_t now = os_now_ns();
        look_at_wants(m, now, &late, &gone, &going_on, &next);
        look_at_loads(m, now, &next);
        if (!late && !gone && !going_on) {
            wait_until(m, next);
            continue;
        }
        const double limit_s = (double)m->o.request_timeout_ns * 1e-9;
        pthread_mutex_unlock(&m->lock);
        struct err e;
        err_set(&e, ERR_TIMEOUT,
                "the model was not there within the %.3g seconds that a request may take", limit_s);
        wants_tell(late, &e);
        err_set(&e, ERR_CANCELLED, "the client has left");
        wants_tell(gone, &e);
        for (struct want *w = going_on, *then; w; w = then) {
            then = w->later_next;
            w->later(w);
        }
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}
