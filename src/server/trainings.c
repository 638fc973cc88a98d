/* See trainings.h. */
#include "server/trainings_priv.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "server/allow.h"

enum { KEPT = 16, CLOSE_PATIENCE_S = 5 };

/* ---- one job ---- */

bool training_ends(const struct training *j) {
    return j->state >= TRAINING_FINISHED;
}

void training_stop(struct training *j) {
    if (training_ends(j)) return;
    j->cancelled = true;
    if (j->fd >= 0) shutdown(j->fd, SHUT_WR);
}

static void set_real(json_t *o, const char *key, double v) {
    if (isfinite(v)) json_object_set_new(o, key, json_real(v));
}

static void set_time(json_t *o, const char *key, int64_t unix_s) {
    char text[API_TIME];
    if (!unix_s) return;
    api_time(unix_s, text);
    json_object_set_new(o, key, json_string(text));
}

json_t *training_json(const struct training *j) {
    static const char *const name[] = {"starting", "running", "finished", "failed", "cancelled"};
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "id", j->id, "model", j->model, "from",
                          j->from, "state", name[j->state], "step", (json_int_t)j->step, "steps",
                          (json_int_t)j->steps);
    set_real(o, "epoch", j->epoch);
    set_real(o, "loss", j->loss);
    set_real(o, "valid_loss", j->valid_loss);
    set_real(o, "tokens_per_s", j->tps);
    if (!training_ends(j)) set_real(o, "left_s", j->left_s);
    api_set_count(o, "memory", (int64_t)j->memory_bytes);
    set_time(o, "started_at", j->started_s);
    set_time(o, "ended_at", j->ended_s);
    if (j->err.code) json_object_set_new(o, "error", json_string(j->err.msg));
    return o;
}

static void training_free(struct training *j) {
    if (!j) return;
    tune_order_fini(&j->o);
    json_decref(j->said);
    json_decref(j->last);
    free(j->what);
    free(j);
}

/* What makes two requests the same job. */
static char *identify(const struct tune_order *o, struct err *e) {
    struct tune_order same = *o;
    struct buf b = {0};
    same.n_threads = 0;
    same.memory_bytes = 0;
    if (tune_order_write(&same, &b, e) == 0) return b.p;
    buf_fini(&b);
    return NULL;
}

static struct training *training_new(struct trainings *t, struct tune_order *o, struct err *e) {
    struct training *j = calloc(1, sizeof *j);
    uint64_t id = 0;
    if (!j) {
        tune_order_fini(o);
        err_nomem(e, "training");
        return NULL;
    }
    *j = (struct training){.all = t, .o = *o, .fd = -1, .started_s = time(NULL), .from = ""};
    j->epoch = j->loss = j->valid_loss = j->tps = j->left_s = NAN;
    name_short(&o->name, j->model);
    for (int i = 0; i < o->m.n; i++)
        if (o->m.line[i].command == MF_FROM) j->from = o->m.line[i].value.p;
    j->said = json_array();
    j->what = identify(&j->o, e);
    if (getrandom(&id, sizeof id, 0) != sizeof id) id = (uint64_t)j->started_s;
    snprintf(j->id, sizeof j->id, "%016llx", (unsigned long long)id);
    if (j->what && j->said) return j;
    training_free(j);
    if (!e->code) err_nomem(e, "training");
    return NULL;
}

/* ---- the table ---- */

struct trainings *trainings_open(struct store *s, struct models *m, struct log *l, struct err *e) {
    struct trainings *t = calloc(1, sizeof *t);
    pthread_condattr_t monotonic;
    if (!t) {
        err_nomem(e, "trainings");
        return NULL;
    }
    *t = (struct trainings){.store = s, .models = m, .log = l};
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return t;
}

static struct training *running(const struct trainings *t) {
    for (struct training *j = t->list; j; j = j->next)
        if (!j->over) return j;
    return NULL;
}

void trainings_drain(struct trainings *t) {
    pthread_mutex_lock(&t->lock);
    t->draining = true;
    struct training *j = running(t);
    if (j) training_stop(j);
    pthread_mutex_unlock(&t->lock);
}

/* Lock held.  A step may take minutes; the last checkpoint is no older than that. */
static void wait_for_end(struct trainings *t) {
    struct timespec until;
    struct training *j;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CLOSE_PATIENCE_S;
    while ((j = running(t)))
        if (pthread_cond_timedwait(&t->ended, &t->lock, &until) != 0) break;
    if (j && j->pid > 0) kill(j->pid, SIGKILL);
    while (running(t))
        pthread_cond_wait(&t->ended, &t->lock);
}

