/* libcria as a program outside sees it: the public header only, every function, its errors, two
 * threads on one model; and the example program, built and run. */
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cria.h"
#include "rewrite.h"

static const char *const llama = "models/llama32.gguf";

static cria_model *open_model(const char *path, int n_sessions) {
    cria_model_options o;
    cria_error e = {0};
    cria_model_options_init(&o, sizeof o);
    o.n_ctx = 128, o.n_threads = 2, o.n_sessions = n_sessions;
    cria_model *m = cria_model_open(path, &o, &e);
    if (!m) fail_msg("%s", e.message);
    return m;
}

/* An answer: the pieces put together. */
struct said {
    char text[2048];
    size_t n;
    int n_token, stop_after;
};

static int hear(void *user, const char *text, size_t n_bytes, int32_t token) {
    struct said *s = user;
    assert_int_equal(text[n_bytes], 0);
    assert_true(s->n + n_bytes < sizeof s->text);
    memcpy(s->text + s->n, text, n_bytes + 1);
    s->n += n_bytes;
    s->n_token += token >= 0;
    return s->stop_after && s->n_token >= s->stop_after;
}

static cria_generate_options short_greedy(void) {
    cria_generate_options o;
    cria_generate_options_init(&o, sizeof o);
    o.temperature = 0;
    o.n_predict = 24;
    return o;
}

static void test_version(void **state) {
    (void)state;
    assert_int_equal(cria_api_version(), CRIA_API_VERSION);
    assert_true(strlen(cria_version()) >= 5);
    assert_string_equal(cria_status_name(CRIA_OK), "ok");
    assert_string_equal(cria_status_name(CRIA_ERROR_CANCELLED), "cancelled");
    assert_string_equal(cria_status_name(99), "unknown");
    assert_string_equal(cria_status_name(-1), "unknown");
}

static void test_model(void **state) {
    (void)state;
    cria_model *m = open_model(golden(llama), 1);
    assert_string_equal(cria_model_arch(m), "llama");
    assert_int_equal(cria_model_n_vocab(m), 448);
    assert_int_equal(cria_model_n_embd(m), 64);
    assert_int_equal(cria_model_n_ctx(m), 128);
    assert_int_equal(cria_model_is_embedding(m), 0);
    cria_model_close(m);
    m = open_model(golden("models/bert.gguf"), 1);
    assert_int_equal(cria_model_is_embedding(m), 1);
    cria_model_close(m);
    cria_model_close(NULL);
    cria_session_free(NULL);
}

static void test_open_errors(void **state) {
    (void)state;
    cria_error e = {0};
    cria_model_options o;
    assert_null(cria_model_open("/nowhere.gguf", NULL, &e));
    assert_int_equal(e.status, CRIA_ERROR_NOT_FOUND);
    assert_non_null(strstr(e.message, "/nowhere.gguf"));
    assert_null(cria_model_open("/nowhere.gguf", NULL, NULL));
    assert_null(cria_model_open(NULL, NULL, &e));
    assert_int_equal(e.status, CRIA_ERROR_USAGE);
    memset(&o, 0, sizeof o); /* not initialized: size 0 */
    assert_null(cria_model_open(golden(llama), &o, &e));
    assert_int_equal(e.status, CRIA_ERROR_USAGE);
    cria_model_options_init(&o, sizeof o);
    o.kv_type = "q2_k";
    assert_null(cria_model_open(golden(llama), &o, &e));
    assert_non_null(strstr(e.message, "kv_type"));
    cria_model_options_init(&o, sizeof o);
    o.n_ctx = -5;
    assert_null(cria_model_open(golden(llama), &o, &e));
    assert_int_equal(e.status, CRIA_ERROR_USAGE);
}

/* A program built against an older header passes a shorter struct; against a newer one, a longer
 * struct whose unknown fields are zero. */
static void test_options_of_other_sizes(void **state) {
    (void)state;
    cria_error e = {0};
    struct {
        cria_model_options o;
        char newer[32];
    } big;
    memset(&big, 0x55, sizeof big);
    cria_model_options_init(&big.o, sizeof big);
    assert_int_equal(big.o.size, sizeof big);
    assert_int_equal(big.newer[31], 0);
    cria_model *m = cria_model_open(golden(llama), &big.o, &e);
    assert_non_null(m);
    cria_model_close(m);
    cria_model_options small;
    memset(&small, 0x55, sizeof small);
    cria_model_options_init(&small, offsetof(cria_model_options, kv_type));
    assert_int_equal(small.n_ctx, 0);
    assert_int_equal(((unsigned char *)&small)[sizeof small - 1], 0x55);
    m = cria_model_open(golden(llama), &small, &e);
    assert_non_null(m);
    cria_model_close(m);
}

