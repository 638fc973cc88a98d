/* See tune_child.h. */
#include "create/tune_child.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/os.h"
#include "create/create.h"
#include "create/tune.h"
#include "create/tune_order.h"
#include "engine/child_self.h"

enum {
    ORDER_MAX = 64 << 20,
    PIECE = 1 << 16,
    STEP_NS = 100 * 1000 * 1000, /* between two lines of steps, or of bytes, at least */
    N_HIDDEN = 40,
};

/* A path, and what the client calls what is there. */
struct hidden {
    char *path; /* owned */
    const char *shown;
    bool outside; /* of the store's folder: a base that was linked */
};

struct child {
    int fd;
    struct buf in;
    struct tune_order o;
    struct store *store;
    struct hidden hidden[N_HIDDEN];
    int n_hidden;
    int64_t said_ns;
    bool stepped; /* a step was told */
    pthread_t listener;
    bool listens;
    volatile int stop; /* atomic */
    pthread_mutex_t lock;
    pthread_cond_t told; /* of go, and of stop */
    bool go;             /* under the lock */
};

/* ---- speaking ---- */

static void stop(struct child *c) {
    pthread_mutex_lock(&c->lock);
    __atomic_store_n(&c->stop, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&c->told);
    pthread_mutex_unlock(&c->lock);
}

/* A line; takes j over.  Waits where the front does not read. */
static void put(struct child *c, json_t *j) {
    struct buf b = {0};
    if (j && json_append_figures("training", j, &b, NULL) == 0) buf_byte(&b, '\n');
    for (size_t at = 0; at < b.n && !b.failed;) {
        const ssize_t n = write(c->fd, b.p + at, b.n - at);
        if (n > 0) at += (size_t)n;
        if (n >= 0 || errno == EINTR) continue;
        stop(c); /* nobody hears it any more */
        break;
    }
    buf_fini(&b);
    json_decref(j);
}

/* Clients learn what is wrong, but not where files are. */
static json_t *without_paths(const struct child *c, const char *text) {
    struct buf b = {0};
    while (*text) {
        const struct hidden *h = c->hidden, *end = h + c->n_hidden;
        while (h < end && strncmp(text, h->path, strlen(h->path)) != 0)
            h++;
        if (h < end) {
            buf_str(&b, h->shown);
            text += strlen(h->path);
        } else {
            buf_byte(&b, *text++);
        }
    }
    json_t *j = json_stringn(b.p ? b.p : "", b.n);
    buf_fini(&b);
    return j;
}

/* Is a line that others of its kind will follow due? */
static bool is_due(struct child *c, bool surely) {
    const int64_t now = os_now_ns();
    if (now - c->said_ns < STEP_NS && !surely) return false;
    c->said_ns = now;
    return true;
}

static void say(void *ctx, const char *status, const char *digest, uint64_t completed,
                uint64_t total) {
    struct child *c = ctx;
    if (total && completed && !is_due(c, completed >= total)) return;
    json_t *j = json_pack("{s:o}", "status", without_paths(c, status));
    if (digest && total) json_object_set_new(j, "digest", json_string(digest));
    if (total) json_object_set_new(j, "total", json_integer((json_int_t)total));
    if (completed) json_object_set_new(j, "completed", json_integer((json_int_t)completed));
    put(c, j);
}

static void on_train(void *ctx, const struct train_plan *plan, const struct train_event *ev) {
    struct child *c = ctx;
    (void)plan;
    const bool end = !c->stepped || ev->step == ev->n_step; /* the first and the last are told */
    if (ev->kind == TRAIN_STEP && !is_due(c, end)) return;
    c->stepped |= ev->kind == TRAIN_STEP;
    put(c, tune_event_json(ev));
}

static int on_plan(void *ctx, const struct train_plan *plan, struct err *e) {
    struct child *c = ctx;
    put(c, tune_plan_json(plan));
    pthread_mutex_lock(&c->lock);
    while (!c->go && !c->stop)
        pthread_cond_wait(&c->told, &c->lock);
    const bool go = c->go && !c->stop;
    pthread_mutex_unlock(&c->lock);
    return go ? 0 : err_set(e, ERR_CANCELLED, "cancelled before the first step");
}

static void put_end(struct child *c, const struct err *e) {
    json_t *text = without_paths(c, e->msg);
    put(c, json_pack("{s:o, s:i}", "error", text, "code", (int)e->code));
}

/* ---- hearing ---- */

