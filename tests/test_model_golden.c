/* model/ against golden outputs: every architecture and file type, prompts, greedy continuation,
 * adapters.  Gates: golden/README.md section 9. */
#include "model_rig.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpu.h"

enum { MAX_TOK = 512, N_GREEDY = 32 };

/* What a file's rows may differ by; 0: not asked. */
struct bounds {
    double max_abs, rms, kl;
    bool median; /* experts: judge the middle row, since a near-tie flips whole rows */
};

struct golden_case {
    const char *folder, *name; /* the model: FOLDER/NAME.gguf */
    const char *outputs;       /* FOLDER2/NAME2 of .json and .f32 */
    const char *adapter;       /* or NULL */
    struct bounds data, ref64; /* against .f32 and .ref64.f32 */
    int n_greedy;              /* prompts whose continuation is run; 0: all */
    double margin;             /* greedy steps below it may go either way; 0: do not compare */
};

struct golden_data {
    json_t *json;
    float *data, *ref64; /* ref64: or NULL */
};

static struct golden_data load(const char *outputs) {
    char path[512];
    size_t n, n64;
    struct golden_data d = {0};
    snprintf(path, sizeof path, "%s.json", outputs);
    d.json = slurp_json(golden(path));
    snprintf(path, sizeof path, "%s.f32", outputs);
    d.data = slurp_f32(golden(path), &n);
    if (json_object_get(d.json, "ref64")) {
        snprintf(path, sizeof path, "%s.ref64.f32", outputs);
        d.ref64 = slurp_f32(golden(path), &n64);
        assert_int_equal(n, n64);
    }
    return d;
}

static int ints(const json_t *arr, int32_t *out, int cap) {
    const int n = (int)json_array_size(arr);
    assert_true(n <= cap);
    for (int i = 0; i < n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(arr, (size_t)i));
    return n;
}

static int64_t number(const json_t *obj, const char *key) {
    const json_t *v = json_object_get(obj, key);
    assert_non_null(v);
    return json_integer_value(v);
}

