/* Who waits for models: how many may, and whose turn it is.
 *
 * The queue is bounded, and with keys no one of them fills it: a key may have half of it, with high
 * priority three quarters, with low one quarter; beside what runs.  Within a loaded model the
 * scheduler of its child has the turns (engine/sched_turn.c).  Models that wait for room are loaded
 * in the order in which they were asked for; a high priority is worth ten seconds, a low one costs
 * thirty, so that nobody waits for ever. */
#include "server/models_priv.h"

#include <string.h>

#include "base/os.h"

int models_n_waiting(const struct models *m) {
    int n = 0;
    for (const struct loaded *l = m->list; l; l = l->next) {
        for (const struct want *w = l->wants; w; w = w->next)
            n += w->slot;
        if (l->phase == PHASE_READY && l->n_run > l->n_parallel) n += l->n_run - l->n_parallel;
    }
    return n;
}

/* What others have sent does not count: without a key there is one bound for all. */
static bool has_share(const struct models *m, const struct want *w) {
    static const int quarters[N_KEY_CLASS] = {[KEY_NORMAL] = 2, [KEY_HIGH] = 3, [KEY_LOW] = 1};
    long n_own = 0, n_running = 0;
    if (!*w->owner) return true;
    for (const struct want *o = m->all; o; o = o->all_next)
        n_own += o->slot && o->state != WANT_OVER && strcmp(o->owner, w->owner) == 0;
    for (const struct loaded *l = m->list; l; l = l->next)
        if (l->phase == PHASE_READY) n_running += l->n_parallel;
    const long share = (long)m->o.max_queue * quarters[w->class] / 4;
    return n_own < n_running + (share > 0 ? share : 1);
}

int models_admit(struct models *m, const struct want *w, struct err *e) {
    const bool room = models_n_waiting(m) < m->o.max_queue;
    if (room && has_share(m, w)) return 0;
    m->n_refused++;
    if (room)
        return err_set(e, ERR_BUSY,
                       "server busy, please try again.  this API key has its share of "
                       "the pending requests already");
    return err_set(e, ERR_BUSY,
                   "server busy, please try again.  maximum pending requests exceeded");
}

static int64_t turn_of(const struct want *w) {
    static const int64_t wait_s[N_KEY_CLASS] = {[KEY_NORMAL] = 10, [KEY_HIGH] = 0, [KEY_LOW] = 40};
    return os_now_ns() + wait_s[w->class] * 1000000000;
}

void models_queue(struct loaded *l, struct want *w) {
    struct want **at = &l->wants;
    const int64_t turn = turn_of(w);
    while (*at)
        at = &(*at)->next;
    w->next = NULL;
    w->at = l;
    w->state = WANT_WAITS;
    *at = w;
    if (l->turn_ns == 0 || turn < l->turn_ns) {
        l->turn_ns = turn;
        pthread_cond_broadcast(&l->models->changed);
    }
    /* Not opened yet: it can still become large enough for both. */
    if (l->phase == PHASE_WAITING && w->key.num_ctx > l->key.num_ctx &&
        (!l->refused_ctx || w->key.num_ctx < l->refused_ctx))
        l->key.num_ctx = w->key.num_ctx;
}

bool models_before(const struct loaded *a, const struct loaded *b) {
    return a->turn_ns <= b->turn_ns;
}
