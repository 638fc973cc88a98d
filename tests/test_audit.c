/* The audit log's chain: whatever is done to its entries from outside is found and named, in both
 * back ends; seals hold against who computes the chain anew; pruned and rotated logs verify. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit_rig.h"

static const char *const names[] = {"audit.db", "audit.jsonl"};
enum { N_NAME = 2, N = 10, ALL = N + 2 };

/* ---- changes ---- */

static void swap(struct audit_text *t, int a, int b) {
    const struct buf kept = t->line[a];
    t->line[a] = t->line[b];
    t->line[b] = kept;
}

static void drop(struct audit_text *t, int at) {
    buf_fini(&t->line[at]);
    memmove(&t->line[at], &t->line[at + 1], (size_t)(t->n - at - 1) * sizeof *t->line);
    t->n--;
}

static void insert(struct audit_text *t, int at, const char *text) {
    t->line = realloc(t->line, (size_t)(t->n + 1) * sizeof *t->line);
    memmove(&t->line[at + 1], &t->line[at], (size_t)(t->n - at) * sizeof *t->line);
    t->line[at] = (struct buf){0};
    buf_str(&t->line[at], text);
    t->n++;
}

static void every_flip_is_named(void **state) {
    char *dir = temp_folder();
    (void)state;
    for (int b = 0; b < N_NAME; b++) {
        const char *file = audit_at(dir, names[b]);
        struct audit_text t;
        audit_make(file, N, NULL);
        audit_is_whole(file, 1, ALL);
        audit_load(file, &t);
        assert_int_equal(t.n, ALL);
        for (int k = 0; k < t.n; k++)
            for (size_t i = 0; i < t.line[k].n; i += b == 0 ? 17 : 1) {
                t.line[k].p[i] ^= 1;
                audit_store_text(file, &t);
                audit_is_bad(file, (uint64_t)k + 1, "flip");
                t.line[k].p[i] ^= 1;
            }
        audit_store_text(file, &t);
        audit_is_whole(file, 1, ALL);
        audit_text_free(&t);
    }
    temp_remove(dir);
}

/* Does the change to a fresh copy of the log, and back. */
static void every_move_is_named(void **state) {
    char *dir = temp_folder();
    (void)state;
    for (int b = 0; b < N_NAME; b++) {
        const char *file = audit_at(dir, names[b]);
        struct audit_text t;
        audit_make(file, N, NULL);
        for (int k = 0; k < ALL; k++) {
            audit_load(file, &t);
            struct audit_text u = t;
            audit_load(file, &u);
            drop(&u, k);
            audit_store_text(file, &u);
            audit_is_bad(file, (uint64_t)k + 1, "drop");
            audit_text_free(&u);
            for (int j = k + 1; j < ALL; j++) {
                swap(&t, k, j);
                audit_store_text(file, &t);
                audit_is_bad(file, (uint64_t)k + 1, "swap");
                swap(&t, k, j);
            }
            audit_store_text(file, &t);
            audit_load(file, &u);
            insert(&u, k + 1, t.line[k].p); /* the same entry again */
            audit_store_text(file, &u);
            audit_is_bad(file, (uint64_t)k + 2, "double");
            audit_text_free(&u);
            audit_store_text(file, &t);
            audit_is_whole(file, 1, ALL);
            audit_text_free(&t);
        }
    }
    temp_remove(dir);
}

/* One more entry at the end, and everything from an entry on computed anew: without a key only the
 * head shows it. */
static void rewrite_from(struct audit_text *t, int from, const uint8_t start[SHA256_BYTES]) {
    uint8_t hash[SHA256_BYTES];
    struct err e = {0};
    memcpy(hash, start, sizeof hash);
    for (int i = from; i < t->n; i++) {
        struct audit_line l;
        struct buf b = {0};
        assert_true(audit_line_parse(buf_view(&t->line[i]), &l));
        buf_append(&b, l.body.p, l.body.n);
        if (i == from) memcpy(strstr(b.p, "2026"), "2025", 4);
        assert_int_equal(audit_seal(&b, NULL, hash, &e), 0);
        buf_fini(&t->line[i]);
        t->line[i] = b;
    }
}