static int arg_max(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

struct run {
    struct rig *r;
    const struct golden_data *d;
    const struct adapter *a;
    struct comparison data, ref64;
    double margin;
    int n_greedy;
    const char *name;
};

static void compare(struct run *u, const float *row, size_t offset) {
    const int n = u->r->n_col;
    compare_row(&u->data, row, u->d->data + offset, n);
    if (u->d->ref64) compare_row(&u->ref64, row, u->d->ref64 + offset, n);
}

/* After the prompt: our own choice must be the reference's up to the first near-tie; then its
 * tokens are fed whatever we would choose, to compare the last row. */
static void run_greedy(struct run *u, struct kv_seq *s, const json_t *prompt, const float *last) {
    int32_t ids[N_GREEDY];
    float row[4096];
    const json_t *margins = json_object_get(prompt, "greedy_margin");
    const int n = ints(json_object_get(prompt, "greedy"), ids, N_GREEDY);
    assert_int_equal(n, N_GREEDY);
    assert_true(u->r->n_col <= 4096);
    bool own = u->margin > 0;
    for (int i = 0;; i++) {
        if (own && json_number_value(json_array_get(margins, (size_t)i)) < u->margin) own = false;
        if (own && arg_max(last, u->r->n_col) != ids[i])
            fail_msg("%s %s: greedy token %d is %d, not %d", u->name,
                     json_string_value(json_object_get(prompt, "name")), i,
                     arg_max(last, u->r->n_col), ids[i]);
        if (i == n - 1) break;
        rig_feed(u->r, s, u->a, &ids[i], 1, 0, row);
        last = row;
    }
    compare(u, last, (size_t)number(prompt, "greedy_last_logits_offset"));
}

static void run_prompt(struct run *u, const json_t *prompt) {
    int32_t tok[MAX_TOK], pos[MAX_TOK];
    struct kv_seq s;
    const int n = ints(json_object_get(prompt, "tokens"), tok, MAX_TOK), n_col = u->r->n_col;
    float *out = malloc((size_t)n * (size_t)n_col * sizeof *out);
    kv_seq_init(&s, u->r->pool);
    rig_feed(u->r, &s, u->a, tok, n, 0, out);
    if (json_object_get(prompt, "positions")) {
        const int n_pos = ints(json_object_get(prompt, "positions"), pos, MAX_TOK);
        const size_t at = (size_t)number(prompt, "logits_offset");
        for (int k = 0; k < n_pos; k++)
            compare(u, out + (size_t)pos[k] * (size_t)n_col, at + (size_t)k * (size_t)n_col);
        if (u->n_greedy-- > 0) run_greedy(u, &s, prompt, out + (size_t)(n - 1) * (size_t)n_col);
    } else {
        const size_t at = (size_t)number(prompt, "none_offset");
        for (int k = 0; k < n; k++)
            compare(u, out + (size_t)k * (size_t)n_col, at + (size_t)k * (size_t)n_col);
    }
    kv_seq_fini(&s);
    free(out);
}

static void judge(const struct golden_case *c, const char *against, struct distance d,
                  const struct bounds *g) {
    const double rms = g->median ? d.rms_median : d.rms, kl = g->median ? d.kl_median : d.kl_mean;
    if ((g->max_abs && !(d.max_abs <= g->max_abs)) || (g->rms && !(rms <= g->rms)) ||
        (g->kl && !(kl <= g->kl)))
        fail_msg("%s against %s: max %g rms %g kl %g; allowed %g %g %g (%s kernels)", c->outputs,
                 against, d.max_abs, rms, kl, g->max_abs, g->rms, g->kl, cpu_isa());
}

static void check_case(const struct golden_case *c) {
    char path[512];
    struct rig r;
    struct err e;
    struct model_adapter *ad = NULL;
    struct golden_data d = load(c->outputs);
    snprintf(path, sizeof path, "%s/%s.gguf", c->folder, c->name);
    rig_open(&r, golden(path), (struct rig_opts){.max_rank = c->adapter ? 64 : 0});
    if (c->adapter) {
        const double scale = json_number_value(json_object_get(d.json, "lora_scale"));
        ad = model_adapter_open(r.m, golden(c->adapter), (float)scale, &e);
        if (!ad) fail_msg("%s", e.msg);
    }
    struct run u = {.n_greedy = c->n_greedy ? c->n_greedy : INT_MAX,
                    .r = &r,
                    .d = &d,
                    .margin = c->margin,
                    .name = c->name,
                    .a = ad ? model_adapter_get(ad) : NULL};
    size_t i;
    const json_t *prompt;
    json_array_foreach(json_object_get(d.json, "prompts"), i, prompt) run_prompt(&u, prompt);
    assert_true(i >= 10);
    judge(c, "data", compare_end(&u.data), &c->data);
    judge(c, "ref64", compare_end(&u.ref64), &c->ref64);
    model_adapter_free(ad);
    rig_close(&r);
    json_decref(d.json);
    free(d.data);
    free(d.ref64);
}

static bool has_gelu(const char *name) {
    static const char *const with[] = {"gemma", "bert",       "gpt2",  "gptneox",
                                       "phi2",  "starcoder2", "falcon"};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++)
        if (!strncmp(name, with[i], strlen(with[i]))) return true;
    return false;
}

static void f32_models(void **state) {
    (void)state;
    char **names = golden_names("models", ".json", golden_is_full() ? 29 : 4);
    for (char **n = names; *n; n++) {
        char name[128], outputs[256];
        snprintf(name, sizeof name, "%.*s", (int)strlen(*n) - 5, *n);
        snprintf(outputs, sizeof outputs, "models/%s", name);
        const bool gelu = has_gelu(name);
        const struct golden_case c = {
            .folder = "models",
            .name = name,
            .outputs = outputs,
            .data = {.max_abs = gelu ? 2e-2 : 1e-3},
            .ref64 = {.max_abs = 1e-3},
            .margin = gelu ? 4e-2 : 2e-3,
        };
        check_case(&c);
    }
    names_free(names);
}

