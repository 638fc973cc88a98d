/* gen.h through a child process (DESIGN.md 2): requests go out as frames, events come back.
 *
 *     any thread   gen_start, gen_cancel...: a frame is appended to `out` and sent as far as the
 *                  socket takes it at once; nobody waits for the child
 *     the reader   starts the process, sends the files, then reads: frames -> checks -> fn(); sends
 *                  what is left of `out`; when the child is gone it ends all tasks
 *
 * One reader per child, for as long as the child lives: the kernel ends the child with the thread
 * that started it (PR_SET_PDEATHSIG).
 *
 * The child reads what strangers made and may do anything.  wire_get_event checks an event by
 * itself, here is what the order of events may be; whoever breaks a rule is killed, as is a child
 * that goes on sending for a task that is paused or never ends one that was cancelled. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/os.h"
#include "engine/child_proc.h"
#include "engine/gen_priv.h"
#include "engine/prefix_disk.h"
#include "engine/wire.h"

enum {
    MAX_TASKS = 0xfffe,         /* at once: a task's slot is the low 16 bits of its id */
    MAX_OUT = 320 << 20,        /* bytes that wait for the child: one large request, and more */
    MAX_PAUSED_BYTES = 8 << 20, /* that still come for a task that is paused */
    EXIT_PATIENCE_MS = 1000,    /* from its end of the connection to its end */
    CLOSE_PATIENCE_S = 5,
    CANCEL_PATIENCE_S = 60, /* longer than any chunk of a prompt takes */
    STOP_POLL_MS = 20,
};
static const int64_t LOOK_NS = 5000000000; /* between two looks for tasks that hang */

struct task {
    struct gen_task base;
    uint64_t id;
    gen_event_fn *fn;
    void *ctx;
    struct wire_task may;
    bool paused; /* this, paused_bytes and cancel_ns under the gen's lock */
    size_t paused_bytes;
    int64_t cancel_ns;       /* when it was cancelled; 0: it was not */
    bool prompted, answered; /* of the reader, like `done` */
    int n_done;
    uint8_t *done; /* [n_choice] choices that are finished, vectors that came; owned */
};

enum state { OPENING, READY, GONE };

struct gen_child {
    struct gen base;
    char *name; /* of the model, for the log; owned */
    char arch[WIRE_ARCH_BYTES];
    int fd, peer; /* the socket; the child's end until it is started */
    int wake[2];  /* a pipe: there is something in `out` */
    pid_t pid;    /* 0: there is none */
    struct child_files files;
    struct buf open;          /* the OPEN frame */
    const volatile int *stop; /* of the opening, or NULL */
    pthread_t reader;
    struct wire_in in;
    pthread_mutex_t lock;
    pthread_cond_t change; /* of state, n_task; monotonic clock */
    /* Under the lock: */
    enum state state;
    struct err why; /* GONE */
    bool stopped;   /* the opening was given up */
    bool closing;
    struct buf out;
    size_t out_at;
    int pass_fd; /* goes with the byte at pass_at of `out`; -1: none; owned */
    size_t pass_at;
    int64_t adding_ns; /* since when an adapter is on its way; 0: none is */
    bool added;        /* it was told of: what_added */
    struct err what_added;
    struct task **slot; /* [n_slot], owned */
    int n_slot, n_task, next_slot;
    uint64_t serial;
    struct gen_load load;
};

static struct gen_child *child_of(const struct gen *g) {
    return (struct gen_child *)(uintptr_t)g;
}

/* ---- sending ---- */

static void drop_passed(struct gen_child *g) {
    if (g->pass_fd >= 0) close(g->pass_fd);
    g->pass_fd = -1;
}

