/* The sandbox of a child: what it computes with, and nothing else.  See sandbox.h. */
#include "base/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __linux__
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sandbox_priv.h"

/* ---- Landlock ---- */

static int enter_landlock(const struct sandbox_opts *o, struct sandbox_state *got, struct err *e) {
    const int abi = landlock_abi();
    const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    uint64_t use = read | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_FS_TRUNCATE;
    struct landlock l;
    if (abi == 0) return 0;
    if (o->tree)
        use |= LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
               LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_FS_REFER;
    if (landlock_new(&l) != 0) return err_errno(e, "sandbox: Landlock");
    int rc = 0;
    if (o->folder && (rc = landlock_allow(&l, o->folder, use)) != 0) err_errno(e, o->folder);
    if (rc == 0 && o->second && (rc = landlock_allow(&l, o->second, use)) != 0)
        err_errno(e, o->second);
    for (int i = 0; rc == 0 && i < o->n_readable; i++)
        if ((rc = landlock_allow(&l, o->readable[i], LANDLOCK_ACCESS_FS_READ_FILE)) != 0)
            err_errno(e, o->readable[i]);
    if (SANITIZED && rc == 0) rc = landlock_allow(&l, "/proc/self", read); /* for their reports */
    if (rc != 0)
        landlock_drop(&l);
    else if ((rc = landlock_enter(&l)) != 0)
        err_errno(e, "sandbox: Landlock");
    got->landlock_abi = rc == 0 ? abi : 0;
    got->folder = rc == 0 && o->folder;
    return rc;
}

/* ---- seccomp ---- */

#if SANDBOX_FILTERS

/* A thread's own priority (which it can only lower): of PRIO_PROCESS the one that asks, 0. */
void filter_being_nice(struct filter *f) {
    static const uint32_t process[] = {PRIO_PROCESS}, self[] = {0};
    const struct filter_arg a[] = {{0, ~0u, process, 1, false}, {1, ~0u, self, 1, false}};
    filter_call_if(f, SYS_setpriority, a, 2);
}

/* Reading a limit: the pointer to a new one is NULL. */
void filter_getting_limits(struct filter *f) {
    static const uint32_t null[] = {0};
    const struct filter_arg a[] = {{2, ~0u, null, 1, false}, {2, ~0u, null, 1, true}};
    filter_call_if(f, SYS_prlimit64, a, 2);
}

/* What computing takes: memory, threads, time, and the descriptors that are there. */
static const uint16_t computing[] = {
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_lseek,
    SYS_close,
    SYS_ppoll,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    SYS_mlock,
    SYS_munlock,
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_membarrier,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_getcpu,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    SYS_getpid,
    SYS_gettid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_set_tid_address,
#ifdef SYS_poll
    SYS_poll,
#endif
#ifdef SYS_time
    SYS_time,
#endif
};

/* For a folder that may be used; Landlock says which. */
static const uint16_t filing[] = {
    SYS_openat,    SYS_newfstatat, SYS_fstat, SYS_unlinkat,  SYS_renameat,
    SYS_renameat2, SYS_flock,      SYS_fsync, SYS_utimensat, SYS_getdents64,
};

/* For its folders, too: what a store does. */
static const uint16_t keeping[] = {
    SYS_mkdirat,   SYS_symlinkat,       SYS_readlinkat, SYS_faccessat, SYS_fchmod,  SYS_ftruncate,
    SYS_fallocate, SYS_copy_file_range, SYS_fdatasync,  SYS_fadvise64, SYS_fstatfs, SYS_statfs,
#ifdef SYS_mkdir /* the older calls, which glibc takes where there are any */
    SYS_mkdir,     SYS_rmdir,           SYS_unlink,     SYS_rename,    SYS_symlink, SYS_readlink,
    SYS_access,    SYS_chmod,
#endif
};

void filter_computing(struct filter *f) {
    filter_calls(f, computing, N_OF(computing), FILTER_ALLOW);
}

void filter_filing(struct filter *f) {
    filter_calls(f, filing, N_OF(filing), FILTER_ALLOW);
}

void filter_keeping(struct filter *f) {
    filter_calls(f, keeping, N_OF(keeping), FILTER_ALLOW);
}

static void allow_receiving(struct filter *f, const struct sandbox_opts *o) {
    const uint32_t socket[] = {(uint32_t)o->socket};
    if (o->socket > 0) filter_call_if_one(f, SYS_recvmsg, 0, ~0u, socket, 1);
}

