/* Fine-tuning through the command: that it learns, what it does not depend on, when it ends, what
 * it says about itself.  FINETUNE.md 6: Q3, Q5, Q6, Q16. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "term.h"
#include "tune_rig.h"

#define LLAMA "train/models/llama-untied.gguf"
#define QWEN "train/models/qwen2.gguf"
#define Q8 "train/models/llama-q8.gguf"

static struct tune_rig rig;

static int open_llama(void **state) {
    (void)state;
    tune_rig_open(&rig, LLAMA);
    return 0;
}

static int open_qwen(void **state) {
    (void)state;
    tune_rig_open(&rig, QWEN);
    return 0;
}

static int open_q8(void **state) {
    (void)state;
    tune_rig_open(&rig, Q8);
    return 0;
}

static int close_rig(void **state) {
    (void)state;
    tune_rig_close(&rig);
    return 0;
}

static double real(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number \"%s\"", key);
    return json_number_value(v);
}

/* ---- a log ---- */

struct log {
    json_t *line[4096];
    int n;
};

static void take_line(void *ctx, int line, json_t *v) {
    struct log *l = ctx;
    (void)line;
    if (l->n < 4096) l->line[l->n++] = json_incref(v);
}

static void read_log(struct log *l, const char *name) {
    l->n = 0;
    each_jsonl(tune_path(&rig, name), take_line, l);
    assert_true(l->n > 2);
}

static void free_log(struct log *l) {
    for (int i = 0; i < l->n; i++)
        json_decref(l->line[i]);
}

static bool is(const json_t *line, const char *event) {
    return strcmp(json_string_value(json_object_get(line, "event")), event) == 0;
}

/* ---- learning ---- */

/* Q3: one batch of 8, loss < 0.02 within 200 steps; and the model then says what it has learned. */
static void learns_eight(void) {
    tune_examples(&rig, "eight.jsonl", 8);
    tune(&rig, 0, "eight.jsonl", "eight", "--epochs 100 --lr 0.01");
    json_t *t = tune_lineage_of(&rig, "eight");
    print_message("loss %.4f -> %.5f\n", real(t, "loss_before"), real(t, "loss_after"));
    assert_true(real(t, "loss_before") > 3);
    assert_true(real(t, "loss_after") < 0.02);
    assert_int_equal((int)real(t, "steps"), 100);
    json_decref(t);
    struct ran r;
    const char *const ask[] = {"run", "eight", "What is number 5?", NULL};
    assert_int_equal(run_cria(&r, ask, NULL, 0, 60), 0);
    assert_string_equal(buf_view(&r.out).p, "It is 84, green, blue.\n");
    ran_fini(&r);
    tune_store_is(&rig, 1, 0);
}

static void learns_llama(void **state) {
    (void)state;
    learns_eight();
}

static void learns_qwen(void **state) {
    (void)state;
    learns_eight();
}

/* A quantized base stays as it is. */
static void learns_on_q8(void **state) {
    (void)state;
    learns_eight();
}

/* Nothing has changed before the first step: an adapter whose steps are all of rate ~0 is none. */
static void begins_as_the_base(void **state) {
    (void)state;
    tune_examples(&rig, "d.jsonl", 8);
    tune(&rig, 0, "d.jsonl", "none", "--steps 1 --lr 1e-9");
    json_t *t = tune_lineage_of(&rig, "none");
    char words[8192];
    snprintf(words, sizeof words, "tune %s --data %s --out val --valid %s --steps 1 --lr 1e-9",
             rig.model, tune_path(&rig, "d.jsonl"), tune_path(&rig, "d.jsonl"));
    tune_cria(&rig, 0, words);
    json_t *v = tune_lineage_of(&rig, "val");
    assert_true(fabs(real(v, "valid_loss_before") - real(t, "loss_before")) < 1e-4);
    assert_true(fabs(real(v, "valid_loss_after") - real(v, "valid_loss_before")) < 1e-4);
    json_decref(v);
    json_decref(t);
}

/* ---- what the result does not depend on ---- */

