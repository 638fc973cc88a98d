/* `cria debug tensor FILE NAME`: shape, type, statistics and first values of a tensor. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/text.h"
#include "gguf/read.h"
#include "quant/quant.h"

static bool want_stats;
static int n_first = 8;

const struct opt *debug_tensor_options(void) {
    static const struct opt table[] = {
        {"stats", 0, OPT_FLAG, &want_stats, 0, 0, NULL, "minimum, maximum, mean, deviation of all"},
        {"count", 'n', OPT_INT, &n_first, 0, 1 << 20, "N", "values to print (8)"},
        {0},
    };
    return table;
}

/* Row r as floats; integers as they are. */
static void decode_row(const struct gguf_tensor *t, int64_t r, float *out) {
    const size_t row_bytes = qtype_row_bytes(t->type, (int)t->ne[0]);
    const uint8_t *p = t->data + (size_t)r * row_bytes;
    const struct quant_type *q = quant_type(t->type);
    if (q->decode) {
        q->decode(p, out, (size_t)t->ne[0]);
        return;
    }
    const size_t size = (size_t)qtype_geom(t->type)->block_bytes;
    for (int64_t i = 0; i < t->ne[0]; i++, p += size) {
        uint64_t bits = 0;
        double d;
        memcpy(&bits, p, size);
        memcpy(&d, &bits, sizeof d);
        const int unused = 64 - 8 * (int)size; /* sign extension */
        out[i] = t->type == QT_F64 ? (float)d : (float)((int64_t)(bits << unused) >> unused);
    }
}

static void print_values(const struct gguf_tensor *t, float *row) {
    const int64_t n_row = t->ne[1] * t->ne[2] * t->ne[3];
    int left = n_first;
    for (int64_t r = 0; r < n_row && left > 0; r++) {
        decode_row(t, r, row);
        for (int64_t i = 0; i < t->ne[0] && left > 0; i++, left--)
            printf("%.9g%c", (double)row[i], left == 1 || (i + 1 == t->ne[0]) ? '\n' : ' ');
    }
}

static void print_stats(const struct gguf_tensor *t, float *row) {
    const int64_t n_row = t->ne[1] * t->ne[2] * t->ne[3];
    double lo = INFINITY, hi = -INFINITY, sum = 0, squares = 0;
    int64_t n_odd = 0, n = 0; /* not finite; finite */
    for (int64_t r = 0; r < n_row && !cli_interrupted; r++) {
        decode_row(t, r, row);
        for (int64_t i = 0; i < t->ne[0]; i++) {
            const double v = (double)row[i];
            if (!isfinite(v)) {
                n_odd++;
                continue;
            }
            lo = v < lo ? v : lo;
            hi = v > hi ? v : hi;
            sum += v;
            squares += v * v;
            n++;
        }
    }
    const double mean = n ? sum / (double)n : 0, power = n ? squares / (double)n : 0;
    printf("min %.9g  max %.9g  mean %.9g  rms %.9g  deviation %.9g  not finite %lld\n", lo, hi,
           mean, sqrt(power), sqrt(fmax(0, power - mean * mean)), (long long)n_odd);
}

static int print_tensor(const struct gguf *g, const char *name, struct err *e) {
    const struct gguf_tensor *t = gguf_tensor(g, name);
    struct buf b = {0};
    if (!t) return err_set(e, ERR_NOT_FOUND, "%s: no tensor '%s'", gguf_path(g), name);
    float *row = malloc((size_t)t->ne[0] * sizeof *row);
    if (!row) return err_nomem(e, gguf_path(g));
    text_escape(&b, str_of(t->name), false);
    printf("%s  %s  [%lld", b.p, qtype_name(t->type), (long long)t->ne[0]);
    for (int i = 1; i < t->n_dim; i++)
        printf(", %lld", (long long)t->ne[i]);
    printf("]  %zu bytes\n", t->n_bytes);
    if (want_stats) print_stats(t, row);
    print_values(t, row);
    buf_fini(&b);
    free(row);
    return 0;
}

int debug_tensor(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, debug_tensor_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("debug tensor", n_args, 2, 2, "FILE NAME", e) != 0) return -1;
    struct gguf *g = gguf_open(args[0], e);
    if (!g) return -1;
    const int rc = print_tensor(g, args[1], e);
    gguf_close(g);
    return rc;
}
