/* Safetensors: what is read, and every way a file or an index can lie (SECURITY.md F15). */
#include "support.h"

#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "gguf/safetensors.h"

static char *dir;

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static const char *in_dir(const char *name) {
    static char ring[4][1200];
    static int at;
    char *b = ring[at++ & 3];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

/* A file of this header and n_data bytes 0, 1, 2...; its length field says n_header. */
static void write_file(const char *name, const char *header, uint64_t n_header, size_t n_data) {
    struct buf b = {0};
    struct err e;
    buf_append(&b, &n_header, 8); /* little-endian machines only, as everywhere in tests */
    buf_str(&b, header);
    for (size_t i = 0; i < n_data; i++)
        buf_byte(&b, (char)i);
    if (os_write_file(in_dir(name), b.p, b.n, &e) != 0) fail_msg("%s", e.msg);
    buf_fini(&b);
}

static void write_plain(const char *name, const char *header, size_t n_data) {
    write_file(name, header, strlen(header), n_data);
}

static void write_text(const char *name, const char *text) {
    struct err e;
    if (os_write_file(in_dir(name), text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
}

static void refused(const char *path, const char *say) {
    struct err e = {0};
    struct safetensors *s = safetensors_open(path, &e);
    if (s) fail_msg("%s was accepted; \"%s\" is expected", path, say);
    if (!strstr(e.msg, say)) fail_msg("\"%s\" does not say \"%s\"", e.msg, say);
}

/* ---- what is read ---- */

#define ONE(name, dtype, shape, lo, hi)                                                            \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #lo "," #hi "]" \
    "}"

static void reads_tensors_and_types(void **state) {
    (void)state;
    struct err e;
    write_plain(
        "m.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\"}," ONE("z", "U8", "[4]", 0, 4) "," ONE(
            "b", "BF16", "[2,3]", 4, 16) "," ONE("scalar", "F32", "[]", 16,
                                                 20) "," ONE("none", "F32", "[0,5]", 20, 20) "}  ",
        20);
    struct safetensors *s = safetensors_open(in_dir("m.safetensors"), &e);
    if (!s) fail_msg("%s", e.msg);
    assert_int_equal(safetensors_n(s), 4);
    const struct st_tensor *b = safetensors_find(s, "b");
    assert_non_null(b);
    assert_int_equal(b->n_dim, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->n_bytes, 12);
    assert_int_equal(b->data[0], 4);
    assert_int_equal(safetensors_find(s, "scalar")->n_dim, 0);
    assert_int_equal(safetensors_find(s, "none")->n_bytes, 0);
    assert_null(safetensors_find(s, "absent"));
    safetensors_close(s);
}

/* Codes of the OCP paper's tables. */
static void reads_values(void **state) {
    (void)state;
    struct err e;
    float v[8];
    static const uint8_t data[] = {0x00, 0x3c, 0x80, 0x3f, 0x38, 0x7e, 0x01, 0xb8,
                                   0x3c, 0x7b, 0,    0,    0,    0,    0x80, 0x3f,
                                   0,    0,    0,    0,    0,    0,    0xf0, 0xbf};
    const char *header =
        "{" ONE("a16", "F16", "[1]", 0, 2) "," ONE("b16", "BF16", "[1]", 2, 4) "," ONE(
            "e4", "F8_E4M3", "[4]", 4,
            8) "," ONE("e5", "F8_E5M2", "[2]", 8,
                       10) "," ONE("pad", "U8", "[2]", 10,
                                   12) "," ONE("f32", "F32", "[1]", 12,
                                               16) "," ONE("f64", "F64", "[1]", 16, 24) "}";
    struct buf b = {0};
    const uint64_t n = strlen(header);
    buf_append(&b, &n, 8);
    buf_str(&b, header);
    buf_append(&b, data, sizeof data);
    assert_int_equal(os_write_file(in_dir("v.safetensors"), b.p, b.n, &e), 0);
    buf_fini(&b);
    struct safetensors *s = safetensors_open(in_dir("v.safetensors"), &e);
    if (!s) fail_msg("%s", e.msg);
    safetensors_floats(safetensors_find(s, "a16"), 0, 1, v);
    assert_true(v[0] == 1.0f);
    safetensors_floats(safetensors_find(s, "b16"), 0, 1, v);
    assert_true(v[0] == 1.0f);
    safetensors_floats(safetensors_find(s, "e4"), 0, 4, v);
    assert_true(v[0] == 1.0f && v[1] == 448.0f && v[2] == 0x1p-9f && v[3] == -1.0f);
    safetensors_floats(safetensors_find(s, "e5"), 0, 2, v);
    assert_true(v[0] == 1.0f && v[1] == 57344.0f);
    safetensors_floats(safetensors_find(s, "f32"), 0, 1, v);
    assert_true(v[0] == 1.0f);
    safetensors_floats(safetensors_find(s, "f64"), 0, 1, v);
    assert_true(v[0] == -1.0f);
    safetensors_close(s);
}

static void reads_shards(void **state) {
    (void)state;
    struct err e;
    write_plain("one.safetensors", "{" ONE("a", "U8", "[2]", 0, 2) "}", 2);
    write_plain("two.safetensors", "{" ONE("b", "U8", "[3]", 0, 3) "}", 3);
    write_plain("other.safetensors", "{" ONE("a", "U8", "[9]", 0, 9) "}", 9);
    write_text("model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":5},\"weight_map\":{\"a\":\"one.safetensors\","
               "\"b\":\"two.safetensors\"}}");
    struct safetensors *s = safetensors_open(dir, &e);
    if (!s) fail_msg("%s", e.msg);
    assert_int_equal(safetensors_n(s), 2);
    assert_int_equal(safetensors_find(s, "a")->n_bytes, 2);
    assert_int_equal(safetensors_find(s, "b")->data[2], 2);
    safetensors_close(s);
}

/* ---- lies ---- */

static void headers_that_lie(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        const char *say;
    } cases[] = {
        {"", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{", 0, "no JSON"},
        {"{}", 0, "no tensors"},
        {"{\"a\":1}", 0, "tensor 'a': its entry is no object"},
        {"{" ONE("a", "F31", "[1]", 0, 4) "}", 4, "dtype \"F31\""},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype \"(none)\""},
        {"{" ONE("a", "U8", "[-1]", 0, 1) "}", 1, "what is no length"},
        {"{" ONE("a", "U8", "[1.5]", 0, 1) "}", 1, "what is no length"},
        {"{" ONE("a", "U8", "7", 0, 1) "}", 1, "no array"},
        {"{" ONE("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, "at most 8"},
        {"{" ONE("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "over 2^64"},
        {"{" ONE("a", "F64", "[2305843009213693952]", 0, 0) "}", 0, "over 2^64"},
        {"{" ONE("a", "F32", "[1]", 0, 5) "}", 5, "need 4"},
        {"{" ONE("a", "F32", "[2]", 0, 4) "}", 4, "need 8"},
        {"{" ONE("a", "U8", "[1]", 1, 0) "}", 1, "data_offsets [1, 0]"},
        {"{" ONE("a", "U8", "[1]", -1, 0) "}", 1, "data_offsets [-1, 0]"},
        {"{" ONE("a", "U8", "[2]", 0, 2) "}", 1, "of 1 bytes of data"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "[begin, end]"},
        {"{" ONE("a", "U8", "[4]", 0, 4) "," ONE("b", "U8", "[4]", 2, 6) "}", 6,
         "tensor 'b' begins at 2; 4"},
        {"{" ONE("a", "U8", "[2]", 0, 2) "," ONE("b", "U8", "[2]", 4, 6) "}", 6,
         "tensor 'b' begins at 4; 2"},
        {"{" ONE("a", "U8", "[2]", 1, 3) "}", 3, "tensor 'a' begins at 1; 0"},
        {"{" ONE("a", "U8", "[2]", 0, 2) "}", 3, "1 bytes behind the last tensor"},
        {"{" ONE("a", "U8", "[1]", 0, 1) "," ONE("a", "U8", "[1]", 1, 2) "}", 2, "no JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_plain("bad.safetensors", cases[i].header, cases[i].n_data);
        refused(in_dir("bad.safetensors"), cases[i].say);
    }
}

static void lengths_that_lie(void **state) {
    (void)state;
    static const uint64_t lengths[] = {
        3, 100, (100 << 20) + 1, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_file("long.safetensors", "{}", lengths[i], 0);
        refused(in_dir("long.safetensors"), "a header of");
    }
    write_text("short.safetensors", "1234567");
    refused(in_dir("short.safetensors"), "a header of 0 bytes in a file of 7");
}

/* Counted before anything is built: no memory for a million values. */
static void deep_and_many(void **state) {
    (void)state;
    struct buf b = {0};
    const struct {
        const char *text;
        int n;
        const char *say;
    } cases[] = {{"[", 100000, "deeper than 128"}, {"1,", 3000000, "values"}};
    for (int i = 0; i < 2; i++) {
        buf_reset(&b);
        buf_str(&b, i ? "{\"a\":[" : "{\"a\":");
        for (int k = 0; k < cases[i].n; k++)
            buf_str(&b, cases[i].text);
        write_plain("deep.safetensors", b.p, 0);
        refused(in_dir("deep.safetensors"), cases[i].say);
    }
    buf_fini(&b);
}

static void indexes_that_lie(void **state) {
    (void)state;
    char deep[400];
    memset(deep, 'x', sizeof deep);
    memcpy(deep, "{\"weight_map\":{\"a\":\"", 20);
    strcpy(deep + sizeof deep - 4, "\"}}");
    const struct {
        const char *index, *say;
    } cases[] = {
        {"{}", "no \"weight_map\""},
        {"[]", "no object"},
        {"{\"weight_map\":{\"a\":7}}", "tensor 'a' has no file"},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "file name \"../one.safetensors\""},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "file name \"/etc/passwd\""},
        {"{\"weight_map\":{\"a\":\"a/../../x\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\\u0000.x\"}}", "no JSON"},
        {deep, "file name"},
        {"{\"weight_map\":{\"a\":\"none.safetensors\"}}", "none.safetensors: No such file"},
        {"{\"weight_map\":{\"q\":\"one.safetensors\"}}", "tensor 'q' is not in one.safetensors"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", "comes twice"},
    };
    write_plain("one.safetensors", "{" ONE("a", "U8", "[2]", 0, 2) "}", 2);
    write_plain("two.safetensors",
                "{" ONE("b", "U8", "[2]", 0, 2) "," ONE("a", "U8", "[1]", 2, 3) "}", 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("model.safetensors.index.json", cases[i].index);
        refused(dir, cases[i].say);
    }
}

/* Neither a fifo nor a device is waited for; a link is followed only to a regular file. */
static void no_regular_files(void **state) {
    (void)state;
    refused(dir, "0 safetensors files");
    assert_int_equal(mkfifo(in_dir("fifo.safetensors"), 0600), 0);
    refused(in_dir("fifo.safetensors"), "fifo.safetensors");
    refused("/dev/zero", "/dev/zero");
    assert_int_equal(symlink("self.safetensors", in_dir("self.safetensors")), 0);
    refused(in_dir("self.safetensors"), "self.safetensors");
    const int sparse = open(in_dir("sparse.safetensors"), O_CREAT | O_WRONLY, 0600);
    assert_true(sparse >= 0);
    if (ftruncate(sparse, (off_t)10 << 40) == 0) refused(in_dir("sparse.safetensors"), "'{'");
    close(sparse);
    refused(dir, "safetensors files; one");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(reads_tensors_and_types), T(reads_values),  T(reads_shards),     T(headers_that_lie),
        T(lengths_that_lie),        T(deep_and_many), T(indexes_that_lie), T(no_regular_files),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
