/* The audit log of `cria serve`: what is asked in three dialects, by whom, what goes out; a disk
 * that is full; a server that is killed; settings, pruning, forgetting. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api_rig.h"
#include "audit_rig.h"
#include "hostile.h"
#include "server_rig.h"

#define SECRET "the patient in room nine"

static const struct dialect {
    const char *path, *body;
} dialects[] = {
    {"/api/chat",
     "{\"model\":\"llama32\",\"stream\":%s,\"options\":{\"num_predict\":4,\"seed\":1,"
     "\"stop\":[\"" SECRET "\"]},\"messages\":[{\"role\":\"user\",\"content\":\"" SECRET "\"}]}"},
    {"/v1/chat/completions", "{\"model\":\"llama32\",\"stream\":%s,\"max_tokens\":4,\"seed\":1,"
                             "\"messages\":[{\"role\":\"user\",\"content\":\"" SECRET "\"}]}"},
    {"/v1/messages", "{\"model\":\"llama32\",\"stream\":%s,\"max_tokens\":4,\"temperature\":0,"
                     "\"messages\":[{\"role\":\"user\",\"content\":\"" SECRET "\"}]}"},
};
enum { N_DIALECT = 3 };

static const char *body_of(int d, bool stream) {
    static char text[600];
    snprintf(text, sizeof text, dialects[d].body, stream ? "true" : "false");
    return text;
}

static int post(const struct serve *s, int d, bool stream, struct answer *a) {
    ask(s, a, "POST", dialects[d].path, "Content-Type: application/json\r\n", body_of(d, stream));
    return a->status;
}

/* ---- the entries ---- */

/* All entries as JSON; waits until there are n of that type (the last are written a moment later).
 */
static json_t *entries(const char *file, const char *type, int n) {
    json_t *list = NULL;
    for (int tries = 0; tries < 500; tries++) {
        struct audit_text t;
        json_decref(list);
        list = json_array();
        audit_load(file, &t);
        for (int i = 0; i < t.n; i++) {
            json_t *o = json_loadb(t.line[i].p, t.line[i].n, 0, NULL);
            if (o && strcmp(text_of(o, "type"), type) == 0) json_array_append(list, o);
            json_decref(o);
        }
        audit_text_free(&t);
        if ((int)json_array_size(list) >= n) return list;
        usleep(10000);
    }
    fail_msg("%d entries \"%s\", not %d", (int)json_array_size(list), type, n);
    return NULL;
}

static json_t *newest(const char *file, const char *type, int n) {
    json_t *list = entries(file, type, n), *o;
    assert_int_equal(json_array_size(list), n);
    o = json_incref(json_array_get(list, (size_t)n - 1));
    json_decref(list);
    return o;
}

/* How many requests there were when the model was made. */
static int made(const char *file) {
    for (int n = 1; n < 100; n++) {
        json_t *list = entries(file, "request", n);
        const json_t *o = json_array_get(list, (size_t)n - 1);
        const bool last = strcmp(text_of(o, "route"), "/api/create") == 0;
        json_decref(list);
        if (last) return n;
    }
    fail_msg("no /api/create");
    return 0;
}

/* `cria audit ...` with the file last; its output, free() it. */
static char *audit_cli(const char *file, int code, const char *const *args, const void *in,
                       size_t n) {
    const char *argv[16] = {"audit"};
    int k = 1;
    struct ran r;
    for (; *args; args++)
        argv[k++] = *args;
    if (file) argv[k++] = file;
    run_cria(&r, argv, in, n, 30);
    if (r.code != code) fail_msg("cria audit %s: %d: %s", argv[1], r.code, r.err.p ? r.err.p : "");
    char *out = strdup(r.out.p ? r.out.p : "");
    ran_fini(&r);
    return out;
}

static void digest_is(const char *file, const char *text, const char *expected) {
    char log[900];
    snprintf(log, sizeof log, "--log=%s", file);
    char *out =
        audit_cli(NULL, 0, (const char *const[]){"digest", log, "-", NULL}, text, strlen(text));
    out[strcspn(out, "\n")] = 0;
    assert_string_equal(out, expected);
    free(out);
}

