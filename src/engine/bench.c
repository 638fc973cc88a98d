/* Measuring a model.  Repetitions of prefill and decode take turns, so that a neighbour on the
 * machine disturbs both alike; medians are reported.  Tokens are pseudo-random: what a token says
 * does not change the work, but equal ones could (routed experts, caches).
 *
 * Limits: a decode step reads all weights once and each sequence's cache once, so
 *     tokens/s <= n_parallel * bandwidth / (weights + n_parallel * cache),
 * and prefill of N tokens in chunks does the operations of all layers for each token, attention not
 * counted, and of the head for the last, but reads all weights once for a chunk, so
 *     seconds >= max(operations / peak, chunks * weights / bandwidth):
 * few tokens are bound by reading, many by arithmetic. */
#include "engine/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

enum { MIN_CTX = 64, DEFAULT_DECODE = 128 };

struct bench {
    const struct bench_opts *o;
    struct engine *g;
    struct kv_seq *seq;      /* [n_parallel], owned */
    struct batch_seq *batch; /* [n_parallel], owned */
    int32_t *tok;            /* [n_tok] pseudo-random ids, owned */
    int n_decode;            /* as asked, the default resolved */
    int n_tok, n_init;       /* n_init: sequences that need kv_seq_fini */
};

static bool stopped(const struct bench *b) {
    return b->o->stop && *b->o->stop;
}

static int cancelled(struct err *e) {
    return err_set(e, ERR_CANCELLED, "bench: interrupted");
}

/* Ids all over the vocabulary (Numerical Recipes' linear congruence). */
static void fill_tokens(int32_t *tok, int n, int n_vocab) {
    uint32_t x = 42;
    for (int i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        tok[i] = (int32_t)((uint64_t)x * (uint32_t)n_vocab >> 32);
    }
}

/* Feed one sequence n tokens in chunks; logits of the last one are computed, as for an answer. */
static int feed(struct bench *b, struct kv_seq *s, int n, struct err *e) {
    const int step = engine_n_batch(b->g);
    for (int at = 0; at < n; at += step) {
        const int k = n - at < step ? n - at : step;
        if (stopped(b)) return cancelled(e);
        if (kv_seq_extend(s, k, e) != 0) return -1;
        const bool last = at + k == n;
        const int n_out = model_is_embedding(engine_model(b->g)) ? k : last;
        forward_run(engine_forward(b->g),
                    &(struct batch_seq){.kv = s,
                                        .tok = b->tok + at,
                                        .n = k,
                                        .n_out = n_out,
                                        .adapter = engine_adapter(b->g)},
                    1);
    }
    return 0;
}

static double seconds_since(int64_t t0) {
    return (double)(os_now_ns() - t0) * 1e-9;
}

static int rep_prefill(struct bench *b, double *tps, struct err *e) {
    kv_seq_truncate(&b->seq[0], b->o->depth);
    const int64_t t0 = os_now_ns();
    if (feed(b, &b->seq[0], b->o->n_prefill, e) != 0) return -1;
    *tps = b->o->n_prefill / seconds_since(t0);
    return 0;
}

static int rep_decode(struct bench *b, double *tps, struct err *e) {
    const int n_seq = b->o->n_parallel;
    for (int i = 0; i < n_seq; i++)
        kv_seq_truncate(&b->seq[i], b->o->depth);
    const int64_t t0 = os_now_ns();
    for (int step = 0; step < b->n_decode; step++) {
        if (stopped(b)) return cancelled(e);
        for (int i = 0; i < n_seq; i++) {
            if (kv_seq_extend(&b->seq[i], 1, e) != 0) return -1;
            b->batch[i] = (struct batch_seq){.kv = &b->seq[i],
                                             .tok = b->tok + (step + i * 17) % b->n_tok,
                                             .n = 1,
                                             .n_out = 1,
                                             .adapter = engine_adapter(b->g)};
        }
        forward_run(engine_forward(b->g), b->batch, n_seq);
    }
    *tps = (double)n_seq * b->n_decode / seconds_since(t0);
    return 0;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *v, int n) {
    double s[BENCH_MAX_REPS];
    memcpy(s, v, (size_t)n * sizeof *s);
    qsort(s, (size_t)n, sizeof *s, by_size);
    return (s[(n - 1) / 2] + s[n / 2]) / 2;
}

static void tell(const struct bench *b, double share) {
    if (b->o->progress) b->o->progress(b->o->ctx, share);
}

static int measure(struct bench *b, struct bench_result *r, struct err *e) {
    const struct bench_opts *o = b->o;
    for (int i = 0; i < o->n_parallel && o->depth; i++)
        if (feed(b, &b->seq[i], o->depth, e) != 0) return -1;
    for (int rep = 0; rep < o->n_reps; rep++) {
        tell(b, (double)rep / o->n_reps);
        if (o->n_prefill && rep_prefill(b, &r->prefill_tps[rep], e) != 0) return -1;
        if (b->n_decode && rep_decode(b, &r->decode_tps[rep], e) != 0) return -1;
    }
    r->n_reps = o->n_reps;
    r->prefill_median_tps = o->n_prefill ? median(r->prefill_tps, o->n_reps) : 0;
    r->decode_median_tps = b->n_decode ? median(r->decode_tps, o->n_reps) : 0;
    return 0;
}

/* Weights under 12 bits each are multiplied as 8-bit numbers, those of 16 bits as 16-bit ones
 * where the processor is faster at that than in float; F32 is not. */
