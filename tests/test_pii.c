/* Personal data in text: recall and precision over the labelled corpora of tests/pii, every cut of
 * a stream, placeholders and back, masks, time. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/os.h"
#include "policy/pii_stream.h"
#include "policy/pii_vault.h"

/* ---- the corpora ---- */

struct labelled {
    struct buf text;
    struct pii_hits want;
};

static enum pii_kind kind_of(const char *name, size_t n) {
    for (int k = 0; k < N_PII; k++)
        if (strlen(pii_name((enum pii_kind)k)) == n &&
            memcmp(pii_name((enum pii_kind)k), name, n) == 0)
            return (enum pii_kind)k;
    fail_msg("no entity is called %.*s", (int)n, name);
    return N_PII;
}

static void labelled_fini(struct labelled *l) {
    buf_fini(&l->text);
    pii_hits_fini(&l->want);
}

/* A line of a corpus: {{kind:text}}, \n, \t. */
static void labelled_read(struct labelled *l, const char *line, size_t n) {
    struct err e;
    struct pii_hit open = {0};
    bool within = false;
    *l = (struct labelled){0};
    for (size_t i = 0; i < n; i++) {
        const char *p = line + i;
        if (n - i > 2 && memcmp(p, "{{", 2) == 0) {
            const size_t k = strcspn(p, ":"); /* at most "{{it_codice_fiscale" */
            open = (struct pii_hit){kind_of(p + 2, k - 2), l->text.n, 0};
            within = true;
            i += k;
        } else if (within && n - i >= 2 && memcmp(p, "}}", 2) == 0) {
            open.end = l->text.n;
            assert_int_equal(pii_hits_add(&l->want, open, &e), 0);
            within = false;
            i++;
        } else if (*p == '\\' && n - i > 1 && (p[1] == 'n' || p[1] == 't')) {
            buf_byte(&l->text, p[1] == 'n' ? '\n' : '\t');
            i++;
        } else {
            buf_byte(&l->text, *p);
        }
    }
    assert_false(within);
}

typedef void each_fn(const struct labelled *l, void *ctx);

static int each_line(const char *path, each_fn *fn, void *ctx) {
    struct buf b = {0};
    struct err e;
    int n_line = 0;
    if (os_read_file(path, 16 << 20, &b, &e) != 0) fail_msg("%s", e.msg);
    for (const char *p = b.p, *end = b.p + b.n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);
        if (n && *p != '#') {
            struct labelled l;
            labelled_read(&l, p, n);
            fn(&l, ctx);
            labelled_fini(&l);
            n_line++;
        }
        p += n + 1;
    }
    buf_fini(&b);
    return n_line;
}

static struct pii_policy all_kinds(const char *mode) {
    struct pii_policy p;
    struct err e;
    assert_int_equal(pii_policy_parse(&p, mode, NULL, &e), 0);
    return p;
}

/* ---- recall and precision ---- */

struct score {
    int n_want[N_PII], n_right[N_PII], n_found[N_PII];
    bool show;
};

static void show(const struct labelled *l, const struct pii_hits *got) {
    printf("  %s\n", l->text.p);
    for (size_t i = 0; i < l->want.n; i++)
        printf("    want %s %.*s\n", pii_name(l->want.v[i].kind),
               (int)(l->want.v[i].end - l->want.v[i].start), l->text.p + l->want.v[i].start);
    for (size_t i = 0; i < got->n; i++)
        printf("    got  %s %.*s\n", pii_name(got->v[i].kind),
               (int)(got->v[i].end - got->v[i].start), l->text.p + got->v[i].start);
}

static bool same(const struct pii_hit *a, const struct pii_hit *b) {
    return a->kind == b->kind && a->start == b->start && a->end == b->end;
}

static void count(const struct labelled *l, void *ctx) {
    struct score *s = ctx;
    const struct pii_policy p = all_kinds("report");
    struct pii_hits got = {0};
    struct err e;
    size_t n_right = 0;
    assert_int_equal(pii_find(buf_view(&l->text), &p, &got, &e), 0);
    for (size_t i = 0; i < l->want.n; i++)
        s->n_want[l->want.v[i].kind]++;
    for (size_t i = 0; i < got.n; i++) {
        s->n_found[got.v[i].kind]++;
        for (size_t k = 0; k < l->want.n; k++)
            if (same(&got.v[i], &l->want.v[k])) {
                s->n_right[got.v[i].kind]++;
                n_right++;
            }
    }
    if (s->show && (n_right < l->want.n || n_right < got.n)) show(l, &got);
    pii_hits_fini(&got);
}