static void verify_says(const char *file, int code) {
    free(audit_cli(file, code, (const char *const[]){"verify", NULL}, NULL, 0));
}

static char *answer_text(const struct answer *a, int d) {
    json_t *o = answer_json(a);
    const char *text =
        d == 0 ? text_of(json_object_get(o, "message"), "content")
        : d == 1
            ? text_of(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message"),
                      "content")
            : text_of(json_array_get(json_object_get(o, "content"), 0), "text");
    char *copy = strdup(text);
    json_decref(o);
    return copy;
}

static void check_request(const char *file, int d, int n, bool stream, const char *answer) {
    json_t *o = newest(file, "request", n);
    assert_string_equal(text_of(o, "route"), dialects[d].path);
    assert_string_equal(text_of(o, "model"), "llama32:latest");
    assert_string_equal(text_of(o, "outcome"), "done");
    assert_string_equal(text_of(o, "peer"), "127.0.0.1");
    assert_int_equal(strlen(text_of(o, "digest")), 64);
    assert_int_equal(strlen(text_of(o, "id")), 16);
    assert_int_equal(json_integer_value(json_object_get(o, "status")), 200);
    assert_int_equal(json_integer_value(json_object_get(o, "tokens")), 4);
    assert_true(json_integer_value(json_object_get(o, "prompt_tokens")) > 5);
    assert_true(json_is_object(json_object_get(o, "options")));
    digest_is(file, body_of(d, stream), text_of(o, "prompt_hmac"));
    if (answer) digest_is(file, answer, text_of(o, "answer_hmac"));
    assert_int_equal(strlen(text_of(o, "answer_hmac")), 64);
    json_decref(o);
}

static void asked_in_three_dialects(void **state) {
    (void)state;
    for (int b = 0; b < 2; b++) {
        struct serve s;
        struct audit_place p;
        audit_place_open(&p, b ? "audit.jsonl" : "audit.db");
        serve_start(&s, NULL, (const char *const[]){"CRIA_AUDIT=required", p.set, NULL});
        api_make(&s, "llama32", "llama32", "");
        int n = made(p.file);
        for (int d = 0; d < N_DIALECT; d++)
            for (int stream = 0; stream < 2; stream++) {
                struct answer a;
                assert_int_equal(post(&s, d, stream, &a), 200);
                char *text = stream ? NULL : answer_text(&a, d);
                check_request(p.file, d, ++n, stream, text);
                free(text);
                answer_fini(&a);
            }
        json_t *begins = entries(p.file, "begin", 6);
        json_decref(begins);
        serve_signal(&s, SIGTERM);
        assert_true(serve_ended(&s, 20));
        assert_false(database_has(p.file, SECRET));
        verify_says(p.file, 0);
        json_t *stop = entries(p.file, "stop", 1);
        json_decref(stop);
        serve_kill(&s);
        audit_place_close(&p);
    }
}

/* ---- who may not ---- */

static void denied(void **state) {
    struct serve s;
    struct answer a;
    (void)state;
    char keys[600], key_set[700];
    struct audit_place p;
    audit_place_open(&p, "audit.db");
    snprintf(keys, sizeof keys, "%s/keys", p.dir);
    snprintf(key_set, sizeof key_set, "CRIA_API_KEY_FILE=%s", keys);
    audit_text_file(keys, "reader 0123456789abcdefREAD read\n");
    serve_start(&s, NULL, (const char *const[]){"CRIA_AUDIT=on", p.set, key_set, NULL});
    ask(&s, &a, "GET", "/api/tags", NULL, NULL);
    assert_int_equal(a.status, 401);
    answer_fini(&a);
    ask(&s, &a, "POST", "/api/chat", "Authorization: Bearer 0123456789abcdefREAD\r\n",
        body_of(0, 0));
    assert_int_equal(a.status, 403);
    answer_fini(&a);
    json_t *list = entries(p.file, "denied", 2), *o = json_array_get(list, 0);
    assert_int_equal(json_integer_value(json_object_get(o, "status")), 401);
    assert_string_equal(text_of(o, "key"), "");
    assert_string_equal(text_of(o, "outcome"), "refused");
    o = json_array_get(list, 1);
    assert_int_equal(json_integer_value(json_object_get(o, "status")), 403);
    assert_string_equal(text_of(o, "key"), "reader");
    json_decref(list);
    for (int i = 0; i < 400; i++) { /* who has no key does not fill the disk */
        ask(&s, &a, "GET", "/api/tags", NULL, NULL);
        answer_fini(&a);
    }
    serve_stop(&s);
    json_t *all = entries(p.file, "denied", 2), *more = entries(p.file, "denied_more", 0);
    size_t n = json_array_size(all), i;
    assert_true(n < 402);
    json_array_foreach(more, i, o) n += (size_t)json_integer_value(json_object_get(o, "requests"));
    assert_int_equal(n, 402);
    json_decref(all), json_decref(more);
    assert_false(database_has(p.file, SECRET));
    verify_says(p.file, 0);
    audit_place_close(&p);
}

