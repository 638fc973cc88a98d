/* Speculation: the answer with it is the answer without, to the bit of each logit, for every way of
 * choosing tokens and of ending; what may go together; the parts that guess and that count costs;
 * the options of the command. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "engine/decode.h"
#include "engine/ngram.h"
#include "engine/speculate.h"

static const char *const llama = "models/llama32.gguf";

struct open {
    struct engine *g;
    struct session *s, *other; /* other: on the same engine, to draft */
};

static struct open open_model(const char *rel, struct engine_opts o) {
    struct err e = {0};
    struct open p = {0};
    o.n_threads = 2, o.n_parallel = 2;
    p.g = engine_open(golden(rel), &o, &e);
    if (!p.g) fail_msg("%s", e.msg);
    p.s = session_new(p.g, &e);
    p.other = session_new(p.g, &e);
    assert_true(p.s && p.other);
    return p;
}

static void close_model(struct open *p) {
    session_free(p->s);
    session_free(p->other);
    engine_close(p->g);
}

/* All that an answer was. */
struct heard {
    int32_t id[2048];
    struct candidate chosen[2048];
    int n, cancel_after;
    struct buf text;
    struct decode_stats st;
    int32_t held[2048]; /* by the session at the end */
    int n_held;
};

static int hear(void *ctx, const struct decode_event *ev) {
    struct heard *h = ctx;
    buf_append(&h->text, ev->text.p, ev->text.n);
    if (ev->token >= 0) {
        h->chosen[h->n] = ev->chosen;
        h->id[h->n++] = ev->token;
    }
    return h->cancel_after && h->n >= h->cancel_after;
}

static struct heard *answer(struct session *s, const struct decode_request *r, int cancel_after) {
    struct heard *h = calloc(1, sizeof *h);
    struct err e = {0};
    h->cancel_after = cancel_after;
    session_truncate(s, 0);
    if (decode_run(s, r, hear, h, NULL, &h->st, &e) != 0) fail_msg("%s", e.msg);
    h->n_held = session_n_tok(s);
    memcpy(h->held, session_tokens(s), (size_t)h->n_held * sizeof *h->held);
    return h;
}

static void heard_free(struct heard *h) {
    buf_fini(&h->text);
    free(h);
}

/* The same answer with and without; returns how many tokens were guessed. */
static int check_same(struct open *p, struct decode_request r, int cancel_after) {
    r.n_draft = -1;
    struct heard *plain = answer(p->s, &r, cancel_after);
    int drafted = 0;
    assert_int_equal(plain->st.n_drafted, 0);
    for (int pass = 0; pass < 3; pass++) {
        r.n_draft = pass == 1 ? 3 : 0;
        r.draft = pass == 2 ? p->other : NULL;
        struct heard *h = answer(p->s, &r, cancel_after);
        assert_int_equal(h->n, plain->n);
        assert_memory_equal(h->id, plain->id, (size_t)h->n * sizeof *h->id);
        assert_memory_equal(h->chosen, plain->chosen, (size_t)h->n * sizeof *h->chosen);
        assert_int_equal(h->text.n, plain->text.n);
        if (h->text.n) assert_memory_equal(h->text.p, plain->text.p, h->text.n);
        assert_int_equal(h->st.why, plain->st.why);
        assert_int_equal(h->st.n_eval, plain->st.n_eval);
        assert_int_equal(h->st.n_shift, plain->st.n_shift);
        assert_int_equal(h->n_held, plain->n_held);
        assert_memory_equal(h->held, plain->held, (size_t)h->n_held * sizeof *h->held);
        assert_in_range(h->st.n_accepted, 0, h->st.n_drafted);
        drafted += h->st.n_drafted;
        heard_free(h);
    }
    heard_free(plain);
    return drafted;
}

/* A text that repeats itself. */
static void make_prompt(int32_t *tok, int n, int n_vocab) {
    unsigned x = 12345;
    for (int i = 0; i < n; i++) {
        x = x * 1103515245u + 12345u;
        tok[i] = i < 9 ? (int32_t)(3 + (x >> 16) % (unsigned)(n_vocab - 3)) : tok[i - 9];
    }
}

