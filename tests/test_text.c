/* text/: tokenizers against the golden vectors, streaming, long inputs, loading time. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "gguf/write.h"
#include "text/pretok.h"
#include "text/vocab.h"

/* A file and its vocabulary, as every test needs them. */
struct model {
    struct gguf *g;
    struct vocab *v;
};

static struct model model_open(const char *path) {
    struct err e = {0};
    struct model m = {.g = gguf_open(path, &e)};
    if (!m.g) fail_msg("%s", e.msg);
    m.v = vocab_load(m.g, &e);
    if (!m.v) fail_msg("%s", e.msg);
    return m;
}

static void model_close(struct model *m) {
    vocab_free(m->v);
    gguf_close(m->g);
}

static void encode(const struct vocab *v, struct str text, struct tok_opts o, struct ids *out) {
    struct err e = {0};
    out->n = 0;
    if (tok_encode(v, text, o, out, &e) != 0) fail_msg("%s", e.msg);
}

/* ---- Golden vectors ----------------------------------------------------------------------------
 */

struct score {
    const struct vocab *v;
    const char *name;
    int n, bad;         /* cases that must match */
    int n_odd, bad_odd; /* malformed UTF-8: informative */
    int bad_stream;
};

static void complain(struct score *s, int line, const char *what, struct str got) {
    if (s->bad++ < 5)
        print_error("%s:%d: %s: got '%.*s'\n", s->name, line, what, (int)got.n, got.p);
}

static bool same_ids(const struct ids *got, const json_t *want) {
    if (got->n != json_array_size(want)) return false;
    for (size_t i = 0; i < got->n; i++)
        if (got->v[i] != json_integer_value(json_array_get(want, i))) return false;
    return true;
}

static bool is_malformed(const json_t *c) {
    const char *cat = json_string_value(json_object_get(c, "cat"));
    return strcmp(cat, "invalid") == 0 || strcmp(cat, "bytes") == 0;
}

/* The expected text under key, or the one it defaults to. */
static struct str expected(const json_t *c, const char *key, struct str otherwise, char **owned) {
    size_t n;
    *owned = json_bytes(c, key, &n);
    return *owned ? (struct str){*owned, n} : otherwise;
}

static void check_detok(struct score *s, int line, const struct ids *ids, struct str want,
                        bool special) {
    struct buf got = {0};
    struct err e = {0};
    const struct detok_opts o = {.special = special};
    if (tok_decode(s->v, ids->v, ids->n, o, &got, &e) != 0) fail_msg("%s", e.msg);
    if (!str_eq(buf_view(&got), want))
        complain(s, line, special ? "detok" : "detok_nospecial", buf_view(&got));
    buf_fini(&got);
}

/* Pushed one by one, the tokens give valid UTF-8 at every step, and in the end the bytes of all
 * pieces, made valid. */
static void check_stream(struct score *s, const struct ids *ids) {
    struct detok d = {.vocab = s->v, .special = true};
    struct buf shown = {0}, raw = {0}, want = {0};
    bool good = true;
    for (size_t i = 0; i < ids->n; i++) {
        detok_push(&d, ids->v[i], &shown);
        tok_piece(s->v, ids->v[i], true, &raw);
        good &= utf8_valid_prefix(buf_view(&shown).p, shown.n) == shown.n;
    }
    detok_finish(&d, &shown);
    for (size_t i = 0; i < raw.n;) {
        uint32_t cp;
        char c[4];
        i += (size_t)utf8_decode(raw.p + i, raw.n - i, &cp);
        buf_append(&want, c, (size_t)utf8_encode(cp, c));
    }
    good &= str_eq(buf_view(&shown), buf_view(&want));
    s->bad_stream += !good;
    detok_fini(&d);
    buf_fini(&shown);
    buf_fini(&raw);
    buf_fini(&want);
}