/* ---- a full disk ---- */

static void limit_server(const struct serve *s, const char *file, bool full) {
    struct stat st;
    struct rlimit r;
    assert_int_equal(prlimit(s->pid, RLIMIT_FSIZE, NULL, &r), 0);
    assert_int_equal(stat(file, &st), 0);
    r.rlim_cur = full ? (rlim_t)st.st_size : r.rlim_max;
    assert_int_equal(prlimit(s->pid, RLIMIT_FSIZE, &r, NULL), 0);
}

static void is_refusal(const struct answer *a, int d) {
    json_t *o = answer_json(a);
    const json_t *error = json_object_get(o, "error");
    const char *said = d == 0 ? text_of(o, "error") : text_of(error, "message");
    assert_non_null(strstr(said, "audit log"));
    if (d == 1) assert_string_equal(text_of(error, "type"), "api_error");
    if (d == 2) assert_string_equal(text_of(error, "type"), "overloaded_error");
    if (d == 2) assert_string_equal(text_of(o, "type"), "error");
    assert_non_null(answer_header(a, "Retry-After"));
    json_decref(o);
}

static int metric(const struct serve *s, const char *name) {
    struct answer a;
    ask(s, &a, "GET", "/metrics", NULL, NULL);
    char want[80];
    snprintf(want, sizeof want, "\n%s ", name);
    const char *at = strstr(a.body.p, want);
    if (!at) fail_msg("%s is no metric", name);
    const int n = atoi(at + strlen(want));
    answer_fini(&a);
    return n;
}

/* A blob has come before its entry is seen to be missing. */
static void refused_uploads_leave_nothing(const struct serve *s) {
    char digest[80] = "sha256:";
    memset(digest + 7, '0', 64);
    digest[71] = 0;
    const int before = serve_descriptors(s);
    for (int i = 0; i < 20; i++)
        assert_int_equal(api_upload_bytes(s, digest, "hello", 5), 503);
    for (int i = 0; i < 300 && serve_descriptors(s) > before; i++)
        usleep(10000); /* connections that end */
    assert_true(serve_descriptors(s) <= before);
}