/* A class is right where kind, start and end are. */
static void check(const char *path, int least, double recall, double precision) {
    struct score s = {.show = getenv("PII_SHOW") != NULL};
    int want = 0, right = 0, found = 0;
    bool good = true;
    const int n = each_line(path, count, &s);
    printf("%s: %d strings\n  %-20s %6s %8s %10s\n", path, n, "entity", "n", "recall", "precision");
    for (int k = 0; k < N_PII; k++) {
        if (pii_by_model((enum pii_kind)k)) continue;
        const double r = s.n_want[k] ? (double)s.n_right[k] / s.n_want[k] : 1;
        const double c = s.n_found[k] ? (double)s.n_right[k] / s.n_found[k] : 1;
        printf("  %-20s %6d %8.3f %10.3f%s\n", pii_name((enum pii_kind)k), s.n_want[k], r, c,
               r < recall || c < precision ? "  <-" : "");
        good = good && r >= recall && c >= precision;
        want += s.n_want[k], right += s.n_right[k], found += s.n_found[k];
    }
    printf("  %-20s %6d %8.3f %10.3f\n", "all", want, (double)right / want, (double)right / found);
    assert_true(n >= least);
    assert_true((double)right / want >= recall && (double)right / found >= precision);
    if (!good)
        fail_msg("%s: a class is below %.2f recall or %.2f precision", path, recall, precision);
}

static void generated_corpus(void **state) {
    (void)state;
    check("tests/pii/generated.txt", 2000, .98, .95);
}

static void hand_corpus(void **state) {
    (void)state;
    check("tests/pii/hand.txt", 150, .95, .95);
}

static void held_out_corpus(void **state) {
    (void)state;
    check("tests/pii/held_out.txt", 150, .9, .9);
}

/* ---- streams ---- */

static void whole(const struct labelled *l, const struct pii_policy *p, struct pii_vault *v,
                  struct buf *out) {
    struct pii_hits hits = {0};
    struct err e;
    assert_int_equal(pii_find(buf_view(&l->text), p, &hits, &e), 0);
    assert_int_equal(pii_apply(out, buf_view(&l->text), &hits, p, v, &e), 0);
    pii_hits_fini(&hits);
}

static void feed(struct pii_stream *s, const char *p, size_t n, struct buf *out) {
    struct err e;
    assert_int_equal(pii_stream_feed(s, (struct str){p, n}, out, &e), 0);
    assert_true(pii_stream_held(s) <= PII_STREAM_HELD);
}

static void expect(const struct buf *want, const struct buf *got, const struct labelled *l,
                   size_t cut) {
    if (!str_eq(buf_view(want), buf_view(got)))
        fail_msg("cut at %zu of \"%s\":\n  want %s\n  got  %s", cut, buf_view(&l->text).p,
                 buf_view(want).p, buf_view(got).p);
}

/* Two pieces cut at every byte, and every byte a piece of its own, in every mode. */
static void cut_everywhere(const struct labelled *l, void *ctx) {
    long *n_cut = ctx;
    static int n_line;
    if (n_line++ % (SANITIZED ? 16 : 4)) return; /* some of thousands */
    static const char *const modes[] = {"redact", "mask", "replace"};
    const size_t n = l->text.n;
    for (size_t m = 0; m < (n < 100 ? 3 : 1); m++) {
        const struct pii_policy p = all_kinds(modes[m]);
        struct err e;
        struct buf want = {0};
        struct pii_vault *v = pii_vault_new(&e);
        whole(l, &p, v, &want);
        pii_vault_free(v);
        for (size_t cut = 0; cut <= n; cut++) {
            struct buf got = {0};
            v = pii_vault_new(&e);
            struct pii_stream *s = pii_stream_new(&p, v, &e);
            feed(s, l->text.p, cut, &got);
            feed(s, l->text.p + cut, n - cut, &got);
            assert_int_equal(pii_stream_end(s, &got, &e), 0);
            expect(&want, &got, l, cut);
            pii_stream_free(s);
            pii_vault_free(v);
            buf_fini(&got);
            ++*n_cut;
        }
        struct buf got = {0};
        v = pii_vault_new(&e);
        struct pii_stream *s = pii_stream_new(&p, v, &e);
        for (size_t i = 0; i < n; i++)
            feed(s, l->text.p + i, 1, &got);
        assert_int_equal(pii_stream_end(s, &got, &e), 0);
        expect(&want, &got, l, n);
        pii_stream_free(s);
        pii_vault_free(v);
        buf_fini(&got);
        buf_fini(&want);
    }
}

