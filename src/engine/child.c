/* The child's side of gen_child.c.  See child.h. */
#include "engine/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "base/json.h"
#include "base/log.h"
#include "base/os.h"
#include "base/work.h"
#include "engine/child_self.h"
#include "engine/gen_priv.h"
#include "engine/lane.h"
#include "engine/wire.h"

enum {
    FLUSH_BYTES = 256 << 10, /* are not kept until the step is over */
    IDLE_MS = 1000,          /* between two reports of an idle child's load */
    MAX_FILES = 3 * 1024,
    SMALL_BYTES = 32 << 10, /* of a request: parsed at once */
    MAX_PARSE = 256 << 20,  /* bytes of requests that wait to be parsed */
};
static const int64_t LOAD_NS = 200000000; /* between two reports of a busy one's */

/* A large request is parsed on a thread of its own, so that small ones need not wait for it. */
struct start {
    struct lane_job job;
    struct task *t;
    size_t n;
    char text[]; /* [n] */
};

struct task {
    struct child *child;
    uint64_t id;
    /* Under the child's lock: */
    struct gen_task *gen; /* once gen_start has returned, until `over` */
    bool over;            /* GEN_END has been told */
    bool started;         /* whoever started it is done with it */
    bool orphan;          /* it is over and has lost its place: whoever starts it frees it */
    volatile int cancel;  /* is to be cancelled, or: as soon as gen is known; atomic, for work.h */
    bool pause;           /* the same */
    struct err failed;    /* an event that could not be sent: the task ends with this */
};

struct child {
    int fd;
    bool bare;             /* on a thread of another process, whose memory is not ours */
    struct wire_open open; /* kept while the gen is open, which may point there */
    struct gen *gen;
    struct wire_in in;
    int *passed; /* [n_passed] descriptors whose frames have not come; owned */
    int n_passed;
    struct os_map map[ENGINE_MAX_LORA]; /* of adapters that were added; owned */
    int n_map;
    struct task **slot; /* [n_slot], of the main thread */
    int n_slot;
    struct lane *parser; /* of large requests */
    pthread_mutex_t lock;
    struct buf out; /* under the lock, like what follows */
    struct gen_load load;
    int64_t load_ns;      /* when that was sent */
    size_t n_parse;       /* bytes of requests that wait to be parsed */
    volatile int closing; /* none of those is started any more; atomic, for work.h */
    bool ended;           /* a task, since then */
    bool broken;          /* the front is gone */
};

/* ---- sending ---- */

/* Under the lock.  Waits while the front does not read: then there is nothing to hurry for. */
static void flush(struct child *c) {
    size_t at = 0;
    while (at < c->out.n && !c->broken) {
        const ssize_t n = write(c->fd, c->out.p + at, c->out.n - at);
        if (n < 0 && errno != EINTR) c->broken = true;
        if (n > 0) at += (size_t)n;
    }
    buf_reset(&c->out);
    if (c->out.cap > 1 << 20) buf_fini(&c->out);
}

static bool same_load(const struct gen_load *a, const struct gen_load *b) {
    return a->n_running == b->n_running && a->n_waiting == b->n_waiting &&
           a->kv_bytes == b->kv_bytes && a->rss_bytes == b->rss_bytes;
}

/* Under the lock. */
static void put_load(struct child *c, int64_t now) {
    struct gen_load l = gen_load(c->gen);
    const uint64_t rss = c->bare ? 0 : os_rss_bytes();
    if (rss) l.rss_bytes = rss;
    c->load_ns = now;
    c->ended = false;
    if (same_load(&l, &c->load)) return;
    c->load = l;
    wire_put_load(&c->out, &l, NULL);
}

/* Under the lock, too: who looks without it may see it later. */
static void set(volatile int *flag, bool on) {
    __atomic_store_n(flag, on, __ATOMIC_RELAXED);
}

/* ---- events, on the gen's threads ---- */