static void a_full_disk_fails_closed(void **state) {
    struct serve s;
    struct answer a;
    (void)state;
    struct audit_place p;
    audit_place_open(&p, "audit.jsonl");
    serve_start(&s, NULL, (const char *const[]){"CRIA_AUDIT=required", p.set, NULL});
    api_make(&s, "llama32", "llama32", "");
    for (int k = 0; k < 2 * N_DIALECT; k++) {
        assert_int_equal(post(&s, k / 2, k % 2, &a), 200);
        answer_fini(&a);
        limit_server(&s, p.file, true);
        /* The first finds it out while the model works for it, the second before. */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(post(&s, k / 2, k % 2, &a), 503);
            assert_true(a.whole);
            is_refusal(&a, k / 2);
            answer_fini(&a);
        }
        assert_int_equal(metric(&s, "cria_audit_failing"), 1);
        ask(&s, &a, "GET", "/health", NULL, NULL);
        assert_int_equal(a.status, 200);
        answer_fini(&a);
        ask(&s, &a, "DELETE", "/api/delete", NULL, "{\"model\":\"llama32\"}");
        assert_int_equal(a.status, 503); /* and it is still there: */
        answer_fini(&a);
        limit_server(&s, p.file, false);
        assert_int_equal(post(&s, k / 2, k % 2, &a), 200);
        answer_fini(&a);
        assert_int_equal(metric(&s, "cria_audit_failing"), 0);
    }
    /* The first to find it out is one that would change the store: nothing is done. */
    limit_server(&s, p.file, true);
    ask(&s, &a, "DELETE", "/api/delete", NULL, "{\"model\":\"llama32\"}");
    assert_int_equal(a.status, 503);
    answer_fini(&a);
    refused_uploads_leave_nothing(&s);
    limit_server(&s, p.file, false);
    assert_int_equal(post(&s, 0, false, &a), 200);
    answer_fini(&a);
    assert_true(metric(&s, "cria_audit_errors_total") >= 12);
    assert_int_equal(serve_stop(&s), 0);
    verify_says(p.file, 0);
    audit_place_close(&p);
}

static void a_full_disk_is_counted(void **state) {
    struct serve s;
    struct answer a;
    (void)state;
    struct audit_place p;
    audit_place_open(&p, "audit.jsonl");
    serve_start(&s, NULL, (const char *const[]){"CRIA_AUDIT=on", p.set, NULL});
    api_make(&s, "llama32", "llama32", "");
    assert_int_equal(post(&s, 0, false, &a), 200);
    answer_fini(&a);
    const int n = made(p.file) + 1;
    json_decref(entries(p.file, "request", n));
    limit_server(&s, p.file, true);
    for (int d = 0; d < N_DIALECT; d++) {
        assert_int_equal(post(&s, d, true, &a), 200);
        answer_fini(&a);
    }
    for (int i = 0; i < 300 && metric(&s, "cria_audit_errors_total") == 0; i++)
        usleep(10000);
    assert_true(metric(&s, "cria_audit_errors_total") > 0);
    assert_true(metric(&s, "cria_audit_waiting") >= N_DIALECT);
    limit_server(&s, p.file, false);
    json_decref(entries(p.file, "request", n + N_DIALECT)); /* they have waited */
    assert_int_equal(serve_stop(&s), 0);
    verify_says(p.file, 0);
    audit_place_close(&p);
}

/* ---- killed ---- */

static void killed_in_the_middle(void **state) {
    struct serve s;
    (void)state;
    for (int b = 0; b < 2; b++) {
        struct audit_place p;
        audit_place_open(&p, b ? "audit.jsonl" : "audit.db");
        const char *const env[] = {"CRIA_AUDIT=required", p.set, NULL};
        serve_start(&s, NULL, env);
        api_make(&s, "llama32", "llama32", "");
        struct wire w;
        struct answer a = {0};
        wire_open(&w, &s);
        wire_ask(&w, "POST", "/api/generate", NULL,
                 "{\"model\":\"llama32\",\"prompt\":\"x\",\"options\":{\"num_predict\":100000,"
                 "\"num_ctx\":100}}");
        assert_true(wire_head(&w, &a, 20)); /* the first byte: its entry is on the disk */
        assert_int_equal(a.status, 200);
        serve_kill(&s);
        wire_close(&w);
        answer_fini(&a);
        json_t *begins = entries(p.file, "begin", 1), *requests = entries(p.file, "request", 0);
        const json_t *last = json_array_get(begins, json_array_size(begins) - 1);
        assert_string_equal(text_of(last, "route"), "/api/generate");
        size_t i;
        json_t *o;
        json_array_foreach(requests, i, o)
            assert_string_not_equal(text_of(o, "id"), text_of(last, "id"));
        json_decref(begins), json_decref(requests);
        serve_start(&s, NULL, env);
        json_t *start = newest(p.file, "start", 2);
        assert_string_equal(text_of(start, "after"), "crash");
        json_decref(start);
        serve_stop(&s);
        verify_says(p.file, 0);
        audit_place_close(&p);
    }
}

