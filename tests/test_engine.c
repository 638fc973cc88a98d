/* The engine from a file to an answer: greedy tokens of the reference, stop strings at every
 * split, context shift, prefix reuse, cancellation, limits, embeddings, and no allocation while
 * tokens are generated. */
#include "count_alloc.h"
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"
#include "engine/embed.h"
#include "engine/decode.h"
#include "engine/speculate.h"
#include "engine/prompt.h"
#include "engine/stop.h"

/* ---- helpers ---- */

static const char *const llama = "models/llama32.gguf";

struct open {
    struct engine *g;
    struct session *s;
};

static struct open open_model(const char *rel, struct engine_opts o) {
    struct err e = {0};
    struct open p = {0};
    o.n_threads = 2;
    p.g = engine_open(golden(rel), &o, &e);
    if (!p.g) fail_msg("%s", e.msg);
    p.s = session_new(p.g, &e);
    assert_non_null(p.s);
    return p;
}

static void close_model(struct open *p) {
    session_free(p->s);
    engine_close(p->g);
}

/* What an answer was. */
struct heard {
    int32_t id[4096];
    int n;
    struct buf text;
    int cancel_after; /* events; 0: never */
    int n_event;
    const struct vocab *vocab;
};

static int hear(void *ctx, const struct decode_event *ev) {
    struct heard *h = ctx;
    assert_int_equal(utf8_valid_prefix(ev->text.p, ev->text.n), ev->text.n);
    buf_append(&h->text, ev->text.p, ev->text.n);
    if (ev->token >= 0 && h->n < 4096) h->id[h->n++] = ev->token;
    return ++h->n_event == h->cancel_after;
}

static struct decode_request greedy(const int32_t *prompt, int n, int n_predict) {
    struct decode_request r = {.prompt = prompt, .n_prompt = n, .n_predict = n_predict};
    r.sampler = sampler_defaults();
    r.sampler.temperature = 0;
    return r;
}

/* Some prompt, the same every time. */
static void make_prompt(int32_t *tok, int n, int n_vocab) {
    unsigned x = 12345;
    for (int i = 0; i < n; i++) {
        x = x * 1103515245u + 12345u;
        tok[i] = (int32_t)(3 + (x >> 16) % (unsigned)(n_vocab - 3));
    }
}

