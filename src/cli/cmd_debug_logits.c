/* `cria debug logits` and `cria debug greedy`: what a model answers to token ids, raw. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/os.h"
#include "cli/commands.h"
#include "cli/debug_model.h"

static bool all_rows;
static const char *out_path;
static int n_predict = 32;

const struct opt *debug_logits_options(void) {
    static const struct opt table[] = {
        {"all", 0, OPT_FLAG, &all_rows, 0, 0, NULL, "the rows after every token"},
        {"out", 0, OPT_STR, &out_path, 0, 0, "FILE", "write there, not to standard output"},
        DEBUG_MODEL_OPTIONS,
        {0},
    };
    return table;
}

const struct opt *debug_greedy_options(void) {
    static const struct opt table[] = {
        {"predict", 'n', OPT_INT, &n_predict, 1, 1 << 20, "N", "tokens to choose (32)"},
        DEBUG_MODEL_OPTIONS,
        {0},
    };
    return table;
}

static void append_row(void *ctx, int i, const float *row, int n_col) {
    (void)i;
    buf_append(ctx, row, (size_t)n_col * sizeof *row);
}

/* The wanted rows into out.  Encoders look both ways: their rows come all together. */
static int collect(struct debug_model *d, struct buf *out, struct err *e) {
    const struct model *m = engine_model(d->engine);
    if (all_rows || model_is_embedding(m)) {
        if (session_feed_all(d->session, d->tok, d->n_tok, append_row, out, e) != 0) return -1;
    } else {
        const float *row;
        if (session_feed(d->session, d->tok, d->n_tok, &row, &cli_interrupted, e) != 0) return -1;
        append_row(out, 0, row, model_n_vocab(m));
    }
    return out->failed ? err_nomem(e, "debug logits") : 0;
}

int debug_logits(int argc, char **argv, struct err *e) {
    struct debug_model d;
    struct buf out = {0};
    if (debug_model_open(&d, argc, argv, debug_logits_options(), e) != 0) return -1;
    int rc = collect(&d, &out, e);
    if (rc == 0 && out_path) rc = os_write_file(out_path, out.p, out.n, e);
    if (rc == 0 && !out_path && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout)))
        rc = err_errno(e, "standard output");
    buf_fini(&out);
    debug_model_close(&d);
    return rc;
}

static int arg_max(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

int debug_greedy(int argc, char **argv, struct err *e) {
    struct debug_model d;
    if (debug_model_open(&d, argc, argv, debug_greedy_options(), e) != 0) return -1;
    const struct model *m = engine_model(d.engine);
    json_t *ids = json_array();
    const float *row;
    int rc = 0;
    if (model_is_embedding(m))
        rc =
            err_set(e, ERR_UNSUPPORTED, "debug greedy: %s models predict no tokens", model_arch(m));
    if (rc == 0) rc = session_feed(d.session, d.tok, d.n_tok, &row, &cli_interrupted, e);
    for (int i = 0; rc == 0; i++) {
        const int32_t id = arg_max(row, model_n_vocab(m));
        json_array_append_new(ids, json_integer(id));
        if (i + 1 == n_predict) break;
        rc = session_feed(d.session, &id, 1, &row, &cli_interrupted, e);
    }
    json_t *line = json_pack("{s:o}", "ids", ids);
    char *text = line ? json_dumps(line, 0) : NULL;
    if (rc == 0 && !text) rc = err_nomem(e, "debug greedy");
    if (rc == 0 && (puts(text) < 0 || fflush(stdout))) rc = err_errno(e, "standard output");
    free(text);
    json_decref(line);
    debug_model_close(&d);
    return rc;
}
