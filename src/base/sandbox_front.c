/* The sandbox of a process that serves: see sandbox.h.
 *
 * The filter's list is what `strace -f` sees of the server's tests, and what the C libraries of
 * glibc 2.31 to 2.41 take for the same.  Children inherit filter and domain, so the list also has
 * what a program needs to start (and to lock itself in further). */
#include "base/sandbox.h"

#include <errno.h>
#include <stdio.h>

#ifdef __linux__
#include <asm/termbits.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sandbox_priv.h"

/* ---- Landlock ---- */

static uint64_t rights_of(int may) {
    uint64_t r = 0;
    if (may & (SANDBOX_READ | SANDBOX_WRITE))
        r |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    if (may & SANDBOX_WRITE)
        r |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
             LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
             LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_FS_REFER |
             LANDLOCK_FS_TRUNCATE;
    if (may & SANDBOX_RUN) r |= LANDLOCK_ACCESS_FS_EXECUTE;
    if (may & SANDBOX_REMOVE) r |= LANDLOCK_ACCESS_FS_REMOVE_FILE;
    return r;
}

static int enter_landlock(const struct sandbox_rule *rule, int n, struct sandbox_state *got,
                          struct err *e) {
    struct landlock l;
    const int abi = landlock_abi();
    if (abi == 0) return 0;
    if (landlock_new(&l) != 0) return err_errno(e, "sandbox: Landlock");
    for (int i = 0; i < n; i++) {
        if (landlock_allow(&l, rule[i].path, rights_of(rule[i].may)) == 0) continue;
        if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) continue;
        err_errno(e, rule[i].path);
        landlock_drop(&l);
        return -1;
    }
    if (landlock_enter(&l) != 0) return err_errno(e, "sandbox: Landlock");
    got->landlock_abi = abi;
    return 0;
}

/* ---- privileges ---- */

static bool is_kept(int cap) {
    return geteuid() == 0 && (cap == CAP_CHOWN || cap == CAP_DAC_OVERRIDE || cap == CAP_FOWNER);
}

/* Those of root, and those that a new user namespace gives. */
static int drop_privileges(struct err *e) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[2] = {0};
    bool any = false;
    if (syscall(SYS_capget, &head, have) != 0) return err_errno(e, "sandbox: capabilities");
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (is_kept(cap)) continue;
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* refused to who has none to lose */
        any |= have[cap / 32].permitted >> cap % 32 & 1;
        have[cap / 32].permitted &= ~(1u << cap % 32);
    }
    for (int i = 0; i < 2; i++) {
        any |= have[i].inheritable != 0;
        have[i].effective = have[i].permitted;
        have[i].inheritable = 0;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (!any) return 0; /* a service manager's filter may refuse the call */
    if (syscall(SYS_capset, &head, have) != 0) return err_errno(e, "sandbox: capabilities");
    return 0;
}

/* A sanitizer looks at the process from outside when it ends. */
static int set_limits(struct err *e) {
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0 ||
        (!SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0))
        return err_errno(e, "sandbox: limits");
    return 0;
}

/* ---- seccomp ---- */

#if SANDBOX_FILTERS

/* On sockets that are there.  Those with an address to send to: below. */
static const uint16_t serving[] = {
    SYS_accept,       SYS_accept4,       SYS_getsockname,    SYS_getpeername,
    SYS_getsockopt,   SYS_setsockopt,    SYS_shutdown,       SYS_recvfrom,
    SYS_recvmsg,      SYS_epoll_create1, SYS_epoll_ctl,      SYS_epoll_pwait,
    SYS_eventfd2,     SYS_pipe2,         SYS_timerfd_create, SYS_timerfd_settime,
    SYS_pselect6,     SYS_dup,           SYS_dup3,
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
#ifdef SYS_epoll_wait /* the older calls, which glibc takes where there are any */
    SYS_epoll_wait,   SYS_epoll_create,  SYS_eventfd,        SYS_pipe,
    SYS_select,       SYS_dup2,
#endif
};