static void check_case(void *ctx, int line, json_t *c) {
    struct score *s = ctx;
    struct str text, want;
    char *own_text, *own_detok, *own_plain;
    text = expected(c, "text", STR(""), &own_text);
    const struct tok_opts o = {
        .add_special = json_is_true(json_object_get(c, "add_special")),
        .parse_special = json_is_true(json_object_get(c, "parse_special")),
    };
    struct ids ids = {0};
    encode(s->v, text, o, &ids);
    const bool same = same_ids(&ids, json_object_get(c, "ids"));
    check_stream(s, &ids);
    if (is_malformed(c)) {
        s->n_odd++;
        s->bad_odd += !same;
    } else {
        s->n++;
        if (!same) {
            complain(s, line, "ids of", text);
        } else if (!json_object_get(c, "pre")) {
            want = expected(c, "detok", text, &own_detok);
            check_detok(s, line, &ids, want, true);
            want = expected(c, "detok_nospecial", want, &own_plain);
            check_detok(s, line, &ids, want, false);
            free(own_detok);
            free(own_plain);
        }
    }
    ids_fini(&ids);
    free(own_text);
}

static void check_file(const struct vocab *v, const char *path, int at_least) {
    struct score s = {.v = v, .name = path};
    const int n = each_jsonl(path, check_case, &s);
    print_message("%s: %d cases, malformed input %d of %d as the reference\n", path, s.n,
                  s.n_odd - s.bad_odd, s.n_odd);
    assert_int_equal(s.bad, 0);
    assert_int_equal(s.bad_stream, 0);
    assert_true(n >= at_least);
}

static void golden_tokenizers(void **state) {
    (void)state;
    char **names = golden_names("tokenizer", ".jsonl", golden_is_full() ? 16 : 3);
    for (char **p = names; *p; p++) {
        char stem[256], jsonl[300], gguf[300];
        snprintf(stem, sizeof stem, "%.*s", (int)strlen(*p) - 6, *p);
        snprintf(jsonl, sizeof jsonl, "tokenizer/%s", *p);
        if (strncmp(stem, "tiny-", 5) == 0)
            snprintf(gguf, sizeof gguf, "models/%s.gguf", stem + 5);
        else
            snprintf(gguf, sizeof gguf, "vocab/ggml-vocab-%s.gguf", stem);
        struct model m = model_open(golden(gguf));
        check_file(m.v, golden(jsonl), 300);
        model_close(&m);
    }
    names_free(names);
}

/* Texts of X.gguf.inp, separated by a marker line; each line of X.gguf.out holds the ids. */
static void golden_upstream_vectors(void **state) {
    (void)state;
    if (!golden_is_full()) skip(); /* whole vocabularies are not committed */
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char **names = golden_names("vocab", ".gguf", 6);
    for (char **p = names; *p; p++) {
        char rel[300];
        size_t n_in, n_out;
        snprintf(rel, sizeof rel, "vocab/%s", *p);
        struct model m = model_open(golden(rel));
        snprintf(rel, sizeof rel, "vocab/%s.inp", *p);
        char *in = (char *)slurp(golden(rel), &n_in);
        snprintf(rel, sizeof rel, "vocab/%s.out", *p);
        char *out = (char *)slurp(golden(rel), &n_out), *line = out;
        int n = 0;
        struct ids ids = {0};
        for (char *t = in; t < in + n_in; n++) {
            char *end = memmem(t, (size_t)(in + n_in - t), mark, sizeof mark - 1);
            if (!end) break;
            encode(m.v, (struct str){t, (size_t)(end - t)}, (struct tok_opts){0}, &ids);
            for (size_t i = 0; i < ids.n; i++)
                if (strtol(line, &line, 10) != ids.v[i]) fail_msg("%s: text %d", *p, n);
            assert_int_equal(*line, '\n');
            line++;
            t = end + sizeof mark - 1;
        }
        assert_true(n >= 40);
        ids_fini(&ids);
        free(in);
        free(out);
        model_close(&m);
    }
    names_free(names);
}

/* The gpt-2 vocabulary under another pre-tokenizer's name. */
static struct model with_pre(const char *dir, const struct gguf *base, const char *pre) {
    char path[600];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/%s.gguf", dir, pre);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(w);
    for (int i = 0; i < gguf_n_kv(base); i++)
        assert_int_equal(gguf_copy_kv(w, gguf_kv_at(base, i), &e), 0);
    assert_int_equal(gguf_set_str(w, "tokenizer.ggml.pre", str_of(pre), &e), 0);
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
    return model_open(path);
}

