/* `cria serve` as a process: its routes, errors in three dialects, settings, signals, its log. */
#include "serve_rig.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"

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

/* ---- metrics and log ---- */

static void metrics(void **state) {
    (void)state;
    struct answer a;
    for (int i = 0; i < 7; i++) {
        ask(&shared, &a, "GET", "/version", NULL, NULL);
        answer_fini(&a);
    }
    ask(&shared, &a, "GET", "/metrics", NULL, NULL);
    assert_string_equal(answer_header(&a, "Content-Type"),
                        "text/plain; version=0.0.4; charset=utf-8");
    assert_non_null(strstr(
        a.body.p, "cria_requests_total{route=\"/version\",method=\"GET\",status=\"200\"} 7\n"));
    assert_non_null(
        strstr(a.body.p, "cria_request_seconds_count{route=\"/version\",method=\"GET\"} 7\n"));
    /* Every line is a comment or NAME{LABELS} NUMBER. */
    for (char *rest = a.body.p, *line; (line = strsep(&rest, "\n")) && *line;) {
        char name[100], more[400];
        double v;
        if (line[0] == '#') continue;
        if (sscanf(line, "%99[a-z_]{%399[^}]} %lf", name, more, &v) != 3 &&
            sscanf(line, "%99[a-z_] %lf", name, &v) != 2)
            fail_msg("%s", line);
        assert_true(strncmp(name, "cria_", 5) == 0);
    }
    answer_fini(&a);
}

static void log_of_requests(void **state) {
    (void)state;
    struct answer a;
    ask(&shared, &a, "POST", "/api/%1b", NULL, "{}"); /* a control byte */
    assert_int_equal(a.status, 400);
    answer_fini(&a);
    ask(&shared, &a, "POST", "/x%22,%22status%22:999/%c3%a9?secret=1", NULL, "{}");
    const char *id = answer_header(&a, "X-Request-Id");
    assert_int_equal(serve_lines(&shared, id, "\"status\":404", 1), 1);
    assert_int_equal(serve_lines(&shared, id, "\"status\":999", 0), 0);
    assert_int_equal(serve_lines(&shared, id, "secret", 0), 0); /* no query */
    size_t n;
    char *text = (char *)slurp(shared.log, &n);
    text[n - 1] = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        json_t *j = json_loads(line, 0, NULL);
        if (!j || !json_object_get(j, "time")) fail_msg("%s", line);
        json_decref(j);
    }
    free(text);
    answer_fini(&a);
}

/* ---- settings ---- */

static void bad_settings(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"CRIA_KEEP_ALIVE=soon", "CRIA_KEEP_ALIVE"},
        {"OLLAMA_KEEP_ALIVE=5 m", "CRIA_KEEP_ALIVE"},
        {"OLLAMA_MAX_QUEUE=-1", "CRIA_MAX_QUEUE"},
        {"OLLAMA_NUM_PARALLEL=1e9", "CRIA_NUM_PARALLEL"},
        {"CRIA_MEMORY=lots", "CRIA_MEMORY"},
        {"CRIA_GRACE=", ""},
        {"OLLAMA_HOST=127.0.0.1:99999", "CRIA_HOST"},
        {"OLLAMA_HOST=[::1", "CRIA_HOST"},
        {"OLLAMA_HOST=127.0.0.1:x", "CRIA_HOST"},
        {"CRIA_LOG_FORMAT=xml", "CRIA_LOG_FORMAT"},
        {"CRIA_LOG_PROMPTS=maybe", "CRIA_LOG_PROMPTS"},
        {"CRIA_API_KEY_FILE=/nonexistent", "/nonexistent"},
        {"CRIA_CONFIG=/nonexistent", "/nonexistent"},
        {"CRIA_TLS_CERT=/nonexistent", "/nonexistent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf said = {0};
        if (!*cases[i][1]) continue;
        const int code = serve_fails(NULL, (const char *[]){cases[i][0], NULL}, &said);
        if ((code != 2 && code != 3) || !strstr(said.p, cases[i][1]))
            fail_msg("%s: %d %s", cases[i][0], code, said.p);
        buf_fini(&said);
    }
}

