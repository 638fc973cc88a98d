/* `cria serve` as a process: its routes, errors in three dialects, settings, signals, its log. */
#include "serve_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct serve shared;

static int start_shared(void **state) {
    (void)state;
    serve_start(&shared, NULL, NULL);
    return 0;
}

static int stop_shared(void **state) {
    (void)state;
    return serve_stop(&shared);
}

/* ---- routes ---- */

static void says_who_it_is(void **state) {
    (void)state;
    struct answer a;
    ask(&shared, &a, "GET", "/", NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.p, "Ollama is running");
    assert_string_equal(answer_header(&a, "Content-Type"), "text/plain; charset=utf-8");
    assert_int_equal(strlen(answer_header(&a, "X-Request-Id")), 16);
    answer_fini(&a);
    ask(&shared, &a, "HEAD", "/", NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 0);
    assert_string_equal(answer_header(&a, "Content-Length"), "17");
    answer_fini(&a);
    json_t *j = ask_json(&shared, "GET", "/api/version", 200, "%s", "");
    int major, minor;
    assert_int_equal(
        sscanf(json_string_value(json_object_get(j, "version")), "%d.%d", &major, &minor), 2);
    assert_true(major > 0 || minor >= 30); /* older ones are refused by tools */
    json_decref(j);
    j = ask_json(&shared, "GET", "/health", 200, "%s", "");
    assert_string_equal(json_string_value(json_object_get(j, "status")), "ok");
    json_decref(j);
}

static void no_such_route(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *headers, *body;
        int status;
        const char *text;
    } cases[] = {
        {"GET", "/nope", NULL, NULL, 404, "{\"error\":\"no such route\"}"},
        {"GET", "/v1/nope", NULL, NULL, 404,
         "{\"error\":{\"message\":\"no such route\",\"type\":"
         "\"not_found_error\",\"param\":null,\"code\":null}}"},
        {"GET", "/v1/messages/nope", NULL, NULL, 404,
         "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"no such "
         "route\"}}"},
        {"GET", "/api/versio", NULL, NULL, 404, "no such"},
        {"GET", "/api/version/", NULL, NULL, 404, "no such"},
        {"GET", "//", NULL, NULL, 404, "no such"},
        {"GET", "/api/vers%69on", NULL, NULL, 200, "version"},
        {"GET", "/api/version?x=/y", NULL, NULL, 200, "version"},
        {"GET", "/%ff", NULL, NULL, 400, "path"},
        {"GET", "/%0a", NULL, NULL, 400, "path"},
        {"GET", "/%zz", NULL, NULL, 400, "path"},
        {"POST", "/api/version", NULL, "{}", 405, "method not allowed"},
        {"DELETE", "/", NULL, NULL, 405, "method not allowed"},
        {"POST", "/nope", NULL, "{}", 404, "no such"},
        {"POST", "/nope", "Content-Length: 100000000000\r\n", "", 404, "no such"},
        {"POST", "/nope", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", 404,
         "no such"},
        {"GET", "/health", NULL, "{}", 413, "larger"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a;
        ask(&shared, &a, cases[i].method, cases[i].path, cases[i].headers, cases[i].body);
        if (a.status != cases[i].status || !strstr(a.body.p, cases[i].text))
            fail_msg("%s %s: %d %s", cases[i].method, cases[i].path, a.status, a.body.p);
        if (a.status == 405) assert_string_equal(answer_header(&a, "Allow"), "GET, HEAD");
        answer_fini(&a);
    }
}

/* A refused request without a body leaves the connection usable; ids are never the same. */
static void kept_connection(void **state) {
    (void)state;
    struct wire w;
    char last[32] = "";
    wire_open(&w, &shared);
    for (int i = 0; i < 50; i++) {
        struct answer a;
        struct buf body = {0};
        wire_ask(&w, "GET", i % 2 ? "/nope" : "/", NULL, NULL);
        assert_true(wire_head(&w, &a, 5));
        assert_int_equal(a.status, i % 2 ? 404 : 200);
        while (wire_body(&w, &body, 5) == 1)
            ;
        assert_true(w.over);
        assert_string_not_equal(answer_header(&a, "X-Request-Id"), last);
        snprintf(last, sizeof last, "%s", answer_header(&a, "X-Request-Id"));
        answer_fini(&a);
        buf_fini(&body);
    }
    wire_close(&w);
}

int main(void) {
    const struct CMUnitTest with_server[] = {
        cmocka_unit_test(says_who_it_is),
        cmocka_unit_test(no_such_route),
        cmocka_unit_test(kept_connection),
    };
    return cmocka_run_group_tests(with_server, start_shared, stop_shared);
}