static void same_by_threads(void **state) {
    (void)state;
    char one[80];
    tune_examples(&rig, "d.jsonl", 20);
    tune(&rig, 0, "d.jsonl", "one", "--steps 12 --lr 0.01 --threads 1 --dropout 0.1 --val 0.1");
    snprintf(one, sizeof one, "%s", tune_adapter(&rig, "one"));
    tune(&rig, 0, "d.jsonl", "two", "--steps 12 --lr 0.01 --threads 2 --dropout 0.1 --val 0.1");
    assert_string_equal(one, tune_adapter(&rig, "two"));
    tune(&rig, 0, "d.jsonl", "five",
         "--steps 12 --lr 0.01 --threads 5 --dropout 0.1 --val 0.1 --recompute all");
    assert_string_equal(one, tune_adapter(&rig, "five"));
    tune(&rig, 0, "d.jsonl", "seed", "--steps 12 --lr 0.01 --dropout 0.1 --val 0.1 --seed 7");
    assert_string_not_equal(one, tune_adapter(&rig, "seed"));
}

/* Q5: however a step of 8 sequences of different lengths is cut, the gradient is the same mean. */
static void same_by_accumulation(void **state) {
    (void)state;
    static const char *const rows[] = {"64", "128", "1024"};
    float *w[3];
    size_t n[3];
    tune_examples(&rig, "d.jsonl", 24);
    for (int i = 0; i < 3; i++) {
        char more[128], name[16];
        snprintf(
            more, sizeof more,
            "--epochs 1 --lr 1e-3 --ctx 64 --rows %s --val 0 --precision f32 --schedule linear",
            rows[i]);
        snprintf(name, sizeof name, "a%d", i);
        tune(&rig, 0, "d.jsonl", name, more);
        w[i] = tune_weights(&rig, name, &n[i]);
    }
    double worst = 0;
    for (int k = 1; k < 3; k++)
        for (size_t i = 0; i < n[0]; i++)
            worst = fmax(worst, fabs((double)w[0][i] - (double)w[k][i]));
    print_message("largest difference of a value: %.2g\n", worst);
    assert_true(n[0] == n[1] && n[0] == n[2] && worst < 1e-5);
    for (int i = 0; i < 3; i++)
        free(w[i]);
}

/* ---- when it ends ---- */

/* The answers of the validation set contradict those that are learned: it gets better, then worse.
 * The model is that of the best validation: with a constant rate, the one that a run has which ends
 * there. */
static void ends_early(void **state) {
    (void)state;
    struct log l;
    char more[160];
    struct buf b = {0};
    for (int i = 0; i < 8; i++)
        buf_printf(&b, "{\"prompt\": \"number %d\", \"completion\": \"it was %d\"}\n", i, i * 7);
    tune_write(&rig, "valid.jsonl", buf_view(&b).p);
    buf_fini(&b);
    tune_examples(&rig, "train.jsonl", 8);
    char words[8192];
    snprintf(words, sizeof words,
             "tune %s --data %s --out early --epochs 60 --lr 0.01 --schedule constant --warmup 0 "
             "--val-every 1 --patience 4 --ctx 64 --log %s",
             rig.model, rig.dir, tune_path(&rig, "log.jsonl"));
    struct ran *r = tune_cria(&rig, 0, words); /* a folder: train.jsonl and valid.jsonl */
    tune_says(&r->err, "ended early");
    json_t *t = tune_lineage_of(&rig, "early");
    const int step = (int)real(t, "steps"), at = (int)real(t, "best_step");
    assert_int_equal(step, at + 4);
    assert_true(step < 60 && at > 0);
    assert_true(real(t, "valid_loss_after") < real(t, "valid_loss_before"));
    read_log(&l, "log.jsonl");
    double lowest = INFINITY;
    int lowest_at = -1;
    for (int i = 0; i < l.n; i++) {
        if (!is(l.line[i], "validation") || real(l.line[i], "step") == 0) continue;
        assert_int_equal(real(l.line[i], "loss") < lowest,
                         json_is_true(json_object_get(l.line[i], "best")));
        if (real(l.line[i], "loss") >= lowest) continue;
        lowest = real(l.line[i], "loss"), lowest_at = (int)real(l.line[i], "step");
    }
    assert_int_equal(lowest_at, at);
    assert_true(fabs(lowest - real(t, "valid_loss_after")) < 1e-5);
    free_log(&l);
    json_decref(t);
    snprintf(more, sizeof more,
             "--steps %d --epochs 60 --lr 0.01 --schedule constant --warmup 0 --ctx 64", at);
    tune(&rig, 0, "train.jsonl", "there", more);
    size_t n[2];
    float *w[2] = {tune_weights(&rig, "early", &n[0]), tune_weights(&rig, "there", &n[1])};
    assert_true(n[0] == n[1] && memcmp(w[0], w[1], n[0] * sizeof **w) == 0);
    free(w[0]);
    free(w[1]);
}