/* Files beyond what a store does: SQLite, the program loader. */
static const uint16_t reading[] = {
    SYS_statx,   SYS_getcwd,     SYS_chdir,    SYS_umask,   SYS_fchmodat, SYS_fchown,
    SYS_fchdir,  SYS_faccessat2, SYS_msync,    SYS_mincore, SYS_sendfile, SYS_sync_file_range,
    SYS_pwritev, SYS_preadv,     SYS_truncate,
#ifdef SYS_open
    SYS_open,    SYS_stat,       SYS_lstat,    SYS_creat,   SYS_getdents, SYS_utimes,
#endif
};

/* Processes: starting a child and seeing it end; what a child does to itself at its start. */
static const uint16_t parenting[] = {
    SYS_execve,
    SYS_wait4,
    SYS_tgkill,
    SYS_waitid,
    SYS_kill, /* Landlock: of children, where it has that (ABI 6) */
    SYS_getppid,
    SYS_getpgid,
    SYS_getsid,
    SYS_getresuid,
    SYS_getresgid,
    SYS_getgroups,
    SYS_capget,
    SYS_times,
    SYS_close_range,
    SYS_rt_sigtimedwait,
    SYS_rt_sigpending,
    SYS_rt_sigsuspend,
    SYS_getpriority,
    SYS_sched_getscheduler,
    SYS_sched_getparam,
    SYS_sched_setscheduler,
    SYS_sched_setaffinity,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_get_robust_list,
    SYS_seccomp,
    SYS_landlock_create_ruleset,
    SYS_landlock_add_rule,
    SYS_landlock_restrict_self,
#ifdef SYS_vfork
    SYS_vfork,
    SYS_getpgrp,
    SYS_arch_prctl,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_pause,
#endif
};

/* Data goes where the socket is connected to.  With an address of its own a datagram would go
 * anywhere; and MSG_FASTOPEN connects a TCP socket, as a listener is one after shutdown(). */
static void allow_sending(struct filter *f) {
    static const uint32_t none[] = {0};
    const struct filter_arg no_address[] = {
        {3, MSG_FASTOPEN, none, 1, false}, {4, ~0u, none, 1, false}, {4, ~0u, none, 1, true}};
    filter_call_if(f, SYS_sendto, no_address, 3);
    filter_call_if_one(f, SYS_sendmsg, 2, MSG_FASTOPEN, none, 1);
}

/* Of streams: a pair of datagram sockets could send to the sockets of others by their names. */
static void allow_pairs(struct filter *f) {
    static const uint32_t family[] = {AF_UNIX}, type[] = {SOCK_STREAM};
    const struct filter_arg a[] = {{0, ~0u, family, 1, false}, {1, 0xf, type, 1, false}};
    filter_call_if(f, SYS_socketpair, a, 2);
}

