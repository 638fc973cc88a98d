/* `cria quantize IN OUT TYPE`: a model file from another one, in fewer bits. */
#include <math.h>
#include <stdio.h>

#include "base/cores.h"
#include "base/os.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "engine/check.h"
#include "engine/quantize.h"
#include "quant/quant.h"

static const char *imatrix_path;
static int n_threads;
static bool pure, as_json, verbose, dry_run, list_types;

const struct opt *cmd_quantize_options(void) {
    static const struct opt table[] = {
        {"imatrix", 0, OPT_STR, &imatrix_path, 0, 0, "FILE", "importance values (.dat or .gguf)"},
        {"pure", 0, OPT_FLAG, &pure, 0, 0, NULL, "one type for all matrices, also the output"},
        {"threads", 't', OPT_INT, &n_threads, 1, 512, "N", "worker threads"},
        {"verbose", 'v', OPT_FLAG, &verbose, 0, 0, NULL, "every tensor: types, sizes, error"},
        {"dry-run", 0, OPT_FLAG, &dry_run, 0, 0, NULL, "only show what would be done"},
        {"types", 0, OPT_FLAG, &list_types, 0, 0, NULL, "list the file types and stop"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static int parse_mix(const char *name, int *mix, struct err *e) {
    char known[400];
    *mix = mix_by_name(name);
    if (*mix >= 0 && mix_base_type(*mix) >= 0) return 0;
    mix_list(known, sizeof known);
    return err_set(e, ERR_USAGE, "type \"%s\"; one of %s is accepted", name, known);
}

static void print_types(void) {
    printf("%-8s  %-8s  %s\n", "TYPE", "mostly", "bits per value of that");
    for (int id = 0; id <= MIX_Q2_0; id++) {
        const int base = mix_base_type(id);
        if (base >= 0)
            printf("%-8s  %-8s  %g\n", gguf_file_type_name((uint32_t)id),
                   qtype_name((uint32_t)base), quant_type((enum qtype)base)->bits);
    }
}

static void shape_text(const struct gguf_tensor *t, char out[64]) {
    int at = 0;
    for (int i = 0; i < t->n_dim; i++)
        at += snprintf(out + at, (size_t)(64 - at), "%s%lld", i ? "x" : "", (long long)t->ne[i]);
}

static double relative(const struct quantize_tensor *t) {
    return t->rms > 0 ? t->rmse / t->rms : 0;
}

static void print_table(const struct quantizer *q, const struct quantize_summary *s) {
    const struct quantize_tensor *t = quantize_tensors(q);
    struct buf name = {0};
    printf("%-40s %-18s %-8s %-8s %12s %10s %8s\n", "tensor", "shape", "from", "to", "bytes",
           "RMSE", "relative");
    for (int i = 0; i < s->n_tensor; i++, t++) {
        char shape[64];
        shape_text(t->src, shape);
        buf_reset(&name);
        text_escape(&name, str_of(t->src->name), false);
        printf("%-40s %-18s %-8s %-8s %12zu", name.p ? name.p : "", shape, qtype_name(t->src->type),
               qtype_name(t->type), t->n_bytes);
        if (t->type != t->src->type && !dry_run)
            printf(" %10.3g %7.2f%%", t->rmse, 100 * relative(t));
        putchar('\n');
    }
    buf_fini(&name);
}

static json_t *tensors_json(const struct quantizer *q, const struct quantize_summary *s) {
    const struct quantize_tensor *t = quantize_tensors(q);
    json_t *list = json_array();
    for (int i = 0; i < s->n_tensor; i++, t++) {
        json_t *o = json_pack("{s:s, s:s, s:s, s:I}", "name", t->src->name, "from",
                              qtype_name(t->src->type), "to", qtype_name(t->type), "bytes",
                              (json_int_t)t->n_bytes);
        if (t->type != t->src->type && !dry_run) {
            json_object_set_new(o, "rmse", json_real(t->rmse));
            json_object_set_new(o, "relative_rmse", json_real(relative(t)));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static void print_json(const struct quantizer *q, const struct quantize_summary *s,
                       const char *const *args, int mix, double seconds) {
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:b}", "in", args[0], "out", args[1],
                  "type", gguf_file_type_name((uint32_t)mix), "in_bytes", (json_int_t)s->in_bytes,
                  "out_bytes", (json_int_t)s->out_bytes, "fallbacks", s->n_fallback, "requantized",
                  s->n_requantize, "without_importance", s->n_unweighted, "dry_run", (int)dry_run);
    if (!o) return;
    if (!dry_run) {
        json_object_set_new(o, "rmse", json_real(s->rmse));
        json_object_set_new(o, "seconds", json_real(seconds));
    }
    json_object_set_new(o, "tensors", tensors_json(q, s));
    cli_print_json(o);
}

static void print_summary(const struct quantize_summary *s, const char *const *args, int mix,
                          double seconds) {
    struct buf b = {0};
    text_escape(&b, str_of(args[1]), false);
    printf("%s%s: %s, %.1f MB -> %.1f MB", b.p ? b.p : "", dry_run ? " (not written)" : "",
           gguf_file_type_name((uint32_t)mix), (double)s->in_bytes / 1e6,
           (double)s->out_bytes / 1e6);
    if (!dry_run) printf(", RMSE %.4g, %.1f s", s->rmse, seconds);
    putchar('\n');
    buf_fini(&b);
}

static void warn(const struct quantize_summary *s) {
    if (s->n_requantize)
        fprintf(stderr,
                "warning: %d tensors were quantized already; their errors add up, an F16 or "
                "BF16 file is a better source\n",
                s->n_requantize);
    if (s->n_fallback)
        fprintf(stderr,
                "warning: %d tensors have rows that fill no block of the type and get "
                "another one\n",
                s->n_fallback);
    if (s->n_blind)
        fprintf(stderr,
                "warning: %d tensors get fewer than 2.4 bits per value without importance "
                "values; use --imatrix\n",
                s->n_blind);
    if (s->n_unweighted)
        fprintf(stderr, "warning: the importance file has nothing on %d tensors\n",
                s->n_unweighted);
}

static int on_progress(void *ctx, double done_bytes) {
    progress_update(ctx, done_bytes);
    return cli_interrupted;
}

static int run(struct quantizer *q, const char *const *args, int mix, struct err *e) {
    struct quantize_summary s;
    struct progress bar;
    const int64_t t0 = os_now_ns();
    quantize_summarize(q, &s);
    warn(&s);
    if (!dry_run) {
        const int n = n_threads ? n_threads : cores_default_threads(e);
        if (n < 0) return -1;
        progress_start(&bar, "quantize", (double)s.in_bytes, "B");
        const int rc = quantize_run(q, args[1], n, on_progress, &bar, e);
        progress_end(&bar);
        if (rc != 0) return -1;
        quantize_summarize(q, &s);
    }
    const double seconds = (double)(os_now_ns() - t0) * 1e-9;
    if (as_json) {
        print_json(q, &s, args, mix, seconds);
        return 0;
    }
    if (verbose || dry_run) print_table(q, &s);
    print_summary(&s, args, mix, seconds);
    return 0;
}

int cmd_quantize(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, mix;
    if (cli_parse(argc, argv, cmd_quantize_options(), args, &n_args, e) != 0) return -1;
    if (list_types) {
        print_types();
        return 0;
    }
    if (cli_check_args("quantize", n_args, 3, 3, "IN OUT TYPE (--types lists the types)", e) != 0)
        return -1;
    if (parse_mix(args[2], &mix, e) != 0) return -1;
    const struct quantize_opts o = {.mix = mix, .pure = pure, .imatrix_path = imatrix_path};
    if (engine_check_file(args[0], e) != 0) return -1; /* no second file that does not run */
    struct quantizer *q = quantize_new(args[0], &o, e);
    if (!q) return -1;
    const int rc = run(q, args, mix, e);
    quantize_free(q);
    return rc;
}