static void help_lists_settings(void **state) {
    (void)state;
    struct ran r;
    assert_int_equal(run_cria(&r, (const char *[]){"serve", "--help", NULL}, NULL, 0, 10), 0);
    static const char *const some[] = {"CRIA_HOST",   "127.0.0.1:11434", "CRIA_KEEP_ALIVE",
                                       "(5m)",        "CRIA_MAX_QUEUE",  "(512)",
                                       "CRIA_MEMORY", "CRIA_MODEL ",     "CRIA_ORIGINS",
                                       "CRIA_GRACE",  "(30s)",           "--api-key-file"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        if (!strstr(r.out.p, some[i])) fail_msg("%s: %s", some[i], r.out.p);
    ran_fini(&r);
}

static void write_file(const char *path, const char *text) {
    struct err e;
    if (os_write_file(path, text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
}

static int status_of_host(const struct serve *s, const char *host) {
    struct answer a;
    char h[100];
    snprintf(h, sizeof h, "Host: %s\r\n", host);
    ask(s, &a, "GET", "/", h, NULL);
    const int n = a.status;
    answer_fini(&a);
    return n;
}

/* HUP reads the file again; a file with a mistake changes nothing. */
static void reload(void **state) {
    (void)state;
    struct serve s;
    char *dir = temp_folder(), path[700];
    snprintf(path, sizeof path, "%s/settings", dir);
    write_file(path, "# names\n\nCRIA_ALLOWED_HOSTS = \"a.example\"\nKEEP_ALIVE=1m\n");
    serve_start(&s, (const char *[]){"--config", path, NULL}, NULL);
    assert_int_equal(status_of_host(&s, "a.example"), 200);
    assert_int_equal(status_of_host(&s, "b.example"), 403);
    write_file(path, "OLLAMA_ALLOWED_HOSTS=b.example\n");
    serve_signal(&s, SIGHUP);
    assert_int_equal(serve_lines(&s, "read again", "", 1), 1);
    assert_int_equal(status_of_host(&s, "a.example"), 403);
    assert_int_equal(status_of_host(&s, "b.example"), 200);
    static const char *const wrong[] = {"ALLOWED_HOSTS=c.example\nNO_SUCH=1\n",
                                        "ALLOWED_HOSTS=c.example\nnothing\n",
                                        "ALLOWED_HOSTS=c.example\nMAX_QUEUE=x\n",
                                        "ALLOWED_HOSTS=c.example\nAPI_KEY_FILE=/nonexistent\n"};
    for (int i = 0; i < 4; i++) {
        write_file(path, wrong[i]);
        serve_signal(&s, SIGHUP);
        assert_int_equal(serve_lines(&s, "stay as they were", "", i + 1), i + 1);
        assert_int_equal(status_of_host(&s, "b.example"), 200);
        assert_int_equal(status_of_host(&s, "c.example"), 403);
    }
    assert_int_equal(serve_stop(&s), 0);
    temp_remove(dir);
}

/* ---- where it listens, how it ends ---- */

static void addresses(void **state) {
    (void)state;
    struct serve s, other;
    struct buf said = {0};
    char *dir = temp_folder(), unix_path[700], port[64];
    snprintf(unix_path, sizeof unix_path, "unix:%s/s", dir);
    serve_start(&s,
                (const char *[]){"--listen", "localhost:0", "--listen", unix_path, "--listen",
                                 "[::1]:0", NULL},
                NULL);
    assert_int_equal(serve_lines(&s, "listening on [::1]:", "", 1), 1);
    assert_int_equal(serve_lines(&s, unix_path, "", 1), 1);
    struct stat st;
    assert_int_equal(stat(unix_path + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct ran r;
    assert_int_equal(run_program(&r, "/usr/bin/curl",
                                 (const char *[]){"-s", "--unix-socket", unix_path + 5,
                                                  "http://x/api/version", NULL},
                                 NULL, 0, 10),
                     0);
    assert_non_null(strstr(r.out.p, "version"));
    ran_fini(&r);
    /* Neither a port nor a socket is taken from a living server. */
    snprintf(port, sizeof port, "127.0.0.1:%d", s.port);
    assert_true(serve_fails((const char *[]){"--listen", port, NULL}, NULL, &said) != 0);
    assert_non_null(strstr(said.p, "in use"));
    assert_int_equal(serve_fails((const char *[]){"--listen", unix_path, NULL}, NULL, &said), 5);
    serve_kill(&s); /* leaves its socket behind */
    assert_int_equal(access(unix_path + 5, F_OK), 0);
    serve_start(&other, (const char *[]){"--listen", unix_path, NULL}, NULL);
    assert_int_equal(serve_stop(&other), 0);
    assert_int_equal(access(unix_path + 5, F_OK), -1);
    buf_fini(&said);
    temp_remove(dir);
}

/* From the moment it can be found it ends as asked, and takes its socket along. */
static void ended_as_it_begins(void **state) {
    (void)state;
    char *dir = temp_folder(), path[700];
    snprintf(path, sizeof path, "unix:%s/s", dir);
    for (int round = 0; round < 10; round++) {
        struct serve s;
        serve_launch(&s, (const char *[]){"--listen", path, NULL}, NULL);
        const int64_t until = os_now_ns() + 20000000000;
        while (access(path + 5, F_OK) != 0)
            if (os_now_ns() > until) fail_msg("no socket");
        serve_signal(&s, SIGTERM);
        assert_true(serve_ended(&s, 20));
        assert_int_equal(s.code, 0);
        assert_int_equal(access(path + 5, F_OK), -1);
        serve_kill(&s);
    }
    temp_remove(dir);
}

/* systemd's socket activation: LISTEN_FDS, by a shell that has the socket as descriptor 3. */
static void inherited_socket(void **state) {
    (void)state;
    const char *exe = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    struct serve s = {.dir = temp_folder()};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    s.port = ntohs(a.sin_port);
    s.pid = fork();
    if (s.pid == 0) {
        char pid[20];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(pid, sizeof pid, "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("CRIA_MODELS", s.dir, 1);
        if (!freopen("/dev/null", "we", stderr) || dup2(fd, 3) != 3) _exit(126);
        execl(exe, exe, "serve", (char *)NULL);
        _exit(127);
    }
    close(fd);
    json_decref(ask_json(&s, "GET", "/api/version", 200, "%s", "")); /* waits in the queue */
    assert_int_equal(serve_stop(&s), 0);
}

static void many_of_one_peer(void **state) {
    (void)state;
    struct serve s;
    struct wire w[5];
    struct answer a;
    serve_start(&s, NULL, (const char *[]){"CRIA_MAX_PEER_CONNECTIONS=3", NULL});
    for (int i = 0; i < 5; i++) {
        wire_open(&w[i], &s);
        wire_ask(&w[i], "GET", "/", NULL, NULL);
        assert_int_equal(wire_head(&w[i], &a, 5), i < 3);
        if (i < 3) answer_fini(&a);
    }
    for (int i = 0; i < 5; i++)
        wire_close(&w[i]);
    for (int i = 0; i < 100 && a.status != 200; i++) { /* once they have left */
        wire_open(&w[0], &s);
        wire_ask(&w[0], "GET", "/", NULL, NULL);
        if (wire_head(&w[0], &a, 5)) answer_fini(&a);
        wire_close(&w[0]);
    }
    assert_int_equal(a.status, 200);
    assert_int_equal(serve_stop(&s), 0);
}

/* Idle connections take no descriptor that somebody's request needs: the store is still read.  The
 * last test, as limits cannot be taken back. */
static void few_descriptors(void **state) {
    (void)state;
    enum { N = 185 };
    struct serve s;
    static struct wire w[N];
    struct answer a;
    struct rlimit few = {128, 200};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    serve_start(&s, NULL, NULL);
    few.rlim_cur = few.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < N; i++)
        wire_open(&w[i], &s);
    for (int i = 0; i < 100 && serve_descriptors(&s) < 105; i++)
        usleep(10000); /* until it has taken what it takes */
    wire_ask(&w[0], "POST", "/api/show", NULL, "{\"model\":\"none\"}");
    assert_true(wire_head(&w[0], &a, 10));
    assert_int_equal(a.status, 404);
    answer_fini(&a);
    assert_true(serve_lines(&s, "200 open files allow", "warning", 1) >= 1);
    for (int i = 0; i < N; i++)
        wire_close(&w[i]);
    assert_int_equal(serve_stop(&s), 0);
}

static void signals(void **state) {
    (void)state;
    static const int sigs[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct serve s;
        struct wire idle;
        serve_start(&s, NULL, NULL);
        wire_open(&idle, &s);
        serve_signal(&s, SIGPIPE);
        json_decref(ask_json(&s, "GET", "/health", 200, "%s", ""));
        serve_signal(&s, sigs[i]);
        assert_true(serve_ended(&s, 20)); /* an idle connection is not waited for */
        assert_int_equal(s.code, 0);
        wire_close(&idle);
        serve_kill(&s);
    }
}

int main(void) {
    const struct CMUnitTest with_server[] = {
        cmocka_unit_test(says_who_it_is),  cmocka_unit_test(no_such_route),
        cmocka_unit_test(kept_connection), cmocka_unit_test(metrics),
        cmocka_unit_test(log_of_requests),
    };
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(bad_settings),
        cmocka_unit_test(help_lists_settings),
        cmocka_unit_test(reload),
        cmocka_unit_test(addresses),
        cmocka_unit_test(ended_as_it_begins),
        cmocka_unit_test(inherited_socket),
        cmocka_unit_test(many_of_one_peer),
        cmocka_unit_test(signals),
        cmocka_unit_test(few_descriptors),
    };
    return cmocka_run_group_tests(with_server, start_shared, stop_shared) +
           cmocka_run_group_tests(alone, NULL, NULL);
}