/* The order, up to its end; what is behind it stays in c->in. */
static int read_order(struct child *c, struct err *e) {
    const char *end = NULL;
    while (!end) {
        char piece[PIECE];
        const ssize_t n = read(c->fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return err_set(e, ERR_IO, "front: it is gone");
        const size_t from = c->in.n;
        buf_append(&c->in, piece, (size_t)n);
        if (c->in.failed || c->in.n > ORDER_MAX) return err_nomem(e, "training");
        end = memchr(c->in.p + from, '\n', c->in.n - from);
    }
    return tune_order_read((struct str){c->in.p, (size_t)(end - c->in.p)}, &c->o, e);
}

static void *listen_to_front(void *arg) {
    struct child *c = arg;
    char piece[64];
    ssize_t n;
    while ((n = read(c->fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0 || !memchr(piece, '\n', (size_t)n)) continue; /* the line "go" */
        pthread_mutex_lock(&c->lock);
        c->go = true;
        pthread_cond_broadcast(&c->told);
        pthread_mutex_unlock(&c->lock);
    }
    stop(c);
    return NULL;
}

/* ---- becoming harmless ---- */

/* Whoever answers goes first, whenever there is something to do. */
static void be_last(void) {
    const struct sched_param none = {.sched_priority = 0};
    if (setpriority(PRIO_PROCESS, 0, 19) != 0 || sched_setscheduler(0, SCHED_BATCH, &none) != 0)
        log_msg(LOG_WARN, "training: the priority cannot be lowered");
}

static void hide(struct child *c, const char *path, const char *shown) {
    const size_t root = strlen(c->o.store);
    if (c->n_hidden == N_HIDDEN) return;
    struct hidden *h = &c->hidden[c->n_hidden];
    *h = (struct hidden){.path = strdup(path), .shown = shown};
    h->outside = strncmp(path, c->o.store, root) != 0 || path[root] != '/';
    if (h->path) c->n_hidden++;
}

static void hide_blob(struct child *c, const struct digest *d, const char *shown) {
    char path[STORE_PATH];
    if (d->hex[0] && store_blob(c->store, d, path, NULL, NULL) == 0) hide(c, path, shown);
}

/* The files that the job reads.  What is missing is missed later. */
static void find_files(struct child *c) {
    struct manifest m = {0};
    struct name base;
    hide_blob(c, &c->o.data, "data");
    hide_blob(c, &c->o.valid, "valid");
    for (int i = 0; i < c->o.m.n; i++) {
        const struct modelfile_line *l = &c->o.m.line[i];
        if (l->command != MF_FROM || name_parse(l->value.p, &base, NULL) != 0) continue;
        if (store_get(c->store, &base, NULL, &m, NULL) == 0)
            for (int k = 0; k < m.n_layer; k++)
                hide_blob(c, &m.layer[k].digest, "from");
        manifest_fini(&m);
        m = (struct manifest){.n_layer = 0};
    }
    hide(c, c->o.store, "store");
}

/* Many have blobs on another disk. */
static const char *blobs_elsewhere(const char *store, char path[PATH_MAX]) {
    char blobs[STORE_PATH];
    struct stat st;
    snprintf(blobs, sizeof blobs, "%.*s/blobs", STORE_PATH - 8, store);
    if (lstat(blobs, &st) != 0 || !S_ISLNK(st.st_mode)) return NULL;
    return realpath(blobs, path);
}

int tune_child_shut(const char *store, const char *const *readable, int n_readable,
                    uint64_t max_bytes, struct sandbox_state *got, struct err *e) {
    char blobs[PATH_MAX];
    const struct sandbox_opts s = {.folder = store,
                                   .tree = true,
                                   .second = blobs_elsewhere(store, blobs),
                                   .readable = readable,
                                   .n_readable = n_readable,
                                   .max_data_bytes = child_data_limit(max_bytes)};
    child_read_ahead();
    child_offer_to_die(600);
    be_last();
    if (chdir("/") != 0) return err_errno(e, "training process");
    return sandbox_enter(&s, got, e);
}

static int shut(struct child *c, struct err *e) {
    const char *readable[N_HIDDEN];
    struct sandbox_state got;
    char what[64];
    int n = 0;
    for (int i = 0; i < c->n_hidden; i++)
        if (c->hidden[i].outside) readable[n++] = c->hidden[i].path;
    if (tune_child_shut(c->o.store, readable, n, c->o.memory_bytes, &got, e) != 0) return -1;
    sandbox_explain(&got, what, sizeof what);
    log_msg(LOG_INFO, "training: process %ld, sandbox: %s", (long)getpid(), what);
    if (got.landlock_abi == 0)
        log_msg(LOG_WARN, "training: this kernel lacks Landlock: files are not fenced off");
    return 0;
}

/* ---- all ---- */

static int set_options(struct child *c, struct tune_opts *t, struct err *e) {
    const char *name;
    json_t *v;
    t->train.memory_bytes = c->o.memory_bytes;
    json_object_foreach(c->o.options, name, v) {
        const char *text = json_string_value(v);
        if (tune_set(t, name, name, text ? text : "", e) != 0) return -1;
    }
    return 0;
}

static int make(struct child *c, struct err *e) {
    const struct create_file data = {"train.jsonl", c->o.data}, valid = {"valid.jsonl", c->o.valid};
    struct tune_opts t = {.val = 0};
    if (set_options(c, &t, e) != 0) return -1;
    const struct create_opts o = {.n_threads = c->o.n_threads,
                                  .stop = &c->stop,
                                  .tune = &t,
                                  .train_file = &data,
                                  .valid_file = c->o.valid.hex[0] ? &valid : NULL,
                                  .merge = c->o.merge,
                                  .resume = c->o.restart ? CREATE_RESTART : CREATE_RESUME,
                                  .on_plan = on_plan,
                                  .on_train = on_train};
    return create_model(c->store, &c->o.name, &c->o.m, &o, say, c, e);
}

static int work(struct child *c, struct err *e) {
    if (read_order(c, e) != 0) return -1;
    if (!c->o.store || !(c->store = store_open(c->o.store, e))) return -1;
    find_files(c);
    if (shut(c, e) != 0) return -1;
    if (pthread_create(&c->listener, NULL, listen_to_front, c) != 0)
        return err_set(e, ERR_IO, "training: a thread cannot be started");
    c->listens = true;
    return make(c, e);
}

int tune_child_run(int fd, struct err *e) {
    struct child c = {.fd = fd};
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.told, NULL);
    child_ignore_signals();
    const int rc = work(&c, e);
    if (rc != 0) put_end(&c, e);
    return rc; /* the process ends with it: what c holds, and the listener, go then */
}
