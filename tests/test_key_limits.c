/* What keys may use: the module with clocks of the test's own, then a real server with 32 clients
 * at once, whose 429s are counted to one request; what is kept over a restart and a kill. */
#include "keys_rig.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/key_usage.h"

#define ARGS(...) ((const char *[]){__VA_ARGS__, NULL})
#define MINUTE INT64_C(60000000000)
enum { DAY = 86400, N_CLIENT = 32 };

/* ---- the module ---- */

struct moment {
    int64_t ns, s;
};

static int64_t the_ns(void *ctx) {
    return ((struct moment *)ctx)->ns;
}

static int64_t the_s(void *ctx) {
    return ((struct moment *)ctx)->s;
}

struct meter {
    struct moment at;
    struct key_limits *l;
    struct keys *keys;
    struct key *key;
    struct key_refusal why;
};

static void meter_open(struct meter *m, struct key_quota q) {
    struct err e;
    *m = (struct meter){.at = {12345, 20000 * (int64_t)DAY + 3600}};
    const struct key_clock c = {the_ns, the_s, &m->at};
    m->l = key_limits_new(&c, &e);
    m->keys = keys_new(&e);
    assert_int_equal(keys_put(m->keys, &(struct key){.name = "k", .quota = q}, &e), 0);
    assert_int_equal(key_limits_attach(m->l, m->keys, &e), 0);
    m->key = keys_at(m->keys, 0);
}

static void meter_close(struct meter *m) {
    keys_unref(m->keys);
    key_limits_free(m->l);
}

static void leave(struct meter *m, int64_t n_tokens) {
    key_settle(m->l, m->key, &(struct key_hold){0}, n_tokens);
}

/* Of n_tokens so many are the prompt's. */
static int reserve(struct meter *m, int64_t n_prompt, int64_t n_tokens, struct key_hold *hold) {
    const struct key_need need = {n_prompt, n_prompt, n_tokens - n_prompt};
    return key_reserve(m->l, m->key, &need, hold, &m->why);
}

/* Let in as many as there may be now; each ends at once. */
static int64_t enter_all(struct meter *m) {
    int64_t n = 0;
    while (key_enter(m->l, m->key, &m->why) == 0) {
        leave(m, 0);
        n++;
    }
    return n;
}

/* Who takes all there is gets a minute's worth, and rate * time, neither one more nor one less,
 * however time is cut. */
static void requests_to_one(void **state) {
    (void)state;
    static const int64_t rates[] = {2, 3, 7, 59, 60, 61, 1000, 99991};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct meter m;
        int64_t n = 0, passed = 0;
        srand(3);
        meter_open(&m, (struct key_quota){.rpm = rates[i]});
        while (passed < 10 * MINUTE) {
            n += enter_all(&m);
            /* Steps are whole microseconds, so that this does not overflow. */
            assert_int_equal(n, rates[i] + rates[i] * (passed / 1000) / (MINUTE / 1000));
            const int64_t step = (rand() % 4000000 + 1) * (int64_t)1000;
            passed += step, m.at.ns += step;
        }
        assert_int_equal(m.why.limit, KEY_LIMIT_REQUESTS);
        assert_int_equal(m.why.most, rates[i]);
        meter_close(&m);
    }
}

/* Retry-After is neither too early nor a whole second too late. */
static void retry_is_true(void **state) {
    (void)state;
    struct meter m;
    meter_open(&m, (struct key_quota){.rpm = 7});
    for (int i = 0; i < 50; i++) {
        enter_all(&m);
        const int64_t wait_s = m.why.retry_s;
        assert_in_range(wait_s, 1, 9);
        m.at.ns += (wait_s - 1) * 1000000000;
        if (wait_s > 1) assert_int_equal(key_enter(m.l, m.key, &m.why), -1);
        m.at.ns += 1000000000;
        assert_int_equal(key_enter(m.l, m.key, &m.why), 0);
        leave(&m, 0);
        m.at.ns += rand() % 3000000000LL;
    }
    meter_close(&m);
}