void trainings_close(struct trainings *t) {
    if (!t) return;
    trainings_drain(t);
    pthread_mutex_lock(&t->lock);
    wait_for_end(t);
    pthread_mutex_unlock(&t->lock);
    for (struct training *j = t->list, *next; j; j = next) {
        next = j->next;
        if (!j->joined) pthread_join(j->thread, NULL);
        training_free(j);
    }
    pthread_cond_destroy(&t->ended);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Lock held.  Those that have ended longest ago are forgotten. */
static void forget_old(struct trainings *t) {
    int n = 0;
    for (struct training **at = &t->list; *at;) {
        struct training *j = *at;
        if (j->over && !j->joined) {
            pthread_join(j->thread, NULL);
            j->joined = true;
        }
        if (++n <= KEPT || !j->over) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        training_free(j);
    }
}

/* That one, if r's key sees its model. */
static struct training *find(const struct trainings *t, const struct request *r, const char *id) {
    struct training *j = t->list;
    while (j && strcmp(j->id, id) != 0)
        j = j->next;
    return j && allow_sees(r, &j->o.name) ? j : NULL;
}

/* ---- followers ---- */

void training_catch_up(const struct training *j, struct request *r) {
    json_t *line = json_pack("{s:s, s:s, s:s, s:s}", "event", "job", "id", j->id, "model", j->model,
                             "from", j->from);
    size_t i;
    stream_start(r, 200, STREAM_NDJSON);
    stream_figures(r, line);
    json_decref(line);
    json_array_foreach(j->said, i, line) stream_figures(r, line);
    if (j->last) stream_figures(r, j->last);
}

/* Lock held.  Before the plan is accepted nobody gets a line: what fails until then has a status.
 */
static int follow(struct training *j, struct request *r, int how, struct err *e) {
    struct follower *f = calloc(1, sizeof *f);
    if (!f) return err_nomem(e, "training");
    *f = (struct follower){.next = j->first, .r = r, .how = how};
    j->first = f;
    if (how == FOLLOW_LINES && j->state != TRAINING_STARTING) training_catch_up(j, r);
    return 0;
}

static void reply_busy(struct request *r, const struct training *j) {
    if (!allow_sees(r, &j->o.name)) {
        reply_error(r, 409, "another training is not done yet; one runs at a time");
        return;
    }
    reply_error(r, 409,
                "training %s (model '%s') is not done yet; one runs at a time: wait for it (GET "
                "/api/train/%s) or cancel it (DELETE)",
                j->id, j->model, j->id);
}

/* Lock held. */
static int begin(struct trainings *t, struct training *j, struct request *r, bool stream,
                 struct err *e) {
    if (follow(j, r, stream ? FOLLOW_LINES : FOLLOW_END, e) != 0) return -1;
    if (pthread_create(&j->thread, NULL, training_run, j) == 0) {
        j->next = t->list;
        t->list = j;
        forget_old(t);
        return 0;
    }
    free(j->first);
    return err_set(e, ERR_IO, "training: a thread cannot be started");
}

void trainings_start(struct trainings *t, struct request *r, struct tune_order *o, bool stream) {
    struct err e = {0};
    struct training *j = training_new(t, o, &e);
    if (!j) {
        reply_err(r, &e);
        return;
    }
    pthread_mutex_lock(&t->lock);
    struct training *busy = running(t);
    const bool same = busy && !busy->cancelled && strcmp(busy->what, j->what) == 0;
    int rc = 0;
    if (t->draining)
        rc = err_set(&e, ERR_BUSY, "the server is shutting down");
    else if (same)
        rc = follow(busy, r, stream ? FOLLOW_LINES : FOLLOW_END, &e);
    else if (busy)
        reply_busy(r, busy);
    else
        rc = begin(t, j, r, stream, &e);
    const bool begun = rc == 0 && !busy;
    pthread_mutex_unlock(&t->lock);
    if (!begun) training_free(j);
    if (rc != 0) reply_err(r, &e);
}

/* ---- the other routes ---- */

void trainings_list(struct trainings *t, struct request *r) {
    json_t *list = json_array();
    pthread_mutex_lock(&t->lock);
    for (const struct training *j = t->list; j; j = j->next)
        if (allow_sees(r, &j->o.name)) json_array_append_new(list, training_json(j));
    pthread_mutex_unlock(&t->lock);
    reply_figures(r, 200, json_pack("{s:o}", "jobs", list));
}

/* Of one that has ended. */
static void tell_again(const struct training *j, struct request *r) {
    training_catch_up(j, r);
    if (j->state == TRAINING_FINISHED)
        stream_end(r);
    else
        stream_fail(r, &j->err);
}

void trainings_get(struct trainings *t, struct request *r, const char *id, bool stream) {
    struct err e = {0};
    pthread_mutex_lock(&t->lock);
    struct training *j = find(t, r, id);
    json_t *now = j && !stream ? training_json(j) : NULL;
    int rc = 0;
    if (!j)
        rc = err_set(&e, ERR_NOT_FOUND, "training '%.40s' not found", id);
    else if (stream && training_ends(j))
        tell_again(j, r);
    else if (stream)
        rc = follow(j, r, FOLLOW_LINES, &e);
    pthread_mutex_unlock(&t->lock);
    if (rc != 0)
        reply_err(r, &e);
    else if (!stream)
        reply_figures(r, 200, now);
}

/* Lock held; one that is over. */
static void take_out(struct trainings *t, struct training *j) {
    struct training **at = &t->list;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (!j->joined) pthread_join(j->thread, NULL);
    training_free(j);
}

void trainings_remove(struct trainings *t, struct request *r, const char *id) {
    struct err e = {0};
    json_t *was = NULL;
    pthread_mutex_lock(&t->lock);
    struct training *j = find(t, r, id);
    int rc = 0;
    if (!j)
        rc = err_set(&e, ERR_NOT_FOUND, "training '%.40s' not found", id);
    else if (j->over)
        was = training_json(j), take_out(t, j);
    else if ((rc = follow(j, r, FOLLOW_CANCEL, &e)) == 0)
        training_stop(j);
    pthread_mutex_unlock(&t->lock);
    if (rc != 0)
        reply_err(r, &e);
    else if (was)
        reply_figures(r, 200, was);
}