/* Under the lock.  0: all is sent or waits; -1: the connection is broken. */
static int send_out(struct gen_child *g) {
    while (g->out_at < g->out.n) {
        const bool before = g->pass_fd >= 0 && g->out_at < g->pass_at;
        const bool here = g->pass_fd >= 0 && g->out_at == g->pass_at;
        const ssize_t n =
            child_send(g->fd, g->out.p + g->out_at, (before ? g->pass_at : g->out.n) - g->out_at,
                       here ? g->pass_fd : -1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN || errno == ETOOMANYREFS ? 0 : -1;
        g->out_at += (size_t)n;
        if (here) drop_passed(g);
    }
    buf_reset(&g->out);
    g->out_at = 0;
    if (g->out.cap > 1 << 20) buf_fini(&g->out);
    return 0;
}

/* Under the lock.  What does not go at once, and errors, are the reader's. */
static int queue(struct gen_child *g, const struct buf *frame, struct err *e) {
    if (g->out.n - g->out_at + frame->n > MAX_OUT)
        return err_set(e, ERR_BUSY, "%s: %zu bytes wait for the model's process already", g->name,
                       g->out.n - g->out_at);
    buf_append(&g->out, frame->p, frame->n);
    if (g->out.failed) {
        g->out.failed = false;
        return err_nomem(e, g->name);
    }
    const ssize_t ignored = send_out(g) == 0 && g->out.n == 0 ? 0 : write(g->wake[1], "", 1);
    (void)ignored; /* a full pipe wakes as well */
    return 0;
}

static void queue_word(struct gen_child *g, enum wire_kind kind, uint64_t id) {
    struct buf frame = {0};
    struct err e;
    if (wire_put_frame(&frame, kind, id, (struct str){0}, &e) != 0 || queue(g, &frame, &e) != 0)
        log_msg(LOG_WARN, "%s", e.msg);
    buf_fini(&frame);
}

/* ---- tasks ---- */

static void task_free(struct task *t) {
    free(t->done);
    free(t);
}

static struct task *task_new(struct gen_child *g, const json_t *request, gen_event_fn *fn,
                             void *ctx) {
    struct task *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    *t = (struct task){.base.gen = &g->base, .fn = fn, .ctx = ctx};
    wire_task_init(&t->may, request, &g->base.info);
    t->done = calloc((size_t)t->may.n_choice + 1, 1);
    if (t->done) return t;
    free(t);
    return NULL;
}

/* Under the lock: a place in the table, and the id. */
static int add_task(struct gen_child *g, struct task *t, struct err *e) {
    if (g->n_task == g->n_slot) {
        const int n = g->n_slot ? 2 * g->n_slot : 16;
        struct task **p = g->n_slot < MAX_TASKS ? realloc(g->slot, (size_t)n * sizeof *p) : NULL;
        if (!p) return err_set(e, ERR_NOMEM, "%s: %d requests at once", g->name, g->n_task + 1);
        memset(p + g->n_slot, 0, (size_t)(n - g->n_slot) * sizeof *p);
        g->next_slot = g->n_slot;
        g->slot = p;
        g->n_slot = n;
    }
    while (g->slot[g->next_slot])
        g->next_slot = (g->next_slot + 1) % g->n_slot;
    g->slot[g->next_slot] = t;
    g->n_task++;
    t->id = ++g->serial << 16 | (uint64_t)g->next_slot;
    return 0;
}

static void remove_task(struct gen_child *g, const struct task *t) {
    g->slot[t->id & 0xffff] = NULL;
    g->n_task--;
    pthread_cond_broadcast(&g->change);
}

static int child_start(struct gen *gen, const json_t *request, gen_event_fn *fn, void *ctx,
                       struct gen_task **out, struct err *e) {
    struct gen_child *g = child_of(gen);
    struct buf frame = {0}, text = {0};
    struct task *t = task_new(g, request, fn, ctx);
    int rc = t ? json_append(g->name, request, &text, e) : err_nomem(e, g->name);
    pthread_mutex_lock(&g->lock);
    if (rc == 0 && (g->state != READY || g->closing)) {
        if (e) *e = g->why;
        if (g->state != GONE) err_set(e, ERR_CANCELLED, "%s: is being closed", g->name);
        rc = -1;
    }
    if (rc == 0) rc = add_task(g, t, e);
    if (rc == 0) {
        if (out) *out = &t->base; /* before an event can come */
        rc = wire_put_frame(&frame, WIRE_START, t->id, buf_view(&text), e);
        if (rc == 0) rc = queue(g, &frame, e);
        if (rc != 0) remove_task(g, t);
    }
    pthread_mutex_unlock(&g->lock);
    if (rc != 0 && t) task_free(t);
    buf_fini(&frame);
    buf_fini(&text);
    return rc;
}

static void child_cancel(struct gen_task *task) {
    struct task *t = (struct task *)task;
    struct gen_child *g = child_of(task->gen);
    pthread_mutex_lock(&g->lock);
    if (!t->cancel_ns && g->state == READY) queue_word(g, WIRE_CANCEL, t->id);
    if (!t->cancel_ns) t->cancel_ns = os_now_ns();
    pthread_mutex_unlock(&g->lock);
}

static void child_pause(struct gen_task *task, bool on) {
    struct task *t = (struct task *)task;
    struct gen_child *g = child_of(task->gen);
    pthread_mutex_lock(&g->lock);
    if (t->paused != on && g->state == READY) queue_word(g, on ? WIRE_PAUSE : WIRE_RESUME, t->id);
    t->paused = on;
    t->paused_bytes = 0;
    pthread_mutex_unlock(&g->lock);
}

/* ---- adapters ---- */

/* Under the lock: the file goes to the child. */
static int send_adapter(struct gen_child *g, const struct wire_adapter *a, int fd, struct err *e) {
    struct buf frame = {0};
    int rc = wire_put_adapter(&frame, a, e);
    if (rc == 0) {
        g->pass_fd = fd;
        g->pass_at = g->out.n;
        rc = queue(g, &frame, e);
        if (rc != 0) g->pass_fd = -1;
    }
    buf_fini(&frame);
    return rc;
}

/* Under the lock: the child's answer, or its end. */
static int wait_added(struct gen_child *g, struct err *e) {
    g->adding_ns = os_now_ns();
    g->added = false;
    while (!g->added && g->state == READY)
        pthread_cond_wait(&g->change, &g->lock);
    g->adding_ns = 0;
    const struct err *why = g->added ? &g->what_added : &g->why;
    if (why->code && e) *e = *why;
    pthread_cond_broadcast(&g->change);
    return why->code ? -1 : 0;
}

/* One at a time. */
static int add_opened(struct gen_child *g, const struct wire_adapter *a, int fd, struct err *e) {
    pthread_mutex_lock(&g->lock);
    while (g->adding_ns && g->state == READY)
        pthread_cond_wait(&g->change, &g->lock);
    int rc = 0;
    if (g->state != READY || g->closing)
        rc = err_set(e, ERR_CANCELLED, "%s: is being closed", g->name);
    if (rc == 0) rc = send_adapter(g, a, fd, e);
    if (rc != 0)
        close(fd);
    else
        rc = wait_added(g, e);
    pthread_mutex_unlock(&g->lock);
    return rc;
}

static int child_add_adapter(struct gen *gen, const char *name, const char *path, float scale,
                             struct err *e) {
    struct wire_adapter a = {.name = name, .scale = scale};
    struct stat st;
    const int fd = os_open_regular(path, e);
    if (fd < 0) return -1;
    if (fstat(fd, &st) != 0 || st.st_size <= 0) {
        close(fd);
        return err_set(e, ERR_FORMAT, "%s: the file is empty", path);
    }
    a.n_bytes = (uint64_t)st.st_size;
    return add_opened(child_of(gen), &a, fd, e);
}

/* The reader's. */
static int take_added(struct gen_child *g, const struct wire_frame *f, struct err *e) {
    struct err why = {0};
    if (wire_get_added(f, &why, e) != 0) return -1;
    pthread_mutex_lock(&g->lock);
    const bool awaited = g->adding_ns && !g->added;
    if (awaited) {
        g->added = true;
        g->what_added = why;
        pthread_cond_broadcast(&g->change);
    }
    pthread_mutex_unlock(&g->lock);
    return awaited ? 0 : err_set(e, ERR_FORMAT, "engine process: an adapter that nobody sent");
}

/* ---- events ---- */

static int out_of_order(const struct gen_event *ev, struct err *e) {
    return err_set(e, ERR_FORMAT, "engine process: an event of kind %d, choice %d, out of order",
                   ev->kind, ev->choice);
}

/* Everything comes once, text after the prompt and before its choice is finished, and the end of
 * what went well last. */
static int check_order(struct task *t, const struct gen_event *ev, struct err *e) {
    const bool has_choice = ev->choice < t->may.n_choice;
    bool *once = ev->kind == GEN_PROMPT   ? &t->prompted
                 : ev->kind == GEN_RESULT ? &t->answered
                                          : NULL;
    if (once && *once) return out_of_order(ev, e);
    if (once) *once = true;
    switch (ev->kind) {
    case GEN_THINKING:
    case GEN_TEXT:
    case GEN_CALL: return t->prompted && !t->done[ev->choice] ? 0 : out_of_order(ev, e);
    case GEN_FINISH:
    case GEN_VECTOR:
        if (!has_choice || t->done[ev->choice]) return out_of_order(ev, e);
        t->done[ev->choice] = 1;
        t->n_done++;
        return 0;
    case GEN_END:
        if (ev->err.code != ERR_NONE) return 0;
        if (t->may.op == WIRE_GENERATE || t->may.op == WIRE_EMBED)
            return t->n_done == t->may.n_choice ? 0 : out_of_order(ev, e);
        return t->answered ? 0 : out_of_order(ev, e);
    default: return 0;
    }
}

static struct task *find_task(struct gen_child *g, const struct wire_frame *f, struct err *e) {
    const int i = (int)(f->head.id & 0xffff);
    pthread_mutex_lock(&g->lock);
    struct task *t = i < g->n_slot ? g->slot[i] : NULL;
    bool flood = false;
    if (t && t->id != f->head.id) t = NULL;
    if (t && t->paused) flood = (t->paused_bytes += f->body.n) > MAX_PAUSED_BYTES;
    pthread_mutex_unlock(&g->lock);
    if (!t) err_set(e, ERR_FORMAT, "engine process: an event for a task that there is not");
    if (flood) err_set(e, ERR_FORMAT, "engine process: a task that was paused goes on");
    return flood ? NULL : t;
}

static int take_event(struct gen_child *g, const struct wire_frame *f, struct err *e) {
    struct gen_event ev;
    json_t *data;
    struct task *t = find_task(g, f, e);
    if (!t || wire_get_event(f, &t->may, &ev, &data, e) != 0) return -1;
    const int rc = check_order(t, &ev, e);
    if (rc == 0) t->fn(t->ctx, &ev);
    json_decref(data);
    if (rc != 0 || ev.kind != GEN_END) return rc;
    pthread_mutex_lock(&g->lock);
    remove_task(g, t);
    pthread_mutex_unlock(&g->lock);
    task_free(t);
    return 0;
}

static void set_state(struct gen_child *g, enum state s, const struct err *why) {
    pthread_mutex_lock(&g->lock);
    g->state = s;
    if (why) g->why = *why;
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
}

/* -1 with what the child said, or with what is wrong with it. */
static int take_frame(struct gen_child *g, const struct wire_frame *f, struct err *e) {
    struct gen_load load;
    struct err said;
    const enum wire_kind k = (enum wire_kind)f->head.kind;
    const bool opens = k == WIRE_READY || k == WIRE_FAILED;
    if (g->state == OPENING ? k == WIRE_EVENT || k == WIRE_ADDED
                            : opens) /* the state is this thread's to write */
        return err_set(e, ERR_FORMAT, "engine process: a frame of kind %d out of order", k);
    switch (k) {
    case WIRE_READY:
        if (wire_get_ready(f, &g->base.info, g->arch, e) != 0) return -1;
        set_state(g, READY, NULL);
        return 0;
    case WIRE_FAILED:
        if (wire_get_failed(f, &said, e) == 0 && e) *e = said;
        return -1;
    case WIRE_LOAD:
        if (wire_get_load(f, &load, e) != 0) return -1;
        pthread_mutex_lock(&g->lock);
        g->load = load;
        pthread_mutex_unlock(&g->lock);
        return 0;
    case WIRE_ADDED: return take_added(g, f, e);
    default: return take_event(g, f, e);
    }
}

/* ---- the reader ---- */

/* What is there, all of it that fits.  1; 0: the child has closed; -1. */
static int read_some(struct gen_child *g, struct err *e) {
    size_t room;
    char *at = wire_room(&g->in, &room);
    if (!at) return err_nomem(e, g->name);
    const ssize_t n = recv(g->fd, at, room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1
               : errno == ECONNRESET             ? 0
                                                 : err_errno(e, g->name);
    g->in.n += (size_t)n;
    struct wire_frame f;
    int rc;
    while ((rc = wire_take(&g->in, &f, e)) > 0)
        if (take_frame(g, &f, e) != 0) return -1;
    return rc < 0 ? -1 : n > 0;
}

/* A task that was cancelled long ago and did not end, an adapter that does not get there. */
static bool has_stuck_task(struct gen_child *g) {
    const int64_t before = os_now_ns() - (int64_t)CANCEL_PATIENCE_S * 1000000000;
    pthread_mutex_lock(&g->lock);
    bool stuck = g->adding_ns && !g->added && g->adding_ns < before;
    for (int i = 0; g->n_task && i < g->n_slot; i++)
        if (g->slot[i] && g->slot[i]->cancel_ns && g->slot[i]->cancel_ns < before) stuck = true;
    pthread_mutex_unlock(&g->lock);
    return stuck;
}

/* Until the child has closed (0), or breaks a rule (-1). */
static int read_all(struct gen_child *g, struct err *e) {
    char drain[64];
    int64_t look_ns = os_now_ns() + LOOK_NS;
    for (int rc = 1; rc > 0;) {
        pthread_mutex_lock(&g->lock);
        const bool more = g->out.n > g->out_at;
        pthread_mutex_unlock(&g->lock);
        struct pollfd p[2] = {{.fd = g->fd, .events = (short)(POLLIN | (more ? POLLOUT : 0))},
                              {.fd = g->wake[0], .events = POLLIN}};
        if (poll(p, 2, (int)(LOOK_NS / 1000000)) < 0) {
            if (errno != EINTR) return err_errno(e, g->name);
            continue;
        }
        if (os_now_ns() > look_ns) {
            look_ns = os_now_ns() + LOOK_NS;
            if (has_stuck_task(g))
                return err_set(e, ERR_FORMAT,
                               "engine process: a task that was cancelled %d s ago does not end",
                               CANCEL_PATIENCE_S);
        }
        while (p[1].revents && read(g->wake[0], drain, sizeof drain) > 0)
            continue;
        if (p[0].revents & POLLOUT) {
            pthread_mutex_lock(&g->lock);
            send_out(g); /* a broken connection shows when reading */
            pthread_mutex_unlock(&g->lock);
        }
        if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) rc = read_some(g, e);
        if (rc < 0) return -1;
    }
    return 0;
}

static int start_process(struct gen_child *g, struct err *e) {
    pid_t pid = 0;
    pthread_mutex_lock(&g->lock);
    int rc = g->stopped ? err_set(e, ERR_CANCELLED, "cancelled")
                        : child_spawn("engine", g->peer, &pid, e);
    g->pid = pid;
    pthread_mutex_unlock(&g->lock);
    close(g->peer);
    g->peer = -1;
    if (rc == 0) rc = child_files_send(&g->files, g->fd, g->stop, e);
    child_files_fini(&g->files);
    if (rc != 0) return -1;
    pthread_mutex_lock(&g->lock);
    rc = queue(g, &g->open, e);
    pthread_mutex_unlock(&g->lock);
    buf_fini(&g->open);
    return rc;
}

/* The child has closed, or has to go.  *why: what broke, or ERR_NONE. */
static void end_process(struct gen_child *g, struct err *why) {
    char how[48] = "not started";
    pthread_mutex_lock(&g->lock);
    const pid_t pid = g->pid;
    g->pid = 0; /* from here on its number may be another's */
    const bool wanted = g->closing || g->stopped, opening = g->state == OPENING;
    pthread_mutex_unlock(&g->lock);
    if (pid && why->code && !(opening && why->code != ERR_FORMAT)) kill(pid, SIGKILL);
    shutdown(g->fd, SHUT_RDWR);
    if (pid) child_wait(pid, EXIT_PATIENCE_MS, how, sizeof how);
    const struct err broke = *why;
    if (wanted)
        err_set(why, ERR_CANCELLED, "%s: was closed", g->name);
    else if (!broke.code)
        err_set(why, ERR_IO, "the model's process ended (%s)%s", how,
                strcmp(how, "signal 7") == 0 ? ": was its file changed or cut short?" : "");
    else if (!opening)
        err_set(why, ERR_IO, "the model's process was ended: %s", broke.msg);
    if (!wanted && !opening) log_msg(LOG_ERROR, "%s: %s", g->name, why->msg);
}

/* Their last event. */
static void end_tasks(struct gen_child *g, const struct err *why) {
    for (int i = 0; i < g->n_slot; i++) { /* nothing is added any more */
        struct task *t = g->slot[i];
        if (!t) continue;
        const struct gen_event ev = {.kind = GEN_END, .why = GEN_CANCELLED, .err = *why};
        t->fn(t->ctx, &ev);
        pthread_mutex_lock(&g->lock);
        remove_task(g, t);
        pthread_mutex_unlock(&g->lock);
        task_free(t);
    }
}

static void *reader_main(void *arg) {
    struct gen_child *g = arg;
    struct err why = {0};
    if (start_process(g, &why) == 0) read_all(g, &why);
    end_process(g, &why);
    set_state(g, GONE, &why);
    end_tasks(g, &why);
    return NULL;
}

/* ---- opening and closing ---- */

static void kill_child(struct gen_child *g) {
    if (g->pid > 0) kill(g->pid, SIGKILL);
}

static struct timespec after_ms(int ms) {
    const int64_t t = os_now_ns() + (int64_t)ms * 1000000;
    return (struct timespec){t / 1000000000, t % 1000000000};
}

static void child_free(struct gen_child *g) {
    const int fd[] = {g->fd, g->peer, g->wake[0], g->wake[1]};
    for (size_t i = 0; i < sizeof fd / sizeof *fd; i++)
        if (fd[i] >= 0) close(fd[i]);
    drop_passed(g);
    child_files_fini(&g->files);
    wire_in_fini(&g->in);
    buf_fini(&g->open);
    buf_fini(&g->out);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->change);
    free(g->slot);
    free(g->name);
    free(g);
}

