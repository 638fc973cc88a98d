/* See serve_rig.h. */
#include "serve_rig.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

/* ---- the server ---- */

static bool has(const char *const *list, const char *prefix) {
    for (; list && *list; list++)
        if (strncmp(*list, prefix, strlen(prefix)) == 0) return true;
    return false;
}

bool serve_isolated(void) {
    return getenv("RIG_ISOLATED") != NULL;
}

bool serve_traced(void) {
    return getenv("RIG_TRACED") != NULL;
}

/* In the child. */
static void become(const struct serve *s, const char *const *args, const char *const *set) {
    const char *exe = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *argv[64] = {exe, "serve"};
    char models[800];
    int n = 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not stop it */
    const int fd = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(126);
    if (!has(args, "--listen")) argv[n++] = "--listen", argv[n++] = "127.0.0.1:0";
    if (serve_isolated() && !has(args, "--isolat")) argv[n++] = "--isolated";
    for (; args && *args && n < 62; args++)
        argv[n++] = *args;
    unsetenv("OLLAMA_HOST"), unsetenv("CRIA_HOST");
    setenv("CRIA_LOG_FORMAT", "json", 1);
    snprintf(models, sizeof models, "%s/models", s->dir);
    setenv("CRIA_MODELS", models, 1);
    setenv("HOME", s->dir, 1); /* what is kept there (responses.db) is the test's */
    for (; set && *set; set++) {
        if (strchr(*set, '='))
            putenv((char *)(uintptr_t)*set);
        else
            unsetenv(*set);
    }
    execv(exe, (char *const *)(uintptr_t)argv);
    _exit(127);
}

void serve_launch(struct serve *s, const char *const *args, const char *const *set) {
    *s = (struct serve){.dir = temp_folder()};
    snprintf(s->log, sizeof s->log, "%s/serve.log", s->dir);
    signal(SIGPIPE, SIG_IGN);
    s->pid = fork();
    if (s->pid == 0) become(s, args, set);
    assert_true(s->pid > 0);
}

static void read_log(const struct serve *s, struct buf *b) {
    struct err e;
    buf_reset(b);
    if (access(s->log, F_OK) == 0) os_read_file(s->log, 64 << 20, b, &e);
    if (!b->n) buf_str(b, "");
}

void serve_start(struct serve *s, const char *const *args, const char *const *set) {
    struct buf b = {0};
    serve_launch(s, args, set);
    for (int i = 0; i < 2000; i++) {
        read_log(s, &b);
        const char *at = strstr(b.p, "\"listening on "), *end = at ? strchr(at + 1, '"') : NULL;
        if (end) {
            const char *colon = end;
            while (*colon != ':' && colon > at)
                colon--;
            s->port = strncmp(at + 14, "unix:", 5) == 0 ? 0 : atoi(colon + 1);
            buf_fini(&b);
            return;
        }
        if (serve_ended(s, 0)) break;
        usleep(10000);
    }
    fail_msg("cria serve does not come up: %s", b.p);
}

int serve_fails(const char *const *args, const char *const *set, struct buf *said) {
    struct serve s;
    serve_launch(&s, args, set);
    if (!serve_ended(&s, 20)) {
        kill(s.pid, SIGKILL);
        serve_ended(&s, 20);
        fail_msg("cria serve did come up with %s", set && *set ? *set : "no settings");
    }
    read_log(&s, said);
    temp_remove(s.dir);
    return s.code;
}

bool serve_ended(struct serve *s, double seconds) {
    const int64_t until = os_now_ns() + (int64_t)(seconds * 1e9);
    int status;
    while (s->pid) {
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            s->pid = 0;
        } else if (os_now_ns() >= until) {
            return false;
        } else {
            usleep(2000);
        }
    }
    return true;
}

void serve_signal(struct serve *s, int sig) {
    assert_true(s->pid > 0);
    kill(s->pid, sig);
}

void serve_kill(struct serve *s) {
    if (s->pid) kill(s->pid, SIGKILL);
    serve_ended(s, 20);
    if (s->dir) temp_remove(s->dir);
    s->dir = NULL;
}