static struct decode_stats run(struct session *s, const struct decode_request *r, struct heard *h) {
    struct decode_stats st;
    struct err e = {0};
    *h = (struct heard){.cancel_after = h->cancel_after};
    if (decode_run(s, r, hear, h, NULL, &st, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(h->n, st.n_eval < 4096 ? st.n_eval : 4096);
    return st;
}

/* ---- greedy ---- */

static int32_t *json_ids(const json_t *list, int *n) {
    *n = (int)json_array_size(list);
    int32_t *v = calloc((size_t)*n + 1, sizeof *v);
    for (int i = 0; i < *n; i++)
        v[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return v;
}

/* Ids are compared up to the first near-tie, and to the first end token, where gen stops. */
static int check_prompt(struct open *p, const json_t *prompt, const char *model) {
    int n_prompt, n_want, n_same = 0;
    int32_t *tok = json_ids(json_object_get(prompt, "tokens"), &n_prompt);
    int32_t *want = json_ids(json_object_get(prompt, "greedy"), &n_want);
    const json_t *margin = json_object_get(prompt, "greedy_margin");
    const struct decode_request r = greedy(tok, n_prompt, n_want);
    struct heard h = {0};
    run(p->s, &r, &h);
    for (int i = 0; i < n_want; i++, n_same++) {
        if (json_number_value(json_array_get(margin, (size_t)i)) < 0.03) break;
        if (vocab_is_eog(engine_vocab(p->g), want[i])) break;
        if (i >= h.n || h.id[i] != want[i])
            fail_msg("%s, %s: token %d is %d; the reference has %d", model,
                     json_string_value(json_object_get(prompt, "name")), i, i < h.n ? h.id[i] : -1,
                     want[i]);
    }
    buf_fini(&h.text);
    free(tok);
    free(want);
    return n_same;
}

static void check_greedy(const char *model, int at_least) {
    char rel[128];
    snprintf(rel, sizeof rel, "models/%s.json", model);
    json_t *j = slurp_json(golden(rel)), *prompt;
    snprintf(rel, sizeof rel, "models/%s.gguf", model);
    struct open p = open_model(rel, (struct engine_opts){.n_ctx = 512, .n_batch = 64});
    size_t i;
    int n = 0;
    json_array_foreach(json_object_get(j, "prompts"), i, prompt) n +=
        check_prompt(&p, prompt, model);
    if (n < at_least) fail_msg("%s: only %d tokens could be compared", model, n);
    close_model(&p);
    json_decref(j);
}

static void test_greedy(void **state) {
    (void)state;
    check_greedy("llama32", 60);
    if (!golden_is_full()) return;
    static const char *const more[] = {"qwen2", "phi3-4k", "gemma2", "mixtral", "deepseek2-mla"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        check_greedy(more[i], 30);
}

/* ---- stop strings ---- */

static void push_all(struct stopper *s, const char *text, const size_t *cut, int n_cut,
                     struct buf *out, bool *stopped) {
    size_t at = 0;
    *stopped = false;
    for (int i = 0; i <= n_cut && !*stopped; i++) {
        const size_t end = i < n_cut ? cut[i] : strlen(text);
        *stopped = stopper_push(s, (struct str){text + at, end - at}, out);
        at = end;
    }
    if (!*stopped) stopper_finish(s, out);
}

/* Two cuts at every pair of places: the same text comes out, with and without a stop in it. */
static void test_stop_at_every_split(void **state) {
    (void)state;
    static const struct {
        const char *text, *shown;
        bool stops;
    } cases[] = {
        {"one END two", "one ", true},
        {"one EN two", "one EN two", false},
        {"EEENEND", "EEEN", true},
        {"ababac", "ab", true}, /* "abac" begins inside a failed "abab..." */
        {"aba", "aba", false},
        {"x\xc3\xa9\xc3\xa8 y", "x", true}, /* "éè": stops on the second character */
        {"x\xc3\xa9 y", "x\xc3\xa9 y", false},
        {"", "", false},
        {"EN", "EN", false},
    };
    const struct str stops[] = {STR("END"), STR("abac"), STR("\xc3\xa9\xc3\xa8"),
                                STR("longer stop")};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const size_t n = strlen(cases[k].text);
        for (size_t a = 0; a <= n; a++)
            for (size_t b = a; b <= n; b++) {
                struct stopper s;
                struct buf out = {0};
                bool stopped;
                assert_int_equal(stopper_init(&s, stops, 4, NULL), 0);
                push_all(&s, cases[k].text, (size_t[]){a, b}, 2, &out, &stopped);
                assert_int_equal(stopped, cases[k].stops);
                assert_string_equal(out.p ? out.p : "", cases[k].shown);
                stopper_fini(&s);
                buf_fini(&out);
            }
    }
    struct stopper s;
    const struct str empty = STR("");
    struct err e;
    assert_int_equal(stopper_init(&s, &empty, 1, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
}

static void test_nothing_is_held_for_long(void **state) {
    (void)state;
    struct stopper s;
    struct buf out = {0};
    const struct str stop = STR("END");
    stopper_init(&s, &stop, 1, NULL);
    assert_false(stopper_push(&s, STR("abcE"), &out));
    assert_string_equal(out.p, "abc"); /* only the E can begin a stop string */
    assert_false(stopper_push(&s, STR("x"), &out));
    assert_string_equal(out.p, "abcEx");
    stopper_fini(&s);
    buf_fini(&out);
}

/* A stop text taken out of the answer itself, over every border between its tokens. */
static void test_stop_in_answer(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 256});
    int32_t tok[10];
    make_prompt(tok, 10, engine_n_vocab(p.g));
    struct decode_request r = greedy(tok, 10, 40);
    struct heard whole = {0}, h = {0};
    run(p.s, &r, &whole);
    assert_true(whole.text.n > 20);
    int n_found = 0;
    for (size_t at = 1; at + 4 < whole.text.n; at++) {
        if (((unsigned char)whole.text.p[at] & 0xc0) == 0x80) continue;
        const struct str stop = {whole.text.p + at, 4};
        const char *first = memmem(whole.text.p, whole.text.n, stop.p, stop.n);
        r.stop = &stop, r.n_stop = 1;
        const struct decode_stats st = run(p.s, &r, &h);
        assert_int_equal(st.why, DECODE_STOP);
        assert_int_equal(h.text.n, first - whole.text.p);
        assert_int_equal(memcmp(h.text.p ? h.text.p : "", whole.text.p, h.text.n), 0);
        buf_fini(&h.text);
        n_found++;
    }
    assert_true(n_found > 10);
    buf_fini(&whole.text);
    close_model(&p);
}

/* ---- context ---- */

static void test_shift(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 64, .n_batch = 16});
    int32_t tok[20];
    make_prompt(tok, 20, engine_n_vocab(p.g));
    struct decode_request r = greedy(tok, 20, 300);
    struct heard h = {0};
    r.ignore_eos = true;
    for (int keep = -1; keep <= 60; keep += 20) {
        r.n_keep = keep;
        const struct decode_stats st = run(p.s, &r, &h);
        assert_int_equal(st.why, DECODE_LENGTH);
        assert_int_equal(st.n_eval, 300);
        assert_true(st.n_shift > 4);
        assert_in_range(session_n_tok(p.s), 1, 64);
        /* What is kept is still the prompt's beginning, the rest the answer's end. */
        const int n = session_n_tok(p.s), n_kept = keep < 0 ? 20 : keep < 20 ? keep : 20;
        assert_memory_equal(session_tokens(p.s), tok, (size_t)n_kept * sizeof *tok);
        assert_int_equal(session_tokens(p.s)[n - 1], h.id[298]); /* the last is not fed */
        buf_fini(&h.text);
    }
    r.no_shift = true;
    const struct decode_stats st = run(p.s, &r, &h);
    assert_int_equal(st.why, DECODE_LENGTH);
    assert_int_equal(st.n_shift, 0);
    assert_int_equal(st.n_eval, 64 - 20 + 1);
    buf_fini(&h.text);
    close_model(&p);
}

/* Nothing that a shift leaves is reused, neither the rest, which was computed in sight of tokens
 * that are gone, nor the kept rows, which are rounded and elsewhere: answers are those of a fresh
 * session. */
static void test_reuse_after_shift_is_exact(void **state) {
    (void)state;
    const struct engine_opts o = {.n_ctx = 64, .k_type = QT_F16, .v_type = QT_F16};
    struct open a = open_model(llama, o), b = open_model(llama, o);
    int32_t tok[40];
    make_prompt(tok, 40, engine_n_vocab(a.g));
    struct decode_request r = greedy(tok, 20, 1000);
    struct heard ha = {0}, hb = {0};
    r.ignore_eos = true, r.n_keep = 8, r.sampler.repeat_penalty = 1.5f;
    run(b.s, &r, &hb);
    for (int i = 0; i < 3; i++) { /* the same prompt again and again */
        const struct decode_stats st = run(a.s, &r, &ha);
        assert_int_equal(st.n_prompt_cached, 0);
        assert_int_equal(ha.n, hb.n);
        assert_memory_equal(ha.id, hb.id, (size_t)ha.n * sizeof *ha.id);
        buf_fini(&ha.text);
    }
    buf_fini(&hb.text);
    session_truncate(b.s, 0);
    /* A prompt that equals what session a holds now. */
    int32_t again[40];
    const int n = session_n_tok(a.s) < 40 ? session_n_tok(a.s) : 40;
    memcpy(again, session_tokens(a.s), (size_t)n * sizeof *again);
    r.prompt = again, r.n_prompt = n, r.n_predict = 20;
    const struct decode_stats st = run(a.s, &r, &ha);
    assert_int_equal(st.n_prompt_cached, 0);
    run(b.s, &r, &hb);
    assert_int_equal(ha.n, hb.n);
    assert_memory_equal(ha.id, hb.id, (size_t)ha.n * sizeof *ha.id);
    buf_fini(&ha.text);
    buf_fini(&hb.text);
    close_model(&a);
    close_model(&b);
}

static void test_prefix_reuse(void **state) {
    (void)state;
    struct open a = open_model(llama, (struct engine_opts){.n_ctx = 256, .n_batch = 32});
    int32_t tok[120], other[120];
    make_prompt(tok, 120, engine_n_vocab(a.g));
    memcpy(other, tok, sizeof tok);
    other[70] ^= 1;
    struct decode_request r = greedy(tok, 120, 30);
    struct heard first = {0}, again = {0}, fresh = {0};
    r.ignore_eos = true;
    struct decode_stats st = run(a.s, &r, &first);
    assert_int_equal(st.n_prompt_cached, 0);
    st = run(a.s, &r, &again); /* all but the last token */
    assert_int_equal(st.n_prompt_cached, 119);
    assert_memory_equal(first.id, again.id, 30 * sizeof *first.id);
    buf_fini(&again.text);
    r.prompt = other;
    st = run(a.s, &r, &again);
    assert_int_equal(st.n_prompt_cached, 70);
    struct open b = open_model(llama, (struct engine_opts){.n_ctx = 256, .n_batch = 512});
    st = run(b.s, &r, &fresh);
    assert_int_equal(st.n_prompt_cached, 0);
    assert_memory_equal(fresh.id, again.id, 30 * sizeof *fresh.id);
    buf_fini(&first.text);
    buf_fini(&again.text);
    buf_fini(&fresh.text);
    close_model(&a);
    close_model(&b);
}

/* ---- ends ---- */

static void *stop_later(void *flag) {
    usleep(20000);
    __atomic_store_n((volatile int *)flag, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void test_cancel(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 512, .n_batch = 8});
    int32_t tok[300];
    make_prompt(tok, 300, engine_n_vocab(p.g));
    struct decode_request r = greedy(tok, 300, 100);
    struct heard h = {.cancel_after = 3};
    struct decode_stats st;
    struct err e = {0};
    r.ignore_eos = true;
    st = run(p.s, &r, &h); /* by the callback: no further event */
    assert_int_equal(st.why, DECODE_CANCELLED);
    assert_int_equal(h.n_event, 3);
    buf_fini(&h.text);

    session_truncate(p.s, 0);
    tok[0] ^= 1;           /* so that nothing of it is in the prefix cache */
    volatile int stop = 1; /* before the first chunk of the prompt */
    assert_int_equal(decode_run(p.s, &r, NULL, NULL, &stop, &st, &e), 0);
    assert_int_equal(st.why, DECODE_CANCELLED);
    assert_int_equal(st.n_eval, 0);
    assert_int_equal(session_n_tok(p.s), 0);

    stop = 0; /* by another thread, from an answer without an end */
    pthread_t t;
    pthread_create(&t, NULL, stop_later, (void *)(uintptr_t)&stop);
    r.n_predict = 100000;
    assert_int_equal(decode_run(p.s, &r, NULL, NULL, &stop, &st, &e), 0);
    pthread_join(t, NULL);
    assert_int_equal(st.why, DECODE_CANCELLED);
    close_model(&p);
}

/* A forward that is stopped leaves the workspace fit for the next one. */
static void test_stopped_forward(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 128});
    struct forward *f = engine_forward(p.g);
    const size_t n = (size_t)model_n_vocab(engine_model(p.g));
    int32_t tok[40];
    struct batch_seq b;
    struct err e = {0};
    make_prompt(tok, 40, engine_n_vocab(p.g));
    volatile int stop = 0;
    float *want = malloc(n * sizeof *want);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(session_push(p.s, tok, 40, 1, &b, &e), 0);
        stop = round == 1;
        forward_set_stop(f, &stop);
        const float *rows = forward_run(f, &b, 1);
        forward_set_stop(f, NULL);
        if (round == 0) memcpy(want, rows, n * sizeof *want);
        if (round == 1) assert_null(rows);
        if (round == 2) assert_memory_equal(rows, want, n * sizeof *want);
        session_truncate(p.s, 0);
    }
    free(want);
    close_model(&p);
}

