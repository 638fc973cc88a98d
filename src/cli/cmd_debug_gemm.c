/* `cria debug gemm`: how fast training's products are on this machine, beside what its multipliers
 * can do at most, measured in the same run.  By the threads' own processor time, so that the shares
 * are right on a machine with others on it (but for what those evict from its caches). */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cores.h"
#include "cpu/probe.h"
#include "quant/quant.h"
#include "train/gemm.h"

enum { MAX_DIM = 1 << 17, MAX_ROWS = 1 << 16, MAX_THREADS = 512, RUNS = 5, PEAK_ROUNDS = 1000000 };
#define RUN_S 0.03

static int n_thread, n_tok, n_out, n_in;
static const char *type_name;

const struct opt *debug_gemm_options(void) {
    static const struct opt table[] = {
        {"threads", 't', OPT_INT, &n_thread, 1, MAX_THREADS, "N",
         "threads; default: as doctor says"},
        {"rows", 0, OPT_INT, &n_tok, 1, MAX_ROWS, "N", "rows of activations; default 1024"},
        {"type", 0, OPT_STR, &type_name, 0, 0, "TYPE", "of the matrix; default Q4_K and F32"},
        {"out", 0, OPT_INT, &n_out, 1, MAX_DIM, "N", "its rows, with --in; default: several"},
        {"in", 0, OPT_INT, &n_in, 1, MAX_DIM, "N", "its columns"},
        {0},
    };
    return table;
}

enum product { FORWARD, BACKWARD, WEIGHT, N_PRODUCT };

/* One product and its operands. */
struct bench {
    struct team *team;
    enum product product;
    struct mat w;
    float *x, *y, *g; /* [n][n_col], [n][n_row], [n_row][n_col]; owned */
    uint8_t *data;    /* of w; owned */
    enum gemm_prec prec;
    int n_call;                  /* of a run */
    double seconds[MAX_THREADS]; /* of the run's workers */
    double ops;                  /* of a worker's probe */
    double peak[2];              /* by prec, all workers together */
};

static double thread_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void call(struct worker *w, const struct bench *b) {
    const int n_row = b->w.n_row, n_col = b->w.n_col;
    const bool to_y = b->product == FORWARD;
    const struct gemm_job j = {.x = to_y ? b->x : b->y,
                               .ldx = to_y ? n_col : n_row,
                               .w = &b->w,
                               .y = to_y ? b->y : b->x,
                               .ldy = to_y ? n_row : n_col,
                               .n = n_tok,
                               .scale = 1.0f / (float)(n_row + n_col), /* repeated: must not grow */
                               .prec = b->prec};
    if (b->product == WEIGHT)
        gemm_weight(w, &(struct gemm_weight_job){.dy = b->y,
                                                 .lddy = n_row,
                                                 .x = b->x,
                                                 .ldx = n_col,
                                                 .n = n_tok,
                                                 .n_row = n_row,
                                                 .n_col = n_col,
                                                 .g = b->g,
                                                 .scale = 1e-6f,
                                                 .prec = b->prec});
    else if (to_y)
        gemm_forward(w, &j);
    else
        gemm_backward(w, &j);
}

static void run_calls(struct worker *w, void *arg) {
    struct bench *b = arg;
    const double t0 = thread_seconds();
    for (int i = 0; i < b->n_call; i++)
        call(w, b);
    b->seconds[w->id] = thread_seconds() - t0;
}