static void golden_pretokenizers(void **state) {
    (void)state;
    if (!golden_is_full()) skip(); /* needs the whole gpt-2 vocabulary */
    char *dir = temp_folder();
    struct err e = {0};
    struct gguf *base = gguf_open(golden("vocab/ggml-vocab-gpt-2.gguf"), &e);
    assert_non_null(base);
    char **names = golden_names("tokenizer/pre", ".jsonl", 20);
    for (char **p = names; *p; p++) {
        char pre[256], rel[300];
        snprintf(pre, sizeof pre, "%.*s", (int)strlen(*p) - 6, *p);
        snprintf(rel, sizeof rel, "tokenizer/pre/%s", *p);
        struct model m = with_pre(dir, base, pre);
        check_file(m.v, golden(rel), 120);
        model_close(&m);
    }
    names_free(names);
    gguf_close(base);
    temp_remove(dir);
}

/* ---- Long input --------------------------------------------------------------------------------
 */

/* Time of this process: other work on the machine does not count. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double seconds_since(int64_t t0) {
    return (double)(cpu_ns() - t0) * 1e-9;
}

/* Sanitizers slow everything about tenfold. */
static double time_limit(double seconds) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 15 * seconds;
#else
    return seconds;
#endif
}

static void round_trip(const struct vocab *v, const char *what, struct str text, double limit) {
    struct ids ids = {0};
    struct buf back = {0};
    struct err e = {0};
    const int64_t t0 = cpu_ns();
    encode(v, text, (struct tok_opts){.parse_special = true}, &ids);
    const double s = seconds_since(t0);
    const struct detok_opts all = {.special = true, .keep_all = true};
    assert_int_equal(tok_decode(v, ids.v, ids.n, all, &back, &e), 0);
    const struct str got = buf_view(&back);
    const size_t skip = got.n > text.n && got.p[0] == ' '; /* add_space_prefix */
    if (s > time_limit(limit)) fail_msg("%s: %.2f s", what, s);
    if (strcmp(vocab_model(v), "bert") != 0 &&
        !str_eq((struct str){got.p + skip, got.n - skip}, text))
        fail_msg("%s: %zu bytes came back as %zu", what, text.n, got.n);
    ids_fini(&ids);
    buf_fini(&back);
}

static void long_runs_of(const struct vocab *v, const char *model) {
    static const char *const units[] = {
        "a",  " ",    "\n",  "1",        "\xf0\x9f\x98\x80", "=", "\t",
        "ab", "a ",   " \n", "\xc3\xa9", "\xe4\xb8\xad",     "<", "'",
        "A",  "\r\n", "~",   "1,",       "\xe0\xa4\xbe"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        struct buf b = {0};
        char what[100];
        for (int i = 0; i < 120000; i++)
            buf_str(&b, units[u]);
        snprintf(what, sizeof what, "%s: 120000 times unit %zu", model, u);
        round_trip(v, what, buf_view(&b), 1.0);
        buf_str(&b, "x"); /* a run that does not reach the end */
        round_trip(v, what, buf_view(&b), 1.0);
        buf_fini(&b);
    }
}

static void long_runs(void **state) {
    (void)state;
    static const char *const full[] = {"vocab/ggml-vocab-llama-bpe.gguf",
                                       "vocab/ggml-vocab-llama-spm.gguf",
                                       "vocab/ggml-vocab-bert-bge.gguf"};
    static const char *const small[] = {"models/llama32.gguf", "models/phi3-4k.gguf",
                                        "models/bert.gguf"};
    for (int i = 0; i < 3; i++) {
        const char *rel = golden_is_full() ? full[i] : small[i];
        struct model m = model_open(golden(rel));
        long_runs_of(m.v, rel);
        model_close(&m);
    }
}

