/* What the files of the sandbox share (Linux): Landlock domains, and seccomp filters put together
 * step by step.  The filter is written here rather than with libseccomp: it is a list of numbers,
 * and so it does not depend on what was installed when the program was built. */
#pragma once

#ifdef __linux__
#include <linux/filter.h>
#include <linux/landlock.h>
#include <stddef.h>

#include "base/sandbox.h"

#if defined(__x86_64__) || defined(__aarch64__)
#define SANDBOX_FILTERS 1
#else
#define SANDBOX_FILTERS 0
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

#define N_OF(list) ((int)(sizeof(list) / sizeof *(list)))

/* ---- Landlock: sandbox_landlock.c ---- */

int landlock_abi(void); /* 0: not there */

enum {
    LANDLOCK_FS_REFER = 1 << 13,    /* ABI 2: renaming from one folder to another */
    LANDLOCK_FS_TRUNCATE = 1 << 14, /* ABI 3 */
};

struct landlock {
    int fd;       /* of the domain that is being made */
    uint64_t all; /* what this kernel can refuse of files: rights beyond are left out */
};

/* A domain that refuses all that this kernel can refuse.  -1 with errno. */
int landlock_new(struct landlock *l);
/* ... but this.  `rights` LANDLOCK_ACCESS_FS_...; of a file those that files have.  -1 with errno.
 */
int landlock_allow(const struct landlock *l, const char *path, uint64_t rights);
/* Enter it, or not, and close it.  -1 with errno. */
int landlock_enter(struct landlock *l);
void landlock_drop(struct landlock *l);

/* ---- seccomp: sandbox_filter.c ---- */

bool filter_offered(void);

/* A program for the kernel: `load nr`, then pairs "is it this? -> verdict". */
struct filter {
    struct sock_filter op[900];
    unsigned short n;
    int n_call; /* that it lets through, some under a condition */
};

extern const uint32_t FILTER_ALLOW, FILTER_REFUSE;

/* Calls of another architecture are refused; those that follow are judged by their number. */
void filter_begin(struct filter *f);
void filter_verdict(struct filter *f, uint32_t what);
void filter_call(struct filter *f, uint32_t nr, uint32_t what);
void filter_calls(struct filter *f, const uint16_t *nr, int n, uint32_t what);

/* An argument's lower half, masked, is one of the values. */
struct filter_arg {
    int arg;
    uint32_t mask;
    const uint32_t *value;
    int n_value;
    bool high; /* the upper half instead */
};
/* The call nr, when all of these hold; else it is refused. */
void filter_call_if(struct filter *f, uint32_t nr, const struct filter_arg *a, int n);
/* The usual case: one argument. */
void filter_call_if_one(struct filter *f, uint32_t nr, int arg, uint32_t mask,
                        const uint32_t *value, int n_value);

/* For all threads of the process, for good. */
int filter_install(const struct filter *f, struct err *e);

/* ---- lists: sandbox.c ---- */

/* What computing takes; what a folder takes whose files may be used; what its folders take. */
void filter_computing(struct filter *f);
void filter_filing(struct filter *f);
void filter_keeping(struct filter *f);
/* A thread's own priority; getting limits. */
void filter_being_nice(struct filter *f);
void filter_getting_limits(struct filter *f);
#endif
