/* What a server tells of itself: /metrics as promtool reads it, the dashboard's names, /ready,
 * /api/stats, `cria top`, and the trace that a request is part of. */
#include "server_rig.h"
#include "train_rig.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "server/trace.h"

static struct serve S;

static int start(void **state) {
    (void)state;
    serve_start(&S, NULL, NULL);
    train_base(&S);
    return 0;
}

static int stop(void **state) {
    (void)state;
    return serve_stop(&S);
}

static void generate(void) {
    struct buf error = {0};
    assert_int_equal(
        api_status(&S, "POST", "/api/generate",
                   "{\"model\":\"base\",\"prompt\":\"a\",\"stream\":false,\"options\":{"
                   "\"num_predict\":8,\"temperature\":0,\"ignore_eos\":true}}",
                   &error),
        200);
    buf_fini(&error);
}

static char *metrics_text(void) {
    struct answer a;
    ask(&S, &a, "GET", "/metrics", NULL, NULL);
    assert_int_equal(a.status, 200);
    char *text = strdup(a.body.p);
    answer_fini(&a);
    return text;
}

/* The value of a line "NAME{LABELS} V" that begins so; -1: there is none. */
static double value_of(const char *text, const char *begins) {
    const size_t n = strlen(begins);
    for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL)
        if (strncmp(line, begins, n) == 0) return atof(strchr(line, ' ') + 1);
    return -1;
}

/* ---- /metrics ---- */

static void promtool_likes_it(void **state) {
    (void)state;
    struct ran r;
    if (access("/usr/bin/promtool", X_OK) != 0) fail_msg("promtool: ./quickstart test installs it");
    generate();
    char *text = metrics_text();
    const char *const args[] = {"check", "metrics", NULL};
    if (run_program(&r, "/usr/bin/promtool", args, text, strlen(text), 30) != 0 || r.err.n ||
        r.out.n)
        fail_msg("%s%s", r.out.p ? r.out.p : "", r.err.p ? r.err.p : "");
    ran_fini(&r);
    free(text);
}

/* The metrics once so many requests have been counted, which is a moment after their answers. */
static char *metrics_of(double n) {
    for (int i = 0; i < 400; i++) {
        char *text = metrics_text();
        if (value_of(text, "cria_queue_seconds_count ") >= n) return text;
        free(text);
        usleep(5000);
    }
    fail_msg("never %g requests", n);
    return NULL;
}

static void counts(void **state) {
    (void)state;
    usleep(300000); /* what was before has been counted */
    char *first = metrics_text();
    generate();
    char *before = metrics_of(value_of(first, "cria_queue_seconds_count ") + 1);
    generate();
    char *after = metrics_of(value_of(before, "cria_queue_seconds_count ") + 1);
    static const char *const once[] = {"cria_token_seconds_count ",
                                       "cria_first_token_seconds_count ",
                                       "cria_queue_seconds_count "};
    for (size_t i = 0; i < sizeof once / sizeof *once; i++)
        assert_true(value_of(after, once[i]) == value_of(before, once[i]) + 1);
    assert_true(value_of(after, "cria_tokens_total ") ==
                value_of(before, "cria_tokens_total ") + 8);
    assert_true(value_of(after, "cria_model_slots{model=\"base:latest\"} ") >= 1);
    assert_true(value_of(after, "cria_model_weights_bytes{model=\"base:latest\"} ") > 1000);
    assert_true(value_of(after, "cria_model_kv_bytes{model=\"base:latest\"} ") >= 0);
    const double used = value_of(after, "cria_model_used_bytes{model=\"base:latest\"} ");
    assert_true(used > 1 << 20 && used == value_of(after, "cria_memory_used_bytes "));
    assert_true(value_of(after, "cria_front_resident_bytes ") > 1 << 20);
    assert_true(value_of(after, "cria_start_time_seconds ") > 1.7e9);
    assert_non_null(strstr(after, "cria_build_info{version="));
    free(first), free(before), free(after);
}

/* Every metric that the dashboard asks for is one that the server has. */
static void dashboard_names(void **state) {
    (void)state;
    size_t n;
    int n_name = 0;
    char *board = (char *)slurp("packaging/grafana/cria.json", &n), *text = metrics_text();
    json_t *j = json_loadb(board, n, 0, NULL);
    assert_non_null(j);
    json_decref(j);
    for (const char *p = board; (p = strstr(p, "cria_")); n_name++) {
        char name[100], type[120];
        size_t len = 0;
        while (islower((unsigned char)p[len]) || p[len] == '_')
            len++;
        snprintf(name, sizeof name, "%.*s", (int)len, p);
        char *bucket = strstr(name, "_bucket");
        if (bucket) *bucket = 0;
        snprintf(type, sizeof type, "# TYPE %s ", name);
        if (!strstr(text, type)) fail_msg("%s is no metric", name);
        p += len;
    }
    assert_true(n_name > 15);
    free(board), free(text);
}

/* ---- /ready ---- */

/* With a model to load first it is not ready before that is there, and it is when that cannot be.
 */