/* Threads and children, in the namespaces that we are in. */
static void allow_starting(struct filter *f) {
    static const uint32_t none[] = {0};
    const uint32_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    /* Its flags are where a filter cannot look; glibc falls back to clone. */
    filter_call(f, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    filter_call_if_one(f, SYS_clone, 0, namespaces, none, 1);
}

static void allow_rest(struct filter *f) {
    static const uint32_t self[] = {0};
    /* The children's: PDEATHSIG, NO_NEW_PRIVS, DUMPABLE.  0x53564d41, PR_SET_VMA: names that newer
     * C libraries give to their memory. */
    static const uint32_t prctls[] = {PR_SET_NAME,         PR_GET_NAME,     PR_SET_PDEATHSIG,
                                      PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE, PR_GET_DUMPABLE,
                                      0x53564d41};
    static const uint32_t fcntls[] = {F_GETFD,     F_SETFD,      F_GETFL,         F_SETFL,
                                      F_DUPFD,     F_SETLK,      F_SETLKW,        F_GETLK,
                                      F_OFD_SETLK, F_OFD_SETLKW, F_DUPFD_CLOEXEC, F_OFD_GETLK};
    /* Not TIOCSTI, which types into the terminal. */
    static const uint32_t ioctls[] = {FIONREAD, FIONBIO, FIOCLEX, TCGETS, TIOCGWINSZ, FICLONE};
    filter_call_if_one(f, SYS_prlimit64, 0, ~0u, self, 1);
    filter_call_if_one(f, SYS_prctl, 0, ~0u, prctls, N_OF(prctls));
    filter_call_if_one(f, SYS_fcntl, 1, ~0u, fcntls, N_OF(fcntls));
    filter_call_if_one(f, SYS_ioctl, 1, ~0u, ioctls, N_OF(ioctls));
    filter_being_nice(f);
}

/* Under a sanitizer, which needs calls of its own: all but these. */
static void refuse_dangerous(struct filter *f) {
    static const uint16_t list[] = {
        SYS_socket,       SYS_connect,        SYS_bind,
        SYS_listen,       SYS_sendmmsg,       SYS_setuid,
        SYS_bpf,          SYS_execveat,       SYS_mount,
        SYS_unshare,      SYS_io_uring_setup, SYS_setns,
        SYS_memfd_create, SYS_keyctl,         SYS_open_by_handle_at,
        SYS_pidfd_open,   SYS_chroot,         SYS_process_vm_writev,
    };
    allow_sending(f);
    allow_pairs(f);
    filter_calls(f, list, N_OF(list), FILTER_REFUSE);
    filter_verdict(f, FILTER_ALLOW);
}

static int enter_seccomp(struct sandbox_state *got, struct err *e) {
    struct filter f;
    filter_begin(&f);
    if (SANITIZED) {
        refuse_dangerous(&f);
    } else {
        filter_computing(&f);
        filter_calls(&f, serving, N_OF(serving), FILTER_ALLOW);
        filter_filing(&f);
        filter_keeping(&f);
        filter_calls(&f, reading, N_OF(reading), FILTER_ALLOW);
        filter_calls(&f, parenting, N_OF(parenting), FILTER_ALLOW);
        allow_sending(&f);
        allow_pairs(&f);
        allow_starting(&f);
        allow_rest(&f);
        filter_verdict(&f, FILTER_REFUSE);
    }
    if (filter_install(&f, e) != 0) return -1;
    got->seccomp = true;
    got->n_call = f.n_call;
    return 0;
}

#else
static int enter_seccomp(struct sandbox_state *got, struct err *e) {
    (void)got, (void)e;
    return 0;
}
#endif

/* Landlock and namespaces are a thread's: another one would stay outside.  (A sanitizer may have
 * one of its own, which does nothing for others.) */
static int check_alone(struct err *e) {
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    if (!d) return err_errno(e, "/proc/self/task");
    for (struct dirent *f; (f = readdir(d));)
        n += f->d_name[0] != '.';
    closedir(d);
    if (n == 1 || SANITIZED) return 0;
    return err_set(e, ERR_IO, "sandbox: %d threads are there; one may be", n);
}

/* The network goes first: what it takes is refused afterwards. */
int sandbox_enter_front(const struct sandbox_rule *rule, int n_rule, struct sandbox_state *got,
                        struct err *e) {
    *got = (struct sandbox_state){0};
    if (check_alone(e) != 0) return -1;
    got->network = sandbox_leave_network();
    if (drop_privileges(e) != 0 || set_limits(e) != 0 || enter_landlock(rule, n_rule, got, e) != 0)
        return -1;
    return filter_offered() ? enter_seccomp(got, e) : 0;
}

#else
int sandbox_enter_front(const struct sandbox_rule *rule, int n_rule, struct sandbox_state *got,
                        struct err *e) {
    (void)rule, (void)n_rule, (void)e;
    *got = (struct sandbox_state){0};
    return 0;
}
#endif
