/* Shared by all tests; see support.h. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

bool in_campaign(void) {
    const char *set = getenv("CRIA_CAMPAIGN");
    return set && strcmp(set, "0") != 0;
}

void campaign_say(const char *fmt, ...) {
    double load = 0;
    va_list ap;
    if (!in_campaign()) return;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (getloadavg(&load, 1) == 1) fprintf(stderr, " (load average %.1f)", load);
    fputc('\n', stderr);
}

bool golden_is_full(void) {
    return getenv("CRIA_GOLDEN_SMALL") == NULL && access("../shared/golden/README.md", R_OK) == 0;
}

const char *golden(const char *rel) {
    static char ring[16][512];
    static int at;
    char *b = ring[at++ & 15];
    snprintf(b, sizeof ring[0], "%s/%s", golden_is_full() ? "../shared/golden" : "tests/golden",
             rel);
    return b;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **golden_names(const char *rel, const char *suffix, int at_least) {
    char **v = calloc(4096, sizeof *v);
    int n = 0;
    DIR *d = opendir(golden(rel));
    if (!d) fail_msg("no golden folder %s", golden(rel));
    for (struct dirent *f; (f = readdir(d)) && n < 4095;) {
        const size_t len = strlen(f->d_name), k = strlen(suffix);
        if (len > k && strcmp(f->d_name + len - k, suffix) == 0) v[n++] = strdup(f->d_name);
    }
    closedir(d);
    if (n < at_least)
        fail_msg("%s: %d files *%s, at least %d expected", golden(rel), n, suffix, at_least);
    qsort(v, (size_t)n, sizeof *v, by_name);
    return v;
}

void names_free(char **names) {
    for (char **p = names; *p; p++)
        free(*p);
    free(names);
}

uint8_t *slurp(const char *path, size_t *n) {
    struct buf b = {0};
    struct err e;
    if (os_read_file(path, (size_t)1 << 30, &b, &e) != 0) fail_msg("%s", e.msg);
    *n = b.n;
    return (uint8_t *)b.p;
}

bool file_has(const char *path, const void *bytes, size_t n) {
    size_t size;
    if (access(path, F_OK) != 0) return false;
    uint8_t *p = slurp(path, &size);
    const bool found = memmem(p, size, bytes, n) != NULL;
    free(p);
    return found;
}

bool database_has(const char *path, const char *text) {
    char log[PATH_MAX];
    snprintf(log, sizeof log, "%s-wal", path);
    return file_has(path, text, strlen(text)) || file_has(log, text, strlen(text));
}

float *slurp_f32(const char *path, size_t *n_float) {
    size_t n;
    uint8_t *p = slurp(path, &n);
    assert_int_equal(n % 4, 0);
    *n_float = n / 4;
    return (float *)(void *)p;
}

json_t *slurp_json(const char *path) {
    json_error_t je;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &je);
    if (!j) fail_msg("%s:%d: %s", path, je.line, je.text);
    return j;
}

int each_jsonl(const char *path, line_fn *fn, void *ctx) {
    size_t n;
    char *p = (char *)slurp(path, &n);
    int line = 0;
    for (size_t at = 0; at < n;) {
        const char *nl = memchr(p + at, '\n', n - at);
        const size_t len = nl ? (size_t)(nl - (p + at)) : n - at;
        if (len) {
            json_error_t je;
            json_t *v = json_loadb(p + at, len, JSON_ALLOW_NUL | JSON_DECODE_ANY, &je);
            if (!v) fail_msg("%s:%d: %s", path, line + 1, je.text);
            fn(ctx, ++line, v);
            json_decref(v);
        }
        at += len + 1;
    }
    free(p);
    return line;
}

char *json_bytes(const json_t *obj, const char *key, size_t *n) {
    const json_t *s = json_object_get(obj, key);
    if (s) {
        *n = json_string_length(s);
        char *p = malloc(*n + 1);
        memcpy(p, json_string_value(s), *n + 1);
        return p;
    }
    char hex_key[128];
    snprintf(hex_key, sizeof hex_key, "%s_hex", key);
    s = json_object_get(obj, hex_key);
    if (!s) return NULL;
    const char *h = json_string_value(s);
    *n = json_string_length(s) / 2;
    char *p = malloc(*n + 1);
    for (size_t i = 0; i < *n; i++) {
        unsigned v = 0;
        sscanf(h + 2 * i, "%2x", &v);
        p[i] = (char)v;
    }
    p[*n] = 0;
    return p;
}

char *temp_folder(void) {
    const char *base = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/cria-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(path)) fail_msg("mkdtemp: %s", strerror(errno));
    return strdup(path);
}

static int remove_one(const char *p, const struct stat *st, int flag, struct FTW *f) {
    (void)st, (void)flag, (void)f;
    return remove(p);
}

void temp_remove(char *dir) {
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

/* Move what the child printed into the two buffers and feed it its input, until both ends close
 * or the deadline passes. */
