/* base/: the small parts that everything else leans on. */
#include "support.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/f16.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/os.h"
#include "base/qtype.h"
#include "base/sha256.h"
#include "base/team.h"
#include "base/utf8.h"
#include "base/work.h"

static void err_is_one_printable_line(void **s) {
    (void)s;
    struct err e;
    assert_int_equal(err_set(&e, ERR_FORMAT, "tensor \"%s\"", "a\x1b[31m\n\x7f"), -1);
    assert_string_equal(e.msg, "tensor \"a\\x1b[31m\\x0a\\x7f\"");
    err_prefix(&e, "x.gguf");
    assert_string_equal(e.msg, "x.gguf: tensor \"a\\x1b[31m\\x0a\\x7f\"");
    assert_int_equal(e.code, ERR_FORMAT);
    char big[2000]; /* cut inside a three-byte character */
    for (int i = 0; i < 1998; i += 3)
        memcpy(big + i, "\xe2\x82\xac", 3);
    big[1998] = 0;
    for (int shift = 0; shift < 3; shift++) {
        err_set(&e, ERR_FORMAT, "%.*s%s", shift, "xx", big);
        assert_int_equal(utf8_valid_prefix(e.msg, strlen(e.msg)), strlen(e.msg));
        assert_true(strlen(e.msg) > sizeof e.msg - 5);
    }
    /* A C1 control (CSI), a text direction override, broken UTF-8; what is fine stays. */
    err_set(&e, ERR_FORMAT, "\xc2\x9b|\xe2\x80\xae|\xe2\x82|\xff|\xc3\xa9\xf0\x9f\xa6\x99");
    assert_string_equal(e.msg,
                        "\\xc2\\x9b|\\xe2\\x80\\xae|\\xe2\\x82|\\xff|\xc3\xa9\xf0\x9f\xa6\x99");
    assert_int_equal(err_set(NULL, ERR_IO, "x"), -1);
}

static void checked_arithmetic_refuses_overflow(void **s) {
    (void)s;
    uint64_t v = 7;
    assert_false(checked_add(UINT64_MAX, 1, &v));
    assert_false(checked_mul(1ull << 32, 1ull << 32, &v));
    assert_false(checked_align(UINT64_MAX - 3, 32, &v));
    assert_int_equal(v, 7);
    assert_true(checked_align(33, 32, &v) && v == 64);
    assert_true(checked_align(0, 32, &v) && v == 0);
}

static void half_floats_round_as_ieee(void **s) {
    (void)s;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(f16_to_f32(f32_to_f16(f))));
        else
            assert_int_equal(f32_to_f16(f), h);
        if (!isnan(b)) assert_int_equal(f32_to_bf16(b), h);
#if defined(__x86_64__) || defined(__aarch64__)
        if (!isnan(f) && !isinf(f) &&
            h + 1 < 0x7c00) { /* ties go to even, all else to the nearer */
            const float next = f16_to_f32((uint16_t)(h + 1)), mid = f + (next - f) / 2;
            if (h < 0x7c00) assert_int_equal(f32_to_f16(mid), h & 1 ? h + 1 : h);
        }
#endif
    }
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e10f), 0xfc00);
    assert_int_equal(f32_to_f16(0x1p-25f), 0);
    assert_int_equal(f32_to_f16(0x1.8p-25f), 1);
}

static void utf8_is_strict(void **s) {
    (void)s;
    static const char *const bad[] = {"\xc0\xaf",         "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80", "\x80",         "\xe2\x82",
                                      "\xf0\x8f\xbf\xbf", "\xff"};
    uint32_t cp;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(utf8_decode_strict(bad[i], strlen(bad[i]), &cp), -1);
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        char b[4];
        const int n = utf8_encode(c, b);
        assert_int_equal(utf8_decode_strict(b, (size_t)n, &cp), n);
        assert_int_equal(cp, c);
        for (int cut = 1; cut < n; cut++)
            assert_int_equal(utf8_complete(b, (size_t)cut), 0);
        assert_int_equal(utf8_complete(b, (size_t)n), n);
    }
    assert_int_equal(utf8_complete("a\xe2\x28", 3), 3); /* can no longer become valid */
    assert_int_equal(utf8_complete("\x80\x80\x80\x80", 4), 4);
}

static void arena_zeroes_and_aligns(void **s) {
    (void)s;
    struct arena a = {0};
    for (size_t n = 1; n < 5000000; n = n * 3 + 1) {
        unsigned char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_int_equal(p[0] | p[n - 1], 0);
        memset(p, 0xff, n);
    }
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&a, SIZE_MAX - 5));
    arena_reset(&a);
    unsigned char *p = arena_alloc(&a, 1000);
    assert_int_equal(p[0] | p[999], 0);
    arena_fini(&a);
}

struct team_case {
    atomic_int sum;
    int turn[8];
    bool ok;
};

static void team_job(struct worker *w, void *arg) {
    struct team_case *c = arg;
    for (int round = 0; round < 400; round++) {
        c->turn[w->id] = round;
        team_barrier(w);
        for (int i = 0; i < w->n; i++)
            if (c->turn[i] != round) c->ok = false;
        team_barrier(w);
    }
    int lo, hi;
    team_range(w, 1000, 16, &lo, &hi);
    atomic_fetch_add(&c->sum, hi - lo);
}

static void team_runs_in_step(void **s) {
    (void)s;
    struct err e;
    for (int n = 1; n <= 4; n++) {
        struct team *t = team_new(n, &e);
        assert_non_null(t);
        assert_int_equal(team_reserve(t, 100, 1000, &e), 0);
        for (int k = 0; k < 20; k++) {
            struct team_case c = {.ok = true};
            team_run(t, team_job, &c);
            assert_true(c.ok);
            assert_int_equal(c.sum, 1000);
        }
        team_free(t);
    }
}