int serve_stop(struct serve *s) {
    struct buf b = {0};
    if (s->pid) kill(s->pid, SIGTERM);
    if (!serve_ended(s, 40)) {
        read_log(s, &b);
        serve_kill(s);
        fail_msg("cria serve does not stop: %s", b.p);
    }
    read_log(s, &b);
    /* A sanitizer's report, say, at its end; print_error() would cut it. */
    if (s->code != 0) fprintf(stderr, "%s\n", b.n > 16384 ? b.p + b.n - 16384 : b.p);
    buf_fini(&b);
    serve_kill(s);
    return s->code;
}

int serve_lines(const struct serve *s, const char *a, const char *b, int at_least) {
    struct buf text = {0};
    int n = 0;
    for (int i = 0; i < 500 && (i == 0 || n < at_least); i++) {
        if (i) usleep(10000);
        read_log(s, &text);
        n = 0;
        for (char *rest = text.p, *line; (line = strsep(&rest, "\n"));)
            n += strstr(line, a) && strstr(line, b);
    }
    buf_fini(&text);
    return n;
}

size_t serve_rss_bytes(const struct serve *s) {
    char path[64], line[256];
    size_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0) kib = (size_t)strtoull(line + 6, NULL, 10);
    if (f) fclose(f);
    return kib << 10;
}

int serve_descriptors(const struct serve *s) {
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)s->pid);
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d) closedir(d);
    return n - 2;
}

/* A small file of /proc, with blanks for its zeros. */
static bool read_proc(const char *pid, const char *name, char *text, size_t n) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, name);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const size_t got = fread(text, 1, n - 1, f);
    fclose(f);
    for (size_t i = 0; i < got; i++)
        if (!text[i]) text[i] = ' ';
    text[got] = 0;
    return true;
}

int serve_children(const struct serve *s, pid_t *out, int max, size_t *rss_bytes) {
    DIR *d = opendir("/proc");
    size_t sum = 0;
    int n = 0;
    for (struct dirent *f; d && (f = readdir(d));) {
        char line[200], text[4096];
        if (f->d_name[0] < '0' || f->d_name[0] > '9') continue;
        /* In this order: until its exec a child is the server's own memory under another pid. */
        if (!read_proc(f->d_name, "cmdline", line, sizeof line) || strstr(line, " serve ") ||
            !read_proc(f->d_name, "status", text, sizeof text))
            continue;
        const char *parent = strstr(text, "\nPPid:"), *rss = strstr(text, "\nVmRSS:");
        if (!parent || atoi(parent + 6) != s->pid) continue;
        if (n < max) out[n] = atoi(f->d_name);
        n++;
        if (rss) sum += strtoull(rss + 7, NULL, 10) * 1024;
    }
    if (d) closedir(d);
    if (rss_bytes) *rss_bytes = sum;
    return n;
}

/* ---- the wire ---- */

void wire_open(struct wire *w, const struct serve *s) {
    const struct sockaddr_in a = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)s->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *w = (struct wire){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(w->fd >= 0);
    if (connect(w->fd, (const struct sockaddr *)&a, sizeof a) != 0)
        fail_msg("port %d: %s", s->port, strerror(errno));
}

void wire_send(struct wire *w, const void *p, size_t n) {
    const char *at = p;
    while (n) {
        struct pollfd f = {.fd = w->fd, .events = POLLOUT};
        if (poll(&f, 1, 30000) != 1) fail_msg("the server takes nothing");
        const ssize_t k = send(w->fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno != EAGAIN && errno != EINTR) return; /* the answer says why */
        if (k > 0) at += k, n -= (size_t)k;
    }
}

void wire_put(struct wire *w, const char *text) {
    wire_send(w, text, strlen(text));
}

static bool has_header(const char *headers, const char *name) {
    for (const char *p = headers; p && *p;) {
        if (strncasecmp(p, name, strlen(name)) == 0 && p[strlen(name)] == ':') return true;
        p = strstr(p, "\r\n");
        if (p) p += 2;
    }
    return false;
}

void wire_ask(struct wire *w, const char *method, const char *path, const char *headers,
              const char *body) {
    struct buf b = {0};
    buf_printf(&b, "%s %s HTTP/1.1\r\n", method, path);
    if (!has_header(headers, "Host")) buf_str(&b, "Host: localhost\r\n");
    if (headers) buf_str(&b, headers);
    if (body && !has_header(headers, "Content-Length") && !has_header(headers, "Transfer-Encoding"))
        buf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
    buf_str(&b, "\r\n");
    if (body) buf_str(&b, body);
    wire_send(w, b.p, b.n);
    buf_fini(&b);
    w->in_body = w->over = false;
}