static void every_cut_gives_the_whole(void **state) {
    (void)state;
    long n_cut = 0;
    each_line("tests/pii/held_out.txt", cut_everywhere, &n_cut);
    each_line("tests/pii/hand.txt", cut_everywhere, &n_cut);
    each_line("tests/pii/generated.txt", cut_everywhere, &n_cut);
    printf("%ld cuts\n", n_cut);
    assert_true(n_cut > (SANITIZED ? 10000 : 50000));
}

/* All lines as one text, in pieces of odd sizes: what was seen before a place counts, too. */
static void append_line(const struct labelled *l, void *ctx) {
    struct buf *b = ctx;
    buf_append(b, l->text.p, l->text.n);
    buf_byte(b, '\n');
}

static void long_stream_gives_the_whole(void **state) {
    (void)state;
    const struct pii_policy p = all_kinds("redact");
    struct labelled all = {{0}, {0}};
    struct buf want = {0};
    struct err e;
    each_line("tests/pii/generated.txt", append_line, &all.text);
    whole(&all, &p, NULL, &want);
    for (size_t piece = 1; piece < 3000; piece = 3 * piece + 2) {
        struct pii_stream *s = pii_stream_new(&p, NULL, &e);
        struct buf got = {0};
        for (size_t i = 0; i < all.text.n; i += piece)
            feed(s, all.text.p + i, i + piece < all.text.n ? piece : all.text.n - i, &got);
        assert_int_equal(pii_stream_end(s, &got, &e), 0);
        assert_true(str_eq(buf_view(&want), buf_view(&got)));
        buf_fini(&got);
        pii_stream_free(s);
    }
    buf_fini(&want);
    labelled_fini(&all);
}

/* A filter is of no use to a reader who sees nothing until the end: words come out as they end. */
static void prose_is_not_held(void **state) {
    (void)state;
    const struct pii_policy p = all_kinds("redact");
    static const char text[] = "The quick brown fox, born in 1999, jumps over 12 lazy dogs. ";
    struct err e;
    struct buf out = {0};
    struct pii_stream *s = pii_stream_new(&p, NULL, &e);
    for (size_t i = 0; text[i]; i++) {
        feed(s, text + i, 1, &out);
        assert_true(pii_stream_held(s) <= 16);
    }
    assert_int_equal(pii_stream_held(s), 0);
    buf_fini(&out);
    pii_stream_free(s);
}

/* ---- what is longer than any token ---- */

static void long_secrets_go_whole(void **state) {
    (void)state;
    const struct pii_policy p = all_kinds("redact");
    struct labelled l = {{0}, {0}};
    struct buf want = {0};
    struct err e;
    buf_str(&l.text, "x eyJhbGciOiJub25lIn0.eyJ");
    for (int i = 0; i < 20000; i++)
        buf_byte(&l.text, "aB3dE5gH9kLm"[i * 7 % 12]);
    buf_str(&l.text, ".c2ln end");
    whole(&l, &p, NULL, &want);
    assert_null(strstr(want.p, "aB3dE"));
    assert_null(memmem(want.p, want.n, "gH", 2));
    assert_non_null(strstr(want.p, " end"));
    for (size_t piece = 7; piece < 9000; piece *= 5) {
        struct pii_stream *s = pii_stream_new(&p, NULL, &e);
        struct buf got = {0};
        for (size_t i = 0; i < l.text.n; i += piece)
            feed(s, l.text.p + i, i + piece < l.text.n ? piece : l.text.n - i, &got);
        assert_int_equal(pii_stream_end(s, &got, &e), 0);
        expect(&want, &got, &l, piece);
        buf_fini(&got);
        pii_stream_free(s);
    }
    buf_fini(&want);
    labelled_fini(&l);
}

/* ---- placeholders ---- */