static void pump(int in, int out, int err, const char *input, size_t n_input, struct ran *r,
                 int64_t deadline) {
    struct pollfd p[3] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {in, POLLOUT, 0}};
    struct buf *to[2] = {&r->out, &r->err};
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        if (p[2].fd >= 0 && n_input == 0) close(p[2].fd), p[2].fd = -1;
        const int64_t left = (deadline - os_now_ns()) / 1000000;
        if (left <= 0 || poll(p, 3, (int)left) <= 0) break;
        for (int i = 0; i < 2; i++) {
            if (p[i].fd < 0 || !p[i].revents) continue;
            char chunk[65536];
            const ssize_t n = read(p[i].fd, chunk, sizeof chunk);
            if (n > 0) buf_append(to[i], chunk, (size_t)n);
            if (n == 0 || (n < 0 && errno != EINTR)) close(p[i].fd), p[i].fd = -1;
        }
        if (p[2].fd >= 0 && p[2].revents) {
            const ssize_t n = write(p[2].fd, input, n_input);
            if (n > 0) input += n, n_input -= (size_t)n;
            if (n < 0 && errno != EINTR && errno != EAGAIN) close(p[2].fd), p[2].fd = -1;
        }
    }
    for (int i = 0; i < 3; i++)
        if (p[i].fd >= 0) close(p[i].fd);
}

int run_cria(struct ran *r, const char *const *args, const void *input, size_t n_input,
             double timeout_s) {
    const char *exe = getenv("CRIA");
    return run_program(r, exe ? exe : "build/cria", args, input, n_input, timeout_s);
}

void use_program(void) {
    const char *exe = getenv("CRIA");
    setenv("CRIA_PROGRAM", exe ? exe : "build/cria", 1);
}

int run_program(struct ran *r, const char *exe, const char *const *args, const void *input,
                size_t n_input, double timeout_s) {
    *r = (struct ran){0};
    const char *argv[64] = {exe};
    for (int i = 0; i < 62 && args[i]; i++)
        argv[i + 1] = args[i];
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) fail_msg("pipe2");
    signal(SIGPIPE, SIG_IGN);
    const int64_t t0 = os_now_ns();
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0), dup2(out[1], 1), dup2(err[1], 2);
        execv(exe, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]), close(out[1]), close(err[1]);
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    const int64_t deadline = t0 + (int64_t)(timeout_s * 1e9);
    pump(in[1], out[0], err[0], input, n_input, r, deadline);
    if (os_now_ns() >= deadline) kill(pid, SIGKILL);
    int status = 0;
    struct rusage u;
    while (wait4(pid, &status, 0, &u) < 0 && errno == EINTR) {
    }
    r->seconds = (double)(os_now_ns() - t0) * 1e-9;
    r->peak_rss_bytes = (size_t)u.ru_maxrss * 1024;
    if (!r->out.p) buf_append(&r->out, "", 0);
    if (!r->err.p) buf_append(&r->err, "", 0);
    r->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return r->code;
}

void ran_fini(struct ran *r) {
    buf_fini(&r->out);
    buf_fini(&r->err);
}
