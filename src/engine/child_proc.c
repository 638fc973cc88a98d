/* Starting and ending engine children.  See child_proc.h. */
#include "engine/child_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "engine/wire.h"
#include "gguf/read.h"

extern char **environ;

/* ---- files ---- */

static int add_file(struct child_files *f, const char *path, struct err *e) {
    char **paths = realloc(f->path, ((size_t)f->n + 1) * sizeof *paths);
    if (paths) f->path = paths;
    int *fds = realloc(f->fd, ((size_t)f->n + 1) * sizeof *fds);
    if (fds) f->fd = fds;
    char *name = strdup(path);
    if (!paths || !fds || !name) {
        free(name);
        return err_nomem(e, path);
    }
    f->path[f->n] = name;
    f->fd[f->n++] = os_open_regular(path, e);
    return f->fd[f->n - 1] < 0 ? -1 : 0;
}

static bool is_number(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9') return false;
    return true;
}

/* NAME-00002-of-00003.gguf: how many there are and where "00002" begins.  0: a file of its own.
 * Which splits belong together is in their names: a split of another name is no split
 * (gguf/read.h), so nothing of the file need be read here. */
static int splits_of(const char *path, size_t *at) {
    static const char form[] = "-00000-of-00000.gguf";
    const size_t n = strlen(path), n_form = sizeof form - 1;
    if (n < n_form) return 0;
    const char *p = path + n - n_form;
    if (p[0] != '-' || memcmp(p + 6, "-of-", 4) != 0 || strcmp(p + 15, ".gguf") != 0) return 0;
    if (!is_number(p + 1, 5) || !is_number(p + 10, 5)) return 0;
    *at = n - n_form + 1;
    return atoi(p + 10);
}

static int add_model(struct child_files *f, const char *path, struct err *e) {
    size_t at = 0;
    const int n = splits_of(path, &at);
    if (add_file(f, path, e) != 0) return -1;
    for (int i = 1; i <= n && n <= GGUF_MAX_SPLITS; i++) {
        char other[PATH_MAX];
        if (snprintf(other, sizeof other, "%.*s%05d%s", (int)at, path, i, path + at + 5) >=
            (int)sizeof other)
            return err_set(e, ERR_USAGE, "%s: the path is too long", path);
        /* One that is missing is missed by the reader, if the file is a split at all. */
        if (strcmp(other, path) == 0 || (access(other, F_OK) != 0 && errno == ENOENT)) continue;
        if (add_file(f, other, e) != 0) return -1;
    }
    return 0;
}

int child_files_open(struct child_files *f, const char *path, const struct gen_opts *o,
                     struct err *e) {
    *f = (struct child_files){0};
    if (add_model(f, path, e) != 0) return -1;
    for (int i = 0; i < o->engine.n_lora; i++)
        if (add_file(f, o->engine.lora[i], e) != 0) return -1;
    return o->draft ? add_model(f, o->draft, e) : 0;
}

void child_files_fini(struct child_files *f) {
    for (int i = 0; i < f->n; i++) {
        if (f->fd[i] >= 0) close(f->fd[i]);
        free(f->path[i]);
    }
    free(f->path);
    free(f->fd);
    *f = (struct child_files){0};
}

/* ---- passing them ---- */

static int wait_writable(int fd, const volatile int *stop, struct err *e) {
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            return err_set(e, ERR_CANCELLED, "cancelled");
        const int n = poll(&p, 1, 50);
        if (n < 0 && errno != EINTR) return err_errno(e, "engine process");
        if (n > 0) return 0;
    }
}

ssize_t child_send(int fd, const char *p, size_t n, int passed) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec piece = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    if (passed >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof passed);
        memcpy(CMSG_DATA(c), &passed, sizeof passed);
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int send_frame(int fd, struct str frame, int passed, const volatile int *stop,
                      struct err *e) {
    while (frame.n) {
        const ssize_t k = child_send(fd, frame.p, frame.n, passed);
        if (k < 0 && (errno == EAGAIN || errno == EINTR || errno == ETOOMANYREFS)) {
            /* ETOOMANYREFS: more files are under way than a process may have open. */
            if (errno == ETOOMANYREFS) usleep(1000);
            if (wait_writable(fd, stop, e) != 0) return -1;
            continue;
        }
        if (k < 0 && (errno == EPIPE || errno == ECONNRESET)) return 0;
        if (k < 0) return err_errno(e, "engine process");
        passed = -1;
        frame.p += k;
        frame.n -= (size_t)k;
    }
    return 0;
}

int child_files_send(const struct child_files *f, int fd, const volatile int *stop, struct err *e) {
    struct buf out = {0};
    int rc = 0;
    for (int i = 0; i < f->n && rc == 0; i++) {
        buf_reset(&out);
        rc = wire_put_frame(&out, WIRE_FILE, 0, str_of(f->path[i]), e);
        if (rc == 0) rc = send_frame(fd, buf_view(&out), f->fd[i], stop, e);
    }
    buf_fini(&out);
    return rc;
}

