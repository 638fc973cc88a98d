/* The trainer beside others that compute the same:
 *
 *   20 steps of LoRA by PyTorch in float64 (tests/golden/train/torch/README.md): losses, gradients,
 *   rates, moments and the adapter that comes out;
 *   the loss of training beside `cria perplexity`, which serves: the same text, the same figure. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "text/vocab.h"
#include "train/loss.h"
#include "train/train_priv.h"
#include "train_case.h"

/* ---- 20 steps ---- */

enum { MAX_SEQ = 64, MAX_STEP = 32 };

struct run {
    struct train_case c;
    struct train_seq seq[MAX_SEQ];
    struct train_data data;
    struct train_opts o;
    struct train_plan plan;
    struct team *team;
    struct gguf *file;
    struct trainer *r;
    struct train_event step[MAX_STEP]; /* as they were told */
    int n_step;
};

/* The case's sequences, each where the trainer's shuffle will look for it. */
static void lay_out(struct run *run) {
    size_t n, n_start;
    const int32_t *tok = case_array(&run->c, "tokens", "i32", &n);
    const int32_t *label = case_array(&run->c, "labels", "i32", &n);
    const int32_t *start = case_array(&run->c, "seq_start", "i32", &n_start);
    int32_t order[MAX_SEQ];
    const int n_seq = (int)n_start - 1;
    assert_in_range(n_seq, 1, MAX_SEQ);
    train_order(order, n_seq, run->o.seed, 0);
    for (int i = 0; i < n_seq; i++)
        run->seq[order[i]] =
            (struct train_seq){tok + start[i], label + start[i], start[i + 1] - start[i]};
    run->data = (struct train_data){.seq = run->seq, .n_seq = n_seq};
}

static void run_open(struct run *run, const char *name, int n_thread) {
    char stem[160], model[160];
    struct err e = {0};
    *run = (struct run){.n_step = 0};
    snprintf(stem, sizeof stem, "tests/golden/train/torch/%s", name);
    snprintf(model, sizeof model, "tests/golden/train/models/%s.gguf", name);
    run->c = case_open_at(stem);
    const struct train_case *c = &run->c;
    run->o = (struct train_opts){
        .epochs = 1,
        .lr = case_number(c, "peak_lr", 0),
        .lora = {.rank = (int)case_number(c, "rank", 0),
                 .alpha = (float)case_number(c, "alpha", 0)},
        .ctx = 64,
        .batch = (int)case_number(c, "batch", 0),
        .warmup = case_number(c, "warmup", 0),
        .min_ratio = case_number(c, "min_ratio", 0),
        .clip = case_number(c, "clip", 0),
        .beta2 = case_number(c, "beta2", 0),
        .seed = 7,
        .precision = TRAIN_F32,
    };
    lay_out(run);
    run->team = team_new(n_thread, &e);
    run->file = gguf_open(model, &e);
    if (!run->file || train_resolve(&run->o, &run->o, &e) != 0 ||
        train_plan(run->file, &run->data, &run->o, n_thread, &run->plan, &e) != 0)
        fail_msg("%s", e.msg);
    run->r = trainer_new(run->team, run->file, &run->data, &run->o, &run->plan, &e);
    if (!run->r) fail_msg("%s", e.msg);
}

static void run_close(struct run *run) {
    trainer_free(run->r);
    gguf_close(run->file);
    team_free(run->team);
    case_close(&run->c);
}

/* The case's A; B stays zero. */
static void set_init(struct run *run) {
    struct params *p = grad_params(trainer_grad(run->r));
    for (int i = 0; i < p->n_param; i++) {
        const struct param *x = &p->p[i];
        char name[160];
        size_t n;
        if (!strstr(x->name, ".lora_a")) continue;
        snprintf(name, sizeof name, "init/%s", x->name);
        const float *a = case_array(&run->c, name, "f32", &n);
        assert_int_equal(n, x->n);
        memcpy(p->w + x->at, a, n * sizeof *a);
    }
    grad_refresh(trainer_grad(run->r));
}

/* Angle and length of what we have against the case's arrays PREFIX/..., all tensors together. */
struct likeness {
    double cosine, rel_l2;
};

/* minus: what both began with, or NULL. */
static struct likeness compare(const struct run *run, const char *prefix, const float *plane,
                               const float *minus) {
    const struct params *p = trainer_params(run->r);
    double gg = 0, ww = 0, gw = 0, dd = 0;
    for (int i = 0; i < p->n_param; i++) {
        const struct param *x = &p->p[i];
        char name[160];
        size_t n;
        snprintf(name, sizeof name, "%s/%s", prefix, x->name);
        const float *want = case_array(&run->c, name, "f32", &n);
        assert_int_equal(n, x->n);
        for (size_t k = 0; k < n; k++) {
            const double from = minus ? (double)minus[x->at + k] : 0;
            const double g = (double)plane[x->at + k] - from, w = (double)want[k] - from;
            gg += g * g, ww += w * w, gw += g * w, dd += (g - w) * (g - w);
        }
    }
    return (struct likeness){gw / sqrt(gg * ww), sqrt(dd / ww)};
}

