/* The worker team.  Barrier: a generation counter; the last to arrive bumps it.  Waiters spin for
 * SPIN_NS (an op of decode takes tens of microseconds and all usually end together), then sleep
 * on a futex: a waiter that sleeps gives its processor to whoever it waits for. */
#include "base/team.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include "base/os.h"
#include "base/pace.h"

enum {
    LINE = 64,
    SPIN_NS = 50 * 1000, /* 20 to 200 us are alike on a quiet machine (bench/NOTES.md) */
    SPINS_A_LOOK = 16,   /* pauses between two looks at the clock */
    MAX_WORKERS = 512,
    N_BITS = 10, /* of the start word: workers of the run */
};

/* What a worker has left of its range: [head, tail), and for which team_share.  One word tells all:
 * a compare-exchange that succeeds is right whatever happened in between. */
struct own_range {
    _Alignas(LINE) _Atomic uint64_t word; /* share << 48 | head << 24 | tail */
};

/* A word that threads wait on. */
struct gate {
    _Alignas(LINE) atomic_uint word;
    atomic_uint sleepers; /* threads inside sleep_while, so that wakes are skipped */
};

struct team {
    struct worker *worker;   /* [n], owned */
    pthread_t *thread;       /* [n], of which 1.. are started */
    struct own_range *range; /* [n], owned */
    struct pace pace;
    int n, n_started, n_last; /* n_last: workers of the last run */
    bool pinned;
    short first_cpu; /* of worker 0, where pinned */
    team_fn *fn;     /* the job: written by worker 0 before `start` changes */
    void *arg;
    unsigned share;                     /* worker 0's count, for those who join a run */
    struct gate start;                  /* generation of jobs << N_BITS | workers; 0 of them: end */
    struct gate step;                   /* generation of barriers */
    _Alignas(LINE) atomic_uint arrived; /* workers at the current barrier */
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

/* Return the gate's word once it differs from seen, spinning for spin_ns before sleeping. *stall_ns
 * grows by a wait that slept. */
static unsigned wait_change(struct gate *g, unsigned seen, int64_t spin_ns, int64_t *stall_ns) {
    const int64_t t0 = os_now_ns();
    unsigned now;
    do {
        for (int i = 0; i < SPINS_A_LOOK; i++) {
            now = atomic_load_explicit(&g->word, memory_order_acquire);
            if (now != seen) return now;
            cpu_relax();
        }
    } while (os_now_ns() - t0 < spin_ns);
    /* Sequentially consistent with the store and load in change(): either change() sees the
     * sleeper, or the sleeper (or the kernel for it) sees the new word and does not sleep. */
    atomic_fetch_add(&g->sleepers, 1);
    while ((now = atomic_load(&g->word)) == seen)
        sleep_while(&g->word, seen);
    atomic_fetch_sub(&g->sleepers, 1);
    if (stall_ns) *stall_ns += os_now_ns() - t0;
    return now;
}

static void change(struct gate *g, unsigned to) {
    atomic_store(&g->word, to);
    if (atomic_load(&g->sleepers)) wake_all(&g->word);
}

/* What a worker wrote before it arrived is seen by all behind the barrier: the arrivals are a chain
 * of read-modify-writes, the last of which changes the gate. */
static void arrive(struct worker *w, int64_t *stall_ns) {
    struct team *t = w->team;
    if (w->n == 1) return;
    const unsigned seen = atomic_load_explicit(&t->step.word, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)w->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        change(&t->step, seen + 1);
    } else {
        wait_change(&t->step, seen, SPIN_NS, stall_ns);
    }
}

void team_barrier(struct worker *w) {
    arrive(w, &w->stall_ns);
}

/* ---- runs ---- */

static void take_part(struct worker *w, int n) {
    struct team *t = w->team;
    w->n = n;
    w->share = t->share;
    w->stall_ns = 0;
    t->fn(w, t->arg);
}

/* A worker that has no part in a run touches nothing but the gate: nobody waits for it.  Nor does
 * it spin, for its core is somebody else's. */
