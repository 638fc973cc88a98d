/* See sampler_time.h.  Logits are normal with a few that stand out, eight rows in turn; each row is
 * read once before, as the head has just written it.  The median of the calls is shown. */
#include "cli/sampler_time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "sample/rng.h"
#include "sample/sampler.h"

enum { N_ROW = 8, N_CALL = 64, N_TOP = 20 };

static void fill_row(float *x, int n, uint64_t seed) {
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < n; i++) { /* Box and Muller, 1958 */
        const double radius = sqrt(-2.0 * log(1.0 - rng_unit(&r)));
        x[i] = (float)(2.0 * radius * cos(6.283185307179586 * rng_unit(&r)));
    }
    for (int i = 0; i < 30; i++)
        x[rng_next(&r) % (uint64_t)n] = (float)(6.0 + 10.0 * rng_unit(&r));
}

static int by_size(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* s NULL: the most likely tokens with their probabilities instead of a choice. */
static void time_calls(const char *name, struct sampler *s, const float *rows, int n) {
    int64_t ns[N_CALL];
    struct candidate top[N_TOP];
    for (int i = 0; i < N_CALL; i++) {
        const float *x = rows + (size_t)(i % N_ROW) * (size_t)n;
        volatile float sink = 0;
        for (int j = 0; j < n; j += 16)
            sink = x[j];
        (void)sink;
        const int64_t t0 = os_now_ns();
        const int32_t id = s ? sampler_choose(s, x) : candidates_top(x, n, N_TOP, top, NULL);
        ns[i] = os_now_ns() - t0;
        if (s) sampler_accept(s, id);
    }
    qsort(ns, N_CALL, sizeof *ns, by_size);
    printf("%-24s %8.1f\n", name, (double)ns[N_CALL / 2] / 1e3);
}

int sampler_time(int n_vocab, struct err *e) {
    enum { N_CHAIN = 8 };
    struct sampler_opts o[N_CHAIN];
    static const char *const name[N_CHAIN] = {
        "greedy",     "default",   "repeat_penalty 1.1", "top_p 0.95 alone",
        "min_p 0.05", "typical_p", "temperature alone",  "mirostat 2"};
    for (int i = 0; i < N_CHAIN; i++) {
        o[i] = sampler_defaults();
        o[i].seed = 1;
        if (i >= 3) o[i].top_k = 0, o[i].top_p = 1.0f;
    }
    o[0].temperature = 0.0f, o[2].repeat_penalty = 1.1f, o[3].top_p = 0.95f, o[4].min_p = 0.05f;
    o[5].typical_p = 0.9f, o[7].mirostat = 2;

    float *rows = calloc((size_t)n_vocab * N_ROW, sizeof *rows);
    if (!rows) return err_nomem(e, "debug sampler");
    for (int i = 0; i < N_ROW; i++)
        fill_row(rows + (size_t)i * (size_t)n_vocab, n_vocab, (uint64_t)i);
    int rc = 0;
    printf("%-24s %8s\n", "chain", "us");
    for (int i = 0; i < N_CHAIN && rc == 0; i++) {
        struct sampler *s = sampler_new(&o[i], n_vocab, e);
        if (s)
            time_calls(name[i], s, rows, n_vocab);
        else
            rc = -1;
        sampler_free(s);
    }
    if (rc == 0) time_calls("logprobs, 20", NULL, rows, n_vocab);
    free(rows);
    return rc;
}
