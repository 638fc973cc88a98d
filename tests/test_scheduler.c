/* Many sequences in one batch (engine/scheduler.h), through the door (engine/gen.h): answers are
 * those that each would get alone, whoever else is there; turns are fair; a slow reader, a long
 * prompt, a short cache or a client that leaves costs the others nothing but time. */
#include "count_alloc.h"
#include "support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "gen_rig.h"

/* ---- helpers ---- */

enum { CLIENTS = 8, ANSWER = 40 };

static const char *const llama = "models/llama32.gguf";

static struct gen *open_gen(const char *rel, struct gen_opts o) {
    struct err e = {0};
    if (!o.engine.n_threads) o.engine.n_threads = 2;
    if (!o.engine.n_ctx && !o.max_bytes) o.engine.n_ctx = 512;
    if (!o.engine.n_parallel) o.engine.n_parallel = CLIENTS;
    struct gen *g = gen_open_local(golden(rel), &o, &e);
    if (!g) fail_msg("%s: %s", rel, e.msg);
    return g;
}

/* Some text of about n tokens, another for each seed. */
static const char *words(int seed, int n) {
    static char ring[16][16384];
    static int at;
    static const char *const word[] = {"the ", "sun ", "of ", "red ", "and ", "two ",
                                       "sea ", "is ",  "an ", "old ", "way ", "to "};
    char *b = ring[at++ & 15], *end = b;
    unsigned x = (unsigned)seed * 2654435761u + 1;
    for (int i = 0; i < n; i++) {
        x = x * 1103515245u + 12345u;
        end = stpcpy(end, word[(x >> 16) % 12]);
    }
    return b;
}

/* How many words client i's prompt has: short ones, longer than a page, than a chunk. */
static int n_word(int i) {
    static const int n[CLIENTS] = {3, 17, 40, 90, 5, 120, 30, 61};
    return n[i];
}

static void ask(struct talk *t, struct gen *g, int i, const char *options) {
    talk_start(t, g,
               "{'op':'text','raw':true,'prompt':'%s','options':{'num_predict':%d,"
               "'ignore_eos':true,%s}}",
               words(i, n_word(i)), ANSWER, options);
}

static void expect_same(const struct talk *a, const struct talk *b, const char *what, int i) {
    if (a->err.code || b->err.code) fail_msg("%s, %d: %s%s", what, i, a->err.msg, b->err.msg);
    assert_int_equal(a->n_id[0], ANSWER);
    assert_int_equal(b->n_id[0], ANSWER);
    for (int k = 0; k < ANSWER; k++)
        if (a->id[0][k] != b->id[0][k])
            fail_msg("%s, client %d: token %d is %d; alone it is %d", what, i, k, b->id[0][k],
                     a->id[0][k]);
    assert_int_equal(a->text[0].n, b->text[0].n);
    assert_memory_equal(a->text[0].p, b->text[0].p, a->text[0].n);
}

/* ---- the same answers ---- */

static struct talk *alone(const char *model, const char *options) {
    struct talk *t = calloc(CLIENTS, sizeof *t);
    struct gen *g = open_gen(model, (struct gen_opts){.engine.n_threads = 1});
    for (int i = 0; i < CLIENTS; i++) {
        ask(&t[i], g, i, options);
        talk_wait(&t[i]);
    }
    gen_close(g);
    return t;
}

static void fini_all(struct talk *t, int n) {
    for (int i = 0; i < n; i++)
        talk_fini(&t[i]);
}

/* All clients ask at once, and get what each gets alone. */
static void ask_all(struct talk t[CLIENTS], const struct talk want[CLIENTS], struct gen *g,
                    const char *options, const char *how) {
    for (int i = 0; i < CLIENTS; i++)
        ask(&t[i], g, i, options);
    for (int i = 0; i < CLIENTS; i++)
        talk_wait(&t[i]);
    for (int i = 0; i < CLIENTS; i++)
        expect_same(&want[i], &t[i], how, i);
}

static void check_same(const char *model, const char *options) {
    struct talk *want = alone(model, options), *t = calloc(CLIENTS, sizeof *t);
    for (int threads = 1; threads <= 2; threads++)
        for (int n_batch = 16; n_batch <= 512; n_batch *= 32) {
            struct gen_opts o = {.engine = {.n_threads = threads, .n_batch = n_batch}};
            struct gen *g = open_gen(model, o);
            for (int round = 0; round < 2; round++) { /* the second finds all in the cache */
                ask_all(t, want, g, options, round ? "cached" : "fresh");
                if (round) assert_true(t[5].all.n_cached >= 64);
                fini_all(t, CLIENTS);
            }
            gen_close(g);
        }
    fini_all(want, CLIENTS);
    free(want);
    free(t);
}