static void *thread_main(void *arg) {
    struct worker *w = arg;
    struct team *t = w->team;
    int64_t spin_ns = SPIN_NS;
    for (unsigned seen = 0;;) {
        seen = wait_change(&t->start, seen, spin_ns, NULL);
        const int n = (int)(seen & ((1u << N_BITS) - 1));
        if (n == 0) return NULL;
        spin_ns = w->id < n ? SPIN_NS : 0;
        if (w->id >= n) continue;
        take_part(w, n);
        arrive(w, NULL); /* not counted: worker 0 reads stall_ns behind it */
    }
}

static void start_workers(struct team *t, int n) {
    const unsigned gen = atomic_load_explicit(&t->start.word, memory_order_relaxed) >> N_BITS;
    change(&t->start, (gen + 1) << N_BITS | (unsigned)n);
}

/* Those who stood aside in the last run have words of long ago, whose count may come round. */
static void join_shares(struct team *t, int n) {
    for (int i = t->n_last; i < n; i++)
        atomic_store(&t->range[i].word, (uint64_t)(t->share & 0xffff) << 48);
    t->n_last = n;
}

static void run_on(struct team *t, int n, team_fn *fn, void *arg) {
    struct worker *w = &t->worker[0];
    t->fn = fn;
    t->arg = arg;
    join_shares(t, n);
    if (n > 1) start_workers(t, n);
    take_part(w, n);
    team_barrier(w);
    t->share = w->share;
}

/* ---- places ---- */

#ifdef __linux__
static int pin_thread(pthread_t thread, int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return pthread_setaffinity_np(thread, sizeof set, &set);
}

int team_pin(struct team *t, const short *cpu, int n_cpu, struct err *e) {
    assert(n_cpu > 0);
    for (int i = 1; i < t->n; i++) {
        errno = pin_thread(t->thread[i], cpu[i % n_cpu]);
        if (errno) return err_errno(e, "threads: a processor for each");
    }
    t->pinned = true;
    t->first_cpu = cpu[0];
    return 0;
}

/* The caller gets its mask back: threads that it starts later would inherit a single processor. */
static void run_pinned(struct team *t, int n, team_fn *fn, void *arg) {
    const pthread_t self = pthread_self();
    cpu_set_t was;
    const bool known = pthread_getaffinity_np(self, sizeof was, &was) == 0;
    if (known) pin_thread(self, t->first_cpu);
    run_on(t, n, fn, arg);
    if (known) pthread_setaffinity_np(self, sizeof was, &was);
}
#else
int team_pin(struct team *t, const short *cpu, int n_cpu, struct err *e) {
    (void)t, (void)cpu, (void)n_cpu;
    return err_set(e, ERR_UNSUPPORTED, "threads: this system cannot keep them on a processor each");
}
static void run_pinned(struct team *t, int n, team_fn *fn, void *arg) {
    run_on(t, n, fn, arg);
}
#endif

void team_run_on(struct team *t, int n, team_fn *fn, void *arg) {
    assert(n >= 1 && n <= t->n);
    (t->pinned ? run_pinned : run_on)(t, n, fn, arg);
}

void team_run(struct team *t, team_fn *fn, void *arg) {
    team_run_on(t, t->n, fn, arg);
}

void team_run_paced(struct team *t, team_fn *fn, void *arg, int kind) {
    const int64_t t0 = os_now_ns();
    const int n = pace_workers(&t->pace, t->n, kind, t0);
    team_run_on(t, n, fn, arg);
    int64_t stall = 0;
    for (int i = 0; i < n; i++)
        if (t->worker[i].stall_ns > stall) stall = t->worker[i].stall_ns;
    pace_done(&t->pace, os_now_ns() - t0, stall);
}

