/* See bench_train.h.  The operations counted are those of the formulas, of multiplications by
 * weights only: a forward (2 for each weight and token), dX through every layer (2 more), the
 * layers that are computed again (2 more), dW of all weights (2 more).  Attention and adapters come
 * on top and are not counted. */
#include "cli/bench_train.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cores.h"
#include "base/os.h"
#include "engine/bench.h"
#include "engine/limits.h"
#include "train/grad.h"
#include "train/loss.h"

struct measured {
    double seconds, flops, peak; /* of a step; of it; per second at most */
    struct grad_need need;
    size_t rss_bytes;
};

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Operations of a step; see above. */
static double count_flops(const struct model *m, const struct bench_train_opts *o) {
    const double head = model_head_flops(m), layers = model_flops_per_token(m) - head;
    const int n_layer = model_n_layer(m),
              kept = o->kept < 0 || o->kept > n_layer ? n_layer : o->kept;
    const double again = (double)(n_layer - kept) / n_layer;
    return o->n_tok * (layers * (2 + again + o->full) + head * (2 + o->full));
}

static int run(struct grad *g, const struct bench_train_opts *o, double *median, struct err *e) {
    const int n = o->n_tok, n_vocab = model_n_vocab(grad_model(g));
    int32_t *tok = malloc((size_t)n * sizeof *tok), *label = malloc((size_t)n * sizeof *label);
    int32_t start[2] = {0, n};
    float *coef = malloc((size_t)n * sizeof *coef);
    double *nll = malloc((size_t)n * sizeof *nll), s[BENCH_MAX_REPS];
    const struct batch b = {n, 1, tok, label, start};
    int rc = tok && label && coef && nll ? 0 : err_nomem(e, "bench");
    for (int i = 0; i < n && rc == 0; i++) {
        tok[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)n_vocab);
        label[i] = i + 1 < n ? (int32_t)((uint32_t)(i + 1) * 2654435761u % (uint32_t)n_vocab) : -1;
    }
    if (rc == 0) loss_coef(&b, n > 1 ? n - 1 : 1, coef);
    const int n_warm = o->n_reps > 1; /* memory is touched for the first time in the first one */
    for (int i = 0; i < o->n_reps + n_warm && rc == 0; i++) {
        const int64_t t0 = os_now_ns();
        rc = grad_run(g, &b, coef, nll, e);
        if (i >= n_warm) s[i - n_warm] = (double)(os_now_ns() - t0) * 1e-9;
    }
    if (rc == 0) {
        qsort(s, (size_t)o->n_reps, sizeof *s, by_size);
        *median = s[o->n_reps / 2];
    }
    free(tok);
    free(label);
    free(coef);
    free(nll);
    return rc;
}

static int measure(struct team *t, const struct gguf *file, const struct bench_train_opts *o,
                   struct measured *out, struct err *e) {
    const struct lora_opts lora = {.rank = o->rank};
    const struct grad_opts go = {
        .lora = o->full ? NULL : &lora,
        .max_rows = o->n_tok,
        .kept_layers = o->kept,
        .prec = o->f32 ? GEMM_F32 : GEMM_BF16,
    };
    struct limits lim;
    if (grad_need(file, &go, team_size(t), &out->need, e) != 0) return -1;
    struct grad *g = grad_new(t, file, &go, e);
    if (!g) return -1;
    struct rng r;
    rng_seed(&r, 1);
    if (!o->full) lora_init(grad_params(g), &r);
    const int rc = run(g, o, &out->seconds, e);
    out->rss_bytes = os_peak_rss_bytes();
    out->flops = count_flops(grad_model(g), o);
    grad_free(g);
    if (rc != 0 || limits_measure(t, &lim, e) != 0) return -1;
    out->peak = lim.f32_flopps;
    return 0;
}

static uint64_t total(const struct grad_need *n) {
    return n->weights + n->params + n->activations + n->head + n->scratch;
}

static void print(const char *name, const struct bench_train_opts *o, const struct measured *m) {
    const double tps = o->n_tok / m->seconds, rate = m->flops / m->seconds;
    if (o->json) {
        json_t *j = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:I, s:I}", "model", name, "tokens",
                              o->n_tok, "seconds", m->seconds, "train_tps", tps, "flopps", rate,
                              "f32_peak_flopps", m->peak, "plan_bytes", (json_int_t)total(&m->need),
                              "rss_bytes", (json_int_t)m->rss_bytes);
        json_dumpf(j, stdout, JSON_REAL_PRECISION(6));
        printf("\n");
        json_decref(j);
        return;
    }
    printf("train    %7.1f tokens/s   step of %d tokens %.2f s, %.0f GFLOP/s: %.0f %% of float32's "
           "peak (%.0f)\n",
           tps, o->n_tok, m->seconds, rate * 1e-9, 100 * rate / m->peak, m->peak * 1e-9);
    printf("memory   plan %.0f MB (weights %.0f, parameters %.0f, activations %.0f, head %.0f, "
           "scratch %.0f), peak %.0f MB\n",
           (double)total(&m->need) * 1e-6, (double)m->need.weights * 1e-6,
           (double)m->need.params * 1e-6, (double)m->need.activations * 1e-6,
           (double)m->need.head * 1e-6, (double)m->need.scratch * 1e-6,
           (double)m->rss_bytes * 1e-6);
}

int bench_train(const char *name, const char *path, const struct bench_train_opts *o,
                struct err *e) {
    struct measured m;
    const int n = o->n_thread ? o->n_thread : cores_default_threads(e);
    struct team *t = n < 0 ? NULL : team_new(n, e);
    struct gguf *file = t ? gguf_open(path, e) : NULL;
    const int rc = file ? measure(t, file, o, &m, e) : -1;
    gguf_close(file);
    team_free(t);
    if (rc == 0) print(name, o, &m);
    return rc;
}
