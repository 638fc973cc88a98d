/* base/team and base/pace: every item of a share is drawn once, whoever takes part and whenever it
 * comes; the policy of how many take part, with a clock and a machine made up here. */
#include "support.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/os.h"
#include "base/pace.h"
#include "base/team.h"

enum { MAX_ITEM = 1 << 14, MAX_TEAM = 8 };

static struct team *new_team(int n) {
    struct err e;
    struct team *t = team_new(n, &e);
    if (!t) fail_msg("%s", e.msg);
    return t;
}

/* ---- shares ---- */

struct draws {
    atomic_int *seen;  /* [MAX_ITEM] how often each item was drawn in the current share */
    const int *n_item; /* [n_share] */
    int n_share;
    unsigned count; /* of the first share, when count_set */
    bool count_set, uneven;
    atomic_int n_wrong, n_worker, wrong_n;
    int want_n;
};

static void work_for(unsigned units) {
    for (volatile unsigned i = 0; i < units * 50; i++) {
    }
}

static void draw_all(struct worker *w, void *arg) {
    struct draws *d = arg;
    atomic_fetch_add(&d->n_worker, 1);
    if (w->n != d->want_n || w->id >= w->n) atomic_fetch_add(&d->wrong_n, 1);
    if (d->count_set) w->share = d->count;
    for (int k = 0; k < d->n_share; k++) {
        team_share(w, d->n_item[k]);
        for (int n, at; (at = team_draw(w, &n)) >= 0;)
            for (; n > 0; n--, at++) {
                atomic_fetch_add_explicit(&d->seen[at], 1, memory_order_relaxed);
                if (d->uneven) work_for((unsigned)(at * 7919 % 13) * (at % 97 == 0 ? 40 : 1));
            }
        team_barrier(w);
        if (w->id == 0)
            for (int i = 0; i < MAX_ITEM && (i <= d->n_item[k] || d->seen[i]); i++) {
                if (d->seen[i] != (i < d->n_item[k])) atomic_fetch_add(&d->n_wrong, 1);
                d->seen[i] = 0;
            }
        team_barrier(w);
    }
}

static void expect_once(struct team *t, int n, struct draws *d) {
    d->n_wrong = d->n_worker = d->wrong_n = 0;
    d->want_n = n;
    team_run_on(t, n, draw_all, d);
    assert_int_equal(d->n_worker, n);
    assert_int_equal(d->wrong_n, 0);
    if (d->n_wrong) fail_msg("%d workers: %d items were not drawn once", n, (int)d->n_wrong);
}

static atomic_int *new_seen(void) {
    atomic_int *p = calloc(MAX_ITEM, sizeof *p);
    assert_non_null(p);
    return p;
}

static void items_are_drawn_once(void **s) {
    (void)s;
    static const int items[] = {0, 1, 2, 3, 5, 7, 8, 9, 0, 17, 100, 1000, 1, 333};
    static const int big[] = {MAX_ITEM, 0, 12345};
    for (int n = 1; n <= MAX_TEAM; n++) {
        struct team *t = new_team(n);
        struct draws d = {.seen = new_seen(), .n_item = items};
        d.n_share = sizeof items / sizeof *items;
        for (int k = 0; k < 10; k++) {
            d.uneven = k % 2;
            expect_once(t, n, &d);
        }
        d.n_item = big, d.n_share = 3;
        expect_once(t, n, &d);
        team_free(t);
        free(d.seen);
    }
}

/* The count of shares is kept in 16 bits beside a range. */
static void counts_of_shares_wrap(void **s) {
    (void)s;
    static const int items[] = {9, 4, 0, 31, 5, 6, 2, 8, 100, 3, 3, 3, 3, 3, 3, 3};
    struct team *t = new_team(3);
    struct draws d = {.seen = new_seen(), .n_item = items, .n_share = 16, .count_set = true};
    static const unsigned from[] = {0xfffa, 0xffff, 0x1fffa, 0xfffffff8u};
    for (int i = 0; i < 4; i++) {
        d.count = from[i];
        expect_once(t, 3, &d);
    }
    team_free(t);
    free(d.seen);
}

/* Those who stood aside keep a range of long ago; when they join again, the count may have come
 * round to just that. */