struct team *team_new(int n, struct err *e) {
    assert(n >= 1 && n <= MAX_WORKERS);
    struct team *t = aligned_alloc(LINE, (sizeof *t + LINE - 1) / LINE * LINE);
    if (!t) goto nomem;
    *t = (struct team){.n = n};
    t->worker = aligned_alloc(LINE, (size_t)n * sizeof *t->worker);
    t->thread = calloc((size_t)n, sizeof *t->thread);
    t->range = aligned_alloc(LINE, (size_t)n * sizeof *t->range);
    for (int i = 0; t->worker && i < n; i++)
        t->worker[i] = (struct worker){.id = i, .n = n, .team = t};
    if (!t->worker || !t->thread || !t->range) goto nomem;
    memset(t->range, 0, (size_t)n * sizeof *t->range);
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
    if (t->n_started > 1) start_workers(t, 0);
    for (int i = 1; i < t->n_started; i++)
        pthread_join(t->thread[i], NULL);
    for (int i = 0; t->worker && i < t->n; i++)
        free(t->worker[i].scratch);
    if (t->worker) free(t->worker[0].shared);
    free(t->worker);
    free(t->range);
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

size_t team_scratch_bytes(const struct team *t) {
    size_t sum = t->worker[0].shared_bytes;
    for (int i = 0; i < t->n; i++)
        sum += t->worker[i].scratch_bytes;
    return sum;
}

/* ---- shares ---- */

enum { ITEM_BITS = 24, RUNS = 16 /* a run is this part of what is left: late ones are short */ };

static uint64_t pack(unsigned share, int head, int tail) {
    return (uint64_t)(share & 0xffff) << 48 | (uint64_t)head << ITEM_BITS | (uint64_t)tail;
}

static int head_of(uint64_t word) {
    return (int)(word >> ITEM_BITS & ((1u << ITEM_BITS) - 1));
}

static int tail_of(uint64_t word) {
    return (int)(word & ((1u << ITEM_BITS) - 1));
}

void team_share(struct worker *w, int n_item) {
    assert(n_item >= 0 && n_item < 1 << ITEM_BITS);
    w->n_item = n_item;
    w->share++;
}

/* What worker i has left of the current share: all of it when nobody has begun, which the word of
 * an earlier share tells. */
static uint64_t range_now(const struct worker *w, int i, uint64_t word) {
    if (word >> 48 == (w->share & 0xffff)) return word;
    return pack(w->share, (int)((int64_t)w->n_item * i / w->n),
                (int)((int64_t)w->n_item * (i + 1) / w->n));
}

/* A run from the head of the worker's own range. */
static int draw_own(struct worker *w, int *n) {
    _Atomic uint64_t *own = &w->team->range[w->id].word;
    uint64_t word = atomic_load_explicit(own, memory_order_relaxed);
    for (;;) {
        const uint64_t now = range_now(w, w->id, word);
        const int head = head_of(now), left = tail_of(now) - head;
        *n = (left + RUNS - 1) / RUNS;
        if (atomic_compare_exchange_weak(own, &word, pack(w->share, head + *n, tail_of(now))))
            return left > 0 ? head : -1;
    }
}

/* Take half of what worker i has left, from its end.  The first run of it is the caller's to do;
 * only the rest becomes its own range, which is empty: so whatever is taken is also begun, and no
 * item wanders among idle workers. */
static int take_half(struct worker *w, int i, int *n) {
    _Atomic uint64_t *from = &w->team->range[i].word;
    uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
    for (;;) {
        const uint64_t now = range_now(w, i, word);
        const int head = head_of(now), tail = tail_of(now), half = (tail - head + 1) / 2;
        if (half == 0) return -1;
        if (!atomic_compare_exchange_weak(from, &word, pack(w->share, head, tail - half))) continue;
        *n = (half + RUNS - 1) / RUNS;
        atomic_store(&w->team->range[w->id].word, pack(w->share, tail - half + *n, tail));
        return tail - half;
    }
}

int team_draw(struct worker *w, int *n) {
    int at = draw_own(w, n);
    for (int k = 1; at < 0 && k < w->n; k++)
        at = take_half(w, (w->id + k) % w->n, n);
    return at;
}