static void test_same_greedy(void **state) {
    (void)state;
    check_same(llama, "'temperature':0");
    check_same("models/gemma3.gguf", "'temperature':0");
    check_same("models/phi3-4k.gguf", "'temperature':0,'num_draft':0");
}

static void test_same_sampled(void **state) {
    (void)state;
    check_same(llama, "'temperature':0.9,'seed':7,'repeat_penalty':1.2");
}

/* A draft model serves one sequence, the others go on without; all answers are the same. */
static void test_same_with_draft(void **state) {
    (void)state;
    struct talk *want = alone(llama, "'temperature':0"), t[CLIENTS] = {0};
    char draft[600];
    snprintf(draft, sizeof draft, "%s", golden(llama));
    struct gen *g = open_gen(llama, (struct gen_opts){.draft = draft});
    for (int n = 1; n <= CLIENTS; n += CLIENTS - 1) {
        for (int i = 0; i < n; i++)
            ask(&t[i], g, i, "'temperature':0");
        for (int i = 0; i < n; i++)
            talk_wait(&t[i]);
        for (int i = 0; i < n; i++)
            expect_same(&want[i], &t[i], "draft", i);
        fini_all(t, n);
    }
    gen_close(g);
    fini_all(want, CLIENTS);
    free(want);
}

/* ---- choices ---- */

static void test_choices(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){.engine.n_parallel = 3});
    struct talk t = {0}, one = {0};
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'%s','n':5,'options':{'temperature':1,"
         "'seed':11,'num_predict':30,'ignore_eos':true}}",
         words(1, 100));
    assert_int_equal(t.n_finish, 5);
    assert_int_equal(t.all.n_eval, 150);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(t.n_id[i], 30);
        assert_int_equal(t.why[i], GEN_LENGTH);
        /* All but the last token of the prompt was there, or its whole pages. */
        if (i > 0) assert_true(t.choice[i].n_cached >= t.all.n_prompt / 64 * 64 - 64);
        talk(&one, g,
             "{'op':'text','raw':true,'prompt':'%s','options':{'temperature':1,"
             "'seed':%d,'num_predict':30,'ignore_eos':true}}",
             words(1, 100), 11 + i);
        assert_memory_equal(one.id[0], t.id[i], 30 * sizeof(int32_t));
        talk_fini(&one);
    }
    assert_int_equal(t.choice[1].n_cached, t.all.n_prompt - 1);
    assert_memory_not_equal(t.id[0], t.id[1], 30 * sizeof(int32_t));
    talk_fini(&t);
    gen_close(g);
}

/* ---- shared prefixes ---- */

/* Clients that begin alike at the same time: the beginning is computed once. */
static void test_shared_prefix(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){0});
    struct talk t[CLIENTS] = {0};
    const char *head = words(3, 150);
    int computed = 0;
    for (int i = 0; i < CLIENTS; i++)
        talk_start(&t[i], g,
                   "{'op':'text','raw':true,'prompt':'%s %s',"
                   "'options':{'temperature':0,'num_predict':4,'ignore_eos':true}}",
                   head, words(100 + i, 10));
    for (int i = 0; i < CLIENTS; i++) {
        talk_wait(&t[i]);
        assert_int_equal(t[i].err.code, ERR_NONE);
        computed += t[i].all.n_prompt - t[i].all.n_cached;
    }
    const int whole = t[0].all.n_prompt, rest = whole % 64 + 64;
    if (computed > whole + CLIENTS * rest)
        fail_msg("%d tokens were computed for %d prompts of %d", computed, CLIENTS, whole);
    fini_all(t, CLIENTS);
    gen_close(g);
}

static int cached(struct gen *g, const char *keys) {
    struct talk t = {0};
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'%s',%s"
         "'options':{'temperature':0,'num_predict':2}}",
         words(5, 150), keys);
    const int n = t.all.n_cached;
    talk_fini(&t);
    return n;
}

static void test_tenants(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){0});
    assert_int_equal(cached(g, ""), 0);
    assert_true(cached(g, "") >= 128);
    assert_int_equal(cached(g, "'tenant':'a',"), 0);
    assert_int_equal(cached(g, "'tenant':'b',"), 0);
    assert_true(cached(g, "'tenant':'a',") >= 128);
    assert_true(cached(g, "'tenant':'b',") >= 128);
    assert_true(cached(g, "") >= 128);
    assert_true(cached(g, "'tenant':'',") >= 128); /* nobody's name */
    gen_close(g);
}

/* ---- turns ---- */

