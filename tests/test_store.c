/* The model store on disk: models, blobs, leases, links, collection, verification. */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "store_rig.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX_UPPER "0123456789ABCDEF0123456789abcdef0123456789ABCDEF0123456789abcdef"

/* ---- on disk ---- */

static void put_get(void **state) {
    (void)state;
    struct shop r;
    struct manifest m;
    struct name n, found;
    shop_open(&r);
    shop_put(&r, "Tiny:V1", "weights");
    assert_int_equal(name_parse("tINY:v1", &n, &r.e), 0);
    assert_int_equal(store_get(r.s, &n, &found, &m, &r.e), 0);
    assert_string_equal(found.model, "Tiny");
    assert_string_equal(found.tag, "V1");
    assert_true(shop_has_all(&r, &m));
    const struct digest id = m.id;
    manifest_fini(&m);
    /* Pins. */
    n.pin = id;
    assert_int_equal(store_get(r.s, &n, NULL, &m, &r.e), 0), manifest_fini(&m);
    n.pin.hex[0] = n.pin.hex[0] == '0' ? '1' : '0';
    assert_int_equal(store_get(r.s, &n, NULL, &m, &r.e), -1), manifest_fini(&m);
    assert_int_equal(r.e.code, ERR_NOT_FOUND);
    /* Again under another letter case: still one model. */
    shop_put(&r, "TINY:v1", "other weights");
    struct store_entry *list;
    int count;
    assert_int_equal(store_list(r.s, NULL, &list, &count, &r.e), 0);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name.model, "Tiny");
    assert_false(digest_eq(&list[0].id, &id));
    free(list);
    shop_put(&r, "tiny:v2", "x");
    assert_true(shop_there(&r, "manifests/registry.ollama.ai/library/Tiny/v2"));
    assert_int_equal(store_list(r.s, "tiny:V2", &list, &count, &r.e), 0);
    assert_int_equal(count, 1);
    free(list);
    assert_int_equal(shop_remove(&r, "TINY:V1"), 0);
    assert_int_equal(shop_remove(&r, "tiny:V2"), 0);
    assert_false(shop_there(&r, "manifests/registry.ollama.ai"));
    assert_int_equal(shop_count(&r, "blobs"), 1); /* the layer that was replaced */
    shop_close(&r);
}