static struct decode_request request(const int32_t *prompt, int n, int n_predict) {
    struct decode_request r = {.prompt = prompt, .n_prompt = n, .n_predict = n_predict};
    r.sampler = sampler_defaults();
    r.sampler.temperature = 0;
    r.sampler.seed = 7;
    r.ignore_eos = true;
    return r;
}

/* ---- the same answer ---- */

static void test_every_sampler(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 512});
    int32_t tok[40];
    int drafted = 0;
    make_prompt(tok, 40, engine_n_vocab(p.g));
    for (int kind = 0; kind < 6; kind++) {
        struct decode_request r = request(tok, 40, 200);
        struct sampler_opts *o = &r.sampler;
        if (kind > 0) o->temperature = 0.8f;
        if (kind == 2) o->repeat_penalty = 1.3f, o->presence_penalty = 0.5f;
        if (kind == 3) o->mirostat = 2;
        if (kind == 4) o->dry_multiplier = 0.8f, o->xtc_probability = 0.3f;
        if (kind == 5) o->temperature = 0.1f, o->top_k = 2; /* often the same */
        r.n_logprobs = kind == 1 || kind == 5 ? 5 : 0;
        r.ignore_eos = kind != 5;
        drafted += check_same(&p, r, 0);
    }
    assert_true(drafted > 100);
    close_model(&p);
}

static void test_every_model(void **state) {
    (void)state;
    static const char *const model[] = {"llama32", "gemma3",  "phi3-4k",       "qwen2",
                                        "gemma2",  "mixtral", "deepseek2-mla", "gpt2",
                                        "gpt-oss", "mistral"};
    int drafted = 0;
    for (int m = 0; m < (golden_is_full() ? 10 : 3); m++) {
        char rel[64];
        snprintf(rel, sizeof rel, "models/%s.gguf", model[m]);
        struct open p =
            open_model(rel, (struct engine_opts){.n_ctx = 160, .k_type = QT_F16, .v_type = QT_F16});
        int32_t tok[40];
        make_prompt(tok, 40, engine_n_vocab(p.g));
        struct decode_request r = request(tok, 40, 100);
        r.n_logprobs = 2;
        drafted += check_same(&p, r, 0);
        close_model(&p);
    }
    assert_true(drafted > 100);
}

static void test_full_context(void **state) {
    (void)state;
    int32_t tok[40];
    int drafted = 0;
    for (int n_ctx = 64; n_ctx < 68; n_ctx++) {
        struct open p =
            open_model(llama, (struct engine_opts){.n_ctx = n_ctx, .n_batch = n_ctx == 65 ? 5 : 0});
        make_prompt(tok, 40, engine_n_vocab(p.g));
        for (int keep = -1; keep < 30; keep += 10) {
            struct decode_request r = request(tok, 40, 300);
            r.n_keep = keep;
            drafted += check_same(&p, r, 0);
        }
        struct decode_request r = request(tok, 40, 300);
        r.no_shift = true;
        drafted += check_same(&p, r, 0);
        r.n_prompt = 64, r.prompt = calloc(64, sizeof *tok); /* nothing fits but one token */
        make_prompt((int32_t *)(uintptr_t)r.prompt, 64, engine_n_vocab(p.g));
        check_same(&p, r, 0);
        free((void *)(uintptr_t)r.prompt);
        close_model(&p);
    }
    assert_true(drafted > 100);
}