/* t[1] to t[n - 1], all of whom wait while t[0] has the only place, one after the other. */
static void in_turns(struct gen *g, struct talk *t, int n, const char *const *user,
                     const char *const *priority) {
    talk_start(&t[0], g,
               "{'op':'text','raw':true,'prompt':'x','user':'x',"
               "'options':{'temperature':0,'num_predict':100000,'ignore_eos':true}}");
    talk_wait_events(&t[0], 3);
    for (int i = 1; i < n; i++) {
        talk_start(&t[i], g,
                   "{'op':'text','raw':true,'prompt':'x','user':'%s','priority':'%s',"
                   "'options':{'temperature':0,'num_predict':3,'ignore_eos':true}}",
                   user[i], priority ? priority[i] : "normal");
        usleep(20000); /* several threads read requests: one after the other */
    }
    pthread_mutex_lock(&t[0].lock);
    if (t[0].task) gen_cancel(t[0].task);
    pthread_mutex_unlock(&t[0].lock);
    for (int i = 0; i < n; i++)
        talk_wait(&t[i]);
}

/* The low ones first, each another user's; served by shares of 16, 4 and 1. */
static void test_classes(void **state) {
    (void)state;
    enum { N = 15 };
    static const char *const user[N] = {"x", "a", "b", "c", "d", "e", "f", "g",
                                        "h", "i", "j", "k", "l", "m", "n"};
    static const char *const priority[N] = {"",       "low",    "low",    "normal", "normal",
                                            "normal", "normal", "normal", "normal", "high",
                                            "high",   "high",   "high",   "high",   "high"};
    /* x began at 4, and normal ones are due at 8, 12...; high ones at 5, 6...; low ones at 20, 36.
     * Of equals the higher goes first. */
    static const char want[] = "hhhhnhhnnnlnnl";
    struct gen *g = open_gen(llama, (struct gen_opts){.engine.n_parallel = 1});
    struct talk t[N] = {0};
    char got[N] = "";
    in_turns(g, t, N, user, priority);
    for (int i = 1; i < N; i++) {
        int place = 0;
        for (int k = 1; k < N; k++)
            place += t[k].end_ns < t[i].end_ns;
        got[place] = *priority[i];
    }
    assert_string_equal(got, want);
    fini_all(t, N);
    gen_close(g);
}

static void test_fair(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){.engine.n_parallel = 1});
    struct talk t[8] = {0};
    static const char *const user[8] = {"x", "a", "a", "a", "a", "b", "a", "b"};
    in_turns(g, t, 8, user, NULL);
    /* a's first, b's first, a's second, b's second, then the rest of a's. */
    assert_true(t[1].end_ns < t[5].end_ns);
    assert_true(t[5].end_ns < t[2].end_ns);
    assert_true(t[2].end_ns < t[7].end_ns);
    assert_true(t[7].end_ns < t[3].end_ns);
    assert_true(t[3].end_ns < t[4].end_ns);
    assert_true(t[4].end_ns < t[6].end_ns);
    fini_all(t, 8);
    gen_close(g);
}

static void test_slow_reader(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){.engine.n_parallel = 1});
    struct talk slow = {0}, t = {0};
    talk_start(&slow, g,
               "{'op':'text','raw':true,'prompt':'%s','options':{'temperature':0,"
               "'num_predict':1500,'ignore_eos':true}}",
               words(1, 20));
    talk_wait_events(&slow, 5);
    pthread_mutex_lock(&slow.lock);
    if (slow.task) gen_pause(slow.task);
    pthread_mutex_unlock(&slow.lock);
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'x','options':{'temperature':0,"
         "'num_predict':20,'ignore_eos':true}}");
    assert_int_equal(t.n_id[0], 20);
    assert_false(slow.ended);
    pthread_mutex_lock(&slow.lock);
    if (slow.task) gen_resume(slow.task);
    pthread_mutex_unlock(&slow.lock);
    talk_wait(&slow);
    assert_int_equal(slow.err.code, ERR_NONE);
    assert_int_equal(slow.n_id[0], 1500);
    talk_fini(&slow);
    talk_fini(&t);
    gen_close(g);
}

/* A reader that is slow loses its pages to others, and then keeps nobody out: not before it reads
 * again, nor those who come behind. */
static void test_slow_reader_without_pages(void **state) {
    (void)state;
    struct gen *g =
        open_gen(llama, (struct gen_opts){.engine = {.n_ctx = 256, .n_kv = 256, .n_parallel = 2}});
    struct talk slow = {0}, eater = {0}, t = {0};
    talk_start(&slow, g,
               "{'op':'text','raw':true,'prompt':'%s','options':{'temperature':0,"
               "'num_predict':100000,'ignore_eos':true}}",
               words(1, 60));
    talk_wait_events(&slow, 3);
    pthread_mutex_lock(&slow.lock);
    gen_pause(slow.task);
    pthread_mutex_unlock(&slow.lock);
    for (int i = 0; i < 3; i++) { /* more than its pages leave */
        eater = (struct talk){0};
        talk(&eater, g,
             "{'op':'text','raw':true,'prompt':'%s','options':{'temperature':0,"
             "'num_predict':120,'ignore_eos':true}}",
             words(50 + 7 * i, 100));
        assert_int_equal(eater.err.code, ERR_NONE);
        talk_fini(&eater);
    }
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'x','options':{'temperature':0,'num_predict':5,"
         "'ignore_eos':true}}");
    assert_int_equal(t.n_id[0], 5);
    assert_false(slow.ended);
    pthread_mutex_lock(&slow.lock);
    gen_resume(slow.task);
    gen_cancel(slow.task);
    pthread_mutex_unlock(&slow.lock);
    talk_wait(&slow);
    talk_fini(&slow), talk_fini(&t);
    gen_close(g);
}