/* The child says goodbye when all its tasks have ended; one that does not is killed. */
static void child_close(struct gen *gen) {
    struct gen_child *g = child_of(gen);
    const struct timespec until = after_ms(CLOSE_PATIENCE_S * 1000);
    pthread_mutex_lock(&g->lock);
    g->closing = true;
    if (g->state == READY) queue_word(g, WIRE_CLOSE, 0);
    while (g->state != GONE)
        if (pthread_cond_timedwait(&g->change, &g->lock, &until) == ETIMEDOUT) break;
    if (g->state != GONE) kill_child(g);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->reader, NULL);
    child_free(g);
}

static bool child_alive(const struct gen *gen) {
    struct gen_child *g = child_of(gen);
    pthread_mutex_lock(&g->lock);
    const bool alive = g->state == READY;
    pthread_mutex_unlock(&g->lock);
    return alive;
}

static struct gen_load child_load(const struct gen *gen) {
    struct gen_child *g = child_of(gen);
    pthread_mutex_lock(&g->lock);
    const struct gen_load l = g->state == READY ? g->load : (struct gen_load){0};
    pthread_mutex_unlock(&g->lock);
    return l;
}

static const struct gen_impl child_impl = {
    .close = child_close,
    .alive = child_alive,
    .load = child_load,
    .start = child_start,
    .cancel = child_cancel,
    .pause = child_pause,
    .add_adapter = child_add_adapter,
};

