/* Landlock (Documentation/userspace-api/landlock.rst) and seccomp (seccomp_filter.rst).  The filter
 * is written here rather than with libseccomp: it is a list of numbers, and so it does not depend
 * on what was installed when the program was built. */
#include "base/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __linux__
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define SECCOMP_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SECCOMP_ARCH AUDIT_ARCH_AARCH64
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- Landlock ---- */

/* As of ABI 6; the headers may be older. */
struct ruleset {
    uint64_t fs, net, scoped;
};

static int landlock_abi(void) {
    const long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return v > 0 ? (int)v : 0;
}

/* Everything that this ABI can refuse. */
static struct ruleset all_rights(int abi) {
    struct ruleset r = {.fs = (1u << 13) - 1}; /* files: execute, write, read, make, remove */
    if (abi >= 2) r.fs |= 1u << 13;            /* REFER */
    if (abi >= 3) r.fs |= 1u << 14;            /* TRUNCATE */
    if (abi >= 4) r.net = 1 | 2;               /* BIND_TCP, CONNECT_TCP */
    if (abi >= 5) r.fs |= 1u << 15;            /* IOCTL_DEV */
    if (abi >= 6) r.scoped = 1 | 2;            /* abstract Unix sockets, signals */
    return r;
}

static int allow_folder(int ruleset, const char *folder, uint64_t rights) {
    const int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    const struct landlock_path_beneath_attr a = {.allowed_access = rights, .parent_fd = fd};
    const int rc = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
    close(fd);
    return rc;
}

static int enter_landlock(const struct sandbox_opts *o, struct sandbox_state *got, struct err *e) {
    const int abi = landlock_abi();
    const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    uint64_t use = read | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                   LANDLOCK_ACCESS_FS_MAKE_REG;
    if (abi == 0) return 0;
    const struct ruleset r = all_rights(abi);
    const size_t n_bytes = abi < 4 ? 8 : abi < 6 ? 16 : 24;
    use |= r.fs & 1u << 14;
    const int fd = (int)syscall(SYS_landlock_create_ruleset, &r, n_bytes, 0);
    if (fd < 0) return err_errno(e, "sandbox: Landlock");
    int rc = 0;
    if (o->folder && (rc = allow_folder(fd, o->folder, use)) != 0) err_errno(e, o->folder);
    if (SANITIZED && rc == 0) rc = allow_folder(fd, "/proc/self", read); /* for their reports */
    if (rc == 0 && (rc = (int)syscall(SYS_landlock_restrict_self, fd, 0)) != 0)
        err_errno(e, "sandbox: Landlock");
    close(fd);
    got->landlock_abi = rc == 0 ? abi : 0;
    got->folder = rc == 0 && o->folder;
    return rc;
}

/* ---- seccomp ---- */

#ifdef SECCOMP_ARCH

/* A program for the kernel: `load nr`, then pairs "is it this? -> verdict". */
struct filter {
    struct sock_filter op[400];
    unsigned short n;
};

enum { X32_BIT = 0x40000000 };

static void emit(struct filter *f, struct sock_filter op) {
    if (f->n < sizeof f->op / sizeof *f->op) f->op[f->n++] = op;
}

static void load(struct filter *f, size_t offset) {
    emit(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

static void verdict(struct filter *f, uint32_t what) {
    emit(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what));
}

static void if_equal(struct filter *f, uint32_t v, uint32_t what) {
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, 0, 1));
    verdict(f, what);
}

static const uint32_t ALLOW = SECCOMP_RET_ALLOW, REFUSE = SECCOMP_RET_ERRNO | EPERM;

/* The call nr, when (argument & mask) is one of the values; others are refused. */
static void allow_if(struct filter *f, uint32_t nr, int arg, uint32_t mask, const uint32_t *value,
                     int n_value) {
    const uint8_t skip = (uint8_t)(2 + 2 * n_value + 1);
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, skip));
    load(f,
         offsetof(struct seccomp_data, args) + 8 * (size_t)arg); /* little-endian: the low half */
    emit(f, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    for (int i = 0; i < n_value; i++)
        if_equal(f, value[i], ALLOW);
    verdict(f, REFUSE);
}