static void test_ends_anywhere(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 256});
    int32_t tok[40];
    int drafted = 0;
    make_prompt(tok, 40, engine_n_vocab(p.g));
    struct decode_request r = request(tok, 40, 60);
    struct heard *whole = answer(p.s, &r, 0);
    for (int n = 0; n < 60; n += 3) { /* in the middle of what was accepted, or between */
        r.n_predict = n;
        drafted += check_same(&p, r, 0);
        r.n_predict = 60;
        if (n) drafted += check_same(&p, r, n);
    }
    for (size_t at = 1; at + 4 < whole->text.n; at += 5) {
        const struct str stop = {whole->text.p + at, 4};
        r.stop = &stop, r.n_stop = 1;
        drafted += check_same(&p, r, 0);
    }
    r.stop = NULL, r.n_stop = 0, r.ignore_eos = false;
    for (int i = 0; i < 16; i++) { /* the end token, sooner or later */
        struct logit_bias b = {vocab_special(engine_vocab(p.g))->eos, 0.5f * (float)i};
        r.sampler.bias = &b, r.sampler.n_bias = 1;
        drafted += check_same(&p, r, 0);
    }
    assert_true(drafted > 100);
    heard_free(whole);
    close_model(&p);
}

/* ---- draft models ---- */

static void test_equal_draft_is_always_right(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 512}),
                q = open_model(llama, (struct engine_opts){.n_ctx = 512});
    int32_t tok[8];
    make_prompt(tok, 8, engine_n_vocab(p.g)); /* nothing repeats */
    struct decode_request r = request(tok, 8, 12);
    r.draft = q.s;
    struct heard *h = answer(p.s, &r, 0);
    assert_true(h->st.n_drafted > 0);
    assert_int_equal(h->st.n_accepted, h->st.n_drafted);
    heard_free(h);
    close_model(&p);
    close_model(&q);
}

static void refused(struct session *s, const struct decode_request *r, enum err_code code,
                    const char *word) {
    struct err e = {0};
    assert_int_equal(decode_run(s, r, NULL, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, word)) fail_msg("%s: no \"%s\"", e.msg, word);
}

static void test_refused(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 64}),
                phi = open_model("models/phi3-4k.gguf", (struct engine_opts){.n_ctx = 64}),
                bert = open_model("models/bert.gguf", (struct engine_opts){.n_ctx = 64});
    int32_t tok[8];
    make_prompt(tok, 8, engine_n_vocab(p.g));
    struct decode_request r = request(tok, 8, 4);
    r.draft = phi.s;
    refused(p.s, &r, ERR_UNSUPPORTED, "must be the same");
    refused(p.s, &r, ERR_UNSUPPORTED, golden("models/phi3-4k.gguf"));
    r.draft = bert.s;
    refused(p.s, &r, ERR_UNSUPPORTED, "language model");
    r.draft = p.s;
    refused(p.s, &r, ERR_USAGE, "draft");
    r.draft = NULL, r.n_draft = SPECULATE_MAX + 1;
    refused(p.s, &r, ERR_USAGE, "num_draft");
    r.n_draft = -2;
    refused(p.s, &r, ERR_USAGE, "num_draft");
    close_model(&p);
    close_model(&phi);
    close_model(&bert);
}

/* ---- n-grams ---- */

/* Does text[at..] follow an earlier place with the same two tokens before? */
static bool stood_before(const int32_t *text, int n, int32_t next) {
    for (int i = 2; i < n; i++)
        if (text[i - 2] == text[n - 2] && text[i - 1] == text[n - 1] && text[i] == next)
            return true;
    return false;
}

static bool pair_stood_before(const int32_t *text, int n) {
    for (int i = 2; i < n; i++)
        if (text[i - 2] == text[n - 2] && text[i - 1] == text[n - 1]) return true;
    return false;
}

/* A guess is what followed somewhere, and there is one whenever the last pair is known. */
static void test_ngram_finds_pairs(void **state) {
    (void)state;
    enum { N = 900 };
    static int32_t text[N];
    struct ngram *g = ngram_new(N, NULL);
    unsigned x = 1;
    int n_guess = 0;
    for (int n = 0; n < N; n++) {
        int32_t id[4];
        float p[4];
        const int got = ngram_guess(g, 4, id, p);
        assert_int_equal(got, n >= 2 && pair_stood_before(text, n) ? 4 : 0);
        if (got && !stood_before(text, n, id[0])) fail_msg("token %d: no such place", n);
        for (int i = 0; i < got; i++)
            assert_true(p[i] > 0 && p[i] < 1);
        n_guess += got > 0;
        x = x * 1103515245u + 12345u;
        text[n] = (int32_t)((x >> 16) % 12);
        ngram_push(g, text[n]);
    }
    assert_true(n_guess > N / 2);
    ngram_free(g);
}

