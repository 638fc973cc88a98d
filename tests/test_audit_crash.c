/* The audit log when its writer is killed, and when the disk is full: at most what was not
 * confirmed is lost, it is known, and the chain goes on. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit_rig.h"
#include "base/os.h"

static const char *const names[] = {"audit.db", "audit.jsonl"};
enum { N_NAME = 2 };

static void limit_files(rlim_t bytes) {
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &r);
}

static uint64_t size_of(const char *file) {
    struct stat st;
    return stat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- killed at every byte ---- */

/* In a child: the system cuts the write at that size of the file, and kills the process at the next
 * one.  What it writes: start, two entries, stop. */
static void write_until(const char *file, rlim_t bytes) {
    struct err e = {0};
    signal(SIGXFSZ, SIG_DFL);
    limit_files(bytes);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    const struct audit_opts o = {.file = file, .what = "test", .required = true};
    struct audit *a = audit_open(&o, &e);
    if (!a) _exit(3);
    for (int i = 0; i < 2; i++) {
        struct audit_entry x;
        audit_entry_begin(&x, "request");
        audit_number(&x.text, "number", i);
        audit_put(a, &x); /* both in one batch */
    }
    audit_close(a);
    _exit(0);
}

static int run_child(const char *file, rlim_t bytes) {
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0) write_until(file, bytes);
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void copy_file(const char *from, const char *to) {
    size_t n;
    struct err e;
    uint8_t *all = slurp(from, &n);
    assert_int_equal(os_write_file(to, all, n, &e), 0);
    free(all);
}

static void killed_at_every_byte(void **state) {
    char *dir = temp_folder();
    (void)state;
    const char *file = audit_at(dir, "audit.jsonl"), *kept = audit_at(dir, "kept");
    const char *head = audit_at(dir, "audit.jsonl.head"), *kept_head = audit_at(dir, "kept.head");
    char keep[4][900];
    snprintf(keep[0], 900, "%s", file), snprintf(keep[1], 900, "%s", kept);
    snprintf(keep[2], 900, "%s", head), snprintf(keep[3], 900, "%s", kept_head);
    audit_make(keep[0], 3, NULL);
    copy_file(keep[0], keep[1]), copy_file(keep[2], keep[3]);
    const uint64_t before = size_of(keep[0]);
    assert_int_equal(run_child(keep[0], RLIM_INFINITY), 0);
    const uint64_t after = size_of(keep[0]);
    int n_cut = 0, n_torn = 0;
    /* A process number may have fewer digits than that of the first. */
    for (uint64_t at = before; at + 8 < after; at += in_campaign() ? 1 : 3) {
        copy_file(keep[1], keep[0]), copy_file(keep[3], keep[2]);
        assert_int_equal(run_child(keep[0], at), SIGXFSZ);
        assert_int_equal(size_of(keep[0]), at);
        struct audit_verdict v = audit_check(keep[0], NULL);
        const bool torn = !v.whole;
        if (torn && !strstr(v.what, "torn")) fail_msg("cut at byte %d: %s", (int)at, v.what);
        const uint64_t last = v.last;
        assert_true(last >= 5);
        assert_true(!torn || v.bad_seq == last + 1);
        audit_make(keep[0], 1, NULL);
        v = audit_check(keep[0], NULL);
        if (!v.whole) fail_msg("cut at byte %d, then: %s", (int)at, v.what);
        /* torn, start, request, stop; a line that lacks but its end is an entry. */
        const bool told = v.n_torn == 1;
        assert_int_equal(v.last, last + 3 + told);
        assert_true(told == torn);
        n_cut++, n_torn += told;
    }
    assert_true(n_cut > 200 && n_torn > n_cut - 10);
    temp_remove(dir);
}

/* What a cut left behind is part of what is verified. */
static void torn_bytes_are_held_against(void **state) {
    char *dir = temp_folder();
    (void)state;
    const char *file = audit_at(dir, "audit.jsonl");
    audit_make(file, 2, NULL);
    const uint64_t n = size_of(file);
    assert_int_equal(run_child(file, n + 50), SIGXFSZ);
    audit_make(file, 1, NULL);
    struct audit_text t;
    audit_load(file, &t);
    assert_true(audit_check(file, NULL).n_torn == 1);
    int torn = 0;
    while (!strstr(t.line[torn + 1].p, "\"torn\""))
        torn++;
    assert_int_equal(t.line[torn].n, 50);
    t.line[torn].p[20] ^= 1;
    audit_store_text(file, &t);
    audit_is_bad(file, (uint64_t)torn + 1, "torn bytes changed");
    t.line[torn].p[20] ^= 1;
    audit_store_text(file, &t);
    assert_true(audit_check(file, NULL).whole);
    audit_text_free(&t);
    temp_remove(dir);
}

/* ---- SIGKILL ---- */

/* In a child: entries one after the other; the number of each that is confirmed goes to the pipe.
 */
static void write_for_ever(const char *file, int out) {
    struct err e = {0};
    const struct audit_opts o = {.file = file, .what = "test", .required = true};
    struct audit *a = audit_open(&o, &e);
    if (!a) _exit(4);
    for (int i = 0;; i++) {
        struct audit_entry x;
        audit_entry_begin(&x, "request");
        audit_number(&x.text, "number", i);
        struct audit_ticket *t = audit_put_ticket(a, &x, &e);
        if (!t || audit_wait(a, t, 20000, &e) != 0 || write(out, &i, sizeof i) != sizeof i)
            _exit(3);
        audit_ticket_free(a, t);
    }
}

