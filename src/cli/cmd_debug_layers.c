/* `cria debug layers`: what flows through a model, point by point.  The names are the same for
 * every architecture (model/forward.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/debug_model.h"

static const char *only_point;
static int only_layer = -1, n_value;

const struct opt *debug_layers_options(void) {
    static const struct opt table[] = {
        {"point", 0, OPT_STR, &only_point, 0, 0, "NAME", "this point only: attn_norm, q, l_out.."},
        {"layer", 0, OPT_INT, &only_layer, 0, 1 << 16, "N", "this layer only"},
        {"values", 0, OPT_INT, &n_value, 0, 1 << 20, "N", "show N values of the last row"},
        DEBUG_MODEL_OPTIONS,
        {0},
    };
    return table;
}

static void show_values(const float *x, int n) {
    for (int i = 0; i < n; i++)
        printf("%s%.9g", i % 8 ? " " : i ? "\n    " : "    ", (double)x[i]);
    printf("\n");
}

static void show_point(void *ctx, const char *name, int il, const float *x, int n, int n_col,
                       int ld) {
    (void)ctx;
    if (only_point && strcmp(only_point, name)) return;
    if (only_layer >= 0 && only_layer != il) return;
    double lo = INFINITY, hi = -INFINITY, squares = 0;
    for (int r = 0; r < n; r++)
        for (int i = 0; i < n_col; i++) {
            const double v = (double)x[(size_t)r * (size_t)ld + (size_t)i];
            lo = fmin(lo, v), hi = fmax(hi, v), squares += v * v;
        }
    char where[16] = "-";
    if (il >= 0) snprintf(where, sizeof where, "%d", il);
    printf("%3s  %-10s [%d][%d]  min %.6g  max %.6g  rms %.6g\n", where, name, n, n_col, lo, hi,
           sqrt(squares / ((double)n * n_col)));
    if (n_value) show_values(x + (size_t)(n - 1) * (size_t)ld, n_value < n_col ? n_value : n_col);
}

static void no_row(void *ctx, int i, const float *row, int n_col) {
    (void)ctx, (void)i, (void)row, (void)n_col;
}

int debug_layers(int argc, char **argv, struct err *e) {
    struct debug_model d;
    if (debug_model_open(&d, argc, argv, debug_layers_options(), e) != 0) return -1;
    forward_set_tap(engine_forward(d.engine), show_point, NULL);
    const int rc = session_feed_all(d.session, d.tok, d.n_tok, no_row, NULL, e);
    debug_model_close(&d);
    return rc;
}