static void joining_again_after_65536_shares(void **s) {
    (void)s;
    static const int items[] = {40, 41};
    struct team *t = new_team(4);
    struct draws d = {.seen = new_seen(), .n_item = items, .count_set = true};
    d.n_share = 1, d.count = 99;
    expect_once(t, 4, &d); /* everybody has words of share 100 */
    d.count = 98 + 65536;
    expect_once(t, 2, &d); /* two have those of 99 now */
    d.count_set = false;
    expect_once(t, 4, &d); /* share 100 again */
    team_free(t);
    free(d.seen);
}

struct late {
    atomic_int done;
    int n_item, late_id;
    bool timeout;
    int late_draws;
};

static void draw_without_the_late(struct worker *w, void *arg) {
    struct late *l = arg;
    const int64_t t0 = os_now_ns();
    while (w->id == l->late_id && atomic_load(&l->done) < l->n_item) {
        if (os_now_ns() - t0 > 20ll * 1000 * 1000 * 1000) {
            l->timeout = true;
            break;
        }
        usleep(100);
    }
    team_share(w, l->n_item);
    for (int n; team_draw(w, &n) >= 0;) {
        if (w->id == l->late_id) l->late_draws += n;
        atomic_fetch_add(&l->done, n);
    }
    team_barrier(w);
}

static void others_do_the_part_of_who_is_late(void **s) {
    (void)s;
    for (int n = 2; n <= MAX_TEAM; n += 3) {
        struct team *t = new_team(n);
        for (int late_id = 0; late_id < n; late_id++) {
            struct late l = {.n_item = 100 + late_id, .late_id = late_id};
            team_run(t, draw_without_the_late, &l);
            assert_false(l.timeout);
            assert_int_equal(l.late_draws, 0);
            assert_int_equal(l.done, l.n_item);
        }
        team_free(t);
    }
}

/* ---- how many take part ---- */

static void workers_stand_aside_and_join(void **s) {
    (void)s;
    static const int items[] = {50, 3, 0};
    uint32_t rnd = 1;
    for (int round = 0; round < 3; round++) {
        struct team *t = new_team(MAX_TEAM);
        struct draws d = {.seen = new_seen(), .n_item = items, .n_share = 3};
        for (int k = 0; k < 150; k++) {
            rnd = rnd * 1664525u + 1013904223u;
            if (k % 16 == 0) usleep(300); /* those aside sleep by now */
            expect_once(t, 1 + (int)(rnd >> 24) % MAX_TEAM, &d);
        }
        expect_once(t, 1 + round, &d);
        team_free(t); /* while others stand aside */
        free(d.seen);
    }
    team_free(new_team(5)); /* nobody ever had a part */
}

struct stalled {
    struct draws draws;
    int busy_from; /* workers from here on share their core with somebody */
    atomic_int n;
};

static void stall_job(struct worker *w, void *arg) {
    struct stalled *st = arg;
    if (w->id == 0) st->n = st->draws.want_n = w->n;
    team_barrier(w);
    if (w->id >= st->busy_from) usleep(3000);
    draw_all(w, &st->draws);
}

static void paced_runs_do_without_who_stalls(void **s) {
    (void)s;
    static const int items[] = {20};
    struct team *t = new_team(3);
    struct stalled st = {.draws = {.seen = new_seen(), .n_item = items, .n_share = 1}};
    st.busy_from = 2;
    int fewest = 3;
    const int64_t t0 = os_now_ns();
    for (int k = 0; k < 100 || (fewest == 3 && os_now_ns() - t0 < 10ll * 1000 * 1000 * 1000); k++) {
        st.draws.n_wrong = st.draws.wrong_n = 0;
        team_run_paced(t, stall_job, &st, 1 + k / 5000);
        assert_int_equal(st.draws.n_wrong + st.draws.wrong_n, 0);
        assert_in_range(st.n, 1, 3);
        if (st.n < fewest) fewest = st.n;
    }
    assert_true(fewest < 3);
    team_free(t);
    free(st.draws.seen);
}

