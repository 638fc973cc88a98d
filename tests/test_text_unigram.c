/* text/unigram.c: no golden vectors exist for this kind, so the search is checked against a plain
 * one over all segmentations, normalization and charsmap against their definition. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gguf/write.h"
#include "text/vocab.h"

#define KEY(x) "tokenizer.ggml." x
#define MARK "\xe2\x96\x81"

static char *dir;

struct piece {
    const char *text;
    float score;
    int32_t type;
};

/* A T5-like file: <pad> </s> <unk>, then words. */
static const struct piece pieces[] = {
    {"<pad>", 0, 3},        {"</s>", 0, 3},     {"<unk>", 0, 2},      {MARK, -2.5f, 1},
    {"a", -4.0f, 1},        {"b", -4.5f, 1},    {"c", -5.0f, 1},      {"ab", -5.5f, 1},
    {"bc", -6.0f, 1},       {"abc", -9.0f, 1},  {MARK "a", -3.5f, 1}, {MARK "ab", -6.25f, 1},
    {"ca", -7.0f, 1},       {"cab", -7.5f, 1},  {"aa", -6.5f, 1},     {"aaa", -7.25f, 1},
    {"\xc3\xa9", -8.0f, 1}, {"<x>", -20.0f, 4}, {"unused", -1.0f, 5}, {"bb", -30.0f, 1},
};

enum { N = sizeof pieces / sizeof *pieces, UNK = 2, EOS = 1 };

static const float unknown_score = -30.0f - 10.0f; /* the worst normal token, less 10 */

struct settings {
    bool prefix, merge;
    const uint8_t *charsmap;
    size_t n_charsmap;
};