/* Runs one for a while and kills it; returns how many entries it was told of. */
static int write_and_kill(const char *file, int us) {
    int p[2], i, n = 0;
    assert_int_equal(pipe(p), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        write_for_ever(file, p[1]);
    }
    close(p[1]);
    assert_true(pid > 0 && read(p[0], &i, sizeof i) == sizeof i); /* it is there */
    n++;
    usleep((useconds_t)us);
    kill(pid, SIGKILL);
    while (read(p[0], &i, sizeof i) == sizeof i)
        n++;
    close(p[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return n;
}

static void killed_at_any_moment(void **state) {
    char *dir = temp_folder();
    (void)state;
    srand(7);
    for (int b = 0; b < N_NAME; b++) {
        char file[900];
        snprintf(file, sizeof file, "%s", audit_at(dir, names[b]));
        uint64_t last = 0;
        for (int round = 0; round < (in_campaign() ? 300 : 20); round++) {
            const int told = write_and_kill(file, rand() % 20000);
            struct audit_verdict v = audit_check(file, NULL);
            /* Of lines the last may be torn; a batch that nobody was told of may be there whole. */
            if (!v.whole && (b == 0 || !strstr(v.what, "torn"))) fail_msg("%s", v.what);
            const uint64_t fresh = v.last - last;
            assert_true(fresh >= (uint64_t)told + 1);
            audit_make(file, 0, NULL);
            v = audit_check(file, NULL);
            if (!v.whole) fail_msg("round %d: %s", round, v.what);
            assert_int_equal(v.n_crash, round + 1);
            last = v.last;
        }
    }
    temp_remove(dir);
}

/* ---- a full disk ---- */

static struct audit_ticket *put_large(struct audit *a, bool ticket, struct err *e) {
    static char text[20000];
    struct audit_entry x;
    memset(text, 'x', sizeof text - 1);
    audit_entry_begin(&x, "request");
    audit_text(&x.text, "large", text);
    if (ticket) return audit_put_ticket(a, &x, e);
    audit_put(a, &x);
    return NULL;
}

/* Required: who waits is told; and once there is room, all goes on. */
static int fill_required(const char *file) {
    struct err e = {0};
    int n_good = 0, rc = 0;
    const struct audit_opts o = {.file = file, .what = "test", .required = true};
    struct audit *a = audit_open(&o, &e);
    if (!a) return 10;
    limit_files(300000);
    while (rc == 0 && n_good < 100) {
        struct audit_ticket *t = put_large(a, true, &e);
        rc = t ? audit_wait(a, t, 20000, &e) : -1;
        audit_ticket_free(a, t);
        n_good += rc == 0;
    }
    if (n_good == 0 || n_good == 100 || e.code != ERR_BUSY || !audit_failing(a)) return 11;
    if (audit_stats(a).n_errors == 0) return 12;
    limit_files(RLIM_INFINITY);
    struct audit_ticket *t = put_large(a, true, &e);
    if (!t || audit_wait(a, t, 20000, &e) != 0 || audit_failing(a)) return 13;
    audit_ticket_free(a, t);
    audit_close(a);
    return 0;
}

/* On: nobody is told, everything is kept until there is room; what is too much is counted. */
static int fill_on(const char *file) {
    struct err e = {0};
    const struct audit_opts o = {.file = file, .what = "test"};
    struct audit *a = audit_open(&o, &e);
    if (!a) return 20;
    limit_files(300000);
    for (int i = 0; i < 4000; i++) /* 80 MB: more than may wait */
        put_large(a, false, &e);
    for (int i = 0; i < 400 && audit_stats(a).n_errors < 2; i++)
        usleep(10000);
    const struct audit_stats s = audit_stats(a);
    if (s.n_errors < 2 || s.n_lost == 0 || !s.failing || s.n_waiting == 0 || s.lag_ns == 0)
        return 21;
    limit_files(RLIM_INFINITY);
    audit_close(a);
    return 0;
}

static void a_full_disk(void **state) {
    char *dir = temp_folder();
    (void)state;
    int (*const fill[])(const char *) = {fill_required, fill_on};
    for (int k = 0; k < 2 * N_NAME; k++) {
        char file[900];
        snprintf(file, sizeof file, "%s%d", dir, k);
        assert_int_equal(mkdir(file, 0700), 0);
        snprintf(file, sizeof file, "%s%d/%s", dir, k, names[k / 2]);
        int status = 0;
        const pid_t pid = fork();
        if (pid == 0) {
            signal(SIGXFSZ, SIG_IGN); /* as cria serve does */
            _exit(fill[k % 2](file));
        }
        assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("%s: %d", file, status);
        const struct audit_verdict v = audit_check(file, NULL);
        if (!v.whole) fail_msg("%s: %s", file, v.what);
        assert_true(k % 2 == 0 || v.n_lost > 0);
        assert_true(k % 2 == 0 || v.n_lost + v.n_entries >= 4000);
        snprintf(file, sizeof file, "%s%d", dir, k);
        temp_remove(strdup(file));
    }
    temp_remove(dir);
}

int main(void) {
    setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncs */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_byte),
        cmocka_unit_test(torn_bytes_are_held_against),
        cmocka_unit_test(killed_at_any_moment),
        cmocka_unit_test(a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