static void after_a_long_time(void **state) {
    (void)state;
    struct meter m;
    meter_open(&m, (struct key_quota){.rpm = KEY_RPM_MAX, .tpm = KEY_TPM_MAX});
    struct key_hold hold;
    assert_int_equal(key_enter(m.l, m.key, &m.why), 0);
    for (int i = 0; i < 30; i++) /* a debt that is bounded: nothing overflows */
        key_settle(m.l, m.key, &(struct key_hold){0}, INT64_MAX);
    assert_int_equal(reserve(&m, 1, 1, &hold), -1);
    assert_int_equal(m.why.limit, KEY_LIMIT_TOKENS);
    m.at.ns += INT64_MAX / 2;
    assert_int_equal(reserve(&m, 1, KEY_TPM_MAX, &hold), 0);
    assert_int_equal(reserve(&m, 1, 1, &hold), -1);
    meter_close(&m);
}

static void tokens_of_a_minute(void **state) {
    (void)state;
    struct meter m;
    struct key_hold a, b;
    meter_open(&m, (struct key_quota){.tpm = 600});
    assert_int_equal(reserve(&m, 100, 400, &a), 0);
    assert_int_equal(reserve(&m, 100, 201, &b), -1); /* 200 are left */
    assert_int_equal(m.why.limit, KEY_LIMIT_TOKENS);
    assert_int_equal(m.why.retry_s, 1); /* 10 tokens a second */
    assert_int_equal(reserve(&m, 100, 200, &b), 0);
    key_settle(m.l, m.key, &a, 150); /* 250 come back */
    assert_int_equal(reserve(&m, 0, 251, &a), -1);
    assert_int_equal(reserve(&m, 0, 250, &a), 0);
    key_settle(m.l, m.key, &a, 250);
    key_settle(m.l, m.key, &b, 1400); /* it named no maximum: 1200 below zero */
    m.at.ns += 2 * MINUTE;
    assert_int_equal(reserve(&m, 0, 1, &a), -1); /* just zero */
    m.at.ns += 100000000;
    assert_int_equal(reserve(&m, 0, 1, &a), 0);
    key_settle(m.l, m.key, &a, 0);
    /* More than a minute's: when the bucket is full. */
    m.at.ns += MINUTE;
    assert_int_equal(reserve(&m, 10, 32000, &a), 0);
    assert_int_equal(reserve(&m, 0, 1, &b), -1);
    key_settle(m.l, m.key, &a, 32000);
    meter_close(&m);
}

static void tokens_of_a_day(void **state) {
    (void)state;
    struct meter m;
    struct key_hold a, b;
    meter_open(&m, (struct key_quota){.daily_tokens = 1000});
    assert_int_equal(reserve(&m, 100, 5000, &a), 0); /* all that is left */
    assert_int_equal(reserve(&m, 1, 1, &b), -1);
    assert_int_equal(m.why.limit, KEY_LIMIT_DAY_TOKENS);
    assert_int_equal(m.why.retry_s, 1); /* it may come back soon */
    key_settle(m.l, m.key, &a, 400);
    assert_int_equal(reserve(&m, 601, 601, &b), -1); /* no prompt of that */
    assert_int_equal(reserve(&m, 600, 600, &b), 0);
    key_settle(m.l, m.key, &b, 600);
    assert_int_equal(reserve(&m, 0, 0, &b), -1);
    assert_int_equal(m.why.retry_s, DAY - 3600); /* until midnight */
    m.at.s += DAY - 3600;
    assert_int_equal(reserve(&m, 0, 1000, &b), 0);
    meter_close(&m);
}

/* When the prompt was read it is known how long it is. */
static void corrected(void **state) {
    (void)state;
    struct meter m;
    struct key_hold a, b;
    meter_open(&m, (struct key_quota){.daily_tokens = 1000, .tpm = 1000});
    assert_int_equal(reserve(&m, 100, 300, &a), 0);
    key_correct(m.l, m.key, &a, 400);
    assert_int_equal(reserve(&m, 0, 401, &b), -1);
    key_correct(m.l, m.key, &a, 50); /* another model's: fewer */
    assert_int_equal(reserve(&m, 751, 751, &b), -1);
    assert_int_equal(reserve(&m, 750, 750, &b), 0);
    key_settle(m.l, m.key, &b, 0);
    key_settle(m.l, m.key, &a, 250);
    assert_int_equal(reserve(&m, 751, 751, &b), -1);
    assert_int_equal(reserve(&m, 750, 750, &b), 0);
    meter_close(&m);
}