/* What cannot be sent ends its task: the front gets nothing but whole events. */
static void put_event(struct task *t, const struct gen_event *ev) {
    struct child *c = t->child;
    if (ev->kind == GEN_END && t->failed.code) {
        struct gen_event end = *ev;
        end.err = t->failed;
        wire_put_event(&c->out, t->id, &end, NULL);
    } else if (!t->failed.code && wire_put_event(&c->out, t->id, ev, &t->failed) != 0) {
        c->out.failed = false;
        if (t->gen) gen_cancel(t->gen);
        set(&t->cancel, !t->gen);
    }
}

static void hear(void *ctx, const struct gen_event *ev) {
    struct task *t = ctx;
    struct child *c = t->child;
    pthread_mutex_lock(&c->lock);
    put_event(t, ev);
    if (ev->kind == GEN_END) {
        t->over = c->ended = true;
        t->gen = NULL;
    }
    if (c->out.n > FLUSH_BYTES) flush(c);
    pthread_mutex_unlock(&c->lock);
}

static void told(void *ctx) {
    struct child *c = ctx;
    const int64_t now = os_now_ns();
    pthread_mutex_lock(&c->lock);
    if (c->gen && (c->ended || now - c->load_ns > LOAD_NS)) put_load(c, now);
    flush(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- frames ---- */

static struct task *find_task(struct child *c, uint64_t id) {
    const int i = (int)(id & 0xffff);
    struct task *t = i < c->n_slot ? c->slot[i] : NULL;
    return t && t->id == id ? t : NULL;
}

/* A place for the task; whoever had it is over. */
static struct task *new_task(struct child *c, uint64_t id, struct err *e) {
    const int i = (int)(id & 0xffff);
    if (i >= c->n_slot) {
        const int n = i + 64;
        struct task **p = realloc(c->slot, (size_t)n * sizeof *p);
        if (!p) goto nomem;
        memset(p + c->n_slot, 0, (size_t)(n - c->n_slot) * sizeof *p);
        c->slot = p;
        c->n_slot = n;
    }
    struct task *t = calloc(1, sizeof *t);
    if (!t) goto nomem;
    *t = (struct task){.child = c, .id = id};
    pthread_mutex_lock(&c->lock); /* behind the last look at whoever was here */
    const bool busy = c->slot[i] && !c->slot[i]->over;
    if (!busy) {
        struct task *old = c->slot[i];
        if (old && !old->started)
            old->orphan = true;
        else
            free(old);
        c->slot[i] = t;
    }
    pthread_mutex_unlock(&c->lock);
    if (!busy) return t;
    free(t);
    err_set(e, ERR_FORMAT, "front: a task in the place of one that runs");
    return NULL;
nomem:
    err_nomem(e, "request");
    return NULL;
}

/* t: NULL, or nobody else knows it. */
static int end_unstarted(struct child *c, struct task *t, uint64_t id, const struct err *why,
                         struct err *e) {
    const struct gen_event end = {.kind = GEN_END, .why = GEN_CANCELLED, .err = *why};
    pthread_mutex_lock(&c->lock);
    if (t) t->over = t->started = true;
    const int rc = wire_put_event(&c->out, id, &end, e);
    flush(c);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* Its request, JSON text, is started, or it ends with what is wrong with that. */
static int start_text(struct task *t, struct str text, struct err *e) {
    struct child *c = t->child;
    const uint64_t id = t->id;
    struct gen_task *gen = NULL;
    struct err why = {0};
    json_error_t je;
    json_t *request = json_read(text, JSON_ALLOW_NUL, &je);
    if (!request && work_stopped())
        work_given_up(&why);
    else if (!request)
        err_set(&why, ERR_USAGE, "request: no JSON: %s", je.text);
    const int rc = request ? gen_start(c->gen, request, hear, t, &gen, &why) : -1;
    work_watch(NULL, NULL); /* t may be gone soon */
    json_decref(request);
    if (rc != 0) return end_unstarted(c, t, id, &why, e);
    pthread_mutex_lock(&c->lock);
    if (!t->over) {
        t->gen = gen;
        if (t->cancel) gen_cancel(gen);
        if (t->pause) gen_pause(gen);
    }
    t->started = true;
    if (t->orphan) free(t);
    flush(c); /* what came of it on this thread */
    pthread_mutex_unlock(&c->lock);
    return 0;
}

/* On the parser's thread. */
static void start_large(struct lane_job *j) {
    struct start *s = (struct start *)(void *)j;
    struct task *t = s->t;
    struct child *c = t->child;
    struct err e, why;
    pthread_mutex_lock(&c->lock);
    const bool stop = t->cancel || c->closing;
    pthread_mutex_unlock(&c->lock);
    err_set(&why, ERR_CANCELLED, "cancelled");
    const size_t n = s->n;
    work_watch(&t->cancel, &c->closing);
    const int rc =
        stop ? end_unstarted(c, t, t->id, &why, &e) : start_text(t, (struct str){s->text, n}, &e);
    work_watch(NULL, NULL);
    if (rc != 0) log_msg(LOG_ERROR, "%s", e.msg);
    free(s);
    pthread_mutex_lock(&c->lock);
    c->n_parse -= n;
    pthread_mutex_unlock(&c->lock);
}

/* Leaves it to the parser. */
static int start_later(struct task *t, struct str text, struct err *e) {
    struct child *c = t->child;
    struct err why;
    pthread_mutex_lock(&c->lock);
    const size_t waits = c->n_parse;
    const bool fits = waits + text.n <= MAX_PARSE || waits == 0;
    if (fits) c->n_parse += text.n;
    pthread_mutex_unlock(&c->lock);
    struct start *s = fits ? malloc(sizeof *s + text.n) : NULL;
    if (!s) {
        if (fits)
            err_nomem(&why, "request");
        else
            err_set(&why, ERR_BUSY, "requests of %zu bytes wait to be read already", waits);
        return end_unstarted(c, t, t->id, &why, e);
    }
    *s = (struct start){.job = {.run = start_large}, .t = t, .n = text.n};
    memcpy(s->text, text.p, text.n);
    lane_add(c->parser, &s->job, 0, text.n);
    return 0;
}

static int start_task(struct child *c, const struct wire_frame *f, struct err *e) {
    struct err why = {0};
    struct task *t = new_task(c, f->head.id, &why);
    if (!t) return end_unstarted(c, NULL, f->head.id, &why, e);
    return (f->body.n > SMALL_BYTES ? start_later : start_text)(t, f->body, e);
}

/* A task that is over is no mistake: its end is on the way. */
static void steer_task(struct child *c, const struct wire_frame *f) {
    pthread_mutex_lock(&c->lock);
    struct task *t = find_task(c, f->head.id);
    if (t && t->gen) {
        if (f->head.kind == WIRE_CANCEL) gen_cancel(t->gen);
        if (f->head.kind == WIRE_PAUSE) gen_pause(t->gen);
        if (f->head.kind == WIRE_RESUME) gen_resume(t->gen);
    } else if (t) { /* it waits for the parser */
        if (f->head.kind == WIRE_CANCEL) set(&t->cancel, true);
        t->pause = f->head.kind == WIRE_PAUSE;
    }
    pthread_mutex_unlock(&c->lock);
}

static int take_passed(struct child *c, struct err *e) {
    if (c->n_passed == 0) return err_set(e, ERR_FORMAT, "front: a file without its descriptor");
    const int fd = c->passed[0];
    c->n_passed--;
    memmove(c->passed, c->passed + 1, (size_t)c->n_passed * sizeof *c->passed);
    return fd;
}

/* The gen reads it from the mapping, which stays as long as the gen. */
static int map_adapter(struct child *c, const struct wire_adapter *a, int fd, struct err *e) {
    if (c->n_map == ENGINE_MAX_LORA) {
        close(fd);
        return err_set(e, ERR_LIMIT, "adapter %s: %d are there; at most so many", a->name,
                       c->n_map);
    }
    struct os_map *m = &c->map[c->n_map];
    if (os_map_fd(m, fd, a->n_bytes, a->name, e) != 0) return -1;
    struct gguf *file = gguf_open_bytes(a->name, m->data, m->size, e);
    int rc = file ? 0 : -1;
    if (rc == 0 && !c->gen->impl->take_adapter) {
        gguf_close(file);
        rc = err_set(e, ERR_UNSUPPORTED, "adapter %s: none can be added here", a->name);
    } else if (rc == 0) {
        rc = c->gen->impl->take_adapter(c->gen, a->name, file, a->scale, e);
    }
    if (rc == 0)
        c->n_map++;
    else
        os_map_close(m);
    return rc;
}

/* On the main thread: a file of this kind is read in no time. */
static int add_adapter(struct child *c, const struct wire_frame *f, struct err *e) {
    struct wire_adapter a;
    struct err why = {0};
    const int fd = take_passed(c, e);
    if (fd < 0) return -1;
    int rc = wire_get_adapter(f, &a, e);
    if (rc == 0)
        map_adapter(c, &a, fd, &why);
    else
        close(fd);
    json_decref(a.keep);
    if (rc != 0) return -1;
    pthread_mutex_lock(&c->lock);
    rc = wire_put_added(&c->out, &why, e);
    flush(c);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* 1; 0: the front wants no more; -1. */
static int take_frame(struct child *c, const struct wire_frame *f, struct err *e) {
    switch (f->head.kind) {
    case WIRE_START: return start_task(c, f, e) == 0 ? 1 : -1;
    case WIRE_CANCEL:
    case WIRE_PAUSE:
    case WIRE_RESUME: steer_task(c, f); return 1;
    case WIRE_ADAPTER: return add_adapter(c, f, e) == 0 ? 1 : -1;
    case WIRE_CLOSE: return 0;
    default: return err_set(e, ERR_FORMAT, "front: a frame of kind %u out of order", f->head.kind);
    }
}

/* Reads, and keeps a descriptor that came along. */
static int receive(struct child *c, struct err *e) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    size_t room;
    struct iovec piece = {.iov_base = wire_room(&c->in, &room)};
    struct msghdr m = {.msg_iov = &piece,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    if (!piece.iov_base) return err_nomem(e, "front");
    piece.iov_len = room;
    ssize_t n;
    do
        n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) return err_errno(e, "front");
    if (n == 0) return err_set(e, ERR_IO, "front: it is gone");
    c->in.n += (size_t)n;
    const struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (!h || h->cmsg_type != SCM_RIGHTS) return 0;
    int *p = realloc(c->passed, ((size_t)c->n_passed + 1) * sizeof *p);
    if (!p || c->n_passed >= MAX_FILES) return err_nomem(e, "front");
    c->passed = p;
    memcpy(&c->passed[c->n_passed++], CMSG_DATA(h), sizeof(int));
    return 0;
}

static int serve(struct child *c, struct err *e) {
    for (;;) {
        struct wire_frame f;
        int rc;
        while ((rc = wire_take(&c->in, &f, e)) > 0)
            if ((rc = take_frame(c, &f, e)) <= 0) return rc;
        if (rc < 0) return -1;
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, IDLE_MS) == 0) {
            pthread_mutex_lock(&c->lock);
            put_load(c, os_now_ns());
            flush(c);
            pthread_mutex_unlock(&c->lock);
            continue;
        }
        if (receive(c, e) != 0) return -1;
    }
}

/* ---- opening ---- */

static int take_file(struct child *c, const struct wire_frame *f, struct err *e) {
    const int fd = take_passed(c, e);
    if (fd < 0) return -1;
    char *path = strndup(f->body.p, f->body.n);
    const int rc = path ? os_pass_file(path, fd, e) : err_nomem(e, "front");
    free(path);
    if (rc != 0) close(fd);
    return rc;
}

/* The files, then what to open. */
static int receive_open(struct child *c, struct wire_open *o, struct err *e) {
    for (;;) {
        struct wire_frame f;
        const int rc = wire_take(&c->in, &f, e);
        if (rc < 0) return -1;
        if (rc == 0 && receive(c, e) != 0) return -1;
        if (rc == 0) continue;
        if (f.head.kind == WIRE_OPEN) return wire_get_open(&f, o, e);
        if (f.head.kind != WIRE_FILE)
            return err_set(e, ERR_FORMAT, "front: a frame of kind %u out of order", f.head.kind);
        if (take_file(c, &f, e) != 0) return -1;
    }
}

/* A model may have many files, each of which is passed and mapped. */
static void raise_files(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0) log_msg(LOG_DEBUG, "the limit of open files stays");
}