static void every_type_has_a_geometry(void **s) {
    (void)s;
    int n = 0;
    for (uint32_t i = 0; i < 100; i++) {
        const struct qtype_geom *g = qtype_geom(i);
        if (!g) continue;
        n++;
        assert_int_equal(qtype_by_name(g->name), i);
    }
    assert_int_equal(n, 33);
    assert_null(qtype_geom(4));
    assert_null(qtype_geom(UINT32_MAX));
    assert_int_equal(qtype_by_name("q4_k"), QT_Q4_K);
}

/* The published test vectors of XXH64 (seed 0) and SHA-256 (FIPS 180-4), and that every length and
 * byte counts. */
static void digests_match_their_vectors(void **state) {
    (void)state;
    assert_true(hash64("", 0, 0) == 0xEF46DB3751D8E999);
    assert_true(hash64("a", 1, 0) == 0xD24EC4F1A98C6E5B);
    assert_true(hash64("abc", 3, 0) == 0x44BC2CF5AD770999);
    assert_true(hash64("Nobody inspects the spammish repetition", 39, 0) == 0xFBCEA83C8A378BF1);
    uint8_t b[100] = {0}, out[SHA256_BYTES];
    for (size_t n = 0; n < sizeof b; n++) {
        assert_true(hash64(b, n, 0) != hash64(b, n + 1, 0));
        assert_true(hash64(b, n, 0) != hash64(b, n, 1));
        for (size_t i = 0; i < n; i++) {
            const uint64_t before = hash64(b, n, 7);
            b[i] ^= 0x10;
            assert_true(hash64(b, n, 7) != before);
            b[i] ^= 0x10;
        }
    }
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, "a", 1), sha256_add(&s, "bc", 2);
    assert_int_equal(sha256_final(&s, out), 0);
    assert_memory_equal(out, abc, sizeof abc);
    assert_int_equal(sha256_final(&s, out), -1); /* it has ended */
}

static void sizes_are_parsed(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {{"0", 0},
                {"1", 1},
                {"512m", 512ull << 20},
                {"2g", 2ull << 30},
                {"1.5GB", 3u << 29},
                {"4GiB", 4ull << 30},
                {"100kb", 102400},
                {"7b", 7},
                {"1t", 1ull << 40}};
    static const char *const bad[] = {"",    "g",    "-1",    "+1",   " 1",
                                      "1 g", "0x10", "1.2.3", "nan",  "inf",
                                      "12q", "1gbb", "1ib",   "9e99", "99999999t"};
    uint64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!os_parse_bytes(good[i].text, &v) || v != good[i].want)
            fail_msg("%s: %llu", good[i].text, (unsigned long long)v);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (os_parse_bytes(bad[i], &v)) fail_msg("\"%s\" was taken", bad[i]);
}

static void build_id_is_there(void **state) {
    (void)state;
    uint8_t id[64] = {0}, some[4] = {0};
    assert_in_range(os_build_id(id, sizeof id), 16, 64);
    assert_int_equal(os_build_id(some, sizeof some), 4);
    assert_memory_equal(id, some, 4);
}

/* Every byte that is a character, and longer ones: what jansson writes. */
static void texts_are_written_as_json(void **state) {
    (void)state;
    static const char *const more[] = {
        "",     "a\"b\\c/d", "\x7f\xc2\x80\xe2\x80\xa8", "\xf0\x9f\xa6\x99", "\n\t\r\b\f\x1b[0m",
        "end\\"};
    char all[128];
    for (int i = 0; i < 128; i++)
        all[i] = (char)i; /* NUL first */
    for (size_t i = 0; i <= sizeof more / sizeof *more; i++) {
        const struct str text = i ? str_of(more[i - 1]) : (struct str){all, sizeof all};
        struct buf b = {0};
        json_t *j = json_stringn(text.p, text.n);
        char *want = json_dumps(j, JSON_ENCODE_ANY);
        json_append_text(&b, text);
        assert_string_equal(b.p, want);
        buf_fini(&b);
        free(want);
        json_decref(j);
    }
}

/* By a flag that is set before; without one all is as jansson does it. */
static void json_is_given_up(void **state) {
    (void)state;
    const volatile int stop = 1;
    const struct str text = STR("{\"a\": [1, \"\\u0000\"]}");
    struct buf b = {0};
    struct err e = {0};
    json_error_t je;
    json_t *j = json_read(text, JSON_ALLOW_NUL, &je),
           *same = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &je);
    assert_true(j && json_equal(j, same));
    assert_null(json_read(STR(""), 0, &je));
    work_watch(&stop, NULL);
    assert_null(json_read(text, 0, &je));
    assert_null(json_read_object("here", text, 10, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    e = (struct err){0};
    assert_int_equal(json_append("here", j, &b, &e), -1);
    assert_int_equal(e.code, ERR_CANCELLED);
    work_watch(NULL, NULL);
    buf_reset(&b);
    assert_int_equal(json_append("here", j, &b, &e), 0);
    assert_string_equal(b.p, "{\"a\":[1,\"\\u0000\"]}");
    buf_fini(&b);
    json_decref(j), json_decref(same);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_is_one_printable_line),
        cmocka_unit_test(checked_arithmetic_refuses_overflow),
        cmocka_unit_test(half_floats_round_as_ieee),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(arena_zeroes_and_aligns),
        cmocka_unit_test(team_runs_in_step),
        cmocka_unit_test(digests_match_their_vectors),
        cmocka_unit_test(sizes_are_parsed),
        cmocka_unit_test(build_id_is_there),
        cmocka_unit_test(texts_are_written_as_json),
        cmocka_unit_test(json_is_given_up),
        cmocka_unit_test(every_type_has_a_geometry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