static void days(void **state) {
    (void)state;
    struct meter m;
    meter_open(&m, (struct key_quota){.daily_requests = 5});
    assert_int_equal(enter_all(&m), 5);
    assert_int_equal(m.why.limit, KEY_LIMIT_DAY_REQUESTS);
    m.at.s += DAY - 3601; /* a second before midnight */
    assert_int_equal(enter_all(&m), 0);
    assert_int_equal(m.why.retry_s, 1);
    m.at.s += 1;
    assert_int_equal(enter_all(&m), 5);
    m.at.s -= 7200; /* the clock is set back: the day is not given twice */
    assert_int_equal(enter_all(&m), 0);
    m.at.s += 3600;
    assert_int_equal(enter_all(&m), 0);
    m.at.s += 365 * DAY; /* it was wrong by a year, */
    assert_int_equal(enter_all(&m), 5);
    m.at.s -= 364 * DAY; /* which does not shut anybody out until then */
    assert_int_equal(enter_all(&m), 5);
    meter_close(&m);
}

static void at_once(void **state) {
    (void)state;
    struct meter m;
    meter_open(&m, (struct key_quota){.concurrent = 3, .rpm = 4});
    for (int i = 0; i < 3; i++)
        assert_int_equal(key_enter(m.l, m.key, &m.why), 0);
    assert_int_equal(key_enter(m.l, m.key, &m.why), -1);
    assert_int_equal(m.why.limit, KEY_LIMIT_CONCURRENT);
    leave(&m, 0);
    assert_int_equal(key_enter(m.l, m.key, &m.why), 0); /* the refused one took none of the 4 */
    leave(&m, 0);
    assert_int_equal(key_enter(m.l, m.key, &m.why), -1);
    assert_int_equal(m.why.limit, KEY_LIMIT_REQUESTS);
    meter_close(&m);
}

/* `cria keys set` while it is in use: what was used stays used. */
static void changed_limits(void **state) {
    (void)state;
    struct meter m;
    meter_open(&m, (struct key_quota){.rpm = 100});
    for (int i = 0; i < 60; i++)
        assert_int_equal(key_enter(m.l, m.key, &m.why), 0);
    m.key->quota.rpm = 80;
    assert_int_equal(enter_all(&m), 20);
    m.key->quota.rpm = 200;
    assert_int_equal(enter_all(&m), 120);
    m.key->quota.rpm = 10;
    assert_int_equal(enter_all(&m), 0);
    m.key->quota.rpm = 0;
    assert_int_equal(key_enter(m.l, m.key, &m.why), 0);
    m.key->quota.tpm = 100;
    leave(&m, 10);
    struct key_left requests, tokens;
    key_look(m.l, m.key, &requests, &tokens);
    assert_int_equal(requests.most, 0);
    assert_int_equal(tokens.most, 100);
    assert_int_equal(tokens.left, 90);
    meter_close(&m);
}

/* Whoever is refused for his tokens has lost no request by it. */
static void refused_for_tokens(void **state) {
    (void)state;
    struct meter m;
    struct key_hold hold;
    struct key_left requests, tokens;
    meter_open(&m, (struct key_quota){.rpm = 10, .daily_requests = 20, .tpm = 100});
    assert_int_equal(reserve(&m, 0, 100, &hold), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(key_enter(m.l, m.key, &m.why), 0);
        assert_int_equal(reserve(&m, 50, 60, &hold), -1);
        leave(&m, 0);
    }
    key_look(m.l, m.key, &requests, &tokens);
    assert_int_equal(requests.left, 10);
    meter_close(&m);
}

struct racer {
    struct meter *m;
    atomic_long n_in;
    atomic_int n_now, n_most;
};

static void *race(void *arg) {
    struct racer *r = arg;
    struct key_refusal why;
    for (int i = 0; i < 20000; i++) {
        if (key_enter(r->m->l, r->m->key, &why) != 0) continue;
        const int now = atomic_fetch_add(&r->n_now, 1) + 1;
        for (int most = atomic_load(&r->n_most);
             now > most && !atomic_compare_exchange_weak(&r->n_most, &most, now);)
            ;
        atomic_fetch_add(&r->n_in, 1);
        atomic_fetch_sub(&r->n_now, 1);
        key_settle(r->m->l, r->m->key, &(struct key_hold){0}, 1);
    }
    return NULL;
}