static void test_bounds(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 32});
    int32_t tok[40];
    make_prompt(tok, 40, engine_n_vocab(p.g));
    struct heard h = {0};
    struct decode_request r = greedy(tok, 10, -1);
    r.ignore_eos = true;
    struct decode_stats st = run(p.s, &r, &h); /* an answer without an end is ended */
    assert_int_equal(st.why, DECODE_LENGTH);
    assert_int_equal(st.n_eval, 320);
    buf_fini(&h.text);
    r.n_predict = 0;
    st = run(p.s, &r, &h);
    assert_int_equal(st.n_eval, 0);
    assert_int_equal(session_n_tok(p.s), 10);
    r.n_prompt = 32, r.n_predict = 1; /* a prompt that fills the context can say one token */
    st = run(p.s, &r, &h);
    assert_int_equal(st.n_eval, 1);
    buf_fini(&h.text);

    struct err e = {0};
#define REFUSED(change, status, word)                                                              \
    do {                                                                                           \
        struct decode_request bad = greedy(tok, 10, 4);                                            \
        change;                                                                                    \
        assert_int_equal(decode_run(p.s, &bad, hear, &h, NULL, NULL, &e), -1);                     \
        assert_int_equal(e.code, status);                                                          \
        if (!strstr(e.msg, word)) fail_msg("%s: no \"%s\"", e.msg, word);                          \
    } while (0)
    const struct str empty = STR("");
    REFUSED(bad.n_prompt = 33, ERR_LIMIT, "num_ctx");
    REFUSED(bad.n_prompt = 0, ERR_USAGE, "empty");
    REFUSED(bad.n_predict = -2, ERR_USAGE, "num_predict");
    REFUSED(bad.n_keep = -2, ERR_USAGE, "num_keep");
    REFUSED(bad.n_logprobs = 21, ERR_USAGE, "logprobs");
    REFUSED(bad.sampler.top_p = 3, ERR_USAGE, "top_p");
    REFUSED((bad.stop = &empty, bad.n_stop = 1), ERR_USAGE, "stop");
    tok[3] = 1 << 20;
    REFUSED((void)0, ERR_FORMAT, "vocabulary");
    tok[3] = -1;
    REFUSED((void)0, ERR_FORMAT, "vocabulary");
    close_model(&p);
}

