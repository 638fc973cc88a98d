/* A base model and those tuned on it in one child: who joins, what counts, who leaves; then with a
 * real server, whose answers must be those of each model alone. */
#include "api_rig.h"
#include "fake_gen.h"
#include "models_rig.h"
#include "server/models_priv.h"

#define MIB ((uint64_t)1 << 20)
#define MS INT64_C(1000000)
enum { SECONDS = 20 };

static const char weights[] = "{\"mib\": 100}", slow[] = "{\"mib\": 100, \"load_ms\": 150}",
                  other[] = "{\"mib\": 100, \"other\": 1}";

static struct shop shop;
static struct models *m;

/* ---- helpers ---- */

static void put(const char *name, const char *w, const char *kind, const char *text) {
    const struct rig_layer more[] = {{kind, text}, {NULL, NULL}};
    shop_model(&shop, name, w, strlen(w), NULL, kind ? more : NULL);
}

static void put_two(const char *name, const char *w, const char *adapter, const char *kind,
                    const char *text) {
    const struct rig_layer more[] = {{"adapter", adapter}, {kind, text}, {NULL, NULL}};
    shop_model(&shop, name, w, strlen(w), NULL, more);
}

static int set_up(void **state) {
    (void)state;
    unsetenv("CRIA_CONTEXT_LENGTH"), unsetenv("OLLAMA_CONTEXT_LENGTH");
    shop_open(&shop);
    put("base", weights, NULL, NULL);
    put("said", weights, "system", "You are another.");
    put("one", weights, "adapter", "adapter one");
    put("two", weights, "adapter", "adapter two!");
    put_two("three", weights, "adapter one", "system", "You are three.");
    put_two("form", weights, "adapter one", "template", "{{ .Prompt }}");
    put_two("wide", weights, "adapter one", "params", "{\"num_ctx\": 8000}");
    put("slow", slow, NULL, NULL);
    put("slow-one", slow, "adapter", "adapter one");
    put("far", other, "adapter", "adapter one");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

static void begin(struct models_opts o) {
    struct err e = {0};
    fake_reset();
    atomic_store(&fake_no_adapter, false);
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

struct client {
    struct want w;
    atomic_int told;
    struct err e;
};

static void on_told(struct want *w, const struct err *e) {
    struct client *c = (struct client *)(void *)w;
    if (e) c->e = *e;
    atomic_store(&c->told, e ? 2 : 1);
}

static void on_late(struct want *w) {
    (void)w;
}

static struct client client_of(const char *name) {
    struct client c = {.w = {.fn = on_told, .late = on_late, .slot = true}};
    struct err e;
    if (name_parse(name, &c.w.name, &e) != 0) fail_msg("%s", e.msg);
    return c;
}

#define WAIT_UNTIL(condition)                                                                      \
    for (int64_t end_ns = os_now_ns() + SECONDS * 1000 * MS; !(condition); usleep(500))            \
        if (os_now_ns() > end_ns) fail_msg("never: " #condition)

static void ask_for(struct client *c) {
    if (models_want(m, &c->w, &c->e) != 0) fail_msg("%s", c->e.msg);
}

static void get(struct client *c) {
    ask_for(c);
    WAIT_UNTIL(atomic_load(&c->told));
    if (atomic_load(&c->told) != 1) fail_msg("%s", c->e.msg);
}

static void done(struct client *c) {
    models_done(m, &c->w);
    atomic_store(&c->told, 0);
}

static void use(const char *name) {
    struct client c = client_of(name);
    get(&c);
    done(&c);
}

static void leave(const char *name) {
    struct client c = client_of(name);
    assert_true(models_unload(m, &c.w.name));
}

/* What /api/ps says of it, or NULL: json_decref. */
static json_t *listed(const char *name) {
    json_t *list = models_list(m), *v, *found = NULL;
    size_t i;
    json_array_foreach(list, i, v) {
        if (strcmp(text_of(v, "name"), name) == 0) found = json_incref(v);
    }
    json_decref(list);
    return found;
}

static bool is_loaded(const char *name) {
    json_t *v = listed(name);
    json_decref(v);
    return v != NULL;
}

static void expect_holder(const char *name, uint64_t size, const char *shares) {
    json_t *v = listed(name);
    assert_non_null(v);
    assert_int_equal(json_integer_value(json_object_get(v, "size")), size);
    assert_string_equal(text_of(v, "shares"), shares);
    assert_true((json_object_get(v, "size_used") != NULL) == !*shares);
    json_decref(v);
}

/* ---- who shares ---- */

static void one_child(void **state) {
    (void)state;
    begin((struct models_opts){.max_loaded = 1});
    struct client base = client_of("base"), one = client_of("one"), two = client_of("two"),
                  three = client_of("three");
    get(&base), get(&one), get(&two), get(&three);
    assert_int_equal(fake_opened(), 1);
    assert_null(base.w.at->adapter);
    assert_non_null(strstr(one.w.at->adapter, "sha256-"));
    assert_string_equal(one.w.at->adapter, three.w.at->adapter);
    assert_string_not_equal(one.w.at->adapter, two.w.at->adapter);
    assert_non_null(strstr(fake.last->adapters, two.w.at->adapter));
    assert_string_equal(three.w.at->system.p, "You are three.");
    expect_holder("base:latest", 100 * MIB, "");
    expect_holder("one:latest", strlen("adapter one"), "base:latest");
    expect_holder("two:latest", strlen("adapter two!"), "base:latest");
    assert_int_equal(models_stats(m).bytes_planned,
                     100 * MIB + 2 * strlen("adapter one") + strlen("adapter two!"));
    assert_int_equal(models_stats(m).n_evictions, 0);
    done(&base), done(&one), done(&two), done(&three);
    end();
}

/* The tuned one first: the base's requests say that they want no adapter. */
static void the_base_joins(void **state) {
    (void)state;
    begin((struct models_opts){0});
    struct client base = client_of("base"), one = client_of("one"), two = client_of("two");
    get(&one), get(&base), get(&two);
    assert_int_equal(fake_opened(), 1);
    assert_null(one.w.at->adapter);
    assert_string_equal(base.w.at->adapter, "");
    expect_holder("base:latest", 0, "one:latest");
    done(&base), done(&one), done(&two);
    end();
}

static void apart(const char *a, const char *b, int num_ctx) {
    begin((struct models_opts){0});
    struct client x = client_of(a), y = client_of(b);
    y.w.key.num_ctx = num_ctx;
    get(&x), get(&y);
    assert_int_equal(fake_opened(), 2);
    assert_null(y.w.at->adapter);
    done(&x), done(&y);
    end();
}

static void who_does_not(void **state) {
    (void)state;
    apart("base", "said", 0); /* no adapter tells them apart: as ever */
    apart("base", "form", 0);
    apart("base", "far", 0);
    apart("base", "wide", 0);
    apart("base", "one", 6000);
    begin((struct models_opts){0}); /* large enough already */
    struct client x = client_of("base"), y = client_of("wide");
    x.w.key.num_ctx = 8000;
    get(&x), get(&y);
    assert_int_equal(fake_opened(), 1);
    done(&x), done(&y);
    end();
}

/* One that comes while the base is loading waits for it. */
static void both_at_once(void **state) {
    (void)state;
    begin((struct models_opts){0});
    struct client base = client_of("slow"), one = client_of("slow-one");
    ask_for(&base);
    usleep(30000);
    ask_for(&one);
    WAIT_UNTIL(atomic_load(&base.told) && atomic_load(&one.told));
    assert_int_equal(fake_opened(), 1);
    done(&base), done(&one);
    end();
}

static void no_room_in_the_child(void **state) {
    (void)state;
    begin((struct models_opts){0});
    use("base");
    atomic_store(&fake_no_adapter, true);
    struct client one = client_of("one");
    get(&one);
    assert_int_equal(fake_opened(), 2);
    assert_null(one.w.at->adapter);
    expect_holder("one:latest", 100 * MIB, "");
    done(&one);
    leave("base");
    WAIT_UNTIL(fake_live() == 1);
    end();
}

/* ---- leaving ---- */

static void the_child_ends_with_the_last(void **state) {
    (void)state;
    begin((struct models_opts){0});
    use("base"), use("one"), use("two");
    leave("base");
    WAIT_UNTIL(!is_loaded("base:latest"));
    assert_int_equal(fake_live(), 1);
    expect_holder("one:latest", 100 * MIB, ""); /* its plan is the child's */
    assert_int_equal(models_stats(m).bytes_planned,
                     100 * MIB + strlen("adapter one") + strlen("adapter two!"));
    use("base"); /* back, as a guest */
    assert_int_equal(fake_opened(), 1);
    expect_holder("base:latest", 0, "one:latest");
    leave("one"), leave("base");
    WAIT_UNTIL(!is_loaded("one:latest") && !is_loaded("base:latest"));
    assert_int_equal(fake_live(), 1);
    use("one"); /* its adapter is still there */
    assert_int_equal(fake_opened(), 1);
    leave("one"), leave("two");
    WAIT_UNTIL(fake_live() == 0);
    end();
}

static void expired_one_by_one(void **state) {
    (void)state;
    begin((struct models_opts){.keep_alive_ns = 40 * MS});
    struct client base = client_of("base");
    get(&base);
    use("one");
    WAIT_UNTIL(!is_loaded("one:latest"));
    assert_int_equal(fake_live(), 1);
    done(&base);
    WAIT_UNTIL(fake_live() == 0);
    end();
}

static void a_crash_is_everybody_s(void **state) {
    (void)state;
    begin((struct models_opts){0});
    use("base"), use("one");
    atomic_store(&fake.last->dead, true);
    assert_false(is_loaded("base:latest"));
    assert_false(is_loaded("one:latest"));
    assert_int_equal(models_stats(m).n_crashes, 1);
    use("one"), use("base");
    assert_int_equal(fake_opened(), 2);
    end();
}

/* When another model needs the room, all of them go. */
static void room_for_another(void **state) {
    (void)state;
    begin((struct models_opts){.max_bytes = 180 * MIB});
    use("base"), use("one"), use("two");
    assert_int_equal(fake_opened(), 1);
    use("far");
    assert_int_equal(fake_opened(), 2);
    assert_int_equal(fake_live(), 1);
    assert_false(is_loaded("base:latest") || is_loaded("one:latest") || is_loaded("two:latest"));
    end();
}

static void *client_main(void *arg) {
    static const char *const name[] = {"base", "one", "two", "three", "far"};
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 60; i++) {
        seed = seed * 1103515245 + 12345;
        struct client c = client_of(name[seed >> 16 & 3]);
        if ((seed >> 20 & 7) == 0) c = client_of(name[4]);
        get(&c);
        usleep(seed >> 24 & 1023);
        done(&c);
        if ((seed >> 18 & 7) == 1) models_unload(m, &c.w.name);
    }
    return NULL;
}

static void a_crowd(void **state) {
    (void)state;
    pthread_t t[6];
    begin((struct models_opts){.max_bytes = 250 * MIB, .keep_alive_ns = 3 * MS});
    for (uintptr_t i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&t[i], NULL, client_main, (void *)(i + 1)), 0);
    for (int i = 0; i < 6; i++)
        pthread_join(t[i], NULL);
    assert_true(fake.peak <= 250 * MIB);
    end();
}

/* ---- with a real child ---- */

static char *answer_of(const struct serve *s, const char *name) {
    json_t *j = ask_json(s, "POST", "/api/generate", 200,
                         "{\"model\":\"%s\",\"prompt\":\"once upon\",\"raw\":true,\"stream\":false,"
                         "\"options\":{\"temperature\":0,\"num_predict\":24}}",
                         name);
    char *text = strdup(text_of(j, "response"));
    json_decref(j);
    return text;
}

static json_t *vector_of(const struct serve *s, const char *name) {
    json_t *j =
        ask_json(s, "POST", "/api/embed", 200, "{\"model\":\"%s\",\"input\":\"the end\"}", name);
    json_t *v = json_incref(json_object_get(j, "embeddings"));
    json_decref(j);
    return v;
}

static void unload(const struct serve *s, const char *name) {
    json_decref(
        ask_json(s, "POST", "/api/generate", 200, "{\"model\":\"%s\",\"keep_alive\":0}", name));
}

/* Each alone in a child of its own, then both in one: the same answers. */
static void the_same_answers(void **state) {
    (void)state;
    struct serve s;
    char digest[80], more[200];
    pid_t pid[8];
    const char *const name[] = {"llama32", "tuned"};
    char *alone[2], *shared[2];
    json_t *vector[2];
    serve_start(&s, NULL, NULL);
    assert_int_equal(api_upload(&s, golden("lora/llama32.lora-qv.gguf"), digest), 201);
    api_make(&s, "llama32", "llama32", "");
    snprintf(more, sizeof more, ",\"adapters\":{\"a.gguf\":\"%s\"}", digest);
    api_make(&s, "tuned", "llama32", more);
    for (int i = 0; i < 2; i++) {
        alone[i] = answer_of(&s, name[i]);
        vector[i] = vector_of(&s, name[i]);
        unload(&s, name[i]);
        for (int64_t end_ns = os_now_ns() + 10000 * MS; serve_children(&s, pid, 8, NULL);)
            if (usleep(2000), os_now_ns() > end_ns) fail_msg("a child stays");
    }
    assert_string_not_equal(alone[0], alone[1]);
    for (int first = 0; first < 2; first++) {
        for (int k = 0; k < 4; k++) {
            const int i = (first + k) % 2;
            shared[i] = answer_of(&s, name[i]);
            assert_string_equal(shared[i], alone[i]);
            free(shared[i]);
            json_t *v = vector_of(&s, name[i]);
            assert_true(json_equal(v, vector[i]));
            json_decref(v);
        }
        assert_int_equal(serve_children(&s, pid, 8, NULL), 1);
        assert_int_equal(serve_lines(&s, "joins the process of", name[!first], first + 1),
                         first + 1);
        unload(&s, name[0]), unload(&s, name[1]);
        for (int64_t end_ns = os_now_ns() + 10000 * MS; serve_children(&s, pid, 8, NULL);)
            if (usleep(2000), os_now_ns() > end_ns) fail_msg("a child stays");
    }
    for (int i = 0; i < 2; i++)
        free(alone[i]), json_decref(vector[i]);
    assert_int_equal(serve_stop(&s), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_child),
        cmocka_unit_test(the_base_joins),
        cmocka_unit_test(who_does_not),
        cmocka_unit_test(both_at_once),
        cmocka_unit_test(no_room_in_the_child),
        cmocka_unit_test(the_child_ends_with_the_last),
        cmocka_unit_test(expired_one_by_one),
        cmocka_unit_test(a_crash_is_everybody_s),
        cmocka_unit_test(room_for_another),
        cmocka_unit_test(a_crowd),
        cmocka_unit_test(the_same_answers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