/* ---- answers longer than the context ---- */

enum { LONG = 900 };

static void ask_long(struct talk *t, struct gen *g, const char *more, int words_n) {
    talk_start(t, g,
               "{'op':'text','raw':true,'prompt':'%s',%s'options':{'num_predict':%d,"
               "'ignore_eos':true,'temperature':0,'repeat_penalty':1.5,'num_keep':%d}}",
               words(1, words_n), more, LONG, words_n > 80 ? -1 : 4);
}

static void expect_same_ids(const struct talk *want, const struct talk *got, int choice,
                            const char *what) {
    if (want->err.code || got->err.code) fail_msg("%s: %s%s", what, want->err.msg, got->err.msg);
    assert_int_equal(want->n_id[0], LONG);
    assert_int_equal(got->n_id[choice], LONG);
    for (int k = 0; k < LONG; k++)
        if (got->id[choice][k] != want->id[0][k])
            fail_msg("%s, choice %d: token %d is %d; the first time it was %d", what, choice, k,
                     got->id[choice][k], want->id[0][k]);
}

/* The first answer, with nothing in the caches, is that of each that follows in the caches that it
 * left: one after the other, side by side, as choices that begin when others have shifted. */
static void check_shifts(int words_n) {
    struct talk want = {0}, t[3] = {0};
    /* F16 as users have it: rows that were rotated are rounded. */
    struct gen_opts o = {.engine = {.n_ctx = 256, .n_parallel = 3}};
    o.engine.k_type = o.engine.v_type = QT_F16;
    struct gen *g = open_gen(llama, o);
    ask_long(&want, g, "", words_n);
    talk_wait(&want);
    assert_true(want.all.n_shift > 3);
    for (int round = 0; round < 2; round++) {
        ask_long(&t[0], g, "", words_n);
        talk_wait(&t[0]);
        expect_same_ids(&want, &t[0], 0, "again");
        talk_fini(&t[0]);
    }
    for (int i = 0; i < 3; i++) {
        ask_long(&t[i], g, "", words_n);
        talk_wait_events(&t[i], 150 * i); /* one has shifted when the last begins */
    }
    for (int i = 0; i < 3; i++) {
        talk_wait(&t[i]);
        expect_same_ids(&want, &t[i], 0, "side by side");
    }
    fini_all(t, 3);
    /* One more client: the third choice begins when that one ends and its siblings have shifted. */
    talk_start(&t[1], g,
               "{'op':'text','raw':true,'prompt':'x','options':{'num_predict':600,"
               "'ignore_eos':true}}");
    talk_wait_events(&t[1], 1);
    ask_long(&t[0], g, "'n':3,", words_n);
    talk_wait(&t[0]);
    for (int i = 0; i < 3; i++)
        expect_same_ids(&want, &t[0], i, "choices");
    talk_wait(&t[1]);
    assert_int_equal(t[1].n_id[0], 600);
    talk_fini(&t[1]);
    talk_fini(&t[0]);
    talk_fini(&want);
    gen_close(g);
}

static void test_same_after_shifts(void **state) {
    (void)state;
    check_shifts(6);   /* less than a page */
    check_shifts(100); /* pages that the prefix cache has, too */
}

/* Pages for one context and a bit: who came first is never put back and gives its own answer to the
 * last token.  The others are, after shifts too, and go on from what they had in sight. */
static void test_shifts_short_of_pages(void **state) {
    (void)state;
    struct talk want = {0}, t[3] = {0};
    struct gen_opts o = {.engine = {.n_ctx = 256, .n_parallel = 3, .n_kv = 1}};
    o.engine.k_type = o.engine.v_type = QT_F16;
    struct gen *g = open_gen(llama, o);
    ask_long(&want, g, "", 6);
    talk_wait(&want);
    ask_long(&t[0], g, "", 6);
    talk_wait_events(&t[0], 1);
    for (int i = 1; i < 3; i++) /* half the context: they shift before the first needs all pages */
        talk_start(&t[i], g,
                   "{'op':'text','raw':true,'prompt':'%s','options':{'num_predict':%d,"
                   "'ignore_eos':true,'temperature':0,'num_ctx':128}}",
                   words(i, 6), LONG);
    for (int i = 0; i < 3; i++)
        talk_wait(&t[i]);
    expect_same_ids(&want, &t[0], 0, "short of pages");
    for (int i = 1; i < 3; i++) {
        assert_int_equal(t[i].err.code, ERR_NONE);
        assert_int_equal(t[i].n_id[0], LONG);
        assert_true(t[i].all.n_shift > 0);
    }
    fini_all(t, 3);
    talk_fini(&want);
    gen_close(g);
}

