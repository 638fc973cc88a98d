/* The store when things go wrong: processes killed at any moment, two at work at once, a full disk,
 * a store that may not be written.  `make test` runs a few rounds of each; `make store-campaign`
 * (CRIA_CAMPAIGN=1) many, and those that need file systems of their own (root, or user namespaces).
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "sample/rng.h"
#include "store_rig.h"

static int rounds(int brief, int all) {
    return in_campaign() ? all : brief;
}

/* A text of n bytes that is another for each seed. */
static char *text_of(uint64_t seed, size_t n) {
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + rng_splitmix(&seed) % 26);
    text[n] = 0;
    return text;
}

/* Run fn in a child; the test fails with what it says on stderr. */
static void in_child(int (*fn)(struct shop *), struct shop *r) {
    const pid_t child = fork();
    int status = 0;
    if (child == 0) _exit(fn(r) == 0 ? 0 : 1);
    if (child < 0 || waitpid(child, &status, 0) != child) fail_msg("fork: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("the child failed");
}

static int complain(const char *what, const struct err *e) {
    fprintf(stderr, "%s: %s\n", what, e ? e->msg : "");
    return -1;
}

static void print_finding(void *ctx, const char *model, const struct digest *d, const char *what) {
    (void)ctx;
    fprintf(stderr, "%s: %s: %s\n", model ? model : "-", d ? d->hex : "-", what);
}

/* shop_check for a child. */
static int check_store(struct shop *r) {
    struct store_check c;
    if (store_verify(r->s, NULL, &c, print_finding, NULL, NULL, &r->e) != 0)
        return complain("verify", &r->e);
    return c.n_missing + c.n_wrong + c.n_damaged ? complain("the store is not valid", NULL) : 0;
}

/* ---- two processes ---- */

static void collect_for_ever(struct shop *r) {
    struct store_gc gc;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        if (store_collect(r->s, 0, false, &gc, &r->e) != 0 || gc.kept_all) {
            complain("gc", &r->e);
            _exit(1);
        }
        /* A lock is not handed on in turns: who asks again at once may keep the other one waiting
         * for minutes. */
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
}

/* A model of blobs that may be there already: as `create` does with layers that it knows. */
static int put_known(struct shop *r, const char *name, const char *text) {
    struct manifest m;
    struct buf b = {0};
    struct name n;
    int rc = name_parse(name, &n, &r->e);
    struct lease *l = rc == 0 ? store_lease(r->s, &r->e) : NULL;
    shop_manifest(r, text, &b);
    if (!l || manifest_parse("m", b.p, b.n, &m, &r->e) != 0) return -1;
    for (int i = 0; rc == 0 && i < m.n_layer; i++)
        rc = store_lease_add(l, &m.layer[i].digest, &r->e);
    if (rc == 0) rc = store_lease_add(l, &m.config.digest, &r->e);
    const bool all = rc == 0 && shop_has_all(r, &m);
    if (all) nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); /* let the other one look */
    if (all) rc = store_put(r->s, &n, buf_view(&b), &r->e);
    manifest_fini(&m);
    store_lease_end(l);
    buf_fini(&b);
    return rc == 0 && !all ? shop_try_put(r, name, text) : rc;
}

static void must_have(struct shop *r, const char *name) {
    struct name n;
    struct manifest m;
    name_parse(name, &n, &r->e);
    if (store_get(r->s, &n, NULL, &m, &r->e) != 0) fail_msg("%s: %s", name, r->e.msg);
    if (!shop_has_all(r, &m)) fail_msg("%s: a blob is lost", name);
    manifest_fini(&m);
}