static void many_workers(void **s) {
    (void)s;
    static const int items[] = {5000, 100, 512, 0};
    struct team *t = new_team(512);
    struct draws d = {.seen = new_seen(), .n_item = items, .n_share = 4};
    expect_once(t, 512, &d);
    expect_once(t, 300, &d);
    expect_once(t, 1, &d);
    expect_once(t, 511, &d);
    team_free(t);
    free(d.seen);
}

#ifdef __linux__
struct places {
    int cpu[4];
};

static void note_place(struct worker *w, void *arg) {
    struct places *p = arg;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    p->cpu[w->id] = CPU_COUNT(&set) == 1 ? sched_getcpu() : -1;
}

static void pinned_workers_stay(void **s) {
    (void)s;
    struct err e;
    const struct cores *c = cores_here();
    struct team *t = new_team(4);
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(team_pin(t, c->cpu, c->n_cpu, &e), 0);
    for (int k = 0; k < 20; k++) {
        struct places p;
        team_run(t, note_place, &p);
        for (int i = 0; i < 4; i++)
            assert_int_equal(p.cpu[i], c->cpu[i % c->n_cpu]);
        assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
        assert_true(CPU_EQUAL(&before, &after)); /* the caller's is its own again */
    }
    static const short nowhere[] = {CORES_MAX - 1};
    assert_int_equal(team_pin(t, nowhere, 1, &e), -1);
    team_free(t);
}
#endif

/* ---- the policy ---- */

enum { MS = 1000 * 1000 };

/* A machine: the time of a run with k workers and the share of it that is waiting. */
typedef void machine_fn(int k, double *ms, double *stall);

struct sim {
    struct pace p;
    int n, last, kind;
    int64_t now;
};

static int step(struct sim *m, machine_fn *machine) {
    double ms, stall;
    m->last = pace_workers(&m->p, m->n, m->kind, m->now);
    assert_in_range(m->last, 1, m->n);
    machine(m->last, &ms, &stall);
    m->now += (int64_t)(ms * MS);
    pace_done(&m->p, (int64_t)(ms * MS), (int64_t)(ms * stall * MS));
    return m->last;
}

/* Mean workers over `ms` of the made-up time. */
static double run_for(struct sim *m, machine_fn *machine, int ms) {
    const int64_t t0 = m->now;
    double sum = 0;
    for (int64_t at; m->now - t0 < (int64_t)ms * MS;) {
        at = m->now;
        const int k = step(m, machine);
        sum += (double)k * (double)(m->now - at);
    }
    return sum / (double)(m->now - t0);
}

static void quiet(int k, double *ms, double *stall) {
    *ms = 2 + 32.0 / k, *stall = 0.03;
}

static void one_busy_core_of_4(int k, double *ms, double *stall) {
    quiet(k, ms, stall);
    if (k == 4) *ms *= 2, *stall = 0.5;
}

static void four_busy_cores_of_32(int k, double *ms, double *stall) {
    *ms = 64.0 / k, *stall = 0.03;
    if (k > 28) *ms *= 1 + 0.5 * (k - 28), *stall = 0.5;
}

static void quiet_32(int k, double *ms, double *stall) {
    *ms = 64.0 / k, *stall = 0.03;
}

/* As an uneven model does: waiting says nothing about a neighbour. */
static void always_waits(int k, double *ms, double *stall) {
    quiet(k, ms, stall);
    *stall = 0.3;
}

static void takes_equally_long(int k, double *ms, double *stall) {
    (void)k;
    *ms = 5, *stall = 0.5;
}

static void pace_avoids_a_busy_core(void **s) {
    (void)s;
    struct sim m = {.n = 4, .kind = 1};
    assert_true(run_for(&m, quiet, 5000) == 4); /* a quiet machine: no trial at all */
    assert_true(run_for(&m, one_busy_core_of_4, 2500) < 3.5);
    const double mean = run_for(&m, one_busy_core_of_4, 20000);
    assert_true(mean > 2.9 && mean < 3.15); /* but for a trial every 3 s */
    run_for(&m, quiet, 4000);               /* it has gone */
    assert_true(run_for(&m, quiet, 10000) == 4);
}