static void not_there(void **state) {
    (void)state;
    struct shop r;
    struct name n;
    struct manifest m;
    struct store_entry *list;
    struct store_gc gc;
    struct store_check check;
    int count;
    shop_open(&r);
    char none[600];
    snprintf(none, sizeof none, "%s/no/store/here", r.dir);
    struct store *s = store_open(none, &r.e);
    assert_int_equal(name_parse("x", &n, &r.e), 0);
    assert_int_equal(store_get(s, &n, NULL, &m, &r.e), -1);
    assert_int_equal(r.e.code, ERR_NOT_FOUND);
    assert_string_equal(r.e.msg, "model 'x' not found");
    manifest_fini(&m);
    assert_int_equal(store_list(s, NULL, &list, &count, &r.e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_collect(s, 0, false, &gc, &r.e), 0);
    assert_int_equal(store_verify(s, NULL, &check, NULL, NULL, NULL, &r.e), 0);
    assert_int_equal(store_remove(s, &n, &r.e), -1);
    assert_string_equal(r.e.msg, "model 'x' not found");
    assert_int_not_equal(access(none, F_OK), 0); /* nothing was made */
    struct lease *l = store_lease(s, &r.e);      /* now it is, with all folders above */
    assert_non_null(l);
    store_lease_end(l);
    assert_int_equal(access(none, F_OK), 0);
    store_close(s);
    shop_close(&r);
}

/* A manifest needs all its blobs, with the size it says. */
static void put_needs_blobs(void **state) {
    (void)state;
    struct shop r;
    struct name n;
    shop_open(&r);
    shop_put(&r, "a", "weights");
    struct buf b = {0};
    shop_manifest(&r, "weights", &b);
    assert_int_equal(name_parse("b", &n, &r.e), 0);
    assert_int_equal(store_put(r.s, &n, buf_view(&b), &r.e), 0);
    char *size = strstr(b.p, "\"size\":7"); /* of "weights" */
    assert_non_null(size);
    size[7] = '8';
    assert_int_equal(name_parse("c", &n, &r.e), 0);
    assert_int_equal(store_put(r.s, &n, buf_view(&b), &r.e), -1);
    assert_int_equal(r.e.code, ERR_NOT_FOUND);
    size[7] = '7';
    const char *hex = strstr(size - 120, "sha256:");
    struct digest d;
    assert_int_equal(digest_parse((struct str){hex, 71}, &d, &r.e), 0);
    assert_int_equal(store_discard_blob(r.s, &d, &r.e), 0);
    assert_int_equal(store_put(r.s, &n, buf_view(&b), &r.e), -1);
    assert_non_null(strstr(r.e.msg, d.hex));
    assert_int_equal(store_put(r.s, &n, STR("{}"), &r.e), -1);
    assert_int_equal(r.e.code, ERR_FORMAT);
    buf_fini(&b);
    shop_close(&r);
}

static void removal_keeps_shared(void **state) {
    (void)state;
    struct shop r;
    struct name a, b;
    shop_open(&r);
    shop_put(&r, "a", "shared");
    name_parse("a", &a, &r.e), name_parse("me/b:x", &b, &r.e);
    assert_int_equal(store_copy(r.s, &a, &b, &r.e), 0);
    shop_put(&r, "c", "own");
    const int n = shop_count(&r, "blobs");
    assert_int_equal(shop_remove(&r, "a"), 0);
    assert_int_equal(shop_count(&r, "blobs"), n);
    assert_int_equal(shop_remove(&r, "c"), 0);
    assert_int_equal(shop_count(&r, "blobs"), n - 1); /* the config is that of b, too */
    assert_int_equal(shop_remove(&r, "me/b:x"), 0);
    assert_int_equal(shop_count(&r, "blobs"), 0);
    assert_int_equal(shop_remove(&r, "a"), -1);
    assert_int_equal(r.e.code, ERR_NOT_FOUND);
    shop_close(&r);
}

static void damaged_manifest(void **state) {
    (void)state;
    struct shop r;
    struct store_gc gc;
    struct store_entry *list;
    struct store_check check;
    int count;
    shop_open(&r);
    shop_put(&r, "good", "one");
    shop_put(&r, "gone", "two");
    shop_blob(&r, "loose");
    shop_file(&r, "manifests/registry.ollama.ai/library/bad/latest", "{\"schemaVersion\":2");
    assert_int_equal(store_list(r.s, NULL, &list, &count, &r.e), 0);
    assert_int_equal(count, 3);
    int n_damaged = 0;
    for (int i = 0; i < 3; i++)
        n_damaged += list[i].damaged && strcmp(list[i].name.model, "bad") == 0;
    assert_int_equal(n_damaged, 1);
    free(list);
    const int n = shop_count(&r, "blobs");
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_true(gc.kept_all);
    assert_int_equal(gc.n_blobs, 0);
    assert_int_equal(shop_remove(&r, "gone"), 0); /* the name goes, the blobs stay */
    assert_int_equal(shop_count(&r, "blobs"), n);
    assert_int_equal(store_verify(r.s, NULL, &check, NULL, NULL, NULL, &r.e), 0);
    assert_int_equal(check.n_damaged, 1);
    assert_int_equal(shop_remove(&r, "bad"), 0);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_false(gc.kept_all);
    assert_int_equal(gc.n_blobs, 2); /* "two" and "loose" */
    assert_int_equal(shop_count(&r, "blobs"), n - 2);
    shop_close(&r);
}

static void collection(void **state) {
    (void)state;
    struct shop r;
    struct store_gc gc;
    shop_open(&r);
    shop_put(&r, "a", "kept");
    shop_blob(&r, "loose");
    shop_file(&r, "blobs/sha256-" HEX "-partial", "1234");
    shop_file(&r, "blobs/sha256-" HEX "-partial-0", "{}");
    shop_file(&r, "blobs/cria-tmp-0123456789abcdef", "left");
    shop_file(&r, "blobs/README", "of somebody");
    shop_file(&r, "blobs/sha256-" HEX_UPPER, "of somebody");
    shop_file(&r, "manifests/.cria-tmp-0123456789abcdef", "left");
    shop_file(&r, ".cria/create-abc/left", "of a dead create");
    shop_file(&r, ".cria/leases/999999-0123456789abcdef", "sha256-" HEX "\n");
    /* Within the grace period only what dead processes left in the writing goes. */
    assert_int_equal(store_collect(r.s, 3600, true, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 0);
    assert_int_equal(gc.n_partial, 3);
    assert_true(shop_there(&r, "blobs/cria-tmp-0123456789abcdef")); /* a dry run */
    char work[700];
    snprintf(work, sizeof work, "%s/.cria/create-abc", r.root);
    const int work_fd = open(work, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(work_fd, LOCK_EX), 0); /* a create that lives */
    assert_int_equal(store_collect(r.s, 3600, true, &gc, &r.e), 0);
    assert_int_equal(gc.n_partial, 2);
    close(work_fd);
    assert_int_equal(store_collect(r.s, 3600, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_partial, 3);
    assert_false(shop_there(&r, ".cria/create-abc"));
    assert_false(shop_there(&r, "blobs/cria-tmp-0123456789abcdef"));
    assert_true(shop_there(&r, "blobs/sha256-" HEX "-partial"));
    assert_false(shop_there(&r, ".cria/leases/999999-0123456789abcdef"));
    /* A download that somebody holds stays. */
    struct digest d;
    int fd;
    digest_parse(STR("sha256:" HEX), &d, &r.e);
    assert_int_equal(store_lock_download(r.s, &d, NULL, &fd, &r.e), 0);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 1);
    assert_int_equal(gc.n_partial, 0);
    store_unlock_download(fd);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_partial, 2);
    assert_int_equal(gc.n_bytes, 6);
    assert_true(shop_there(&r, "blobs/README"));
    assert_true(shop_there(&r, "blobs/sha256-" HEX_UPPER));
    shop_check(&r, 1);
    shop_close(&r);
}

/* A lease of a living process keeps its blobs, also from another one; a dead one's does not. */
static void leases(void **state) {
    (void)state;
    struct shop r;
    struct store_gc gc;
    struct digest d;
    int ready[2], status;
    char byte;
    shop_open(&r);
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct err e;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        struct lease *l = store_lease(r.s, &e);
        if (!l || store_write_blob(l, "leased", 6, NULL, &e) != 0) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    digest_of("leased", 6, &d, &r.e);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 0);
    assert_true(store_has_blob(r.s, &d, 6));
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 1);
    assert_false(store_has_blob(r.s, &d, 6));
    assert_int_equal(shop_count(&r, ".cria/leases"), 0);
    /* Named before it is there. */
    struct lease *l = store_lease(r.s, &r.e);
    assert_int_equal(store_lease_add(l, &d, &r.e), 0);
    shop_blob(&r, "leased");
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_true(store_has_blob(r.s, &d, 6));
    store_lease_end(l);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 1);
    store_lease_end(NULL);
    shop_close(&r);
}

