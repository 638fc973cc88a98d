/* Seccomp filters (Documentation/userspace-api/seccomp_filter.rst). */
#include "base/sandbox_priv.h"

#ifdef __linux__
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define SECCOMP_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SECCOMP_ARCH AUDIT_ARCH_AARCH64
#else
#define SECCOMP_ARCH 0
#endif

enum { X32_BIT = 0x40000000 };

const uint32_t FILTER_ALLOW = SECCOMP_RET_ALLOW, FILTER_REFUSE = SECCOMP_RET_ERRNO | EPERM;

bool filter_offered(void) {
    const uint32_t action = SECCOMP_RET_ERRNO;
    return SANDBOX_FILTERS && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

static void emit(struct filter *f, struct sock_filter op) {
    if (f->n < N_OF(f->op)) f->op[f->n++] = op;
}

static void load(struct filter *f, size_t offset) {
    emit(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* When the value is not v: skip so many steps. */
static void if_not(struct filter *f, uint32_t v, uint8_t skip) {
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, 0, skip));
}

void filter_begin(struct filter *f) {
    *f = (struct filter){.n = 0};
    load(f, offsetof(struct seccomp_data, arch));
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_ARCH, 1, 0));
    filter_verdict(f, FILTER_REFUSE);
    load(f, offsetof(struct seccomp_data, nr));
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1));
    filter_verdict(f, FILTER_REFUSE);
}

void filter_verdict(struct filter *f, uint32_t what) {
    emit(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what));
}

void filter_call(struct filter *f, uint32_t nr, uint32_t what) {
    if_not(f, nr, 1);
    filter_verdict(f, what);
    f->n_call += what == FILTER_ALLOW;
}

void filter_calls(struct filter *f, const uint16_t *nr, int n, uint32_t what) {
    for (int i = 0; i < n; i++)
        filter_call(f, nr[i], what);
}

/* Steps of one argument: load, mask, a jump over the refusal for each value, the refusal. */
static int n_steps(const struct filter_arg *a) {
    return 2 + a->n_value + 1;
}

static void check_arg(struct filter *f, const struct filter_arg *a) {
    /* Little-endian: the lower half stands first. */
    load(f, offsetof(struct seccomp_data, args) + 8 * (size_t)a->arg + (a->high ? 4 : 0));
    emit(f, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, a->mask));
    for (int i = 0; i < a->n_value; i++)
        emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, a->value[i],
                                             (uint8_t)(a->n_value - i), 0));
    filter_verdict(f, FILTER_REFUSE);
}

void filter_call_if(struct filter *f, uint32_t nr, const struct filter_arg *a, int n) {
    int skip = 1;
    for (int i = 0; i < n; i++)
        skip += n_steps(&a[i]);
    if_not(f, nr, (uint8_t)skip);
    for (int i = 0; i < n; i++)
        check_arg(f, &a[i]);
    filter_verdict(f, FILTER_ALLOW);
    f->n_call++;
}

void filter_call_if_one(struct filter *f, uint32_t nr, int arg, uint32_t mask,
                        const uint32_t *value, int n_value) {
    const struct filter_arg a = {.arg = arg, .mask = mask, .value = value, .n_value = n_value};
    filter_call_if(f, nr, &a, 1);
}

int filter_install(const struct filter *f, struct err *e) {
    const struct sock_fprog prog = {f->n, (struct sock_filter *)(uintptr_t)f->op};
    if (f->n == N_OF(f->op))
        return err_set(e, ERR_LIMIT, "sandbox: the filter has more than %d steps", f->n);
    /* TSYNC: a sanitizer may have threads already. */
    const long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    if (rc == 0) return 0;
    return rc > 0 ? err_set(e, ERR_IO, "sandbox: seccomp: thread %ld stays out of it", rc)
                  : err_errno(e, "sandbox: seccomp");
}
#endif
