/* base/cores on machines made of files: what a laptop's, a phone's or a container's sysfs says. */
#include "support.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cores.h"

struct machine {
    char *root; /* owned */
    bool allowed[CORES_MAX];
    struct cores c;
};

static struct machine *machine_new(int n_cpu) {
    struct machine *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->root = temp_folder();
    for (int i = 0; i < n_cpu; i++)
        m->allowed[i] = true;
    return m;
}

static void machine_free(struct machine *m) {
    temp_remove(m->root);
    free(m);
}

__attribute__((format(printf, 3, 4))) static void put(struct machine *m, const char *path,
                                                      const char *format, ...) {
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", m->root, path);
    for (char *p = full + strlen(m->root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    if (!f) fail_msg("%s", full);
    va_list args;
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fclose(f);
}

static void put_cpu(struct machine *m, int cpu, const char *siblings, int capacity) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    put(m, path, "%s\n", siblings);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpu_capacity", cpu);
    if (capacity) put(m, path, "%d\n", capacity);
}

/* logical, cores, performance cores, quota, threads, and the order of the processors. */
static void expect(struct machine *m, int n_logical, int n_core, int n_fast, int n_quota,
                   int n_thread, const char *order) {
    char got[8 * 64] = "";
    cores_read(&m->c, m->root, m->allowed);
    for (int i = 0; i < m->c.n_cpu; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), i ? " %d" : "%d", m->c.cpu[i]);
    assert_string_equal(got, order);
    assert_int_equal(m->c.n_logical, n_logical);
    assert_int_equal(m->c.n_core, n_core);
    assert_int_equal(m->c.n_fast, n_fast);
    assert_int_equal(m->c.n_quota, n_quota);
    assert_int_equal(cores_threads(&m->c), n_thread);
}

static void expect_why(struct machine *m, const char *part) {
    char why[128];
    cores_explain(&m->c, why, sizeof why);
    if (!strstr(why, part)) fail_msg("\"%s\" has no \"%s\"", why, part);
}

/* Four cores of two threads: 0,4 1,5 2,6 3,7. */
static struct machine *smt_2x4(void) {
    static const char *const list[] = {"0,4", "1,5", "2,6", "3,7"};
    struct machine *m = machine_new(8);
    for (int i = 0; i < 8; i++)
        put_cpu(m, i, list[i % 4], 0);
    return m;
}

/* Two performance cores of two threads, 0-1 and 2-3, and four efficient ones. */
static struct machine *hybrid_2p4e(void) {
    static const char *const list[] = {"0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7"};
    struct machine *m = machine_new(8);
    for (int i = 0; i < 8; i++)
        put_cpu(m, i, list[i], 0);
    put(m, "/sys/devices/cpu_core/cpus", "0-3\n");
    put(m, "/sys/devices/cpu_atom/cpus", "4-7\n");
    return m;
}

static void threads_share_cores(void **s) {
    (void)s;
    struct machine *m = smt_2x4();
    expect(m, 8, 4, 4, 0, 4, "0 1 2 3 4 5 6 7");
    expect_why(m, "one per core: 4, with 8 logical");
    machine_free(m);
}

static void intel_hybrids_use_their_fast_cores(void **s) {
    (void)s;
    struct machine *m = hybrid_2p4e();
    expect(m, 8, 6, 2, 0, 2, "0 2 4 5 6 7 1 3");
    expect_why(m, "performance core: 2 of 6");
    memset(m->allowed, 0, 4); /* the mask leaves efficient cores */
    expect(m, 4, 4, 4, 0, 4, "4 5 6 7");
    m->allowed[3] = true; /* and half a fast one */
    expect(m, 5, 5, 1, 0, 1, "3 4 5 6 7");
    machine_free(m);
}

static void arm_clusters_use_their_fast_cores(void **s) {
    (void)s;
    struct machine *m = machine_new(8);
    char own[8];
    for (int i = 0; i < 8; i++) { /* 4 small, 3 large, 1 a bit larger */
        snprintf(own, sizeof own, "%d", i);
        put_cpu(m, i, own, i < 4 ? 325 : i < 7 ? 870 : 1024);
    }
    expect(m, 8, 8, 4, 0, 4, "4 5 6 7 0 1 2 3");
    put_cpu(m, 4, "4", 819); /* below four fifths of 1024 */
    expect(m, 8, 8, 3, 0, 3, "5 6 7 0 1 2 3 4");
    memset(m->allowed + 4, 0, 4);
    expect(m, 4, 4, 4, 0, 4, "0 1 2 3");
    machine_free(m);
}

static void the_mask_is_respected(void **s) {
    (void)s;
    struct machine *m = smt_2x4();
    m->allowed[0] = m->allowed[1] = false; /* 4 and 5 are then first on their cores */
    expect(m, 6, 4, 4, 0, 4, "2 3 4 5 6 7");
    memset(m->allowed, 0, sizeof m->allowed);
    m->allowed[2] = m->allowed[6] = true; /* both threads of one core */
    expect(m, 2, 1, 1, 0, 1, "2 6");
    m->allowed[6] = false;
    expect(m, 1, 1, 1, 0, 1, "2");
    machine_free(m);
}