/* ---- more of what is told ---- */

static void what_goes_out(void **state) {
    struct serve s;
    struct answer a;
    (void)state;
    char body[200];
    struct audit_place p;
    audit_place_open(&p, "audit.db");
    audit_place_config(&p, "KEEP_ALIVE=1m\n");
    const char *const env[] = {"CRIA_AUDIT=required", p.set, p.use,
                               "CRIA_CACHE_URL=redis://me:p@ss@127.0.0.1:1/0", NULL};
    struct buf said = {0};
    serve_start(&s, NULL, env);
    assert_int_equal(serve_fails(NULL, env, &said), 1); /* two servers, one log */
    assert_non_null(strstr(said.p, "writes this audit log"));
    buf_fini(&said);
    json_t *o = newest(p.file, "settings", 1);
    assert_string_equal(text_of(json_object_get(o, "settings"), "KEEP_ALIVE"), "60s");
    assert_string_equal(text_of(json_object_get(o, "settings"), "AUDIT"), "required");
    assert_string_equal(text_of(json_object_get(o, "settings"), "CACHE_URL"),
                        "redis://@127.0.0.1:1/0"); /* without its password */
    json_decref(o);
    audit_place_config(&p, "KEEP_ALIVE=2m\n");
    serve_signal(&s, SIGHUP);
    o = newest(p.file, "settings", 2);
    assert_int_equal(json_object_size(json_object_get(o, "settings")), 1);
    assert_string_equal(text_of(json_object_get(o, "settings"), "KEEP_ALIVE"), "120s");
    json_decref(o);
    /* What a reload cannot change is refused, and not told as if it had. */
    static const char *const fixed[] = {"AUDIT_ROTATE=1m\n", "AUDIT_SIGN_KEY=/k\n",
                                        "AUDIT_CONTENT=1\n", "ISOLATION=on\n",
                                        "AUDIT_KEY_FILE=/k\n"};
    for (int i = 0; i < 5; i++) {
        audit_place_config(&p, fixed[i]);
        serve_signal(&s, SIGHUP);
        assert_int_equal(
            serve_lines(&s, "settings stay as they were", "a restart changes it", i + 1), i + 1);
    }
    json_decref(newest(p.file, "settings", 2));

    /* Nobody listens there: it was tried. */
    const int port = server_free_port();
    snprintf(body, sizeof body,
             "{\"model\":\"127.0.0.1:%d/a/b\",\"insecure\":true,\"stream\":false}", port);
    ask(&s, &a, "POST", "/api/pull", NULL, body);
    assert_true(a.status >= 400);
    answer_fini(&a);
    json_t *list = entries(p.file, "connect", 1);
    o = json_array_get(list, 0);
    assert_string_equal(text_of(o, "purpose"), "registry");
    assert_string_equal(text_of(o, "host"), "127.0.0.1");
    assert_string_equal(text_of(o, "address"), "127.0.0.1");
    assert_int_equal(json_integer_value(json_object_get(o, "port")), port);
    json_decref(list);
    serve_stop(&s);
    verify_says(p.file, 0);
    audit_place_close(&p);
}

/* Options stand over settings, in the log as well. */
static void options_are_told(void **state) {
    struct serve s;
    (void)state;
    struct audit_place p;
    audit_place_open(&p, "audit.db");
    serve_start(&s, (const char *const[]){"--allow-remote", "--isolation=best-effort", NULL},
                (const char *const[]){"CRIA_AUDIT=on", p.set, NULL});
    json_t *o = newest(p.file, "settings", 1);
    assert_string_equal(text_of(json_object_get(o, "settings"), "ALLOW_REMOTE"), "1");
    assert_string_equal(text_of(json_object_get(o, "settings"), "ISOLATION"), "best-effort");
    json_decref(o);
    serve_stop(&s);
    audit_place_close(&p);
}

