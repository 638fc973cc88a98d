/* See isolation_probe.h.  Each attempt takes the way that an attacker's code in this process would
 * take, by system calls, and undoes what it did if it got through. */
#include "policy/isolation_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/memfd.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#endif

const char *isolation_answer(int error, char out[16]) {
    static const struct {
        int error;
        const char *name;
    } known[] = {{EPERM, "EPERM"},
                 {EACCES, "EACCES"},
                 {ENOSYS, "ENOSYS"},
                 {ENETUNREACH, "ENETUNREACH"},
                 {ECONNREFUSED, "ECONNREFUSED"},
                 {EINVAL, "EINVAL"},
                 {ENOENT, "ENOENT"},
                 {ESRCH, "ESRCH"},
                 {EAGAIN, "EAGAIN"},
                 {EXDEV, "EXDEV"},
                 {ENOTCONN, "ENOTCONN"},
                 {EPIPE, "EPIPE"}};
    snprintf(out, 16, error ? "errno %d" : "done", error);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].error == error) snprintf(out, 16, "%s", known[i].name);
    return out;
}

bool isolation_refused(int error) {
    return error == EPERM || error == EACCES || error == ENOSYS || error == ENETUNREACH;
}

static int closed(int fd, int rc) {
    const int error = rc < 0 ? errno : 0;
    if (fd >= 0) close(fd);
    return error;
}

/* ---- network ---- */

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connect_tcp(const struct isolation_targets *t) {
    const struct sockaddr_in a = loopback(t->tcp_port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return closed(fd, fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&a, sizeof a));
}

static int connect_udp(const struct isolation_targets *t) {
    const struct sockaddr_in a = loopback(t->udp_port);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return closed(fd, fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&a, sizeof a));
}

static int send_udp(const struct isolation_targets *t) {
    const struct sockaddr_in a = loopback(t->udp_port);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return closed(fd,
                  fd < 0 ? -1 : (int)sendto(fd, "x", 1, 0, (const struct sockaddr *)&a, sizeof a));
}

/* A socket that listens does so no more after shutdown(), and may then be connected by sending. */
static int connect_listener(const struct isolation_targets *t) {
    const struct sockaddr_in a = loopback(t->tcp_port);
    if (t->listener < 0) return connect_tcp(t);
    shutdown(t->listener, SHUT_RDWR);
#ifdef MSG_FASTOPEN
    return sendto(t->listener, "x", 1, MSG_FASTOPEN, (const struct sockaddr *)&a, sizeof a) < 0
               ? errno
               : 0;
#else
    return connect(t->listener, (const struct sockaddr *)&a, sizeof a) < 0 ? errno : 0;
#endif
}

static int connect_unix(const struct isolation_targets *t) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const size_t n = strlen(t->unix_name);
    memcpy(a.sun_path + 1, t->unix_name, n); /* behind a zero: an abstract name */
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return closed(fd, fd < 0
                          ? -1
                          : connect(fd, (const struct sockaddr *)&a,
                                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)));
}

/* By the library, and, as there may be no name server here, by a question that is sent. */
static int resolve_name(const struct isolation_targets *t) {
    static const char question[] = "\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1";
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET};
    const struct sockaddr_in a = loopback(t->udp_port);
    struct addrinfo *found = NULL;
    if (getaddrinfo("example.com", "443", &hints, &found) == 0) {
        freeaddrinfo(found);
        return 0;
    }
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return closed(fd, fd < 0 ? -1
                             : (int)sendto(fd, question, sizeof question - 1, 0,
                                           (const struct sockaddr *)&a, sizeof a));
}

static int listen_tcp(const struct isolation_targets *t) {
    const struct sockaddr_in a = loopback(0);
    (void)t;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&a, sizeof a) == 0;
    return closed(fd, bound ? listen(fd, 1) : -1);
}

/* ---- files and programs ---- */

static int read_file(const struct isolation_targets *t) {
    const int fd = open(t->file, O_RDONLY | O_CLOEXEC);
    return closed(fd, fd);
}

static int write_file(const struct isolation_targets *t) {
    const int fd = open(t->write_file, O_WRONLY | O_APPEND | O_CLOEXEC);
    return closed(fd, fd);
}

static int run(const char *program, const char *arg) {
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)arg, NULL}, *env[] = {NULL};
    pid_t pid;
    int status = 0;
    const int error = posix_spawn(&pid, program, NULL, NULL, argv, env);
    if (error) return error;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EACCES; /* it says why, to nobody */
}

static int run_program(const struct isolation_targets *t) {
    (void)t;
    return run("/bin/true", NULL);
}

/* ---- other processes ---- */

static int signal_process(const struct isolation_targets *t) {
    return kill(t->victim, SIGCONT) < 0 ? errno : 0;
}

#ifdef __linux__
static int trace_process(const struct isolation_targets *t) {
    if (ptrace(PTRACE_SEIZE, t->victim, NULL, NULL) < 0) return errno;
    ptrace(PTRACE_INTERRUPT, t->victim, NULL, NULL);
    waitpid(t->victim, NULL, __WALL);
    ptrace(PTRACE_DETACH, t->victim, NULL, NULL);
    return 0;
}

static int read_memory(const struct isolation_targets *t) {
    char byte;
    const struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)t->victim_address, 1};
    return process_vm_readv(t->victim, &here, 1, &there, 1, 0) < 0 ? errno : 0;
}

static int enter_namespace(const struct isolation_targets *t) {
    (void)t;
    return unshare(CLONE_NEWUSER) < 0 ? errno : 0;
}

/* Its requests are not seen by a filter. */
static int use_io_uring(const struct isolation_targets *t) {
    char params[120] = {0};
    (void)t;
    const int fd = (int)syscall(SYS_io_uring_setup, 1, params);
    return closed(fd, fd);
}

/* A program from memory, not from a file that rules know. */
static int make_memory_file(const struct isolation_targets *t) {
    (void)t;
    const int fd = (int)syscall(SYS_memfd_create, "x", MFD_CLOEXEC);
    return closed(fd, fd);
}
#endif

const struct isolation_try isolation_tries[] = {
    {"connect TCP", connect_tcp},
    {"connect TCP by the listening socket", connect_listener},
    {"connect UDP", connect_udp},
    {"send UDP", send_udp},
    {"resolve a name", resolve_name},
    {"connect to a Unix socket", connect_unix},
    {"listen on TCP", listen_tcp},
    {"run a program", run_program},
    {"read a file of the home folder", read_file},
    {"write a file of the home folder", write_file},
    {"signal another process", signal_process},
#ifdef __linux__
    {"trace another process", trace_process},
    {"read another process's memory", read_memory},
    {"make a namespace", enter_namespace},
    {"use io_uring", use_io_uring},
    {"make a program in memory", make_memory_file},
#endif
    {NULL, NULL},
};
