/* Processors for worker threads.  Linux tells about them in files:
 *   /sys/devices/system/cpu/cpuN/topology/thread_siblings_list   who shares N's core: "0,4" or
 * "0-1" /sys/devices/cpu_core/cpus      performance cores of an Intel hybrid; there on no other
 * processor /sys/devices/system/cpu/cpuN/cpu_capacity   ARM: speed against the fastest core's 1024
 *   /proc/self/cgroup               "0::/path" (version 2), "4:cpu,cpuacct:/path" (version 1)
 *   cpu.max, cpu.cfs_*_us           quotas of that group and of all above it, each of which holds
 * (Documentation/ABI/testing/sysfs-devices-system-cpu, admin-guide/cgroup-v2 of the kernel).
 *
 * Only performance cores get a thread: the workers of a step wait for the slowest, and shares that
 * others help with (base/team.h) even that out only where items are many. */
#include "base/cores.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

static const double FAST_SHARE = 0.8; /* of the largest capacity: still a performance core */

/* ---- files ---- */

/* The beginning of a small file as a string; empty when there is none. */
static bool read_text(const char *root, const char *path, char *out, size_t n_out) {
    char full[PATH_MAX];
    out[0] = 0;
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full) return false;
    FILE *f = fopen(full, "re");
    if (!f) return false;
    out[fread(out, 1, n_out - 1, f)] = 0;
    fclose(f);
    return true;
}

static bool read_cpu_file(const char *root, int cpu, const char *name, char *out, size_t n_out) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", cpu, name);
    return read_text(root, path, out, n_out);
}

/* A list of processors, "0-3,8,10-11", into set. */
static void parse_list(const char *text, bool set[CORES_MAX]) {
    memset(set, 0, CORES_MAX * sizeof *set);
    for (char *end; *text >= '0' && *text <= '9'; text = end + (*end == ',')) {
        const long first = strtol(text, &end, 10);
        const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        for (long i = first; i <= last && i < CORES_MAX; i++)
            set[i] = true;
    }
}

/* ---- topology ---- */

/* How many processors of the mask come before this one on its core. */
static int rank_on_core(const char *root, int cpu, const bool allowed[CORES_MAX]) {
    char text[4096];
    bool sibling[CORES_MAX];
    int rank = 0;
    read_cpu_file(root, cpu, "topology/thread_siblings_list", text, sizeof text);
    parse_list(text, sibling);
    for (int i = 0; i < cpu; i++)
        rank += sibling[i] && allowed[i];
    return rank;
}

static void find_fast(const char *root, const bool allowed[CORES_MAX], bool fast[CORES_MAX]) {
    char text[4096];
    long capacity[CORES_MAX] = {0}, most = 0;
    int n = 0;
    if (read_text(root, "/sys/devices/cpu_core/cpus", text, sizeof text)) {
        parse_list(text, fast);
    } else {
        for (int i = 0; i < CORES_MAX; i++) {
            if (!allowed[i]) continue;
            if (read_cpu_file(root, i, "cpu_capacity", text, sizeof text))
                capacity[i] = strtol(text, NULL, 10);
            if (capacity[i] > most) most = capacity[i];
        }
        for (int i = 0; i < CORES_MAX; i++)
            fast[i] = (double)capacity[i] >= FAST_SHARE * (double)most;
    }
    for (int i = 0; i < CORES_MAX; i++)
        n += fast[i] && allowed[i];
    for (int i = 0; n == 0 && i < CORES_MAX; i++) /* the mask leaves slow ones only */
        fast[i] = true;
}

static void read_topology(struct cores *c, const char *root, const bool allowed[CORES_MAX]) {
    bool fast[CORES_MAX];
    int rank[CORES_MAX], most = 0;
    find_fast(root, allowed, fast);
    for (int i = 0; i < CORES_MAX; i++) {
        if (!allowed[i]) continue;
        rank[i] = rank_on_core(root, i, allowed);
        if (rank[i] > most) most = rank[i];
        c->n_logical++;
        c->n_core += rank[i] == 0;
        c->n_fast += rank[i] == 0 && fast[i];
    }
    for (int step = 0; step < 2 * (most + 1); step++)
        for (int i = 0; i < CORES_MAX; i++)
            if (allowed[i] && rank[i] == step / 2 && fast[i] == (step % 2 == 0))
                c->cpu[c->n_cpu++] = (short)i;
}

/* ---- quotas ---- */

static void lower(double *least, double quota, double period) {
    if (quota <= 0 || period <= 0) return; /* "max" and -1: none */
    if (*least == 0 || quota / period < *least) *least = quota / period;
}