static struct gguf *build(struct settings s) {
    char path[600];
    struct err e = {0};
    struct str text[N];
    float score[N];
    int32_t type[N];
    for (int i = 0; i < N; i++) {
        text[i] = str_of(pieces[i].text);
        score[i] = pieces[i].score;
        type[i] = pieces[i].type;
    }
    snprintf(path, sizeof path, "%s/t5.gguf", dir);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(w);
    int rc = gguf_set_str(w, KEY("model"), STR("t5"), &e);
    rc |= gguf_set_strs(w, KEY("tokens"), text, N, &e);
    rc |= gguf_set_arr(w, KEY("scores"), GGUF_F32, score, N, &e);
    rc |= gguf_set_arr(w, KEY("token_type"), GGUF_I32, type, N, &e);
    rc |= gguf_set_bool(w, KEY("add_space_prefix"), s.prefix, &e);
    rc |= gguf_set_bool(w, KEY("remove_extra_whitespaces"), s.merge, &e);
    if (s.charsmap)
        rc |= gguf_set_arr(w, KEY("precompiled_charsmap"), GGUF_U8, s.charsmap, s.n_charsmap, &e);
    assert_int_equal(rc, 0);
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

static struct vocab *load(const struct gguf *g) {
    struct err e = {0};
    struct vocab *v = vocab_load(g, &e);
    if (!v) fail_msg("%s", e.msg);
    return v;
}

static void encode(const struct vocab *v, const char *text, bool add_special, struct ids *out) {
    struct err e = {0};
    out->n = 0;
    const struct tok_opts o = {.add_special = add_special};
    if (tok_encode(v, str_of(text), o, out, &e) != 0) fail_msg("%s", e.msg);
}

static void expect(const struct vocab *v, const char *text, bool add_special, const int *want,
                   size_t n) {
    struct ids ids = {0};
    encode(v, text, add_special, &ids);
    if (ids.n != n) fail_msg("'%s': %zu tokens, not %zu", text, ids.n, n);
    for (size_t i = 0; i < n; i++)
        if (ids.v[i] != want[i])
            fail_msg("'%s': token %zu is %d, not %d", text, i, ids.v[i], want[i]);
    ids_fini(&ids);
}

#define EXPECT(v, text, add, ...)                                                                  \
    expect(v, text, add, (const int[]){__VA_ARGS__},                                               \
           sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static void known_segmentations(void **state) {
    (void)state;
    struct gguf *g = build((struct settings){.prefix = true, .merge = true});
    struct vocab *v = load(g);
    EXPECT(v, "a", false, 10);
    EXPECT(v, "a", true, 10, EOS);
    EXPECT(v, "", true, EOS);
    EXPECT(v, "  a  ", false, 10);     /* blanks at the ends go */
    EXPECT(v, "a   a", false, 10, 10); /* runs become one */
    EXPECT(v, "abc", false, 10, 8);    /* -3.5 - 6 beats -6.25 - 5 */
    EXPECT(v, "zz", false, 3, UNK);    /* neighbouring unknowns are one token */
    EXPECT(v, "z a", false, 3, UNK, 10);
    EXPECT(v, "a<x>a", false, 10, 17, 10); /* user-defined tokens cut the text */
    vocab_free(v);
    gguf_close(g);
}

/* ---- Against a search over all segmentations ---------------------------------------------------
 */

/* The best score of text[i, n): tried with every piece, memo by offset. */
static double brute(const char *text, size_t n, size_t i, double *memo) {
    if (i == n) return 0;
    if (!isnan(memo[i])) return memo[i];
    double best = -1e30;
    const size_t len = (text[i] & 0x80) == 0 ? 1 : (text[i] & 0x20) == 0 ? 2 : 3;
    bool covered = false;
    for (int k = 3; k < N; k++) {
        const size_t m = strlen(pieces[k].text);
        if (pieces[k].type != 1 && pieces[k].type != 4 && pieces[k].type != 5) continue;
        if (m > n - i || memcmp(text + i, pieces[k].text, m) != 0) continue;
        covered |= m == len;
        const double s = pieces[k].type == 4 ? 0 : (double)pieces[k].score;
        best = fmax(best, s + brute(text, n, i + m, memo));
    }
    if (!covered) best = fmax(best, (double)unknown_score + brute(text, n, i + len, memo));
    return memo[i] = best;
}

static void best_of_all_segmentations(void **state) {
    (void)state;
    static const char *const letters[] = {"a", "b", "c", "a", "b", "\xc3\xa9", "z", MARK, "unused"};
    struct gguf *g = build((struct settings){0}); /* no normalization: the text is what is cut */
    struct vocab *v = load(g);
    struct ids ids = {0};
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        char text[200] = "";
        double memo[200], got = 0;
        const int n = 1 + round % 14;
        for (int i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            strcat(text, letters[(seed >> 16) % 9]);
        }
        const size_t len = strlen(text);
        for (size_t i = 0; i <= len; i++)
            memo[i] = NAN;
        encode(v, text, false, &ids);
        size_t at = 0;
        for (size_t i = 0; i < ids.n; i++) {
            if (ids.v[i] == UNK) { /* one for a run of z */
                for (; text[at] == 'z'; at++)
                    got += (double)unknown_score;
                continue;
            }
            const char *t = pieces[ids.v[i]].text;
            if (strncmp(text + at, t, strlen(t)) != 0) fail_msg("'%s': token %zu", text, i);
            at += strlen(t);
            got += (double)vocab_score(v, ids.v[i]);
        }
        assert_int_equal(at, len);
        const double want = brute(text, len, 0, memo);
        if (fabs(got - want) > 1e-6) fail_msg("'%s': score %g, best %g", text, got, want);
    }
    ids_fini(&ids);
    vocab_free(v);
    gguf_close(g);
}

/* ---- Normalization -----------------------------------------------------------------------------
 */

static void blanks(void **state) {
    (void)state;
    struct gguf *g = build((struct settings){.prefix = true});
    struct vocab *v = load(g);
    EXPECT(v, "a  a", false, 10, 3, 10); /* not merged: both marks stay */
    EXPECT(v, " a", false, 3, 10);       /* and the prefix is put before the first word */
    vocab_free(v);
    gguf_close(g);
    g = build((struct settings){.merge = true});
    v = load(g);
    EXPECT(v, "a  a", false, 10, 10); /* merging marks every word, the first one too */
    vocab_free(v);
    gguf_close(g);
}

static void put(uint8_t *map, size_t unit, uint32_t value) {
    memcpy(map + 4 + 4 * unit, &value, 4);
}

/* A charsmap by hand: "A" -> "a", "\xc3\x89" (E acute) -> "\xc3\xa9", "\xef\xac\x81" (fi) -> "".
 * Units: offset of the children in bits 10 up, bit 8 "a value follows", label in the low byte. */
static size_t hand_made_charsmap(uint8_t *map) {
    static const char text[] = "a\0\xc3\xa9\0"; /* replacements at 0, 2 and 5 (empty) */
    enum { UNITS = 2048, LEAF = 1 << 8 };
    memset(map, 0, 4 + 4 * UNITS);
    memcpy(map, &(uint32_t){4 * UNITS}, 4);
    put(map, 0, 0x200u << 10);
    put(map, 0x200 ^ 'A', (uint32_t)'A' | LEAF | 0x100u << 10);
    put(map, 0x200 ^ 'A' ^ 0x100, 1u << 31 | 0);
    put(map, 0x200 ^ 0xc3, 0xc3 | 0x400u << 10);
    put(map, 0x200 ^ 0xc3 ^ 0x400 ^ 0x89, 0x89 | LEAF | 0x20u << 10);
    put(map, 0x200 ^ 0xc3 ^ 0x400 ^ 0x89 ^ 0x20, 1u << 31 | 2);
    put(map, 0x200 ^ 0xef, 0xef | 0x180u << 10);
    put(map, 0x200 ^ 0xef ^ 0x180 ^ 0xac, 0xac | 0x500u << 10);
    put(map, 0x200 ^ 0xef ^ 0x180 ^ 0xac ^ 0x500 ^ 0x81, 0x81 | LEAF | 0x40u << 10);
    put(map, 0x200 ^ 0xef ^ 0x180 ^ 0xac ^ 0x500 ^ 0x81 ^ 0x40, 1u << 31 | 5);
    memcpy(map + 4 + 4 * UNITS, text, sizeof text);
    return 4 + 4 * UNITS + sizeof text;
}

static void charsmap(void **state) {
    (void)state;
    static uint8_t map[16384];
    const size_t n = hand_made_charsmap(map);
    struct gguf *g = build((struct settings){.charsmap = map, .n_charsmap = n});
    struct vocab *v = load(g);
    EXPECT(v, "AA", false, 14);
    EXPECT(v, "\xc3\x89", false, 16);
    EXPECT(v,
           "A\xef\xac\x81"
           "A",
           false, 14);                 /* a replacement may be empty */
    EXPECT(v, "\xef\xac", false, UNK); /* half a key: U+FFFD twice */
    EXPECT(v, "a<x>A", false, 4, 17, 4);
    vocab_free(v);
    gguf_close(g);
}

/* Time of this process: other work on the machine does not count. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void long_input(void **state) {
    (void)state;
    struct gguf *g = build((struct settings){.prefix = true, .merge = true});
    struct vocab *v = load(g);
    static const char *const units[] = {"a", "z", " ", "ab c", "\xc3\xa9"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        struct buf b = {0};
        struct ids ids = {0};
        for (int i = 0; i < 250000; i++)
            buf_str(&b, units[u]);
        const int64_t t0 = cpu_ns();
        encode(v, b.p, true, &ids);
        const double s = (double)(cpu_ns() - t0) * 1e-9;
        if (s > 10) fail_msg("unit %zu: %.2f s", u, s); /* 1 s without sanitizers */
        buf_fini(&b);
        ids_fini(&ids);
    }
    vocab_free(v);
    gguf_close(g);
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_segmentations),
        cmocka_unit_test(best_of_all_segmentations),
        cmocka_unit_test(blanks),
        cmocka_unit_test(charsmap),
        cmocka_unit_test(long_input),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