/* More bytes: 1; -1 none within the time, or the end. */
static int more(struct wire *w, int64_t until_ns) {
    char piece[16384];
    for (;;) {
        const int64_t left = until_ns - os_now_ns();
        struct pollfd f = {.fd = w->fd, .events = POLLIN};
        const int rc = poll(&f, 1, left > 0 ? (int)(left / 1000000) + 1 : 0);
        if (rc < 0 && errno == EINTR) continue;
        if (rc != 1) return -1;
        const ssize_t n = recv(w->fd, piece, sizeof piece, 0);
        if (n <= 0) return -1;
        buf_append(&w->in, piece, (size_t)n);
        return 1;
    }
}

static int64_t deadline(double seconds) {
    return os_now_ns() + (int64_t)(seconds * 1e9);
}

bool wire_head(struct wire *w, struct answer *a, double seconds) {
    const int64_t until = deadline(seconds);
    const char *end;
    *a = (struct answer){0};
    do {
        while (!(end = w->in.p ? strstr(w->in.p, "\r\n\r\n") : NULL))
            if (more(w, until) < 0) return false;
        buf_reset(&a->head);
        buf_append(&a->head, w->in.p, (size_t)(end + 4 - w->in.p));
        buf_drop(&w->in, a->head.n);
        if (sscanf(a->head.p, "HTTP/1.1 %d ", &a->status) != 1) fail_msg("no HTTP: %s", a->head.p);
    } while (a->status == 100);
    const char *length = answer_header(a, "Content-Length");
    const char *coding = answer_header(a, "Transfer-Encoding");
    if (length && coding) fail_msg("both a length and a coding: %s", a->head.p);
    w->chunked = coding != NULL;
    w->n_left = length ? atoll(length) : coding ? 0 : a->status == 204 || a->status == 304 ? 0 : -1;
    w->in_body = true;
    w->over = !coding && w->n_left == 0;
    return true;
}

/* A chunk's size line is due: 1 when it was read, 0 after the last chunk, -1. */
static int chunk_size(struct wire *w, int64_t until) {
    char *end;
    while (!w->in.p || !(end = strstr(w->in.p, "\r\n")))
        if (more(w, until) < 0) return -1;
    if (!isxdigit((unsigned char)*w->in.p)) fail_msg("no chunk size: %.40s", w->in.p);
    w->n_left = (int64_t)strtoull(w->in.p, NULL, 16);
    buf_drop(&w->in, (size_t)(end + 2 - w->in.p));
    if (w->n_left) return 1;
    while (w->in.n < 2)
        if (more(w, until) < 0) return -1;
    if (memcmp(w->in.p, "\r\n", 2) != 0) fail_msg("the last chunk does not end");
    buf_drop(&w->in, 2);
    w->over = true;
    return 0;
}

int wire_body(struct wire *w, struct buf *out, double seconds) {
    const int64_t until = deadline(seconds);
    if (w->over) return 0;
    if (w->chunked && w->n_left == 0) {
        const int rc = chunk_size(w, until);
        if (rc != 1) return rc;
    }
    while (w->in.n == 0)
        if (more(w, until) < 0) return -1;
    size_t n = w->in.n;
    if (w->n_left >= 0 && (int64_t)n > w->n_left) n = (size_t)w->n_left;
    buf_append(out, w->in.p, n);
    buf_drop(&w->in, n);
    if (w->n_left < 0) return 1; /* up to the connection's end */
    w->n_left -= (int64_t)n;
    if (w->chunked && w->n_left == 0) {
        while (w->in.n < 2)
            if (more(w, until) < 0) return -1;
        if (memcmp(w->in.p, "\r\n", 2) != 0) fail_msg("a chunk does not end: %.20s", w->in.p);
        buf_drop(&w->in, 2);
    }
    if (!w->chunked && w->n_left == 0) w->over = true;
    return 1;
}

int wire_line(struct wire *w, struct buf *line, double seconds) {
    const int64_t until = deadline(seconds);
    char *end;
    while (!w->text.p || !(end = memchr(w->text.p, '\n', w->text.n))) {
        const int rc = wire_body(w, &w->text, (double)(until - os_now_ns()) / 1e9);
        if (rc != 1) return rc;
    }
    buf_reset(line);
    buf_append(line, w->text.p, (size_t)(end - w->text.p));
    buf_drop(&w->text, line->n + 1);
    return 1;
}

