/* The trainer's own doors: what it refuses to begin, to go on from and to end as a success. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "model/lora_set.h"
#include "toy.h"
#include "train/adapter_file.h"
#include "train/train_priv.h"

enum { N_SEQ = 8, N_TOK = 24 };

struct run {
    char *dir;
    int32_t tok[N_SEQ][N_TOK], label[N_SEQ][N_TOK];
    struct train_seq seq[N_SEQ];
    struct train_data data;
    struct train_opts o;
    struct train_plan plan;
    struct team *team;
    struct gguf *file;
    struct trainer *r;
};

static void plan(struct run *run) {
    struct err e = {0};
    if (train_plan(run->file, &run->data, &run->o, 1, &run->plan, &e) != 0) fail_msg("%s", e.msg);
}

static void begin(struct run *run) {
    struct err e = {0};
    run->r = trainer_new(run->team, run->file, &run->data, &run->o, &run->plan, &e);
    if (!run->r) fail_msg("%s", e.msg);
}

/* A small model, eight sequences, one a step; the caller changes run->o, then plan() and begin().
 */
static void open_run(struct run *run) {
    static const struct toy shape = {.arch = "llama", .rope = 'p', .n_layer = 2};
    char path[512];
    struct err e = {0};
    *run = (struct run){.dir = temp_folder(),
                        .o = {.epochs = 100,
                              .max_steps = 10,
                              .lora = {.rank = 4},
                              .ctx = N_TOK,
                              .batch = 1,
                              .warmup = -1,
                              .precision = TRAIN_F32}};
    struct toy_model *m = toy_new(&shape, 5);
    snprintf(path, sizeof path, "%s/a.gguf", run->dir);
    toy_write(m, path);
    toy_free(m);
    for (int s = 0; s < N_SEQ; s++) {
        for (int i = 0; i < N_TOK; i++)
            run->tok[s][i] = (i * 37 + s * 11 + i * i * 5) % TOY_VOCAB;
        for (int i = 0; i < N_TOK; i++)
            run->label[s][i] = i + 1 < N_TOK ? run->tok[s][i + 1] : -1;
        run->seq[s] = (struct train_seq){run->tok[s], run->label[s], N_TOK};
    }
    run->data = (struct train_data){.seq = run->seq, .n_seq = N_SEQ};
    run->team = team_new(1, &e);
    run->file = gguf_open(path, &e);
    if (!run->team || !run->file) fail_msg("%s", e.msg);
}

static void close_run(struct run *run) {
    trainer_free(run->r);
    gguf_close(run->file);
    team_free(run->team);
    temp_remove(run->dir);
}

/* ---- ends ---- */

struct poison {
    struct run *run;
    int at; /* after this step all weights of the adapter are no numbers */
};

static void on_event(void *ctx, const struct train_event *ev) {
    const struct poison *x = ctx;
    struct params *p = grad_params(trainer_grad(x->run->r));
    if (ev->kind != TRAIN_STEP || ev->step != x->at) return;
    for (size_t i = 0; i < p->n_plane; i++)
        p->w[i] = NAN;
}

static int run_poisoned(struct run *run, int at, struct train_result *result, struct err *e) {
    struct poison x = {run, at};
    plan(run);
    begin(run);
    return trainer_run(run->r, on_event, &x, result, e);
}

/* What comes after a divergence is skipped; without a validation there is nothing to take instead.
 */