static int check_logprobs(void *ctx, const struct decode_event *ev) {
    int *n = ctx;
    if (ev->token < 0) return 0;
    assert_int_equal(ev->n_top, 5);
    assert_int_equal(ev->top[0].id, ev->token); /* greedy */
    assert_int_equal(ev->chosen.id, ev->token);
    assert_true(fabsf(ev->chosen.p - ev->top[0].p) < 1e-6f);
    for (int i = 1; i < 5; i++)
        assert_true(ev->top[i].p <= ev->top[i - 1].p && ev->top[i].p > 0);
    ++*n;
    return 0;
}

static void test_logprobs(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 64});
    int32_t tok[8];
    int n = 0;
    make_prompt(tok, 8, engine_n_vocab(p.g));
    struct decode_request r = greedy(tok, 8, 10);
    r.n_logprobs = 5, r.ignore_eos = true;
    assert_int_equal(decode_run(p.s, &r, check_logprobs, &n, NULL, NULL, NULL), 0);
    assert_int_equal(n, 10);
    close_model(&p);
}

/* The first token's allocations are the request's; after that there are none. */
struct counted {
    long first;
    int n;
};

static int count_event(void *ctx, const struct decode_event *ev) {
    struct counted *c = ctx;
    (void)ev;
    if (c->n++ == 5) c->first = n_alloc;
    return 0;
}