/* ---- a short cache ---- */

/* Pages for one context and a bit: eight answers of three pages each do not fit at once. */
static void test_short_of_pages(void **state) {
    (void)state;
    const char *options = "'temperature':0";
    struct talk *want = alone(llama, options), t[CLIENTS] = {0};
    struct gen_opts o = {.engine = {.n_ctx = 256, .n_kv = 1, .n_batch = 64}};
    struct gen *g = open_gen(llama, o);
    for (int round = 0; round < 3; round++) {
        ask_all(t, want, g, options, "short of pages");
        fini_all(t, CLIENTS);
    }
    const struct gen_load l = gen_load(g);
    assert_true(l.kv_bytes > 0);
    gen_close(g);
    fini_all(want, CLIENTS);
    free(want);
}

/* ---- prompts that are too long ---- */

static void test_text_too_long(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){.engine.n_ctx = 128});
    struct talk t = {0};
    talk_start(&t, g, "{'op':'text','raw':true,'prompt':'%s','truncate':false}", words(1, 400));
    talk_wait(&t);
    assert_int_equal(t.err.code, ERR_LIMIT);
    assert_non_null(strstr(t.err.msg, "128"));
    talk_fini(&t);
    talk_start(&t, g, "{'op':'text','raw':true,'prompt':'%s','shift':false}", words(1, 400));
    talk_wait(&t);
    assert_int_equal(t.err.code, ERR_LIMIT);
    talk_fini(&t);
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'%s','options':{'num_predict':200,"
         "'ignore_eos':true,'temperature':0}}",
         words(1, 400));
    assert_true(t.all.n_truncated > 200);
    assert_true(t.all.n_prompt <= 128);
    assert_true(t.all.n_shift > 0);
    assert_int_equal(t.n_id[0], 200);
    talk_fini(&t);
    gen_close(g);
}

static const char *const template =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";

static void test_chat_too_long(void **state) {
    (void)state;
    struct gen_opts o = {.engine = {.n_ctx = 256}};
    o.engine.chat_template = str_of(template);
    struct gen *g = open_gen(llama, o);
    json_t *list = json_array();
    json_array_append_new(list, json_pack("{s:s,s:s}", "role", "system", "content", "SYSTEM-Q"));
    for (int i = 0; i < 21; i++) {
        char text[256];
        snprintf(text, sizeof text, "MSG%d-%s", i, words(i, 10));
        json_array_append_new(
            list, json_pack("{s:s,s:s}", "role", i & 1 ? "assistant" : "user", "content", text));
    }
    struct talk t = {0};
    talk_start_json(&t, g, json_pack("{s:s,s:O}", "op", "render", "messages", list));
    talk_wait(&t);
    assert_int_equal(t.err.code, ERR_NONE);
    const char *prompt = json_string_value(json_object_get(t.result, "prompt"));
    assert_non_null(strstr(prompt, "SYSTEM-Q"));
    assert_non_null(strstr(prompt, "MSG20-"));
    assert_null(strstr(prompt, "MSG0-"));
    assert_null(strstr(prompt, "MSG3-"));
    assert_true(json_integer_value(json_object_get(t.result, "n_tokens")) <= 256);
    assert_true(json_integer_value(json_object_get(t.result, "n_tokens")) > 150);
    talk_fini(&t);
    talk_start_json(&t, g,
                    json_pack("{s:s,s:O,s:b}", "op", "chat", "messages", list, "truncate", 0));
    talk_wait(&t);
    assert_int_equal(t.err.code, ERR_LIMIT);
    talk_fini(&t);
    talk_start_json(&t, g,
                    json_pack("{s:s,s:o,s:{s:i}}", "op", "chat", "messages", list, "options",
                              "num_predict", 3));
    talk_wait(&t);
    assert_int_equal(t.err.code, ERR_NONE);
    assert_true(t.all.n_truncated > 100);
    talk_fini(&t);
    gen_close(g);
}

/* ---- vectors ---- */

