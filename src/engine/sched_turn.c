/* Whose turn it is, of those who wait to begin: start-time fair queueing (Goyal et al., SIGCOMM
 * 1996) by count, twice.
 *
 *   between classes  a turn costs a class 1 (high), 4 (normal) or 16 (low); the one whose turn is
 *                    earliest begins.  Nobody waits for ever, as every turn makes it later.
 *   within a class   a turn costs a user 1: its jobs follow one another, the first of them now
 *
 * Who comes into a class where nobody waits begins at what is now: time without requests is no
 * credit. */
#include "engine/sched_priv.h"

static const uint64_t cost[SCHED_CLASSES] = {
    [SCHED_NORMAL] = 4, [SCHED_HIGH] = 1, [SCHED_LOW] = 16};

void sched_take_turn(struct scheduler *s, struct sched_job *j) {
    struct sched_turns *t = &s->turns;
    bool alone = true;
    j->turn = t->user[j->class];
    for (const struct sched_job *k = s->job; k; k = k->next) {
        if (k->class != j->class || k->n_begun == k->n) continue;
        alone = false;
        const uint64_t after = k->turn + (uint64_t)(k->n - k->n_begun);
        if (k->user == j->user && after > j->turn) j->turn = after;
    }
    const uint64_t first = t->now + cost[j->class];
    if (alone && t->class[j->class] < first) t->class[j->class] = first;
}

/* The lowest turn of a class, the first of those. */
static struct sched_job *next_of(const struct scheduler *s, enum sched_class class, bool answers) {
    struct sched_job *best = NULL;
    for (struct sched_job *j = s->job; j; j = j->next) {
        if (j->class != class || j->n_begun == j->n || !j->answer == answers) continue;
        if (sched_stopped(j) || sched_paused(j)) continue;
        if (!best || j->turn < best->turn) best = j;
    }
    return best;
}

struct sched_job *sched_next_job(const struct scheduler *s, bool answers) {
    static const enum sched_class order[] = {SCHED_HIGH, SCHED_NORMAL, SCHED_LOW};
    struct sched_job *best = NULL;
    for (int i = 0; i < SCHED_CLASSES; i++) {
        struct sched_job *j = next_of(s, order[i], answers);
        const uint64_t *turn = s->turns.class;
        if (j && (!best || turn[j->class] < turn[best->class])) best = j;
    }
    return best;
}

void sched_turn_taken(struct scheduler *s, enum sched_class c, uint64_t turn) {
    struct sched_turns *t = &s->turns;
    if (turn > t->user[c]) t->user[c] = turn;
    const uint64_t now = t->class[c];
    if (now > t->now) t->now = now;
    t->class[c] += cost[c];
}