static void test_generation_allocates_nothing(void **state) {
    (void)state;
    struct open p = open_model(llama, (struct engine_opts){.n_ctx = 512}),
                draft = open_model(llama, (struct engine_opts){.n_ctx = 512});
    int32_t tok[8];
    make_prompt(tok, 8, engine_n_vocab(p.g));
    struct decode_request r = greedy(tok, 8, 200);
    r.ignore_eos = true, r.draft = draft.s;
    for (int pass = 0; pass < 2; pass++) { /* greedy, which repeats itself, and not */
        struct counted c = {0};
        struct decode_stats st;
        /* A first answer grows what is kept: the tables of pages. */
        assert_int_equal(decode_run(p.s, &r, NULL, NULL, NULL, NULL, NULL), 0);
        /* Whether guesses are worth their time is measured, which depends on the machine: here more
         * rows are said to cost nothing. */
        *engine_step_cost(p.g) = (struct step_cost){.one_ns = 1e9, .n_one = 8};
        for (int w = 2; w <= SPECULATE_MAX + 1; w++)
            engine_step_cost(p.g)->ratio[w] = 1;
        assert_int_equal(decode_run(p.s, &r, count_event, &c, NULL, &st, NULL), 0);
        const long after = n_alloc;
        assert_true(c.n >= 200);
        assert_true(st.n_drafted > 0);
        /* The few that end the request are frees. */
        if (COUNT_ALLOCATIONS) assert_true(c.first > 0); /* it does count */
        if (COUNT_ALLOCATIONS) assert_in_range(after - c.first, 0, 2);
        r.sampler.temperature = 0.9f, r.sampler.repeat_penalty = 1.1f;
    }
    close_model(&p);
    close_model(&draft);
}