/* Warm-up and cosine as golden/train/README.md has them; the log tells of every step. */
static void rates(void **state) {
    (void)state;
    struct log l;
    enum { STEPS = 40, WARM = 8 };
    char more[256];
    int n = 0;
    tune_examples(&rig, "d.jsonl", 16);
    snprintf(more, sizeof more, "--epochs 20 --lr 0.004 --warmup 0.2 --min-lr 0.25 --log %s",
             tune_path(&rig, "log.jsonl"));
    tune(&rig, 0, "d.jsonl", "m", more);
    read_log(&l, "log.jsonl");
    assert_true(is(l.line[0], "start") && is(l.line[l.n - 1], "end"));
    for (int i = 0; i < l.n; i++) {
        if (!is(l.line[i], "step")) continue;
        const int t = n++;
        const double q = (double)(t - WARM) / (STEPS - WARM);
        const double want =
            t < WARM ? 0.004 * (t + 1) / WARM : 0.004 * (0.25 + 0.75 * (1 + cos(M_PI * q)) / 2);
        assert_int_equal((int)real(l.line[i], "step"), t + 1);
        assert_true(fabs(real(l.line[i], "lr") - want) < 1e-6 * want);
        assert_true(fabs(real(l.line[i], "epoch") - (t + 1) / 2.0) < 1e-9);
        assert_true(real(l.line[i], "clip") <= 1 && real(l.line[i], "grad_norm") > 0);
    }
    assert_int_equal(n, STEPS);
    free_log(&l);
    size_t size;
    uint8_t *text = slurp(tune_path(&rig, "log.jsonl"), &size);
    assert_non_null(memmem(text, size, "\"warmup\":0.2,", 13));
    free(text);
    snprintf(more, sizeof more, "tune plot %s -o %s", tune_path(&rig, "log.jsonl"),
             tune_path(&rig, "loss.svg"));
    struct ran *r = tune_cria(&rig, 0, more);
    tune_says(&r->err, "loss ");
    uint8_t *svg = slurp(tune_path(&rig, "loss.svg"), &size);
    assert_true(size > 500 && memmem(svg, size, "<svg", 4) && memmem(svg, size, "</svg>", 6));
    free(svg);
}

/* ---- methods ---- */

static void all_weights(void **state) {
    (void)state;
    struct ran r;
    tune_examples(&rig, "d.jsonl", 8);
    tune(&rig, 0, "d.jsonl", "full", "--method full --epochs 60 --lr 0.003");
    assert_null(tune_adapter(&rig, "full"));
    json_t *t = tune_lineage_of(&rig, "full");
    assert_true(real(t, "loss_after") < 0.02);
    json_decref(t);
    const char *const ask[] = {"run", "full", "What is number 5?", NULL};
    assert_int_equal(run_cria(&r, ask, NULL, 0, 60), 0);
    assert_string_equal(buf_view(&r.out).p, "It is 84, green, blue.\n");
    ran_fini(&r);
}