static void test_tokens(void **state) {
    (void)state;
    cria_model *m = open_model(golden(llama), 1);
    cria_error e = {0};
    int32_t ids[64];
    char text[64];
    const char *hello = "Hello, world";
    const long n = cria_tokenize(m, hello, strlen(hello), 0, ids, 64, &e);
    assert_true(n > 1 && n < 20);
    assert_int_equal(cria_tokenize(m, hello, strlen(hello), 0, NULL, 0, &e), n);
    ids[1] = -7;
    assert_int_equal(cria_tokenize(m, hello, strlen(hello), 0, ids, 1, &e), n);
    assert_int_equal(ids[1], -7); /* beyond the room: not written */
    cria_tokenize(m, hello, strlen(hello), 0, ids, 64, &e);
    assert_int_equal(cria_detokenize(m, ids, (size_t)n, 0, text, sizeof text, &e), strlen(hello));
    assert_string_equal(text, hello);
    assert_int_equal(cria_detokenize(m, ids, (size_t)n, 0, text, 6, &e), strlen(hello));
    assert_string_equal(text, "Hello");
    ids[0] = 1 << 30;
    assert_int_equal(cria_detokenize(m, ids, 1, 0, text, sizeof text, &e), -1);
    assert_int_equal(e.status, CRIA_ERROR_FORMAT);
    cria_model_close(m);
}

static void test_generate(void **state) {
    (void)state;
    cria_model *m = open_model(golden(llama), 1);
    cria_error e = {0};
    cria_session *s = cria_session_new(m, &e);
    cria_generate_options o = short_greedy();
    struct said a = {.n = 0}, b = {.n = 0};
    cria_result r;
    assert_int_equal(cria_generate(s, "Once upon a time", &o, hear, &a, &r, &e), 0);
    assert_int_equal(r.n_generated, a.n_token);
    assert_true(r.n_prompt > 2 && r.n_prompt_cached == 0);
    assert_true(r.prompt_s > 0 && r.generate_s > 0);
    assert_int_equal(cria_generate(s, "Once upon a time", &o, hear, &b, &r, &e), 0);
    assert_int_equal(r.n_prompt_cached, r.n_prompt - 1);
    assert_string_equal(a.text, b.text);

    /* From tokens: the same answer. */
    int32_t ids[64];
    const char *text = "Once upon a time";
    const long n =
        cria_tokenize(m, text, strlen(text), CRIA_ADD_SPECIAL | CRIA_PARSE_SPECIAL, ids, 64, &e);
    b = (struct said){.n = 0};
    assert_int_equal(cria_generate_tokens(s, ids, (size_t)n, &o, hear, &b, NULL, &e), 0);
    assert_string_equal(a.text, b.text);

    b = (struct said){.stop_after = 5};
    assert_int_equal(cria_generate(s, text, &o, hear, &b, &r, &e), 0);
    assert_int_equal(r.reason, CRIA_CANCELLED);
    assert_int_equal(r.n_generated, 5);
    volatile int cancel = 1;
    o.cancel = &cancel;
    assert_int_equal(cria_generate(s, text, &o, NULL, NULL, &r, &e), 0);
    assert_int_equal(r.reason, CRIA_CANCELLED);
    assert_int_equal(r.n_generated, 0);

    o = short_greedy();
    char piece[3] = {a.text[a.n / 2], 0, 0};
    const char *stop[] = {piece};
    o.stop = stop, o.n_stop = 1;
    if ((unsigned char)piece[0] < 0x80) {
        b = (struct said){.n = 0};
        assert_int_equal(cria_generate(s, text, &o, hear, &b, &r, &e), 0);
        assert_int_equal(r.reason, CRIA_STOP);
        assert_null(strchr(b.text, piece[0]));
    }
    cria_session_free(s);
    cria_model_close(m);
}