/* SECURITY.md R11: one collects and collects, the other makes, copies and removes models. */
static void gc_race(void **state) {
    (void)state;
    struct shop r;
    struct name from, to;
    int status;
    shop_open(&r);
    shop_put(&r, "first", "first");
    const pid_t child = fork();
    if (child == 0) collect_for_ever(&r);
    const int n = rounds(40, 1000);
    for (int i = 0; i < n; i++) {
        char a[32], b[32];
        char *text = text_of((uint64_t)(i / 3), 300 + 10 * (size_t)(i % 7));
        snprintf(a, sizeof a, "m%d", i % 5), snprintf(b, sizeof b, "me/c%d:x", i % 3);
        if ((i % 2 ? put_known(&r, a, text) : shop_try_put(&r, a, text)) != 0)
            fail_msg("round %d: %s", i, r.e.msg);
        must_have(&r, a);
        name_parse(a, &from, &r.e), name_parse(b, &to, &r.e);
        if (store_copy(r.s, &from, &to, &r.e) != 0) fail_msg("round %d: %s", i, r.e.msg);
        must_have(&r, b);
        if (i % 4 == 3 && shop_remove(&r, a) != 0) fail_msg("round %d: %s", i, r.e.msg);
        must_have(&r, b);
        free(text);
    }
    assert_int_equal(waitpid(child, &status, WNOHANG), 0); /* it has not complained */
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    shop_check(&r, -1);
    shop_close(&r);
    if (in_campaign()) fprintf(stderr, "gc race: %d rounds, 0 lost blobs\n", n);
}

/* ---- killed ---- */

/* What the victims do, without a pause. */
static void work_for_ever(struct shop *r, uint64_t seed) {
    struct rng rng;
    char user[700];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rng_seed(&rng, seed);
    snprintf(user, sizeof user, "%s/user-%d", r->dir, (int)(seed & 1));
    for (;;) {
        char a[32], b[32];
        struct name from, to;
        struct store_gc gc;
        snprintf(a, sizeof a, "m%d", (int)(rng_next(&rng) % 6));
        snprintf(b, sizeof b, "m%d", (int)(rng_next(&rng) % 6));
        char *text = text_of(rng_next(&rng) % 12, 10 + rng_next(&rng) % 5 * 60000);
        name_parse(a, &from, NULL), name_parse(b, &to, NULL);
        switch (rng_next(&rng) % 6) {
        case 0: shop_try_put(r, a, text); break;
        case 1: put_known(r, a, text); break;
        case 2: store_copy(r->s, &from, &to, &r->e); break;
        case 3: shop_remove(r, a); break;
        case 4: store_collect(r->s, 0, false, &gc, &r->e); break;
        case 5: {
            struct lease *l = store_lease(r->s, &r->e);
            if (os_write_file(user, text, strlen(text), &r->e) == 0 && l)
                store_add_file(l, user, (enum store_add)(rng_next(&rng) % 3), NULL, NULL, NULL,
                               NULL, &r->e);
            store_lease_end(l);
            break;
        }
        }
        free(text);
    }
}

/* After the kill: valid at once, and all work goes on; a collection leaves nothing of the dead. */
static void check_after(struct shop *r) {
    struct store_gc gc;
    shop_check(r, -1);
    shop_put(r, "after", "after");
    if (store_collect(r->s, 0, false, &gc, &r->e) != 0) fail_msg("%s", r->e.msg);
    assert_false(gc.kept_all);
    assert_int_equal(shop_count(r, ".cria/leases"), 0);
    shop_check(r, -1);
    if (store_collect(r->s, 0, true, &gc, &r->e) != 0) fail_msg("%s", r->e.msg);
    assert_int_equal(gc.n_blobs + gc.n_partial, 0);
    if (shop_remove(r, "after") != 0) fail_msg("%s", r->e.msg);
}

static void killed(void **state) {
    (void)state;
    struct shop r;
    struct rng rng;
    rng_seed(&rng, 5);
    shop_open(&r);
    const int n = rounds(15, 200);
    for (int i = 0; i < n; i++) {
        pid_t victim[2];
        int status;
        for (int k = 0; k < 2; k++) {
            victim[k] = fork();
            if (victim[k] == 0) work_for_ever(&r, (uint64_t)(2 * i + k));
        }
        for (int k = 0; k < 2; k++) {
            nanosleep(&(struct timespec){.tv_nsec = (long)(rng_next(&rng) % 25000000)}, NULL);
            kill(victim[k], SIGKILL);
            waitpid(victim[k], &status, 0);
            if (!WIFSIGNALED(status)) fail_msg("round %d: a victim ended by itself", i);
        }
        check_after(&r);
    }
    shop_close(&r);
    if (in_campaign()) fprintf(stderr, "kill -9: %d moments, the store valid after each\n", n);
}