static void run_probe(struct worker *w, void *arg) {
    struct bench *b = arg;
    const struct probe p = cpu_probe();
    volatile double sink = 0;
    const double t0 = thread_seconds();
    const double ops = (b->prec == GEMM_BF16 ? p.bf16 : p.f32)(PEAK_ROUNDS, &sink);
    b->seconds[w->id] = thread_seconds() - t0;
    if (w->id == 0) b->ops = ops;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Run fn on the team; the time of its slowest worker. */
static double slowest(struct bench *b, team_fn *fn) {
    double s = 0;
    team_run(b->team, fn, b);
    for (int i = 0; i < team_size(b->team); i++)
        if (b->seconds[i] > s) s = b->seconds[i];
    return s;
}

/* The median of RUNS runs, each of as many calls as take RUN_S. */
static double seconds_a_call(struct bench *b) {
    double s[RUNS];
    for (b->n_call = 1; slowest(b, run_calls) < RUN_S;)
        b->n_call *= 2;
    for (int i = 0; i < RUNS; i++)
        s[i] = slowest(b, run_calls) / b->n_call;
    qsort(s, RUNS, sizeof *s, by_value);
    return s[RUNS / 2];
}

/* The best of RUNS: a ceiling is what was reached when nobody was in the way. */
static double peak_rate(struct bench *b, enum gemm_prec prec) {
    double best = 0;
    b->prec = prec;
    for (int i = 0; i < RUNS; i++) {
        const double s = slowest(b, run_probe), rate = b->ops * team_size(b->team) / s;
        if (rate > best) best = rate;
    }
    return best;
}

static void show(struct bench *b) {
    static const char *const name[N_PRODUCT] = {"forward", "backward", "weight"};
    const double ops = 2.0 * n_tok * b->w.n_row * b->w.n_col;
    printf("%-9s %-6s %6d x [%d][%d]%*s", name[b->product],
           b->product == WEIGHT ? "F32" : qtype_name(b->w.type), n_tok, b->w.n_row, b->w.n_col,
           14 - snprintf(NULL, 0, "%d%d", b->w.n_row, b->w.n_col), "");
    for (int prec = GEMM_F32; prec <= GEMM_BF16; prec++) {
        if (prec == GEMM_BF16 && !gemm_has_bf16()) break;
        b->prec = (enum gemm_prec)prec;
        const double rate = ops / seconds_a_call(b);
        printf("  %7.1f %4.1f %%", rate * 1e-9, 100 * rate / b->peak[prec]);
    }
    printf("\n");
    fflush(stdout);
}

/* Every row is the same one: encoders are slow, and the values do not matter. */
static int make_matrix(struct bench *b, enum qtype t, int n_row, int n_col, struct err *e) {
    b->w = (struct mat){
        .type = t, .n_row = n_row, .n_col = n_col, .row_bytes = qtype_row_bytes(t, n_col)};
    b->w.data = b->data = malloc(b->w.row_bytes * (size_t)n_row);
    b->x = calloc((size_t)n_tok * (size_t)n_col, sizeof *b->x);
    b->y = calloc((size_t)n_tok * (size_t)n_row, sizeof *b->y);
    b->g = calloc((size_t)n_row * (size_t)n_col, sizeof *b->g);
    if (!b->data || !b->x || !b->y || !b->g) return err_nomem(e, "debug gemm");
    for (size_t i = 0; i < (size_t)n_tok * (size_t)n_col; i++)
        b->x[i] = (float)(i % 17) - 8;
    quant_type(t)->encode(b->x, b->data, (size_t)n_col, NULL);
    for (int r = 1; r < n_row; r++)
        memcpy(b->data + (size_t)r * b->w.row_bytes, b->data, b->w.row_bytes);
    return 0;
}

static int bench_matrix(struct bench *b, enum qtype t, int n_row, int n_col, bool weight,
                        struct err *e) {
    int rc = make_matrix(b, t, n_row, n_col, e);
    for (int p = FORWARD; rc == 0 && p < (weight ? N_PRODUCT : WEIGHT); p++) {
        b->product = (enum product)p;
        show(b);
    }
    free(b->data);
    free(b->x);
    free(b->y);
    free(b->g);
    return rc;
}

/* A layer of a 1B model, whose adapters have rank 16, and a model of 5M that is trained whole. */
static int bench_usual(struct bench *b, struct err *e) {
    static const int frozen[][2] = {{2048, 2048}, {8192, 2048}, {2048, 8192}};
    static const int trained[][2] = {{16, 2048}, {2048, 16}, {256, 256}, {768, 256}, {256, 768}};
    for (size_t i = 0; i < sizeof frozen / sizeof *frozen; i++)
        if (bench_matrix(b, QT_Q4_K, frozen[i][0], frozen[i][1], false, e) != 0 ||
            bench_matrix(b, QT_F32, frozen[i][0], frozen[i][1], false, e) != 0)
            return -1;
    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++)
        if (bench_matrix(b, QT_F32, trained[i][0], trained[i][1], true, e) != 0) return -1;
    return 0;
}

static void show_peaks(struct bench *b) {
    b->peak[GEMM_F32] = peak_rate(b, GEMM_F32);
    printf("GFLOPS and share of the peak, %d threads: float32 %.1f", team_size(b->team),
           b->peak[GEMM_F32] * 1e-9);
    if (gemm_has_bf16()) {
        b->peak[GEMM_BF16] = peak_rate(b, GEMM_BF16);
        printf(", bfloat16 %.1f", b->peak[GEMM_BF16] * 1e-9);
    }
    printf("\n");
}

/* What was asked for, as far as it can be; *t: the type. */
static int check_options(enum qtype *t, struct err *e) {
    const int id = type_name ? qtype_by_name(type_name) : QT_F32;
    if (id < 0 || !quant_type((enum qtype)id)->encode)
        return err_set(e, ERR_USAGE, "debug gemm: type \"%s\"; the types of weights are accepted",
                       type_name);
    if (!n_out != !n_in || (type_name && !n_out))
        return err_set(e, ERR_USAGE, "debug gemm: --out and --in go together, and with --type");
    const int block = qtype_geom((uint32_t)id)->block;
    if (n_in % block)
        return err_set(e, ERR_USAGE, "debug gemm: --in %d; %s takes multiples of %d", n_in,
                       qtype_name((enum qtype)id), block);
    *t = (enum qtype)id;
    return 0;
}

static int bench_all(struct bench *b, enum qtype t, struct err *e) {
    if (team_reserve(b->team, gemm_scratch_bytes(), 0, e) != 0) return -1;
    show_peaks(b);
    return n_out ? bench_matrix(b, t, n_out, n_in, t == QT_F32, e) : bench_usual(b, e);
}

int debug_gemm(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, debug_gemm_options(), args, &n_args, e) != 0) return -1;
    if (n_args)
        return err_set(e, ERR_USAGE, "debug gemm: found \"%s\"; it takes no argument", args[0]);
    if (!n_tok) n_tok = 1024;
    enum qtype t = QT_F32;
    if (check_options(&t, e) != 0) return -1;
    const int n = n_thread ? n_thread : cores_default_threads(e);
    if (n < 1) return -1;
    struct bench b = {.team = team_new(n, e)};
    if (!b.team) return -1;
    const int rc = bench_all(&b, t, e);
    team_free(b.team);
    return rc;
}