static void a_new_chain_needs_the_keys(void **state) {
    char *dir = temp_folder();
    (void)state;
    audit_make_key(dir, "sign", "ED25519");
    audit_make_key(dir, "other", "ED25519");
    audit_text_file(audit_at(dir, "hmac"), "a key of more than 16 bytes 0\n");
    audit_text_file(audit_at(dir, "hmac2"), "a key of more than 16 bytes 1\n");
    for (int b = 0; b < N_NAME; b++) {
        const char *file = audit_at(dir, names[b]);
        struct audit_keys right = {0}, wrong_mac = {0}, wrong_sign = {0};
        struct audit_text t;
        struct audit_line l;
        struct err e = {0};
        char hmac[900], sign[900];
        snprintf(hmac, sizeof hmac, "%s/hmac", dir),
            snprintf(sign, sizeof sign, "%s/sign.pem", dir);
        const struct audit_opts o = {.key_file = hmac, .sign_key = sign};
        audit_make(file, N, &o);
        assert_int_equal(audit_keys_add_hmac(&right, hmac, &e), 0);
        assert_int_equal(audit_keys_add_verify(&right, audit_at(dir, "sign.pub.pem"), &e), 0);
        assert_int_equal(audit_keys_add_hmac(&wrong_mac, audit_at(dir, "hmac2"), &e), 0);
        assert_int_equal(audit_keys_add_verify(&wrong_sign, audit_at(dir, "other.pub.pem"), &e), 0);
        assert_true(audit_check(file, NULL).whole);
        assert_true(audit_check(file, &right).whole);
        struct audit_verdict v = audit_check(file, &wrong_mac);
        assert_true(!v.whole && v.bad_seq == 1 && strstr(v.what, "HMAC"));
        v = audit_check(file, &wrong_sign);
        assert_true(!v.whole && v.bad_seq == 1 && strstr(v.what, "signature"));
        /* A second key of the same kind is another era of the log. */
        assert_int_equal(audit_keys_add_hmac(&wrong_mac, hmac, &e), 0);
        assert_true(audit_check(file, &wrong_mac).whole);

        audit_load(file, &t);
        assert_true(audit_line_parse(buf_view(&t.line[4]), &l) && l.hmac && l.sig);
        uint8_t before[SHA256_BYTES];
        memcpy(before, l.hash, sizeof before);
        rewrite_from(&t, 5, before);
        audit_store_text(file, &t);
        v = audit_check(file, NULL); /* the head is what it was */
        assert_true(!v.whole && strstr(v.what, "anew"));
        v = audit_check(file, &right);
        assert_true(!v.whole && v.bad_seq == 6);
        audit_text_free(&t);
        audit_keys_fini(&right), audit_keys_fini(&wrong_mac), audit_keys_fini(&wrong_sign);
    }
    temp_remove(dir);
}

/* A command that was not told the keys would write an entry that no seal holds. */
static void a_sealed_log_stays_sealed(void **state) {
    char *dir = temp_folder(), hmac[900], sign[900];
    (void)state;
    audit_make_key(dir, "sign", "ED25519");
    snprintf(hmac, sizeof hmac, "%s/hmac", dir), snprintf(sign, sizeof sign, "%s/sign.pem", dir);
    audit_text_file(hmac, "a key of more than 16 bytes\n");
    for (int b = 0; b < N_NAME; b++) {
        const char *file = audit_at(dir, names[b]);
        const struct audit_opts keyed = {.key_file = hmac, .sign_key = sign};
        audit_make(file, N, &keyed);
        for (int k = 0; k < 6; k++) {
            struct err e = {0};
            const struct audit_opts o = {.file = file,
                                         .what = "test",
                                         .key_file = k % 3 == 1 ? hmac : NULL,
                                         .sign_key = k % 3 == 2 ? sign : NULL,
                                         .required = k < 3};
            assert_null(audit_open(&o, &e));
            const char *said = k % 3 == 1 ? "CRIA_AUDIT_SIGN_KEY" : "CRIA_AUDIT_KEY_FILE";
            if (e.code != ERR_USAGE || !strstr(e.msg, said)) fail_msg("%d: %s", k, e.msg);
        }
        audit_is_whole(file, 1, ALL);
        audit_make(file, N, &keyed);
        audit_is_whole(file, 1, 2 * ALL);
    }
    temp_remove(dir);
}

