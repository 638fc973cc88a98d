/* Models as files: there and back through the commands, `tar` itself on the other side, and
 * archives that lie (SECURITY.md R10). */
#include "store_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/tar.h"

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

static struct shop shop;

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

static const char *at(const char *name) {
    static char ring[8][700];
    static unsigned i;
    char *b = ring[i++ & 7];
    snprintf(b, sizeof ring[0], "%s/%s", shop.dir, name);
    return b;
}

static void id_of(const char *name, struct digest *id) {
    struct name n;
    struct manifest m;
    assert_int_equal(name_parse(name, &n, &shop.e), 0);
    if (store_get(shop.s, &n, NULL, &m, &shop.e) != 0) fail_msg("%s", shop.e.msg);
    *id = m.id;
    manifest_fini(&m);
}

static void well(struct ran *r, int code) {
    if (code != 0) fail_msg("exit code %d: %s", code, r->err.p);
    ran_fini(r);
}

static void sh(const char *what, const char *a, const char *b) {
    char line[3000];
    snprintf(line, sizeof line, "cd %s && A=%s B=%s && %s", shop.dir, a, b, what);
    if (system(line) != 0) fail_msg("%s", line);
}

static void remove_both(void) {
    assert_int_equal(shop_remove(&shop, "one"), 0);
    assert_int_equal(shop_remove(&shop, "two:v2"), 0);
    assert_int_equal(shop_count(&shop, "blobs"), 0);
}

/* To `to` and back from `from` (a form that `between` made of it). */
static void round_trip(const char *to, const char *between, const char *from) {
    struct ran r;
    struct digest before[2], after[2];
    shop_put(&shop, "one", "the layer of one");
    shop_put(&shop, "two:v2", "the layer of two");
    id_of("one", &before[0]), id_of("two:v2", &before[1]);
    well(&r, RUN(r, "save", "one", "two:v2", "-o", to));
    remove_both();
    sh(between, to, from);
    assert_int_equal(RUN(r, "load", from), 0);
    assert_non_null(strstr(r.out.p, "loaded 'one:latest'\nloaded 'two:v2'\n"));
    ran_fini(&r);
    id_of("one", &after[0]), id_of("two:v2", &after[1]);
    assert_true(digest_eq(&before[0], &after[0]) && digest_eq(&before[1], &after[1]));
    shop_check(&shop, 2);
    assert_int_equal(shop_count(&shop, "blobs"), 3); /* two layers, one config: no manifests */
    remove_both();
}

static void there_and_back(void **state) {
    (void)state;
    round_trip(at("a.tar"), "true", at("a.tar"));
    round_trip(at("folder/"), "true", at("folder"));
    /* The system's tar reads ours, and we read what it makes: three formats, "./" before names. */
    round_trip(at("b.tar"), "mkdir x && tar -C x -xf $A && cmp x/oci-layout folder/oci-layout",
               at("x"));
    round_trip(at("c.tar"), "mkdir y && tar -C y -xf $A && tar --format=gnu -C y -cf $B .",
               at("d.tar"));
    round_trip(at("e.tar"), "mkdir z && tar -C z -xf $A && tar --format=pax -C z -cf $B .",
               at("f.tar"));
    round_trip(at("g/"), "tar --format=ustar -C g -cf $B blobs index.json oci-layout", at("h.tar"));
}

static void through_pipes(void **state) {
    (void)state;
    struct ran r, back;
    shop_put(&shop, "one", "the layer of one");
    assert_int_equal(RUN(r, "save", "one", "-o", "-"), 0);
    assert_int_equal(shop_remove(&shop, "one"), 0);
    const char *const args[] = {"load", "-", "--as", "another:name", NULL};
    assert_int_equal(run_cria(&back, args, r.out.p, r.out.n, 60), 0);
    assert_string_equal(back.out.p, "loaded 'another:name'\n");
    ran_fini(&r), ran_fini(&back);
    assert_int_equal(shop_remove(&shop, "another:name"), 0);
}

/* tar fills its last record with zeros, and ends badly when nobody reads them. */
static void a_writer_that_goes_on(void **state) {
    (void)state;
    struct ran r;
    shop_put(&shop, "one", "the layer of one");
    well(&r, RUN(r, "save", "one", "-o", at("p.tar")));
    char line[2000];
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    snprintf(line, sizeof line,
             "bash -c 'set -o pipefail; { cat %s; head -c 2000000 /dev/zero; } | %s load - >%s'",
             at("p.tar"), cria, at("loaded"));
    assert_int_equal(system(line), 0);
    assert_int_equal(shop_remove(&shop, "one"), 0);
}