static void races(void **state) {
    (void)state;
    struct meter m;
    struct racer r = {.m = &m};
    pthread_t t[N_CLIENT];
    meter_open(&m, (struct key_quota){.daily_requests = 12345, .concurrent = 5});
    for (int i = 0; i < N_CLIENT; i++)
        assert_int_equal(pthread_create(&t[i], NULL, race, &r), 0);
    for (int i = 0; i < N_CLIENT; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(r.n_in, 12345);
    assert_true(atomic_load(&r.n_most) <= 5);
    meter_close(&m);
}

/* Two servers about midnight: the one that is still in the old day takes nothing from the new. */
static void midnight_of_two(void **state) {
    (void)state;
    struct meter m[3];
    struct err e = {0};
    struct key_left requests, tokens;
    char *dir = temp_folder(), path[700];
    snprintf(path, sizeof path, "%s/keys.db", dir);
    struct keys_db *d = keys_db_open(path, true, &e);
    struct key_usage *u = key_usage_new(&e);
    assert_true(d && u);
    for (int i = 0; i < 3; i++) { /* the new day, the old one; the new one after a restart */
        meter_open(&m[i], (struct key_quota){.daily_requests = 10});
        if (i != 1) m[i].at.s += DAY;
    }
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++) {
            assert_int_equal(key_enter(m[i].l, m[i].key, &m[i].why), 0);
            leave(&m[i], 1);
        }
        if (key_usage_write(u, m[i].l, d, &e) != 0) fail_msg("%s", e.msg);
    }
    assert_int_equal(key_usage_restore(m[2].l, d, &e), 0);
    key_look(m[2].l, m[2].key, &requests, &tokens);
    assert_int_equal(requests.left, 7);
    for (int i = 0; i < 3; i++)
        meter_close(&m[i]);
    key_usage_free(u);
    keys_db_close(d);
    temp_remove(dir);
}

/* ---- a server ---- */

static struct keyed_shop keyed;
static struct serve srv;

static void start(void) {
    serve_start(&srv, NULL, ARGS(keyed.set, keyed.ring.setting, "CRIA_KEEP_ALIVE=1h"));
}

static int open_all(void **state) {
    (void)state;
    keyed_shop_open(&keyed);
    shop_gguf(&keyed.shop, "chat", golden("models/llama32.gguf"), NULL);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    keyed_shop_close(&keyed);
    return 0;
}

#define WORD                                                                                       \
    "{\"model\": \"chat\", \"stream\": %s, \"raw\": true, \"prompt\": \"hello\", \"options\": "    \
    "{\"num_predict\": %d, \"ignore_eos\": true}}"

/* One answer: status, what it says it took; 429 must name when to come again. */
static int word(const char *header, bool stream, int n_predict, int64_t *n_prompt,
                int64_t *n_eval) {
    struct answer a;
    char body[400];
    snprintf(body, sizeof body, WORD, stream ? "true" : "false", n_predict);
    ask(&srv, &a, "POST", "/api/generate", header, body);
    const int status = a.status;
    if (status == 200 && n_prompt) {
        json_t *all = answer_stream(&a);
        const json_t *last = json_array_get(all, json_array_size(all) - 1);
        *n_prompt += json_integer_value(json_object_get(last, "prompt_eval_count"));
        *n_eval += json_integer_value(json_object_get(last, "eval_count"));
        json_decref(all);
    }
    const char *retry = answer_header(&a, "Retry-After");
    if ((status == 429) != (retry != NULL)) fail_msg("%d: Retry-After %s", status, retry);
    if (retry) assert_in_range(atoi(retry), 1, DAY);
    answer_fini(&a);
    return status;
}

struct crowd {
    const char *header;
    int n_each, n_predict;
    bool stream;
    atomic_int n_200, n_429, n_other;
    atomic_long n_prompt, n_eval;
    atomic_int n_now;
};

static void *send_words(void *arg) {
    struct crowd *c = arg;
    for (int i = 0; i < c->n_each; i++) {
        int64_t n_prompt = 0, n_eval = 0;
        const int status = word(c->header, c->stream, c->n_predict, &n_prompt, &n_eval);
        atomic_fetch_add(status == 200 ? &c->n_200 : status == 429 ? &c->n_429 : &c->n_other, 1);
        atomic_fetch_add(&c->n_prompt, n_prompt);
        atomic_fetch_add(&c->n_eval, n_eval);
    }
    return NULL;
}

