/* Transfers that break, and what a pull makes of them (SECURITY.md R8): through the command,
 * against a registry of our own on loopback.  What takes time: test_patience.c. */
#include "fake_registry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- ranges ---- */

static void ranges(void **state) {
    (void)state;
    plan = (struct plan){.wrong_range = true};
    fake_refused("wrong range", "was sent others");
    plan = (struct plan){.drop_times = 2};
    fake_pulled("dropped twice");
    if (atomic_load(&fake.blob_bytes) > fake.n_blob + 100)
        fail_msg("%llu bytes were sent for %zu", atomic_load(&fake.blob_bytes), fake.n_blob);
    fake_new_blob(FAKE_BYTES);
    fake_begin_parts(3);
    plan = (struct plan){0};
    fake_pulled("three parts");
    assert_int_equal(atomic_load(&fake.blob_requests), 3);
    assert_int_equal(atomic_load(&fake.blob_bytes), fake.n_blob + strlen(fake_config));
    plan = (struct plan){.status_of_blobs = 404};
    fake_refused("no blob", "404");
    plan = (struct plan){.status_of_blobs = 403};
    fake_refused("forbidden blob", "403");
}

/* Each answer is the whole blob: it is begun again, and what is there is not fetched in parts. */
static void no_ranges(void **state) {
    (void)state;
    plan = (struct plan){.no_ranges = true};
    fake_pulled("no ranges");
    assert_int_equal(atomic_load(&fake.blob_requests), 1);
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.no_ranges = true, .drop_times = 2};
    fake_pulled("no ranges, dropped twice");
    fake_new_blob(FAKE_BYTES);
    fake_begin_parts(3);
    plan = (struct plan){.no_ranges = true};
    fake_pulled("no ranges, three parts");
    fake_new_blob(FAKE_BYTES);
    fake_begin_parts(3);
    plan = (struct plan){.no_ranges = true, .drop_times = 3};
    fake_pulled("no ranges, three parts, dropped");
    fake_new_blob(FAKE_BYTES);
    fake_begin_parts(3);
    plan = (struct plan){.no_ranges = true, .wrong_bytes = true};
    fake_refused("no ranges, three parts, wrong bytes", "digest mismatch");
    plan = (struct plan){.no_ranges = true};
    fake_pulled("then the right ones");
}

/* A blob that is really in parts, of 100 MB. */
static void no_ranges_of_a_large_blob(void **state) {
    (void)state;
    fake_new_blob(101 << 20);
    plan = (struct plan){.no_ranges = true};
    fake_pulled("101 MiB without ranges");
    fake_new_blob(FAKE_BYTES);
}

/* ---- lengths ---- */

static void lengths_that_lie(void **state) {
    (void)state;
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.longer_times = 1};
    fake_pulled("longer than it is");
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.shorter_times = 1};
    fake_pulled("shorter than it is");
    assert_int_equal(atomic_load(&fake.blob_requests), 2);
    assert_int_equal(atomic_load(&fake.last_from), fake.n_blob - 1000);
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.no_ranges = true, .longer_times = 1};
    fake_refused("longer, whole", "was sent others");
    plan = (struct plan){.no_ranges = true, .shorter_times = 1};
    fake_refused("shorter, whole", "was sent others");
}

/* An ETag may differ from server to server: the digest decides. */
static void etags_that_change(void **state) {
    (void)state;
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.etag_changes = true, .drop_times = 2};
    fake_pulled("another ETag");
    assert_int_equal(atomic_load(&fake.blob_requests), 3);
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.etag_changes = true, .drop_times = 1, .wrong_bytes = true};
    fake_refused("another ETag and content", "digest mismatch");
    plan = (struct plan){0};
    fake_pulled("the same again");
    assert_int_equal(atomic_load(&fake.least_from), 0); /* nothing of the wrong one was kept */
}

/* ---- the disk ---- */

/* Each of two layers has room, both have not: no byte is fetched. */
static void no_room_for_all(void **state) {
    (void)state;
    char text[3000];
    struct statvfs v;
    assert_int_equal(statvfs(fake.shop.dir, &v), 0);
    const unsigned long long room = (unsigned long long)v.f_bavail * v.f_frsize / 10 * 6;
    fake_new_blob(FAKE_BYTES);
    snprintf(text, sizeof text,
             FAKE_MANIFEST("sha256:%s", "%zu",
                           FAKE_LAYER("sha256:%s", "%llu") "," FAKE_LAYER("sha256:%064d", "%llu")),
             fake.config_digest.hex, strlen(fake_config), fake.blob_digest.hex, room, 7, room);
    plan = (struct plan){.manifest = text};
    fake_refused("two large layers", "are free");
    assert_int_equal(atomic_load(&fake.blob_requests), 0);
}

/* What a full disk says is not tried again.  (A limit on file sizes is one without a file system of
 * our own.) */
static void a_full_disk_ends_it(void **state) {
    (void)state;
    struct ran r;
    struct rlimit old, little = {100000, 100000};
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    little.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN); /* also in the program: writes fail then */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    fake_refused_as(&r, "a full disk", "File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(atomic_load(&fake.blob_requests), 1);
    if (r.seconds > 3) fail_msg("it took %.1f s", r.seconds);
    ran_fini(&r);
    fake_pulled("with room again");
    assert_true(atomic_load(&fake.last_from) > 0);
}

/* ---- killed in the middle ---- */

static void goes_on_after_a_kill(void **state) {
    (void)state;
    struct ran r;
    fake_new_blob(24 << 20);
    plan = (struct plan){.stall_times = 1, .stall_at = 20 << 20};
    atomic_store(&fake.blob_bytes, 0);
    const pid_t pid = fake_start_pull(NULL);
    for (int i = 0; i < 2000 && atomic_load(&fake.blob_bytes) < (20 << 20); i++)
        usleep(5000);
    usleep(100000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fake_pulled_as(&r, "after a kill");
    ran_fini(&r);
    if (atomic_load(&fake.least_from) < (8 << 20))
        fail_msg("it began at %llu again", atomic_load(&fake.least_from));
    if (atomic_load(&fake.blob_bytes) > (16 << 20) + 100)
        fail_msg("%llu bytes were fetched again", atomic_load(&fake.blob_bytes));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(no_ranges),
        cmocka_unit_test(no_ranges_of_a_large_blob),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(etags_that_change),
        cmocka_unit_test(no_room_for_all),
        cmocka_unit_test(a_full_disk_ends_it),
        cmocka_unit_test(goes_on_after_a_kill),
    };
    return cmocka_run_group_tests(tests, fake_set_up, fake_tear_down);
}