/* ---- archives that lie ---- */

/* A folder whose parts are links to what is outside of it. */
static void links_in_a_folder(void **state) {
    (void)state;
    struct ran r;
    static const char *const parts[][2] = {{"index.json", "symbolic link"},
                                           {"blobs", "no folder"},
                                           {"blobs/sha256", "no folder"},
                                           {"blobs/sha256/*", "symbolic link"}};
    shop_put(&shop, "one", "the layer of one");
    well(&r, RUN(r, "save", "one", "-o", at("l/")));
    assert_int_equal(shop_remove(&shop, "one"), 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        sh("rm -rf out l2 && mkdir out && cp -r l l2 && for f in l2/$A; do mv $f out/ && "
           "ln -s $PWD/out/${f##*/} $f; done",
           parts[i][0], "x");
        const int code = RUN(r, "load", at("l2"));
        if (code != 1 || !strstr(r.err.p, parts[i][1]))
            fail_msg("%s: code %d: %s", parts[i][0], code, r.err.p);
        ran_fini(&r);
        assert_int_equal(shop_count(&shop, "blobs"), 0);
    }
    /* The folder itself is the user's choice. */
    sh("ln -s l l3", "x", "x");
    well(&r, RUN(r, "load", at("l3")));
    assert_int_equal(shop_remove(&shop, "one"), 0);
}

/* Two models, the second broken: there is none, and what was there stays as it was. */
static void all_or_none(void **state) {
    (void)state;
    struct ran r;
    struct digest old, layer, now;
    struct store_gc gone;
    char file[200];
    static const char text[] = "the layer of two";
    digest_of(text, strlen(text), &layer, NULL);
    snprintf(file, sizeof file, "n/blobs/sha256/%s", layer.hex);
    shop_put(&shop, "one", "the layer of one");
    shop_put(&shop, "two:v2", text);
    well(&r, RUN(r, "save", "one", "two:v2", "-o", at("n/")));
    assert_int_equal(shop_remove(&shop, "two:v2"), 0);
    shop_put(&shop, "one", "an older layer");
    id_of("one", &old);
    assert_int_equal(store_collect(shop.s, 0, false, &gone, &shop.e), 0);
    const int before = shop_count(&shop, "blobs");
    static const char *const breaks[] = {"rm $A", "printf 'the layer of twi' >$A"};
    for (int way = 0; way < 4; way++) {
        sh(breaks[way / 2], file, "x");
        sh("tar -C n -cf n.tar .", "x", "x");
        const int code = RUN(r, "load", way % 2 ? at("n.tar") : at("n"));
        if (code == 0 || code > 5) fail_msg("way %d: code %d", way, code);
        assert_int_equal(r.out.n, 0); /* none was loaded */
        ran_fini(&r);
        id_of("one", &now);
        assert_true(digest_eq(&old, &now));
        shop_check(&shop, 1);
        assert_int_equal(shop_count(&shop, "blobs"), before);
        sh("touch $A", file, "x");
    }
    assert_int_equal(shop_remove(&shop, "one"), 0);
}

static struct buf tar; /* being made */

static void member(const char *name, char type, const char *link, const void *bytes, size_t n) {
    char h[512];
    unsigned sum = 0;
    static const char zeros[512];
    tar_header(name, n, h);
    h[156] = type;
    snprintf(h + 157, 100, "%s", link);
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    buf_append(&tar, h, sizeof h);
    buf_append(&tar, bytes, n);
    buf_append(&tar, zeros, tar_padding(n));
}

static void text_member(const char *name, const char *text) {
    member(name, '0', "", text, strlen(text));
}

/* The archive so far is refused with a word of this; the store and what is around it are as before.
 */
static void refused(const char *name, const char *said) {
    struct ran r;
    static const char end[1024];
    buf_append(&tar, end, sizeof end);
    const char *const args[] = {"load", "-", NULL};
    const int code = run_cria(&r, args, tar.p, tar.n, 30);
    if (code == 0 || code > 5) fail_msg("%s: exit code %d", name, code);
    if (!strstr(r.err.p, said)) fail_msg("%s: \"%s\" does not say \"%s\"", name, r.err.p, said);
    assert_int_equal(shop_count(&shop, "blobs"), 0);
    shop_check(&shop, 0);
    assert_int_equal(access(at("escaped"), F_OK), -1);
    if (r.seconds > 10 || (!SANITIZED && r.peak_rss_bytes > (size_t)64 << 20))
        fail_msg("%s: %.1f s, %zu bytes", name, r.seconds, r.peak_rss_bytes);
    ran_fini(&r);
    buf_fini(&tar);
    tar = (struct buf){0};
}

