/* The worker team.  Barrier: a generation counter; the last to arrive bumps it.  Waiters spin
 * SPINS times (an op of decode takes tens of microseconds and both cores usually end together),
 * then sleep on a futex: measured in KERNELS.md "Team", spin 2000 then futex is best both on a
 * quiet machine and beside a busy neighbour. */
#include "base/team.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

enum { SPINS = 2000, LINE = 64 };

struct team {
    struct worker *worker; /* [n], owned */
    pthread_t *thread;     /* [n], of which 1.. are started */
    int n, n_started;
    team_fn *fn; /* the job: written by worker 0 before start is bumped */
    void *arg;
    bool quit;
    _Alignas(LINE) atomic_uint start;   /* generation of jobs: workers wait for a change */
    _Alignas(LINE) atomic_uint arrived; /* workers at the current barrier */
    _Alignas(LINE) atomic_uint gen;     /* generation of barriers */
    atomic_uint sleepers;               /* threads inside futex_wait, so that wakes are skipped */
    _Alignas(LINE) atomic_int counter[TEAM_COUNTERS];
};

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#ifdef __linux__
static void sleep_while(atomic_uint *a, unsigned seen) {
    syscall(SYS_futex, a, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}
static void wake_all(atomic_uint *a) {
    syscall(SYS_futex, a, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
static void sleep_while(atomic_uint *a, unsigned seen) {
    (void)a, (void)seen;
    sched_yield();
}
static void wake_all(atomic_uint *a) {
    (void)a;
}
#endif

/* Return once *a differs from seen. */
static void wait_change(struct team *t, atomic_uint *a, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(a, memory_order_acquire) != seen) return;
        cpu_relax();
    }
    /* Sequentially consistent with the load in bump(): either bump() sees the sleeper, or the
     * kernel sees the new value and does not sleep. */
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(a) == seen)
        sleep_while(a, seen);
    atomic_fetch_sub(&t->sleepers, 1);
}

static void bump(struct team *t, atomic_uint *a) {
    atomic_fetch_add(a, 1);
    if (atomic_load(&t->sleepers)) wake_all(a);
}

void team_barrier(struct worker *w) {
    struct team *t = w->team;
    if (t->n == 1) return;
    const unsigned gen = atomic_load_explicit(&t->gen, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)t->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        bump(t, &t->gen);
    } else {
        wait_change(t, &t->gen, gen);
    }
}

static void *thread_main(void *arg) {
    struct worker *w = arg;
    struct team *t = w->team;
    for (unsigned seen = 0;;) {
        wait_change(t, &t->start, seen);
        seen++;
        if (t->quit) return NULL;
        t->fn(w, t->arg);
        team_barrier(w);
    }
}

void team_run(struct team *t, team_fn *fn, void *arg) {
    t->fn = fn;
    t->arg = arg;
    if (t->n > 1) bump(t, &t->start);
    fn(&t->worker[0], arg);
    team_barrier(&t->worker[0]);
}

struct team *team_new(int n, struct err *e) {
    assert(n >= 1 && n <= 512);
    struct team *t = aligned_alloc(LINE, (sizeof *t + LINE - 1) / LINE * LINE);
    if (!t) goto nomem;
    *t = (struct team){.n = n};
    t->worker = calloc((size_t)n, sizeof *t->worker);
    t->thread = calloc((size_t)n, sizeof *t->thread);
    if (!t->worker || !t->thread) goto nomem;
    for (int i = 0; i < n; i++)
        t->worker[i] = (struct worker){.id = i, .n = n, .team = t};
    for (t->n_started = 1; t->n_started < n; t->n_started++) {
        if (pthread_create(&t->thread[t->n_started], NULL, thread_main, &t->worker[t->n_started])) {
            err_set(e, ERR_IO, "threads: could start %d of %d", t->n_started, n);
            goto fail;
        }
    }
    return t;
nomem:
    err_nomem(e, "threads");
fail:
    team_free(t);
    return NULL;
}

void team_free(struct team *t) {
    if (!t) return;
    t->quit = true;
    if (t->n_started > 1) bump(t, &t->start);
    for (int i = 1; i < t->n_started; i++)
        pthread_join(t->thread[i], NULL);
    for (int i = 0; t->worker && i < t->n; i++)
        free(t->worker[i].scratch);
    if (t->worker) free(t->worker[0].shared);
    free(t->worker);
    free(t->thread);
    free(t);
}

int team_size(const struct team *t) {
    return t->n;
}

static bool grow(uint8_t **p, size_t *have, size_t want) {
    if (want <= *have) return true;
    want = (want + LINE - 1) / LINE * LINE;
    free(*p);
    *p = aligned_alloc(LINE, want);
    *have = *p ? want : 0;
    return *p != NULL;
}

int team_reserve(struct team *t, size_t scratch_bytes, size_t shared_bytes, struct err *e) {
    struct worker *w0 = &t->worker[0];
    bool ok = grow(&w0->shared, &w0->shared_bytes, shared_bytes);
    for (int i = 0; i < t->n; i++) {
        struct worker *w = &t->worker[i];
        ok = grow(&w->scratch, &w->scratch_bytes, scratch_bytes) && ok;
        w->shared = w0->shared;
        w->shared_bytes = w0->shared_bytes;
    }
    return ok ? 0 : err_nomem(e, "compute scratch");
}

void team_counter_reset(struct worker *w, int slot) {
    atomic_store_explicit(&w->team->counter[slot], 0, memory_order_relaxed);
}

int team_counter_next(struct worker *w, int slot) {
    return atomic_fetch_add_explicit(&w->team->counter[slot], 1, memory_order_relaxed);
}