/* ---- opening ---- */

static void check_open_fails(const char *path, const struct engine_opts *o, enum err_code code) {
    struct err e = {0};
    assert_null(engine_open(path, o, &e));
    if (e.code != code) fail_msg("%s: code %d, expected %d", e.msg, (int)e.code, (int)code);
    assert_null(strchr(e.msg, '\n'));
    if (code != ERR_USAGE && !strstr(e.msg, path)) fail_msg("%s: does not name %s", e.msg, path);
}

static void test_open_errors(void **state) {
    (void)state;
    char *dir = temp_folder(), path[600];
    const struct engine_opts plain = {0};
    check_open_fails("/nowhere/model.gguf", &plain, ERR_NOT_FOUND);
    snprintf(path, sizeof path, "%s/fifo.gguf", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct err e = {0};
    assert_null(engine_open(dir, &plain, &e));
    assert_null(engine_open(path, &plain, &e));
    struct engine_opts o = {.n_ctx = 3};
    check_open_fails(golden(llama), &o, ERR_USAGE);
    o = (struct engine_opts){.n_threads = -1};
    check_open_fails(golden(llama), &o, ERR_USAGE);
    const char *none = "/nowhere/lora.gguf";
    o = (struct engine_opts){.lora = &none, .n_lora = 1};
    assert_null(engine_open(golden(llama), &o, &e));
    assert_non_null(strstr(e.msg, none)); /* the adapter is at fault, and named alone */
    assert_null(strstr(e.msg, golden(llama)));
    temp_remove(dir);
}

/* A context beyond learned positions would only fail in the middle of an answer. */
static void test_learned_positions_bound_the_context(void **state) {
    (void)state;
    struct open p = open_model("models/bert.gguf", (struct engine_opts){.n_ctx = 100000});
    assert_int_equal(engine_n_ctx(p.g), 384);
    close_model(&p);
}

static void test_settings(void **state) {
    (void)state;
    struct engine_opts o = {0};
    struct err e = {0};
    unsetenv("CRIA_KV_CACHE_TYPE"), unsetenv("OLLAMA_KV_CACHE_TYPE");
    assert_int_equal(engine_user_opts(&o, &e), 0);
    assert_int_equal(o.k_type, QT_F16);
    setenv("OLLAMA_KV_CACHE_TYPE", "q8_0", 1);
    setenv("CRIA_CONTEXT_LENGTH", "100", 1);
    assert_int_equal(engine_user_opts(&o, &e), 0);
    assert_int_equal(o.v_type, QT_Q8_0);
    assert_int_equal(o.n_ctx, 100);
    setenv("CRIA_CONTEXT_LENGTH", "many", 1);
    o.n_ctx = 0;
    assert_int_equal(engine_user_opts(&o, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    setenv("CRIA_KV_CACHE_TYPE", "q2_k", 1);
    assert_int_equal(engine_user_opts(&o, &e), -1);
    unsetenv("CRIA_KV_CACHE_TYPE"), unsetenv("OLLAMA_KV_CACHE_TYPE"),
        unsetenv("CRIA_CONTEXT_LENGTH");
}

static void test_vocab_only(void **state) {
    (void)state;
    struct err e;
    struct engine *g = engine_open(golden(llama), &(struct engine_opts){.vocab_only = true}, &e);
    assert_non_null(g);
    assert_null(engine_model(g));
    assert_true(engine_n_vocab(g) > 100);
    assert_null(session_new(g, &e));
    assert_int_equal(e.code, ERR_USAGE);
    engine_close(g);
}

/* ---- embeddings ---- */

static void check_row(const float *got, const float *want, int n, double tol) {
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tol))
            fail_msg("embedding[%d] = %g; the reference has %g", i, (double)got[i],
                     (double)want[i]);
}

static void test_pooling_golden(void **state) {
    (void)state;
    json_t *j = slurp_json(golden("models/bert.json")), *prompt;
    size_t n_data, i;
    float *data = slurp_f32(golden("models/bert.f32"), &n_data), out[64];
    struct open p = open_model("models/bert.gguf", (struct engine_opts){.n_ctx = 384});
    static const char *const key[] = {"mean_offset", "cls_offset", "last_offset"};
    int n_checked = 0;
    json_array_foreach(json_object_get(j, "prompts"), i, prompt) {
        int n;
        int32_t *tok = json_ids(json_object_get(prompt, "tokens"), &n);
        for (int k = 0; k < 3; k++, n_checked++) {
            const size_t at = (size_t)json_integer_value(json_object_get(prompt, key[k]));
            assert_true(at + 64 <= n_data);
            assert_int_equal(
                embed_tokens(p.s, tok, n, (enum pooling)(POOL_MEAN + k), false, out, NULL), 0);
            check_row(out, data + at, 64, 2e-2); /* GELU: README section 9 */
        }
        free(tok);
    }
    assert_int_equal(n_checked, 33);
    close_model(&p);
    free(data);
    json_decref(j);
}

static void test_pooling(void **state) {
    (void)state;
    static const char *const model[] = {"models/bert.gguf", "models/llama32.gguf"};
    for (int m = 0; m < 2; m++) {
        struct open p = open_model(model[m], (struct engine_opts){.n_ctx = 128, .n_batch = 16});
        int32_t tok[40];
        float one[64], first[64], last[64], mean[64];
        make_prompt(tok, 40, engine_n_vocab(p.g));
        assert_int_equal(model_n_embd(engine_model(p.g)), 64);
        /* Of one token all are the same; of two the mean lies between. */
        assert_int_equal(embed_tokens(p.s, tok, 1, POOL_MEAN, false, one, NULL), 0);
        assert_int_equal(embed_tokens(p.s, tok, 1, POOL_LAST, false, last, NULL), 0);
        check_row(one, last, 64, 1e-5);
        assert_int_equal(embed_tokens(p.s, tok, 2, POOL_CLS, false, first, NULL), 0);
        assert_int_equal(embed_tokens(p.s, tok, 2, POOL_LAST, false, last, NULL), 0);
        assert_int_equal(embed_tokens(p.s, tok, 2, POOL_MEAN, false, mean, NULL), 0);
        for (int i = 0; i < 64; i++)
            one[i] = (first[i] + last[i]) / 2;
        check_row(mean, one, 64, 1e-5);
        double sq = 0;
        assert_int_equal(embed_tokens(p.s, tok, 40, POOL_MODEL, true, mean, NULL), 0);
        for (int i = 0; i < 64; i++)
            sq += (double)mean[i] * (double)mean[i];
        assert_true(fabs(sq - 1) < 1e-5);
        struct err e;
        assert_int_equal(embed_tokens(p.s, tok, 0, POOL_MODEL, true, mean, &e), -1);
        close_model(&p);
    }
}

static void count_heads(void *ctx, const char *name, int il, const float *x, int n, int n_col,
                        int ld) {
    (void)il, (void)x, (void)n, (void)n_col, (void)ld;
    ((int *)ctx)[0] += strcmp(name, "logits") == 0;
    ((int *)ctx)[1] += strcmp(name, "out_norm") == 0;
}

struct rows {
    float v[40 * 64];
    int n;
};

static void keep_row(void *ctx, int i, const float *row, int n_col) {
    struct rows *r = ctx;
    assert_int_equal(i, r->n++);
    assert_int_equal(n_col, 64);
    memcpy(r->v + (size_t)i * 64, row, 64 * sizeof *row);
}

/* Final rows come from the forward without its head, the same ones however the text is cut into
 * batches and however many of them are asked for. */
static void test_states_without_head(void **state) {
    (void)state;
    struct rows whole = {0};
    for (int batch = 40; batch >= 7; batch -= 11) {
        struct open p =
            open_model("models/llama32.gguf", (struct engine_opts){.n_ctx = 128, .n_batch = batch});
        int points[2] = {0};
        int32_t tok[40];
        make_prompt(tok, 40, engine_n_vocab(p.g));
        forward_set_tap(engine_forward(p.g), count_heads, points);
        for (int from = 0; from < 40; from += 13) {
            struct rows some = {0};
            session_truncate(p.s, 0);
            assert_int_equal(session_feed_states(p.s, tok, 40, from, keep_row, &some, NULL), 0);
            assert_int_equal(some.n, 40 - from);
            if (whole.n == 0) whole = some;
            check_row(some.v, whole.v + (size_t)from * 64, (40 - from) * 64, 1e-4);
            if (from == 26) forward_set_tap(engine_forward(p.g), NULL, NULL); /* last rows only */
        }
        assert_int_equal(points[0], 0);
        assert_true(points[1] >= 3);
        close_model(&p);
    }
}

/* What is cut leaves the token that ends every text. */
static void test_truncate(void **state) {
    (void)state;
    static const char *const model[] = {"models/bert.gguf", "models/llama32.gguf"};
    for (int m = 0; m < 2; m++) {
        struct open p = open_model(model[m], (struct engine_opts){.n_ctx = 16});
        struct ids ids = {0}, cut = {0};
        const struct tok_opts with = {.add_special = true};
        const struct str text =
            STR("one two three four five six seven eight nine ten eleven twelve");
        assert_int_equal(tok_encode(engine_vocab(p.g), text, with, &ids, NULL), 0);
        assert_int_equal(tok_encode(engine_vocab(p.g), text, with, &cut, NULL), 0);
        assert_true(ids.n > 16);
        assert_int_equal(embed_truncate(p.g, 0, &cut), ids.n - 16);
        assert_int_equal(cut.n, 16);
        assert_memory_equal(cut.v, ids.v, 15 * sizeof *ids.v);
        assert_int_equal(cut.v[15], ids.v[m == 0 ? ids.n - 1 : 15]);
        assert_int_equal(embed_truncate(p.g, 0, &cut), 0);
        ids_fini(&ids), ids_fini(&cut);
        close_model(&p);
    }
}

static void test_embedding_model_does_not_generate(void **state) {
    (void)state;
    struct open p = open_model("models/bert.gguf", (struct engine_opts){.n_ctx = 64});
    const int32_t tok[] = {5, 6};
    const struct decode_request r = greedy(tok, 2, 4);
    struct err e;
    assert_int_equal(decode_run(p.s, &r, NULL, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    close_model(&p);
}

static void test_begin_token_not_doubled(void **state) {
    (void)state;
    struct engine *g =
        engine_open(golden("models/phi3-4k.gguf"), &(struct engine_opts){.vocab_only = true}, NULL);
    assert_non_null(g);
    const struct vocab *v = engine_vocab(g);
    struct ids a = {0}, b = {0};
    assert_int_equal(prompt_encode(v, STR("hello"), &a, NULL), 0);
    assert_int_equal(prompt_encode(v, STR("<s>hello"), &b, NULL), 0);
    const int32_t bos = vocab_special(v)->bos;
    assert_true(bos >= 0);
    if (vocab_special(v)->add_bos) assert_int_equal(a.v[0], bos);
    assert_int_equal(b.v[0], bos);
    assert_true(b.n > 1 && b.v[1] != bos);
    ids_fini(&a);
    ids_fini(&b);
    engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_stop_at_every_split),
        cmocka_unit_test(test_nothing_is_held_for_long),
        cmocka_unit_test(test_stop_in_answer),
        cmocka_unit_test(test_shift),
        cmocka_unit_test(test_reuse_after_shift_is_exact),
        cmocka_unit_test(test_prefix_reuse),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stopped_forward),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_generation_allocates_nothing),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_vocab_only),
        cmocka_unit_test(test_pooling_golden),
        cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_learned_positions_bound_the_context),
        cmocka_unit_test(test_states_without_head),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_embedding_model_does_not_generate),
        cmocka_unit_test(test_begin_token_not_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