/* ---- the process ---- */

/* What the engine reads, and what the program needs to start and to tell the time. */
static bool is_passed_on(const char *v) {
    static const char *const setting[] = {"THREADS", "NUM_THREADS", "PIN", "CPU", "DEBUG"};
    static const char *const other[] = {"TZ", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "TSAN_OPTIONS",
                                        "UBSAN_OPTIONS"};
    const size_t n = strcspn(v, "=");
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (n == strlen(other[i]) && strncmp(v, other[i], n) == 0) return true;
    const size_t prefix = strncmp(v, "CRIA_", 5) == 0 ? 5 : strncmp(v, "OLLAMA_", 7) == 0 ? 7 : n;
    for (size_t i = 0; i < sizeof setting / sizeof *setting; i++)
        if (n - prefix == strlen(setting[i]) && strncmp(v + prefix, setting[i], n - prefix) == 0)
            return true;
    return false;
}

static char **scrubbed(void) {
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 1, sizeof *env);
    for (size_t i = 0; env && i < n; i++)
        if (is_passed_on(environ[i])) env[k++] = environ[i];
    return env;
}

static int prepare(posix_spawn_file_actions_t *fa, posix_spawnattr_t *attr, int fd) {
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
    if (!rc) rc = posix_spawn_file_actions_addopen(fa, 1, "/dev/null", O_WRONLY, 0);
    if (!rc) rc = posix_spawn_file_actions_adddup2(fa, fd, CHILD_FD);
#ifdef __linux__
    if (!rc) rc = posix_spawn_file_actions_addclosefrom_np(fa, CHILD_FD + 1);
#endif
    if (!rc) rc = posix_spawnattr_setsigdefault(attr, &all);
    if (!rc) rc = posix_spawnattr_setsigmask(attr, &none);
    if (!rc) rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    return rc;
}

/* Of the front itself, when it is not allowed to be opened any more.  A child inherits it. */
static int oom_score = -1;
static pthread_mutex_t oom_lock = PTHREAD_MUTEX_INITIALIZER;

void child_spawn_prepare(void) {
    if (oom_score < 0) oom_score = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
}

static void offer_to_die(const char *score) {
    const ssize_t n = (ssize_t)strlen(score);
    if (pwrite(oom_score, score, (size_t)n, 0) != n) log_msg(LOG_DEBUG, "oom_score_adj stays");
}

/* When memory is short a child goes before the front does (engine/child_self.h): a child that
 * cannot say so itself is born with it.  A child that is being started has our memory until its
 * exec, and only then has posix_spawn returned. */
static int spawn_first_to_go(pid_t *pid, const char *program, posix_spawn_file_actions_t *fa,
                             posix_spawnattr_t *attr, char **argv, char **env) {
    char own[16] = "";
    if (oom_score < 0) return posix_spawn(pid, program, fa, attr, argv, env);
    pthread_mutex_lock(&oom_lock);
    const ssize_t n = pread(oom_score, own, sizeof own - 1, 0);
    if (n > 0) offer_to_die("300");
    const int rc = posix_spawn(pid, program, fa, attr, argv, env);
    if (n > 0) offer_to_die(own);
    pthread_mutex_unlock(&oom_lock);
    return rc;
}

int child_spawn(const char *command, int fd, pid_t *pid, struct err *e) {
    char program[PATH_MAX], parent[24];
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    if (!os_setting("PROGRAM", program, sizeof program))
        snprintf(program, sizeof program, "/proc/self/exe");
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    char *argv[] = {program, (char *)(uintptr_t)command, parent, NULL}, **env = scrubbed();
    if (!env) return err_nomem(e, "engine process");
    int rc = posix_spawn_file_actions_init(&fa);
    if (rc == 0) {
        rc = posix_spawnattr_init(&attr);
        if (rc == 0) {
            rc = prepare(&fa, &attr, fd);
            if (rc == 0) rc = spawn_first_to_go(pid, program, &fa, &attr, argv, env);
            posix_spawnattr_destroy(&attr);
        }
        posix_spawn_file_actions_destroy(&fa);
    }
    free(env);
    if (rc == 0) return 0;
    return err_set(e, ERR_IO, "engine process: %s could not be started: %s", program, strerror(rc));
}

void child_wait(pid_t pid, int patience_ms, char *how, size_t n_how) {
    int status = 0;
    pid_t got = 0;
    for (int i = 0; i < patience_ms && got == 0; i++) {
        got = waitpid(pid, &status, WNOHANG);
        if (got == 0) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (got < 0 && errno == EINTR) got = 0;
    }
    if (got == 0) {
        kill(pid, SIGKILL);
        while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
            continue;
    }
    if (got < 0)
        snprintf(how, n_how, "nobody knows how"); /* somebody else has waited */
    else if (WIFSIGNALED(status))
        snprintf(how, n_how, "signal %d", WTERMSIG(status));
    else
        snprintf(how, n_how, "code %d", WEXITSTATUS(status));
}
