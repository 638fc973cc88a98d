/* A training job from its start to its end, on a thread of its own: the process, what it says, who
 * hears it.  See trainings.h. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/json.h"
#include "engine/child_proc.h"
#include "server/trainings_priv.h"
#include "store/store.h"

enum {
    TICK_MS = 500, /* between two looks at who has left */
    LINE_MAX_BYTES = 1 << 20,
    LINE_VALUES = 1000,
    SAID_MAX = 2000, /* lines that are kept for who comes late */
    EXIT_MS = 10000, /* the process has closed its end: it is gone soon */
};

/* ---- those who follow ---- */

static void end_follower(const struct training *j, struct follower *f) {
    struct err e = j->err;
    if (f->how == FOLLOW_CANCEL || (f->how == FOLLOW_END && j->state == TRAINING_FINISHED))
        reply_figures(f->r, 200, training_json(j));
    else if (j->state == TRAINING_FINISHED)
        stream_end(f->r);
    else if (stream_started(f->r))
        stream_fail(f->r, &e);
    else
        reply_err(f->r, &e);
    free(f);
}

/* Lock held. */
static void end_followers(struct training *j) {
    for (struct follower *f = j->first, *next; f; f = next) {
        next = f->next;
        end_follower(j, f);
    }
    j->first = NULL;
}

/* Lock held.  The job goes on without them. */
static void drop_gone(struct training *j) {
    struct err e;
    for (struct follower **at = &j->first, *f; (f = *at);) {
        if (!request_gone(f->r)) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        err_set(&e, ERR_CANCELLED, "the client has left");
        if (stream_started(f->r))
            stream_end(f->r);
        else
            reply_err(f->r, &e);
        free(f);
    }
}

/* Lock held. */
static void tell(const struct training *j, const json_t *line) {
    for (const struct follower *f = j->first; f; f = f->next)
        if (f->how == FOLLOW_LINES && stream_started(f->r)) stream_figures(f->r, line);
}

/* Lock held.  From here on a client gets lines, and 200. */
static void start_streams(const struct training *j) {
    for (const struct follower *f = j->first; f; f = f->next)
        if (f->how == FOLLOW_LINES) training_catch_up(j, f->r);
}

/* ---- what the process says ---- */

static double real_of(const json_t *line, const char *key, double usual) {
    const json_t *v = json_object_get(line, key);
    return json_is_number(v) ? json_number_value(v) : usual;
}

static bool is_event(const json_t *line, const char *event) {
    const char *s = json_string_value(json_object_get(line, "event"));
    return s && strcmp(s, event) == 0;
}