/* Gates of a file type against the exact answer; `type` as in the file's name. */
static struct bounds gate_of(const char *type) {
    static const char *const q8[] = {"Q8_0",   "Q4_0",  "Q4_1", "Q5_0", "Q5_1",
                                     "IQ4_NL", "MXFP4", "Q1_0", "Q2_0"};
    if (!strcmp(type, "F16")) return (struct bounds){.rms = 0.005};
    if (!strcmp(type, "BF16")) return (struct bounds){.rms = 0.03};
    for (size_t i = 0; i < sizeof q8 / sizeof *q8; i++)
        if (!strcmp(type, q8[i])) return (struct bounds){.rms = 0.11, .kl = 5e-3};
    return (struct bounds){.rms = 0.15, .kl = 8e-3};
}

/* Against an engine that quantizes activations as well, two independent errors add up. */
static struct bounds twice(struct bounds g) {
    return (struct bounds){.rms = 1.42 * g.rms, .kl = 2 * g.kl, .median = g.median};
}

static void quantized_models(void **state) {
    (void)state;
    char **names = golden_names("models-quant", ".json", golden_is_full() ? 48 : 2);
    for (char **n = names; *n; n++) {
        char name[128], outputs[256];
        snprintf(name, sizeof name, "%.*s", (int)strlen(*n) - 5, *n);
        snprintf(outputs, sizeof outputs, "models-quant/%s", name);
        struct bounds g = gate_of(strchr(name, '.') + 1);
        g.median = strstr(name, "mixtral") || strstr(name, "moe") || strstr(name, "gpt-oss");
        const struct golden_case c = {.folder = "models-quant",
                                      .name = name,
                                      .outputs = outputs,
                                      .n_greedy = 2,
                                      .data = twice(g),
                                      .ref64 = g};
        check_case(&c);
    }
    names_free(names);
}

/* BASE.lora-TAG.sSCALE.json goes with BASE.lora-TAG.gguf; a quantized BASE takes the adapter of
 * the model it was made from. */
static void adapters(void **state) {
    (void)state;
    char **names = golden_names("lora", ".json", golden_is_full() ? 14 : 1);
    for (char **n = names; *n; n++) {
        if (!strncmp(*n, "train", 5)) continue;
        char outputs[256], adapter[256];
        snprintf(outputs, sizeof outputs, "lora/%.*s", (int)strlen(*n) - 5, *n);
        snprintf(adapter, sizeof adapter, "lora/%s", *n);
        json_t *j = slurp_json(golden(adapter));
        char model[128];
        const char *file = json_string_value(json_object_get(j, "model"));
        snprintf(model, sizeof model, "%.*s", (int)strlen(file) - 5, file);
        snprintf(adapter, sizeof adapter, "lora/%s", json_string_value(json_object_get(j, "lora")));
        const bool quantized = strchr(model, '.') != NULL;
        const struct bounds g =
            quantized ? twice(gate_of(strchr(model, '.') + 1)) : (struct bounds){.max_abs = 1e-3};
        const struct golden_case c = {
            .folder = quantized ? "models-quant" : "models",
            .name = model,
            .outputs = outputs,
            .adapter = adapter,
            .data = g,
            .margin = quantized ? 0 : 2e-3,
        };
        check_case(&c);
        json_decref(j);
    }
    names_free(names);
}

/* The same with the scalar kernels, in a process of its own: the choice is made once. */
static void scalar_kernels(void **state) {
    (void)state;
    if (getenv("CRIA_CPU")) return;
    char self[512];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = 0;
    char line[1200];
    snprintf(line, sizeof line, "CRIA_CPU=ref '%s' f32_models >/dev/null", self);
    assert_int_equal(system(line), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_models),
        cmocka_unit_test(quantized_models),
        cmocka_unit_test(adapters),
        cmocka_unit_test(scalar_kernels),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
