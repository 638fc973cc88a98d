/* See log.h. */
#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/os.h"

enum { WAITING_MAX = 4 << 20, BODY_SHOWN = 256 << 10 };

struct log {
    int fd;
    bool json;
    pthread_t thread;
    bool runs;            /* the thread; until it does, all waits */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    struct buf waiting;
    long n_lost;
    bool stop;
};

static void write_all(int fd, struct str s) {
    while (s.n) {
        const ssize_t k = write(fd, s.p, s.n);
        if (k < 0 && errno != EINTR) return; /* nobody to tell */
        if (k > 0) s.p += k, s.n -= (size_t)k;
    }
}

static void *run(void *arg) {
    struct log *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (l->waiting.n == 0 && !l->stop)
            pthread_cond_wait(&l->more, &l->lock);
        if (l->waiting.n == 0) break;
        struct buf b = l->waiting;
        const long n_lost = l->n_lost;
        l->waiting = (struct buf){0};
        l->n_lost = 0;
        pthread_mutex_unlock(&l->lock);
        write_all(l->fd, buf_view(&b));
        buf_fini(&b);
        if (n_lost) log_line(l, LOG_WARN, "%ld lines of this log were lost", n_lost);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

struct log *log_open(int fd, bool json, struct err *e) {
    struct log *l = calloc(1, sizeof *l);
    if (l) {
        l->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        l->json = json;
        pthread_mutex_init(&l->lock, NULL);
        pthread_cond_init(&l->more, NULL);
        return l;
    }
    err_nomem(e, "log");
    return NULL;
}

int log_start(struct log *l, struct err *e) {
    l->runs = pthread_create(&l->thread, NULL, run, l) == 0;
    return l->runs ? 0 : err_nomem(e, "log");
}

void log_close(struct log *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->more);
    pthread_mutex_unlock(&l->lock);
    if (l->runs)
        pthread_join(l->thread, NULL);
    else
        write_all(l->fd, buf_view(&l->waiting));
    if (l->fd >= 0) close(l->fd);
    buf_fini(&l->waiting);
    pthread_cond_destroy(&l->more);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- lines ---- */

/* A value that could be read in two ways is put in quotes, as JSON would. */
static void append_text(struct buf *b, const json_t *v) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:@+,*";
    const char *s = json_string_value(v);
    if (s && *s && strspn(s, plain) == strlen(s)) {
        buf_str(b, s);
        return;
    }
    char *text =
        json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
    buf_str(b, text ? text : "?");
    free(text);
}

/* Takes j over. */
static void put(struct log *l, json_t *j) {
    struct buf b = {0};
    if (l->json) {
        char *text = json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
        if (text) buf_str(&b, text);
        free(text);
    } else {
        const char *key;
        json_t *v;
        json_object_foreach(j, key, v) {
            buf_printf(&b, "%s%s=", b.n ? " " : "", key);
            append_text(&b, v);
        }
    }
    json_decref(j);
    buf_byte(&b, '\n');
    pthread_mutex_lock(&l->lock);
    if (b.failed || l->waiting.n + b.n > WAITING_MAX)
        l->n_lost++;
    else
        buf_append(&l->waiting, b.p, b.n);
    pthread_cond_signal(&l->more);
    pthread_mutex_unlock(&l->lock);
    buf_fini(&b);
}

static json_t *begin(void) {
    char text[40], line[64];
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(line, sizeof line, "%s.%03ldZ", text, t.tv_nsec / 1000000 % 1000);
    return json_pack("{s:s}", "time", line);
}

void log_line(struct log *l, enum log_level level, const char *fmt, ...) {
    static const char *const name[] = {"error", "warning", "info", "debug"};
    struct err e;
    va_list ap;
    if (!l) return;
    va_start(ap, fmt);
    err_vset(&e, ERR_NONE, fmt, ap);
    va_end(ap);
    json_t *j = begin();
    json_object_set_new(j, "level", json_string(name[level]));
    json_object_set_new(j, "msg", json_string(e.msg));
    put(l, j);
}

static void set_text(json_t *j, const char *key, const char *v) {
    if (!v || !*v) return;
    json_t *s = json_string(v);
    json_object_set_new(j, key, s ? s : json_string("(not UTF-8)"));
}

static void set_count(json_t *j, const char *key, int64_t n) {
    if (n) json_object_set_new(j, key, json_integer(n));
}

static void set_ms(json_t *j, const char *key, int64_t ns) {
    if (ns > 0) json_object_set_new(j, key, json_real((double)ns / 1e6));
}

void log_put_request(struct log *l, const struct log_request *r) {
    if (!l) return;
    json_t *j = begin();
    set_text(j, "id", r->id);
    if (r->trace) {
        set_text(j, "trace_id", r->trace->id);
        set_text(j, "parent_span", r->trace->span);
    }
    set_text(j, "peer", r->peer);
    set_text(j, "user", r->user);
    set_text(j, "method", r->method);
    set_text(j, "path", r->path);
    json_object_set_new(j, "status", json_integer(r->status));
    if (r->cut) json_object_set_new(j, "cut", json_true());
    set_count(j, "body_bytes", r->n_body);
    json_object_set_new(j, "bytes", json_integer(r->n_sent));
    set_text(j, "model", r->model);
    set_text(j, "fallback", r->fallback);
    set_text(j, "cache", r->cache);
    set_ms(j, "ms", os_now_ns() - r->start_ns);
    if (r->first_ns) set_ms(j, "first_ms", r->first_ns - r->start_ns);
    set_ms(j, "load_ms", r->load_ns);
    if (r->work) {
        set_ms(j, "queue_ms", r->work->queue_ns);
        set_ms(j, "prompt_ms", r->work->prompt_ns);
        set_ms(j, "eval_ms", r->work->eval_ns);
        set_count(j, "prompt_tokens", r->work->n_prompt);
        set_count(j, "cached_tokens", r->work->n_cached);
        set_count(j, "tokens", r->work->n_eval);
        set_count(j, "truncated_tokens", r->work->n_truncated);
    }
    put(l, j);
}

void log_put_body(struct log *l, const char *id, struct str body) {
    if (!l || body.n == 0) return;
    json_t *j = begin(), *text = json_stringn(body.p, body.n < BODY_SHOWN ? body.n : BODY_SHOWN);
    set_text(j, "id", id);
    json_object_set_new(j, "body",
                        text ? text : json_string("(not UTF-8, or cut inside a character)"));
    put(l, j);
}
