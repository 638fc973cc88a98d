/* The prefix cache in memory: sequences that begin alike share pages, what comes from the cache
 * gives the very bits of what is computed, and the cache gives way when the pool is short. */
#include "prefix_rig.h"

#include <stdlib.h>
#include <string.h>

enum { N = 300 };

static const char *const llama = "models/llama32.gguf";

static struct decode_request greedy(const int32_t *prompt, int n, int n_predict) {
    struct decode_request r = {.prompt = prompt, .n_prompt = n, .n_predict = n_predict};
    r.sampler = sampler_defaults();
    r.sampler.temperature = 0;
    r.ignore_eos = true;
    return r;
}

static void same_bits(const float *a, const float *b, const struct engine *g, const char *what) {
    const size_t n = (size_t)engine_n_vocab(g);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: logit %zu is %.9g; computed it is %.9g", what, i, (double)a[i],
                     (double)b[i]);
}

/* ---- sharing ---- */

/* A new session takes what another one, alive or gone, has computed, to the page. */
static void sequences_share(const char *rel, struct engine_opts o) {
    int32_t tok[N], other[N];
    int cached;
    o.n_ctx = 512, o.n_parallel = 2;
    struct engine *g = prefix_engine(golden(rel), o);
    prompt_make(tok, N, engine_n_vocab(g), 1);
    memcpy(other, tok, sizeof tok);
    other[200] ^= 1;
    float *want = plain_logits(golden(rel), o, tok, N), *want2, *got;
    want2 = plain_logits(golden(rel), o, other, N);
    got = prefix_logits(g, tok, N, &cached);
    assert_int_equal(cached, 0);
    same_bits(got, want, g, rel);
    free(got);
    got = prefix_logits(g, tok, N, &cached);
    assert_int_equal(cached, N / KV_PAGE * KV_PAGE);
    same_bits(got, want, g, rel);
    free(got);
    got = prefix_logits(g, other, N, &cached); /* they part within the fourth page */
    assert_int_equal(cached, 192);
    same_bits(got, want2, g, rel);
    free(got);
    got = prefix_logits(g, tok, 256, &cached); /* the last token is always fed */
    assert_int_equal(cached, 192);
    free(got);
    const struct prefix_stats st = prefix_stats(engine_prefix(g));
    assert_int_equal(st.n_page, 5);
    assert_int_equal(st.n_idle, 5);
    free(want);
    free(want2);
    engine_close(g);
}

static void test_sharing(void **state) {
    (void)state;
    static const char *const models[] = {"models/llama32.gguf", "models/gemma3.gguf",
                                         "models/phi3-4k.gguf"},
                             *const more[] = {"models/gpt2.gguf", "models/deepseek2-mla.gguf",
                                              "models/mixtral.gguf", "models/gpt-oss.gguf"};
    for (int i = 0; i < 3; i++)
        sequences_share(models[i], (struct engine_opts){.n_batch = 64});
    sequences_share(llama, (struct engine_opts){.k_type = QT_F16, .v_type = QT_BF16});
    sequences_share("models-quant/llamaq.Q4_K_M.gguf",
                    (struct engine_opts){.k_type = QT_Q8_0, .v_type = QT_Q4_0});
    for (int i = 0; golden_is_full() && i < 4; i++)
        sequences_share(more[i], (struct engine_opts){.k_type = QT_F16, .v_type = QT_F16});
}

/* Pages of an answer, computed token by token, serve a prompt that holds it as well. */
static void test_answers_are_remembered(void **state) {
    (void)state;
    int32_t tok[N];
    struct err e = {0};
    struct decode_stats st;
    const struct engine_opts o = {.n_ctx = 512, .n_parallel = 2};
    struct engine *g = prefix_engine(golden(llama), o);
    prompt_make(tok, 70, engine_n_vocab(g), 2);
    struct session *a = session_new(g, &e), *b = session_new(g, &e);
    struct decode_request r = greedy(tok, 70, 200);
    assert_int_equal(decode_run(a, &r, NULL, NULL, NULL, &st, &e), 0);
    assert_int_equal(session_n_tok(a), 269);
    memcpy(tok, session_tokens(a), 269 * sizeof *tok);
    r = greedy(tok, 269, 1);
    const int free_before = kv_pool_free_tokens(engine_kv(g));
    assert_int_equal(decode_run(b, &r, NULL, NULL, NULL, &st, &e), 0); /* while a lives */
    assert_int_equal(st.n_prompt_cached, 256);
    assert_int_equal(free_before - kv_pool_free_tokens(engine_kv(g)), KV_PAGE);
    session_free(b);
    int cached;
    float *got = prefix_logits(g, tok, 269, &cached),
          *want = plain_logits(golden(llama), o, tok, 269);
    assert_int_equal(cached, 256);
    same_bits(got, want, g, "an answer's pages");
    free(got);
    free(want);
    session_free(a);
    engine_close(g);
}

