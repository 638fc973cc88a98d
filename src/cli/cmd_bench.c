/* `cria bench MODEL`: how fast a model runs here, and how near to the machine's limits that is. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/bench_train.h"
#include "cli/model.h"
#include "cpu/cpu.h"
#include "engine/bench.h"
#include "engine/bench_clients.h"

static struct bench_opts opts = {.n_prefill = 512, .n_decode = -1, .n_parallel = 1, .n_reps = 5};
static const char *kv_name; /* NULL: what a user gets */
static bool as_json;
static const char *clients; /* "1,4,8", or NULL */
static int n_late;
static struct bench_train_opts train = {.kept = -1};
static int full, f32;

const struct opt *cmd_bench_options(void) {
    static const struct opt table[] = {
        {"pp", 'p', OPT_INT, &opts.n_prefill, 0, 1 << 20, "N",
         "tokens of the prompt; default 512, 0: leave out"},
        {"tg", 'n', OPT_INT, &opts.n_decode, 0, 1 << 20, "N",
         "tokens decoded; default 128, 0: leave out"},
        {"threads", 't', OPT_INT, &opts.n_threads, 1, 512, "N", "threads; default: as doctor says"},
        {"depth", 'd', OPT_INT, &opts.depth, 0, 1 << 20, "N",
         "tokens in the context before measuring starts; default 0"},
        {"parallel", 0, OPT_INT, &opts.n_parallel, 1, 256, "N",
         "sequences that decode together; default 1"},
        {"batch", 'b', OPT_INT, &opts.n_batch, 1, 1 << 16, "N",
         "tokens of one prefill chunk; default 512"},
        {"kv", 0, OPT_STR, &kv_name, 0, 0, "TYPE",
         "type of the KV cache: f32 f16 bf16 q8_0 q4_0; default f16, or CRIA_KV_CACHE_TYPE"},
        {"reps", 'r', OPT_INT, &opts.n_reps, 1, BENCH_MAX_REPS, "N",
         "repetitions, of which the median counts; default 5"},
        {"clients", 0, OPT_STR, &clients, 0, 0, "N,N...",
         "instead: as many clients that ask at once, --pp tokens (128) for --tg (64)"},
        {"late", 0, OPT_INT, &n_late, 0, 1 << 20, "N",
         "with --clients: a prompt of N tokens arrives while they are answered"},
        {"train", 0, OPT_INT, &train.n_tok, 2, 1 << 20, "N",
         "instead: training steps of one sequence of N tokens, adapters on all linears"},
        {"rank", 0, OPT_INT, &train.rank, 1, 512, "N", "with --train: of the adapters; default 16"},
        {"kept", 0, OPT_INT, &train.kept, 0, 1 << 10, "N",
         "with --train: layers whose activations are kept, the others recompute; default all"},
        {"full", 0, OPT_FLAG, &full, 0, 0, NULL, "with --train: all weights (F32 models)"},
        {"f32", 0, OPT_FLAG, &f32, 0, 0, NULL, "with --train: no bfloat16 products"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static json_t *numbers(const double *v, int n) {
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(a, json_real(v[i]));
    return a;
}

static void print_json(const char *path, const struct bench_result *r) {
    json_t *j =
        json_pack("{s:s, s:s, s:I, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "model", path, "arch",
                  r->arch, "file_bytes", (json_int_t)r->file_bytes, "kernels", cpu_isa(), "threads",
                  r->n_threads, "pp", opts.n_prefill, "tg", r->n_decode, "depth", opts.depth,
                  "parallel", opts.n_parallel, "reps", r->n_reps, "kv", qtype_name(opts.kv_type));
    json_t *k = json_pack(
        "{s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f}",
        "prefill_tps", r->prefill_median_tps, "decode_tps", r->decode_median_tps, "load_s",
        r->load_s, "first_token_s", r->first_token_s, "peak_rss_bytes",
        (json_int_t)r->peak_rss_bytes, "bandwidth_gbs", r->limits.read_bps * 1e-9, "int8_gops",
        r->limits.int8_opps * 1e-9, "int16_gops", r->limits.int16_opps * 1e-9, "f32_gflops",
        r->limits.f32_flopps * 1e-9, "prefill_limit_tps", r->prefill_limit_tps, "decode_limit_tps",
        r->decode_limit_tps, "prefill_ratio", r->prefill_ratio, "decode_ratio", r->decode_ratio,
        "weight_bytes", (json_int_t)r->weight_bytes, "kv_bytes_per_token",
        (json_int_t)r->kv_token_bytes, "flops_per_token", r->flops_per_token);
    json_object_update_missing(j, k);
    json_object_set_new(j, "prefill_flops", json_real(r->prefill_flops));
    json_decref(k);
    json_object_set_new(j, "prefill_tps_all",
                        numbers(r->prefill_tps, opts.n_prefill ? r->n_reps : 0));
    json_object_set_new(j, "decode_tps_all", numbers(r->decode_tps, r->n_decode ? r->n_reps : 0));
    cli_print_json(j);
}

static void print_rate(const char *what, int n, double tps, double ratio, double limit,
                       const char *of) {
    if (n == 0) return;
    char name[48];
    snprintf(name, sizeof name, "%s %d", what, n);
    printf("%-14s %9.2f tokens/s   %5.1f %% of %.1f tokens/s (%s)\n", name, tps, ratio * 100, limit,
           of);
}

/* "int8 peak 2100 G/s": what bounds prefill. */
static void name_bound(const struct bench_result *r, char *out, size_t n) {
    const struct limits *l = &r->limits;
    switch (r->prefill_bound) {
    case BENCH_INT8: snprintf(out, n, "int8 peak %.0f G/s", l->int8_opps * 1e-9); break;
    case BENCH_INT16: snprintf(out, n, "int16 peak %.0f G/s", l->int16_opps * 1e-9); break;
    case BENCH_F32: snprintf(out, n, "float32 peak %.0f G/s", l->f32_flopps * 1e-9); break;
    case BENCH_READ: snprintf(out, n, "reading %.1f GB/s", l->read_bps * 1e-9); break;
    }
}

static void print_text(const char *path, const struct bench_result *r) {
    char of[64];
    printf("%s: %s, %.1f MB; %d threads, %s, KV %s, median of %d\n", path, r->arch,
           (double)r->file_bytes * 1e-6, r->n_threads, cpu_isa(), qtype_name(opts.kv_type),
           r->n_reps);
    name_bound(r, of, sizeof of);
    print_rate("prefill", opts.n_prefill, r->prefill_median_tps, r->prefill_ratio,
               r->prefill_limit_tps, of);
    snprintf(of, sizeof of, "reading %.1f GB/s", r->limits.read_bps * 1e-9);
    print_rate("decode", r->n_decode, r->decode_median_tps, r->decode_ratio, r->decode_limit_tps,
               of);
    printf("%-14s %9.3f s\n%-14s %9.3f s\n%-14s %9.1f MB\n", "load", r->load_s, "first token",
           r->first_token_s, "peak memory", (double)r->peak_rss_bytes * 1e-6);
}

static int choose_kv(struct err *e) {
    struct engine_opts user = {0};
    if (engine_user_opts(&user, e) != 0) return -1;
    const int kv = kv_name ? kv_type_by_name(kv_name) : (int)user.k_type;
    if (kv < 0)
        return err_set(e, ERR_USAGE, "--kv: found \"%s\"; one of " KV_TYPE_NAMES " is accepted",
                       kv_name);
    opts.kv_type = (enum qtype)kv;
    return 0;
}

static void show_progress(void *ctx, double share) {
    progress_update(ctx, share * opts.n_reps);
}

/* ---- under load ---- */

static json_t *clients_json(int n, const struct bench_clients *r) {
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "clients", n, "tps", r->tps,
                     "first_median_s", r->first_median_s, "first_worst_s", r->first_worst_s,
                     "interval_median_s", r->interval_median_s, "interval_p95_s", r->interval_p95_s,
                     "late_median_s", r->late_median_s, "late_p95_s", r->late_p95_s, "late_first_s",
                     r->late_first_s);
}

static void print_clients(int n, const struct bench_clients *r) {
    printf("%2d clients %8.1f tokens/s   first token %6.0f ms, worst %6.0f ms   between tokens "
           "%5.1f ms, p95 %5.1f ms\n",
           n, r->tps, r->first_median_s * 1e3, r->first_worst_s * 1e3, r->interval_median_s * 1e3,
           r->interval_p95_s * 1e3);
    if (n_late)
        printf("   while %d tokens are read: between tokens %5.1f ms, p95 %5.1f ms; its first "
               "token %6.0f ms\n",
               n_late, r->late_median_s * 1e3, r->late_p95_s * 1e3, r->late_first_s * 1e3);
}

static int bench_load(const char *path, struct err *e) {
    json_t *all = as_json ? json_array() : NULL;
    const char *at = clients;
    int rc = 0;
    while (rc == 0 && *at) {
        char *end;
        const long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > BENCH_MAX_CLIENTS || (*end && *end != ',')) {
            rc = err_set(e, ERR_USAGE, "--clients: found \"%s\"; numbers from 1 to %d are accepted",
                         clients, BENCH_MAX_CLIENTS);
            break;
        }
        at = *end ? end + 1 : end;
        struct bench_clients r;
        const struct bench_clients_opts o = {.n_clients = (int)n,
                                             .n_prompt = opts.n_prefill == 512 ? 128
                                                         : opts.n_prefill > 0  ? opts.n_prefill
                                                                               : 1,
                                             .n_predict = opts.n_decode > 0 ? opts.n_decode : 64,
                                             .n_late = n_late,
                                             .n_threads = opts.n_threads,
                                             .n_batch = opts.n_batch,
                                             .kv_type = opts.kv_type,
                                             .stop = &cli_interrupted};
        rc = bench_clients_run(path, &o, &r, e);
        if (rc == 0 && all) json_array_append_new(all, clients_json((int)n, &r));
        if (rc == 0 && !all) print_clients((int)n, &r);
    }
    if (rc == 0 && all)
        cli_print_json(all);
    else
        json_decref(all);
    return rc;
}

static int bench_load_of(const char *name, struct err *e) {
    struct cli_model m;
    int rc = cli_model_open(&m, name, e);
    if (rc == 0) rc = bench_load(m.r.path, e);
    cli_model_close(&m);
    return rc;
}

static int bench_train_of(const char *name, struct err *e) {
    struct cli_model m;
    train.n_thread = opts.n_threads, train.n_reps = opts.n_reps;
    train.full = full != 0, train.f32 = f32 != 0, train.json = as_json;
    int rc = cli_model_open(&m, name, e);
    if (rc == 0) rc = bench_train(name, m.r.path, &train, e);
    cli_model_close(&m);
    return rc;
}

int cmd_bench(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_bench_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("bench", n_args, 1, 1, "MODEL", e) != 0) return -1;
    if (opts.n_prefill == 0 && opts.n_decode == 0)
        return err_set(e, ERR_USAGE, "bench: --pp 0 and --tg 0 leave nothing to measure");
    if (choose_kv(e) != 0) return -1;
    if (clients) return bench_load_of(args[0], e);
    if (train.n_tok) return bench_train_of(args[0], e);
    struct progress p;
    struct bench_result r;
    struct cli_model m;
    opts.stop = &cli_interrupted;
    opts.progress = show_progress;
    opts.ctx = &p;
    progress_start(&p, "bench", opts.n_reps, "reps");
    int rc = cli_model_open(&m, args[0], e);
    if (rc == 0) rc = bench_run(m.r.path, &opts, &r, e);
    progress_end(&p);
    cli_model_close(&m);
    if (rc != 0) return -1;
    if (as_json)
        print_json(args[0], &r);
    else
        print_text(args[0], &r);
    return 0;
}
