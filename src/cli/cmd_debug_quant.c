/* `cria debug quant` and `cria debug dequant`: raw rows of floats to blocks and back, standard
 * input to standard output. */
#include "cli/commands.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "quant/quant.h"

enum { MAX_ROW = 1 << 24, CHUNK_VALUES = 1 << 16 };

static int row_length;
static const char *imatrix_path;

const struct opt *debug_quant_options(void) {
    static const struct opt table[] = {
        {"row", 0, OPT_INT, &row_length, 1, MAX_ROW, "N", "values in a row"},
        {"imatrix", 0, OPT_STR, &imatrix_path, 0, 0, "FILE", "N raw floats: importance by column"},
        {0},
    };
    return table;
}

const struct opt *debug_dequant_options(void) {
    static const struct opt table[] = {{0}};
    return table;
}

/* The one argument, a type that `encode` (or else decode) works for. */
static int parse_type(const char *door, const char *const *args, int n_args, bool encode,
                      enum qtype *out, struct err *e) {
    char known[400] = "";
    size_t at = 0;
    const int t = n_args == 1 ? qtype_by_name(args[0]) : -1;
    if (t >= 0 && (encode ? quant_type((enum qtype)t)->encode != NULL
                          : quant_type((enum qtype)t)->decode != NULL)) {
        *out = (enum qtype)t;
        return 0;
    }
    for (uint32_t i = 0; i < QT_COUNT; i++) {
        if (!qtype_geom(i)) continue;
        const struct quant_type *q = quant_type((enum qtype)i);
        if (encode ? q->encode == NULL : q->decode == NULL) continue;
        at += (size_t)snprintf(known + at, sizeof known - at, " %s", qtype_name(i));
    }
    if (n_args != 1)
        return err_set(e, ERR_USAGE, "debug %s: found %d arguments; one of%s is accepted", door,
                       n_args, known);
    return err_set(e, ERR_USAGE, "debug %s: type \"%s\"; one of%s is accepted", door, args[0],
                   known);
}

/* Up to n units of `size` bytes from standard input; less only at its end, where half a unit is an
 * error. */
static int read_units(void *to, size_t size, size_t n, const char *unit, size_t *got,
                      struct err *e) {
    const size_t n_bytes = fread(to, 1, size * n, stdin);
    if (ferror(stdin)) return err_errno(e, "standard input");
    if (n_bytes % size)
        return err_set(e, ERR_FORMAT,
                       "standard input: ends %zu bytes into a %s; %zu bytes make a %s",
                       n_bytes % size, unit, size, unit);
    *got = n_bytes / size;
    return 0;
}

static int write_bytes(const void *p, size_t n, struct err *e) {
    return fwrite(p, 1, n, stdout) == n ? 0 : err_errno(e, "standard output");
}

static int flush_output(struct err *e) {
    return fflush(stdout) == 0 ? 0 : err_errno(e, "standard output");
}

int debug_dequant(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, rc = -1;
    enum qtype t;
    if (cli_parse(argc, argv, debug_dequant_options(), args, &n_args, e) != 0) return -1;
    if (parse_type("dequant", args, n_args, false, &t, e) != 0) return -1;
    const struct qtype_geom *g = qtype_geom(t);
    const size_t n_chunk = CHUNK_VALUES / (size_t)g->block, bytes = (size_t)g->block_bytes;
    void *blocks = malloc(n_chunk * bytes);
    float *values = malloc(CHUNK_VALUES * sizeof *values);
    if (!blocks || !values) {
        err_nomem(e, "debug dequant");
        goto done;
    }
    for (size_t n = n_chunk; n == n_chunk;) {
        if (read_units(blocks, bytes, n_chunk, "block", &n, e) != 0) goto done;
        quant_type(t)->decode(blocks, values, n * (size_t)g->block);
        if (write_bytes(values, n * (size_t)g->block * sizeof *values, e) != 0) goto done;
    }
    rc = flush_output(e);
done:
    free(blocks), free(values);
    return rc;
}

/* The weights of --imatrix into *out (malloc), NULL without. */
static int read_weights(float **out, struct err *e) {
    const size_t want = (size_t)row_length * sizeof(float);
    struct buf b = {0};
    *out = NULL;
    if (!imatrix_path) return 0;
    if (os_read_file(imatrix_path, want + 1, &b, e) != 0 && e->code != ERR_LIMIT) return -1;
    if (b.n != want) {
        buf_fini(&b);
        return err_set(e, ERR_FORMAT, "%s: not %zu bytes; %d floats, one per column", imatrix_path,
                       want, row_length);
    }
    *out = (float *)(void *)b.p;
    for (int i = 0; i < row_length; i++)
        if (!(isfinite((*out)[i]) && (*out)[i] >= 0))
            return err_set(e, ERR_FORMAT, "%s: column %d is %g; numbers >= 0", imatrix_path, i,
                           (double)(*out)[i]);
    return 0;
}

static int check_row(const float *row, size_t at, struct err *e) {
    for (int i = 0; i < row_length; i++)
        if (!isfinite(row[i]))
            return err_set(e, ERR_FORMAT,
                           "standard input: row %zu, column %d is %g; finite numbers", at, i,
                           (double)row[i]);
    return 0;
}

static int encode_rows(enum qtype t, const float *weight, struct err *e) {
    const struct qtype_geom *g = qtype_geom(t);
    const size_t row_bytes = qtype_row_bytes(t, row_length);
    float *row = malloc((size_t)row_length * sizeof *row);
    void *blocks = malloc(row_bytes);
    int rc = row && blocks ? 0 : err_nomem(e, "debug quant");
    size_t n = 1;
    for (size_t r = 0; rc == 0 && n; r++) {
        rc = read_units(row, (size_t)row_length * sizeof *row, 1, "row", &n, e);
        if (rc != 0 || n == 0) break;
        if (g->block > 1) rc = check_row(row, r, e);
        if (rc != 0) break;
        quant_type(t)->encode(row, blocks, (size_t)row_length, weight);
        rc = write_bytes(blocks, row_bytes, e);
    }
    free(row), free(blocks);
    return rc == 0 ? flush_output(e) : rc;
}

int debug_quant(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    enum qtype t;
    if (cli_parse(argc, argv, debug_quant_options(), args, &n_args, e) != 0) return -1;
    if (parse_type("quant", args, n_args, true, &t, e) != 0) return -1;
    const int block = qtype_geom(t)->block;
    if (row_length <= 0 || row_length % block != 0)
        return err_set(e, ERR_USAGE, "--row: found %d; %s takes multiples of %d", row_length,
                       qtype_name(t), block);
    float *weight;
    int rc = read_weights(&weight, e);
    if (rc == 0) rc = encode_rows(t, weight, e);
    free(weight);
    return rc;
}
