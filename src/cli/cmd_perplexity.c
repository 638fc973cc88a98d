/* `cria perplexity MODEL TEXTFILE`: how well a model foretells a text.
 *
 * Definition (that of llama.cpp's tool, so that figures compare): the text is tokenized once, with
 * the begin token if the model wants one, and cut into windows of N tokens (--ctx); a rest shorter
 * than N is left out, unless it is all there is.  Each window is read from an empty context; its
 * first token is replaced by the begin token if the model has one.  The first half of a window
 * only gives context; PPL = exp(mean of -ln p(token | those before it in the window)) over the
 * tokens of the second halves.  The +- is the standard error of the mean, carried through exp. */
#include "cli/commands.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/model.h"
#include "engine/session.h"

enum { MAX_TEXT_BYTES = 1 << 30, DEFAULT_WINDOW = 512 };

static struct {
    int threads, ctx, batch;
    bool json;
} flags;

const struct opt *cmd_perplexity_options(void) {
    static const struct opt table[] = {
        {"ctx", 0, OPT_INT, &flags.ctx, 8, 1 << 24, "N",
         "tokens of a window (default: 512, at most what the model was trained for)"},
        {"batch", 0, OPT_INT, &flags.batch, 1, 1 << 16, "N", "tokens in one step (default: 512)"},
        {"threads", 0, OPT_INT, &flags.threads, 1, 512, "N", "threads (default: cores)"},
        {"json", 0, OPT_FLAG, &flags.json, 0, 0, NULL,
         "one object: perplexity, error, nll, n_scored, n_tokens, n_windows, ctx, seconds"},
        {0},
    };
    return table;
}

struct score {
    const int32_t *tok; /* the window's tokens, [n] */
    int n, from;        /* tokens from `from` on are scored */
    double sum, sq;     /* of -ln p over all windows */
    long n_scored;
};

/* -ln softmax(row)[id], in double. */
static double surprise(const float *row, int n, int32_t id) {
    float max = row[0];
    for (int i = 1; i < n; i++)
        if (row[i] > max) max = row[i];
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)expf(row[i] - max);
    return log(sum) - ((double)row[id] - (double)max);
}

static void score_row(void *ctx, int i, const float *row, int n_col) {
    struct score *s = ctx;
    if (i + 1 < s->from || i + 1 >= s->n) return;
    const double nll = surprise(row, n_col, s->tok[i + 1]);
    s->sum += nll;
    s->sq += nll * nll;
    s->n_scored++;
}

static int score_window(struct session *session, struct score *s, struct ids *text, size_t at,
                        int n, struct err *e) {
    const struct vocab_special *sp = vocab_special(engine_vocab(session_engine(session)));
    const int32_t first = text->v[at];
    if (sp->add_bos && sp->bos >= 0) text->v[at] = sp->bos;
    s->tok = text->v + at;
    s->n = n;
    s->from = n / 2;
    session_truncate(session, 0);
    /* Rows before the scored half need no logits, and the last one foretells nothing here. */
    const int skip = s->from > 1 ? s->from - 1 : 0;
    int rc = skip ? session_feed(session, s->tok, skip, NULL, &cli_interrupted, e) : 0;
    struct score part = *s;
    part.tok += skip, part.n -= skip, part.from -= skip;
    if (rc == 0) rc = session_feed_all(session, part.tok, part.n, score_row, &part, e);
    s->sum = part.sum, s->sq = part.sq, s->n_scored = part.n_scored;
    text->v[at] = first;
    return rc;
}

static int read_text(const char *path, const struct vocab *v, struct ids *out, struct err *e) {
    struct buf text = {0};
    int rc = os_read_file(path, MAX_TEXT_BYTES, &text, e);
    if (rc == 0)
        rc = tok_encode(v, buf_view(&text), (struct tok_opts){.add_special = true}, out, e);
    buf_fini(&text);
    return rc;
}

struct report {
    double ppl, error, nll, seconds;
    long n_window;
    int window;
};

static void print_report(const struct report *r, const struct score *s, size_t n_tok) {
    if (!flags.json) {
        printf("PPL = %.4f +/- %.4f (%ld tokens scored of %zu, %ld windows of %d, %.1f s)\n",
               r->ppl, r->error, s->n_scored, n_tok, r->n_window, r->window, r->seconds);
        return;
    }
    cli_print_json(json_pack("{s:f, s:f, s:f, s:I, s:I, s:I, s:i, s:f}", "perplexity", r->ppl,
                             "error", r->error, "nll", r->nll, "n_scored", (json_int_t)s->n_scored,
                             "n_tokens", (json_int_t)n_tok, "n_windows", (json_int_t)r->n_window,
                             "ctx", r->window, "seconds", r->seconds));
}

static int measure(struct session *session, struct ids *text, const char *path, struct err *e) {
    struct score s = {0};
    struct report r = {.window = engine_n_ctx(session_engine(session))};
    struct progress bar;
    const int64_t t0 = os_now_ns();
    if (text->n < 4)
        return err_set(e, ERR_FORMAT, "%s: %zu tokens; at least 4 are needed", path, text->n);
    if (!flags.ctx && r.window > DEFAULT_WINDOW) r.window = DEFAULT_WINDOW;
    if ((size_t)r.window > text->n) r.window = (int)text->n;
    const size_t step = (size_t)r.window, n_window = text->n / step;
    progress_start(&bar, "perplexity", (double)(n_window * step), "tok");
    for (size_t i = 0; i < n_window; i++) {
        if (cli_interrupted) return err_set(e, ERR_CANCELLED, "interrupted");
        if (score_window(session, &s, text, i * step, r.window, e) != 0) return -1;
        progress_update(&bar, (double)((i + 1) * step));
    }
    progress_end(&bar);
    const double n = (double)s.n_scored;
    r.n_window = (long)n_window;
    r.nll = s.sum / n;
    r.ppl = exp(r.nll);
    const double var = s.sq / n - r.nll * r.nll;
    r.error = n > 1 && var > 0 ? r.ppl * sqrt(var / (n - 1)) : 0.0;
    r.seconds = (double)(os_now_ns() - t0) * 1e-9;
    print_report(&r, &s, text->n);
    return 0;
}

static int open_engine(const struct recipe *r, struct engine **g, struct err *e) {
    const char *const lora[] = {r->adapter};
    struct engine_opts o = {.n_threads = flags.threads,
                            .n_batch = flags.batch,
                            .n_ctx = flags.ctx,
                            .lora = lora,
                            .n_lora = r->adapter[0] != 0};
    if (engine_user_opts(&o, e) != 0) return -1;
    *g = engine_open(r->path, &o, e);
    if (!*g) return -1;
    if (model_is_embedding(engine_model(*g)))
        return err_set(e, ERR_UNSUPPORTED, "%s: an embedding model; it foretells no tokens",
                       r->path);
    return 0;
}

int cmd_perplexity(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_perplexity_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("perplexity", n_args, 2, 2, "MODEL TEXTFILE", e) != 0) return -1;
    struct engine *g = NULL;
    struct ids text = {0};
    struct cli_model m;
    int rc = cli_model_open(&m, args[0], e);
    if (rc == 0) rc = open_engine(&m.r, &g, e);
    if (rc == 0) rc = read_text(args[1], engine_vocab(g), &text, e);
    struct session *s = rc == 0 ? session_new(g, e) : NULL;
    rc = s ? measure(s, &text, args[1], e) : -1;
    session_free(s);
    engine_close(g);
    ids_fini(&text);
    cli_model_close(&m);
    return rc;
}