/* A thread's own priority (which it can only lower): of PRIO_PROCESS the one that asks, 0. */
static void allow_being_nice(struct filter *f) {
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setpriority, 0, 6));
    load(f, offsetof(struct seccomp_data, args));
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PRIO_PROCESS, 0, 3));
    load(f, offsetof(struct seccomp_data, args) + 8);
    if_equal(f, 0, ALLOW);
    verdict(f, REFUSE);
}

/* Reading a limit: the pointer to a new one is NULL. */
static void allow_getting_limits(struct filter *f) {
    const size_t at = offsetof(struct seccomp_data, args) + 8 * (size_t)2;
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 6));
    load(f, at);
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3));
    load(f, at + 4);
    if_equal(f, 0, ALLOW);
    verdict(f, REFUSE);
}

#define N_OF(list) ((int)(sizeof(list) / sizeof *(list)))

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

static void allow_computing(struct filter *f, const struct sandbox_opts *o, bool files) {
    static const uint32_t yes[] = {CLONE_THREAD}, name[] = {PR_SET_NAME},
                          fcntls[] = {F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC};
    const uint32_t self[] = {(uint32_t)getpid()};
    for (int i = 0; i < N_OF(computing); i++)
        if_equal(f, computing[i], ALLOW);
    for (int i = 0; files && i < N_OF(filing); i++)
        if_equal(f, filing[i], ALLOW);
    if (o->pin) if_equal(f, SYS_sched_setaffinity, ALLOW); /* of any process of this user */
    /* glibc tries clone3, whose flags a filter cannot see, and falls back to clone. */
    if_equal(f, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    allow_if(f, SYS_clone, 0, CLONE_THREAD, yes, 1);
    allow_if(f, SYS_tgkill, 0, ~0u, self, 1); /* abort() */
    allow_if(f, SYS_prctl, 0, ~0u, name, 1);
    allow_if(f, SYS_fcntl, 1, ~0u, fcntls, N_OF(fcntls));
    allow_getting_limits(f);
    allow_being_nice(f);
    verdict(f, REFUSE);
}

/* Under a sanitizer. */
static void refuse_dangerous(struct filter *f) {
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
    for (int i = 0; i < N_OF(list); i++)
        if_equal(f, list[i], REFUSE);
    verdict(f, ALLOW);
}

static int enter_seccomp(const struct sandbox_opts *o, const struct sandbox_state *got,
                         struct err *e) {
    struct filter f = {.n = 0};
    load(&f, offsetof(struct seccomp_data, arch));
    emit(&f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_ARCH, 1, 0));
    verdict(&f, REFUSE);
    load(&f, offsetof(struct seccomp_data, nr));
    emit(&f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1));
    verdict(&f, REFUSE);
    if (SANITIZED)
        refuse_dangerous(&f);
    else
        allow_computing(&f, o, got->folder);
    const struct sock_fprog prog = {f.n, f.op};
    if (f.n == sizeof f.op / sizeof *f.op)
        return err_set(e, ERR_LIMIT, "sandbox: the filter has more than %d steps", f.n);
    /* TSYNC: a sanitizer may have threads already. */
    const long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    if (rc == 0) return 0;
    return rc > 0 ? err_set(e, ERR_IO, "sandbox: seccomp: thread %ld stays out of it", rc)
                  : err_errno(e, "sandbox: seccomp");
}

static bool has_seccomp(void) {
    const uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

#else
static int enter_seccomp(const struct sandbox_opts *o, const struct sandbox_state *got,
                         struct err *e) {
    (void)o, (void)got, (void)e;
    return 0;
}
static bool has_seccomp(void) {
    return false;
}
#endif

/* ---- both ---- */

struct sandbox_state sandbox_offered(void) {
    return (struct sandbox_state){.landlock_abi = landlock_abi(), .seccomp = has_seccomp()};
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
    if (!has_seccomp()) return 0;
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