static void rounded_weights(void **state) {
    (void)state;
    struct ran r;
    tune_examples(&rig, "d.jsonl", 8);
    tune(&rig, 2, "d.jsonl", "qat", "--method qat");
    tune(&rig, 0, "d.jsonl", "qat", "--method qat --type Q4_0 --epochs 80 --lr 0.003");
    tune_says(&tune_cria(&rig, 0, "show qat")->out, "Q4_0");
    const char *const ask[] = {"run", "qat", "What is number 5?", NULL};
    assert_int_equal(run_cria(&r, ask, NULL, 0, 60), 0);
    assert_string_equal(buf_view(&r.out).p, "It is 84, green, blue.\n");
    ran_fini(&r);
}

static void preferences(void **state) {
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 24; i++)
        buf_printf(&b,
                   "{\"prompt\": \"Say %d\", \"chosen\": \"yes %d\", \"rejected\": \"no %d\"}\n", i,
                   i, i * 7 % 24);
    tune_write(&rig, "p.jsonl", buf_view(&b).p);
    buf_fini(&b);
    tune_says(&tune(&rig, 2, "p.jsonl", "p", "--method lora")->err, "dpo");
    tune(&rig, 0, "p.jsonl", "p", "--method dpo --epochs 10 --lr 0.005 --val 0.2");
    json_t *t = tune_lineage_of(&rig, "p");
    /* Before training policy and reference are one: log 2. */
    assert_true(fabs(real(t, "loss_before") - M_LN2) < 1e-6);
    assert_true(fabs(real(t, "valid_loss_before") - M_LN2) < 1e-6);
    assert_true(real(t, "loss_after") < 0.1 && real(t, "valid_loss_after") < 0.3);
    json_decref(t);
    tune_examples(&rig, "d.jsonl", 8);
    tune_says(&tune(&rig, 2, "d.jsonl", "q", "--method dpo")->err, "chosen");
}

/* ---- what comes of it ---- */

static void merges(void **state) {
    (void)state;
    struct ran r;
    static const char *const name[] = {"kept", "small"};
    tune_examples(&rig, "d.jsonl", 8);
    tune(&rig, 0, "d.jsonl", "kept", "--epochs 60 --lr 0.01 --merge");
    tune(&rig, 0, "d.jsonl", "small", "--epochs 60 --lr 0.01 --merge=Q8_0");
    for (int i = 0; i < 2; i++) {
        const char *const ask[] = {"run", name[i], "What is number 5?", NULL};
        assert_null(tune_adapter(&rig, name[i]));
        assert_int_equal(run_cria(&r, ask, NULL, 0, 60), 0);
        assert_string_equal(buf_view(&r.out).p, "It is 84, green, blue.\n");
        ran_fini(&r);
    }
    tune_says(&tune_cria(&rig, 0, "show small")->out, "Q8_0");
    tune_says(&tune(&rig, 2, "d.jsonl", "bad", "--merge=Q9")->err, "Q4_K_M");
    tune_store_is(&rig, 2, 0);
}

/* A Modelfile's TRAINFILE is the same run as `cria tune`, and `show --modelfile` makes the model
 * again, with its adapter. */
