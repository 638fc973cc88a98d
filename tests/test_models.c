/* The life cycle of models with a gen that loads nothing: who gets what when, memory, queue,
 * deadlines, crashes; and many threads at once. */
#include "fake_gen.h"
#include "models_rig.h"
#include "server/models_priv.h"

#define MIB ((uint64_t)1 << 20)
#define MS INT64_C(1000000)
enum { SECONDS = 20 }; /* that anything may take before it counts as hanging */

static struct shop shop;
static struct models *m;

/* ---- helpers ---- */

static void put(const char *name, const char *weights) {
    shop_model(&shop, name, weights, strlen(weights), NULL, NULL);
}

static void begin(struct models_opts o) {
    struct err e = {0};
    fake_reset();
    o.store = shop.s;
    if (!o.keep_alive_ns) o.keep_alive_ns = -1;
    m = models_open(&o, &e);
    if (!m) fail_msg("%s", e.msg);
}

static void end(void) {
    models_close(m);
    m = NULL;
    assert_int_equal(fake_live(), 0);
}

/* A client: asks, is told, gives back. */
struct client {
    struct want w;
    atomic_int told; /* 1: it has the model; 2: an error; */
    atomic_int late;
    struct err e;
};

static void on_told(struct want *w, const struct err *e) {
    struct client *c = (struct client *)(void *)w;
    if (e) c->e = *e;
    atomic_store(&c->told, e ? 2 : 1);
}

static void on_late(struct want *w) {
    struct client *c = (struct client *)(void *)w;
    atomic_fetch_add(&c->late, 1);
}

static struct client client_of(const char *name) {
    struct client c = {.w = {.fn = on_told, .late = on_late, .slot = true}};
    struct err e;
    if (name_parse(name, &c.w.name, &e) != 0) fail_msg("%s", e.msg);
    return c;
}

static int ask(struct client *c) {
    return models_want(m, &c->w, &c->e);
}