static void run_crowd(struct crowd *c) {
    pthread_t t[N_CLIENT];
    for (int i = 0; i < N_CLIENT; i++)
        assert_int_equal(pthread_create(&t[i], NULL, send_words, c), 0);
    for (int i = 0; i < N_CLIENT; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c->n_other, 0);
    assert_int_equal(c->n_200 + c->n_429, N_CLIENT * c->n_each);
}

/* What `cria keys usage` says of a key, all days and models together; waits a second for it. */
static int64_t used(const char *name, const char *what) {
    json_t *j, *one;
    size_t i;
    int64_t n = 0;
    usleep(1100000);
    j = keys_do(ARGS("usage", name, "--json"));
    json_array_foreach(json_object_get(j, "usage"), i, one) n +=
        json_integer_value(json_object_get(one, what));
    json_decref(j);
    return n;
}

static void quota_under_32_clients(void **state) {
    (void)state;
    struct crowd c = {.header = keys_add("daily", ARGS("--daily-requests", "100")),
                      .n_each = SANITIZED ? 5 : 20,
                      .n_predict = 1};
    start();
    run_crowd(&c);
    assert_int_equal(c.n_200, 100);
    fprintf(stderr, "daily quota 100: %d of %d answered, %d refused\n", c.n_200,
            N_CLIENT * c.n_each, c.n_429);
    assert_int_equal(used("daily", "requests"), 100);
    assert_int_equal(used("daily", "refused"), c.n_429);
    assert_int_equal(used("daily", "prompt_tokens"), c.n_prompt);
    assert_int_equal(used("daily", "tokens"), c.n_eval);
    assert_int_equal(used("daily", "errors"), 0);
    assert_int_equal(c.n_eval, 100);
    assert_int_equal(serve_stop(&srv), 0);
}