/* In SQLite the head goes with the entries: none is behind it, as long as they are ours. */
static void nothing_behind_the_head(void **state) {
    char *dir = temp_folder();
    (void)state;
    const char *file = audit_at(dir, "audit.db");
    struct audit_text t;
    audit_make(file, N, NULL);
    audit_load(file, &t);
    const struct audit_verdict v = audit_check(file, NULL);
    uint8_t hash[SHA256_BYTES];
    struct err e = {0};
    struct buf b = {0};
    struct audit_entry x;
    memcpy(hash, v.hash, sizeof hash);
    audit_entry_begin(&x, "request");
    buf_printf(&b, "{\"seq\":%d%s", ALL + 1, x.text.p);
    buf_fini(&x.text);
    assert_int_equal(audit_seal(&b, NULL, hash, &e), 0);
    insert(&t, ALL, b.p);
    buf_fini(&b);
    audit_store_text(file, &t);
    audit_is_bad(file, ALL + 1, "put in behind the last");
    audit_text_free(&t);
    temp_remove(dir);
}

/* An entry that was noted elsewhere must still be there. */
static void a_noted_head_is_held_against(void **state) {
    char *dir = temp_folder();
    (void)state;
    const char *file = audit_at(dir, "audit.jsonl");
    struct err e = {0};
    audit_make(file, N, NULL);
    struct audit_anchor a = {.seq = ALL};
    struct audit_verdict v = audit_check(file, NULL);
    memcpy(a.hash, v.hash, sizeof a.hash);
    assert_int_equal(unlink(audit_at(dir, "audit.jsonl.head")), 0);
    struct audit_text t;
    audit_load(file, &t);
    drop(&t, ALL - 1);
    audit_store_text(file, &t);
    v = audit_check(file, NULL);
    assert_true(v.whole && !v.head_known);
    struct audit_reader *r = audit_reader_open(file, &e);
    assert_int_equal(audit_verify(r, NULL, &a, &v, &e), 0);
    audit_reader_close(r);
    assert_true(!v.whole && v.bad_seq == ALL);
    audit_text_free(&t);
    temp_remove(dir);
}

/* ---- pruned and rotated ---- */

static void time_of(const char *file, int at, char *out, size_t n) {
    struct audit_text t;
    struct audit_line l;
    audit_load(file, &t);
    assert_true(audit_line_parse(buf_view(&t.line[at]), &l));
    const struct str time = audit_line_member(&l, "time");
    snprintf(out, n, "%.*s", (int)time.n, time.p);
    audit_text_free(&t);
}

static uint64_t prune(const char *file, const char *before, uint64_t rotate) {
    uint64_t n = 0;
    struct err e = {0};
    const struct audit_opts o = {
        .file = file, .what = "test", .required = true, .rotate_bytes = rotate};
    struct audit *a = audit_open(&o, &e);
    if (!a || audit_prune(a, before, &n, &e) != 0) fail_msg("%s", e.msg);
    audit_close(a);
    return n;
}

static void a_pruned_log_is_whole(void **state) {
    char *dir = temp_folder(), time[64];
    const uid_t owner = geteuid() == 0 ? 65534 : geteuid();
    (void)state;
    for (int b = 0; b < N_NAME; b++) {
        const char *file = audit_at(dir, names[b]);
        struct audit_text t;
        audit_make(file, N, NULL);
        assert_int_equal(prune(file, "2020-01-01", 0), 0);
        audit_is_whole(file, 1, ALL + 2);
        for (int round = 0; round < 2; round++) {
            audit_load(file, &t);
            const struct audit_verdict v = audit_check(file, NULL);
            time_of(file, 4, time, sizeof time);
            assert_int_equal(prune(file, time, 0), 4);
            audit_is_whole(file, v.first + 4, v.last + 3); /* start, prune, stop */
            /* What is gone is gone from the bytes of the file, too. */
            size_t n;
            uint8_t *all = slurp(file, &n);
            assert_null(memmem(all, n, t.line[1].p, t.line[1].n));
            free(all);
            struct stat st;
            assert_int_equal(stat(file, &st), 0);
            assert_int_equal(st.st_mode & 0777, round ? 0640 : 0600);
            assert_int_equal(st.st_uid, round ? owner : geteuid());
            /* Another user's from now on, and its group reads it. */
            assert_int_equal(chmod(file, 0640), 0);
            assert_int_equal(chown(file, owner, (gid_t)-1), 0);
            audit_text_free(&t);
        }
        /* The first that is left, and the entry that says what was pruned. */
        audit_load(file, &t);
        const struct audit_verdict v = audit_check(file, NULL);
        struct buf first = t.line[0];
        t.line[0] = (struct buf){0};
        drop(&t, 0);
        audit_store_text(file, &t);
        audit_is_bad(file, v.first, "first after pruning");
        insert(&t, 0, first.p);
        buf_fini(&first);
        for (int i = 0; i < t.n; i++)
            if (strstr(t.line[i].p, "\"prune\"")) {
                drop(&t, i);
                break;
            }
        audit_store_text(file, &t);
        assert_false(audit_check(file, NULL).whole);
        audit_text_free(&t);
    }
    temp_remove(dir);
}

