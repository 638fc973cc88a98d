/* Who may take how much memory, and who goes when another needs it.
 *
 * The limit is MEMORY; without it what the machine, or our control group, has left when a model is
 * opened.  A model counts with its plan (gen_info.n_bytes), or with what it was seen to take where
 * that is more; one that is being opened with all that it was allowed. */
#include "server/models_priv.h"

#include "base/os.h"
#include "base/ram.h"

static uint64_t counts(const struct loaded *l) {
    return l->used_bytes > l->bytes ? l->used_bytes : l->bytes;
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
    uint64_t later = 0;
    for (const struct loaded *o = m->list; o; o = o->next) {
        if (o == l || o->phase == PHASE_WAITING) continue;
        r.n_loaded++;
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
        if (o == l || o->phase == PHASE_WAITING) continue;
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
    const uint64_t used = gen_load(l->gen).rss_bytes, planned = l->bytes;
    const bool over = used > planned + planned / 20;
    pthread_mutex_lock(&l->models->lock);
    const bool was_over = l->used_bytes > planned + planned / 20;
    if (used > l->used_bytes) l->used_bytes = used;
    pthread_mutex_unlock(&l->models->lock);
    if (over && !was_over)
        log_line(l->models->log, LOG_WARN, "model %s: takes %llu MiB; %llu MiB were planned",
                 l->text, (unsigned long long)used >> 20, (unsigned long long)planned >> 20);
}
