/* See log.h: writing. */
#include "train/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"

struct run_log {
    int fd;          /* owned */
    bool regular;    /* a file that has a length, no terminal or pipe */
    char *path;      /* owned; for messages */
    struct buf line; /* reused */
};

/* What cannot be taken back stays a torn line: its error is told anyway. */
static void take_back(struct run_log *l, off_t n) {
    if (l->regular && ftruncate(l->fd, n) != 0) return;
}

/* All of it, or nothing: a part that went before the disk was full is taken back. */
static int write_line(struct run_log *l, struct err *e) {
    struct stat st = {0};
    size_t done = 0;
    if (l->line.failed) return err_nomem(e, l->path);
    if (l->regular && fstat(l->fd, &st) != 0) return err_errno(e, l->path);
    while (done < l->line.n) {
        const ssize_t k = write(l->fd, l->line.p + done, l->line.n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            err_errno(e, l->path);
            if (done) take_back(l, st.st_size);
            return -1;
        }
        done += (size_t)k;
    }
    return 0;
}

/* After a kill -9 the file may end within a line: the next one begins its own. */
static int end_torn_line(struct run_log *l, struct err *e) {
    struct stat st;
    char last = '\n';
    if (fstat(l->fd, &st) != 0) return err_errno(e, l->path);
    l->regular = S_ISREG(st.st_mode);
    if (!l->regular || st.st_size == 0) return 0;
    if (pread(l->fd, &last, 1, st.st_size - 1) < 0) return err_errno(e, l->path);
    if (last == '\n') return 0;
    buf_byte(&l->line, '\n');
    return write_line(l, e);
}

struct run_log *run_log_open(const char *path, struct err *e) {
    struct run_log *l = calloc(1, sizeof *l);
    if (!l) {
        err_nomem(e, path);
        return NULL;
    }
    l->path = strdup(path);
    l->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (l->fd < 0) {
        err_errno(e, path);
        goto fail;
    }
    if (!l->path) {
        err_nomem(e, path);
        goto fail;
    }
    if (end_torn_line(l, e) == 0) return l;
fail:
    run_log_close(l);
    return NULL;
}

void run_log_close(struct run_log *l) {
    if (!l) return;
    if (l->fd >= 0) close(l->fd);
    free(l->path);
    buf_fini(&l->line);
    free(l);
}

/* ---- lines ---- */

/* The fewest digits that read back as x. */
static void append_number(struct buf *out, double x) {
    char text[40];
    if (!isfinite(x)) {
        buf_str(out, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    buf_str(out, text);
}

static void begin(struct run_log *l, const char *event, int64_t step) {
    buf_reset(&l->line);
    buf_printf(&l->line, "{\"event\":\"%s\",\"step\":%lld", event, (long long)step);
}

static void put_number(struct run_log *l, const char *key, double x) {
    buf_printf(&l->line, ",\"%s\":", key);
    append_number(&l->line, x);
}

/* What is not UTF-8 (a path) becomes U+FFFD: a reader would refuse the whole line. */
static void put_text(struct run_log *l, const char *key, const char *text) {
    struct buf clean = {0};
    for (size_t i = 0, n = strlen(text); i < n;) {
        uint32_t cp;
        char c[4];
        i += (size_t)utf8_decode(text + i, n - i, &cp);
        buf_append(&clean, c, (size_t)utf8_encode(cp, c));
    }
    if (clean.failed) l->line.failed = true;
    buf_printf(&l->line, ",\"%s\":", key);
    json_append_text(&l->line, buf_view(&clean));
    buf_fini(&clean);
}

/* The members of an object behind those that are there. */
static int put_members(struct run_log *l, const json_t *more, struct err *e) {
    struct buf text = {0};
    int rc = 0;
    if (!more || json_object_size(more) == 0) return 0;
    rc = json_append_figures(l->path, more, &text, e);
    if (rc == 0) {
        buf_byte(&l->line, ',');
        buf_append(&l->line, text.p + 1, text.n - 2); /* between the braces */
    }
    buf_fini(&text);
    return rc;
}

static int end(struct run_log *l, struct err *e) {
    buf_str(&l->line, "}\n");
    return write_line(l, e);
}

int run_log_start(struct run_log *l, int64_t step, const json_t *more, struct err *e) {
    if (!l) return 0;
    char text[32];
    struct tm tm;
    const time_t now = time(NULL);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    begin(l, "start", step);
    put_text(l, "time", text);
    return put_members(l, more, e) != 0 ? -1 : end(l, e);
}

int run_log_step(struct run_log *l, const struct run_step *s, struct err *e) {
    if (!l) return 0;
    begin(l, "step", s->step);
    put_number(l, "epoch", s->epoch);
    put_number(l, "loss", s->loss);
    put_number(l, "lr", s->lr);
    put_number(l, "grad_norm", s->grad_norm);
    put_number(l, "clip", s->clip);
    buf_printf(&l->line, ",\"tokens\":%lld", (long long)s->n_tok);
    put_number(l, "tokens_per_s", s->tps);
    put_number(l, "elapsed_s", s->seconds);
    return end(l, e);
}

int run_log_validation(struct run_log *l, int64_t step, double loss, bool best, struct err *e) {
    if (!l) return 0;
    begin(l, "validation", step);
    put_number(l, "loss", loss);
    buf_printf(&l->line, ",\"best\":%s", best ? "true" : "false");
    return end(l, e);
}

int run_log_skip(struct run_log *l, int64_t step, const char *reason, struct err *e) {
    if (!l) return 0;
    begin(l, "skip", step);
    put_text(l, "reason", reason);
    return end(l, e);
}

int run_log_checkpoint(struct run_log *l, int64_t step, const char *path, struct err *e) {
    if (!l) return 0;
    begin(l, "checkpoint", step);
    put_text(l, "path", path);
    return end(l, e);
}

int run_log_end(struct run_log *l, int64_t step, const json_t *more, struct err *e) {
    if (!l) return 0;
    begin(l, "end", step);
    return put_members(l, more, e) != 0 ? -1 : end(l, e);
}