static void a_rotated_log_is_whole(void **state) {
    char *dir = temp_folder(), time[64];
    (void)state;
    const char *file = audit_at(dir, "audit.jsonl");
    const struct audit_opts o = {.rotate_bytes = 1000};
    uint64_t *seq;
    int n;
    struct err e = {0};
    for (int i = 0; i < 3; i++)
        audit_make(file, N, &o);
    assert_int_equal(audit_segments(file, &seq, &n, &e), 0);
    assert_true(n > 5);
    struct audit_verdict v = audit_check(file, NULL);
    if (!v.whole) fail_msg("%s", v.what);
    assert_int_equal(v.first, 1);
    assert_int_equal(v.n_entries, v.last);

    char segment[AUDIT_PATH]; /* one of them missing */
    audit_segment_path(file, seq[2], segment);
    assert_int_equal(rename(segment, audit_at(dir, "kept")), 0);
    audit_is_bad(file, seq[1] + 1, "a file is missing");
    assert_int_equal(rename(audit_at(dir, "kept"), segment), 0);

    time_of(file, (int)seq[2] + 1, time, sizeof time);
    /* The line that a new file begins with is younger than the entries that were put before it. */
    const uint64_t n_pruned = prune(file, time, 1000);
    assert_true(n_pruned >= seq[2] && n_pruned <= seq[2] + 1);
    audit_is_whole(file, n_pruned + 1, audit_check(file, NULL).last);
    assert_int_not_equal(access(segment, F_OK), 0);
    free(seq);

    /* The last file alone says itself that others were before it. */
    assert_int_equal(audit_segments(file, &seq, &n, &e), 0);
    for (int i = 0; i < n; i++) {
        audit_segment_path(file, seq[i], segment);
        unlink(segment);
    }
    v = audit_check(file, NULL);
    assert_true(v.whole && v.first == seq[n - 1] + 1);
    free(seq);
    temp_remove(dir);
}

