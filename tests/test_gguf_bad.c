/* Bad model files (SECURITY.md F1-F12, F17, F18), inside this process: many files, all cut lengths,
 * flipped bits.  The same files through the program's commands: test_cli_bad.c. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "badgguf.h"
#include "base/os.h"
#include "gguf/read.h"
#include "seedgguf.h"

static char *dir;
static char seeds[2][600]; /* SPM, BPE */

/* Open bytes in a block that ends where they end, so that ASan sees a read beyond. */
struct block {
    void *p;
    struct gguf *g;
};

static struct gguf *block_open(struct block *b, const void *bytes, size_t n, struct err *e) {
    assert_int_equal(posix_memalign(&b->p, 64, n), 0);
    memcpy(b->p, bytes, n);
    b->g = gguf_open_bytes("bad.gguf", b->p, n, e);
    return b->g;
}

static void block_close(struct block *b) {
    gguf_close(b->g);
    free(b->p);
}

/* Touch whatever an open file offers: under ASan this finds what points outside. */
static uint64_t walk(const struct gguf *g) {
    uint64_t sum = 0;
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        uint64_t cursor = 0;
        sum += kv->key.n ? (uint8_t)kv->key.p[kv->key.n - 1] : 0;
        for (uint64_t k = 0; kv->elem_type == GGUF_STR && k < kv->n; k++) {
            const struct str z = gguf_next_str(kv, &cursor);
            sum += z.n ? (uint8_t)z.p[z.n - 1] : 0;
        }
        if (kv->n_bytes) sum += kv->data[kv->n_bytes - 1];
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_ptr_equal(gguf_tensor(g, t->name), t);
        sum += t->data[0] + t->data[t->n_bytes - 1];
    }
    return sum;
}

/* ---- Cases of the generator -------------------------------------------------------------------
 */

static void check_case(void *ctx, const struct bad_case *c) {
    struct err e = {0};
    struct block b;
    (void)ctx;
    if (block_open(&b, c->bytes, c->n, &e)) {
        walk(b.g);
        if (c->kind == BAD_FILE) fail_msg("%s: %s: was accepted", c->id, c->name);
    } else {
        if (c->kind != BAD_FILE)
            fail_msg("%s: %s: the file is sound, but: %s", c->id, c->name, e.msg);
        if (strncmp(e.msg, "bad.gguf: ", 10) != 0)
            fail_msg("%s: %s: the file is not named: %s", c->id, c->name, e.msg);
        if (c->blame && !strstr(e.msg, c->blame))
            fail_msg("%s: %s: '%s' is not named: %s", c->id, c->name, c->blame, e.msg);
        if (getenv("CRIA_TEST_VERBOSE")) print_message("%-4s %-40s %s\n", c->id, c->name, e.msg);
    }
    block_close(&b);
}

static void bad_structures_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int n = bad_structure_each(seeds[i], check_case, NULL);
        if (n < 240) fail_msg("%d cases; at least 240 expected", n);
    }
}

/* What only the model's loader can tell opens as a file. */
static void bad_models_open(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int n = bad_model_each(seeds[i], check_case, NULL);
        const int v = bad_vocab_each(seeds[i], check_case, NULL);
        if (n < 200 || v < 60) fail_msg("%d and %d cases; at least 200 and 60 expected", n, v);
    }
}

/* ---- Every length, every bit ------------------------------------------------------------------
 */

/* End of the header: where the first tensor's bytes begin. */
static size_t header_bytes(const char *path, const uint8_t *bytes) {
    struct err e = {0};
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    const struct gguf_tensor *t = gguf_tensor_at(g, 0);
    size_t n = 0;
    size_t n_file = (size_t)gguf_file_bytes(g);
    while (n < n_file && memcmp(bytes + n, t->data, t->n_bytes) != 0)
        n += 32;
    gguf_close(g);
    return n;
}

static void every_cut_is_refused(void **state) {
    (void)state;
    size_t n;
    uint8_t *bytes = slurp(seeds[0], &n);
    const size_t n_header = header_bytes(seeds[0], bytes);
    for (size_t cut = 0; cut < n; cut += cut < n_header ? 1 : 64) {
        struct err e = {0};
        struct block b;
        if (block_open(&b, bytes, cut, &e)) fail_msg("cut at %zu of %zu: was accepted", cut, n);
        if (strncmp(e.msg, "bad.gguf: ", 10) != 0) fail_msg("cut at %zu: %s", cut, e.msg);
        block_close(&b);
    }
    free(bytes);
}