static void by_modelfile(void **state) {
    (void)state;
    char first[80], text[8192];
    tune_examples(&rig, "d.jsonl", 8);
    snprintf(text, sizeof text,
             "FROM %s\nPARAMETER temperature 0.5\nPARAMETER train_epochs 20\nPARAMETER train_lr "
             "0.01\nTRAINFILE d.jsonl\n",
             rig.model);
    tune_write(&rig, "Modelfile", text);
    snprintf(text, sizeof text, "create made -f %s", tune_path(&rig, "Modelfile"));
    tune_cria(&rig, 0, text);
    tune(&rig, 0, "d.jsonl", "tuned", "--epochs 20 --lr 0.01");
    size_t n[2];
    float *w[2] = {tune_weights(&rig, "made", &n[0]), tune_weights(&rig, "tuned", &n[1])};
    assert_true(n[0] == n[1] && memcmp(w[0], w[1], n[0] * sizeof **w) == 0);
    free(w[0]);
    free(w[1]);
    struct ran *r = tune_cria(&rig, 0, "show made");
    tune_says(&r->out, "temperature    0.5");
    tune_says(&r->out, "    rank             16\n");
    tune_says(&r->out, "    targets          all\n");
    tune_says(&r->out, "    learning rate    0.01\n");
    json_t *t = tune_lineage_of(&rig, "made");
    snprintf(text, sizeof text, "    data digest      %s\n",
             json_string_value(json_object_get(t, "data_digest")));
    assert_int_equal(strlen(text), 21 + 71 + 1);
    tune_says(&tune_cria(&rig, 0, "show made")->out, text);
    /* The base by a name that means something elsewhere, too. */
    if (strchr(json_string_value(json_object_get(t, "base")), '/'))
        fail_msg("%s", json_dumps(t, 0));
    json_decref(t);
    r = tune_cria(&rig, 0, "show made");
    assert_null(strstr(r->out.p, "train_"));
    snprintf(first, sizeof first, "%s", tune_adapter(&rig, "made"));
    tune_write(&rig, "again", buf_view(&tune_cria(&rig, 0, "show made --modelfile")->out).p);
    snprintf(text, sizeof text, "create copy -f %s", tune_path(&rig, "again"));
    tune_cria(&rig, 0, text);
    assert_string_equal(first, tune_adapter(&rig, "copy"));
    /* FROM a name keeps the lineage; its adapter can be trained further (test_tune_further.c), but
     * nothing else beside it. */
    tune_write(&rig, "from", "FROM made\nSYSTEM x\n");
    snprintf(text, sizeof text, "create heir -f %s", tune_path(&rig, "from"));
    tune_cria(&rig, 0, text);
    json_decref(tune_lineage_of(&rig, "heir"));
    snprintf(text, sizeof text, "tune made --data %s --out twice --method full",
             tune_path(&rig, "d.jsonl"));
    tune_says(&tune_cria(&rig, 1, text)->err, "adapter already");
}

/* The plan alone; JSON events; settings that are wrong. */
/* Words of the plan and the result, small numbers and large ones. */
static void words(void **state) {
    (void)state;
    tune_examples(&rig, "d.jsonl", 40);
    struct ran *r = tune(&rig, 0, "d.jsonl", NULL, "--dry-run");
    tune_says(&r->err, "(3 epochs), 38 examples + 2 held out, ");
    r = tune(&rig, 0, "d.jsonl", NULL, "--dry-run --val 0 --steps 1 --epochs 4000");
    tune_says(&r->err, "plan: lora, 1 step of 8 examples (0.2 epochs), ");
    assert_null(strstr(r->err.p, "held out"));
    r = tune(&rig, 0, "d.jsonl", NULL, "--dry-run --val 0 --epochs 4000");
    tune_says(&r->err, "plan: lora, 20000 steps of 8 examples (4,000 epochs), ");
    r = tune(&rig, 0, "d.jsonl", "a", "--val 0 --steps 1");
    tune_says(&r->err, "trained: 1 step, loss ");
    tune_says(&r->err, " (the first and the last step), ");
    r = tune(&rig, 0, "d.jsonl", "b", "--val 0 --steps 9");
    tune_says(&r->err, "(the first, and the mean of the last 4 steps), ");
    tune_says(&r->err, " 0s left");
    int whole, rest;
    const char *tokens = strstr(tune(&rig, 0, "d.jsonl", NULL, "--dry-run")->err.p, "held out, ");
    assert_int_equal(sscanf(tokens, "held out, %d,%3d tokens", &whole, &rest), 2);
}

/* The line that changes keeps to the terminal's width, and to terminals that can do it. */
static void narrow_and_dumb(void **state) {
    (void)state;
    static const int columns[] = {30, 60, 100};
    struct term t;
    tune_examples(&rig, "d.jsonl", 30);
    const char *const args[] = {"tune",     rig.model, "--data",  tune_path(&rig, "d.jsonl"),
                                "-o",       "m",       "--steps", "30",
                                "--epochs", "99",      NULL};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        term_open(&t, args, columns[i]);
        assert_true(term_wait(&t, 0, NULL));
        int n = 0;
        for (const char *at = t.out.p; (at = strstr(at, "\rstep ")); at++) {
            const int width = (int)(strstr(at, "\x1b[K") - at) - 1;
            if (width >= columns[i]) fail_msg("%d of %d: %.*s", width, columns[i], width, at + 1);
            n++;
        }
        assert_true(n > 0);
        if (columns[i] == 100) assert_non_null(strstr(t.out.p, "[####"));
        assert_int_equal(term_close(&t), 0);
    }
    setenv("TERM", "dumb", 1);
    term_open(&t, args, 80);
    assert_true(term_wait(&t, 0, NULL));
    unsetenv("TERM");
    assert_null(strchr(t.out.p, 0x1b));
    assert_non_null(strstr(t.out.p, "step 30/30 loss"));
    assert_int_equal(term_close(&t), 0);
}