/* ---- no room ---- */

/* A file of more bytes than the limit cannot be written: where depends on the limit. */
static int limited(struct shop *r) {
    static const rlim_t limit[] = {0, 1, 50, 71, 72, 100, 200, 1000, 4096, 9999, 20000, 40000};
    struct rlimit rl;
    int n_failed = 0;
    char *text = text_of(1, 20000);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &rl);
    for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
        rl.rlim_cur = limit[i];
        setrlimit(RLIMIT_FSIZE, &rl);
        const int rc = shop_try_put(r, "big", text);
        n_failed += rc != 0;
        if (rc != 0 && r->e.code != ERR_IO) return complain("an odd error", &r->e);
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_FSIZE, &rl);
        if (check_store(r) != 0) return -1;
        if (shop_count(r, ".cria/leases") != 0) return complain("a lease is left", NULL);
        if (shop_try_put(r, "big", text) != 0) return complain("with room again", &r->e);
        if (check_store(r) != 0 || shop_remove(r, "big") != 0) return complain("rm", &r->e);
        if (shop_count(r, "blobs") != 0) return complain("a blob is left", NULL);
    }
    free(text);
    return n_failed >= 8 ? 0 : complain("too few of the writes failed", NULL);
}

static void no_room_for_a_file(void **state) {
    (void)state;
    struct shop r;
    shop_open(&r);
    in_child(limited, &r);
    shop_close(&r);
}

/* A file system of this process's own, over the folder of the rig. */
static int own_disk(struct shop *r, const char *options) {
    const uid_t uid = getuid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return complain("the campaign needs root or user namespaces", NULL);
        char map[64];
        snprintf(map, sizeof map, "0 %u 1", uid);
        if (os_write_file("/proc/self/setgroups", "deny", 4, NULL) != 0) errno = 0;
        const int fd = open("/proc/self/uid_map", O_WRONLY);
        if (fd < 0 || write(fd, map, strlen(map)) < 0) return complain("uid_map", NULL);
        close(fd);
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("disk", r->dir, "tmpfs", 0, options) != 0)
        return complain("the campaign cannot mount a tmpfs", NULL);
    return 0;
}

/* Take room away until `left` pages are free. */
static int fill_disk(const char *path, int left) {
    char page[4096] = {1};
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    off_t n = 0;
    while (fd >= 0 && write(fd, page, sizeof page) == (ssize_t)sizeof page)
        n += (off_t)sizeof page;
    const off_t want = n - (off_t)left * (off_t)sizeof page;
    if (fd < 0 || want < 0 || ftruncate(fd, want) != 0) return -1;
    return close(fd);
}

static int full_disk(struct shop *r) {
    enum { PLACES = 50 };
    char filler[700], cmd[32];
    int n_failed = 0;
    char *text = text_of(7, 100000);
    if (own_disk(r, "size=512k,mode=0700") != 0) return -1;
    snprintf(filler, sizeof filler, "%s/filler", r->dir);
    for (int left = 0; left < PLACES; left++) {
        snprintf(cmd, sizeof cmd, "m%d", left);
        if (fill_disk(filler, left) != 0) return complain("cannot fill the disk", NULL);
        const int rc = shop_try_put(r, cmd, text);
        n_failed += rc != 0;
        if (rc != 0 && r->e.code != ERR_LIMIT && !strstr(r->e.msg, "No space left"))
            return complain("an odd error", &r->e);
        if (check_store(r) != 0) return -1;
        struct store_gc gc;
        if (store_collect(r->s, 0, false, &gc, &r->e) != 0 && !strstr(r->e.msg, "No space left"))
            return complain("gc on a full disk", &r->e);
        unlink(filler);
        if (shop_try_put(r, cmd, text) != 0) return complain("with room again", &r->e);
        if (check_store(r) != 0 || shop_remove(r, cmd) != 0) return complain("rm", &r->e);
        if (shop_count(r, "blobs") != 0) return complain("a blob is left", NULL);
    }
    fprintf(stderr, "full disk: %d places, %d of them failed, the store valid at each\n", PLACES,
            n_failed);
    free(text);
    return n_failed >= 20 && n_failed < PLACES ? 0 : complain("the places are badly chosen", NULL);
}