#define WAIT_UNTIL(condition)                                                                      \
    for (int64_t end_ns = os_now_ns() + SECONDS * 1000 * MS; !(condition); usleep(500))            \
        if (os_now_ns() > end_ns) fail_msg("never: " #condition)

static void wait_told(struct client *c, int how) {
    WAIT_UNTIL(atomic_load(&c->told));
    if (atomic_load(&c->told) != how) fail_msg("told %d: %s", atomic_load(&c->told), c->e.msg);
}

static void done(struct client *c) {
    models_done(m, &c->w);
    atomic_store(&c->told, 0);
}

static void get(struct client *c) {
    if (ask(c) != 0) fail_msg("%s", c->e.msg);
    wait_told(c, 1);
}

/* Get it and give it back. */
static void use(const char *name) {
    struct client c = client_of(name);
    get(&c);
    done(&c);
}

static bool is_loaded(const char *name) {
    json_t *list = models_list(m), *v;
    size_t i;
    bool found = false;
    json_array_foreach(list, i, v) found |=
        strcmp(json_string_value(json_object_get(v, "name")), name) == 0;
    json_decref(list);
    return found;
}

/* A model that is kept for ever makes room for another. */
static bool is_leaving(const char *name) {
    json_t *list = models_list(m), *v;
    size_t i;
    bool leaving = false;
    json_array_foreach(list, i, v) leaving |=
        strcmp(json_string_value(json_object_get(v, "name")), name) == 0 &&
        strcmp(json_string_value(json_object_get(v, "expires_at")), "2200") < 0;
    json_decref(list);
    return leaving;
}

static json_t *listed(size_t i) {
    json_t *list = models_list(m), *v = json_incref(json_array_get(list, i));
    json_decref(list);
    return v;
}

static int set_up(void **state) {
    (void)state;
    unsetenv("CRIA_CONTEXT_LENGTH"), unsetenv("OLLAMA_CONTEXT_LENGTH");
    shop_open(&shop);
    put("a", "{\"mib\": 100, \"kv\": 1}");
    put("b", "{\"mib\": 100, \"kv\": 1, \"b\": 1}");
    put("c", "{\"mib\": 100, \"kv\": 1, \"c\": 1}");
    put("slow", "{\"mib\": 10, \"load_ms\": 150}");
    put("stuck", "{\"mib\": 10, \"load_ms\": 100000}");
    put("big", "{\"mib\": 300, \"kv\": 10}");
    put("huge", "{\"mib\": 5000}");
    put("bad", "{\"fail\": \"no tensor output.weight\"}");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

/* ---- tests ---- */

static void keep_alive_forms(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int64_t ns; /* -2: an error */
    } cases[] = {
        {"null", 7},
        {"5", 5000 * MS},
        {"0", 0},
        {"-1", -1},
        {"1.5", 1500 * MS},
        {"1e300", -1},
        {"\"5m\"", 300000 * MS},
        {"\"1h30m\"", 5400000 * MS},
        {"\"300ms\"", 300 * MS},
        {"\"-1m\"", -1},
        {"\"-1\"", -1},
        {"\"300\"", 300000 * MS},
        {"\"0\"", 0},
        {"\"0s\"", 0},
        {"\"1.5h\"", 5400000 * MS},
        {"\".5s\"", 500 * MS},
        {"\"1us\"", 1000},
        {"\"+2s\"", 2000 * MS},
        {"\"99999999999999999h\"", -2},
        {"\"\"", -2},
        {"\"m\"", -2},
        {"\"5 m\"", -2},
        {"\"5x\"", -2},
        {"\"1m5\"", -2},
        {"\"1e3s\"", -2},
        {"\"--1\"", -2},
        {"true", -2},
        {"[5]", -2},
        {"{}", -2},
        {"\"1.2.3s\"", -2},
        {"\"nan\"", -2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *v = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        struct err e = {0};
        int64_t ns = 99;
        assert_non_null(v);
        const int rc = models_keep_alive(v, 7, &ns, &e);
        if (rc != (cases[i].ns == -2 ? -1 : 0) || (rc == 0 && ns != cases[i].ns))
            fail_msg("%s: %d, %lld ns", cases[i].json, rc, (long long)ns);
        if (rc != 0) assert_int_equal(e.code, ERR_USAGE);
        json_decref(v);
    }
    int64_t ns;
    assert_int_equal(models_keep_alive(NULL, 12, &ns, NULL), 0);
    assert_int_equal(ns, 12);
}

static void loads_once_for_all(void **state) {
    (void)state;
    struct client c[20];
    begin((struct models_opts){0});
    for (int i = 0; i < 20; i++) {
        c[i] = client_of(i % 2 ? "SLOW" : "slow:latest"); /* letter case aside */
        assert_int_equal(ask(&c[i]), 0);
    }
    assert_int_equal(models_stats(m).n_waiting, 20);
    for (int i = 0; i < 20; i++)
        wait_told(&c[i], 1);
    assert_int_equal(fake_opened(), 1);
    assert_string_equal(c[0].w.at->text, "slow:latest");
    const struct models_stats s = models_stats(m);
    assert_int_equal(s.n_loaded, 1);
    assert_int_equal(s.n_loads, 1);
    assert_int_equal(s.n_running, 4); /* of 20, the others wait for a slot */
    assert_int_equal(s.n_waiting, 16);
    assert_int_equal(s.bytes_planned, 10 * MIB);
    for (int i = 0; i < 20; i++)
        done(&c[i]);
    use("slow");
    assert_int_equal(fake_opened(), 1);
    end();
}

static void what_is_not_there(void **state) {
    (void)state;
    struct client c = client_of("nobody"), d = client_of("bad"), f = client_of("bad");
    begin((struct models_opts){0});
    assert_int_equal(ask(&c), -1);
    assert_int_equal(c.e.code, ERR_NOT_FOUND);
    for (int i = 0; i < 2; i++) { /* a failure is not remembered */
        assert_int_equal(ask(&d), 0);
        wait_told(&d, 2);
        assert_int_equal(d.e.code, ERR_FORMAT);
        assert_non_null(strstr(d.e.msg, "output.weight"));
        done(&d);
    }
    assert_int_equal(ask(&f), 0);
    wait_told(&f, 2);
    done(&f);
    assert_int_equal(models_stats(m).n_loads, 0);
    end();
}

static void expires(void **state) {
    (void)state;
    begin((struct models_opts){.keep_alive_ns = 60 * MS});
    use("a");
    assert_true(is_loaded("a:latest"));
    WAIT_UNTIL(fake_live() == 0);
    assert_false(is_loaded("a:latest"));
    /* 0: at once; and what one client set stays when others say nothing. */
    struct client c = client_of("a"), d = client_of("a");
    c.w.has_keep_alive = true;
    get(&c), done(&c);
    WAIT_UNTIL(fake_live() == 0);
    c.w.keep_alive_ns = -1;
    get(&c), done(&c);
    get(&d), done(&d);
    usleep(150000);
    assert_int_equal(fake_live(), 1);
    /* Not while somebody uses it. */
    c.w.keep_alive_ns = 1 * MS;
    get(&c), get(&d), done(&c);
    usleep(50000);
    assert_int_equal(fake_live(), 1);
    done(&d);
    WAIT_UNTIL(fake_live() == 0);
    end();
}

static void lists(void **state) {
    (void)state;
    begin((struct models_opts){.keep_alive_ns = 300 * 1000 * MS});
    struct client c = client_of("b");
    use("a");
    c.w.has_keep_alive = true, c.w.keep_alive_ns = -1;
    get(&c);
    json_t *v = listed(0), *w = listed(1);
    assert_string_equal(json_string_value(json_object_get(v, "name")), "b:latest"); /* for ever */
    assert_int_equal(strncmp(json_string_value(json_object_get(v, "expires_at")), "23", 2), 0);
    assert_int_equal(json_integer_value(json_object_get(v, "size")),
                     116 * MIB + (uint64_t)(0.384 * MIB));
    assert_int_equal(json_integer_value(json_object_get(v, "size_vram")), 0);
    assert_int_equal(json_integer_value(json_object_get(v, "context_length")), 4096);
    assert_int_equal(strlen(json_string_value(json_object_get(v, "digest"))), 64);
    assert_string_equal(json_string_value(json_object_get(json_object_get(v, "details"), "family")),
                        "llama");
    assert_string_equal(json_string_value(json_object_get(w, "model")), "a:latest");
    json_decref(v), json_decref(w);
    done(&c);
    end();
}

static void least_recently_used_goes(void **state) {
    (void)state;
    begin((struct models_opts){.max_loaded = 2});
    use("a"), use("b"), use("a");
    use("c");
    assert_true(is_loaded("a:latest"));
    assert_false(is_loaded("b:latest"));
    assert_true(is_loaded("c:latest"));
    assert_int_equal(models_stats(m).n_evictions, 1);
    /* All are busy: who comes waits until one has ended. */
    struct client a = client_of("a"), c = client_of("c"), b = client_of("b"),
                  again = client_of("a");
    get(&a), get(&c);
    assert_int_equal(ask(&b), 0);
    usleep(30000);
    assert_int_equal(atomic_load(&b.told), 0);
    /* The one that makes room is not given out again before b had its turn. */
    assert_int_equal(ask(&again), 0);
    done(&a);
    wait_told(&b, 1);
    assert_int_equal(atomic_load(&again.told), 0);
    done(&c);
    wait_told(&again, 1);
    done(&b), done(&again);
    end();
}

static void memory_is_kept(void **state) {
    (void)state;
    /* a and b with 4 sequences take 116 MiB each: both fit, c makes one go. */
    begin((struct models_opts){.max_bytes = 240 * MIB});
    use("a"), use("b");
    assert_int_equal(fake_live(), 2);
    use("c");
    assert_false(is_loaded("a:latest"));
    assert_true(fake.peak <= 240 * MIB);
    end();
    /* Fewer sequences before a smaller context, before the refusal: 300 + 40, 20... at 4096. */
    begin((struct models_opts){.max_bytes = 390 * MIB});
    struct client c = client_of("big");
    get(&c);
    assert_int_equal(gen_info(c.w.at->gen)->n_parallel, 2);
    assert_int_equal(gen_info(c.w.at->gen)->n_ctx, 4096);
    assert_false(c.w.at->ctx_reduced);
    done(&c);
    end();
    begin((struct models_opts){.max_bytes = 330 * MIB});
    get(&c);
    assert_int_equal(gen_info(c.w.at->gen)->n_parallel, 1);
    assert_true(gen_info(c.w.at->gen)->n_ctx < 4096);
    assert_true(c.w.at->ctx_reduced);
    json_t *v = listed(0);
    assert_true(json_is_true(json_object_get(v, "context_reduced")));
    json_decref(v);
    done(&c);
    end();
}

static void what_cannot_fit(void **state) {
    (void)state;
    begin((struct models_opts){.max_bytes = 250 * MIB});
    use("a");
    struct client h = client_of("huge"), big = client_of("big");
    assert_int_equal(ask(&h), 0);
    wait_told(&h, 2);
    assert_int_equal(h.e.code, ERR_NOMEM);
    assert_non_null(strstr(h.e.msg, "5000 MiB"));
    done(&h);
    /* With a context that was asked for there is no smaller one. */
    end();
    begin((struct models_opts){.max_bytes = 330 * MIB});
    big.w.key.num_ctx = 4096;
    assert_int_equal(ask(&big), 0);
    wait_told(&big, 2);
    assert_int_equal(big.e.code, ERR_NOMEM);
    done(&big);
    big.w.key.num_ctx = 1000; /* where only that fits, it is what there is */
    get(&big);
    assert_int_equal(gen_info(big.w.at->gen)->n_ctx, 2816);
    done(&big);
    big.w.key.num_ctx = 3000; /* 300 + 30 */
    get(&big);
    assert_int_equal(gen_info(big.w.at->gen)->n_ctx, 3000);
    done(&big);
    end();
    begin((struct models_opts){.max_bytes = 330 * MIB});
    /* A context of the settings is a wish. */
    setenv("CRIA_CONTEXT_LENGTH", "8192", 1);
    big.w.key.num_ctx = 0;
    get(&big);
    assert_true(big.w.at->ctx_reduced);
    done(&big);
    unsetenv("CRIA_CONTEXT_LENGTH");
    end();
}

/* What the server itself takes is not the models'. */
static void servers_own(void **state) {
    (void)state;
    begin((struct models_opts){.max_bytes = 240 * MIB, .own_bytes = 20 * MIB});
    use("a"), use("b"); /* 116 MiB each */
    assert_false(is_loaded("a:latest"));
    assert_true(fake.peak <= 220 * MIB);
    assert_int_equal(models_stats(m).max_bytes, 240 * MIB);
    end();
}

/* A context that does not fit is refused to who asked for it, not to those that wait beside. */
static void too_large_a_wish(void **state) {
    (void)state;
    begin((struct models_opts){.max_bytes = 400 * MIB});
    struct client a = client_of("a"), open = client_of("big"), large = client_of("big"),
                  less = client_of("big");
    large.w.key.num_ctx = 12000; /* 300 + 120 */
    less.w.key.num_ctx = 6000;
    get(&a);
    assert_int_equal(ask(&open), 0);
    assert_int_equal(ask(&large), 0);
    assert_int_equal(ask(&less), 0);
    usleep(30000);
    assert_int_equal(atomic_load(&large.told), 0);
    done(&a);
    wait_told(&large, 2);
    assert_int_equal(large.e.code, ERR_NOMEM);
    wait_told(&open, 1);
    wait_told(&less, 1);
    assert_int_equal(gen_info(open.w.at->gen)->n_ctx, 6000);
    done(&open), done(&large), done(&less);
    end();
}

static void waits_for_room(void **state) {
    (void)state;
    begin((struct models_opts){.max_bytes = 400 * MIB});
    struct client a = client_of("a"), big = client_of("big"), late = client_of("big");
    get(&a);
    assert_int_equal(ask(&big), 0);
    usleep(30000);
    assert_int_equal(atomic_load(&big.told), 0);
    late.w.deadline_ns = os_now_ns() + 20 * MS;
    assert_int_equal(ask(&late), 0);
    wait_told(&late, 2);
    assert_int_equal(late.e.code, ERR_TIMEOUT);
    done(&late);
    done(&a);
    wait_told(&big, 1);
    done(&big);
    /* Who left does not load. */
    get(&big);
    assert_int_equal(ask(&a), 0);
    models_forget(m, &a.w);
    wait_told(&a, 2);
    assert_int_equal(a.e.code, ERR_CANCELLED);
    done(&a);
    done(&big);
    end();
}

static void never_above_the_limit(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "slow", "big"};
    struct client c[50];
    begin((struct models_opts){.max_bytes = 345 * MIB, .max_loaded = 4});
    srand(7);
    for (int i = 0; i < 50; i++) {
        c[i] = client_of(names[rand() % 5]);
        c[i].w.key.num_ctx = rand() % 3 ? 0 : 1000 + rand() % 500;
        assert_int_equal(ask(&c[i]), 0);
        /* Of those that have theirs, some end. */
        for (int k = 0; k <= i; k++)
            if (atomic_load(&c[k].told) == 1 && rand() % 2) done(&c[k]), c[k].w.fn = NULL;
    }
    for (int n = 0; n < 50;) {
        n = 0;
        for (int k = 0; k < 50; k++) {
            const int told = atomic_load(&c[k].told);
            if (told == 2) fail_msg("%s", c[k].e.msg);
            if (told == 1) done(&c[k]), c[k].w.fn = NULL;
            n += c[k].w.fn == NULL;
        }
        usleep(500);
    }
    assert_true(fake.peak <= 345 * MIB);
    assert_true(models_stats(m).bytes_planned <= 345 * MIB);
    end();
}

static void options_that_reload(void **state) {
    (void)state;
    begin((struct models_opts){0});
    struct client c = client_of("a");
    get(&c), done(&c);
    c.w.key.num_ctx = 2048; /* smaller: what is there will do */
    get(&c), done(&c);
    assert_int_equal(fake_opened(), 1);
    c.w.key.num_ctx = 6000;
    get(&c);
    assert_int_equal(gen_info(c.w.at->gen)->n_ctx, 6000);
    done(&c);
    assert_int_equal(fake_opened(), 2);
    c.w.key.num_ctx = 0; /* nothing said */
    get(&c);
    assert_int_equal(gen_info(c.w.at->gen)->n_ctx, 6000);
    done(&c);
    c.w.key.num_thread = 2;
    get(&c);
    assert_int_equal(c.w.at->gen->opts.engine.n_threads, 2);
    done(&c);
    c.w.key.num_thread = 0;
    get(&c), done(&c);
    assert_int_equal(fake_opened(), 3);
    /* More than its training is no reason to load again each time. */
    c.w.key.num_ctx = 100000;
    get(&c), done(&c);
    get(&c), done(&c);
    assert_int_equal(fake_opened(), 4);
    /* Who asks for less does not leave the next client with less than usual. */
    struct client b = client_of("b");
    b.w.key.num_ctx = 512;
    get(&b);
    assert_int_equal(gen_info(b.w.at->gen)->n_ctx, 4096);
    done(&b);
    /* While it loads: who wants more waits for the next one. */
    struct client s = client_of("slow"), t = client_of("slow");
    assert_int_equal(ask(&s), 0);
    WAIT_UNTIL(models_stats(m).bytes_planned > 0);
    usleep(20000);
    t.w.key.num_ctx = 8000;
    assert_int_equal(ask(&t), 0);
    wait_told(&s, 1);
    assert_int_equal(atomic_load(&t.told), 0);
    done(&s);
    wait_told(&t, 1);
    assert_int_equal(gen_info(t.w.at->gen)->n_ctx, 8000);
    done(&t);
    end();
}

static void parameters_of_the_model(void **state) {
    (void)state;
    static const struct rig_layer more[] = {
        {"params", "{\"num_ctx\":5000,\"num_thread\":3,\"temperature\":0.5,\"top_k\":\"x\"}"},
        {"template", "{{ .Prompt }}"},
        {"system", "Be brief."},
        {"messages", "[{\"role\":\"user\",\"content\":\"hi\"}]"},
        {NULL, NULL}};
    const char *w = "{\"mib\": 1}";
    shop_model(&shop, "full", w, strlen(w), NULL, more);
    begin((struct models_opts){.n_parallel = 3});
    struct client c = client_of("full");
    get(&c);
    const struct loaded *l = c.w.at;
    assert_int_equal(gen_info(l->gen)->n_ctx, 5000);
    assert_int_equal(gen_info(l->gen)->n_parallel, 3);
    assert_int_equal(l->gen->opts.engine.n_threads, 3);
    assert_string_equal(fake.template, "{{ .Prompt }}");
    assert_string_equal(l->system.p, "Be brief.");
    assert_int_equal(json_array_size(l->messages), 1);
    assert_null(json_object_get(l->params, "top_k")); /* of a wrong type: has no effect */
    assert_non_null(json_object_get(l->params, "temperature"));
    done(&c);
    c.w.key.num_thread = 3; /* the same */
    get(&c), done(&c);
    assert_int_equal(fake_opened(), 1);
    end();
    /* The store's model was replaced: the name means the new one. */
    begin((struct models_opts){0});
    use("a"), use("full");
    put("full", "{\"mib\": 2}");
    use("full");
    assert_int_equal(fake_opened(), 3);
    WAIT_UNTIL(fake_live() == 2);
    end();
}

/* Names of one manifest share what is loaded; ps has the name that was asked for last. */
static void names_share(void **state) {
    (void)state;
    struct client a = client_of("one"), b = client_of("other");
    begin((struct models_opts){0});
    put("one", "{\"mib\": 7}"), put("other", "{\"mib\": 7}");
    get(&a), get(&b);
    assert_ptr_equal(a.w.at, b.w.at);
    assert_int_equal(fake_opened(), 1);
    assert_true(is_loaded("other:latest"));
    assert_false(is_loaded("one:latest"));
    done(&a), done(&b);
    use("one");
    assert_true(is_loaded("one:latest"));
    /* One of them becomes another model: the other stays what it is. */
    use("other");
    put("one", "{\"mib\": 8}");
    use("one");
    assert_int_equal(fake_opened(), 2);
    assert_true(is_loaded("one:latest") && is_loaded("other:latest"));
    use("other");
    assert_int_equal(fake_opened(), 2);
    put("third", "{\"mib\": 8}"); /* never asked for, and the same as "one" */
    struct client c = client_of("third");
    assert_true(models_unload(m, &c.w.name));
    WAIT_UNTIL(fake_live() == 1);
    assert_false(is_loaded("one:latest"));
    end();
}

static void queue_is_bounded(void **state) {
    (void)state;
    struct client c[8];
    begin((struct models_opts){.max_queue = 3, .n_parallel = 2});
    for (int i = 0; i < 8; i++)
        c[i] = client_of("a");
    get(&c[0]), get(&c[1]); /* the slots */
    for (int i = 2; i < 5; i++)
        get(&c[i]);
    const int64_t t0 = os_now_ns();
    assert_int_equal(ask(&c[5]), -1);
    const int64_t took = os_now_ns() - t0;
    if (took > 5 * MS && !SANITIZED) fail_msg("refused after %lld us", (long long)took / 1000);
    assert_int_equal(c[5].e.code, ERR_BUSY);
    assert_string_equal(c[5].e.msg,
                        "server busy, please try again.  maximum pending requests exceeded");
    c[6].w.slot = false; /* counts tokens, say */
    get(&c[6]);
    assert_int_equal(models_stats(m).n_refused, 1);
    /* Those that wait for a load count, too. */
    done(&c[4]);
    struct client s = client_of("stuck"), t = client_of("slow");
    assert_int_equal(ask(&s), 0);
    assert_int_equal(ask(&t), -1);
    models_forget(m, &s.w);
    wait_told(&s, 2);
    done(&s);
    assert_int_equal(ask(&t), 0);
    wait_told(&t, 1);
    done(&t);
    for (int i = 0; i < 4; i++)
        done(&c[i]);
    done(&c[6]);
    end();
}

static void deadlines(void **state) {
    (void)state;
    begin((struct models_opts){.load_timeout_ns = 60 * MS, .request_timeout_ns = 1});
    struct client c = client_of("stuck"), d = client_of("a");
    assert_int_equal(ask(&c), 0);
    wait_told(&c, 2);
    assert_int_equal(c.e.code, ERR_TIMEOUT);
    assert_non_null(strstr(c.e.msg, "loading took longer"));
    done(&c);
    d.w.deadline_ns = os_now_ns() + 40 * MS;
    get(&d);
    assert_int_equal(atomic_load(&d.late), 0);
    WAIT_UNTIL(atomic_load(&d.late));
    usleep(20000);
    assert_int_equal(atomic_load(&d.late), 1);
    done(&d);
    end();
}

static void crashes(void **state) {
    (void)state;
    begin((struct models_opts){0});
    struct client c = client_of("a"), d = client_of("a");
    get(&c);
    atomic_store(&c.w.at->gen->dead, true);
    assert_int_equal(ask(&d), 0); /* while one still holds the dead one */
    done(&c);
    wait_told(&d, 1);
    done(&d);
    assert_int_equal(fake_opened(), 2);
    assert_int_equal(models_stats(m).n_crashes, 1);
    /* An idle one, seen when it is asked for. */
    get(&c);
    struct gen *g = c.w.at->gen;
    done(&c);
    atomic_store(&g->dead, true);
    assert_false(is_loaded("a:latest"));
    use("a");
    assert_int_equal(fake_opened(), 3);
    assert_int_equal(models_stats(m).n_crashes, 2);
    end();
}

static void unload(void **state) {
    (void)state;
    struct client c = client_of("a:latest"), d = client_of("a"), other = client_of("nobody");
    begin((struct models_opts){0});
    assert_false(models_unload(m, &c.w.name));
    get(&c);
    assert_true(models_unload(m, &c.w.name));
    assert_false(models_unload(m, &c.w.name));
    assert_false(models_unload(m, &other.w.name));
    usleep(20000);
    assert_int_equal(fake_live(), 1); /* it stops when it has ended */
    json_t *v = listed(0);
    char now[32];
    const time_t t = time(NULL) + 1;
    struct tm tm;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
    assert_true(strcmp(json_string_value(json_object_get(v, "expires_at")), now) < 0);
    json_decref(v);
    assert_int_equal(ask(&d), 0); /* gets another one */
    done(&c);
    wait_told(&d, 1);
    assert_int_equal(fake_opened(), 2);
    done(&d);
    /* Without a tag: the only one of that model. */
    put("x:1b", "{\"mib\": 1}"), put("x:3b", "{\"mib\": 2}");
    use("x:1b"), use("x:3b");
    struct client x = client_of("x"), tagged = client_of("x:latest");
    assert_false(models_unload(m, &x.w.name));
    struct client one = client_of("x:3b");
    assert_true(models_unload(m, &one.w.name));
    assert_false(models_unload(m, &tagged.w.name));
    assert_true(models_unload(m, &x.w.name));
    WAIT_UNTIL(fake_live() == 1);
    end();
}

static void draining(void **state) {
    (void)state;
    begin((struct models_opts){.max_loaded = 1});
    struct client a = client_of("a"), b = client_of("b"), a2 = client_of("a"), c = client_of("c");
    get(&a);
    assert_int_equal(ask(&b), 0);
    WAIT_UNTIL(is_leaving("a:latest"));
    models_drain(m);
    wait_told(&b, 2);
    assert_int_equal(b.e.code, ERR_BUSY);
    done(&b);
    assert_int_equal(ask(&c), -1);
    assert_int_equal(c.e.code, ERR_BUSY);
    done(&a);
    assert_int_equal(ask(&a2), -1); /* it made room for b */
    end();
}

static void preload(void **state) {
    (void)state;
    begin((struct models_opts){.preload = "a"});
    WAIT_UNTIL(is_loaded("a:latest"));
    end();
    /* Nobody has it: a line in the log. */
    begin((struct models_opts){.preload = "127.0.0.1:1/none/none"});
    use("b");
    end();
    begin((struct models_opts){.preload = "//"});
    end();
}

static void new_settings(void **state) {
    (void)state;
    begin((struct models_opts){.max_loaded = 3});
    use("a"), use("b");
    struct models_opts o = {.store = shop.s, .max_loaded = 1, .keep_alive_ns = 30 * MS};
    models_configure(m, &o);
    usleep(60000);
    assert_int_equal(fake_live(), 2); /* what is loaded stays as it was loaded */
    use("c");
    WAIT_UNTIL(fake_live() == 0); /* the others made room, c was loaded for 30 ms */
    end();
}

static void more_than_planned(void **state) {
    (void)state;
    begin((struct models_opts){.max_bytes = 240 * MIB});
    fake.extra = 100 * MIB; /* 58 + 100 resident of 116 planned */
    use("a");
    WAIT_UNTIL(models_stats(m).bytes_used > 150 * MIB);
    usleep(20000);
    fake.extra = 0;
    use("b"); /* does not fit beside what a really takes */
    assert_false(is_loaded("a:latest"));
    end();
}

/* ---- many at once ---- */

static atomic_int n_got, n_failed;
static atomic_bool stop_storm;

static void *storm(void *arg) {
    static const char *const names[] = {"a", "b", "c", "x:1b"};
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&stop_storm)) {
        struct client c = client_of(names[rand_r(&seed) % 4]);
        c.w.has_keep_alive = true;
        c.w.keep_alive_ns = rand_r(&seed) % 4 ? 0 : MS;
        if (rand_r(&seed) % 8 == 0) c.w.deadline_ns = os_now_ns() + MS;
        if (rand_r(&seed) % 4 == 0) c.w.key.num_ctx = 1000 + (int)(rand_r(&seed) % 4000);
        if (ask(&c) != 0) continue;
        if (rand_r(&seed) % 8 == 0) models_forget(m, &c.w);
        WAIT_UNTIL(atomic_load(&c.told));
        atomic_fetch_add(atomic_load(&c.told) == 1 ? &n_got : &n_failed, 1);
        if (atomic_load(&c.told) == 1 && rand_r(&seed) % 32 == 0)
            atomic_store(&c.w.at->gen->dead, true);
        done(&c);
        if (rand_r(&seed) % 16 == 0) models_unload(m, &c.w.name);
        if (rand_r(&seed) % 16 == 0) json_decref(models_list(m)), models_stats(m);
    }
    return NULL;
}