static void quotas_of_version_2_hold_at_every_level(void **s) {
    (void)s;
    struct machine *m = smt_2x4();
    put(m, "/proc/self/cgroup", "0::/user.slice/my.scope\n");
    put(m, "/sys/fs/cgroup/user.slice/my.scope/cpu.max", "max 100000\n");
    put(m, "/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
    expect(m, 8, 4, 4, 0, 4, "0 1 2 3 4 5 6 7");
    put(m, "/sys/fs/cgroup/user.slice/my.scope/cpu.max", "150000 100000\n");
    expect(m, 8, 4, 4, 2, 2, "0 1 2 3 4 5 6 7"); /* 1.5 */
    expect_why(m, "quota: 2 of 4");
    put(m, "/sys/fs/cgroup/user.slice/cpu.max", "50000 50000\n");
    expect(m, 8, 4, 4, 1, 1, "0 1 2 3 4 5 6 7");
    put(m, "/sys/fs/cgroup/user.slice/cpu.max", "3000000 100000\n");
    put(m, "/sys/fs/cgroup/user.slice/my.scope/cpu.max", "max 100000\n");
    expect(m, 8, 4, 4, 30, 4, "0 1 2 3 4 5 6 7");               /* more than there is */
    put(m, "/proc/self/cgroup", "0::/seen/by/the/host/only\n"); /* a container's own root */
    put(m, "/sys/fs/cgroup/cpu.max", "10000 100000\n");
    expect(m, 8, 4, 4, 1, 1, "0 1 2 3 4 5 6 7");
    put(m, "/sys/fs/cgroup/cpu.max", "rubbish\n");
    expect(m, 8, 4, 4, 0, 4, "0 1 2 3 4 5 6 7");
    machine_free(m);
}

static void quotas_of_version_1_hold(void **s) {
    (void)s;
    struct machine *m = smt_2x4();
    put(m, "/proc/self/cgroup", "5:cpuset:/a\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n");
    put(m, "/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
    put(m, "/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
    expect(m, 8, 4, 4, 0, 4, "0 1 2 3 4 5 6 7");
    put(m, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "250000\n");
    put(m, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    expect(m, 8, 4, 4, 3, 3, "0 1 2 3 4 5 6 7");
    put(m, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"); /* mounted so in a container */
    put(m, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    expect(m, 8, 4, 4, 2, 2, "0 1 2 3 4 5 6 7");
    machine_free(m);
}

static void little_is_known(void **s) {
    (void)s;
    struct machine *m = machine_new(3); /* no files at all */
    expect(m, 3, 3, 3, 0, 3, "0 1 2");
    memset(m->allowed, 0, sizeof m->allowed);
    expect(m, 1, 1, 1, 0, 1, "");
    m->allowed[0] = m->allowed[1] = true;
    put_cpu(m, 0, "garbage", 0);
    put_cpu(m, 1, "99999999999-3,,-1", 0);
    put(m, "/sys/devices/cpu_core/cpus", "\n");
    put(m, "/proc/self/cgroup", "::\n\nno colon\n0:\n0::/../..\n7:cpu\n");
    expect(m, 2, 2, 2, 0, 2, "0 1");
    memset(m->allowed, 1, sizeof m->allowed);
    cores_read(&m->c, m->root, m->allowed);
    assert_int_equal(m->c.n_cpu, CORES_MAX);
    assert_int_equal(cores_threads(&m->c), CORES_MAX_THREADS);
    machine_free(m);
}

static void settings_are_numbers(void **s) {
    (void)s;
    static const char *const name[] = {"CRIA_THREADS", "CRIA_NUM_THREADS", "OLLAMA_NUM_THREADS",
                                       "CRIA_PIN",     "OLLAMA_PIN",       "OLLAMA_THREADS"};
    static const char *const bad[] = {"0", "513", "-1", "abc", "2x", "1e2", "=2", "1.5", "0x4"};
    struct err e;
    for (int i = 0; i < 6; i++)
        unsetenv(name[i]);
    assert_int_equal(cores_setting_threads(&e), 0);
    assert_int_equal(cores_setting_pin(&e), 0);
    assert_in_range(cores_default_threads(&e), 1, 512);
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            setenv(name[i], bad[k], 1);
            assert_int_equal(cores_default_threads(&e), -1);
            assert_non_null(strstr(e.msg, bad[k]));
            assert_int_equal(e.code, ERR_USAGE);
        }
        setenv(name[i], " \"512\" ", 1);
        assert_int_equal(cores_default_threads(&e), 512);
        unsetenv(name[i]);
    }
    setenv("OLLAMA_NUM_THREADS", "3", 1);
    assert_int_equal(cores_default_threads(&e), 3);
    setenv("CRIA_THREADS", "4", 1);
    assert_int_equal(cores_default_threads(&e), 4);
    setenv("OLLAMA_NUM_THREADS", "many", 1); /* wrong, even if it does not count */
    assert_int_equal(cores_default_threads(&e), -1);
    unsetenv("OLLAMA_NUM_THREADS"), unsetenv("CRIA_THREADS");
    setenv("CRIA_PIN", "2", 1);
    assert_int_equal(cores_setting_pin(&e), -1);
    setenv("CRIA_PIN", "1", 1);
    assert_int_equal(cores_setting_pin(&e), 1);
    unsetenv("CRIA_PIN");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_cores),
        cmocka_unit_test(intel_hybrids_use_their_fast_cores),
        cmocka_unit_test(arm_clusters_use_their_fast_cores),
        cmocka_unit_test(the_mask_is_respected),
        cmocka_unit_test(quotas_of_version_2_hold_at_every_level),
        cmocka_unit_test(quotas_of_version_1_hold),
        cmocka_unit_test(little_is_known),
        cmocka_unit_test(settings_are_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