/* Required since SIGHUP: from then on what cannot be written down does not go out. */
static void required_later(void **state) {
    struct serve s;
    struct answer a;
    (void)state;
    char far[64];
    struct audit_place p;
    audit_place_open(&p, "audit.jsonl");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    snprintf(far, sizeof far, "CRIA_FALLBACK_URL=http://127.0.0.1:%d/v1", ntohs(at.sin_port));
    for (int later = 0; later < 2; later++) {
        audit_place_config(&p, later ? "AUDIT=required\n" : "AUDIT=on\n");
        if (!later)
            serve_start(&s, NULL,
                        (const char *const[]){p.set, p.use, far, "CRIA_FALLBACK_MODEL=m", NULL});
    }
    serve_signal(&s, SIGHUP);
    json_decref(newest(p.file, "settings", 2));
    limit_server(&s, p.file, true);
    ask(&s, &a, "POST", "/api/generate", NULL, "{\"model\":\"nobody\",\"prompt\":\"" SECRET "\"}");
    assert_int_equal(a.status, 503);
    answer_fini(&a);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    limit_server(&s, p.file, false);
    serve_stop(&s);
    verify_says(p.file, 0);
    close(fd);
    audit_place_close(&p);
}

/* Answers once, and counts whether more comes by the same connection. */
static void answer_and_keep(void *ctx, int fd, const struct hostile_request *q) {
    static const char whole[] =
        "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"far\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}";
    char body[4096], n[24];
    hostile_header(q, "Content-Length", n, sizeof n);
    assert_true((size_t)atol(n) < sizeof body);
    hostile_body(fd, q, body, (size_t)atol(n));
    hostile_say(fd,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                sizeof whole - 1);
    hostile_send(fd, whole, sizeof whole - 1);
    if (recv(fd, body, 1, 0) > 0) atomic_fetch_add((atomic_int *)ctx, 1);
}

/* The connection was told of before: the prompt itself waits for its entry. */
static void nothing_leaves_unwritten(void **state) {
    struct serve s;
    struct answer a;
    struct hostile far;
    atomic_int n_more = 0;
    char url[64];
    (void)state;
    struct audit_place p;
    audit_place_open(&p, "audit.jsonl");
    hostile_start(&far, answer_and_keep, &n_more);
    snprintf(url, sizeof url, "CRIA_FALLBACK_URL=http://127.0.0.1:%d/v1", far.port);
    serve_start(
        &s, NULL,
        (const char *const[]){"CRIA_AUDIT=required", p.set, url, "CRIA_FALLBACK_MODEL=m", NULL});
    for (int full = 0; full < 2; full++) {
        if (full) limit_server(&s, p.file, true);
        ask(&s, &a, "POST", "/api/generate", NULL,
            "{\"model\":\"nobody\",\"prompt\":\"" SECRET "\",\"stream\":false}");
        assert_int_equal(a.status, full ? 503 : 200);
        if (full) is_refusal(&a, 0);
        answer_fini(&a);
    }
    assert_int_equal(atomic_load(&far.n_connections), 1);
    assert_int_equal(atomic_load(&n_more), 0);
    limit_server(&s, p.file, false);
    serve_stop(&s);
    hostile_stop(&far);
    verify_says(p.file, 0);
    audit_place_close(&p);
}

static void pruned_while_it_runs(void **state) {
    struct serve s;
    (void)state;
    for (int b = 0; b < 2; b++) {
        char host[64];
        struct audit_place p;
        audit_place_open(&p, b ? "audit.jsonl" : "audit.db");
        serve_start(&s, NULL, (const char *const[]){"CRIA_AUDIT=required", p.set, NULL});
        snprintf(host, sizeof host, "127.0.0.1:%d", s.port);
        setenv("CRIA_HOST", host, 1), setenv("CRIA_AUDIT_FILE", p.file, 1);
        free(audit_cli(NULL, 2, (const char *const[]){"prune", "--before", "yesterday", NULL}, NULL,
                       0));
        char *out = audit_cli(
            NULL, 0, (const char *const[]){"prune", "--before", "2100-01-01", "--json", NULL}, NULL,
            0);
        assert_non_null(strstr(out, "\"pruned\""));
        free(out);
        unsetenv("CRIA_HOST"), unsetenv("CRIA_AUDIT_FILE");
        json_t *checkpoint = newest(p.file, "checkpoint", 1);
        assert_string_equal(text_of(checkpoint, "why"), "prune");
        json_decref(checkpoint);
        json_decref(ask_json(&s, "GET", "/api/tags", 200, "%s", ""));
        verify_says(p.file, 0);
        serve_stop(&s);
        verify_says(p.file, 0);
        audit_place_close(&p);
    }
}

