/* A request on its way to a model and back, with a gen that loads nothing and requests without a
 * network: what is merged, what is refused and how, clients that leave, deadlines, unloading. */
#include "fake_gen.h"
#include "models_rig.h"
#include "server/allow.h"
#include "server/ask.h"
#include "server/ask_steps.h"
#include "server/models_priv.h"
#include "server/request_priv.h"

#define MS INT64_C(1000000)
enum { SECONDS = 20 };

/* ---- requests without a network: the functions of request.h that ask.c and ask_model.c call ----
 */

struct request {
    atomic_int n_ref;
    pthread_mutex_t lock; /* of what follows, as task_lock of the real one */
    request_gone_fn *gone_fn;
    void *gone_ctx;
    struct gen_task *task;
    bool gone;
    char model[100], header[100];
    struct err refused;
    atomic_int n_events, ended; /* 1: GEN_END; 2: refused */
    struct err e;               /* of GEN_END */
    struct buf text;
    bool known; /* ask_model said something at GEN_END */
    struct gen_stats noted;
    int n_first;
    json_t *seen; /* what ready saw of the model */
    bool ready_fails;
};

static struct shop shop;
static struct models *m;

struct server *request_server(const struct request *r) {
    (void)r;
    return NULL;
}
struct models *server_models(struct server *s) {
    (void)s;
    return m;
}
const char *request_user(const struct request *r) {
    (void)r;
    return "somebody";
}
const char *request_key(const struct request *r) {
    (void)r;
    return ""; /* there are none */
}
int allow_model(const struct request *r, const struct name *n, struct err *e) {
    (void)r, (void)n, (void)e;
    return 0;
}
int allow_tokens(struct request *r, const json_t *gen, struct err *e) {
    (void)r, (void)gen, (void)e;
    return 0;
}
void allow_prompt(struct request *r, int n_prompt) {
    (void)r, (void)n_prompt;
}
void allow_settle(struct request *r, int status) {
    (void)r, (void)status;
}
enum key_class allow_class(const struct request *r) {
    (void)r;
    return KEY_NORMAL;
}
json_t *request_turn(const struct request *r, const char *theirs) {
    return json_string(theirs ? theirs : request_user(r));
}
void request_set_model(struct request *r, const char *name) {
    snprintf(r->model, sizeof r->model, "%s", name);
}
void reply_header(struct request *r, const char *line) {
    snprintf(r->header, sizeof r->header, "%s", line);
}
void reply_err(struct request *r, const struct err *e) {
    r->refused = *e;
    atomic_store(&r->ended, 2);
}
const volatile int *request_left(const struct request *r) {
    (void)r;
    static const volatile int stays;
    return &stays;
}
void request_next_work(struct request *r) {
    (void)r;
}
void request_ref(struct request *r) {
    atomic_fetch_add(&r->n_ref, 1);
}
void request_unref(struct request *r) {
    atomic_fetch_sub(&r->n_ref, 1);
}
void request_note_work(struct request *r, const struct gen_stats *s, int64_t load_ns) {
    (void)load_ns;
    r->noted = *s;
}
void request_note_first(struct request *r) {
    r->n_first++;
}
void request_attach(struct request *r, struct gen_task *task) {
    pthread_mutex_lock(&r->lock);
    r->task = task;
    if (task && r->gone) gen_cancel(task);
    pthread_mutex_unlock(&r->lock);
}
void request_on_gone(struct request *r, request_gone_fn *fn, void *ctx) {
    pthread_mutex_lock(&r->lock);
    const bool gone = fn && r->gone;
    r->gone_fn = gone ? NULL : fn;
    r->gone_ctx = ctx;
    pthread_mutex_unlock(&r->lock);
    if (gone) fn(ctx);
}

/* Of the row of steps there is the last one only, and no audit log. */
int ask_audit(struct request *r, const struct ask *a, struct err *e) {
    return ask_one(r, a, e);
}
void request_audit_model(struct request *r, const char *digest, const json_t *options) {
    (void)r, (void)digest, (void)options;
}