static void check_vectors(const char *model) {
    struct gen *g = open_gen(model, (struct gen_opts){.engine = {.n_ctx = 256, .n_parallel = 2}});
    const int n_embd = gen_info(g)->n_embd;
    struct talk many = {0}, one = {0}, busy = {0};
    json_t *list = json_array();
    for (int i = 0; i < 200; i++)
        json_array_append_new(list, json_string(words(i, 1 + i * 7 % 60)));
    if (!gen_info(g)->embedding)
        talk_start(&busy, g,
                   "{'op':'text','raw':true,'prompt':'x','options':{'temperature':0,"
                   "'num_predict':100000,'ignore_eos':true}}");
    talk_start_json(&many, g, json_pack("{s:s,s:O}", "op", "embed", "input", list));
    talk_wait(&many);
    assert_int_equal(many.err.code, ERR_NONE);
    int n = 0;
    for (int i = 0; i < many.n_event; i++)
        n += many.kind[i] == GEN_VECTOR;
    assert_int_equal(n, 200);
    for (int i = 0; i < TALK_CHOICES; i++) {
        talk(&one, g, "{'op':'embed','input':['%s']}", words(i, 1 + i * 7 % 60));
        assert_memory_equal(one.vector[0], many.vector[i], (size_t)n_embd * sizeof(float));
        assert_int_equal(one.all.n_prompt, many.choice[i].n_prompt);
        talk_fini(&one);
    }
    if (busy.gen) {
        pthread_mutex_lock(&busy.lock);
        gen_cancel(busy.task);
        pthread_mutex_unlock(&busy.lock);
        talk_wait(&busy);
        talk_fini(&busy);
    }
    talk_fini(&many);
    json_decref(list);
    gen_close(g);
}

static void test_vectors(void **state) {
    (void)state;
    check_vectors("models/bert.gguf");
    check_vectors(llama);
}

static void test_dimensions_and_rank(void **state) {
    (void)state;
    struct gen *g = open_gen("models/bert.gguf", (struct gen_opts){.engine.n_ctx = 128});
    struct talk a = {0}, b = {0}, r = {0};
    talk(&a, g, "{'op':'embed','input':['red sea']}");
    talk(&b, g, "{'op':'embed','input':['red sea'],'dimensions':8}");
    assert_int_equal(b.n_vector, 8);
    double sq = 0;
    for (int i = 0; i < 8; i++)
        sq += (double)a.vector[0][i] * (double)a.vector[0][i];
    for (int i = 0; i < 8; i++)
        assert_true(fabs((double)a.vector[0][i] / sqrt(sq) - (double)b.vector[0][i]) < 1e-6);
    talk_fini(&b);
    talk_start(&b, g, "{'op':'embed','input':['red sea'],'dimensions':100000}");
    talk_wait(&b);
    assert_int_equal(b.err.code, ERR_USAGE);
    talk(&r, g, "{'op':'rerank','query':'red sea','documents':['of two','red sea','old way']}");
    json_t *list = json_object_get(r.result, "results");
    assert_int_equal(json_array_size(list), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "index")), 1);
    double last = 2;
    for (size_t i = 0; i < 3; i++) {
        const double s = json_real_value(json_object_get(json_array_get(list, i), "score"));
        assert_true(s <= last);
        last = s;
    }
    talk_fini(&a);
    talk_fini(&b);
    talk_fini(&r);
    /* No input is answered at once; too much of one is cut, or refused. */
    talk(&a, g, "{'op':'embed','input':[]}");
    assert_int_equal(a.n_event, 1);
    talk_fini(&a);
    talk(&a, g, "{'op':'embed','input':['%s']}", words(1, 400));
    assert_true(a.choice[0].n_truncated > 0 && a.choice[0].n_prompt == 128);
    talk_fini(&a);
    talk_start(&a, g, "{'op':'embed','input':['%s'],'truncate':false}", words(1, 400));
    talk_wait(&a);
    assert_int_equal(a.err.code, ERR_LIMIT);
    talk_fini(&a);
    gen_close(g);
}

/* ---- log probabilities ---- */

static void test_logprobs(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){0});
    struct talk t = {0};
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'the sun','top_logprobs':3,"
         "'options':{'temperature':0,'num_predict':12,'ignore_eos':true}}");
    assert_int_equal(json_array_size(t.logprobs), 12);
    size_t i;
    json_t *v;
    json_array_foreach(t.logprobs, i, v) {
        json_t *top = json_object_get(v, "top_logprobs");
        assert_int_equal(json_array_size(top), 3);
        const double p = json_real_value(json_object_get(v, "logprob"));
        assert_true(p <= 0 && p > -20);
        /* Greedy: the best is the chosen one. */
        json_t *best = json_array_get(top, 0);
        assert_true(json_equal(json_object_get(best, "token"), json_object_get(v, "token")));
        assert_true(fabs(json_real_value(json_object_get(best, "logprob")) - p) < 1e-6);
        assert_true(json_is_array(json_object_get(v, "bytes")));
    }
    talk_fini(&t);
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'the sun','logprobs':true,"
         "'options':{'temperature':0,'num_predict':5,'ignore_eos':true}}");
    assert_int_equal(json_array_size(t.logprobs), 5);
    v = json_object_get(json_array_get(t.logprobs, 0), "top_logprobs");
    assert_int_equal(json_array_size(v), 0);
    talk_fini(&t);
    gen_close(g);
}