/* A model that is used with a log only. */
static void a_model_that_requires(void **state) {
    struct serve s;
    struct answer a;
    (void)state;
    struct audit_place p;
    audit_place_open(&p, "audit.db");
    audit_place_config(
        &p, "[model llama32]\npolicy = audit=required\n[model gone]\nfallback = llama32\n");
    for (int on = 0; on < 2; on++) {
        serve_start(
            &s, NULL,
            (const char *const[]){on ? "CRIA_AUDIT=on" : "CRIA_AUDIT=off", p.set, p.use, NULL});
        api_make(&s, "llama32", "llama32", "");
        api_make(&s, "other", "llama32", "");
        for (int d = 0; d < N_DIALECT; d++) {
            assert_int_equal(post(&s, d, false, &a), on ? 200 : 503);
            if (!on) is_refusal(&a, d);
            answer_fini(&a);
        }
        json_decref(ask_json(&s, "POST", "/api/generate", 200,
                             "{\"model\":\"other\",\"prompt\":\"a\",\"stream\":false}"));
        /* Nor does it stand in for another. */
        json_t *o = ask_json(&s, "POST", "/api/generate", on ? 200 : 404,
                             "{\"model\":\"gone\",\"prompt\":\"a\",\"stream\":false}");
        if (!on && !strstr(text_of(o, "error"), "with an audit log only"))
            fail_msg("%s", text_of(o, "error"));
        json_decref(o);
        serve_stop(&s);
    }
    json_t *list = entries(p.file, "begin", N_DIALECT + 1);
    assert_int_equal(json_array_size(list), N_DIALECT + 1);
    json_decref(list);
    audit_place_close(&p);
}

/* Only who has the private key reads what was said. */
static void encrypted_texts(void **state) {
    static const char *const kinds[] = {"X25519", "RSA"};
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct serve s;
        struct answer a;
        char key[700], private[700], other[700];
        struct audit_place p;
        audit_place_open(&p, "audit.db");
        snprintf(key, sizeof key, "CRIA_AUDIT_PUBLIC_KEY=%s/own.pub.pem", p.dir);
        snprintf(private, sizeof private, "--private-key=%s/own.pem", p.dir);
        snprintf(other, sizeof other, "--private-key=%s/other.pem", p.dir);
        audit_make_key(p.dir, "own", kinds[k]);
        audit_make_key(p.dir, "other", kinds[k]);
        serve_start(
            &s, NULL,
            (const char *const[]){"CRIA_AUDIT=on", "CRIA_AUDIT_CONTENT=on", p.set, key, NULL});
        api_make(&s, "llama32", "llama32", "");
        assert_int_equal(post(&s, 1, false, &a), 200);
        char *text = answer_text(&a, 1);
        answer_fini(&a);
        serve_stop(&s);
        assert_false(database_has(p.file, SECRET));
        verify_says(p.file, 0);
        char *out = audit_cli(p.file, 0,
                              (const char *const[]){"export", private, "--model", "llama32", NULL},
                              NULL, 0);
        char *line = strstr(out, "/v1/chat/completions"); /* the last one */
        while (line && line > out && line[-1] != '\n')
            line--;
        json_t *o = json_loads(line ? line : out, 0, NULL);
        if (!o) fail_msg("%s", out);
        assert_string_equal(text_of(o, "prompt"), body_of(1, false));
        assert_string_equal(text_of(o, "answer"), text);
        assert_null(json_object_get(o, "content"));
        json_decref(o);
        free(out), free(text);
        free(audit_cli(p.file, 1, (const char *const[]){"export", other, NULL}, NULL, 0));
        /* Without a key it is what it is, and verifies as JSON lines. */
        char to[700];
        snprintf(to, sizeof to, "%s/out.jsonl", p.dir);
        free(audit_cli(p.file, 0, (const char *const[]){"export", "-o", to, NULL}, NULL, 0));
        verify_says(to, 0);
        audit_place_close(&p);
    }
}