/* The client leaves. */
static void leave(struct request *r) {
    pthread_mutex_lock(&r->lock);
    r->gone = true;
    request_gone_fn *fn = r->gone_fn;
    r->gone_fn = NULL;
    if (r->task) gen_cancel(r->task);
    if (fn) fn(r->gone_ctx);
    pthread_mutex_unlock(&r->lock);
}

/* ---- helpers ---- */

static void open_request(struct request *r) {
    *r = (struct request){.lock = PTHREAD_MUTEX_INITIALIZER};
    atomic_init(&r->n_ref, 1);
}

#define WAIT_UNTIL(condition)                                                                      \
    for (int64_t end_ns = os_now_ns() + SECONDS * 1000 * MS; !(condition); usleep(500))            \
        if (os_now_ns() > end_ns) fail_msg("never: " #condition)

static void close_request(struct request *r) {
    WAIT_UNTIL(atomic_load(&r->n_ref) == 1);
    buf_fini(&r->text);
    json_decref(r->seen);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct request *r = ctx;
    atomic_fetch_add(&r->n_events, 1);
    if (ev->kind == GEN_TEXT) buf_append(&r->text, ev->text.p, ev->text.n);
    if (ev->kind != GEN_END) return;
    r->e = ev->err;
    r->known = ask_model(r) != NULL;
    atomic_store(&r->ended, 1);
}

static int on_ready(void *ctx, const struct ask_model *k, json_t *gen, struct err *e) {
    struct request *r = ctx;
    assert_ptr_equal(ask_model(r), k);
    if (r->ready_fails) return err_set(e, ERR_USAGE, "not like this");
    r->seen = json_pack("{s:s, s:s*, s:s*, s:i}", "name", k->name, "system", k->system, "template",
                        k->template, "ctx", k->info->n_ctx);
    if (k->messages) json_object_set_new(r->seen, "messages", json_deep_copy(k->messages));
    json_object_set_new(gen, "added", json_true());
    return 0;
}

/* Starts an ask of this request JSON; its return value. */
static int start(struct request *r, const char *model, const char *gen, const char *keep_alive,
                 bool load_only) {
    json_t *k = keep_alive ? json_loads(keep_alive, JSON_DECODE_ANY, NULL) : NULL;
    const struct ask a = {.model = model,
                          .gen = json_loads(gen, 0, NULL),
                          .keep_alive = k,
                          .load_only = load_only,
                          .ready = on_ready,
                          .fn = on_event,
                          .ctx = r};
    assert_non_null(a.gen);
    open_request(r);
    const int rc = ask_start(r, &a);
    json_decref(k);
    return rc;
}

static void wait_end(struct request *r) {
    WAIT_UNTIL(atomic_load(&r->ended));
    close_request(r);
}

static void ends_with(const char *model, const char *gen, enum err_code code, const char *text) {
    struct request r;
    if (start(&r, model, gen, NULL, false) == 0) {
        wait_end(&r);
        assert_int_equal(r.ended, 1);
    } else {
        assert_int_equal(r.ended, 2);
        r.e = r.refused;
        close_request(&r);
    }
    assert_int_equal(r.e.code, code);
    if (text) assert_string_equal(r.e.msg, text);
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
    assert_int_equal(fake_live(), 0);
}

static void put(const char *name, const char *weights) {
    static const struct rig_layer more[] = {
        {"params", "{\"temperature\":0.5,\"stop\":[\"A\",\"B\"],\"num_draft\":2}"},
        {"system", "Be brief."},
        {"template", "{{ .Prompt }}"},
        {"messages", "[{\"role\":\"user\",\"content\":\"hi\"}]"},
        {NULL, NULL}};
    shop_model(&shop, name, weights, strlen(weights), NULL, more);
}

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    put("plain", "{\"mib\": 1}");
    put("able", "{\"mib\": 1, \"tools\": true, \"thinking\": true, \"insert\": true}");
    put("embedder", "{\"mib\": 1, \"embedding\": true}");
    put("slow", "{\"mib\": 1, \"load_ms\": 100}");
    put("stuck", "{\"mib\": 1, \"load_ms\": 100000}");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

/* ---- tests ---- */

static void an_answer(void **state) {
    (void)state;
    struct request r;
    begin((struct models_opts){0});
    assert_int_equal(start(&r, "PLAIN",
                           "{\"op\": \"chat\", \"options\": {\"top_k\": 5, \"stop\": "
                           "[\"C\"], \"temperature\": null, \"draft_num_predict\": 3}}",
                           NULL, false),
                     0);
    WAIT_UNTIL(atomic_load(&r.ended) && atomic_load(&r.n_ref) == 1);
    assert_int_equal(r.e.code, ERR_NONE);
    assert_string_equal(r.text.p, "fake");
    assert_string_equal(r.model, "plain:latest");
    assert_int_equal(r.n_events, 4);
    assert_int_equal(r.noted.n_eval, 1);
    assert_int_equal(r.n_first, 1);
    assert_true(r.known);
    assert_null(r.task);
    assert_string_equal(json_string_value(json_object_get(r.seen, "system")), "Be brief.");
    assert_string_equal(json_string_value(json_object_get(r.seen, "template")), "{{ .Prompt }}");
    assert_int_equal(json_array_size(json_object_get(r.seen, "messages")), 1);
    char *sent = json_dumps(fake.request, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(sent,
                        "{\"added\":true,\"op\":\"chat\",\"options\":{\"draft_num_predict\":3,"
                        "\"stop\":[\"C\"],\"temperature\":0.5,\"top_k\":5},\"user\":"
                        "\"somebody\"}");
    free(sent);
    close_request(&r);
    /* A user that the dialect named stays. */
    assert_int_equal(start(&r, "plain", "{\"op\": \"text\", \"user\": \"me\"}", NULL, false), 0);
    wait_end(&r);
    assert_string_equal(json_string_value(json_object_get(fake.request, "user")), "me");
    end();
}

static void refusals(void **state) {
    (void)state;
    struct request r;
    begin((struct models_opts){.max_queue = 1, .n_parallel = 1});
    ends_with("nobody", "{\"op\": \"chat\"}", ERR_NOT_FOUND,
              "model \"nobody\" not found, try pulling it first");
    ends_with("a/b/c/d", "{\"op\": \"chat\"}", ERR_USAGE, NULL);
    ends_with("plain", "{\"op\": \"chat\", \"options\": {\"top_k\": \"x\"}}", ERR_USAGE,
              "option \"top_k\" must be of type integer");
    ends_with("plain", "{\"op\": \"chat\", \"options\": {\"num_ctx\": 1}}", ERR_USAGE, NULL);
    ends_with("plain", "{\"op\": \"chat\", \"options\": [1]}", ERR_USAGE, NULL);
    ends_with("plain", "{\"op\": \"chat\", \"options\": {\"unknown\": {}}}", ERR_NONE, NULL);
    assert_int_equal(start(&r, "plain", "{\"op\": \"chat\"}", "\"soon\"", false), -1);
    assert_int_equal(r.refused.code, ERR_USAGE);
    close_request(&r);
    open_request(&r);
    assert_int_equal(models_stats(m).n_refused, 0);
    /* The queue: one runs, one waits, one is too many. */
    struct request a, b, c;
    assert_int_equal(start(&a, "plain", "{\"op\": \"chat\", \"hold\": true}", NULL, false), 0);
    assert_int_equal(start(&b, "plain", "{\"op\": \"chat\", \"hold\": true}", NULL, false), 0);
    assert_int_equal(start(&c, "plain", "{\"op\": \"chat\", \"hold\": true}", NULL, false), -1);
    assert_int_equal(c.refused.code, ERR_BUSY);
    assert_string_equal(c.header, "Retry-After: 1\r\n");
    ends_with("plain", "{\"op\": \"tokenize\"}", ERR_NONE, NULL); /* takes no slot */
    fake_let_go();
    wait_end(&a), wait_end(&b), close_request(&c);
    end();
}

static void what_a_model_cannot(void **state) {
    (void)state;
    static const struct {
        const char *gen, *text; /* NULL: it can */
    } plain[] = {
        {"{\"op\": \"chat\", \"tools\": [{}]}", "\"plain\" does not support tools"},
        {"{\"op\": \"chat\", \"tools\": []}", NULL},
        {"{\"op\": \"chat\", \"think\": true}", "\"plain\" does not support thinking"},
        {"{\"op\": \"text\", \"think\": \"low\"}", "\"plain\" does not support thinking"},
        {"{\"op\": \"chat\", \"think\": false}", NULL},
        {"{\"op\": \"text\", \"suffix\": \"x\"}", "\"plain\" does not support insert"},
        {"{\"op\": \"text\", \"suffix\": \"\"}", NULL},
        {"{\"op\": \"embed\"}", NULL},
    };
    begin((struct models_opts){0});
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        ends_with("plain", plain[i].gen, plain[i].text ? ERR_UNSUPPORTED : ERR_NONE, plain[i].text);
        ends_with("able", plain[i].gen, ERR_NONE, NULL);
    }
    ends_with("embedder", "{\"op\": \"chat\"}", ERR_UNSUPPORTED,
              "\"embedder\" does not support chat");
    ends_with("embedder", "{\"op\": \"text\"}", ERR_UNSUPPORTED,
              "\"embedder\" does not support generate");
    ends_with("embedder", "{\"op\": \"embed\"}", ERR_NONE, NULL);
    end();
}

static void loads_and_unloads(void **state) {
    (void)state;
    struct request r;
    begin((struct models_opts){0});
    assert_int_equal(start(&r, "slow", "{}", NULL, true), 0);
    wait_end(&r);
    assert_int_equal(r.e.code, ERR_NONE);
    assert_int_equal(r.n_events, 1);
    assert_true(r.known);
    assert_int_equal(fake_live(), 1);
    assert_int_equal(start(&r, "slow", "{}", "0", true), 0);
    wait_end(&r);
    assert_int_equal(r.n_events, 1);
    WAIT_UNTIL(fake_live() == 0);
    assert_int_equal(start(&r, "slow", "{}", "\"0s\"", true), 0); /* not loaded: done, too */
    wait_end(&r);
    assert_int_equal(fake_opened(), 1);
    assert_int_equal(start(&r, "nobody", "{}", "0", true), -1);
    assert_int_equal(r.refused.code, ERR_NOT_FOUND);
    close_request(&r);
    /* With work: answered first, then unloaded. */
    assert_int_equal(start(&r, "plain", "{\"op\": \"chat\"}", "0", false), 0);
    wait_end(&r);
    WAIT_UNTIL(fake_live() == 0);
    assert_int_equal(fake_opened(), 2);
    end();
}

static void clients_that_leave(void **state) {
    (void)state;
    struct request r;
    begin((struct models_opts){0});
    /* While it waits for the load; the load goes on without it. */
    assert_int_equal(start(&r, "stuck", "{\"op\": \"chat\"}", NULL, false), 0);
    leave(&r);
    wait_end(&r);
    assert_int_equal(r.e.code, ERR_CANCELLED);
    assert_false(r.known);
    /* Before it began. */
    open_request(&r);
    r.gone = true;
    const struct ask a = {
        .model = "slow", .gen = json_object(), .ready = on_ready, .fn = on_event, .ctx = &r};
    assert_int_equal(ask_start(&r, &a), 0);
    wait_end(&r);
    assert_int_equal(r.e.code, ERR_CANCELLED);
    /* While it runs. */
    for (int i = 0; i < 50; i++) {
        assert_int_equal(start(&r, "plain", "{\"op\": \"chat\", \"hold\": true}", NULL, false), 0);
        if (i % 2) WAIT_UNTIL(atomic_load(&r.n_events));
        leave(&r);
        wait_end(&r);
        assert_int_equal(r.e.code, ERR_CANCELLED);
    }
    assert_int_equal(models_stats(m).n_running, 0);
    end();
}

static void deadlines(void **state) {
    (void)state;
    struct request r;
    begin((struct models_opts){.request_timeout_ns = 50 * MS});
    assert_int_equal(start(&r, "stuck", "{\"op\": \"chat\"}", NULL, false), 0);
    wait_end(&r);
    assert_int_equal(r.e.code, ERR_TIMEOUT);
    assert_int_equal(start(&r, "plain", "{\"op\": \"chat\", \"hold\": true}", NULL, false), 0);
    wait_end(&r);
    assert_int_equal(r.e.code, ERR_TIMEOUT);
    end();
}

static void failures(void **state) {
    (void)state;
    struct request r;
    begin((struct models_opts){0});
    assert_int_equal(start(&r, "plain", "{\"op\": \"chat\", \"hold\": true}", NULL, false), 0);
    WAIT_UNTIL(atomic_load(&r.n_events));
    pthread_mutex_lock(&fake.lock);
    atomic_store(&fake.last->dead, true);
    pthread_mutex_unlock(&fake.lock);
    wait_end(&r);
    assert_int_equal(r.e.code, ERR_IO);
    ends_with("plain", "{\"op\": \"chat\"}", ERR_NONE, NULL); /* again */
    assert_int_equal(models_stats(m).n_crashes, 1);
    open_request(&r);
    r.ready_fails = true;
    const struct ask a = {.model = "plain",
                          .gen = json_pack("{s:s}", "op", "chat"),
                          .ready = on_ready,
                          .fn = on_event,
                          .ctx = &r};
    assert_int_equal(ask_start(&r, &a), 0);
    wait_end(&r);
    assert_string_equal(r.e.msg, "not like this");
    end();
}

/* ---- many at once ---- */

static atomic_bool stop_storm;
static atomic_int n_answers;

static void *storm(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&stop_storm)) {
        struct request r;
        const char *gen =
            rand_r(&seed) % 3 ? "{\"op\": \"chat\"}" : "{\"op\": \"chat\", \"ms\": 1}";
        const int rc = start(&r, rand_r(&seed) % 2 ? "plain" : "able", gen,
                             rand_r(&seed) % 2 ? "0" : NULL, rand_r(&seed) % 8 == 0);
        if (rc == 0 && rand_r(&seed) % 4 == 0) leave(&r);
        wait_end(&r);
        atomic_fetch_add(&n_answers, r.e.code == ERR_NONE);
    }
    return NULL;
}

static void storm_of_requests(void **state) {
    (void)state;
    pthread_t t[64];
    begin((struct models_opts){.keep_alive_ns = MS, .request_timeout_ns = 10000 * MS});
    for (int i = 0; i < 64; i++)
        assert_int_equal(pthread_create(&t[i], NULL, storm, (void *)(uintptr_t)(i + 1)), 0);
    sleep(2);
    atomic_store(&stop_storm, true);
    for (int i = 0; i < 64; i++)
        pthread_join(t[i], NULL);
    print_message("%d answers, %ld loads\n", atomic_load(&n_answers), models_stats(m).n_loads);
    assert_true(atomic_load(&n_answers) > 50);
    end();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer),
        cmocka_unit_test(refusals),
        cmocka_unit_test(what_a_model_cannot),
        cmocka_unit_test(loads_and_unloads),
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(failures),
        cmocka_unit_test(storm_of_requests),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