static void rate_under_32_clients(void **state) {
    (void)state;
    struct crowd c = {
        .header = keys_add("rate", ARGS("--rpm", "120")), .n_each = 10, .n_predict = 1};
    const char *warm = keys_add("warm", NULL);
    start();
    assert_int_equal(word(warm, false, 1, NULL, NULL), 200);
    const int64_t t0 = os_now_ns();
    run_crowd(&c);
    const int64_t passed = os_now_ns() - t0, most = 120 + 120 * passed / MINUTE;
    fprintf(stderr, "120 a minute: %d of %d answered in %.2f s\n", c.n_200, N_CLIENT * c.n_each,
            (double)passed * 1e-9);
    assert_in_range(c.n_200, 120, most);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Each of one client's requests finds the place of the one before it free, whichever way that
 * answered. */
static void one_at_once(void **state) {
    (void)state;
    const char *header = keys_add("single", ARGS("--concurrent", "1"));
    start();
    for (int i = 0; i < 100; i++)
        assert_int_equal(word(header, i % 2, 2, NULL, NULL), 200);
    struct wire w;
    struct answer a = {0};
    char body[400];
    struct buf line = {0};
    snprintf(body, sizeof body, WORD, "true", 1000);
    wire_open(&w, &srv);
    wire_ask(&w, "POST", "/api/generate", header, body);
    assert_true(wire_head(&w, &a, 30) && a.status == 200);
    assert_int_equal(wire_line(&w, &line, 30), 1);
    assert_int_equal(word(header, false, 1, NULL, NULL), 429);
    wire_reset(&w); /* a client that leaves gives its place back, too */
    int status = 429;
    for (int i = 0; i < 200 && status == 429; i++) {
        usleep(10000);
        status = word(header, false, 1, NULL, NULL);
    }
    assert_int_equal(status, 200);
    buf_fini(&line), answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Requests that name their maximum: the last one is the one that finds any left. */
static void token_quota(void **state) {
    (void)state;
    int64_t n_prompt = 0, n_eval = 0;
    struct crowd c = {
        .header = keys_add("tokens", ARGS("--daily-tokens", "400")), .n_each = 8, .n_predict = 8};
    const char *other = keys_add("free", NULL);
    start();
    assert_int_equal(word(other, false, 8, &n_prompt, &n_eval), 200);
    run_crowd(&c);
    const int64_t sum = c.n_prompt + c.n_eval, each = n_prompt + n_eval;
    fprintf(stderr, "400 tokens a day: %ld used by %d answers of %ld\n", (long)sum, c.n_200,
            (long)each);
    assert_in_range(sum, 400 - 20, 400 + each - 1); /* to one request */
    assert_int_equal(used("tokens", "tokens") + used("tokens", "prompt_tokens"), sum);
    /* One after the other: until they are used up, and no more. */
    const char *next = keys_add("slow", ARGS("--daily-tokens", "100"));
    int n = 0;
    usleep(1200000);
    while (word(next, n % 2, 8, NULL, NULL) == 200)
        n++;
    assert_int_equal(n, (100 + each - 1) / each);
    assert_int_equal(serve_stop(&srv), 0);
}

static void expect_text(const json_t *o, const char *key, const char *want) {
    const char *got = json_string_value(json_object_get(o, key));
    if (!got || strcmp(got, want) != 0) fail_msg("%s is %s, not %s", key, got ? got : "-", want);
}

static void expect_number(const struct answer *a, const char *name, int64_t min, int64_t max) {
    const char *v = answer_header(a, name);
    if (!v || atoll(v) < min || atoll(v) > max) fail_msg("%s: %s", name, v ? v : "not there");
}

/* All prompts of a request count, for the key, the metrics and the log. */
static void several_prompts(void **state) {
    (void)state;
    const char *header = keys_add("many", ARGS("--daily-tokens", "1000"));
    struct answer a;
    start();
    ask(&srv, &a, "POST", "/v1/completions", header,
        "{\"model\":\"chat\",\"prompt\":[\"a\",\"b b\",\"c c "
        "c\"],\"max_tokens\":5,\"ignore_eos\":true,"
        "\"temperature\":0}");
    if (a.status != 200) fail_msg("%s", a.body.p);
    json_t *o = answer_json(&a);
    const json_t *usage = json_object_get(o, "usage");
    const int64_t n_eval = json_integer_value(json_object_get(usage, "completion_tokens")),
                  n_prompt = json_integer_value(json_object_get(usage, "prompt_tokens"));
    assert_int_equal(n_eval, 15);
    expect_number(&a, "x-ratelimit-remaining-tokens", 1000 - n_prompt - 15, 1000 - n_prompt - 15);
    answer_fini(&a);
    char want[80];
    snprintf(want, sizeof want, "\"prompt_tokens\":%d,", (int)n_prompt);
    assert_int_equal(serve_lines(&srv, "/v1/completions", want, 1), 1);
    usleep(1200000); /* as `cria keys usage` has it */
    assert_int_equal(used("many", "tokens"), n_eval);
    assert_int_equal(used("many", "prompt_tokens"), n_prompt);
    json_decref(o);
    /* And nobody comes past a limit with them. */
    const char *small = keys_add("few", ARGS("--daily-tokens", "30"));
    usleep(1200000);
    ask(&srv, &a, "POST", "/v1/completions", small,
        "{\"model\":\"chat\",\"prompt\":[\"a\",\"b\",\"c\",\"d\"],\"max_tokens\":20,\"ignore_eos\":"
        "true}");
    assert_int_equal(a.status, 429);
    answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

static int count_200(const char *header, int n) {
    int good = 0;
    for (int i = 0; i < n; i++)
        good += word(header, false, 1, NULL, NULL) == 200;
    return good;
}

static void over_a_restart(void **state) {
    (void)state;
    const char *header = keys_add("kept", ARGS("--daily-requests", "30", "--daily-tokens", "10k"));
    start();
    assert_int_equal(count_200(header, 7), 7);
    assert_int_equal(serve_stop(&srv), 0); /* at once: what was used is written at the end */
    start();
    assert_int_equal(count_200(header, 9), 9);
    usleep(1100000);
    serve_kill(&srv); /* nothing older than a second is lost */
    start();
    assert_int_equal(count_200(header, 20), 14);
    assert_int_equal(used("kept", "requests"), 30);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Killed at any moment under load: what was answered more than a second before is written, and
 * nothing is written that was not. */
static void killed_under_load(void **state) {
    (void)state;
    enum { ROUNDS = 5, MOST = 20000 };
    static int64_t when[MOST];
    const char *header = keys_add("killed", NULL);
    int64_t written = 0;
    srand(5);
    for (int round = 0; round < ROUNDS; round++) {
        int n = 0, n_old = 0;
        start();
        word(header, false, 1, NULL, NULL); /* loads the model */
        when[n++] = os_now_ns();
        const int64_t end = when[0] + 1200000000 + rand() % 600000000;
        while (os_now_ns() < end && n < MOST)
            if (word(header, false, 1, NULL, NULL) == 200) when[n++] = os_now_ns();
        const int64_t killed = os_now_ns();
        serve_kill(&srv);
        while (n_old < n && when[n_old] < killed - 1000000000)
            n_old++;
        const int64_t now = used("killed", "requests") - written;
        if (now < n_old || now > n)
            fail_msg("%ld of %d are written, %d were due", (long)now, n, n_old);
        written += now;
    }
}

/* Somebody holds the database for seconds: nobody waits for it, and nothing is lost. */
static void while_it_is_locked(void **state) {
    (void)state;
    sqlite3 *db;
    const char *header = keys_add("locked", ARGS("--daily-requests", "1000"));
    start();
    assert_int_equal(sqlite3_open(keyed.ring.db, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    const int64_t t0 = os_now_ns();
    assert_int_equal(count_200(header, 50), 50);
    const double s = (double)(os_now_ns() - t0) * 1e-9;
    if (!SANITIZED && s > 10) fail_msg("50 requests in %.1f s", s);
    usleep(3000000); /* longer than anybody waits for a lock */
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(used("locked", "requests"), 50);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Two servers with one database: each sees what the other has let in, a second later. */
static void two_servers(void **state) {
    (void)state;
    struct serve first;
    const char *header = keys_add("both", ARGS("--daily-requests", "10"));
    start();
    assert_int_equal(count_200(header, 4), 4);
    first = srv;
    start();
    usleep(1200000);
    assert_int_equal(count_200(header, 4), 4);
    usleep(1200000);
    struct serve second = srv;
    srv = first;
    assert_int_equal(count_200(header, 4), 2);
    assert_int_equal(serve_stop(&srv), 0);
    srv = second;
    assert_int_equal(serve_stop(&srv), 0);
}

/* A limit that is changed while the server runs. */
static void changed_while_it_runs(void **state) {
    (void)state;
    const char *header = keys_add("grows", ARGS("--daily-requests", "2"));
    start();
    assert_int_equal(count_200(header, 5), 2);
    keys_do(ARGS("set", "grows", "--daily-requests", "5"));
    usleep(1200000);
    assert_int_equal(count_200(header, 5), 3);
    assert_int_equal(serve_stop(&srv), 0);
}

/* ---- how a refusal looks ---- */

#define TALK "\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]"

static void in_every_dialect(void **state) {
    (void)state;
    struct answer a;
    static const char openai[] = "{" TALK ", \"max_tokens\": 1}";
    const char *rate = keys_add("r", ARGS("--rpm", "2", "--tpm", "1000"));
    const char *day = keys_add("d", ARGS("--daily-requests", "1"));
    const char *small = keys_add("s", ARGS("--daily-tokens", "1"));
    start();
    for (int i = 0; i < 2; i++) {
        ask(&srv, &a, "POST", "/v1/chat/completions", rate, openai);
        assert_int_equal(a.status, 200);
        expect_number(&a, "x-ratelimit-limit-requests", 2, 2);
        expect_number(&a, "x-ratelimit-remaining-requests", 1 - i, 1 - i);
        expect_number(&a, "x-ratelimit-limit-tokens", 1000, 1000);
        expect_number(&a, "x-ratelimit-remaining-tokens", 900, 1000);
        assert_non_null(strchr(answer_header(&a, "x-ratelimit-reset-requests"), 's'));
        answer_fini(&a);
    }
    ask(&srv, &a, "POST", "/v1/chat/completions", rate, openai);
    assert_int_equal(a.status, 429);
    expect_number(&a, "Retry-After", 20, 31);
    expect_number(&a, "x-ratelimit-remaining-requests", 0, 0);
    json_t *j = answer_json(&a), *e = json_object_get(j, "error");
    expect_text(e, "type", "requests");
    expect_text(e, "code", "rate_limit_exceeded");
    assert_non_null(
        strstr(json_string_value(json_object_get(e, "message")), "2 requests a minute"));
    json_decref(j), answer_fini(&a);

    ask(&srv, &a, "POST", "/v1/messages", rate, "{" TALK ", \"max_tokens\": 1}");
    assert_int_equal(a.status, 429);
    expect_number(&a, "anthropic-ratelimit-requests-limit", 2, 2);
    expect_number(&a, "anthropic-ratelimit-requests-remaining", 0, 0);
    assert_non_null(strstr(answer_header(&a, "anthropic-ratelimit-tokens-reset"), "T"));
    j = answer_json(&a), e = json_object_get(j, "error");
    expect_text(j, "type", "error");
    expect_text(e, "type", "rate_limit_error");
    json_decref(j), answer_fini(&a);

    ask(&srv, &a, "POST", "/api/chat", rate, "{" TALK "}");
    assert_int_equal(a.status, 429);
    j = answer_json(&a);
    assert_non_null(json_string_value(json_object_get(j, "error")));
    json_decref(j), answer_fini(&a);

    /* The day's: no use to try again soon. */
    ask(&srv, &a, "POST", "/v1/chat/completions", day, openai);
    assert_int_equal(a.status, 200);
    answer_fini(&a);
    ask(&srv, &a, "POST", "/v1/chat/completions", day, openai);
    assert_int_equal(a.status, 429);
    j = answer_json(&a), e = json_object_get(j, "error");
    expect_text(e, "type", "insufficient_quota");
    expect_text(e, "code", "insufficient_quota");
    expect_number(&a, "Retry-After", 1, DAY);
    json_decref(j), answer_fini(&a);

    /* Of tokens, which are known when the body is. */
    ask(&srv, &a, "POST", "/v1/messages", small, "{" TALK ", \"max_tokens\": 1}");
    assert_int_equal(a.status, 200); /* the first one begins while any are left */
    answer_fini(&a);
    ask(&srv, &a, "POST", "/v1/messages", small, "{" TALK ", \"max_tokens\": 1}");
    assert_int_equal(a.status, 429);
    expect_number(&a, "Retry-After", 1, DAY);
    expect_number(&a, "anthropic-ratelimit-tokens-remaining", 0, 0);
    answer_fini(&a);
    ask(&srv, &a, "GET", "/api/tags", small, NULL); /* lists are free */
    assert_int_equal(a.status, 200);
    assert_null(answer_header(&a, "x-ratelimit-limit-tokens"));
    answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Without keys there is nothing of it. */
static void without_keys(void **state) {
    (void)state;
    struct answer a;
    serve_start(&srv, NULL, ARGS(keyed.set, "CRIA_KEYS"));
    ask(&srv, &a, "POST", "/v1/chat/completions", NULL, "{" TALK ", \"max_tokens\": 1}");
    assert_int_equal(a.status, 200);
    assert_null(strcasestr(a.head.p, "ratelimit"));
    answer_fini(&a);
    ask(&srv, &a, "GET", "/metrics", NULL, NULL);
    assert_null(strstr(a.body.p, "cria_key_"));
    answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_to_one),
        cmocka_unit_test(retry_is_true),
        cmocka_unit_test(after_a_long_time),
        cmocka_unit_test(tokens_of_a_minute),
        cmocka_unit_test(tokens_of_a_day),
        cmocka_unit_test(corrected),
        cmocka_unit_test(days),
        cmocka_unit_test(at_once),
        cmocka_unit_test(changed_limits),
        cmocka_unit_test(refused_for_tokens),
        cmocka_unit_test(races),
        cmocka_unit_test(midnight_of_two),
        cmocka_unit_test(quota_under_32_clients),
        cmocka_unit_test(rate_under_32_clients),
        cmocka_unit_test(one_at_once),
        cmocka_unit_test(token_quota),
        cmocka_unit_test(several_prompts),
        cmocka_unit_test(over_a_restart),
        cmocka_unit_test(killed_under_load),
        cmocka_unit_test(while_it_is_locked),
        cmocka_unit_test(two_servers),
        cmocka_unit_test(changed_while_it_runs),
        cmocka_unit_test(in_every_dialect),
        cmocka_unit_test(without_keys),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