static void flipped_bits_do_no_harm(void **state) {
    (void)state;
    size_t n, n_refused = 0;
    uint8_t *bytes = slurp(seeds[1], &n);
    const size_t n_header = header_bytes(seeds[1], bytes);
    for (size_t i = 0; i < n_header * 8; i++) {
        struct err e = {0};
        struct gguf *g;
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        g = gguf_open_bytes("bad.gguf", bytes, n, &e);
        if (g)
            walk(g);
        else
            n_refused++;
        gguf_close(g);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    /* Most flips hit texts, scores and types of tokens; those in lengths and offsets must show. */
    if (n_refused < 1000) fail_msg("only %zu of %zu flips were refused", n_refused, n_header * 8);
    free(bytes);
}

/* ---- Splits -----------------------------------------------------------------------------------
 */

static void splits_open(void **state) {
    (void)state;
    char first[700], *folder = temp_folder();
    struct err e = {0};
    struct gguf *whole = gguf_open(seeds[0], &e);
    bad_split_write(seeds[0], folder, 3, SPLIT_GOOD, first, sizeof first);
    for (int named = 1; named <= 3; named++) { /* any of them may be named */
        first[strlen(first) - strlen("1-of-00003.gguf")] = (char)('0' + named);
        struct gguf *g = gguf_open(first, &e);
        if (!g) fail_msg("%s", e.msg);
        assert_int_equal(gguf_n_split(g), 3);
        assert_int_equal(gguf_n_tensor(g), gguf_n_tensor(whole));
        assert_int_equal(gguf_n_kv(g), gguf_n_kv(whole) + 3);
        for (int i = 0; i < gguf_n_tensor(g); i++) {
            const struct gguf_tensor *a = gguf_tensor_at(whole, i), *b = gguf_tensor_at(g, i);
            assert_string_equal(a->name, b->name);
            assert_int_equal(a->n_bytes, b->n_bytes);
            assert_memory_equal(a->data, b->data, a->n_bytes);
            assert_int_equal(b->split, i / 6 < 2 ? i / 6 : 2);
        }
        walk(g);
        gguf_close(g);
    }
    gguf_close(whole);
    temp_remove(folder);
}

static void bad_splits_are_refused(void **state) {
    (void)state;
    static const char *const blame[SPLIT_ODD_COUNT] = {
        [SPLIT_MISSING] = "00003-of-00003",
        [SPLIT_COUNT] = "00002-of-00003",
        [SPLIT_NO_TWICE] = "00002-of-00003",
        [SPLIT_NO_RANGE] = "split.no",
        [SPLIT_NO_ABSENT] = "split.no",
        [SPLIT_TOTAL] = "split.tensors.count",
        [SPLIT_TOTAL_DIFFERS] = "00002-of",
        [SPLIT_OTHER_MODEL] = "general.architecture",
        [SPLIT_SAME_TENSOR] = "token_embd",
        [SPLIT_NAME] = "must end in",
        [SPLIT_TYPE] = "split.count",
        [SPLIT_MANY] = "at most 999",
        [SPLIT_MOST] = "must end in -00001-of-00999.gguf",
    };
    for (int odd = SPLIT_GOOD + 1; odd < SPLIT_ODD_COUNT; odd++) {
        char first[700], *folder = temp_folder();
        struct err e = {0};
        bad_split_write(seeds[0], folder, 3, (enum split_odd)odd, first, sizeof first);
        struct gguf *g = gguf_open(first, &e);
        if (g) fail_msg("split case %d was accepted", odd);
        if (!strstr(e.msg, blame[odd])) fail_msg("split case %d: %s", odd, e.msg);
        assert_int_equal(e.code, odd == SPLIT_MISSING ? ERR_NOT_FOUND : ERR_FORMAT);
        temp_remove(folder);
    }
}

/* ---- What is no regular file ------------------------------------------------------------------
 */

static void expect_refused(const char *path, enum err_code code, const char *what) {
    struct err e = {0};
    const int64_t t0 = os_now_ns();
    struct gguf *g = gguf_open(path, &e);
    if (g) fail_msg("%s was accepted", path);
    if (os_now_ns() - t0 > 1000000000) fail_msg("%s: took longer than a second", path);
    if (!strstr(e.msg, path) || !strstr(e.msg, what)) fail_msg("%s: %s", path, e.msg);
    assert_int_equal(e.code, code);
}

static void odd_files_are_refused(void **state) {
    (void)state;
    char path[700];
    expect_refused(dir, ERR_FORMAT, "directory");
    expect_refused("/dev/zero", ERR_FORMAT, "regular file");
    expect_refused("/dev/null", ERR_FORMAT, "regular file");
    snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(path, ERR_FORMAT, "regular file");
    snprintf(path, sizeof path, "%s/link", dir);
    assert_int_equal(symlink(path, path), 0);
    expect_refused(path, ERR_IO, "symbolic links");
    snprintf(path, sizeof path, "%s/none", dir);
    expect_refused(path, ERR_NOT_FOUND, "No such file");

    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", dir);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    expect_refused(a.sun_path, ERR_FORMAT, "regular file");
    close(fd);

    /* 10 TB that take no room: all zeros, then a good model with that much behind it. */
    snprintf(path, sizeof path, "%s/sparse", dir);
    const int zeros = open(path, O_RDWR | O_CREAT, 0600);
    if (ftruncate(zeros, (off_t)10 << 40) == 0) expect_refused(path, ERR_FORMAT, "not a GGUF file");
    size_t n;
    uint8_t *bytes = slurp(seeds[0], &n);
    assert_int_equal(pwrite(zeros, bytes, n, 0), (ssize_t)n);
    expect_refused(path, ERR_FORMAT, "follow the last tensor");
    close(zeros);
    free(bytes);
}

static int setup(void **state) {
    (void)state;
    dir = temp_folder();
    for (int i = 0; i < 2; i++) {
        snprintf(seeds[i], sizeof seeds[i], "%s/seed%d.gguf", dir, i);
        seed_gguf_write(seeds[i], (enum seed_vocab)i);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_structures_are_refused),
        cmocka_unit_test(bad_models_open),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(splits_open),
        cmocka_unit_test(bad_splits_are_refused),
        cmocka_unit_test(odd_files_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