static void writers(void **state) {
    (void)state;
    struct shop r;
    struct digest want, got;
    shop_open(&r);
    struct lease *l = store_lease(r.s, &r.e);
    digest_of("abcdef", 6, &want, &r.e);
    /* Other bytes than expected: the name never exists, nothing is left. */
    struct blob_writer *w = blob_writer_new(l, &want, 6, &r.e);
    assert_int_equal(blob_writer_add(w, "abcdeX", 6, &r.e), 0);
    assert_int_equal(blob_writer_finish(w, &got, &r.e), -1);
    assert_int_equal(r.e.code, ERR_FORMAT);
    assert_non_null(strstr(r.e.msg, "digest mismatch"));
    assert_int_equal(shop_count(&r, "blobs"), 0);
    w = blob_writer_new(l, NULL, 0, &r.e);
    assert_int_equal(blob_writer_add(w, "abc", 3, &r.e), 0);
    assert_int_equal(shop_count(&r, "blobs"), 1);
    struct store_gc gc;
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0); /* it is being written */
    assert_int_equal(gc.n_partial, 0);
    blob_writer_abort(w);
    assert_int_equal(shop_count(&r, "blobs"), 0);
    w = blob_writer_new(l, &want, 6, &r.e);
    assert_int_equal(blob_writer_add(w, "abc", 3, &r.e), 0);
    assert_int_equal(blob_writer_add(w, "def", 3, &r.e), 0);
    assert_int_equal(blob_writer_finish(w, &got, &r.e), 0);
    assert_true(digest_eq(&want, &got));
    assert_true(store_has_blob(r.s, &want, 6));
    assert_false(store_has_blob(r.s, &want, 7));
    struct buf b = {0};
    assert_int_equal(store_read_blob(r.s, &want, 6, &b, &r.e), 0);
    assert_string_equal(b.p, "abcdef");
    buf_reset(&b);
    assert_int_equal(store_read_blob(r.s, &want, 5, &b, &r.e), -1);
    assert_int_equal(r.e.code, ERR_LIMIT);
    buf_fini(&b);
    /* Room is asked for first. */
    assert_null(blob_writer_new(l, NULL, (uint64_t)1 << 60, &r.e));
    assert_int_equal(r.e.code, ERR_LIMIT);
    assert_non_null(strstr(r.e.msg, "needs"));
    assert_int_equal(shop_count(&r, "blobs"), 1);
    store_lease_end(l);
    shop_close(&r);
}