/* Files of the store's blobs. */
static int n_blobs(void) {
    DIR *d = opendir(tune_path(&rig, "store/blobs"));
    int n = 0;
    for (struct dirent *x; d && (x = readdir(d));)
        n += x->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

/* A plan leaves nothing in the store, whatever the base is and has. */
static void plan_leaves_nothing(void **state) {
    (void)state;
    char text[9000];
    tune_examples(&rig, "d.jsonl", 30);
    tune_says(&tune(&rig, 0, "d.jsonl", NULL, "--dry-run")->err,
              "examples of up to 512 tokens are taken, the model's context");
    assert_null(strstr(tune(&rig, 0, "d.jsonl", NULL, "--dry-run --ctx 600")->err.p, "are taken"));
    assert_int_equal(n_blobs(), 0);
    snprintf(text, sizeof text,
             "FROM %s\nSYSTEM You are kind.\nTEMPLATE {{ .System }} {{ .Prompt }}\n"
             "PARAMETER temperature 0\nTRAINFILE d.jsonl\n",
             rig.model);
    tune_write(&rig, "Modelfile", text);
    snprintf(text, sizeof text, "create m --dry-run -f %s", tune_path(&rig, "Modelfile"));
    tune_says(&tune_cria(&rig, 0, text)->err, "plan: memory");
    assert_int_equal(n_blobs(), 0);
    /* As many tokens as with the texts of a real run. */
    char *plan = strdup(strstr(tune_cria(&rig, 0, text)->err.p, "training data: "));
    *strchr(plan, '\n') = 0;
    snprintf(text, sizeof text, "create m -f %s", tune_path(&rig, "Modelfile"));
    tune_says(&tune_cria(&rig, 0, text)->err, plan);
    free(plan);
    assert_true(n_blobs() > 3);
    tune_store_is(&rig, 1, 0);
}

static void plans_and_events(void **state) {
    (void)state;
    tune_examples(&rig, "d.jsonl", 30);
    struct ran *r = tune(&rig, 0, "d.jsonl", NULL, "--dry-run");
    tune_says(&r->err, "plan: lora, 12 steps of 8 examples (3 epochs)");
    tune_says(&r->err, "plan: memory");
    tune_store_is(&rig, 0, 0);
    r = tune(&rig, 0, "d.jsonl", "m", "--json --steps 3");
    int n = 0;
    for (char *save, *l = strtok_r(r->out.p, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        json_t *o = json_loads(l, 0, NULL);
        assert_true(json_is_object(o));
        if (json_object_get(o, "event") && is(o, "step"))
            assert_true(++n == (int)real(o, "step") && real(o, "loss") > 0 &&
                        real(o, "tokens") > 0);
        json_decref(o);
    }
    assert_int_equal(n, 3);
    static const char *const wrong[][2] = {
        {"--epochs 0", "--epochs"},     {"--lr x", "--lr"},        {"--method sgd", "lora, full"},
        {"--targets q,z", "--targets"}, {"--rank 1000", "--rank"}, {"--schedule step", "cosine"},
        {"--val 1", "--val"},           {"--memory lots", "4g"},   {"--resume --restart", "one"},
        {"--batch 0", "--batch"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        tune_says(&tune(&rig, 2, "d.jsonl", "x", wrong[i][0])->err, wrong[i][1]);
    tune_write(&rig, "Modelfile", "FROM x\nPARAMETER train_lr 1\n");
    char text[1300];
    snprintf(text, sizeof text, "create x -f %s", tune_path(&rig, "Modelfile"));
    tune_says(&tune_cria(&rig, 1, text)->err, "/Modelfile (line 2): train_lr without TRAINFILE");
    tune_write(&rig, "Modelfile", "FROM x\nTRAINFILE d.jsonl\n\nPARAMETER train_rank none\n");
    tune_says(&tune_cria(&rig, 1, text)->err, "(line 4): train_rank: found \"none\"");
    tune_write(&rig, "Modelfile", "FROM x\nTRAINFILE d.jsonl\nPARAMETER train_val-every 5\n");
    tune_says(&tune_cria(&rig, 1, text)->err,
              "(line 3): PARAMETER train_val-...: names of parameters have _");
    tune_store_is(&rig, 1, 0);
}

/* Options of training without training; a value where none can stand. */
static void options_that_do_not_fit(void **state) {
    (void)state;
    static const char *const option[] = {"--log x", "--memory 4g", "--dry-run", "--resume",
                                         "--restart"};
    char text[9000], says[80];
    tune_examples(&rig, "d.jsonl", 30);
    snprintf(text, sizeof text, "FROM %s\n", rig.model);
    tune_write(&rig, "Modelfile", text);
    for (size_t i = 0; i < sizeof option / sizeof *option; i++) {
        snprintf(text, sizeof text, "create x %s -f %s", option[i], tune_path(&rig, "Modelfile"));
        snprintf(says, sizeof says, "create: %.*s without TRAINFILE", (int)strcspn(option[i], " "),
                 option[i]);
        tune_says(&tune_cria(&rig, 2, text)->err, says);
    }
    snprintf(text, sizeof text, "create x --merge Q8_0 -f %s", tune_path(&rig, "Modelfile"));
    tune_says(&tune_cria(&rig, 2, text)->err, "--merge Q8_0: write --merge=Q8_0");
    tune_says(&tune(&rig, 2, "d.jsonl", "x", "--merge Q8_0 --steps 1")->err,
              "--merge Q8_0: write --merge=Q8_0");
    tune(&rig, 2, "d.jsonl", "x", "nonsense --merge");
    tune_store_is(&rig, 0, 0);
}

/* All weights of a quantized model: the error tells how to come to one of floats. */
static void all_of_quantized(void **state) {
    (void)state;
    char text[9000];
    tune_examples(&rig, "d.jsonl", 30);
    struct ran *r = tune(&rig, 1, "d.jsonl", "x", "--method full");
    snprintf(text, sizeof text, "method full: %.160s has weights of Q8_0", rig.model);
    tune_says(&r->err, text);
    tune_says(&r->err, "`cria quantize IN.gguf OUT.gguf F32`");
    assert_null(strstr(r->err.p, "/blobs/"));
    snprintf(text, sizeof text, "quantize %s %s F32", rig.model, tune_path(&rig, "f32.gguf"));
    tune_cria(&rig, 0, text);
    snprintf(rig.model, sizeof rig.model, "%s", tune_path(&rig, "f32.gguf"));
    tune(&rig, 0, "d.jsonl", "x", "--method full --steps 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(learns_llama, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(learns_qwen, open_qwen, close_rig),
        cmocka_unit_test_setup_teardown(learns_on_q8, open_q8, close_rig),
        cmocka_unit_test_setup_teardown(begins_as_the_base, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(same_by_threads, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(same_by_accumulation, open_qwen, close_rig),
        cmocka_unit_test_setup_teardown(ends_early, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(rates, open_qwen, close_rig),
        cmocka_unit_test_setup_teardown(all_weights, open_qwen, close_rig),
        cmocka_unit_test_setup_teardown(rounded_weights, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(preferences, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(merges, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(by_modelfile, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(options_that_do_not_fit, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(all_of_quantized, open_q8, close_rig),
        cmocka_unit_test_setup_teardown(words, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(narrow_and_dumb, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(plan_leaves_nothing, open_llama, close_rig),
        cmocka_unit_test_setup_teardown(plans_and_events, open_llama, close_rig),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
