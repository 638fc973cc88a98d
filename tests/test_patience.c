/* How long a pull waits, and for whom (SECURITY.md R8): through the command, against a registry of
 * our own on loopback that drips, stalls or is busy. */
#include "fake_registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/client.h"

/* A byte now and then is no progress: six tries, and it ends. */
static void drips_end(void **state) {
    (void)state;
    struct ran r;
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.drip_times = 2,
                         .busy_times = 100,
                         .busy_status = 503,
                         .busy_headers = "Retry-After: 1\r\n"};
    fake_refused_as(&r, "a drip", "503");
    assert_int_equal(atomic_load(&fake.blob_requests), 6);
    ran_fini(&r);
    /* A little more than 1 MiB at a time is some. */
    fake_new_blob(8 << 20);
    plan = (struct plan){.drop_times = 7, .drop_at = (1 << 20) + 1000};
    fake_pulled("dropped seven times");
    assert_int_equal(atomic_load(&fake.blob_requests), 8);
    fake_new_blob(FAKE_BYTES);
}

static void stalls_end(void **state) {
    (void)state;
    struct ran r;
    setenv("CRIA_STALL_TIMEOUT", "1", 1);
    fake_new_blob(FAKE_BYTES);
    plan = (struct plan){.stall_times = 1, .stall_at = 100000};
    fake_pulled_as(&r, "a stall");
    assert_int_equal(atomic_load(&fake.last_from), 100000);
    assert_int_equal(atomic_load(&fake.blob_requests), 2);
    if (r.seconds > 10) fail_msg("a stall of 1 s took %.1f s", r.seconds);
    ran_fini(&r);
    setenv("CRIA_STALL_TIMEOUT", "soon", 1);
    fake_pull(&r);
    assert_int_equal(r.code, 2);
    assert_non_null(strstr(r.err.p, "CRIA_STALL_TIMEOUT"));
    ran_fini(&r);
    unsetenv("CRIA_STALL_TIMEOUT");
}

/* A part that fails for good ends the others, which would wait. */
static void a_failure_stops_all(void **state) {
    (void)state;
    struct ran r;
    fake_new_blob(FAKE_BYTES);
    fake_begin_parts(2);
    plan = (struct plan){.stall_times = 1, .stall_at = 1000, .refused_from = 1000};
    fake_refused_as(&r, "a part is forbidden", "403");
    if (r.seconds > 5) fail_msg("it took %.1f s", r.seconds);
    ran_fini(&r);
    /* One that waits for its next try, too. */
    plan = (struct plan){.refused_from = 100000,
                         .busy_times = 1,
                         .busy_status = 429,
                         .busy_headers = "Retry-After: 30\r\n"};
    fake_new_blob(FAKE_BYTES);
    fake_begin_parts(2);
    fake_refused_as(&r, "a part is forbidden", "403");
    if (r.seconds > 5) fail_msg("it took %.1f s", r.seconds);
    ran_fini(&r);
}

static void busy_registries(void **state) {
    (void)state;
    struct ran r;
    char date[100];
    const int status[] = {429, 503};
    for (int i = 0; i < 2; i++) {
        fake_new_blob(FAKE_BYTES);
        plan = (struct plan){
            .busy_times = 1, .busy_status = status[i], .busy_headers = "Retry-After: 1\r\n"};
        fake_pulled_as(&r, "busy");
        if (r.seconds < 1 || r.seconds > 8) fail_msg("Retry-After 1 took %.1f s", r.seconds);
        ran_fini(&r);
    }
    fake_new_blob(FAKE_BYTES);
    const time_t then = time(NULL) + 3;
    struct tm tm;
    strftime(date, sizeof date, "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&then, &tm));
    plan = (struct plan){.busy_times = 1, .busy_status = 503, .busy_headers = date};
    fake_pulled_as(&r, "busy until");
    if (r.seconds < 1.5 || r.seconds > 8) fail_msg("a date 3 s ahead took %.1f s", r.seconds);
    ran_fini(&r);
}

static void retry_after_is_read(void **state) {
    (void)state;
    static const struct {
        const char *value;
        int least, most;
    } row[] = {
        {"5", 5, 5},
        {"7200", NET_MAX_RETRY_AFTER_S, NET_MAX_RETRY_AFTER_S},
        {"99999999999999999999999999", NET_MAX_RETRY_AFTER_S, NET_MAX_RETRY_AFTER_S},
        {"Fri, 31 Dec 2199 23:59:59 GMT", NET_MAX_RETRY_AFTER_S, NET_MAX_RETRY_AFTER_S},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0, 0},
        {"soon", 0, 0},
        {"-5", 0, 0},
    };
    struct err e;
    struct net_client *c = net_client_new(&(struct net_opts){0}, &e);
    char header[100], url[200];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v2/library/m/blobs/sha256:%s", fake.server.port,
             fake.blob_digest.hex);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct net_answer a;
        snprintf(header, sizeof header, "Retry-After: %s\r\n", row[i].value);
        plan = (struct plan){.busy_times = 1, .busy_status = 503, .busy_headers = header};
        assert_int_equal(net_do(c, &(struct net_request){.url = url}, &a, &e), 0);
        if (a.retry_after_s < row[i].least || a.retry_after_s > row[i].most)
            fail_msg("%s: %d s", row[i].value, a.retry_after_s);
        net_answer_fini(&a);
    }
    net_client_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drips_end),           cmocka_unit_test(stalls_end),
        cmocka_unit_test(a_failure_stops_all), cmocka_unit_test(busy_registries),
        cmocka_unit_test(retry_after_is_read),
    };
    return cmocka_run_group_tests(tests, fake_set_up, fake_tear_down);
}