static enum bench_bound arithmetic(const struct bench_result *r, double *peak) {
    const double bits = (double)r->weight_bytes * 8 / (r->flops_per_token / 2);
    const bool int16 = bits < 24 && r->limits.int16_opps > r->limits.f32_flopps;
    *peak = bits < 12 ? r->limits.int8_opps : int16 ? r->limits.int16_opps : r->limits.f32_flopps;
    return bits < 12 ? BENCH_INT8 : int16 ? BENCH_INT16 : BENCH_F32;
}

static void set_prefill_limit(struct bench *b, struct bench_result *r) {
    const struct model *m = engine_model(b->g);
    const double n = b->o->n_prefill, head = model_head_flops(m);
    const int n_batch = engine_n_batch(b->g), n_chunk = (b->o->n_prefill + n_batch - 1) / n_batch;
    const double head_bytes = (double)model_head_bytes(m);
    const double cache_bytes = b->o->depth * (double)r->kv_token_bytes;
    double peak;
    r->prefill_bound = arithmetic(r, &peak);
    if (b->o->n_prefill == 0) return;
    r->prefill_flops = n * (r->flops_per_token - head) + head;
    const double bytes =
        n_chunk * ((double)r->weight_bytes - head_bytes + cache_bytes) + head_bytes;
    const double compute_s = r->prefill_flops / peak, read_s = bytes / r->limits.read_bps;
    if (read_s > compute_s) r->prefill_bound = BENCH_READ;
    r->prefill_limit_tps = n / (read_s > compute_s ? read_s : compute_s);
    r->prefill_ratio = r->prefill_median_tps / r->prefill_limit_tps;
}

static void set_ratios(struct bench *b, struct bench_result *r) {
    const struct model *m = engine_model(b->g);
    const double n = b->o->n_parallel, context = b->o->depth + b->n_decode / 2.0;
    r->weight_bytes = model_weight_bytes(m);
    r->kv_token_bytes = kv_pool_token_bytes(engine_kv(b->g));
    r->flops_per_token = model_flops_per_token(m);
    const double step_bytes = (double)r->weight_bytes + n * context * (double)r->kv_token_bytes;
    r->decode_limit_tps = n * r->limits.read_bps / step_bytes;
    set_prefill_limit(b, r);
    r->decode_ratio = r->decode_median_tps / r->decode_limit_tps;
}

static int make_sequences(struct bench *b, struct err *e) {
    const size_t n = (size_t)b->o->n_parallel;
    b->n_tok = engine_n_ctx(b->g);
    b->seq = calloc(n, sizeof *b->seq);
    b->batch = calloc(n, sizeof *b->batch);
    b->tok = calloc((size_t)b->n_tok, sizeof *b->tok);
    if (!b->seq || !b->batch || !b->tok) return err_nomem(e, "bench");
    for (; b->n_init < b->o->n_parallel; b->n_init++)
        kv_seq_init(&b->seq[b->n_init], engine_kv(b->g));
    fill_tokens(b->tok, b->n_tok, model_n_vocab(engine_model(b->g)));
    return 0;
}

/* The first answer after opening: page faults and first touches included.  Also the warm-up. */
static int first_token(struct bench *b, int64_t t0, struct bench_result *r, struct err *e) {
    if (feed(b, &b->seq[0], b->o->n_prefill ? b->o->n_prefill : 1, e) != 0) return -1;
    r->first_token_s = seconds_since(t0);
    kv_seq_truncate(&b->seq[0], 0);
    return 0;
}

static int run_opened(struct bench *b, int64_t t0, struct bench_result *r, struct err *e) {
    const bool embedding = model_is_embedding(engine_model(b->g));
    if (b->n_decode < 0) b->n_decode = embedding ? 0 : DEFAULT_DECODE;
    r->n_decode = b->n_decode;
    if (embedding && (b->n_decode || b->o->depth))
        return err_set(e, ERR_UNSUPPORTED,
                       "bench: an embedding model only reads: --tg 0, --depth 0");
    snprintf(r->arch, sizeof r->arch, "%s", model_arch(engine_model(b->g)));
    r->n_threads = team_size(engine_team(b->g));
    r->file_bytes = gguf_file_bytes(engine_gguf(b->g));
    r->load_s = engine_load_s(b->g);
    if (make_sequences(b, e) != 0) return -1;
    if (first_token(b, t0, r, e) != 0) return -1;
    if (measure(b, r, e) != 0) return -1;
    r->peak_rss_bytes = os_peak_rss_bytes();
    tell(b, 1);
    if (limits_measure(engine_team(b->g), &r->limits, e) != 0) return -1;
    set_ratios(b, r);
    return 0;
}

int bench_run(const char *path, const struct bench_opts *o, struct bench_result *r, struct err *e) {
    const int n_decode = o->n_decode < 0 ? DEFAULT_DECODE : o->n_decode;
    const int longest = o->n_prefill > n_decode ? o->n_prefill : n_decode;
    const int n_ctx = o->depth + longest;
    const struct engine_opts eo = {.n_ctx = n_ctx < MIN_CTX ? MIN_CTX : n_ctx,
                                   .n_batch = o->n_batch,
                                   .n_threads = o->n_threads,
                                   .n_parallel = o->n_parallel,
                                   .k_type = o->kv_type,
                                   .v_type = o->kv_type};
    *r = (struct bench_result){0};
    const int64_t t0 = os_now_ns();
    struct bench b = {.o = o, .n_decode = o->n_decode, .g = engine_open(path, &eo, e)};
    if (!b.g) return -1;
    const int rc = run_opened(&b, t0, r, e);
    for (int i = 0; i < b.n_init; i++)
        kv_seq_fini(&b.seq[i]);
    free(b.seq);
    free(b.batch);
    free(b.tok);
    engine_close(b.g);
    return rc;
}