/* Every name's pattern compiles, cuts at character borders, loses nothing and stays linear. */
static void every_pretokenizer(void **state) {
    (void)state;
    static const char *const units[] = {
        "a",      " ",   "\n",      "1",  "\xf0\x9f\x98\x80",
        "A",      " \n", "'",       "a ", "\xe0\xa4\xbe\xe4\xb8\xad",
        "\r\n\t", ",",   "\xc2\xa0"};
    struct cuts cuts = {0}, tmp = {0};
    struct err e = {0};
    int n_name = 0;
    for (const char *name; (name = pretok_name_at(n_name)); n_name++) {
        bool known;
        struct pretok *p = pretok_new(str_of(name), &known, &e);
        if (!p) fail_msg("%s: %s", name, e.msg);
        assert_true(known);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            struct buf b = {0};
            for (int i = 0; i < 50000; i++)
                buf_str(&b, units[u]);
            buf_str(&b, "x");
            const int64_t t0 = cpu_ns();
            pretok_split(p, buf_view(&b), &cuts, &tmp);
            const double s = seconds_since(t0);
            if (s > time_limit(0.3)) fail_msg("%s, unit %zu: %.2f s", name, u, s);
            assert_false(cuts.failed);
            size_t lo = 0;
            for (size_t i = 0; i < cuts.n; i++) {
                assert_true(cuts.end[i] > lo && ((uint8_t)b.p[lo] & 0xc0) != 0x80);
                lo = cuts.end[i];
            }
            assert_int_equal(lo, b.n);
            buf_fini(&b);
        }
        pretok_free(p);
    }
    assert_true(n_name >= 80);
    cuts_fini(&cuts);
    cuts_fini(&tmp);
}

static void unknown_pretokenizer_is_the_default(void **state) {
    (void)state;
    static const struct str text = STR("Hello, world! 12345 it's\n\n  <a+b>");
    struct cuts a = {0}, b = {0}, tmp = {0};
    struct err e = {0};
    bool known;
    struct pretok *p = pretok_new(STR("nobody-knows"), &known, &e);
    assert_false(known);
    struct pretok *q = pretok_new(STR("default"), &known, &e);
    assert_true(known);
    pretok_split(p, text, &a, &tmp);
    pretok_split(q, text, &b, &tmp);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.end, b.end, a.n * sizeof *a.end);
    pretok_free(p);
    pretok_free(q);
    cuts_fini(&a);
    cuts_fini(&b);
    cuts_fini(&tmp);
}

/* Prose: all English and other sentences of the golden files over and over. */
static void append_text(void *ctx, int line, json_t *c) {
    (void)line;
    const char *cat = json_string_value(json_object_get(c, "cat"));
    if (strcmp(cat, "prose") != 0 && strcmp(cat, "lang") != 0) return;
    buf_str(ctx, json_string_value(json_object_get(c, "text")));
    buf_str(ctx, " ");
}

static void a_megabyte_of_prose(void **state) {
    (void)state;
    static const char *const full[] = {"llama-bpe", "qwen2", "gpt-2", "llama-spm", "bert-bge"};
    static const char *const small[] = {"tiny-llama32", "tiny-phi3-4k", "tiny-bert"};
    for (int i = 0; i < (golden_is_full() ? 5 : 3); i++) {
        const char *name = golden_is_full() ? full[i] : small[i];
        char gguf[300], jsonl[300];
        if (golden_is_full())
            snprintf(gguf, sizeof gguf, "vocab/ggml-vocab-%s.gguf", name);
        else
            snprintf(gguf, sizeof gguf, "models/%s.gguf", name + 5);
        snprintf(jsonl, sizeof jsonl, "tokenizer/%s.jsonl", name);
        struct buf text = {0};
        while (text.n < 1000000)
            each_jsonl(golden(jsonl), append_text, &text);
        int64_t t0 = cpu_ns();
        struct model m = model_open(golden(gguf));
        const double load = seconds_since(t0);
        struct ids ids = {0};
        t0 = cpu_ns();
        encode(m.v, buf_view(&text), (struct tok_opts){0}, &ids);
        const double s = seconds_since(t0);
        print_message("%s: loaded in %.1f ms; %.2f MB in %.1f ms: %.1f MB/s, %zu tokens\n", name,
                      load * 1e3, (double)text.n * 1e-6, s * 1e3, (double)text.n * 1e-6 / s, ids.n);
        assert_true(s < time_limit(1.0));
        assert_true(load < time_limit(0.5)); /* goal 0.06; a busy machine gets some room */
        ids_fini(&ids);
        buf_fini(&text);
        model_close(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_tokenizers),
        cmocka_unit_test(golden_upstream_vectors),
        cmocka_unit_test(golden_pretokenizers),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(every_pretokenizer),
        cmocka_unit_test(unknown_pretokenizer_is_the_default),
        cmocka_unit_test(a_megabyte_of_prose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