static void storm_of_clients(void **state) {
    (void)state;
    pthread_t t[64];
    put("x:1b", "{\"mib\": 1}");
    begin((struct models_opts){.max_bytes = 300 * MIB, .max_loaded = 3});
    atomic_store(&stop_storm, false);
    for (int i = 0; i < 64; i++)
        assert_int_equal(pthread_create(&t[i], NULL, storm, (void *)(uintptr_t)(i + 1)), 0);
    sleep(2);
    atomic_store(&stop_storm, true);
    for (int i = 0; i < 64; i++)
        pthread_join(t[i], NULL);
    assert_true(fake.peak <= 300 * MIB);
    print_message("%d uses, %d ends without, %ld loads, %ld crashes\n", atomic_load(&n_got),
                  atomic_load(&n_failed), models_stats(m).n_loads, models_stats(m).n_crashes);
    assert_true(atomic_load(&n_got) > 50);
    const struct models_stats s = models_stats(m);
    assert_int_equal(s.n_waiting, 0);
    assert_int_equal(s.n_running, 0);
    end();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_alive_forms),
        cmocka_unit_test(loads_once_for_all),
        cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(expires),
        cmocka_unit_test(lists),
        cmocka_unit_test(least_recently_used_goes),
        cmocka_unit_test(memory_is_kept),
        cmocka_unit_test(what_cannot_fit),
        cmocka_unit_test(servers_own),
        cmocka_unit_test(too_large_a_wish),
        cmocka_unit_test(waits_for_room),
        cmocka_unit_test(never_above_the_limit),
        cmocka_unit_test(options_that_reload),
        cmocka_unit_test(parameters_of_the_model),
        cmocka_unit_test(names_share),
        cmocka_unit_test(queue_is_bounded),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(crashes),
        cmocka_unit_test(unload),
        cmocka_unit_test(draining),
        cmocka_unit_test(preload),
        cmocka_unit_test(new_settings),
        cmocka_unit_test(more_than_planned),
        cmocka_unit_test(storm_of_clients),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
