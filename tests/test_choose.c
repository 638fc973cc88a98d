/* Choosing a model: the catalogue's facts against each other, the memory that is foretold against
 * what the loader takes, `recommend` and `search` as commands, tags of a real registry. */
#include "server_rig.h"
#include "store_rig.h"

#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/ram.h"
#include "create/recommend.h"
#include "engine/mix.h"

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

static struct shop shop;

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

/* ---- the catalogue ---- */

/* The parameters that follow from a shape are those that were published. */
static void shapes_have_their_parameters(void **state) {
    (void)state;
    int n = 0;
    for (const struct catalogue_model *m = catalogue; m->name; m++, n++) {
        struct catalogue_size s;
        struct hparams h;
        struct name parsed;
        char name[CATALOGUE_NAME];
        for (const int *mix = catalogue_mixes(m); *mix >= 0; mix++) {
            catalogue_pull_name(m, *mix, name);
            if (name_parse(name, &parsed, &shop.e) != 0) fail_msg("%s", shop.e.msg);
            assert_int_equal(catalogue_size(m, *mix, &s, &shop.e), 0);
        }
        if (fabs(s.n_param / 1e6 / m->n_param_m - 1) > 1e-3)
            fail_msg("%s: %.3f M, published %.3f M", name, s.n_param / 1e6, m->n_param_m);
        if (catalogue_hparams(m, &h, &shop.e) != 0) fail_msg("%s: %s", name, shop.e.msg);
        assert_true(m->tasks && m->year > 2020 && m->licence && m->n_head % m->n_kv_head == 0);
        assert_true(!m->made_for || m->tasks & m->made_for);
        for (const struct catalogue_model *o = catalogue; o < m; o++)
            assert_false(strcmp(o->name, m->name) == 0 && strcmp(o->tag, m->tag) == 0);
    }
    assert_in_range(n, 35, 100);
}

/* ---- memory ---- */

static void same(const char *what, double got, double want) {
    if (fabs(got / want - 1) > 0.05)
        fail_msg("%s: foretold %.0f, the loader took %.0f", what, got, want);
}

static struct engine *open_model(const char *path, struct engine_opts *o) {
    struct engine *g = engine_open(path, o, &shop.e);
    if (!g) fail_msg("%s", shop.e.msg);
    return g;
}

/* From a file's own hyper-parameters. */
static void foretells_golden_models(void **state) {
    (void)state;
    static const char *const file[] = {"llama32", "gemma3", "phi3-4k", "bert"};
    static const int n_ctx[] = {0, 64, 300}, n_thread[] = {1, 3};
    for (int i = 0; i < 4 * 3 * 2; i++) {
        char rel[64];
        struct engine_opts o = {.n_ctx = n_ctx[i / 4 % 3],
                                .n_threads = n_thread[i / 12],
                                .k_type = i % 2 ? QT_F16 : QT_F32,
                                .v_type = QT_F16};
        struct memory_sizes s;
        struct memory_need need, took;
        snprintf(rel, sizeof rel, "models/%s.gguf", file[i % 4]);
        struct engine *g = open_model(golden(rel), &o);
        const struct memory_model m = {.hp = model_hparams(engine_model(g)),
                                       .encoder = model_is_embedding(engine_model(g)),
                                       .positions_end = model_positions_end(engine_model(g)),
                                       .n_text = vocab_size(engine_vocab(g)),
                                       .file_bytes = gguf_file_bytes(engine_gguf(g))};
        assert_int_equal(memory_sizes(&m, &o, &s, &shop.e), 0);
        assert_int_equal(memory_need(&m, &s, o.n_threads, &need, &shop.e), 0);
        memory_taken(g, &took);
        assert_int_equal(s.n_ctx, engine_n_ctx(g));
        assert_int_equal(need.kv, took.kv);
        assert_int_equal(need.kv_token_bytes, took.kv_token_bytes);
        same(rel, (double)need.compute, (double)took.compute);
        engine_close(g);
    }
}

static const struct catalogue_model *model_named(const char *name, const char *tag) {
    for (const struct catalogue_model *m = catalogue; m->name; m++)
        if (strcmp(m->name, name) == 0 && strcmp(m->tag, tag) == 0) return m;
    fail_msg("%s:%s is not in the catalogue", name, tag);
    return NULL;
}

/* From the catalogue alone, against a file that another program made of the same published shape.
 */
