/* See lane.h. */
#include "engine/lane.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/os.h"

/* What a byte takes, roughly: 4 MB of messages were rendered and tokenized in a second. */
enum { NS_PER_BYTE = 250, NS_LEAST = 50000 };

struct lane {
    bool background;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    /* Under the lock: */
    struct lane_job *first; /* by due_ns */
    bool closing;
};

static void *work(void *arg) {
    struct lane *l = arg;
    if (l->background) os_be_nice();
    pthread_mutex_lock(&l->lock);
    while (l->first || !l->closing) {
        struct lane_job *j = l->first;
        if (!j) {
            pthread_cond_wait(&l->change, &l->lock);
            continue;
        }
        l->first = j->next;
        pthread_mutex_unlock(&l->lock);
        j->run(j);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

void lane_add(struct lane *l, struct lane_job *j, uint64_t user, size_t n_bytes) {
    const size_t most = (size_t)1 << 32; /* of it the product cannot overflow */
    const int64_t cost = NS_LEAST + (int64_t)(n_bytes < most ? n_bytes : most) * NS_PER_BYTE;
    j->user = user;
    pthread_mutex_lock(&l->lock);
    j->due_ns = os_now_ns() + cost;
    for (const struct lane_job *k = l->first; k; k = k->next)
        if (k->user == user) j->due_ns += cost;
    struct lane_job **at = &l->first;
    while (*at && (*at)->due_ns <= j->due_ns)
        at = &(*at)->next;
    j->next = *at;
    *at = j;
    pthread_cond_signal(&l->change);
    pthread_mutex_unlock(&l->lock);
}

struct lane *lane_new(bool background, struct err *e) {
    struct lane *l = calloc(1, sizeof *l);
    if (!l) {
        err_nomem(e, "lane");
        return NULL;
    }
    l->background = background;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->change, NULL);
    if (pthread_create(&l->thread, NULL, work, l) == 0) return l;
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->change);
    free(l);
    err_set(e, ERR_IO, "no thread can be started");
    return NULL;
}

void lane_free(struct lane *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_signal(&l->change);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->change);
    free(l);
}