static void diverged_is_no_success(void **state) {
    (void)state;
    struct run run;
    struct train_result result;
    struct err e = {0};
    open_run(&run);
    assert_int_equal(run_poisoned(&run, 3, &result, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    if (!strstr(e.msg, "7 steps in a row")) fail_msg("%s", e.msg);
    if (!strstr(e.msg, "learning rate than 0.0002 may help")) fail_msg("%s", e.msg);
    close_run(&run);

    open_run(&run); /* one or two are none */
    assert_int_equal(run_poisoned(&run, 8, &result, &e), 0);
    assert_int_equal(result.n_skipped, 2);
    close_run(&run);

    open_run(&run); /* those of a validation before are taken */
    run.data.n_seq = N_SEQ - 2;
    run.data.valid = run.seq + N_SEQ - 2, run.data.n_valid = 2;
    run.o.valid_every = 2;
    run.o.patience = -1;
    assert_int_equal(run_poisoned(&run, 3, &result, &e), 0);
    assert_int_equal(result.best_step, 2);
    const struct params *p = trainer_params(run.r);
    for (size_t i = 0; i < p->n_plane; i++)
        assert_true(isfinite(p->w[i]));
    close_run(&run);
}

/* A is zero: the losses are the base's.  B is so large that A's gradient has squares beyond a
 * float, which would stay in the moments for ever. */
static void endless_gradients_are_skipped(void **state) {
    (void)state;
    struct run run;
    struct train_result result;
    struct err e = {0};
    open_run(&run);
    run.o.max_steps = 2;
    run.o.clip = -1;
    plan(&run);
    begin(&run);
    struct params *p = grad_params(trainer_grad(run.r));
    for (int i = 0; i < p->n_param; i++)
        for (size_t k = 0; k < p->p[i].n; k++)
            p->w[p->p[i].at + k] = strstr(p->p[i].name, "lora_b") ? 1e22f : 0;
    assert_int_equal(trainer_run(run.r, NULL, NULL, &result, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    if (!strstr(e.msg, "2 steps in a row")) fail_msg("%s", e.msg);
    for (size_t i = 0; i < p->n_plane; i++)
        assert_true(p->v[i] == 0);
    close_run(&run);
}

/* ---- beginnings ---- */

static void expect_no_trainer(struct run *run, enum err_code code, const char *says) {
    struct err e = {0};
    run->r = trainer_new(run->team, run->file, &run->data, &run->o, &run->plan, &e);
    assert_null(run->r);
    if (e.code != code || !strstr(e.msg, says)) fail_msg("%s", e.msg);
}

/* Memory is as the plan says: another's is refused before anything overflows. */
static void plans_of_others_are_refused(void **state) {
    (void)state;
    struct run run;
    struct err e = {0};
    struct train_result result;
    open_run(&run);
    for (int s = 1; s < N_SEQ; s++)
        run.seq[s].n = 12;
    run.seq[0].n = 20;
    plan(&run);
    run.seq[3].n = N_TOK; /* longer */
    expect_no_trainer(&run, ERR_USAGE, "the plan is of 8 and 0 of 104, at most 20");
    run.seq[3].n = 12;
    run.data.n_seq--; /* fewer */
    expect_no_trainer(&run, ERR_USAGE, "7 and 0 sequences of 92 tokens");
    run.data.n_seq++;
    run.o.batch = 4;
    expect_no_trainer(&run, ERR_USAGE, "in batches of 4");
    run.o.batch = 1;
    run.o.ctx = 16;
    expect_no_trainer(&run, ERR_USAGE, "at most 20 each");
    run.o.ctx = N_TOK;
    begin(&run);
    trainer_free(run.r);

    run.o.micro_rows = 64; /* several in one: seen when they are put together */
    run.o.batch = 2;
    plan(&run);
    run.plan.max_rows = 20;
    begin(&run);
    assert_int_equal(trainer_run(run.r, NULL, NULL, &result, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    if (!strstr(e.msg, "rows; the plan has 20")) fail_msg("%s", e.msg);
    close_run(&run);
}

static void options_are_resolved_once(void **state) {
    (void)state;
    const struct train_opts in = {.warmup = -1, .min_ratio = -1, .clip = -1, .patience = -1};
    struct train_opts once, twice;
    struct err e = {0};
    assert_int_equal(train_resolve(&in, &once, &e), 0);
    assert_int_equal(train_resolve(&once, &twice, &e), 0);
    assert_true(once.warmup == 0 && once.min_ratio == 0 && once.clip == 0 && once.patience == 0);
    assert_true(twice.warmup == 0 && twice.min_ratio == 0 && twice.clip == 0);
    assert_int_equal(twice.patience, 0);
    assert_true(twice.epochs == 3 && twice.lora.rank == 16);
}

/* ---- an adapter to go on from ---- */

/* The trainer's adapter, as a file. */
static void write_adapter(struct run *run, const char *path, float add) {
    struct params *p = grad_params(trainer_grad(run->r));
    const struct adapter_notes notes = {.base = run->file};
    struct err e = {0};
    for (int i = 0; i < p->n_param; i++)
        for (size_t k = 0; k < p->p[i].n; k++)
            p->w[p->p[i].at + k] += add;
    struct lora_opts o = run->r->o.lora;
    if (adapter_file_write(path, p, &o, &notes, &e) != 0) fail_msg("%s", e.msg);
}

static void from_is_of_lora_only(void **state) {
    (void)state;
    static const enum train_method method[] = {TRAIN_FULL, TRAIN_DPO, TRAIN_QAT};
    struct lora_set from = {0};
    for (int i = 0; i < 3; i++) {
        const struct train_opts in = {.method = method[i], .from = &from};
        struct train_opts out;
        struct err e = {0};
        assert_int_equal(train_resolve(&in, &out, &e), -1);
        assert_int_equal(e.code, ERR_USAGE);
        assert_non_null(strstr(e.msg, train_method_name(method[i])));
    }
}

/* Runs that begin with other pairs are other runs. */
static void from_is_part_of_the_run(void **state) {
    (void)state;
    struct run run;
    struct err e = {0};
    char path[2][512], ckpt[512];
    struct lora_set from[2] = {0};
    struct train_result result;
    bool found;
    open_run(&run);
    run.o.max_steps = 2;
    plan(&run);
    begin(&run);
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%d.gguf", run.dir, i);
        write_adapter(&run, path[i], 0.01f);
        if (lora_set_open(&from[i], path[i], NULL, &e) != 0) fail_msg("%s", e.msg);
    }
    trainer_free(run.r);

    run.o.dir = run.dir;
    run.o.from = &from[0];
    begin(&run);
    if (trainer_run(run.r, NULL, NULL, &result, &e) != 0) fail_msg("%s", e.msg);
    trainer_free(run.r);
    begin(&run);
    assert_int_equal(trainer_resume(run.r, &found, &e), 0);
    assert_true(found);
    trainer_free(run.r);
    run.o.from = &from[1];
    begin(&run);
    assert_int_equal(trainer_resume(run.r, &found, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.msg, "it was made with from = ")) fail_msg("%s", e.msg);
    snprintf(ckpt, sizeof ckpt, "%s/step-000002.ckpt", run.dir);
    assert_non_null(strstr(e.msg, ckpt));
    for (int i = 0; i < 2; i++)
        lora_set_close(&from[i]);
    close_run(&run);
}

/* ---- checkpoints ---- */

/* A type for each tensor: of a model of thousands, more than a checkpoint takes. */
static enum qtype q8(void *ctx, const char *tensor) {
    (void)ctx, (void)tensor;
    return QT_Q8_0;
}

static void too_long_settings_are_refused(void **state) {
    (void)state;
    enum { N = 6000 };
    static const uint8_t digest[SHA256_BYTES];
    char *dir = temp_folder();
    struct param *param = calloc(N, sizeof *param);
    struct params p = {.p = param, .n_param = N};
    struct trainer r = {.o = {.method = TRAIN_QAT, .fake = q8, .dir = dir, .base_digest = digest},
                        .p = &p,
                        .lock_fd = -1};
    struct err e = {0};
    for (int i = 0; i < N; i++)
        param[i].name = (char *)(uintptr_t) "w";
    assert_int_equal(train_save_init(&r, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    if (!strstr(e.msg, "types of 6000 tensors take")) fail_msg("%s", e.msg);
    train_save_fini(&r);
    buf_fini(&r.config);
    p.n_param = 1000;
    r.config = (struct buf){0};
    r.lock_fd = -1;
    assert_int_equal(train_save_init(&r, &e), 0);
    train_save_fini(&r);
    free(param);
    temp_remove(dir);
}

/* The file with own[i] = v, signed. */
static void put_figure(const char *path, const struct run *run, int i, double v) {
    size_t n;
    uint8_t *p = slurp(path, &n);
    struct sha256 s;
    const size_t at = 80 + 64 + run->r->config.n + 48 + 8 * (size_t)i;
    memcpy(p + at, &v, sizeof v);
    sha256_init(&s);
    sha256_add(&s, p, n - SHA256_BYTES);
    assert_int_equal(sha256_final(&s, p + n - SHA256_BYTES), 0);
    assert_int_equal(os_write_file(path, p, n, NULL), 0);
    free(p);
}

/* Whole and signed, of this run, but of figures that it would stumble over. */
static void made_up_figures_are_refused(void **state) {
    (void)state;
    static const struct {
        int at;
        double v;
    } bad[] = {{OWN_N_SKIPPED, -1},         {OWN_N_SKIPPED, 5},      {OWN_N_SKIPPED, 0.5},
               {OWN_N_SKIPPED, NAN},        {OWN_N_SKIPPED, 1e300},  {OWN_VALID_AT, 5},
               {OWN_VALID_AT, INFINITY},    {OWN_STOPPED, 2},        {OWN_N_RECENT, 1e9},
               {OWN_N_RECENT, NAN},         {OWN_RECENT_LOSS, NAN},  {OWN_RECENT_LOSS, INFINITY},
               {OWN_FIRST_LOSS, -INFINITY}, {OWN_SECONDS, INFINITY}, {OWN_SECONDS, -1}};
    struct run run;
    struct err e = {0};
    struct train_result result;
    char path[512];
    size_t n;
    bool found;
    open_run(&run);
    run.o.max_steps = 4;
    run.o.dir = run.dir;
    plan(&run);
    begin(&run);
    if (trainer_run(run.r, NULL, NULL, &result, &e) != 0) fail_msg("%s", e.msg);
    trainer_free(run.r);
    snprintf(path, sizeof path, "%s/step-000004.ckpt", run.dir);
    uint8_t *whole = slurp(path, &n);
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        begin(&run);
        assert_int_equal(os_write_file(path, whole, n, NULL), 0);
        if (i == 0) put_figure(path, &run, OWN_N_SKIPPED, 4); /* as many as there were: fine */
        if (i > 0) put_figure(path, &run, bad[i - 1].at, bad[i - 1].v);
        const int rc = trainer_resume(run.r, &found, &e);
        if (rc != (i ? -1 : 0)) fail_msg("figure %d, %g", bad[i - 1].at, bad[i - 1].v);
        if (i > 0) assert_int_equal(e.code, ERR_FORMAT);
        trainer_free(run.r);
    }
    free(whole);
    run.r = NULL;
    close_run(&run);
}

/* More steps than the run has.  Its plan is part of what it is, so only a forger has that. */
static void steps_beyond_the_end_are_refused(void **state) {
    (void)state;
    struct run run;
    struct err e = {0};
    bool found;
    open_run(&run);
    run.o.dir = run.dir;
    plan(&run);
    begin(&run);
    run.r->s.step = 11;
    assert_int_equal(train_save(run.r, &e), 0);
    trainer_free(run.r);
    begin(&run);
    assert_int_equal(trainer_resume(run.r, &found, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    assert_false(found);
    close_run(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diverged_is_no_success),
        cmocka_unit_test(endless_gradients_are_skipped),
        cmocka_unit_test(plans_of_others_are_refused),
        cmocka_unit_test(options_are_resolved_once),
        cmocka_unit_test(from_is_of_lora_only),
        cmocka_unit_test(from_is_part_of_the_run),
        cmocka_unit_test(too_long_settings_are_refused),
        cmocka_unit_test(made_up_figures_are_refused),
        cmocka_unit_test(steps_beyond_the_end_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