static void test_generate_errors(void **state) {
    (void)state;
    cria_model *m = open_model(golden(llama), 1);
    cria_error e = {0};
    cria_session *s = cria_session_new(m, &e);
    cria_generate_options o = short_greedy();
    o.top_p = 2;
    assert_int_equal(cria_generate(s, "x", &o, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.status, CRIA_ERROR_USAGE);
    assert_non_null(strstr(e.message, "top_p"));
    o = short_greedy();
    int32_t ids[200] = {0};
    assert_int_equal(cria_generate_tokens(s, ids, 200, &o, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.status, CRIA_ERROR_LIMIT);
    assert_int_equal(cria_generate_tokens(s, ids, 0, &o, NULL, NULL, NULL, &e), -1);
    ids[0] = -1;
    assert_int_equal(cria_generate_tokens(s, ids, 1, &o, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.status, CRIA_ERROR_FORMAT);
    memset(&o, 0, sizeof o);
    assert_int_equal(cria_generate(s, "x", &o, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.status, CRIA_ERROR_USAGE);
    cria_session_free(s);
    cria_model_close(m);

    cria_model_options vo;
    cria_model_options_init(&vo, sizeof vo);
    vo.vocab_only = 1;
    m = cria_model_open(golden(llama), &vo, &e);
    assert_non_null(m);
    assert_string_equal(cria_model_arch(m), "");
    assert_null(cria_session_new(m, &e));
    float v[64];
    assert_int_equal(cria_embed(m, "x", 1, 0, v, 64, &e), -1);
    cria_model_close(m);
}

static void test_chat(void **state) {
    (void)state;
    cria_error e = {0};
    const cria_message talk[] = {{"system", "Be brief."}, {"user", "Hi"}};
    int32_t ids[256];
    char text[1024];
    cria_model *m = open_model(golden(llama), 1);
    assert_int_equal(cria_chat_tokens(m, talk, 2, ids, 256, &e), -1);
    assert_int_equal(e.status, CRIA_ERROR_UNSUPPORTED);
    cria_model_close(m);

    char *dir = temp_folder(), path[600];
    snprintf(path, sizeof path, "%s/chat.gguf", dir);
    rewrite_template(golden(llama), path, REWRITE_CHATML);
    m = open_model(path, 1);
    const long n = cria_chat_tokens(m, talk, 2, ids, 256, &e);
    if (n < 0) fail_msg("%s", e.message);
    assert_true(n > 10 && n < 256);
    assert_true(cria_detokenize(m, ids, (size_t)n, CRIA_SHOW_SPECIAL, text, sizeof text, &e) > 0);
    assert_non_null(strstr(text, "system\nBe brief."));
    assert_non_null(strstr(text, "assistant\n"));
    const cria_message odd[] = {{"king", "Hi"}};
    assert_int_equal(cria_chat_tokens(m, odd, 1, ids, 256, &e), -1);
    cria_model_close(m);
    temp_remove(dir);
}

static void test_embed(void **state) {
    (void)state;
    cria_error e = {0};
    for (int which = 0; which < 2; which++) {
        cria_model *m = open_model(golden(which ? llama : "models/bert.gguf"), 1);
        float a[64], b[64], raw[64];
        double sq = 0, dot = 0, len = 0;
        assert_int_equal(cria_embed(m, "a cat", 5, CRIA_NORMALIZE, a, 64, &e), 64);
        assert_int_equal(cria_embed(m, "a cat", 5, CRIA_NORMALIZE, b, 64, &e), 64);
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(cria_embed(m, "a cat", 5, 0, raw, 64, &e), 64);
        for (int i = 0; i < 64; i++) {
            sq += (double)a[i] * (double)a[i];
            dot += (double)a[i] * (double)raw[i];
            len += (double)raw[i] * (double)raw[i];
        }
        assert_true(fabs(sq - 1) < 1e-5);
        assert_true(fabs(dot / sqrt(len) - 1) < 1e-5);
        assert_int_equal(cria_embed(m, "a cat", 5, 0, raw, 63, &e), -1);
        assert_int_equal(e.status, CRIA_ERROR_USAGE);
        cria_model_close(m);
    }
}

/* ---- two threads, one model ---- */

struct job {
    cria_model *m;
    const char *prompt;
    struct said said;
    int rc;
};

static void *work(void *arg) {
    struct job *j = arg;
    cria_generate_options o = short_greedy();
    cria_error e = {0};
    cria_session *s = cria_session_new(j->m, &e);
    j->rc = 0;
    for (int i = 0; i < 5 && j->rc == 0; i++) {
        float v[64];
        int32_t ids[64];
        j->said = (struct said){.n = 0};
        j->rc = cria_generate(s, j->prompt, &o, hear, &j->said, NULL, &e);
        if (cria_embed(j->m, "x", 1, 0, v, 64, &e) != 64) j->rc = -1;
        if (cria_tokenize(j->m, j->prompt, strlen(j->prompt), 0, ids, 64, &e) < 1) j->rc = -1;
    }
    cria_session_free(s);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    cria_model *m = open_model(golden(llama), 3);
    struct job alone[3], together[3];
    pthread_t t[3];
    static const char *const prompt[] = {"Once upon", "The world", "12 34"};
    for (int i = 0; i < 3; i++) {
        alone[i] = together[i] = (struct job){.m = m, .prompt = prompt[i]};
        work(&alone[i]);
        assert_int_equal(alone[i].rc, 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work, &together[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(together[i].rc, 0);
        assert_string_equal(together[i].said.text, alone[i].said.text);
    }
    cria_model_close(m);
}

/* ---- speculation ---- */

struct draft_job {
    cria_session *s, *draft;
    cria_error e;
    struct said said;
    int rc;
};

static void *work_with_draft(void *arg) {
    struct draft_job *j = arg;
    cria_generate_options o = short_greedy();
    o.draft = j->draft;
    j->rc = cria_generate(j->s, "Once upon upon upon", &o, hear, &j->said, NULL, &j->e);
    return NULL;
}

/* Each model drafts for the other at the same time: neither waits for ever. */
static void test_draft(void **state) {
    (void)state;
    cria_model *a = open_model(golden(llama), 2), *b = open_model(golden(llama), 2),
               *phi = open_model(golden("models/phi3-4k.gguf"), 1);
    struct draft_job plain = {.s = cria_session_new(a, NULL)}, j[2];
    work_with_draft(&plain);
    assert_int_equal(plain.rc, 0);
    j[0] = (struct draft_job){.s = plain.s, .draft = cria_session_new(b, NULL)};
    j[1] = (struct draft_job){.s = cria_session_new(b, NULL), .draft = cria_session_new(a, NULL)};
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work_with_draft, &j[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(j[i].rc, 0);
        assert_string_equal(j[i].said.text, plain.said.text);
    }
    struct draft_job same = {.s = plain.s, .draft = j[1].draft}; /* of one model */
    work_with_draft(&same);
    assert_string_equal(same.said.text, plain.said.text);
    struct draft_job bad = {.s = plain.s, .draft = cria_session_new(phi, NULL)};
    work_with_draft(&bad);
    assert_int_equal(bad.rc, -1);
    assert_int_equal(bad.e.status, CRIA_ERROR_UNSUPPORTED);
    cria_session_free(bad.draft);
    for (int i = 0; i < 2; i++)
        cria_session_free(j[i].s), cria_session_free(j[i].draft);
    cria_generate_options o = short_greedy();
    cria_session *s = cria_session_new(a, NULL);
    for (o.n_draft = -1; o.n_draft < 20; o.n_draft += 18) {
        const bool ok = o.n_draft >= 0 && o.n_draft <= 16;
        assert_int_equal(cria_generate(s, "x", &o, NULL, NULL, NULL, &bad.e), ok ? 0 : -1);
        assert_true(ok || strstr(bad.e.message, "n_draft"));
    }
    o.n_draft = 16, o.draft = s;
    assert_int_equal(cria_generate(s, "x", &o, NULL, NULL, NULL, &bad.e), -1);
    assert_int_equal(bad.e.status, CRIA_ERROR_USAGE);
    cria_session_free(s);
    cria_model_close(a), cria_model_close(b), cria_model_close(phi);
}

/* ---- the example ---- */

/* With the shared library and with the static one; both stand beside the program under test:
 * $B/cria and $B/examples/hello. */
static void test_example(void **state) {
    (void)state;
    static const char *const linked[] = {"", ".static"};
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *slash = strrchr(cria, '/');
    for (int i = 0; i < 2; i++) {
        char path[600];
        struct ran r;
        snprintf(path, sizeof path, "%.*s/examples/hello%s", slash ? (int)(slash - cria) : 1,
                 slash ? cria : ".", linked[i]);
        const char *args[] = {golden(llama), "Once upon a time", NULL};
        assert_int_equal(run_program(&r, path, args, "", 0, 30), 0);
        assert_non_null(strstr(r.out.p, "tokens read in"));
        ran_fini(&r);
        const char *bad[] = {"/nowhere.gguf", "x", NULL};
        assert_int_equal(run_program(&r, path, bad, "", 0, 30), 1);
        assert_non_null(strstr(r.err.p, "/nowhere.gguf"));
        ran_fini(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),         cmocka_unit_test(test_model),
        cmocka_unit_test(test_open_errors),     cmocka_unit_test(test_options_of_other_sizes),
        cmocka_unit_test(test_tokens),          cmocka_unit_test(test_generate),
        cmocka_unit_test(test_generate_errors), cmocka_unit_test(test_chat),
        cmocka_unit_test(test_embed),           cmocka_unit_test(test_threads),
        cmocka_unit_test(test_draft),           cmocka_unit_test(test_example),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
