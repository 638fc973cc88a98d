/* Commands and a server that lies: what it answers never hangs, fills memory, reaches the terminal
 * as it is, or passes for the truth; keys go to whom the user named. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"
#include "support.h"

static struct hostile server;
static char *dir;
static atomic_int n_elsewhere; /* requests to where a redirect led */
static char key_seen[2048];

/* How it behaves behind HEAD /, which is well unless head_status says other. */
static struct lie {
    int head_status, status; /* 0: 200 */
    const char *headers, *body;
    size_t flood;    /* of blanks, after the body, without a line's end */
    bool no_length;  /* the end of the connection is the end of the body */
    bool cut;        /* a Content-Length that is not reached */
    bool raw;        /* the body is all that is sent */
    bool shown_well; /* /api/show is fine */
} lie;

static void flood(int fd, size_t n) {
    static char blanks[65536];
    memset(blanks, ' ', sizeof blanks);
    for (size_t sent = 0; sent < n && hostile_send(fd, blanks, sizeof blanks);)
        sent += sizeof blanks;
}

static void answer(void *ctx, int fd, const struct hostile_request *q) {
    (void)ctx;
    static const char shown[] = "{\"capabilities\": [\"completion\"], \"details\": {}}";
    const char *body = lie.body ? lie.body : "", *headers = lie.headers ? lie.headers : "";
    if (strncmp(q->path, "/elsewhere", 10) == 0) n_elsewhere++;
    if (q->authorization[0]) snprintf(key_seen, sizeof key_seen, "%s", q->authorization);
    if (strcmp(q->method, "HEAD") == 0) {
        hostile_answer(fd, lie.head_status ? lie.head_status : 200, lie.head_status ? headers : "",
                       "", 0);
        return;
    }
    if (lie.shown_well && strcmp(q->path, "/api/show") == 0) {
        hostile_answer(fd, 200, "", shown, strlen(shown));
        return;
    }
    if (lie.raw) {
        hostile_send(fd, body, strlen(body));
    } else if (lie.cut || lie.no_length || lie.flood) {
        hostile_say(fd, "HTTP/1.1 %d x\r\n%s%s\r\n", lie.status ? lie.status : 200, headers,
                    lie.cut ? "Content-Length: 100000\r\n" : "Connection: close\r\n");
        hostile_send(fd, body, strlen(body));
        flood(fd, lie.flood);
    } else {
        hostile_answer(fd, lie.status ? lie.status : 200, headers, body, strlen(body));
    }
}

static int set_up(void **state) {
    (void)state;
    char host[64];
    signal(SIGPIPE, SIG_IGN);
    dir = temp_folder();
    setenv("HOME", dir, 1);
    hostile_start(&server, answer, NULL);
    snprintf(host, sizeof host, "http://127.0.0.1:%d", server.port);
    setenv("CRIA_HOST", host, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    hostile_stop(&server);
    temp_remove(dir);
    return 0;
}

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }

/* It fails with this exit code and says so in one line, nothing is printed, and the answer is not
 * what memory goes to. */
static void fails(const char *const *args, int code, const char *said) {
    struct ran r;
    run_cria(&r, args, "", 0, 60);
    if (r.code != code || !strstr(r.err.p ? r.err.p : "", said))
        fail_msg("%s: exit %d (expected %d), said %s (expected %s)", args[0], r.code, code, r.err.p,
                 said);
    assert_non_null(strstr(r.err.p, "Error: "));
    assert_null(strchr(r.err.p, '\033'));
    assert_true(r.err.n < 2000);
    assert_true(r.peak_rss_bytes < (size_t)300 << 20);
    ran_fini(&r);
}

/* Each command that asks something. */
static void all_fail(int code, const char *said) {
    fails(ARGS("list"), code, said);
    fails(ARGS("ps"), code, said);
    fails(ARGS("show", "m"), code, said);
    fails(ARGS("pull", "m"), code, said);
    fails(ARGS("push", "m"), code, said);
    fails(ARGS("run", "m", "hi"), code, said);
    lie.shown_well = true;
    fails(ARGS("run", "m", "hi"), code, said);
}

static void errors_in_words(void **state) {
    (void)state;
    lie = (struct lie){.status = 500, .body = "{\"error\": \"the disk is full\"}"};
    all_fail(1, "Error: the disk is full\n");
    lie = (struct lie){.status = 400, .body = "{\"error\": {\"message\": \"not so\"}}"};
    all_fail(2, "Error: not so\n");
    lie = (struct lie){.status = 503, .body = "{\"error\": \"server busy\"}"};
    all_fail(1, "Error: server busy\n");
    lie = (struct lie){.status = 401, .body = "{\"error\": \"unauthorized\"}"};
    all_fail(5, "Error: unauthorized (CRIA_API_KEY=KEY sends one)\n");
    lie = (struct lie){.status = 500, .body = "{\"error\": \"\\u001b[2J\\nall gone\"}"};
    all_fail(1, "Error: \\x1b[2J");
    lie = (struct lie){.status = 502, .body = "<html>Bad Gateway</html>"};
    all_fail(1, "answered with status 502\n");
}