static int leave_with_parent(long parent, struct err *e) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (parent && getppid() != (pid_t)parent) return err_set(e, ERR_IO, "front: it is gone");
    return 0;
}

static int shut(struct child *c, struct wire_open *o, struct err *e) {
    struct sandbox_state got;
    char what[64];
    if (child_shut(o->opts.engine.cache, c->fd, o->opts.max_bytes, &got, e) != 0) return -1;
    sandbox_explain(&got, what, sizeof what);
    log_msg(LOG_INFO, "%s: process %ld, sandbox: %s", o->path, (long)getpid(), what);
    if (o->opts.engine.cache && !got.folder) {
        log_msg(LOG_WARN,
                "nothing is cached on disk: that takes Landlock, which this kernel lacks");
        o->opts.engine.cache = NULL;
    }
    return 0;
}

static int open_gen(struct child *c, const struct child_opts *how, struct err *e) {
    struct wire_open *o = &c->open;
    int rc = receive_open(c, o, e);
    if (rc == 0 && !how->bare) rc = shut(c, o, e);
    if (rc == 0) {
        o->opts.told = told;
        o->opts.told_ctx = c;
        struct gen *g = how->open(o->path, &o->opts, e);
        pthread_mutex_lock(&c->lock);
        c->gen = g;
        if (g) put_load(c, os_now_ns());
        rc = g ? wire_put_ready(&c->out, gen_info(g), e) : -1;
        pthread_mutex_unlock(&c->lock);
    }
    os_passed_fini();
    pthread_mutex_lock(&c->lock);
    if (rc != 0) wire_put_failed(&c->out, e, NULL);
    flush(c);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int child_run(int fd, const struct child_opts *o, struct err *e) {
    struct child c = {.fd = fd, .bare = o->bare};
    pthread_mutex_init(&c.lock, NULL);
    if (!o->bare) child_ignore_signals(), raise_files();
    int rc = o->bare ? 0 : leave_with_parent(o->parent, e);
    if (rc == 0) rc = open_gen(&c, o, e);
    if (rc == 0 && !(c.parser = lane_new(true, e))) rc = -1;
    if (rc == 0) rc = serve(&c, e);
    pthread_mutex_lock(&c.lock);
    set(&c.closing, true);
    pthread_mutex_unlock(&c.lock);
    lane_free(c.parser);
    gen_close(c.gen);
    pthread_mutex_lock(&c.lock);
    flush(&c);
    pthread_mutex_unlock(&c.lock);
    close(fd);
    for (int i = 0; i < c.n_map; i++)
        os_map_close(&c.map[i]);
    for (int i = 0; i < c.n_passed; i++)
        close(c.passed[i]);
    for (int i = 0; i < c.n_slot; i++)
        free(c.slot[i]);
    free(c.slot);
    free(c.passed);
    wire_open_fini(&c.open);
    wire_in_fini(&c.in);
    buf_fini(&c.out);
    pthread_mutex_destroy(&c.lock);
    return rc;
}