static void allow_computing(struct filter *f, const struct sandbox_opts *o, bool files) {
    static const uint32_t yes[] = {CLONE_THREAD}, name[] = {PR_SET_NAME},
                          fcntls[] = {F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC};
    static const uint32_t store_fcntls[] = {F_GETFD,         F_SETFD,     F_GETFL,
                                            F_DUPFD_CLOEXEC, F_OFD_SETLK, F_OFD_GETLK};
    const uint32_t self[] = {(uint32_t)getpid()};
    filter_computing(f);
    if (files) filter_filing(f);
    if (o->tree) filter_keeping(f);
    if (o->pin)
        filter_call(f, SYS_sched_setaffinity, FILTER_ALLOW); /* of any process of this user */
    /* glibc tries clone3, whose flags a filter cannot see, and falls back to clone. */
    filter_call(f, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    filter_call_if_one(f, SYS_clone, 0, CLONE_THREAD, yes, 1);
    filter_call_if_one(f, SYS_tgkill, 0, ~0u, self, 1); /* abort() */
    filter_call_if_one(f, SYS_prctl, 0, ~0u, name, 1);
    if (o->tree)
        filter_call_if_one(f, SYS_fcntl, 1, ~0u, store_fcntls, N_OF(store_fcntls));
    else
        filter_call_if_one(f, SYS_fcntl, 1, ~0u, fcntls, N_OF(fcntls));
    allow_receiving(f, o);
    filter_getting_limits(f);
    filter_being_nice(f);
    filter_verdict(f, FILTER_REFUSE);
}

/* Under a sanitizer. */
static void refuse_dangerous(struct filter *f, const struct sandbox_opts *o) {
    static const uint16_t list[] = {
        SYS_socket,
        SYS_socketpair,
        SYS_connect,
        SYS_bind,
        SYS_listen,
        SYS_accept,
        SYS_accept4,
        SYS_sendto,
        SYS_sendmsg,
        SYS_recvmsg,
        SYS_execve,
        SYS_execveat,
        SYS_ptrace,
        SYS_kill,
        SYS_tkill,
        SYS_setuid,
        SYS_bpf,
        SYS_process_vm_writev,
        SYS_io_uring_setup,
        SYS_memfd_create,
        SYS_mount,
        SYS_unshare,
        SYS_open_by_handle_at,
        SYS_pidfd_open,
        SYS_keyctl,
    };
    allow_receiving(f, o);
    filter_calls(f, list, N_OF(list), FILTER_REFUSE);
    filter_verdict(f, FILTER_ALLOW);
}

static int enter_seccomp(const struct sandbox_opts *o, const struct sandbox_state *got,
                         struct err *e) {
    struct filter f;
    filter_begin(&f);
    if (SANITIZED)
        refuse_dangerous(&f, o);
    else
        allow_computing(&f, o, got->folder || o->tree);
    return filter_install(&f, e);
}

#else
static int enter_seccomp(const struct sandbox_opts *o, const struct sandbox_state *got,
                         struct err *e) {
    (void)o, (void)got, (void)e;
    return 0;
}
#endif

/* ---- both ---- */

struct sandbox_state sandbox_offered(void) {
    return (struct sandbox_state){.landlock_abi = landlock_abi(), .seccomp = filter_offered()};
}

static int set_limits(const struct sandbox_opts *o, struct err *e) {
    const struct rlimit none = {0, 0};
    struct rlimit data;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        setrlimit(RLIMIT_CORE, &none) != 0)
        return err_errno(e, "sandbox: limits");
    /* A sanitizer's shadow memory is terabytes of address space. */
    if (SANITIZED || o->max_data_bytes == 0 || getrlimit(RLIMIT_DATA, &data) != 0) return 0;
    if (o->max_data_bytes < data.rlim_max) data.rlim_cur = data.rlim_max = o->max_data_bytes;
    return setrlimit(RLIMIT_DATA, &data) == 0 ? 0 : err_errno(e, "sandbox: limits");
}

int sandbox_enter(const struct sandbox_opts *o, struct sandbox_state *got, struct err *e) {
    *got = (struct sandbox_state){0};
    if (set_limits(o, e) != 0 || enter_landlock(o, got, e) != 0) return -1;
    if (!filter_offered()) return 0;
    if (enter_seccomp(o, got, e) != 0) return -1;
    got->seccomp = true;
    return 0;
}

#else
struct sandbox_state sandbox_offered(void) {
    return (struct sandbox_state){0};
}

int sandbox_enter(const struct sandbox_opts *o, struct sandbox_state *got, struct err *e) {
    (void)o, (void)e;
    *got = (struct sandbox_state){0};
    return 0;
}
#endif

void sandbox_explain(const struct sandbox_state *s, char *out, size_t n_out) {
    if (s->landlock_abi)
        snprintf(out, n_out, "%sLandlock ABI %d", s->seccomp ? "seccomp, " : "", s->landlock_abi);
    else
        snprintf(out, n_out, "%s", s->seccomp ? "seccomp" : "none");
}