static void forgotten_but_told(void **state) {
    struct serve s;
    struct ran r;
    (void)state;
    char host[64], prefix[700], page[700], history[700];
    struct audit_place p;
    audit_place_open(&p, "audit.db");
    snprintf(prefix, sizeof prefix, "CRIA_CACHE=%s/prefix", p.dir);
    serve_start(&s, NULL, (const char *const[]){"CRIA_AUDIT=required", p.set, prefix, NULL});
    api_make(&s, "llama32", "llama32", "");
    json_t *o =
        ask_json(&s, "POST", "/v1/responses", 200,
                 "{\"model\":\"llama32\",\"input\":\"" SECRET "\",\"max_output_tokens\":16}");
    char id[100];
    snprintf(id, sizeof id, "/v1/responses/%s", text_of(o, "id"));
    json_decref(o);
    json_decref(ask_json(&s, "GET", id, 200, "%s", ""));
    snprintf(page, sizeof page, "%s/prefix", p.dir);
    mkdir(page, 0700);
    snprintf(page, sizeof page, "%s/prefix/0123456789abcdef0123456789abcdef.kv", p.dir);
    close(open(page, O_CREAT | O_WRONLY, 0600));
    snprintf(host, sizeof host, "127.0.0.1:%d", s.port);
    snprintf(history, sizeof history, "%s/.cria/history", s.dir);
    char *home = strdup(getenv("HOME") ? getenv("HOME") : "/");
    setenv("CRIA_HOST", host, 1), setenv("HOME", s.dir, 1);
    close(open(history, O_CREAT | O_WRONLY, 0600));
    run_cria(&r, (const char *const[]){"data", "retention", "--json", NULL}, NULL, 0, 30);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out.p, p.file));
    ran_fini(&r);
    run_cria(&r, (const char *const[]){"forget", "--all", NULL}, NULL, 0, 30);
    assert_int_equal(r.code, 2); /* nobody can be asked */
    ran_fini(&r);
    run_cria(&r, (const char *const[]){"forget", "--all", "--yes", "--json", NULL}, NULL, 0, 30);
    if (r.code != 0) fail_msg("%s", r.err.p);
    o = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(o, "responses")), 1);
    assert_int_equal(json_integer_value(json_object_get(o, "history")), 1);
    assert_true(json_integer_value(json_object_get(o, "prefix_cache")) >= 1);
    json_decref(o);
    ran_fini(&r);
    setenv("HOME", home, 1), unsetenv("CRIA_HOST");
    free(home);
    assert_int_not_equal(access(history, F_OK), 0);
    assert_int_not_equal(access(page, F_OK), 0);
    json_decref(ask_json(&s, "GET", id, 404, "%s", ""));
    o = newest(p.file, "forget", 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "wiped"), "responses")),
                     1);
    json_decref(o);
    char db[700];
    snprintf(db, sizeof db, "%s/.cria/responses.db", s.dir);
    assert_false(database_has(db, SECRET));
    serve_stop(&s);
    verify_says(p.file, 0);
    audit_place_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_in_three_dialects),  cmocka_unit_test(denied),
        cmocka_unit_test(a_full_disk_fails_closed), cmocka_unit_test(a_full_disk_is_counted),
        cmocka_unit_test(killed_in_the_middle),     cmocka_unit_test(what_goes_out),
        cmocka_unit_test(pruned_while_it_runs),     cmocka_unit_test(a_model_that_requires),
        cmocka_unit_test(encrypted_texts),          cmocka_unit_test(forgotten_but_told),
        cmocka_unit_test(required_later),           cmocka_unit_test(options_are_told),
        cmocka_unit_test(nothing_leaves_unwritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