static void ready(void **state) {
    (void)state;
    struct answer a;
    ask(&S, &a, "GET", "/ready", NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body.p, "\"ready\""));
    answer_fini(&a);

    struct serve was = S;
    serve_start(&S, NULL, (const char *const[]){"CRIA_MODEL=no-such-host.invalid/a/b", NULL});
    int status = 0;
    for (int i = 0; i < 600 && status != 200; i++) {
        ask(&S, &a, "GET", "/ready", NULL, NULL);
        status = a.status;
        if (status != 200) {
            assert_int_equal(status, 503);
            assert_non_null(strstr(a.body.p, "\"loading\""));
            usleep(100000);
        }
        answer_fini(&a);
    }
    assert_int_equal(status, 200);
    assert_int_equal(serve_stop(&S), 0);
    S = was;
}

/* ---- top ---- */

static void top(void **state) {
    (void)state;
    struct ran r;
    generate();
    const char *const args[] = {"top", "-n", "2", "-i", "0.1", NULL};
    char host[32];
    snprintf(host, sizeof host, "127.0.0.1:%d", S.port);
    setenv("CRIA_HOST", host, 1);
    if (run_cria(&r, args, NULL, 0, 30) != 0) fail_msg("%s", r.err.p);
    assert_null(strchr(r.out.p, '\033')); /* no terminal */
    assert_non_null(strstr(r.out.p, "requests "));
    const char *first = strstr(r.out.p, "base:latest");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "base:latest")); /* two looks */
    ran_fini(&r);
    const char *const json[] = {"top", "-n", "1", "--json", NULL};
    assert_int_equal(run_cria(&r, json, NULL, 0, 30), 0);
    json_t *j = json_loadb(r.out.p, r.out.n, 0, NULL);
    assert_true(json_integer_value(json_object_get(json_object_get(j, "stats"), "tokens")) >= 8);
    assert_int_equal(json_array_size(json_object_get(j, "models")), 1);
    json_decref(j);
    ran_fini(&r);
    setenv("CRIA_HOST", "127.0.0.1:9", 1);
    assert_int_equal(run_cria(&r, json, NULL, 0, 30), 4);
    ran_fini(&r);
    unsetenv("CRIA_HOST");
}

static void *run_top(void *arg) {
    static const char *const args[] = {"top", "-n", "2", "-i", "4", "--json", NULL};
    run_cria(arg, args, NULL, 0, 30);
    return NULL;
}

/* A server that was started again begins at zero: nothing goes backwards. */
static void top_over_a_restart(void **state) {
    (void)state;
    struct serve s;
    struct ran r;
    struct answer a;
    pthread_t t;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", server_free_port());
    const char *const args[] = {"--listen", address, NULL};
    serve_start(&s, args, NULL);
    for (int i = 0; i < 40; i++) {
        ask(&s, &a, "GET", "/api/tags", NULL, NULL);
        answer_fini(&a);
    }
    setenv("CRIA_HOST", address, 1);
    assert_int_equal(pthread_create(&t, NULL, run_top, &r), 0);
    usleep(1500000);
    serve_stop(&s);
    serve_start(&s, args, NULL);
    pthread_join(t, NULL);
    unsetenv("CRIA_HOST");
    if (r.code != 0) fail_msg("%s", r.err.p);
    const char *second = strchr(r.out.p, '\n');
    json_t *j = json_loads(second ? second : "", JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *rates = json_object_get(j, "rates");
    assert_non_null(rates);
    if (json_number_value(json_object_get(rates, "requests")) < 0) fail_msg("%s", second);
    json_decref(j);
    ran_fini(&r);
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- traces ---- */

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void trace_headers(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "00",
                                      "00-" ID "-" SPAN,
                                      "00-" ID "-" SPAN "-0",
                                      "00-" ID "-" SPAN "-01 ",
                                      "00-" ID "-" SPAN "-01-x",
                                      "ff-" ID "-" SPAN "-01",
                                      "0g-" ID "-" SPAN "-01",
                                      "00-00000000000000000000000000000000-" SPAN "-01",
                                      "00-" ID "-0000000000000000-01",
                                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
                                      "00_" ID "-" SPAN "-01",
                                      "cc-" ID "-" SPAN "-01x"};
    static const char *const good[] = {"00-" ID "-" SPAN "-01", "00-" ID "-" SPAN "-00",
                                       "cc-" ID "-" SPAN "-03-more"};
    struct trace t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (trace_parse(str_of(bad[i]), &t)) fail_msg("%s", bad[i]);
        assert_string_equal(t.id, "");
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(trace_parse(str_of(good[i]), &t));
        assert_string_equal(t.id, ID);
        assert_string_equal(t.span, SPAN);
        assert_int_equal(t.sampled, i != 1);
    }
}

static void trace_in_log(void **state) {
    (void)state;
    struct answer a;
    ask(&S, &a, "GET", "/version", "traceparent: 00-" ID "-" SPAN "-01\r\n", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(serve_lines(&S, "\"trace_id\":\"" ID "\"", "\"parent_span\":\"" SPAN "\"", 1),
                     1);
    answer_fini(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promtool_likes_it),
        cmocka_unit_test(counts),
        cmocka_unit_test(dashboard_names),
        cmocka_unit_test(ready),
        cmocka_unit_test(top),
        cmocka_unit_test(top_over_a_restart),
        cmocka_unit_test(trace_headers),
        cmocka_unit_test(trace_in_log),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