/* Of several places the one with the longest match; a loop goes on over its own end. */
static void test_ngram_guesses(void **state) {
    (void)state;
    static const int32_t text[] = {1, 2, 3, 4, 9, 2, 3, 5, 8, 1, 2, 3};
    struct ngram *g = ngram_new(100, NULL);
    int32_t id[16];
    float p[16];
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        ngram_push(g, text[i]);
    assert_int_equal(ngram_guess(g, 3, id, p), 3);
    assert_int_equal(id[0], 4); /* after 1 2 3, not 5 as after the later 2 3 */
    assert_int_equal(id[1], 9);
    for (int i = 0; i < 40; i++)
        ngram_push(g, 20 + i % 3);
    assert_int_equal(ngram_guess(g, 16, id, p), 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(id[i], 20 + (40 + i) % 3);
    assert_true(p[15] > 0.85f);
    ngram_free(g);
}

/* The ring is smaller than the text: old places are not taken for new ones. */
static void test_ngram_forgets(void **state) {
    (void)state;
    struct ngram *g = ngram_new(1, NULL); /* 1024 tokens */
    int32_t id[16];
    float p[16];
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(ngram_guess(g, 16, id, p), 0);
        ngram_push(g, i);
    }
    for (int i = 0; i < 2000; i++) {
        ngram_push(g, i % 1000); /* in reach; the pair 0 1 of the start is not */
        if (i == 1) assert_int_equal(ngram_guess(g, 1, id, p), 0);
        if (i > 1001) assert_int_equal(ngram_guess(g, 2, id, p), 2);
        if (i > 1001) assert_int_equal(id[1], (i + 2) % 1000);
    }
    for (int i = 0; i < 3000; i++)
        ngram_push(g, i % 1025); /* just out of reach */
    assert_int_equal(ngram_guess(g, 1, id, p), 0);
    ngram_free(g);
}

/* Trust follows what happened. */
static void test_odds(void **state) {
    (void)state;
    struct odds o;
    odds_init(&o, 0.5f);
    assert_true(odds_p(&o) == 0.5f);
    for (int i = 0; i < 60; i++)
        odds_add(&o, true);
    assert_true(odds_p(&o) > 0.95f);
    for (int i = 0; i < 20; i++)
        odds_add(&o, false);
    assert_true(odds_p(&o) < 0.4f);
}

/* ---- costs ---- */

static void test_step_cost(void **state) {
    (void)state;
    struct step_cost c = {0};
    step_cost_add(&c, 4, 1000); /* nothing to compare with yet */
    assert_true(step_cost(&c, 1) == 1 && step_cost(&c, 2) < step_cost(&c, 16));
    for (int i = 0; i < 50; i++)
        step_cost_add(&c, 1, 1000);
    for (int i = 0; i < 50; i++)
        step_cost_add(&c, 5, 1400), step_cost_add(&c, 9, 2600);
    assert_true(step_cost(&c, 5) > 1.35 && step_cost(&c, 5) < 1.45);
    assert_true(step_cost(&c, 7) > 1.9 && step_cost(&c, 7) < 2.1); /* between */
    assert_true(step_cost(&c, 3) > 1.15 && step_cost(&c, 3) < 1.25);
    assert_true(step_cost(&c, 17) > 3); /* beyond */
    step_cost_add(&c, 5, 1000000);      /* the machine was elsewhere */
    assert_true(step_cost(&c, 5) < 2);
    step_cost_add(&c, 1, 1000000);
    assert_true(c.one_ns < 1200);
    /* A figure that nobody checks any more fades. */
    for (int i = 0; i < 20; i++)
        step_cost_add(&c, 2, 5000);
    const double before = step_cost(&c, 2);
    assert_true(before > 3);
    for (int i = 0; i < 2000; i++)
        step_cost_add(&c, 1, 1000);
    assert_true(step_cost(&c, 2) < 1.5);
}