/* ---- adapters ---- */

static void test_adapters(void **state) {
    (void)state;
    const char *path = golden("lora/llama32.lora-qv.gguf");
    const char *lora[2] = {path, path};
    const float scale[2] = {1, 2.5f};
    struct gen *with = open_gen(
        llama, (struct gen_opts){.engine = {.lora = lora, .lora_scale = scale, .n_lora = 1}});
    struct gen *none = open_gen(llama, (struct gen_opts){0});
    struct talk a[3] = {0}, want[2] = {0};
    ask(&want[0], with, 5, "'temperature':0");
    ask(&want[1], none, 5, "'temperature':0");
    talk_wait(&want[0]);
    talk_wait(&want[1]);
    assert_memory_not_equal(want[0].id[0], want[1].id[0], ANSWER * sizeof(int32_t));
    /* In one batch, over one cache. */
    for (int round = 0; round < 2; round++) {
        static const char *const keys[3] = {"", "'adapter':'',", "'adapter':'llama32.lora-qv',"};
        for (int i = 0; i < 3; i++)
            talk_start(&a[i], with,
                       "{'op':'text','raw':true,'prompt':'%s',%s'options':{"
                       "'num_predict':%d,'ignore_eos':true,'temperature':0}}",
                       words(5, n_word(5)), keys[i], ANSWER);
        for (int i = 0; i < 3; i++) {
            talk_wait(&a[i]);
            expect_same(&want[i == 1], &a[i], "adapter", i);
        }
        fini_all(a, 3);
    }
    struct talk t = {0};
    talk_start(&t, with, "{'op':'text','raw':true,'prompt':'x','adapter':'other'}");
    talk_wait(&t);
    assert_int_equal(t.err.code, ERR_NOT_FOUND);
    talk_fini(&t);
    fini_all(want, 2);
    gen_close(with);
    gen_close(none);
}

/* ---- memory ---- */

/* A reader that only counts: nothing of its own is allocated. */
struct counter {
    volatile int n_text, ended;
    volatile long at[2]; /* allocations so far after 50 and 150 texts */
};

static void count(void *ctx, const struct gen_event *ev) {
    struct counter *c = ctx;
    if (ev->kind == GEN_TEXT && ++c->n_text == 50) c->at[0] = n_alloc;
    if (ev->kind == GEN_TEXT && c->n_text == 150) c->at[1] = n_alloc;
    if (ev->kind == GEN_END) __atomic_store_n(&c->ended, 1, __ATOMIC_RELEASE);
}

static void test_no_allocation(void **state) {
    (void)state;
    if (!COUNT_ALLOCATIONS) return; /* the sanitizer's own */
    struct gen *g = open_gen(llama, (struct gen_opts){0});
    struct counter c[4] = {0};
    long least = LONG_MAX;
    for (int i = 0; i < 4; i++) {
        json_t *r = json_pack("{s:s,s:b,s:s,s:{s:i,s:i,s:b}}", "op", "text", "raw", 1, "prompt",
                              words(i, 30), "options", "temperature", 0, "num_predict", 400,
                              "ignore_eos", 1);
        struct err e;
        assert_int_equal(gen_start(g, r, count, &c[i], NULL, &e), 0);
        json_decref(r);
    }
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 30000 && !__atomic_load_n(&c[i].ended, __ATOMIC_ACQUIRE); k++)
            usleep(1000);
        assert_true(c[i].ended);
        assert_true(c[i].at[0] > 0 && c[i].at[1] > 0);
        /* The others' requests may have been read meanwhile, but not in all four. */
        if (c[i].at[1] - c[i].at[0] < least) least = c[i].at[1] - c[i].at[0];
    }
    /* A sequence's list of pages may have grown once. */
    if (least > 4) fail_msg("%ld allocations in 100 tokens", least);
    gen_close(g);
}

static void test_limit(void **state) {
    (void)state;
    struct err e;
    struct gen *g = open_gen(llama, (struct gen_opts){.engine = {.n_parallel = 4}});
    const uint64_t all = gen_info(g)->n_bytes;
    gen_close(g);
    struct gen_opts o = {.engine = {.n_ctx = 512, .n_parallel = 4, .n_threads = 2}};
    o.max_bytes = all;
    g = gen_open_local(golden(llama), &o, &e);
    assert_non_null(g);
    assert_int_equal(gen_info(g)->n_bytes, all);
    gen_close(g);
    /* Less: sequences share fewer pages; the context stays. */
    uint64_t least = all;
    for (o.max_bytes = all - 1; (g = gen_open_local(golden(llama), &o, &e)) != NULL;
         o.max_bytes -= 64 << 10) {
        assert_true(gen_info(g)->n_bytes <= o.max_bytes);
        assert_int_equal(gen_info(g)->n_ctx, 512);
        assert_false(gen_info(g)->ctx_reduced);
        least = gen_info(g)->n_bytes;
        gen_close(g);
    }
    assert_true(least < all);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "MB"));
    /* What works with one sequence's pages works. */
    o.max_bytes = least;
    g = gen_open_local(golden(llama), &o, &e);
    assert_non_null(g);
    struct talk t[4] = {0};
    for (int i = 0; i < 4; i++)
        ask(&t[i], g, i, "'temperature':0");
    for (int i = 0; i < 4; i++) {
        talk_wait(&t[i]);
        assert_int_equal(t[i].err.code, ERR_NONE);
    }
    fini_all(t, 4);
    gen_close(g);
}