static void foretells_a_published_shape(void **state) {
    (void)state;
    char path[700], tool[PATH_MAX];
    struct ran r;
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    snprintf(path, sizeof path, "%s/smol.gguf", shop.dir);
    snprintf(tool, sizeof tool, "%.*stools/mkmodel", (int)(strlen(cria) - strlen("cria")), cria);
    const char *const args[] = {"smollm2-135m", path, "--type", "Q4_K_M", NULL};
    if (run_program(&r, tool, args, "", 0, 60) != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    const struct catalogue_model *m = model_named("smollm2", "135m");
    struct engine_opts o = {.n_ctx = 2048, .n_threads = 2, .k_type = QT_F16, .v_type = QT_F16};
    struct catalogue_size size;
    struct hparams h;
    struct memory_sizes s;
    struct memory_need need, took;
    assert_int_equal(catalogue_size(m, MIX_Q4_K_M, &size, &shop.e), 0);
    assert_int_equal(catalogue_hparams(m, &h, &shop.e), 0);
    const struct memory_model mm = {
        .hp = &h, .n_text = m->n_vocab, .file_bytes = size.loaded_bytes};
    assert_int_equal(memory_sizes(&mm, &o, &s, &shop.e), 0);
    assert_int_equal(memory_need(&mm, &s, o.n_threads, &need, &shop.e), 0);
    struct engine *g = open_model(path, &o);
    memory_taken(g, &took);
    same("weights", (double)need.weights, (double)took.weights);
    same("read", (double)size.read_bytes, (double)model_weight_bytes(engine_model(g)));
    same("compute", (double)need.compute, (double)took.compute);
    assert_int_equal(need.kv, took.kv);
    same("all", (double)memory_total(&need), (double)memory_total(&took));
    engine_close(g);
    if (SANITIZED) return;
    /* What the system saw: no more than was foretold; less, as logits of one row were asked. */
    assert_int_equal(RUN(r, "bench", path, "--pp", "2048", "--tg", "0", "-r", "1", "--json"), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    const double rss = (double)json_integer_value(json_object_get(j, "peak_rss_bytes"));
    const double all = (double)memory_total(&need);
    if (rss > 1.05 * all || rss < 0.6 * all) fail_msg("%.0f resident, %.0f foretold", rss, all);
    json_decref(j);
    ran_fini(&r);
}

/* ---- what is available ---- */

static void put(const char *root, const char *path, const char *text) {
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0700);
        *p = '/';
    }
    assert_int_equal(os_write_file(full, text, strlen(text), &shop.e), 0);
}

static void groups_limit_memory(void **state) {
    (void)state;
    char *root = temp_folder();
    assert_int_equal(ram_available_bytes(root), 0);
    put(root, "/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n");
    assert_int_equal(ram_available_bytes(root), 8000 * 1024);
    put(root, "/proc/self/cgroup", "0::/a/b\n");
    put(root, "/sys/fs/cgroup/a/memory.max", "5000000\n");
    put(root, "/sys/fs/cgroup/a/memory.current", "3000000\n");
    put(root, "/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 1000000\nx 2\n");
    put(root, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_int_equal(ram_available_bytes(root), 3000000);
    put(root, "/sys/fs/cgroup/a/b/memory.max", "2000000\n");
    put(root, "/sys/fs/cgroup/a/b/memory.current", "2500000\n");
    assert_int_equal(ram_available_bytes(root), 0);
    put(root, "/proc/self/cgroup", "4:cpu:/\n3:memory:/c\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n");
    assert_int_equal(ram_available_bytes(root), 1000000);
    put(root, "/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "900000\n");
    put(root, "/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "100000\n");
    assert_int_equal(ram_available_bytes(root), 800000);
    temp_remove(root);
}

/* ---- recommend ---- */

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number \"%s\"", key);
    return json_number_value(v);
}

static void best_first(void **state) {
    (void)state;
    struct ran r;
    assert_int_equal(
        RUN(r, "recommend", "--task", "code", "--memory", "4g", "--ctx", "8192", "--json"), 0);
    json_t *j = json_loads(r.out.p, 0, NULL), *list = json_object_get(j, "models"), *m;
    size_t i;
    bool fits = true;
    assert_true(number(j, "memory_bytes") == 4.0 * (1 << 30) && json_array_size(list) > 5);
    assert_true(json_is_true(json_object_get(json_array_get(list, 0), "fits")));
    json_array_foreach(list, i, m) {
        const json_t *mem = json_object_get(m, "memory");
        const bool now = json_is_true(json_object_get(m, "fits"));
        const double total = number(mem, "total");
        assert_true(fits || !now); /* those that fit come first */
        fits = now;
        assert_true(fits == (total <= 4.0 * (1 << 30)));
        assert_true(total == number(mem, "weights") + number(mem, "kv") + number(mem, "compute") +
                                 number(mem, "vocabulary"));
        assert_true(number(m, "context") == 8192 && number(m, "context_trained") >= 8192);
        const double bytes_s = number(m, "tokens_per_second") * number(mem, "weights");
        const double reach = number(j, "bandwidth_gbs") * 1e9 * number(j, "efficiency");
        /* Weights and half a context are read; of an untied model the embedding is not. */
        if (!(bytes_s < 1.6 * reach && bytes_s > 0.3 * reach))
            fail_msg("%s: %g of %g B/s", json_string_value(json_object_get(m, "name")), bytes_s,
                     reach);
    }
    assert_false(fits);
    json_decref(j);
    ran_fini(&r);
}

/* More memory never makes the file type of a model worse, nor that of the best smaller. */
static void more_memory_is_no_worse(void **state) {
    (void)state;
    double last = 0;
    for (uint64_t mb = 256; mb <= 32768; mb *= 2) {
        const struct recommend_opts o = {
            .memory_bytes = mb << 20,
            .engine = {.n_threads = 2, .k_type = QT_F16, .v_type = QT_F16},
            .read_bps = 1e12};
        struct recommendation *r;
        int n;
        assert_int_equal(recommend(&o, &r, &n, &shop.e), 0);
        if (r[0].fits) assert_true(r[0].score >= last);
        if (r[0].fits) last = r[0].score;
        for (int i = 0; i < n; i++) {
            const int *mix = catalogue_mixes(r[i].m);
            if (mb == 32768) assert_true(r[i].fits && r[i].mix == mix[0]);
        }
        free(r);
    }
    assert_true(last > 0);
}

static void refuses(void **state) {
    (void)state;
    static const struct {
        const char *option, *value, *says;
        int code;
    } bad[] = {
        {"--task", "cooking", "chat, code, math, multilingual, embed", 2},
        {"--memory", "4x", "4g", 2},
        {"--memory", "-1", "4g", 2},
        {"--ctx", "-5", "from 4 to", 2},
        {"--ctx", "1e3", "from 4 to", 2},
        {"--memory", "10m", "smollm2:135m", 5},
        {"--ctx", "1000000", "131072", 5},
    };
    struct ran r;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const int code = RUN(r, "recommend", bad[i].option, bad[i].value);
        if (code != bad[i].code || !strstr(r.err.p, bad[i].says) || r.out.n)
            fail_msg("%s %s: %d, %s", bad[i].option, bad[i].value, code, r.err.p);
        ran_fini(&r);
    }
    setenv("CRIA_KV_CACHE_TYPE", "q8_0", 1); /* heads of 80 cannot have it: left out, no error */
    assert_int_equal(RUN(r, "recommend", "--memory", "8g"), 0);
    assert_null(strstr(r.out.p, "exaone"));
    assert_non_null(strstr(r.out.p, "qwen3"));
    ran_fini(&r);
    unsetenv("CRIA_KV_CACHE_TYPE");
}