static struct gen_child *child_new(const char *path) {
    struct gen_child *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    *g = (struct gen_child){
        .base.impl = &child_impl, .fd = -1, .peer = -1, .wake = {-1, -1}, .pass_fd = -1};
    g->in.from_child = true;
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&g->change, &a);
    pthread_condattr_destroy(&a);
    pthread_mutex_init(&g->lock, NULL);
    g->name = strdup(path);
    if (g->name) return g;
    child_free(g);
    return NULL;
}

/* The folder of the cache on disk is made here, and named from the root: the child may not. */
static int put_open(struct gen_child *g, const char *path, const struct gen_opts *o,
                    struct err *e) {
    struct gen_opts told = *o;
    char *folder = NULL;
    if (o->engine.cache) {
        prefix_disk_make(o->engine.cache);
        folder = realpath(o->engine.cache, NULL);
        if (folder) told.engine.cache = folder;
    }
    const int rc = wire_put_open(&g->open, path, &told, e);
    free(folder);
    return rc;
}

static int connect_pair(struct gen_child *g, struct err *e) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return err_errno(e, "engine process");
    g->fd = pair[0];
    g->peer = pair[1];
    return pipe2(g->wake, O_CLOEXEC | O_NONBLOCK) == 0 ? 0 : err_errno(e, "engine process");
}