static int stop_at_once(void *ctx, uint64_t done, uint64_t all) {
    (void)ctx, (void)done, (void)all;
    return 1;
}

static void user_files(void **state) {
    (void)state;
    struct shop r;
    struct digest d, want;
    uint64_t n;
    char path[700], there[STORE_PATH];
    shop_open(&r);
    char *big = calloc(1, 3000000);
    for (size_t i = 0; i < 3000000; i++)
        big[i] = (char)(i * 2654435761u >> 24);
    snprintf(path, sizeof path, "%s/user.bin", r.dir);
    assert_int_equal(os_write_file(path, big, 3000000, &r.e), 0);
    digest_of(big, 3000000, &want, &r.e);
    struct lease *l = store_lease(r.s, &r.e);
    assert_int_equal(store_add_file(l, path, STORE_COPY, &d, &n, stop_at_once, NULL, &r.e), -1);
    assert_int_equal(r.e.code, ERR_CANCELLED);
    assert_int_equal(shop_count(&r, "blobs"), 0);
    assert_int_equal(store_add_file(l, path, STORE_COPY, &d, &n, NULL, NULL, &r.e), 0);
    assert_true(digest_eq(&d, &want));
    assert_int_equal(n, 3000000);
    assert_int_equal(store_discard_blob(r.s, &d, &r.e), 0);
    assert_false(store_has_blob(r.s, &d, n));
    /* A link: used as long as the file is what it was. */
    assert_int_equal(store_add_file(l, path, STORE_LINK, &d, &n, NULL, NULL, &r.e), 0);
    assert_true(digest_eq(&d, &want));
    assert_int_equal(store_blob(r.s, &d, there, &n, &r.e), 0);
    assert_string_equal(there + strlen(there) - 9, "/user.bin");
    assert_int_equal(shop_count(&r, "blobs"), 0);
    struct timespec later[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    utimensat(AT_FDCWD, path, later, 0);
    assert_int_equal(store_blob(r.s, &d, there, &n, &r.e), -1);
    assert_int_equal(r.e.code, ERR_FORMAT);
    assert_false(store_has_blob(r.s, &d, 3000000));
    unlink(path);
    assert_int_equal(store_blob(r.s, &d, there, &n, &r.e), -1);
    assert_int_equal(r.e.code, ERR_NOT_FOUND);
    /* A file of ours moves. */
    assert_int_equal(os_write_file(path, big, 3000000, &r.e), 0);
    assert_int_equal(store_add_file(l, path, STORE_MOVE, &d, &n, NULL, NULL, &r.e), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(store_has_blob(r.s, &d, 3000000));
    /* SECURITY.md F18: not what files are. */
    mkfifo(path, 0600);
    for (int how = STORE_COPY; how <= STORE_MOVE; how++) {
        assert_int_equal(store_add_file(l, path, how, &d, &n, NULL, NULL, &r.e), -1);
        assert_int_equal(store_add_file(l, r.dir, how, &d, &n, NULL, NULL, &r.e), -1);
        assert_int_equal(store_add_file(l, "/dev/zero", how, &d, &n, NULL, NULL, &r.e), -1);
    }
    unlink(path);
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (ftruncate(fd, (off_t)10 << 40) == 0) { /* 10 TB that are not there */
        assert_int_equal(store_add_file(l, path, STORE_COPY, &d, &n, stop_at_once, NULL, &r.e), -1);
        assert_true(r.e.code == ERR_LIMIT || r.e.code == ERR_CANCELLED);
    }
    close(fd);
    assert_int_equal(shop_count(&r, "blobs"), 1);
    free(big);
    store_lease_end(l);
    shop_close(&r);
}

/* A model on a file of the user's: collected and removed without touching the file. */
static void linked_model(void **state) {
    (void)state;
    struct shop r;
    struct store_gc gc;
    struct digest d;
    struct name n;
    struct buf b = {0};
    char path[700], note[120];
    shop_open(&r);
    shop_put(&r, "other", "other");
    snprintf(path, sizeof path, "%s/user.bin", r.dir);
    assert_int_equal(os_write_file(path, "weights", 7, &r.e), 0);
    struct lease *l = store_lease(r.s, &r.e);
    assert_int_equal(store_add_file(l, path, STORE_LINK, &d, NULL, NULL, NULL, &r.e), 0);
    snprintf(note, sizeof note, ".cria/links/sha256-%s", d.hex);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_true(shop_there(&r, note)); /* leased */
    shop_manifest(&r, "weights", &b);
    name_parse("linked", &n, &r.e);
    assert_int_equal(store_put(r.s, &n, buf_view(&b), &r.e), 0);
    store_lease_end(l);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 0);
    shop_check(&r, 2);
    assert_int_equal(shop_remove(&r, "linked"), 0);
    assert_false(shop_there(&r, note));
    assert_int_equal(access(path, F_OK), 0);
    /* A note that leads to what is no regular file, or that is none. */
    shop_file(&r, note, "{\"path\":\"/dev/zero\",\"size\":7,\"mtime_ns\":0}");
    assert_false(store_has_blob(r.s, &d, 7));
    shop_file(&r, note, "{\"path\":\"../x\",\"size\":7,\"mtime_ns\":0}");
    assert_false(store_has_blob(r.s, &d, 7));
    shop_file(&r, note, "");
    assert_false(store_has_blob(r.s, &d, 7));
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_false(shop_there(&r, note));
    buf_fini(&b);
    shop_close(&r);
}

static void partial_files(void **state) {
    (void)state;
    struct shop r;
    struct digest d, other;
    char path[STORE_PATH];
    shop_open(&r);
    digest_of("abc", 3, &d, &r.e);
    digest_of("abd", 3, &other, &r.e);
    struct lease *l = store_lease(r.s, &r.e);
    for (int good = 0; good < 2; good++) {
        for (int part = -1; part < 3; part++) {
            store_partial_path(r.s, &d, part, path);
            assert_int_equal(os_write_file(path, "abc", 3, &r.e), 0);
        }
        assert_int_equal(store_finish_partial(l, &d, good ? &d : &other, &r.e), good ? 0 : -1);
        if (!good) assert_int_equal(r.e.code, ERR_FORMAT);
        assert_int_equal(shop_count(&r, "blobs"), good);
    }
    assert_true(store_has_blob(r.s, &d, 3));
    assert_non_null(strstr(path, "-partial-2"));
    /* One download at a time. */
    int first, second;
    const int stop = 1;
    assert_int_equal(store_lock_download(r.s, &d, NULL, &first, &r.e), 0);
    assert_int_equal(store_lock_download(r.s, &d, &stop, &second, &r.e), -1);
    assert_int_equal(r.e.code, ERR_CANCELLED);
    assert_int_equal(store_lock_download(r.s, &other, &stop, &second, &r.e), 0);
    store_unlock_download(second);
    store_unlock_download(first);
    assert_int_equal(store_lock_download(r.s, &d, &stop, &first, &r.e), 0);
    store_unlock_download(first);
    store_lease_end(l);
    shop_close(&r);
}

/* Links in the store lead nowhere: nothing outside is read, removed or written. */
static void planted_links(void **state) {
    (void)state;
    struct shop r;
    struct digest d;
    struct store_gc gc;
    struct manifest m;
    struct name n;
    char outside[700], link[700];
    shop_open(&r);
    shop_put(&r, "a", "kept");
    snprintf(outside, sizeof outside, "%s/outside", r.dir);
    mkdir(outside, 0700);
    shop_file(&r, "../outside/latest", "secret");
    digest_of("secret", 6, &d, &r.e);
    snprintf(link, sizeof link, "%s/blobs/sha256-%s", r.root, d.hex);
    assert_int_equal(symlink("../../outside/latest", link), 0);
    assert_false(store_has_blob(r.s, &d, 6));
    struct buf b = {0};
    assert_int_equal(store_read_blob(r.s, &d, 100, &b, &r.e), -1);
    buf_fini(&b);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 1); /* the link */
    assert_true(shop_there(&r, "../outside/latest"));
    /* Written over, not through. */
    assert_int_equal(symlink("../../outside/latest", link), 0);
    shop_blob(&r, "secret");
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    /* A folder of manifests that leads out: no models there, no removal there, no collection. */
    snprintf(link, sizeof link, "%s/manifests/registry.ollama.ai/library/evil", r.root);
    assert_int_equal(symlink(outside, link), 0);
    name_parse("evil", &n, &r.e);
    assert_int_equal(store_get(r.s, &n, NULL, &m, &r.e), -1), manifest_fini(&m);
    assert_int_equal(store_remove(r.s, &n, &r.e), -1);
    struct buf bytes = {0};
    shop_manifest(&r, "kept", &bytes);
    assert_int_equal(store_put(r.s, &n, buf_view(&bytes), &r.e), -1);
    buf_fini(&bytes);
    size_t n_secret;
    char path[800];
    snprintf(path, sizeof path, "%s/latest", outside);
    char *secret = (char *)slurp(path, &n_secret);
    assert_int_equal(n_secret, 6);
    free(secret);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_true(gc.kept_all);
    shop_close(&r);
}

