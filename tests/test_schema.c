/* JSON schemas as grammars: a corpus whose instances are read, and answers made at random under the
 * masks of a real vocabulary, each judged by a validator of the tests' own (validate.h). */
#include "support.h"
#include "validate.h"

#include <stdlib.h>
#include <string.h>

#include "sample/rng.h"
#include "text/grammar/grammar.h"
#include "text/grammar/schema.h"
#include "text/vocab.h"

enum { N_WALK = 24, MAX_TOKENS = 500 };

struct tokens {
    struct gguf *gguf;
    struct vocab *v;
    struct grammar_vocab *gv;
    int n;
    uint32_t *mask;
    struct rng rng;
    int n_answer, n_endless;
    bool valid_known; /* the corpus' own labels are checked, too */
};

static struct tokens tok;

static int set_up(void **state) {
    struct err e = {0};
    (void)state;
    tok.gguf = gguf_open(
        golden(golden_is_full() ? "vocab/ggml-vocab-gpt-2.gguf" : "models/llama32.gguf"), &e);
    tok.v = tok.gguf ? vocab_load(tok.gguf, &e) : NULL;
    if (!tok.v) return -1;
    tok.n = vocab_size(tok.v);
    tok.gv = grammar_vocab_new(tok.v, tok.n, &e);
    tok.mask = calloc((size_t)tok.n / 32 + 1, sizeof *tok.mask);
    rng_seed(&tok.rng, 20);
    return tok.gv && tok.mask ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    grammar_vocab_free(tok.gv);
    vocab_free(tok.v);
    gguf_close(tok.gguf);
    free(tok.mask);
    return 0;
}

static struct grammar *grammar_of(const json_t *schema, struct err *e) {
    struct buf b = {0};
    struct grammar *g = NULL;
    if (schema_to_gbnf(schema, &b, e) == 0) g = grammar_parse(buf_view(&b), e);
    buf_fini(&b);
    return g;
}

