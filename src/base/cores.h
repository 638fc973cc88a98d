/* Which processors there are for worker threads: those that the affinity mask leaves, how they
 * share cores, which cores are the fast ones of a hybrid, how much time the control group grants.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { CORES_MAX = 1024, CORES_MAX_THREADS = 512 };

struct cores {
    int n_logical; /* processors of the mask, at least 1 */
    int n_core;    /* cores they belong to */
    int n_fast;    /* of which performance cores; all of them where they are alike */
    int n_quota;   /* whole processors that the quotas leave, rounded up; 0: there is no quota */
    int n_cpu;     /* of cpu[]: n_logical, or 0 where nothing is known about them */
    short cpu[CORES_MAX]; /* the mask's processors in the order in which threads should take them:
                             one of each core first, among those the performance cores first */
};

/* Read what sysfs, procfs and cgroupfs say below `root` ("" for this machine) about the processors
 * i with allowed[i].  What is missing there counts as: one processor a core, all alike, no quota.
 */
void cores_read(struct cores *c, const char *root, const bool allowed[CORES_MAX]);

/* Of this process, read once; thread-safe afterwards. */
const struct cores *cores_here(void);

/* Threads that suit: one per performance core, no more than the quota; 1..CORES_MAX_THREADS. */
int cores_threads(const struct cores *c);

/* What made cores_threads that, in a few words. */
void cores_explain(const struct cores *c, char *out, size_t n_out);

/* The setting THREADS, else NUM_THREADS; 0: neither is set; -1: one is no number from 1 to
 * CORES_MAX_THREADS, or with PIN: not 0 or 1.  Both are checked. */
int cores_setting_threads(struct err *e);
int cores_setting_pin(struct err *e);

/* The setting, else cores_threads of this machine; -1 on an error of the setting. */
int cores_default_threads(struct err *e);