/* A root, and folders in it, that the user keeps on another disk. */
static void users_links(void **state) {
    (void)state;
    struct shop r;
    char path[700], to[700];
    shop_open(&r);
    snprintf(to, sizeof to, "%s/disk", r.dir);
    mkdir(to, 0700);
    snprintf(to, sizeof to, "%s/disk/b", r.dir), mkdir(to, 0700);
    mkdir(r.root, 0700);
    snprintf(path, sizeof path, "%s/blobs", r.root);
    assert_int_equal(symlink("../disk/b", path), 0);
    snprintf(to, sizeof to, "%s/disk/m", r.dir), mkdir(to, 0700);
    snprintf(path, sizeof path, "%s/manifests", r.root);
    assert_int_equal(symlink(to, path), 0);
    snprintf(path, sizeof path, "%s/link", r.dir);
    assert_int_equal(symlink(r.root, path), 0);
    store_close(r.s);
    r.s = store_open(path, &r.e);
    shop_put(&r, "a", "weights");
    shop_check(&r, 1);
    assert_true(shop_there(&r, "../disk/m/registry.ollama.ai/library/a/latest"));
    assert_int_equal(shop_remove(&r, "a"), 0);
    assert_int_equal(shop_count(&r, "blobs"), 0);
    shop_close(&r);
}