static void restored(struct pii_vault *v, const char *text, const char *want) {
    const size_t n = strlen(text);
    for (size_t cut = 0; cut <= n; cut++) {
        struct pii_restore r = {{0}, 0};
        struct buf got = {0};
        pii_restore_feed(&r, v, (struct str){text, cut}, &got);
        for (size_t i = cut; i < n; i++)
            pii_restore_feed(&r, v, (struct str){text + i, 1}, &got);
        pii_restore_end(&r, v, &got);
        assert_string_equal(buf_view(&got).p, want);
        buf_fini(&got);
    }
}

static void placeholders_come_back(void **state) {
    (void)state;
    const struct pii_policy p = all_kinds("replace");
    struct err e;
    struct buf out = {0};
    struct labelled l = {{0}, {0}};
    struct pii_vault *v = pii_vault_new(&e);
    buf_str(&l.text,
            "a@example.com, b@example.com, a@example.com, ssn 536-90-4399; <EMAIL_1> is taken");
    pii_vault_reserve(v, buf_view(&l.text));
    whole(&l, &p, v, &out);
    assert_string_equal(out.p,
                        "<EMAIL_2>, <EMAIL_3>, <EMAIL_2>, ssn <US_SSN_1>; <EMAIL_1> is taken");
    restored(v, out.p, l.text.p);
    restored(v, "Dear <email_2>, <EMAIL_9> <EMAIL_> <EMAIL_2 <US_SSN_1>> <<EMAIL_3>",
             "Dear a@example.com, <EMAIL_9> <EMAIL_> <EMAIL_2 536-90-4399> <b@example.com");
    restored(v, "<IT_CODICE_FISCALE_123456789012345678901234567890>",
             "<IT_CODICE_FISCALE_123456789012345678901234567890>");
    restored(v, "<", "<");
    pii_vault_free(v);
    buf_fini(&out);
    labelled_fini(&l);
}

/* However large the numbers are that a text has of itself: what is given out comes back. */
static void large_numbers(void **state) {
    static const struct {
        const char *own, *want;
    } is[] = {{"<EMAIL_999999999>", "<EMAIL_1>"},
              {"<EMAIL_41> <EMAIL_100000000>", "<EMAIL_42>"},
              {"<EMAIL_99999999>", "[EMAIL]"}}; /* none is left */
    (void)state;
    const struct pii_policy p = all_kinds("replace");
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        struct err e;
        struct buf out = {0}, want = {0};
        struct labelled l = {{0}, {0}};
        struct pii_vault *v = pii_vault_new(&e);
        buf_printf(&l.text, "%s a@example.com", is[i].own);
        buf_printf(&want, "%s %s", is[i].own, is[i].want);
        pii_vault_reserve(v, buf_view(&l.text));
        whole(&l, &p, v, &out);
        assert_string_equal(out.p, want.p);
        if (is[i].want[0] == '<') restored(v, out.p, l.text.p);
        pii_vault_free(v);
        buf_fini(&out), buf_fini(&want);
        labelled_fini(&l);
    }
}

/* ---- masks and policies ---- */

static void masks_keep_the_form(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"jane@example.com", "j***@e***.com"},
        {"ünal@müller.de", "ü***@m***.de"},
        {"4111 1111 1111 1111", "**** **** **** 1111"},
        {"+49 30 901820", "+49 ** ****20"},
        {"DE44500105175407324931", "DE****************4931"},
        {"203.0.113.77", "20*.*.***.**"},
        {"postgres://u:pw1@h", "postgres://***:***@h"},
        {"born 1985-03-12", "born ****-**-**"},
        {"SSN 536-90-4399", "SSN ***-**-**99"},
    };
    const struct pii_policy p = all_kinds("mask");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct labelled l = {{0}, {0}};
        struct buf out = {0};
        buf_str(&l.text, pairs[i][0]);
        whole(&l, &p, NULL, &out);
        assert_string_equal(out.p, pairs[i][1]);
        buf_fini(&out);
        labelled_fini(&l);
    }
}