/* The quota of one group, in processors. */
static void read_quota(const char *root, const char *dir, double *least) {
    char path[PATH_MAX], text[64];
    double quota = 0, period = 0;
    if (snprintf(path, sizeof path, "%s/cpu.max", dir) >= (int)sizeof path) return;
    if (read_text(root, path, text, sizeof text) && sscanf(text, "%lf %lf", &quota, &period) == 2)
        lower(least, quota, period);
    if (snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir) >= (int)sizeof path) return;
    if (!read_text(root, path, text, sizeof text)) return;
    quota = strtod(text, NULL);
    if (snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir) >= (int)sizeof path) return;
    if (read_text(root, path, text, sizeof text)) lower(least, quota, strtod(text, NULL));
}

/* A group and all above it up to where the file system is mounted.  In a container the path may be
 * one that only the host sees: then the mount's own root is the group. */
static void read_quotas(const char *root, const char *mount, const char *group, double *least) {
    char dir[PATH_MAX];
    const size_t n_mount = strlen(mount);
    if (snprintf(dir, sizeof dir, "%s%s", mount, group) >= (int)sizeof dir) return;
    for (;;) {
        read_quota(root, dir, least);
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < n_mount) return;
        *slash = 0;
    }
}

/* Does a comma-separated list hold "cpu"? */
static bool has_cpu(const char *list, size_t n) {
    for (const char *end = list + n; list < end;) {
        const size_t k = strcspn(list, ",:");
        if (k == 3 && memcmp(list, "cpu", 3) == 0) return true;
        list += k + 1;
    }
    return false;
}

static int quota_of(const char *root) {
    char text[8192], mount[128];
    double least = 0;
    read_text(root, "/proc/self/cgroup", text, sizeof text);
    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        const char *list = strchr(line, ':');
        const char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        const int n = (int)(path - ++list);
        if (n == 0) {
            read_quotas(root, "/sys/fs/cgroup", path + 1, &least);
            read_quotas(root, "/sys/fs/cgroup/unified", path + 1, &least);
        } else if (has_cpu(list, (size_t)n) && n < 64) {
            snprintf(mount, sizeof mount, "/sys/fs/cgroup/%.*s", n, list);
            read_quotas(root, mount, path + 1, &least);
            read_quotas(root, "/sys/fs/cgroup/cpu", path + 1, &least);
        }
    }
    if (least == 0 || least > CORES_MAX) return 0;
    const int whole = (int)least;
    return whole + (least > whole);
}

/* ---- the whole ---- */

void cores_read(struct cores *c, const char *root, const bool allowed[CORES_MAX]) {
    *c = (struct cores){0};
    read_topology(c, root, allowed);
    c->n_quota = quota_of(root);
    if (c->n_logical == 0) c->n_logical = c->n_core = c->n_fast = 1;
}

static struct cores here;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_here(void) {
    bool allowed[CORES_MAX] = {false};
    int n = 0;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int i = 0; i < CORES_MAX && i < CPU_SETSIZE; i++)
            n += allowed[i] = CPU_ISSET((size_t)i, &set);
#endif
    cores_read(&here, "", allowed);
    const long online = n ? 0 : sysconf(_SC_NPROCESSORS_ONLN);
    if (online > 0) here.n_logical = here.n_core = here.n_fast = (int)online;
}

const struct cores *cores_here(void) {
    pthread_once(&once, read_here);
    return &here;
}

static int at_most(int a, int b) {
    return a < b ? a : b;
}

int cores_threads(const struct cores *c) {
    const int n = c->n_quota ? at_most(c->n_fast, c->n_quota) : c->n_fast;
    return at_most(n, CORES_MAX_THREADS);
}

void cores_explain(const struct cores *c, char *out, size_t n_out) {
    if (c->n_quota && c->n_quota < c->n_fast)
        snprintf(out, n_out, "the control group's quota: %d of %d cores", c->n_quota, c->n_fast);
    else if (c->n_fast < c->n_core)
        snprintf(out, n_out, "one per performance core: %d of %d cores", c->n_fast, c->n_core);
    else
        snprintf(out, n_out, "one per core: %d, with %d logical processors", c->n_core,
                 c->n_logical);
}

/* ---- settings ---- */

/* -1 error, else the value, or `unset`. */
static int setting(const char *name, int min, int max, int unset, struct err *e) {
    char v[4096], *end;
    if (!os_setting(name, v, sizeof v)) return unset;
    errno = 0;
    const long n = strtol(v, &end, 10);
    if (end != v && *end == 0 && errno == 0 && n >= min && n <= max) return (int)n;
    return err_set(e, ERR_USAGE,
                   "setting CRIA_%s: found \"%s\"; a whole number from %d to %d is accepted", name,
                   v, min, max);
}

int cores_setting_threads(struct err *e) {
    const int n = setting("THREADS", 1, CORES_MAX_THREADS, 0, e);
    if (n < 0) return -1;
    const int ollama = setting("NUM_THREADS", 1, CORES_MAX_THREADS, 0, e);
    return ollama < 0 || n == 0 ? ollama : n;
}

int cores_setting_pin(struct err *e) {
    return setting("PIN", 0, 1, 0, e);
}

int cores_default_threads(struct err *e) {
    const int n = cores_setting_threads(e);
    return n ? n : cores_threads(cores_here());
}