struct findings {
    int n;
    char last[200];
};

static void on_finding(void *ctx, const char *model, const struct digest *d, const char *what) {
    struct findings *f = ctx;
    f->n++;
    snprintf(f->last, sizeof f->last, "%s %.8s %s", model ? model : "-", d ? d->hex : "-", what);
}

static void verification(void **state) {
    (void)state;
    struct shop r;
    struct store_check c;
    struct findings f = {0};
    struct name n, a;
    char path[700];
    struct digest d;
    shop_open(&r);
    shop_put(&r, "a", "weights");
    name_parse("a", &a, &r.e), name_parse("b", &n, &r.e);
    assert_int_equal(store_copy(r.s, &a, &n, &r.e), 0);
    assert_int_equal(store_verify(r.s, NULL, &c, on_finding, NULL, &f, &r.e), 0);
    assert_int_equal(f.n, 0);
    assert_int_equal(c.n_models, 2);
    assert_int_equal(c.n_blobs, 2); /* shared ones are read once */
    digest_of("weights", 7, &d, &r.e);
    snprintf(path, sizeof path, "%s/blobs/sha256-%s", r.root, d.hex);
    assert_int_equal(chmod(path, 0644), 0);
    const int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "W", 1, 0), 1);
    close(fd);
    assert_int_equal(store_verify(r.s, NULL, &c, on_finding, NULL, &f, &r.e), 0);
    assert_int_equal(c.n_wrong, 1);
    assert_int_equal(f.n, 2); /* said of both models */
    assert_non_null(strstr(f.last, "other bytes"));
    assert_int_equal(store_discard_blob(r.s, &d, &r.e), 0);
    f = (struct findings){0};
    assert_int_equal(store_verify(r.s, &n, &c, on_finding, NULL, &f, &r.e), 0);
    assert_int_equal(c.n_missing, 1);
    assert_int_equal(f.n, 1);
    assert_non_null(strstr(f.last, "b:latest"));
    shop_blob(&r, "weights");
    shop_check(&r, 2);
    /* Bytes under a name that no model uses, yet. */
    shop_file(&r, "blobs/sha256-" HEX, "not these");
    assert_int_equal(store_verify(r.s, NULL, &c, on_finding, NULL, &f, &r.e), 0);
    assert_int_equal(c.n_wrong, 1);
    shop_close(&r);
}