static int refused(struct shop *r, const char *why) {
    struct name a, b;
    struct store_gc gc;
    name_parse("kept", &a, NULL), name_parse("new", &b, NULL);
    if (check_store(r) != 0) return -1;
    if (shop_try_put(r, "new", "text") == 0 || !strstr(r->e.msg, why))
        return complain("put", &r->e);
    if (store_copy(r->s, &a, &b, &r->e) == 0 || !strstr(r->e.msg, why))
        return complain("cp", &r->e);
    if (store_remove(r->s, &a, &r->e) == 0 || !strstr(r->e.msg, why)) return complain("rm", &r->e);
    if (store_collect(r->s, 0, false, &gc, &r->e) == 0 || !strstr(r->e.msg, why))
        return complain("gc", &r->e);
    if (store_collect(r->s, 0, true, &gc, &r->e) != 0) return complain("dry gc", &r->e);
    return check_store(r);
}

static int read_only_disk(struct shop *r) {
    if (own_disk(r, "size=4m,mode=0700") != 0) return -1;
    if (shop_try_put(r, "kept", "text") != 0) return complain("put", &r->e);
    for (int made = 0; made < 2; made++) { /* with our folder, and as Ollama leaves a store */
        char ours[700], aside[700];
        snprintf(ours, sizeof ours, "%s/.cria", r->root);
        snprintf(aside, sizeof aside, "%s/aside", r->dir);
        if (made && rename(ours, aside) != 0) return complain("rename", NULL);
        if (mount("disk", r->dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) != 0)
            return complain("remount", NULL);
        if (refused(r, "Read-only file system") != 0) return -1;
        if (mount("disk", r->dir, "tmpfs", MS_REMOUNT, NULL) != 0) return complain("remount", NULL);
    }
    return shop_try_put(r, "new", "text") == 0 ? 0 : complain("writable again", &r->e);
}

static void own_disks(void **state) {
    (void)state;
    int (*const fn[])(struct shop *) = {full_disk, read_only_disk};
    for (int i = 0; i < 2; i++) {
        struct shop r;
        shop_open(&r);
        in_child(fn[i], &r);
        shop_close(&r);
    }
}

/* As a user who may read the store, and no more. */
static int not_allowed(struct shop *r) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return complain("setuid", NULL);
    return refused(r, "Permission denied");
}

static int chmod_all(struct shop *r, mode_t mode) {
    static const char *const rel[] = {"manifests/registry.ollama.ai/library/kept",
                                      "blobs",
                                      "manifests",
                                      ".cria/leases",
                                      ".cria/links",
                                      ".cria",
                                      ""};
    char path[1000];
    for (size_t i = 0; i < sizeof rel / sizeof *rel; i++) {
        snprintf(path, sizeof path, "%s/%s", r->root, rel[i]);
        if (chmod(path, mode) != 0) return -1;
    }
    snprintf(path, sizeof path, "%s/.cria/lock", r->root);
    return chmod(path, mode & 0444);
}

static void permission(void **state) {
    (void)state;
    struct shop r;
    shop_open(&r);
    shop_put(&r, "kept", "text");
    assert_int_equal(chmod(r.dir, 0755), 0);
    assert_int_equal(chmod_all(&r, 0555), 0);
    in_child(not_allowed, &r);
    chmod(r.root, 0755);
    assert_int_equal(chmod_all(&r, 0755), 0);
    shop_check(&r, 1);
    shop_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gc_race),
        cmocka_unit_test(killed),
        cmocka_unit_test(no_room_for_a_file),
        cmocka_unit_test(permission),
    };
    const struct CMUnitTest more[] = {cmocka_unit_test(own_disks)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return in_campaign() ? failed + cmocka_run_group_tests(more, NULL, NULL) : failed;
}