/* ---- search ---- */

static void searches_a_registry(void **state) {
    (void)state;
    struct ran r;
    char name[100], address[120], line[120];
    struct server reg;
    registry_start(&reg, shop.dir, "reg", "");
    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "127.0.0.1:%d/library/qwen3:v%d", reg.port, i);
        snprintf(address, sizeof address, "http://%s", name);
        shop_put(&shop, name, "a layer");
        assert_int_equal(RUN(r, "push", address), 0);
        ran_fini(&r);
    }
    snprintf(address, sizeof address, "http://127.0.0.1:%d/library/qwen3", reg.port);
    assert_int_equal(RUN(r, "search", address), 0);
    for (int i = 1; i <= 2; i++) {
        snprintf(line, sizeof line, "127.0.0.1:%d/library/qwen3:v%d\n", reg.port, i);
        if (!strstr(r.out.p, line)) fail_msg("no %s in %s", line, r.out.p);
    }
    ran_fini(&r);
    assert_int_equal(RUN(r, "search", address, "--json"), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "tags")), 2);
    json_decref(j);
    ran_fini(&r);
    snprintf(address, sizeof address, "http://127.0.0.1:%d/library/none", reg.port);
    assert_int_equal(RUN(r, "search", address), 3);
    ran_fini(&r);
    server_stop(&reg);
    assert_int_not_equal(RUN(r, "search", address), 0); /* nobody there, nothing to tell */
    ran_fini(&r);
}

static void searches_the_catalogue(void **state) {
    (void)state;
    struct ran r;
    /* A proxy that is not there: no request can leave, whatever the machine's network. */
    setenv("https_proxy", "http://127.0.0.1:9", 1);
    assert_int_equal(RUN(r, "search", "CODE"), 0); /* a task: no registry is asked */
    assert_int_equal(r.err.n, 0);
    assert_non_null(strstr(r.out.p, "qwen2.5-coder:7b"));
    assert_null(strstr(r.out.p, "smollm2"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "search", "SmolLM2"), 0); /* a name: the registry cannot be reached */
    assert_non_null(strstr(r.out.p, "smollm2:360m"));
    assert_non_null(strstr(r.err.p, "tags are not known"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "search", "smollm2", "--json"), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "models")), 3);
    json_decref(j);
    ran_fini(&r);
    assert_int_not_equal(RUN(r, "search", "no-such-model"), 0);
    ran_fini(&r);
    unsetenv("https_proxy");
    assert_int_equal(RUN(r, "search"), 2);
    ran_fini(&r);
    assert_int_equal(RUN(r, "search", ""), 2);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_have_their_parameters),
        cmocka_unit_test(foretells_golden_models),
        cmocka_unit_test(foretells_a_published_shape),
        cmocka_unit_test(groups_limit_memory),
        cmocka_unit_test(best_first),
        cmocka_unit_test(more_memory_is_no_worse),
        cmocka_unit_test(refuses),
        cmocka_unit_test(searches_a_registry),
        cmocka_unit_test(searches_the_catalogue),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