/* FINETUNE Q4 asks for a cosine over 0.9999; what float32 reaches is far closer. */
static void check_like(const char *what, struct likeness l, double rel_l2) {
    print_message("%s: 1 - cosine %.1e, relative L2 %.1e\n", what, 1 - l.cosine, l.rel_l2);
    if (!(l.cosine > 0.9999) || !(l.rel_l2 <= rel_l2))
        fail_msg("%s: cosine %.8f, relative L2 %g", what, l.cosine, l.rel_l2);
}

/* The gradient of the first step, before any. */
static void check_first_gradient(struct run *run) {
    const int n_seq = run->o.batch;
    struct params *p = grad_params(trainer_grad(run->r));
    struct err e = {0};
    int32_t order[MAX_SEQ];
    int n_label = 0;
    train_order(order, run->data.n_seq, run->o.seed, 0);
    for (int i = 0; i < n_seq; i++)
        n_label += train_count_labels(&run->seq[order[i]]);
    for (int i = 0; i < n_seq; i++) {
        const struct train_seq *s = &run->seq[order[i]];
        int32_t tok[64], label[64], start[2] = {0, s->n};
        float coef[64];
        double nll[64];
        memcpy(tok, s->tok, (size_t)s->n * sizeof *tok);
        memcpy(label, s->label, (size_t)s->n * sizeof *label);
        const struct batch b = {s->n, 1, tok, label, start};
        loss_coef(&b, n_label, coef);
        if (grad_run(trainer_grad(run->r), &b, coef, nll, &e) != 0) fail_msg("%s", e.msg);
    }
    check_like("gradient", compare(run, "grad0", p->grad, NULL), 1e-4);
    optim_zero_grad(run->team, p);
}

static void on_event(void *ctx, const struct train_event *ev) {
    struct run *run = ctx;
    assert_int_not_equal(ev->kind, TRAIN_SKIP);
    if (ev->kind != TRAIN_STEP) return;
    assert_in_range(run->n_step, 0, MAX_STEP - 1);
    run->step[run->n_step++] = *ev;
}

static void check_number(const struct run *run, const char *key, int step, double got, double rel) {
    const double want = case_number(&run->c, key, step);
    if (!(fabs(got - want) <= rel * fabs(want)))
        fail_msg("%s, step %d: %s %.9g; %.9g is right", run->c.name, step, key, got, want);
}