bool wire_closed(struct wire *w, double seconds) {
    const int64_t until = deadline(seconds);
    while (more(w, until) > 0)
        ;
    return os_now_ns() < until;
}

void wire_close(struct wire *w) {
    if (w->fd >= 0) close(w->fd);
    w->fd = -1;
    buf_fini(&w->in);
    buf_fini(&w->text);
}

void wire_reset(struct wire *w) {
    const struct linger now = {.l_onoff = 1};
    setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    wire_close(w);
}

/* ---- one request, one answer ---- */

void ask(const struct serve *s, struct answer *a, const char *method, const char *path,
         const char *headers, const char *body) {
    struct wire w;
    struct buf h = {0};
    int rc = 1;
    const int64_t start = os_now_ns();
    wire_open(&w, s);
    buf_str(&h, headers ? headers : "");
    if (!has_header(headers, "Connection")) buf_str(&h, "Connection: close\r\n");
    wire_ask(&w, method, path, h.p, body);
    if (!wire_head(&w, a, 60)) fail_msg("%s %s: no answer", method, path);
    if (strcmp(method, "HEAD") == 0) w.over = true;
    while (rc == 1)
        rc = wire_body(&w, &a->body, 60);
    a->whole = rc == 0;
    a->seconds = (double)(os_now_ns() - start) / 1e9;
    if (!a->body.p) buf_append(&a->body, "", 0);
    wire_close(&w);
    buf_fini(&h);
}

bool serve_metric(const struct serve *s, const char *name, long *out) {
    struct answer a;
    char line[120];
    ask(s, &a, "GET", "/metrics", NULL, NULL);
    snprintf(line, sizeof line, "\ncria_%s ", name);
    const char *at = strstr(a.body.p, line);
    *out = at ? atol(at + strlen(line)) : 0;
    answer_fini(&a);
    return at != NULL;
}

json_t *ask_json(const struct serve *s, const char *method, const char *path, int status,
                 const char *fmt, ...) {
    struct answer a;
    struct buf body = {0};
    char text[65536];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_true(n >= 0 && (size_t)n < sizeof text);
    buf_str(&body, text);
    ask(s, &a, method, path, "Content-Type: application/json\r\n", *text ? body.p : NULL);
    if (a.status != status)
        fail_msg("%s %s %s: status %d, not %d: %s", method, path, text, a.status, status, a.body.p);
    json_t *j = a.body.n && *a.body.p == '{' ? answer_json(&a) : NULL;
    answer_fini(&a);
    buf_fini(&body);
    return j;
}

const char *answer_header(const struct answer *a, const char *name) {
    static _Thread_local char ring[8][512];
    static _Thread_local int at;
    const size_t n = strlen(name);
    for (const char *p = a->head.p; (p = strstr(p, "\r\n")); p += 2) {
        if (strncasecmp(p + 2, name, n) != 0 || p[2 + n] != ':') continue;
        const char *v = p + 3 + n;
        v += strspn(v, " \t");
        char *out = ring[at++ % 8];
        snprintf(out, sizeof ring[0], "%.*s", (int)strcspn(v, "\r\n"), v);
        return out;
    }
    return NULL;
}

json_t *answer_json(const struct answer *a) {
    json_error_t je;
    json_t *j = json_loadb(a->body.p, a->body.n, JSON_ALLOW_NUL, &je);
    if (!j) fail_msg("no JSON (%s): %s", je.text, a->body.p);
    return j;
}

json_t *answer_stream(const struct answer *a) {
    json_t *all = json_array();
    char *text = strdup(a->body.p), *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        const bool sse = strncmp(line, "data: ", 6) == 0;
        if (!*line || strncmp(line, "event: ", 7) == 0) continue;
        const char *at = sse ? line + 6 : line;
        json_t *j =
            strcmp(at, "[DONE]") == 0 ? json_string(at) : json_loads(at, JSON_ALLOW_NUL, NULL);
        if (!j) fail_msg("no JSON in a stream: %s", line);
        /* One form, whoever wrote it; figures of training are short. */
        char *again = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
        char *figures = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        if (json_is_object(j) && strcmp(at, figures) != 0) assert_string_equal(at, again);
        free(again);
        free(figures);
        json_array_append_new(all, j);
    }
    free(text);
    return all;
}

void answer_fini(struct answer *a) {
    buf_fini(&a->head);
    buf_fini(&a->body);
}