/* Many models: listed in order, collected, within a bound of time. */
static void many_models(void **state) {
    (void)state;
    enum { N = 3000 };
    struct shop r;
    struct store_entry *list;
    struct store_gc gc;
    struct buf b = {0};
    int n;
    shop_open(&r);
    shop_put(&r, "m", "w");
    shop_manifest(&r, "w", &b);
    for (int i = 0; i < N; i++) {
        char rel[200];
        snprintf(rel, sizeof rel, "manifests/h.example/ns%d/m%d/t", i % 50, i);
        shop_file(&r, rel, b.p);
    }
    const int64_t t0 = os_now_ns();
    assert_int_equal(store_list(r.s, NULL, &list, &n, &r.e), 0);
    assert_int_equal(n, N + 1);
    for (int i = 1; i < n; i++)
        assert_true(list[i - 1].modified_s >= list[i].modified_s);
    free(list);
    assert_int_equal(store_list(r.s, "H.example/ns7/", &list, &n, &r.e), 0);
    assert_int_equal(n, N / 50);
    free(list);
    assert_int_equal(store_collect(r.s, 0, false, &gc, &r.e), 0);
    assert_int_equal(gc.n_blobs, 0);
    if (os_now_ns() - t0 > 10000000000) fail_msg("%d models take too long", N);
    buf_fini(&b);
    shop_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_get),          cmocka_unit_test(not_there),
        cmocka_unit_test(put_needs_blobs),  cmocka_unit_test(removal_keeps_shared),
        cmocka_unit_test(damaged_manifest), cmocka_unit_test(collection),
        cmocka_unit_test(leases),           cmocka_unit_test(writers),
        cmocka_unit_test(user_files),       cmocka_unit_test(partial_files),
        cmocka_unit_test(linked_model),     cmocka_unit_test(planted_links),
        cmocka_unit_test(users_links),      cmocka_unit_test(verification),
        cmocka_unit_test(many_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