/* Until it is ready, gone, or not wanted any more. */
static int wait_ready(struct gen_child *g, const volatile int *stop, struct err *e) {
    pthread_mutex_lock(&g->lock);
    while (g->state == OPENING) {
        const struct timespec until = after_ms(STOP_POLL_MS);
        if (!stop)
            pthread_cond_wait(&g->change, &g->lock);
        else
            pthread_cond_timedwait(&g->change, &g->lock, &until);
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED) && !g->stopped) {
            g->stopped = true;
            kill_child(g);
        }
    }
    const int rc = g->state == READY && !g->stopped ? 0 : -1;
    if (rc != 0 && e) *e = g->why;
    if (rc != 0 && g->state == READY) err_set(e, ERR_CANCELLED, "cancelled"); /* as it was ready */
    pthread_mutex_unlock(&g->lock);
    return rc;
}

struct gen *gen_open_child(const char *path, const struct gen_opts *o, const volatile int *stop,
                           struct err *e) {
    struct gen_child *g = child_new(path);
    if (!g) {
        err_nomem(e, path);
        return NULL;
    }
    g->stop = stop;
    int rc = child_files_open(&g->files, path, o, e);
    if (rc == 0) rc = put_open(g, path, o, e);
    if (rc == 0) rc = connect_pair(g, e);
    if (rc == 0 && pthread_create(&g->reader, NULL, reader_main, g) != 0)
        rc = err_set(e, ERR_IO, "%s: no thread can be started", path);
    if (rc != 0) {
        child_free(g);
        return NULL;
    }
    if (wait_ready(g, stop, e) == 0) return &g->base;
    child_close(&g->base);
    return NULL;
}