static void members_that_climb(void **state) {
    (void)state;
    static const char *const names[] = {"../escaped", "/tmp/escaped", "blobs/../../escaped",
                                        "./../escaped", ".."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        text_member(names[i], "x");
        refused(names[i], "climbs");
    }
    member("x", '2', "/etc/passwd", "", 0);
    refused("symbolic link", "link");
    member("x", '1', "../../etc/passwd", "", 0);
    refused("hard link", "link");
    member("x", '3', "", "", 0);
    refused("device", "device");
    member("x", '6', "", "", 0);
    refused("fifo", "device");
    member("x", 'x', "", "27 path=../../../escaped00\n", 27);
    text_member("y", "x");
    refused("pax path", "");
    member("x", 'L', "", "../../escaped", 13);
    text_member("y", "x");
    refused("GNU name", "");
    member("x", 'x', "", "9999999999 path=x\n", 18);
    refused("pax length", "refused");
}

#define EMPTY "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" /* of "{}" */

static void contents_that_lie(void **state) {
    (void)state;
    refused("nothing", "index.json");
    text_member("index.json", "{}");
    refused("no models", "0 models");
    text_member("index.json", "{}");
    text_member("index.json", "{}");
    refused("two indices", "twice");
    char *big = calloc(1, (4 << 20) + 1);
    member("index.json", '0', "", big, (4 << 20) + 1);
    free(big);
    refused("a large index", "index.json has");
    text_member("index.json", "[");
    refused("no JSON", "");
    text_member("blobs/sha256/" EMPTY, "{x");
    refused("other bytes", "digest mismatch");
    text_member("blobs/sha256/" EMPTY, "{}");
    text_member("index.json", "{\"manifests\":[{\"digest\":\"sha256:" EMPTY "\",\"size\":2}]}");
    refused("no name", "--as");
    text_member("blobs/sha256/" EMPTY, "{}");
    text_member("index.json",
                "{\"manifests\":[{\"digest\":\"sha256:" EMPTY "\",\"size\":2,\"annotations\":"
                "{\"org.opencontainers.image.ref.name\":\"../../x\"}}]}");
    refused("a name that climbs", "name");
    text_member("blobs/sha256/" EMPTY, "{}");
    text_member("index.json",
                "{\"manifests\":[{\"digest\":\"sha256:" EMPTY "\",\"size\":2,\"annotations\":"
                "{\"org.opencontainers.image.ref.name\":\"x\"}}]}");
    refused("no manifest", "schemaVersion");
    text_member("index.json", "{\"manifests\":[{\"digest\":\"sha256:../../../x\",\"size\":2}]}");
    refused("no digest", "digest");
    buf_append(&tar,
               "not a tar archive, but long enough to be read as a header of one.................",
               80);
    refused("no tar", "");
    member("blobs/sha256/" EMPTY, '0', "", "", 0);
    tar.p[124] = '7', tar.p[125] = '7'; /* its size, with a wrong sum */
    refused("a broken header", "header");
}

static void truncated(void **state) {
    (void)state;
    struct ran r, back;
    shop_put(&shop, "one", "the layer of one");
    assert_int_equal(RUN(r, "save", "one", "-o", "-"), 0);
    assert_int_equal(shop_remove(&shop, "one"), 0);
    const char *const args[] = {"load", "-", NULL};
    for (size_t n = 0; n + 1024 < r.out.n; n += n < 2048 ? 100 : 512) {
        const int code = run_cria(&back, args, r.out.p, n, 60);
        if (code == 0 || code > 5) fail_msg("%zu bytes: exit code %d", n, code);
        ran_fini(&back);
        assert_int_equal(shop_count(&shop, "blobs"), 0);
    }
    ran_fini(&r);
}

static void a_million_members(void **state) {
    (void)state;
    for (int i = 0; i < TAR_MAX_MEMBERS + 10; i++)
        text_member("x", "");
    refused("many members", "members");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),     cmocka_unit_test(through_pipes),
        cmocka_unit_test(members_that_climb), cmocka_unit_test(contents_that_lie),
        cmocka_unit_test(truncated),          cmocka_unit_test(a_writer_that_goes_on),
        cmocka_unit_test(links_in_a_folder),  cmocka_unit_test(all_or_none),
        cmocka_unit_test(a_million_members),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