/* Losses before each step tell whether every step before it was right. */
static void twenty_steps(const char *name, int n_thread) {
    struct run run;
    struct train_result result;
    struct err e = {0};
    run_open(&run, name, n_thread);
    const struct params *p = trainer_params(run.r);
    float *init = malloc(p->n_plane * sizeof *init);
    set_init(&run);
    memcpy(init, p->w, p->n_plane * sizeof *init);
    check_first_gradient(&run);
    if (trainer_run(run.r, on_event, &run, &result, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(run.n_step, 20);
    for (int i = 0; i < run.n_step; i++) {
        check_number(&run, "loss", i, run.step[i].loss, 2e-5);
        check_number(&run, "grad_norm", i, run.step[i].grad_norm, 1e-4);
        check_number(&run, "lr", i, run.step[i].lr, 1e-6);
    }
    check_like("moments", compare(&run, "adam_m", p->m, NULL), 1e-4);
    check_like("update", compare(&run, "step20", p->w, init), 1e-4);
    free(init);
    run_close(&run);
}

static void twenty_steps_as_pytorch_takes_them(void **state) {
    (void)state;
    twenty_steps("llama-untied", 1);
    twenty_steps("qwen2", 2);
}

/* ---- training and serving ---- */

static const char text[] =
    "The lighthouse keeper counted the boats every evening, wrote their number into a book, and "
    "shut the book at nine. In forty years only one page was left empty: the night of the great "
    "storm, when nobody could see the sea. Later he was asked what the empty page meant. It means, "
    "he said, that I was looking for them.\n";

/* Mean loss, by the trainer's forward, of what `cria perplexity --ctx window` scores: the second
 * half of every window, the begin token before each where the model has one. */
static double loss_in_training(const char *model, int window) {
    struct err e = {0};
    struct ids ids = {0};
    struct team *team = team_new(1, &e);
    struct gguf *file = gguf_open(model, &e);
    const struct lora_opts lora = {.rank = 4};
    const struct grad_opts o = {
        .lora = &lora, .max_rows = window, .kept_layers = -1, .prec = GEMM_F32};
    struct grad *g = file ? grad_new(team, file, &o, &e) : NULL;
    struct vocab *v = g ? vocab_load(file, &e) : NULL;
    if (!v || tok_encode(v, str_of(text), (struct tok_opts){.add_special = true}, &ids, &e) != 0)
        fail_msg("%s", e.msg);
    const struct vocab_special *sp = vocab_special(v);
    int32_t *label = malloc((size_t)window * sizeof *label), start[2] = {0, window};
    double *nll = malloc((size_t)window * sizeof *nll), sum = 0;
    int n = 0;
    for (size_t at = 0; at + (size_t)window <= ids.n; at += (size_t)window) {
        int32_t *tok = ids.v + at;
        if (sp->add_bos && sp->bos >= 0) tok[0] = sp->bos;
        for (int i = 0; i < window; i++)
            label[i] = i + 1 < window && i + 1 >= window / 2 ? tok[i + 1] : -1;
        const struct batch b = {window, 1, tok, label, start};
        if (grad_eval(g, &b, false, nll, &e) != 0) fail_msg("%s", e.msg);
        sum += loss_sum(&b, nll);
        n += batch_n_label(&b);
    }
    assert_true(n > 20);
    free(label), free(nll);
    ids_fini(&ids);
    vocab_free(v);
    grad_free(g);
    gguf_close(file);
    team_free(team);
    return sum / n;
}

static double loss_in_serving(const char *model, const char *text_path, int window) {
    char ctx[16];
    struct ran r;
    snprintf(ctx, sizeof ctx, "%d", window);
    const char *const args[] = {"perplexity", model, text_path, "--ctx", ctx, "--json", NULL};
    if (run_cria(&r, args, NULL, 0, 60) != 0) fail_msg("%.*s", (int)r.err.n, r.err.p);
    json_t *j = json_loadb((const char *)r.out.p, r.out.n, 0, NULL);
    const double nll = json_number_value(json_object_get(j, "nll"));
    json_decref(j);
    ran_fini(&r);
    return nll;
}

static void training_and_perplexity_agree(void **state) {
    (void)state;
    static const char *const model[] = {
        "tests/golden/train/models/llama-untied.gguf", "tests/golden/train/models/qwen2.gguf",
        "tests/golden/train/models/llama-q8.gguf", "models/guide.gguf"};
    char *dir = temp_folder(), path[512];
    snprintf(path, sizeof path, "%s/text.txt", dir);
    if (os_write_file(path, text, sizeof text - 1, NULL) != 0) fail_msg("%s", path);
    for (size_t i = 0; i < sizeof model / sizeof *model; i++) {
        if (access(model[i], R_OK) != 0 && i == 3) continue; /* not trained yet */
        const double t = loss_in_training(model[i], 48), s = loss_in_serving(model[i], path, 48);
        print_message("%s: %.5f in training, %.5f serving: %.3f %%\n", model[i], t, s,
                      100 * fabs(t - s) / t);
        if (!(fabs(t - s) <= 0.005 * t)) fail_msg("%s: %g beside %g", model[i], t, s);
    }
    temp_remove(dir);
}

/* A model with an adapter is measured with it: the text it was tuned to is no surprise any more. */
static void perplexity_takes_the_adapter(void **state) {
    (void)state;
    static const char base[] = "tests/golden/train/models/llama-untied.gguf";
    char *dir = temp_folder(), text_path[512], data_path[512];
    struct buf line = {0};
    struct ran r;
    snprintf(text_path, sizeof text_path, "%s/text.txt", dir);
    snprintf(data_path, sizeof data_path, "%s/data.jsonl", dir);
    json_t *j = json_pack("{s:s}", "text", text);
    char *dump = json_dumps(j, JSON_COMPACT);
    buf_printf(&line, "%s\n", dump);
    if (os_write_file(text_path, text, sizeof text - 1, NULL) != 0 ||
        os_write_file(data_path, line.p, line.n, NULL) != 0)
        fail_msg("%s", dir);
    setenv("CRIA_MODELS", dir, 1);
    const char *const args[] = {"tune",  base,      "--data", data_path,  "--out",
                                "tuned", "--steps", "25",     "--epochs", "25",
                                "--lr",  "1e-2",    NULL};
    if (run_cria(&r, args, NULL, 0, 60) != 0) fail_msg("%.*s", (int)r.err.n, r.err.p);
    ran_fini(&r);
    const double before = loss_in_serving(base, text_path, 48);
    const double after = loss_in_serving("tuned", text_path, 48);
    print_message("%.3f before, %.3f with the adapter\n", before, after);
    assert_true(after < 0.8 * before);
    unsetenv("CRIA_MODELS");
    free(dump);
    json_decref(j);
    buf_fini(&line);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_steps_as_pytorch_takes_them),
        cmocka_unit_test(training_and_perplexity_agree),
        cmocka_unit_test(perplexity_takes_the_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