static void pace_of_a_large_team_recovers(void **s) {
    (void)s;
    struct sim m = {.n = 32, .kind = 1};
    run_for(&m, four_busy_cores_of_32, 4000);
    assert_in_range(m.last, 27, 28);
    run_for(&m, quiet_32, 6000);
    assert_true(run_for(&m, quiet_32, 5000) == 32);
}

static void pace_recovers_where_waiting_is_usual(void **s) {
    (void)s;
    struct sim m = {.n = 4, .kind = 1};
    run_for(&m, one_busy_core_of_4, 2000);
    assert_in_range(m.last, 3, 3);
    run_for(&m, always_waits, 8000);
    assert_true(run_for(&m, always_waits, 20000) > 3.9);
}

static void pace_waits_longer_after_each_failure(void **s) {
    (void)s;
    struct sim m = {.n = 4, .kind = 1};
    int64_t end = 0;
    int n_trial = 0, was = 4;
    while (n_trial < 9) {
        const int64_t at = m.now;
        const int k = step(&m, takes_equally_long);
        if (k == 3 && was == 4) { /* a trial begins */
            const int doublings = n_trial < 5 ? n_trial : 5;
            if (n_trial > 0)
                assert_in_range((at - end) / MS, 100 << doublings, (100 << doublings) + 25);
            n_trial++;
        }
        if (k == 4 && was == 3) end = at; /* and was taken back */
        assert_in_range(k, 3, 4);
        was = k;
    }
}

static void pace_starts_anew_with_another_kind(void **s) {
    (void)s;
    struct sim m = {.n = 4, .kind = 1};
    while (step(&m, takes_equally_long) == 4) {
    }
    m.kind = 512; /* in the middle of a trial: it is taken back */
    assert_int_equal(step(&m, takes_equally_long), 4);
    assert_int_equal(step(&m, quiet), 4);

    /* One that was kept stays; when nothing can be compared for long, everybody joins. */
    m = (struct sim){.n = 4, .kind = 1};
    run_for(&m, one_busy_core_of_4, 2000);
    assert_int_equal(m.last, 3);
    const int64_t t0 = m.now;
    while (m.now - t0 < 2000 * (int64_t)MS) {
        m.kind = 3 - m.kind;
        assert_int_equal(step(&m, one_busy_core_of_4), 3);
    }
    while (m.now - t0 < 15000 * (int64_t)MS)
        m.kind = 3 - m.kind, step(&m, quiet);
    assert_int_equal(m.last, 4);
}

static void pace_stays_within_the_team(void **s) {
    (void)s;
    uint32_t rnd = 7;
    for (int n = 1; n <= 9; n++) {
        struct pace p = {0};
        int64_t now = 0;
        int fewest = n;
        for (int i = 0; i < 100000; i++) {
            rnd = rnd * 1664525u + 1013904223u;
            const int kind = i / 64 % 3 ? 1 : (int)(rnd >> 28);
            const int k = pace_workers(&p, n, kind, now);
            if (k < 1 || k > n) fail_msg("%d of %d workers", k, n);
            if (k < fewest) fewest = k;
            const int64_t ns = rnd % 7 == 0 ? 0 : (int64_t)((rnd >> 8) % (400 * MS) / (n - k + 1));
            now += ns;
            pace_done(&p, ns, rnd % 5 ? ns : 0);
        }
        assert_int_equal(fewest, 1); /* and goes to the end of it */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_drawn_once),
        cmocka_unit_test(counts_of_shares_wrap),
        cmocka_unit_test(joining_again_after_65536_shares),
        cmocka_unit_test(others_do_the_part_of_who_is_late),
        cmocka_unit_test(workers_stand_aside_and_join),
        cmocka_unit_test(paced_runs_do_without_who_stalls),
        cmocka_unit_test(many_workers),
#ifdef __linux__
        cmocka_unit_test(pinned_workers_stay),
#endif
        cmocka_unit_test(pace_avoids_a_busy_core),
        cmocka_unit_test(pace_of_a_large_team_recovers),
        cmocka_unit_test(pace_recovers_where_waiting_is_usual),
        cmocka_unit_test(pace_waits_longer_after_each_failure),
        cmocka_unit_test(pace_starts_anew_with_another_kind),
        cmocka_unit_test(pace_stays_within_the_team),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