static bool reads(const struct grammar *g, const json_t *v, size_t flags) {
    struct err e = {0};
    char *text = json_dumps(v, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    struct acceptor *a = accept_new(g, &e);
    bool ok = true;
    for (const char *p = text; ok && *p; p++)
        ok = accept_byte(a, (uint8_t)*p, &e) == 1;
    ok = ok && accept_done(a);
    accept_free(a);
    free(text);
    return ok;
}

/* ---- random answers ---- */

static bool may(int32_t id) {
    return id >= 0 && tok.mask[id / 32] >> id % 32 & 1;
}

/* An allowed token: what ends things, the sooner the longer the answer is, or any. */
static int32_t draw(int n_token) {
    static const char *const closers[] = {"\"", "]", "}", ",", ":", "1", "0", "null"};
    const int32_t eos = vocab_special(tok.v)->eos;
    if (may(eos) && rng_unit(&tok.rng) < 0.3 + n_token / 100.0) return eos;
    if (rng_unit(&tok.rng) < n_token / 60.0) {
        for (size_t i = 0; i < 8; i++) {
            const int32_t id = vocab_find(tok.v, str_of(closers[i]));
            if (may(id) && (i > 2 || rng_unit(&tok.rng) < 0.9)) return id;
        }
    }
    const int32_t from = (int32_t)(rng_unit(&tok.rng) * tok.n);
    for (int32_t i = 0; i < tok.n; i++)
        if (may((from + i) % tok.n)) return (from + i) % tok.n;
    return -1;
}

/* false: no end in sight. */
static bool answer(const struct grammar *g, const char *name, struct buf *out) {
    struct err e = {0};
    struct acceptor *a = accept_new(g, &e);
    bool ended = false;
    if (!a) fail_msg("%s: %s", name, e.msg);
    for (int i = 0; i < MAX_TOKENS && !ended; i++) {
        if (accept_mask(a, tok.gv, tok.mask, &e) < 0) fail_msg("%s: %s", name, e.msg);
        const int32_t id = draw(i);
        if (id < 0) fail_msg("%s: cannot go on behind: %s", name, out->p ? out->p : "");
        if (accept_token(a, tok.gv, id, &e) != 1) fail_msg("%s: a mask that is wrong", name);
        ended = vocab_is_eog(tok.v, id);
        tok_piece(tok.v, id, false, out);
    }
    accept_free(a);
    return ended;
}

static void walk(const struct grammar *g, const json_t *schema, const char *name) {
    for (int i = 0; i < N_WALK; i++) {
        struct buf out = {0};
        json_error_t je;
        const char *why;
        tok.n_answer++;
        if (answer(g, name, &out)) {
            json_t *v = json_loadb(out.p, out.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
            if (!v) fail_msg("%s: no JSON (%s): %s", name, je.text, out.p);
            if (!schema_valid(schema, schema, v, &why))
                fail_msg("%s: not valid (%s): %s", name, why, out.p);
            json_decref(v);
        } else {
            tok.n_endless++;
        }
        buf_fini(&out);
    }
}

/* ---- the corpus ---- */

static void refused(const json_t *line, const char *name) {
    const char *word = json_string_value(json_object_get(line, "refused"));
    struct err e = {0};
    struct grammar *g = grammar_of(json_object_get(line, "schema"), &e);
    if (g) fail_msg("%s: not refused", name);
    if (!strstr(e.msg, word)) fail_msg("%s: refused with: %s", name, e.msg);
}

static void one_schema(void *ctx, int line, json_t *v) {
    const json_t *schema = json_object_get(v, "schema"), *one;
    const char *name = json_string_value(json_object_get(v, "name"));
    struct err e = {0};
    size_t i;
    (void)ctx, (void)line;
    if (json_object_get(v, "refused")) {
        refused(v, name);
        return;
    }
    struct grammar *g = grammar_of(schema, &e);
    if (!g) fail_msg("%s: %s", name, e.msg);
    const bool judged = !json_is_false(json_object_get(v, "walk")); /* what the validator knows */
    json_array_foreach(json_object_get(v, "valid"), i, one) {
        static const size_t flags[] = {JSON_COMPACT, JSON_INDENT(2), JSON_ENSURE_ASCII,
                                       JSON_INDENT(4)};
        if (judged && tok.valid_known && !schema_valid(schema, schema, one, NULL))
            fail_msg("%s: valid %zu is not", name, i);
        for (int k = 0; k < 4; k++)
            if (tok.valid_known && !reads(g, one, flags[k])) fail_msg("%s: valid %zu", name, i);
    }
    json_array_foreach(json_object_get(v, "invalid"), i, one) {
        if (judged && schema_valid(schema, schema, one, NULL))
            fail_msg("%s: invalid %zu is valid", name, i);
        if (reads(g, one, JSON_COMPACT)) fail_msg("%s: invalid %zu", name, i);
    }
    if (judged) walk(g, schema, name);
    grammar_free(g);
}

static void corpus(void **state) {
    (void)state;
    tok.valid_known = true;
    assert_true(each_jsonl("tests/schemas.jsonl", one_schema, NULL) > 100);
    print_message("%d answers, %d without an end\n", tok.n_answer, tok.n_endless);
    assert_true(tok.n_endless * 10 < tok.n_answer);
}

static void golden_schemas(void **state) {
    (void)state;
    tok.valid_known = false; /* one has its keys in another order: test_grammar.c */
    assert_int_equal(each_jsonl(golden("grammar/schemas.jsonl"), one_schema, NULL), 29);
}

/* ---- patterns against PCRE2 ---- */

static void random_pattern(struct buf *b, int depth) {
    static const char *const atoms[] = {"a",    "b",   "c",   ".",   "[ab]",
                                        "[^a]", "\\w", "\\d", "\\D", "[^\\db]"};
    static const char *const times[] = {"", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"};
    const int n = (int)(rng_unit(&tok.rng) * 4);
    for (int i = 0; i <= n; i++) {
        if (depth > 0 && rng_unit(&tok.rng) < 0.3) {
            buf_str(b, rng_unit(&tok.rng) < 0.5 ? "(" : "(?:");
            random_pattern(b, depth - 1);
            buf_str(b, ")");
        } else {
            buf_str(b, atoms[(int)(rng_unit(&tok.rng) * 10)]);
        }
        buf_str(b, times[(int)(rng_unit(&tok.rng) * 10)]);
        if (rng_unit(&tok.rng) < 0.1) buf_str(b, "|");
    }
}

static void patterns_find_what_pcre2_finds(void **state) {
    (void)state;
    int n_pattern = 0, n_found = 0;
    for (int i = 0; i < 600; i++) {
        struct buf b = {0};
        struct err e = {0};
        const double how = rng_unit(&tok.rng);
        buf_str(&b, how < 0.5 ? "^(" : "");
        random_pattern(&b, 2);
        buf_str(&b, how < 0.4 ? ")$" : how < 0.5 ? ")" : "");
        json_t *schema =
            json_pack("{s:s, s:s, s:i}", "type", "string", "pattern", b.p, "maxLength", 7);
        struct grammar *g = grammar_of(schema, &e);
        if (!g && e.code != ERR_LIMIT && !strstr(e.msg, "no value")) fail_msg("%s: %s", b.p, e.msg);
        n_pattern += g != NULL;
        for (int k = 0; g && k < 40; k++) {
            char text[8] = "";
            const int n = (int)(rng_unit(&tok.rng) * 8);
            for (int c = 0; c < n; c++)
                text[c] = "abc1"[(int)(rng_unit(&tok.rng) * 4)];
            json_t *v = json_string(text);
            const bool want = regex_finds(b.p, text);
            n_found += want;
            if (reads(g, v, 0) != want) fail_msg("%s: \"%s\"", b.p, text);
            json_decref(v);
        }
        grammar_free(g);
        json_decref(schema);
        buf_fini(&b);
    }
    assert_true(n_pattern > 500 && n_found > 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus),
        cmocka_unit_test(golden_schemas),
        cmocka_unit_test(patterns_find_what_pcre2_finds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