/* More context than a model was trained for is not given. */
static void test_capped_context(void **state) {
    (void)state;
    struct gen *g = open_gen(llama, (struct gen_opts){.engine = {.n_ctx = 1 << 20}});
    assert_true(gen_info(g)->n_ctx_train > 0);
    assert_int_equal(gen_info(g)->n_ctx, gen_info(g)->n_ctx_train);
    gen_close(g);
}

static void test_smaller_context(void **state) {
    (void)state;
    struct err e;
    const char *phi = golden("models/phi3-4k.gguf");
    struct gen_opts o = {.engine = {.n_parallel = 1, .n_threads = 2}};
    struct gen *g = gen_open_local(phi, &o, &e);
    assert_non_null(g);
    const int n_ctx = gen_info(g)->n_ctx;
    assert_int_equal(n_ctx, 4096);
    const uint64_t all = gen_info(g)->n_bytes;
    gen_close(g);
    o.max_bytes = all - 100000;
    g = gen_open_local(phi, &o, &e);
    if (!g) fail_msg("%s", e.msg);
    assert_true(gen_info(g)->ctx_reduced);
    assert_in_range(gen_info(g)->n_ctx, 2048, n_ctx - 1);
    assert_true(gen_info(g)->n_bytes <= o.max_bytes);
    gen_close(g);
    o.engine.n_ctx = 4096; /* not left open */
    assert_null(gen_open_local(phi, &o, &e));
    assert_int_equal(e.code, ERR_LIMIT);
}

/* ---- comings and goings ---- */

static void test_chaos(void **state) {
    (void)state;
    enum { N = 120, AT_ONCE = 12 };
    struct gen_opts o = {.engine = {.n_ctx = 256, .n_kv = 800, .n_batch = 64, .n_parallel = 6}};
    struct gen *g = open_gen(llama, o);
    struct talk *t = calloc(AT_ONCE, sizeof *t);
    unsigned x = 99;
    for (int i = 0; i < N; i++) {
        struct talk *k = &t[i % AT_ONCE];
        if (i >= AT_ONCE) {
            pthread_mutex_lock(&k->lock);
            x = x * 1103515245u + 12345u;
            if (k->task && (x >> 16) % 3 == 0) gen_cancel(k->task);
            if (k->task) gen_resume(k->task);
            pthread_mutex_unlock(&k->lock);
            talk_wait(k);
            if (k->err.code && k->err.code != ERR_CANCELLED) fail_msg("%s", k->err.msg);
            talk_fini(k);
        }
        x = x * 1103515245u + 12345u;
        const unsigned what = (x >> 16) % 8;
        if (what == 0)
            talk_start(k, g, "{'op':'embed','input':['%s','%s']}", words(i, 50), words(i, 9));
        else
            talk_start(k, g,
                       "{'op':'text','raw':true,'user':'%u','prompt':'%s','n':%u,'options':{"
                       "'num_predict':%u,'ignore_eos':true,'seed':1}}",
                       what, words(i % 7, 1 + (int)(x >> 18) % 150), 1 + what % 3, 1 + x % 90);
        pthread_mutex_lock(&k->lock);
        if (k->task && what == 3) gen_pause(k->task);
        pthread_mutex_unlock(&k->lock);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_mutex_lock(&t[i].lock);
        if (t[i].task) gen_resume(t[i].task);
        pthread_mutex_unlock(&t[i].lock);
        talk_wait(&t[i]);
        talk_fini(&t[i]);
    }
    const struct gen_load l = gen_load(g);
    assert_int_equal(l.n_running, 0);
    assert_int_equal(l.n_waiting, 0);
    free(t);
    gen_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_greedy),
        cmocka_unit_test(test_same_sampled),
        cmocka_unit_test(test_same_with_draft),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_shared_prefix),
        cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_fair),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_slow_reader_without_pages),
        cmocka_unit_test(test_same_after_shifts),
        cmocka_unit_test(test_shifts_short_of_pages),
        cmocka_unit_test(test_short_of_pages),
        cmocka_unit_test(test_text_too_long),
        cmocka_unit_test(test_chat_too_long),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_dimensions_and_rank),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_capped_context),
        cmocka_unit_test(test_smaller_context),
        cmocka_unit_test(test_chaos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