static uint64_t rss_bytes(int pid) {
    char path[40], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *p = n > 0 ? strchr(text, ' ') : NULL;
    return p ? strtoull(p, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Lock held. */
static void take_figures(struct training *j, const json_t *line) {
    if (json_object_get(line, "step")) j->step = json_integer_value(json_object_get(line, "step"));
    if (json_object_get(line, "steps"))
        j->steps = json_integer_value(json_object_get(line, "steps"));
    if (is_event(line, "validation")) j->valid_loss = real_of(line, "loss", NAN);
    if (!is_event(line, "step")) return;
    j->epoch = real_of(line, "epoch", j->epoch);
    j->loss = real_of(line, "loss", NAN);
    j->tps = real_of(line, "tokens_per_s", j->tps);
    j->left_s = real_of(line, "left_s", NAN);
}

/* Lock held. */
static void keep(struct training *j, json_t *line) {
    if (is_event(line, "step")) {
        json_decref(j->last);
        j->last = json_incref(line);
    } else if (!json_object_get(line, "total") && json_array_size(j->said) < SAID_MAX) {
        json_array_append(j->said, line);
    }
}

/* The process waits for the answer to its plan.  Only models that are idle make room. */
static void accept_plan(struct training *j, const json_t *line) {
    struct trainings *t = j->all;
    const uint64_t bytes = (uint64_t)json_integer_value(json_object_get(line, "memory"));
    struct err e = {0};
    char what[TRAINING_ID + 16];
    snprintf(what, sizeof what, "training job %s", j->id);
    const int rc = models_reserve(t->models, what, bytes, &e);
    pthread_mutex_lock(&t->lock);
    if (rc != 0 && !j->err.code) err_set(&j->err, ERR_LIMIT, "training: %s", e.msg);
    if (rc == 0) j->memory_bytes = bytes;
    if (rc == 0 && !j->cancelled && write(j->fd, "go\n", 3) == 3) {
        j->state = TRAINING_RUNNING;
        start_streams(j);
    } else if (rc != 0) {
        shutdown(j->fd, SHUT_WR);
    }
    pthread_mutex_unlock(&t->lock);
    if (rc == 0)
        log_line(t->log, LOG_INFO, "training %s: %lld steps, %llu MiB planned", j->id,
                 (long long)j->steps, (unsigned long long)bytes >> 20);
}

/* Lock held. */
static void take_end(struct training *j, const json_t *line) {
    const char *error = json_string_value(json_object_get(line, "error"));
    const json_int_t code = json_integer_value(json_object_get(line, "code"));
    const char *status = json_string_value(json_object_get(line, "status"));
    if (status && strcmp(status, "success") == 0) j->succeeded = true;
    if (!error || j->err.code) return;
    err_set(&j->err, code > ERR_NONE && code <= ERR_FORBIDDEN ? (enum err_code)code : ERR_IO, "%s",
            error);
}

static void take_line(struct training *j, struct str text) {
    struct trainings *t = j->all;
    struct err e;
    json_t *line = json_read_object("training process", text, LINE_VALUES, &e);
    if (!line) {
        log_line(t->log, LOG_ERROR, "training %s: %s", j->id, e.msg);
        return;
    }
    const bool plan = is_event(line, "plan"), error = json_object_get(line, "error") != NULL;
    pthread_mutex_lock(&t->lock);
    take_figures(j, line);
    take_end(j, line);
    if (!error) keep(j, line);
    if (!error) tell(j, line);
    pthread_mutex_unlock(&t->lock);
    if (is_event(line, "step")) models_reserved_used(t->models, rss_bytes(j->pid));
    if (plan) accept_plan(j, line);
    json_decref(line);
}

/* All whole lines of what came. */
static void take_lines(struct training *j, struct buf *in) {
    const char *end;
    while (in->n && (end = memchr(in->p, '\n', in->n))) {
        const size_t n = (size_t)(end - in->p);
        take_line(j, (struct str){in->p, n});
        buf_drop(in, n + 1);
    }
}

static void hear(struct training *j) {
    struct buf in = {0};
    char piece[1 << 14];
    for (;;) {
        struct pollfd p = {.fd = j->fd, .events = POLLIN};
        const int rc = poll(&p, 1, TICK_MS);
        pthread_mutex_lock(&j->all->lock);
        drop_gone(j);
        pthread_mutex_unlock(&j->all->lock);
        if (rc <= 0) continue;
        const ssize_t n = read(j->fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        buf_append(&in, piece, (size_t)n);
        if (in.failed || in.n > LINE_MAX_BYTES) break;
        take_lines(j, &in);
    }
    buf_fini(&in);
}

/* ---- the process ---- */

static int send_all(int fd, const char *p, size_t n) {
    while (n) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1; /* it is gone, and how is told by its end */
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

/* Half of the threads that a model gets: those that answer have the others to themselves. */
static int choose_threads(void) {
    struct err e;
    const int n = cores_default_threads(&e);
    return n > 1 ? n / 2 : 1;
}

static int start(struct training *j, struct err *e) {
    struct trainings *t = j->all;
    struct buf order = {0};
    int pair[2], pid;
    j->o.n_threads = choose_threads();
    j->o.memory_bytes = models_room(t->models);
    if (tune_order_write(&j->o, &order, e) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        if (!e->code) err_errno(e, "training process");
        buf_fini(&order);
        return -1;
    }
    const int rc = child_spawn("trainer", pair[1], &pid, e);
    close(pair[1]);
    pthread_mutex_lock(&t->lock);
    j->fd = pair[0];
    j->pid = rc == 0 ? pid : 0;
    pthread_mutex_unlock(&t->lock);
    if (rc == 0) send_all(j->fd, order.p, order.n);
    pthread_mutex_lock(&t->lock);
    if (j->cancelled) shutdown(j->fd, SHUT_WR);
    pthread_mutex_unlock(&t->lock);
    buf_fini(&order);
    if (rc == 0)
        log_line(t->log, LOG_INFO, "training %s: model %s from %s, process %d, %d threads", j->id,
                 j->model, j->from, pid, j->o.n_threads);
    return rc;
}

/* Lock held. */
static void conclude(struct training *j, const char *how) {
    j->state = j->succeeded   ? TRAINING_FINISHED
               : j->cancelled ? TRAINING_CANCELLED
                              : TRAINING_FAILED;
    j->ended_s = time(NULL);
    if (j->succeeded)
        j->err = (struct err){0};
    else if (j->cancelled)
        err_set(&j->err, ERR_CANCELLED,
                "training %s was cancelled at step %lld of %lld; the same request goes on from its "
                "last checkpoint",
                j->id, (long long)j->step, (long long)j->steps);
    else if (!j->err.code)
        err_set(&j->err, ERR_IO,
                "the training process has ended (%s) at step %lld of %lld; the same request goes "
                "on from its last checkpoint",
                how, (long long)j->step, (long long)j->steps);
    end_followers(j);
    if (j->state == TRAINING_CANCELLED)
        log_line(j->all->log, LOG_INFO, "training %s: cancelled at step %lld", j->id,
                 (long long)j->step);
    else
        log_line(j->all->log, j->succeeded ? LOG_INFO : LOG_WARN, "training %s: %s", j->id,
                 j->succeeded ? "finished" : j->err.msg);
}

void *training_run(void *arg) {
    struct training *j = arg;
    struct trainings *t = j->all;
    char how[48] = "it was not started";
    struct err e = {0};
    if (start(j, &e) == 0) hear(j);
    pthread_mutex_lock(&t->lock);
    const int fd = j->fd, pid = j->pid;
    j->fd = -1;
    j->pid = 0; /* soon it may be another's */
    pthread_mutex_unlock(&t->lock);
    if (fd >= 0) close(fd);
    if (pid) child_wait(pid, EXIT_MS, how, sizeof how);
    models_reserve(t->models, "", 0, &e);
    pthread_mutex_lock(&t->lock);
    if (e.code && !j->err.code) j->err = e;
    conclude(j, how);
    j->over = true;
    pthread_cond_broadcast(&t->ended);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}