/* Rows of prompts beside rows that decode: as many as the stretch of a step allows. */
static void test_prompt_rows(void **state) {
    (void)state;
    struct step_cost c = {0};
    assert_in_range(step_cost_prompt_rows(&c, 1), 1, 20); /* a guess */
    for (int i = 0; i < 50; i++)
        step_cost_add(&c, 1, 1000000), step_cost_add(&c, 8, 2000000);
    for (int i = 0; i < 50; i++) /* a row costs 50 us */
        step_cost_add_prompt(&c, 8, 20, 3000000);
    const int n = step_cost_prompt_rows(&c, 8);
    assert_in_range(n, (int)(2000 * (STEP_STRETCH - 1) / 50) - 1,
                    (int)(2000 * (STEP_STRETCH - 1) / 50) + 1);
    assert_true(step_cost_prompt_rows(&c, 1) < n);
    for (int i = 0; i < 50; i++) /* deep in a text it costs more */
        step_cost_add_prompt(&c, 8, n, 2000000 + (int64_t)n * 200000);
    assert_in_range(step_cost_prompt_rows(&c, 8), 5, 7);
    step_cost_add_prompt(&c, 0, 512, 1); /* says nothing */
    assert_in_range(step_cost_prompt_rows(&c, 8), 5, 7);
    for (int i = 0; i < 100; i++)
        step_cost_add_prompt(&c, 8, 1, 1000000000);
    assert_int_equal(step_cost_prompt_rows(&c, 8), 1); /* never none */
}

/* ---- the command ---- */

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

static void test_command(void **state) {
    (void)state;
    const char *model = golden(llama), *phi = golden("models/phi3-4k.gguf");
    char self[600], other[600];
    snprintf(self, sizeof self, "draft=%s", model);
    snprintf(other, sizeof other, "draft=%s", phi);
    struct ran a, b;
    assert_int_equal(RUN(a, "run", model, "--raw", "abc abc abc abc", "-o", "temperature=0", "-o",
                         "num_predict=200", "-o", "ignore_eos=1", "-o", "num_draft=0", "--verbose"),
                     0);
    assert_null(strstr(a.err.p, "draft count"));
    const char *const how[] = {"num_draft=16", "num_draft=1", "draft_num_predict=4", self};
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        assert_int_equal(RUN(b, "run", model, "--raw", "abc abc abc abc", "-o", "temperature=0",
                             "-o", "num_predict=200", "-o", "ignore_eos=1", "-o", how[i],
                             "--verbose"),
                         0);
        assert_string_equal(a.out.p, b.out.p);
        assert_non_null(strstr(b.err.p, "draft count:          "));
        ran_fini(&b);
    }
    ran_fini(&a);
    static const struct {
        const char *option, *word;
        int code;
    } bad[] = {
        {"num_draft=17", "0 to 16", 2},
        {"num_draft=-1", "0 to 16", 2},
        {"num_draft=many", "integer", 2},
        {"draft=/nowhere.gguf", "/nowhere.gguf", 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(RUN(b, "run", model, "--raw", "x", "-o", bad[i].option), bad[i].code);
        if (!strstr(b.err.p, bad[i].word)) fail_msg("%s: no \"%s\"", b.err.p, bad[i].word);
        ran_fini(&b);
    }
    assert_int_equal(RUN(b, "run", model, "--raw", "x", "-o", other), 1);
    assert_non_null(strstr(b.err.p, "vocabularies must be the same"));
    ran_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sampler),
        cmocka_unit_test(test_every_model),
        cmocka_unit_test(test_full_context),
        cmocka_unit_test(test_ends_anywhere),
        cmocka_unit_test(test_equal_draft_is_always_right),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ngram_finds_pairs),
        cmocka_unit_test(test_ngram_guesses),
        cmocka_unit_test(test_ngram_forgets),
        cmocka_unit_test(test_odds),
        cmocka_unit_test(test_step_cost),
        cmocka_unit_test(test_prompt_rows),
        cmocka_unit_test(test_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