/* What has a file, opened, cannot have another: as when a disk fails. */
static void no_more_files(bool none) {
    static struct rlimit usual;
    if (none) getrlimit(RLIMIT_NOFILE, &usual);
    const struct rlimit r = {none ? 0 : usual.rlim_cur, usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
}

/* The new file cannot be opened: it is when it can be again, and says itself what was before. */
static void a_rotation_that_fails(void **state) {
    char *dir = temp_folder(), segment[AUDIT_PATH];
    (void)state;
    const char *file = audit_at(dir, "audit.jsonl");
    const struct audit_opts o = {.file = file, .what = "test", .required = true, .rotate_bytes = 1};
    struct err e = {0};
    struct audit_entry x;
    struct audit *a = audit_open(&o, &e);
    if (!a) fail_msg("%s", e.msg);
    no_more_files(true);
    audit_entry_begin(&x, "request");
    struct audit_ticket *t = audit_put_ticket(a, &x, &e);
    const int rc = t ? audit_wait(a, t, 20000, &e) : 0;
    no_more_files(false);
    assert_int_equal(rc, -1);
    audit_ticket_free(a, t);
    audit_add(a, 0);
    audit_close(a);
    const struct audit_verdict v = audit_check(file, NULL);
    if (!v.whole) fail_msg("%s", v.what);
    uint64_t *seq;
    int n;
    assert_int_equal(audit_segments(file, &seq, &n, &e), 0);
    for (int i = 0; i < n; i++) {
        audit_segment_path(file, seq[i], segment);
        unlink(segment);
    }
    audit_is_whole(file, seq[n - 1] + 1, v.last);
    free(seq);
    temp_remove(dir);
}

/* Killed between the old file and the first batch of the new one, and again behind its only entry.
 */
static void killed_while_it_rotates(void **state) {
    char *dir = temp_folder(), segment[AUDIT_PATH];
    (void)state;
    const char *file = audit_at(dir, "audit.jsonl");
    struct err e = {0};
    int status = 1;
    audit_make(file, N, NULL);
    audit_segment_path(file, ALL, segment);
    assert_int_equal(rename(file, segment), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        const struct audit_opts o = {.file = file, .what = "test", .required = true};
        _exit(audit_open(&o, &e) ? 0 : 1); /* no "stop" */
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
    audit_make(file, 1, NULL);
    audit_is_whole(file, 1, ALL + 2 + 3); /* checkpoint, start; start, request, stop */
    temp_remove(dir);
}

/* ---- who writes ---- */

/* A first start of several at once: one key, and everybody has it. */
static void one_digest_key(void **state) {
    enum { N_CHILD = 8, ROUNDS = 30 };
    char *dir = temp_folder();
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const char *path = audit_at(dir, "log.key");
        int go[2], got[2];
        assert_true(pipe(go) == 0 && pipe(got) == 0);
        for (int i = 0; i < N_CHILD; i++) {
            uint8_t key[AUDIT_DIGEST_KEY];
            struct err e = {0};
            char c;
            if (fork()) continue;
            close(go[1]);
            if (read(go[0], &c, 1) != 0) _exit(1); /* all begin when the other end is closed */
            if (audit_digest_key(path, true, key, &e) != 0) _exit(2);
            _exit(write(got[1], key, sizeof key) == sizeof key ? 0 : 3);
        }
        close(go[0]), close(go[1]), close(got[1]);
        uint8_t first[AUDIT_DIGEST_KEY], key[AUDIT_DIGEST_KEY];
        int status;
        for (int i = 0; i < N_CHILD; i++) {
            assert_true(wait(&status) > 0);
            if (status != 0) fail_msg("round %d: a process ended with %x", round, status);
            assert_int_equal(read(got[0], i ? key : first, sizeof key), sizeof key);
            if (i) assert_memory_equal(key, first, sizeof key);
        }
        close(got[0]);
        assert_int_equal(unlink(path), 0);
    }
    temp_remove(dir);
}

static void one_process_writes(void **state) {
    char *dir = temp_folder();
    (void)state;
    for (int b = 0; b < N_NAME; b++) {
        struct err e = {0};
        const struct audit_opts o = {.file = audit_at(dir, names[b]), .what = "test"};
        struct audit *a = audit_open(&o, &e);
        assert_non_null(a);
        assert_null(audit_open(&o, &e));
        char who[64];
        snprintf(who, sizeof who, "process %ld writes", (long)getpid());
        if (e.code != ERR_BUSY || !strstr(e.msg, who)) fail_msg("%s", e.msg);
        audit_close(a);
        assert_non_null(a = audit_open(&o, &e));
        audit_close(a);
    }
    temp_remove(dir);
}

static void a_damaged_log_is_kept(void **state) {
    char *dir = temp_folder();
    (void)state;
    for (int b = 0; b < N_NAME; b++) {
        const char *file = audit_at(dir, names[b]);
        struct err e = {0};
        struct audit_text t;
        struct audit_opts o = {.file = file, .what = "test", .required = true};
        audit_make(file, N, NULL);
        audit_load(file, &t);
        t.line[ALL - 1].p[40] ^= 1; /* no crash does that to an entry that its head knows */
        audit_store_text(file, &t);
        audit_text_free(&t);
        assert_null(audit_open(&o, &e));
        if (e.code != ERR_FORMAT) fail_msg("%s", e.msg);
        o.required = false;
        struct audit *a = audit_open(&o, &e);
        assert_non_null(a);
        audit_close(a);
        audit_is_whole(file, 1, 2);
        audit_load(file, &t);
        assert_non_null(strstr(t.line[0].p, "\"after\":\"damage\""));
        audit_text_free(&t);
    }
    temp_remove(dir);
}

int main(void) {
    setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncs */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flip_is_named),
        cmocka_unit_test(every_move_is_named),
        cmocka_unit_test(a_new_chain_needs_the_keys),
        cmocka_unit_test(a_sealed_log_stays_sealed),
        cmocka_unit_test(nothing_behind_the_head),
        cmocka_unit_test(a_noted_head_is_held_against),
        cmocka_unit_test(a_pruned_log_is_whole),
        cmocka_unit_test(a_rotated_log_is_whole),
        cmocka_unit_test(a_rotation_that_fails),
        cmocka_unit_test(killed_while_it_rotates),
        cmocka_unit_test(one_digest_key),
        cmocka_unit_test(one_process_writes),
        cmocka_unit_test(a_damaged_log_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