static void no_such_server(void **state) {
    (void)state;
    lie = (struct lie){.body = "<!DOCTYPE html><html><body>Welcome</body></html>\n"};
    all_fail(1, "found \"<!DOCTYPE html><html>");
    lie = (struct lie){.body = "\033[31mred\n"};
    all_fail(1, "JSON of a Cria or Ollama server is accepted");
    lie = (struct lie){.body = "[1, 2, 3]\n"};
    all_fail(1, "JSON of a Cria or Ollama server is accepted");
    lie = (struct lie){.body = "{}"};
    fails(ARGS("list"), 1, "an answer without \"models\"");
    fails(ARGS("ps"), 1, "an answer without \"models\"");
    fails(ARGS("show", "m"), 1, "an answer without \"model_info\"");
    lie = (struct lie){.raw = true, .body = "220 mail.example ESMTP\r\n"};
    fails(ARGS("list"), 1, "127.0.0.1: ");
    lie = (struct lie){.raw = true, .body = ""};
    fails(ARGS("list"), 1, "127.0.0.1: ");
}

static void redirects(void **state) {
    (void)state;
    char to[100];
    snprintf(to, sizeof to, "Location: http://127.0.0.1:%d/elsewhere\r\n", server.port);
    setenv("CRIA_API_KEY", "very-secret", 1);
    lie = (struct lie){.status = 307, .headers = to};
    all_fail(1, "which is not followed; CRIA_HOST may name the server itself");
    lie = (struct lie){.head_status = 301, .headers = to};
    fails(ARGS("list"), 1, "which is not followed; CRIA_HOST may name the server itself");
    assert_int_equal(n_elsewhere, 0);
    assert_string_equal(key_seen, "Bearer very-secret");
    lie = (struct lie){.status = 401, .body = "{\"error\": \"unauthorized\"}"};
    fails(ARGS("list"), 5, "Error: unauthorized (the key of CRIA_API_KEY was sent)\n");
    unsetenv("CRIA_API_KEY");
}

static void breaks_off(void **state) {
    (void)state;
    const char *said = "the answer ended before it was complete";
    lie = (struct lie){.shown_well = true, .no_length = true};
    lie.body = "{\"message\": {\"content\": \"\"}, \"done\": false}\n";
    fails(ARGS("run", "m", "hi"), 1, said);
    lie.body = "{\"message\": {\"conte";
    fails(ARGS("run", "m", "hi"), 1, "JSON of a Cria or Ollama server is accepted");
    lie.body = "";
    fails(ARGS("run", "m", "hi"), 1, said);
    lie.body = "{\"status\": \"pulling manifest\"}\n";
    fails(ARGS("pull", "m"), 1, said);
    fails(ARGS("push", "m"), 1, said);
    lie.cut = true;
    fails(ARGS("pull", "m"), 1, "127.0.0.1: ");
    fails(ARGS("list"), 1, "127.0.0.1: ");
    fails(ARGS("run", "m", "hi"), 1, "127.0.0.1: ");
    lie = (struct lie){.body = "{\"status\": \"a\"}\n{\"error\": \"the registry went away\"}\n"};
    fails(ARGS("pull", "m"), 1, "Error: the registry went away\n");
}

static void floods(void **state) {
    (void)state;
    lie = (struct lie){.flood = (size_t)1 << 30};
    fails(ARGS("list"), 5, "an answer over");
    fails(ARGS("show", "m"), 5, "an answer over");
    fails(ARGS("pull", "m"), 5, "an answer with a line of more than");
    lie.shown_well = true;
    fails(ARGS("run", "m", "hi"), 5, "an answer with a line of more than");
    lie = (struct lie){.flood = (size_t)1 << 30, .status = 500};
    fails(ARGS("list"), 5, "an answer over");
}

/* What it says about itself and its models reaches the terminal escaped. */
static void escapes(void **state) {
    (void)state;
    struct ran r;
    lie =
        (struct lie){.body = "{\"models\": [{\"name\": \"a\\u001b[2J\", \"digest\": \"\\u001b[1m\","
                             " \"expires_at\": \"\\u001b[1m\"}]}"};
    run_cria(&r, ARGS("ps"), "", 0, 60);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out.p, "a\\x1b[2J"));
    assert_null(strchr(r.out.p, '\033'));
    ran_fini(&r);
    lie = (struct lie){.body = "{\"status\": \"a\\u001b[2J\"}\n{\"status\": \"success\"}\n"};
    run_cria(&r, ARGS("pull", "m"), "", 0, 60);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.err.p, "a\\x1b[2J"));
    assert_null(strchr(r.err.p, '\033'));
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_in_words), cmocka_unit_test(no_such_server),
        cmocka_unit_test(redirects),       cmocka_unit_test(breaks_off),
        cmocka_unit_test(floods),          cmocka_unit_test(escapes)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