/* Going on where pages are shared changes neither the other sequence nor the cache. */
static void test_writing_beside_a_shared_page(void **state) {
    (void)state;
    int32_t tok[N], other[N];
    int cached;
    struct err e = {0};
    const struct engine_opts o = {.n_ctx = 512, .n_parallel = 2};
    struct engine *g = prefix_engine(golden(llama), o);
    prompt_make(tok, N, engine_n_vocab(g), 3);
    memcpy(other, tok, sizeof tok);
    for (int i = 100; i < N; i++)
        other[i] ^= 1;
    float *want = plain_logits(golden(llama), o, tok, N),
          *want2 = plain_logits(golden(llama), o, other, N), *got;
    struct session *a = session_new(g, &e);
    const float *v;
    assert_int_equal(session_feed(a, tok, N, NULL, NULL, &e), 0);
    session_remember(a);
    session_truncate(a, 100); /* within a page that the cache holds */
    assert_int_equal(session_feed(a, other + 100, N - 100, &v, NULL, &e), 0);
    same_bits(v, want2, g, "after the cut");
    got = prefix_logits(g, tok, N, &cached);
    assert_int_equal(cached, 256);
    same_bits(got, want, g, "of the cache");
    free(got);
    free(want);
    free(want2);
    session_free(a);
    engine_close(g);
}

/* ---- what must not enter ---- */

static void test_shifted_sequences_stay_out(void **state) {
    (void)state;
    int32_t tok[256];
    struct err e = {0};
    struct decode_stats st;
    const struct engine_opts o = {.n_ctx = 256};
    struct engine *g = prefix_engine(golden(llama), o);
    prompt_make(tok, 100, engine_n_vocab(g), 4);
    struct session *s = session_new(g, &e);
    struct decode_request r = greedy(tok, 100, 400);
    r.n_keep = 80;
    assert_int_equal(decode_run(s, &r, NULL, NULL, NULL, &st, &e), 0);
    assert_true(st.n_shift > 0);
    assert_in_range(prefix_stats(engine_prefix(g)).n_page, 0, 1); /* of the prompt, before */
    const int n = session_n_tok(s);
    assert_in_range(n, 160, 256);
    memcpy(tok, session_tokens(s), (size_t)n * sizeof *tok);
    session_free(s);
    int cached;
    float *got = prefix_logits(g, tok, n, &cached), *want = plain_logits(golden(llama), o, tok, n);
    assert_in_range(cached, 0, 64);
    same_bits(got, want, g, "the text after a shift");
    free(got);
    free(want);
    engine_close(g);
}

static void test_embedding_models_have_none(void **state) {
    (void)state;
    struct engine *g = prefix_engine(golden("models/bert.gguf"), (struct engine_opts){0});
    assert_null(engine_prefix(g));
    engine_close(g);
}

/* ---- giving way ---- */

/* A pool of 6 pages: the texts used longest ago go, from their ends. */
static void test_least_recently_used_goes(void **state) {
    (void)state;
    int32_t tok[3][200];
    int cached;
    struct engine *g = prefix_engine(golden(llama), (struct engine_opts){.n_ctx = 256});
    for (unsigned i = 0; i < 3; i++)
        prompt_make(tok[i], 200, engine_n_vocab(g), 10 + i);
    assert_int_equal(kv_pool_n_page(engine_kv(g)), 6);
#define ASK(i, n, want)                                                                            \
    do {                                                                                           \
        free(prefix_logits(g, tok[i], n, &cached));                                                \
        assert_int_equal(cached, want);                                                            \
    } while (0)
    ASK(0, 130, 0);   /* two full pages each */
    ASK(1, 130, 0);   /* 4 pages kept */
    ASK(0, 130, 128); /* 1 is now the older one */
    ASK(2, 190, 0);   /* takes 3 pages, of which 2 stay: the end of 1 went */
    assert_int_equal(prefix_stats(engine_prefix(g)).n_given, 1);
    ASK(0, 130, 128);
    ASK(1, 130, 64);
    ASK(2, 190, 64);
#undef ASK
    engine_close(g);
}

/* Whatever the cache holds, a session has the whole context for itself, shifts included. */
static void test_the_pool_is_never_short(void **state) {
    (void)state;
    int32_t tok[256];
    struct err e = {0};
    struct decode_stats st;
    struct engine *g = prefix_engine(golden(llama), (struct engine_opts){.n_ctx = 256});
    struct session *s = session_new(g, &e);
    for (unsigned i = 0; i < 40; i++) {
        const int n = 30 + (int)(i * 37 % 226);
        prompt_make(tok, n, engine_n_vocab(g), 20 + i % 2);
        struct decode_request r = greedy(tok, n, 10 + (int)(i * 53 % 250));
        r.n_keep = i % 3 ? (int)(i * 11 % 250) : -1;
        if (decode_run(s, &r, NULL, NULL, NULL, &st, &e) != 0) fail_msg("prompt %u: %s", i, e.msg);
        if (i % 5 == 4) {
            session_free(s);
            s = session_new(g, &e);
        }
    }
    const struct prefix_stats x = prefix_stats(engine_prefix(g));
    if (x.n_given < 20 || x.n_found < 1) fail_msg("%ld %ld", x.n_given, x.n_found);
    session_free(s);
    engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_answers_are_remembered),
        cmocka_unit_test(test_writing_beside_a_shared_page),
        cmocka_unit_test(test_shifted_sequences_stay_out),
        cmocka_unit_test(test_embedding_models_have_none),
        cmocka_unit_test(test_least_recently_used_goes),
        cmocka_unit_test(test_the_pool_is_never_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
