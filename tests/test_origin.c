/* Which pages may drive the server (server/origin.h, SECURITY.md H1 and H2): the rules as
 * functions, then through a real server. */
#include "serve_rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/origin.h"

static void hosts(void **state) {
    (void)state;
    static const struct {
        const char *host;
        bool good;
    } cases[] = {
        {"localhost", true},
        {"localhost:11434", true},
        {"LOCALHOST", true},
        {"localhost.", true},
        {"x.localhost", true},
        {"x.y.localhost:80", true},
        {"127.0.0.1", true},
        {"127.0.0.1:11434", true},
        {"127.8.9.1", true},
        {"[::1]", true},
        {"[::1]:11434", true},
        {"10.1.2.3", true},
        {"192.168.0.9:8080", true},
        {"0.0.0.0:11434", true},
        {"box.local", true},
        {"host.docker.internal:11434", true},
        {"a.example", true},
        {"A.Example:443", true},
        {"x.b.example", true},
        {"", false},
        {".", false},
        {"xlocalhost", false},
        {"localhost.evil", false},
        {"localhost.evil.example:11434", false},
        {".localhost", false},
        {"evil.example", false},
        {"127.0.0.1.evil.example", false},
        {"127.0.0.1.", true},
        {"local", false},
        {"xlocal", false},
        {"internal", false},
        {"8.8.8.8", false},
        {"169.254.169.254", false},
        {"[::1", false},
        {"[::1]x", false},
        {"localhost:x", false},
        {"localhost:1:2", false},
        {"b.example", false},
        {"xb.example", false},
        {"a.example.evil", false},
        {"0x7f.1", false},
        {"2130706433", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (host_is_local(str_of(cases[i].host), " a.example, .b.example") != cases[i].good)
            fail_msg("%s", cases[i].host);
    char own[256] = "";
    if (gethostname(own, sizeof own - 1) == 0 && *own) {
        char twice[520];
        assert_true(host_is_local(str_of(own), NULL));
        snprintf(twice, sizeof twice, "%s.evil", own);
        assert_false(host_is_local(str_of(twice), NULL));
    }
}

static void origins(void **state) {
    (void)state;
    static const struct {
        const char *origin, *host;
        bool good;
    } cases[] = {
        {"http://localhost", "localhost:11434", true},
        {"http://localhost:3000", "localhost:11434", true},
        {"https://localhost:3000", "x", true},
        {"HTTP://LocalHost:3000", "x", true},
        {"http://127.0.0.1:5173", "x", true},
        {"http://[::1]:5173", "x", true},
        {"http://0.0.0.0:1", "x", true},
        {"app://obsidian.md", "x", true},
        {"tauri://localhost", "x", true},
        {"vscode-webview://abc", "x", true},
        {"vscode-file://vscode-app", "x", true},
        {"https://chat.example", "x", true},
        {"https://a.sub.example", "x", true},
        {"chrome-extension://abcdef", "x", true},
        {"http://192.168.1.5:11434", "192.168.1.5:11434", true}, /* its own page */
        {"http://box.local:11434", "box.local:11434", true},
        {"null", "x", false},
        {"", "x", false},
        {"file://", "x", false},
        {"file:///home/x.html", "x", false},
        {"http://evil.example", "localhost:11434", false},
        {"http://localhost.evil", "x", false},
        {"http://localhost.evil:3000", "x", false},
        {"http://evil.localhost@evil.example", "x", false},
        {"http://localhost@evil.example", "x", false},
        {"http://localhost/x", "x", false},
        {"http://evil.example:11434", "evil.example:11434", false}, /* rebinding */
        {"https://chat.example.evil", "x", false},
        {"https://sub.example", "x", false},
        {"http://chat.example", "x", false},
        {"ftp://localhost", "x", false},
        {"localhost", "x", false},
        {"://localhost", "x", false},
        {"http:localhost", "x", false},
        {"http://", "x", false},
        {"apps://x", "x", false},
        {"http://127.0.0.1.evil", "x", false},
        {"http://192.168.1.5:80", "192.168.1.5:11434", false},
    };
    const struct origin_rules r = {
        .origins = "https://chat.example, https://*.sub.example,chrome-extension://*"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (origin_is_allowed(str_of(cases[i].origin), str_of(cases[i].host), &r) != cases[i].good)
            fail_msg("%s at %s", cases[i].origin, cases[i].host);
    const struct origin_rules all = {.origins = "*"}, keys = {.any_host = true};
    assert_true(origin_is_allowed(STR("null"), STR("x"), &all));
    assert_true(origin_is_allowed(STR("https://me.example"), STR("me.example"), &keys));
    assert_false(origin_is_allowed(STR("https://evil.example"), STR("me.example"), &keys));
}

/* A pattern with many stars costs little. */
static void hostile_pattern(void **state) {
    (void)state;
    char list[400], origin[8000];
    memset(list, 0, sizeof list);
    for (int i = 0; i < 190; i++)
        memcpy(list + 2 * i, "*a", 2);
    memset(origin, 'a', sizeof origin - 2);
    origin[sizeof origin - 2] = 'b', origin[sizeof origin - 1] = 0;
    const struct origin_rules r = {.origins = list};
    assert_false(origin_is_allowed(str_of(origin), STR("x"), &r));
}

/* ---- the server ---- */

static int status(const struct serve *s, const char *method, const char *path, const char *headers,
                  const char *body, const char *allowed) {
    struct answer a;
    ask(s, &a, method, path, headers, body);
    const int n = a.status;
    const char *got = answer_header(&a, "Access-Control-Allow-Origin");
    if ((allowed == NULL) != (got == NULL) || (got && strcmp(got, allowed) != 0))
        fail_msg("%s: allowed origin %s", headers, got ? got : "none");
    if (got) assert_string_equal(answer_header(&a, "Vary"), "Origin");
    answer_fini(&a);
    return n;
}

static void through_the_server(void **state) {
    (void)state;
    struct serve s;
    struct answer a;
    serve_start(&s, NULL, (const char *[]){"OLLAMA_ORIGINS=https://chat.example", NULL});
    assert_int_equal(status(&s, "GET", "/", NULL, NULL, NULL), 200);
    assert_int_equal(status(&s, "GET", "/", "Host: evil.example\r\n", NULL, NULL), 403);
    assert_int_equal(status(&s, "GET", "/", "Host:\r\n", NULL, NULL), 403);
    assert_int_equal(status(&s, "GET", "/", "Host: a\r\nHost: localhost\r\n", NULL, NULL), 400);
    assert_int_equal(status(&s, "GET", "http://evil.example/", NULL, NULL, NULL), 400);
    assert_int_equal(
        status(&s, "GET", "/", "Origin: http://localhost:3000\r\n", NULL, "http://localhost:3000"),
        200);
    assert_int_equal(
        status(&s, "GET", "/", "Origin: https://chat.example\r\n", NULL, "https://chat.example"),
        200);
    assert_int_equal(status(&s, "GET", "/",
                            "Origin: http://localhost:3000\r\nOrigin: http://evil.example\r\n",
                            NULL, NULL),
                     403);
    static const char *const bad[] = {"http://evil.example", "null", "file://",
                                      "http://localhost.evil"};
    static const char *const paths[] = {
        "/", "/api/version", "/api/pull", "/api/generate", "/v1/chat/completions", "/nope"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char h[200];
        snprintf(h, sizeof h, "Origin: %s\r\nContent-Type: text/plain\r\n", bad[i]);
        for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
            assert_int_equal(status(&s, "GET", paths[k], h, NULL, NULL), 403);
            assert_int_equal(status(&s, "POST", paths[k], h, "{\"model\":\"x\"}", NULL), 403);
        }
        strcat(h, "Access-Control-Request-Method: POST\r\n"
                  "Access-Control-Request-Headers: x-odd\r\n");
        assert_int_equal(status(&s, "OPTIONS", "/api/generate", h, NULL, NULL), 403);
    }
    ask(&s, &a, "OPTIONS", "/api/generate",
        "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n"
        "Access-Control-Request-Headers: authorization,x-odd,x-stainless-os\r\n",
        NULL);
    assert_int_equal(a.status, 204);
    const char *allowed = answer_header(&a, "Access-Control-Allow-Headers");
    assert_non_null(strstr(allowed, "Authorization"));
    assert_non_null(strstr(allowed, "X-Stainless-OS"));
    assert_null(strcasestr(allowed, "x-odd"));
    assert_non_null(strstr(answer_header(&a, "Access-Control-Allow-Methods"), "DELETE"));
    answer_fini(&a);
    assert_int_equal(serve_stop(&s), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),
        cmocka_unit_test(origins),
        cmocka_unit_test(hostile_pattern),
        cmocka_unit_test(through_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