static void policies_are_read(void **state) {
    (void)state;
    struct pii_policy p, q;
    struct err e;
    assert_int_equal(pii_policy_parse(&p, "redact", "email=mask, card=block ip", &e), 0);
    assert_int_equal(p.action[PII_EMAIL], PII_MASK);
    assert_int_equal(p.action[PII_CARD], PII_BLOCK);
    assert_int_equal(p.action[PII_IP], PII_REDACT);
    assert_int_equal(p.action[PII_PHONE], PII_OFF);
    assert_int_equal(pii_policy_parse(&q, "report", NULL, &e), 0);
    assert_int_equal(q.action[PII_NAME], PII_OFF); /* only where a model is asked */
    pii_policy_join(&p, &q);
    assert_int_equal(p.action[PII_EMAIL], PII_MASK);
    assert_int_equal(p.action[PII_PHONE], PII_REPORT);
    assert_int_equal(pii_policy_parse(&p, "off", "email=block", &e), 0);
    assert_false(pii_policy_has(&p, PII_REPORT));
    assert_int_equal(pii_policy_parse(&p, "erase", NULL, &e), -1);
    assert_non_null(strstr(e.msg, "\"erase\"; off, report"));
    assert_int_equal(pii_policy_parse(&p, "mask", "e-mail", &e), -1);
    assert_non_null(strstr(e.msg, "\"e-mail\"; all, email"));
    assert_int_equal(pii_policy_parse(&p, "mask", "email=hide", &e), -1);
    assert_non_null(strstr(e.msg, "\"hide\""));
}

/* ---- time ---- */

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Of one core: others may be at work on this machine. */
static double seconds_for(const struct buf *text) {
    const struct pii_policy p = all_kinds("report");
    struct pii_hits hits = {0};
    struct err e;
    const double start = cpu_seconds();
    assert_int_equal(pii_find(buf_view(text), &p, &hits, &e), 0);
    const double s = cpu_seconds() - start;
    pii_hits_fini(&hits);
    return s;
}

/* Repeats of a text up to n_bytes; under a sanitizer no more than 1 MB. */
static void time_of(const char *name, const char *text, size_t n, size_t n_bytes, double most) {
    struct buf b = {0};
    while (b.n < (SANITIZED ? 1000000 : n_bytes))
        buf_append(&b, text, n);
    const double s = seconds_for(&b);
    printf("  %-34s %.3f s for %.1f MB\n", name, s, (double)b.n / 1e6);
    if (!SANITIZED && s > most) fail_msg("%s: %.2f s", name, s);
    buf_fini(&b);
}

static void ten_megabytes_take_less_than_a_second(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "a",
        "1",
        "a.",
        "1.",
        "1 ",
        "12 ",
        "1234 ",
        "a@",
        "a@b.",
        "a.b@c.",
        ":",
        "a:",
        "::",
        "+1",
        "(1",
        "+",
        "-",
        "-----BEGIN ",
        "eyJ",
        "eyJ-",
        "eyJaaaaaaaa.",
        "eyJa.eyJa.",
        "sk-",
        "sk-a1",
        "token=",
        "password: ",
        "key=a1,",
        "api_key=x1y",
        "phone 1 ",
        "born 1 ",
        "https://a:",
        "a://b:c@",
        "DE44",
        "DE44 5001 ",
        "RSSMRA80A01",
        "1.1.1.1",
        "ab:",
        "00:1a:",
        "x1y2-",
        "\xc3\xa9",
        "\xe7\x94\xb5",
        "\xff",
        "<EMAIL_",
        "call 0123 ",
        "\\n",
        "-----BEGIN PRIVATE KEY-----\nabc ",
        "-----BEGIN PRIVATE KEY-----\nabcdefghijklmnop",
        "secret=secret=",
        "aws key ab ",
        "may 1 ",
        "born may 1, 1",
    };
    struct buf all = {0};
    each_line("tests/pii/generated.txt", append_line, &all);
    time_of("the corpus, all entities", all.p, all.n, 10000000, 1);
    buf_fini(&all);
    size_t n;
    char *prose = (char *)slurp("docs/TRAINING.md", &n);
    time_of("prose", prose, n, 10000000, 1);
    free(prose);
    /* Not what anybody writes: it is linear, too, if not as fast. */
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
        time_of(hostile[i], hostile[i], strlen(hostile[i]), 1000000, .5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_corpus),
        cmocka_unit_test(hand_corpus),
        cmocka_unit_test(held_out_corpus),
        cmocka_unit_test(every_cut_gives_the_whole),
        cmocka_unit_test(long_stream_gives_the_whole),
        cmocka_unit_test(prose_is_not_held),
        cmocka_unit_test(long_secrets_go_whole),
        cmocka_unit_test(placeholders_come_back),
        cmocka_unit_test(large_numbers),
        cmocka_unit_test(masks_keep_the_form),
        cmocka_unit_test(policies_are_read),
        cmocka_unit_test(ten_megabytes_take_less_than_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
