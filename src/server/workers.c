/* A queue for each kind under one mutex: workers.h. */
#include "server/workers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/cores.h"

enum { N_KIND = 3, IDLE_S = 20 };

struct pool {
    struct workers *all;
    struct work *first, **last;
    pthread_cond_t more;
    int n_thread, n_idle, n_queued, max;
};

struct workers {
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t gone;  /* a thread has ended */
    struct pool pool[N_KIND];
    bool stop;
};

/* The next piece of work, or NULL after a long while without one, or at the end. */
static struct work *next(struct pool *p) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    p->n_idle++;
    int rc = 0;
    while (!p->first && !p->all->stop && rc == 0)
        rc = pthread_cond_timedwait(&p->more, &p->all->lock, &until);
    p->n_idle--;
    struct work *job = p->first;
    if (!job) return NULL;
    p->first = job->next;
    if (!p->first) p->last = &p->first;
    p->n_queued--;
    return job;
}

static void *run(void *arg) {
    struct pool *p = arg;
    struct workers *w = p->all;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct work *job = next(p);
        /* One thread of each kind stays: it is known that it could be made. */
        if (!job && (w->stop || p->n_thread > 1)) break;
        if (!job) continue;
        work_fn *fn = job->fn;
        void *what = job->arg;
        pthread_mutex_unlock(&w->lock);
        fn(what); /* job may be gone with it */
        pthread_mutex_lock(&w->lock);
    }
    p->n_thread--;
    pthread_cond_signal(&w->gone);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* With the lock held. */
static bool add_thread(struct pool *p) {
    pthread_t t;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    const bool ok = pthread_create(&t, &a, run, p) == 0;
    pthread_attr_destroy(&a);
    p->n_thread += ok;
    return ok;
}

/* Not all processors: those who decode have some left. */
static int n_large(void) {
    const int n = cores_here()->n_logical / 4;
    return n < 1 ? 1 : n > 4 ? 4 : n;
}

struct workers *workers_new(struct err *e) {
    const int max[N_KIND] = {[WORK_QUICK] = 16, [WORK_LARGE] = n_large(), [WORK_SLOW] = 64};
    struct workers *w = calloc(1, sizeof *w);
    if (!w) {
        err_nomem(e, "workers");
        return NULL;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->gone, NULL);
    bool ok = true;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < N_KIND; i++) {
        struct pool *p = &w->pool[i];
        *p = (struct pool){.all = w, .last = &p->first, .max = max[i]};
        pthread_cond_init(&p->more, &monotonic);
        ok = ok && add_thread(p);
    }
    pthread_mutex_unlock(&w->lock);
    pthread_condattr_destroy(&monotonic);
    if (ok) return w;
    workers_free(w);
    err_set(e, ERR_IO, "workers: no threads can be made");
    return NULL;
}

void workers_submit(struct workers *w, enum work_kind kind, struct work *job) {
    struct pool *p = &w->pool[kind];
    job->next = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->stop) {
        pthread_mutex_unlock(&w->lock);
        job->fn(job->arg);
        return;
    }
    *p->last = job;
    p->last = &job->next;
    p->n_queued++;
    if (p->n_queued > p->n_idle && p->n_thread < p->max) add_thread(p);
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&w->lock);
}

void workers_stop(struct workers *w) {
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    for (int i = 0; i < N_KIND; i++) {
        pthread_cond_broadcast(&w->pool[i].more);
        while (w->pool[i].n_thread)
            pthread_cond_wait(&w->gone, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

void workers_free(struct workers *w) {
    if (!w) return;
    workers_stop(w);
    for (int i = 0; i < N_KIND; i++)
        pthread_cond_destroy(&w->pool[i].more);
    pthread_cond_destroy(&w->gone);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
