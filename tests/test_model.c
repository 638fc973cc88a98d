/* model/: batches, cache, adapters, sizes.  Outputs themselves: test_model_golden.c and
 * test_model_archs.c. */
#include "count_alloc.h"
#include "model_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "gguf/write.h"
#include "toy.h"

enum { N_COL = TOY_VOCAB, MAX_N = TOY_CTX };

static const struct toy plain = {.arch = "llama", .rope = 'p', .head_dim = 32};
static const struct toy windowed = {.arch = "gemma2",
                                    .rope = 'h',
                                    .norms = TOY_BOTH,
                                    .gelu = true,
                                    .tied = true,
                                    .head_dim = 32,
                                    .window = 10,
                                    .window_period = 2};
static const struct toy experts = {.arch = "qwen3moe",
                                   .rope = 'h',
                                   .qk_norm = TOY_QK_HEAD,
                                   .head_dim = 32,
                                   .n_expert = 6,
                                   .n_used = 3,
                                   .n_ff_exp = 32,
                                   .renorm = true};
static const struct toy latent = {.arch = "deepseek2",
                                  .rope = 'p',
                                  .head_dim = 40,
                                  .n_rot = 32,
                                  .v_dim = 32,
                                  .kv_rank = 32,
                                  .q_rank = 16};
static const struct toy *const kinds[] = {&plain, &windowed, &experts, &latent};
enum { N_KIND = sizeof kinds / sizeof *kinds };

static char *dir; /* of this run's files */

static int make_dir(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static const char *toy_path(const struct toy *t) {
    static char path[512];
    struct toy_model *m = toy_new(t, 11);
    snprintf(path, sizeof path, "%s/toy.gguf", dir);
    toy_write(m, path);
    toy_free(m);
    return path;
}

static void open_toy(struct rig *r, const struct toy *t, struct rig_opts o) {
    if (!o.n_ctx) o.n_ctx = TOY_CTX;
    rig_open(r, toy_path(t), o);
}

/* A text of n tokens; other seeds, other texts. */
static const int32_t *text(int seed, int n) {
    static int32_t tok[8][MAX_N];
    int32_t *t = tok[seed % 8];
    for (int i = 0; i < n; i++)
        t[i] = (i * 37 + seed * 13 + i * i * 5) % TOY_VOCAB;
    return t;
}

static double worst(const float *a, const float *b, int n_row) {
    double w = 0;
    for (int i = 0; i < n_row * N_COL; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= w)) w = d;
    }
    return w;
}

/* Logits of every token of a fresh sequence. */
static void run_alone(struct rig *r, const int32_t *tok, int n, int piece, float *out) {
    struct kv_seq s;
    kv_seq_init(&s, r->pool);
    rig_feed(r, &s, NULL, tok, n, piece, out);
    kv_seq_fini(&s);
}

static float whole[MAX_N * N_COL], other[MAX_N * N_COL];

static void pieces_make_no_difference(void **state) {
    (void)state;
    static const int piece[] = {1, 7, 32, 64};
    const int n = 100;
    for (int k = 0; k < N_KIND; k++) {
        struct rig r;
        open_toy(&r, kinds[k], (struct rig_opts){.n_threads = 3});
        run_alone(&r, text(1, n), n, 0, whole);
        for (int i = 0; i < 4; i++) {
            run_alone(&r, text(1, n), n, piece[i], other);
            const double d = worst(whole, other, n);
            if (!(d < 1e-4)) fail_msg("%s in pieces of %d: off by %g", kinds[k]->arch, piece[i], d);
        }
        assert_int_equal(kv_pool_free_tokens(r.pool), 2 * TOY_CTX);
        rig_close(&r);
    }
}

/* A chunk that wants no logits, or only the last, leaves the same cache behind. */
static void unwanted_rows_cost_nothing_else(void **state) {
    (void)state;
    for (int k = 0; k < N_KIND; k++) {
        struct rig r;
        struct kv_seq s;
        open_toy(&r, kinds[k], (struct rig_opts){0});
        run_alone(&r, text(2, 60), 60, 0, whole);
        kv_seq_init(&s, r.pool);
        rig_feed(&r, &s, NULL, text(2, 60), 40, 0, NULL);
        struct err e;
        assert_int_equal(kv_seq_extend(&s, 20, &e), 0);
        const struct batch_seq b = {&s, text(2, 60) + 40, 20, NULL, 1};
        assert_true(worst(forward_run(r.f, &b, 1), whole + 59 * N_COL, 1) < 1e-4);
        kv_seq_fini(&s);
        rig_close(&r);
    }
}

/* Three sequences at different places in one batch get what each gets alone. */
static void sequences_do_not_see_each_other(void **state) {
    (void)state;
    static const int before[] = {0, 33, 70}, now[] = {21, 1, 5}, n_out[] = {21, 1, 0};
    for (int k = 0; k < N_KIND; k++) {
        struct rig r;
        struct err e;
        struct kv_seq s[3];
        struct batch_seq b[3];
        open_toy(&r, kinds[k], (struct rig_opts){.n_threads = 2, .max_tokens = 400});
        for (int i = 0; i < 3; i++) {
            kv_seq_init(&s[i], r.pool);
            rig_feed(&r, &s[i], NULL, text(i, 100), before[i], 0, NULL);
            assert_int_equal(kv_seq_extend(&s[i], now[i], &e), 0);
            b[i] = (struct batch_seq){&s[i], text(i, 100) + before[i], now[i], NULL, n_out[i]};
        }
        const float *got = forward_run(r.f, b, 3);
        memcpy(other, got, 22 * N_COL * sizeof *got);
        run_alone(&r, text(0, 100), 21, 0, whole);
        assert_true(worst(other, whole, 21) < 1e-4);
        run_alone(&r, text(1, 100), 34, 0, whole);
        assert_true(worst(other + 21 * N_COL, whole + 33 * N_COL, 1) < 1e-4);
        for (int i = 0; i < 3; i++)
            kv_seq_fini(&s[i]);
        rig_close(&r);
    }
}

/* Logits of one more token: of a text alone (n_among 1), or first of n_among texts in one step.
 * Returns how many. */
static int step(const char *path, int n_threads, enum qtype kv, int n_among, float *out) {
    struct rig r;
    struct err e;
    struct kv_seq s[9];
    struct batch_seq b[9];
    rig_open(&r, path, (struct rig_opts){.n_threads = n_threads, .max_tokens = 2000, .kv = kv});
    for (int i = 0; i < n_among; i++) {
        const int before = 20 + 11 * i;
        const int32_t *tok = text(i % 8, MAX_N);
        kv_seq_init(&s[i], r.pool);
        rig_feed(&r, &s[i], NULL, tok, before, 0, NULL);
        assert_int_equal(kv_seq_extend(&s[i], 1, &e), 0);
        b[i] = (struct batch_seq){&s[i], tok + before, 1, NULL, 1};
    }
    memcpy(out, forward_run(r.f, b, n_among), (size_t)r.n_col * sizeof *out);
    for (int i = 0; i < n_among; i++)
        kv_seq_fini(&s[i]);
    const int n_col = r.n_col;
    rig_close(&r);
    return n_col;
}

/* Whoever else is in the step, and however many threads run it: the same to the bit. */
static void company_changes_no_bit(void **state) {
    (void)state;
    static const char *const files[] = {"models-quant/llamaq.Q4_K_M.gguf",
                                        "models-quant/phi3-4k.Q8_0.gguf",
                                        "models-quant/phi3-4k.Q4_0.gguf", "models/gemma3.gguf"};
    float *want = calloc(1 << 18, sizeof *want), *got = calloc(1 << 18, sizeof *got);
    assert_true(want && got);
    for (int i = 0; i < N_KIND + 4; i++) {
        const char *path = i < N_KIND ? toy_path(kinds[i]) : golden(files[i - N_KIND]);
        const enum qtype kv[] = {QT_F16, i < N_KIND ? QT_Q8_0 : QT_F32}; /* their heads are small */
        for (int k = 0; k < 2; k++) {
            const int n = step(path, 1, kv[k], 1, want);
            for (int threads = 1; threads <= 2; threads++)
                for (int among = 1; among <= 9; among += 4) {
                    step(path, threads, kv[k], among, got);
                    if (memcmp(want, got, (size_t)n * sizeof *got) != 0)
                        fail_msg("%s, cache %d: %d threads, %d at once", path, kv[k], threads,
                                 among);
                }
        }
    }
    free(want), free(got);
}

static double rms_of_difference(const float *a, const float *b, int n_row) {
    double s = 0;
    for (int i = 0; i < n_row * N_COL; i++)
        s += pow((double)a[i] - (double)b[i], 2) / (n_row * N_COL);
    return sqrt(s);
}

/* golden/noise.json has rms 0.003 for F16 on logits like these.  The gates of the others follow
 * from their steps: BF16 rounds 8 times coarser than F16, Q8_0 to 1/254 of a block's largest value
 * (about 16 times), Q4_0 16 times coarser than that. */
static void cache_types(void **state) {
    (void)state;
    static const struct {
        enum qtype type;
        double rms;
    } t[] = {{QT_F16, 0.005}, {QT_BF16, 0.04}, {QT_Q8_0, 0.08}, {QT_Q4_0, 1.28}};
    for (int k = 0; k < N_KIND; k++) {
        struct rig r;
        open_toy(&r, kinds[k], (struct rig_opts){0});
        run_alone(&r, text(3, 90), 90, 0, whole);
        rig_close(&r);
        for (int i = 0; i < 4; i++) {
            if (kinds[k] == &experts && t[i].type != QT_F16) continue; /* near-ties flip experts */
            open_toy(&r, kinds[k], (struct rig_opts){.kv = t[i].type});
            run_alone(&r, text(3, 90), 90, 7, other);
            const double d = rms_of_difference(whole, other, 90);
            if (!(d < t[i].rms) || !(d > 0))
                fail_msg("%s, cache %s: off by %g", kinds[k]->arch, qtype_name(t[i].type), d);
            rig_close(&r);
        }
    }
}

/* Blocks of 32 must not straddle what is read as V. */
static void quantized_caches_need_whole_blocks(void **state) {
    (void)state;
    static const struct toy odd[] = {
        {.arch = "llama", .rope = 'p', .head_dim = 24},
        {.arch = "deepseek2", .rope = 'p', .head_dim = 40, .n_rot = 8, .v_dim = 32, .kv_rank = 24}};
    for (int i = 0; i < 2; i++) {
        struct rig r;
        struct err e;
        open_toy(&r, &odd[i], (struct rig_opts){0});
        const struct kv_opts o = {QT_Q8_0, QT_Q8_0, 64}, wrong = {QT_Q4_K, QT_F32, 64};
        assert_null(kv_pool_new(r.m, &o, &e));
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        assert_null(kv_pool_new(r.m, &wrong, &e));
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        rig_close(&r);
    }
}

static void prefixes_are_shared(void **state) {
    (void)state;
    static const int share[] = {0, 1, 63, 64, 65, 90, 100};
    struct rig r;
    struct err e;
    open_toy(&r, &plain, (struct rig_opts){.max_tokens = 6 * KV_PAGE});
    for (int i = 0; i < 7; i++) {
        const int n = share[i];
        struct kv_seq a, b;
        kv_seq_init(&a, r.pool), kv_seq_init(&b, r.pool);
        rig_feed(&r, &a, NULL, text(4, 110), 100, 0, NULL);
        const int free_before = kv_pool_free_tokens(r.pool);
        assert_int_equal(kv_seq_share(&b, &a, n, &e), 0);
        assert_int_equal(b.n_tok, n);
        assert_int_equal(b.next_pos, n);
        /* whole pages cost nothing */
        assert_int_equal(free_before - kv_pool_free_tokens(r.pool), n % KV_PAGE ? KV_PAGE : 0);
        /* both go on, each its own way */
        rig_feed(&r, &b, NULL, text(5, 110), 9, 0, other);
        rig_feed(&r, &a, NULL, text(4, 110) + 100, 10, 0, other + 9 * N_COL);
        int32_t joined[MAX_N];
        memcpy(joined, text(4, 110), (size_t)n * sizeof *joined);
        memcpy(joined + n, text(5, 110), 9 * sizeof *joined);
        run_alone(&r, joined, n + 9, 0, whole);
        assert_true(worst(other, whole + n * N_COL, 9) < 1e-4);
        run_alone(&r, text(4, 110), 110, 0, whole);
        assert_true(worst(other + 9 * N_COL, whole + 100 * N_COL, 10) < 1e-4);
        kv_seq_fini(&a), kv_seq_fini(&b);
        assert_int_equal(kv_pool_free_tokens(r.pool), 6 * KV_PAGE);
    }
    rig_close(&r);
}

/* Cut back into a shared page, then go on: the other owner must not notice. */
static void truncation_copies_what_is_shared(void **state) {
    (void)state;
    struct rig r;
    struct err e;
    struct kv_seq a, b;
    open_toy(&r, &plain, (struct rig_opts){.max_tokens = 8 * KV_PAGE});
    kv_seq_init(&a, r.pool), kv_seq_init(&b, r.pool);
    rig_feed(&r, &a, NULL, text(1, 100), 64, 0, NULL);
    assert_int_equal(kv_seq_share(&b, &a, 64, &e), 0);
    kv_seq_truncate(&b, 20);
    assert_int_equal(b.next_pos, 20);
    rig_feed(&r, &b, NULL, text(2, 100), 30, 0, NULL);
    rig_feed(&r, &a, NULL, text(1, 100) + 64, 10, 0, other);
    run_alone(&r, text(1, 100), 74, 0, whole);
    assert_true(worst(other, whole + 64 * N_COL, 10) < 1e-4);
    kv_seq_truncate(&a, 0);
    assert_int_equal(a.next_pos, 0);
    rig_feed(&r, &a, NULL, text(1, 100), 30, 0, other);
    assert_true(worst(other, whole, 30) < 1e-4);
    kv_seq_fini(&a), kv_seq_fini(&b);
    rig_close(&r);
}

static void a_full_pool_is_an_error(void **state) {
    (void)state;
    struct rig r;
    struct err e;
    struct kv_seq a;
    open_toy(&r, &plain, (struct rig_opts){.max_tokens = 100});
    kv_seq_init(&a, r.pool);
    assert_int_equal(kv_pool_free_tokens(r.pool), 2 * KV_PAGE);
    assert_int_equal(kv_seq_extend(&a, 60, &e), 0);
    assert_int_equal(kv_seq_extend(&a, 69, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_int_equal(a.n_tok, 60);
    assert_int_equal(kv_seq_extend(&a, 68, &e), 0);
    assert_int_equal(kv_seq_extend(&a, 1, &e), -1);
    kv_seq_fini(&a);
    assert_int_equal(kv_pool_free_tokens(r.pool), 2 * KV_PAGE);
    rig_close(&r);
}

/* With one layer K and V depend on their own token only, so a shifted cache must equal a freshly
 * computed one: positions matter by their differences. */
static void shift_equals_recomputing(void **state) {
    (void)state;
    static const int cut[][2] = {{5, 13}, {5, 70}, {0, 10},  {64, 20}, {70, 30},
                                 {3, 61}, {0, 64}, {20, 44}, {99, 1},  {40, 60}};
    static const struct toy half = {.arch = "qwen2", .rope = 'h', .qkv_bias = true, .n_rot = 8};
    static const struct toy still = {.arch = "smollm3", .rope = 'p', .no_rope_period = 4};
    const struct toy *const shapes[] = {&plain, &half, &still, &latent};
    for (int k = 0; k < 4; k++) {
        struct rig r;
        struct err e;
        struct toy one = *shapes[k];
        one.n_layer = 1;
        open_toy(&r, &one, (struct rig_opts){.max_tokens = 10 * KV_PAGE});
        for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
            const int keep = cut[i][0], drop = cut[i][1], n = 100;
            struct kv_seq s, twin;
            kv_seq_init(&s, r.pool), kv_seq_init(&twin, r.pool);
            const int32_t *tok = text(6, MAX_N);
            rig_feed(&r, &s, NULL, tok, n, 0, NULL);
            assert_int_equal(kv_seq_share(&twin, &s, n, &e), 0);
            assert_int_equal(kv_seq_shift(&s, keep, drop, r.f, &e), 0);
            assert_int_equal(s.n_tok, n - drop);
            for (int j = 1; j < s.n_span; j++) /* no hole, nothing empty */
                assert_true(s.span[j].pos0 == s.span[j - 1].pos0 + s.span[j - 1].n &&
                            s.span[j].n > 0);
            rig_feed(&r, &s, NULL, tok + n, 6, 0, other);
            int32_t joined[MAX_N];
            memcpy(joined, tok, (size_t)keep * sizeof *joined);
            memcpy(joined + keep, tok + keep + drop,
                   (size_t)(n + 6 - keep - drop) * sizeof *joined);
            run_alone(&r, joined, n + 6 - drop, 0, whole);
            const double d = worst(other, whole + (n - drop) * N_COL, 6);
            if (!(d < 1e-3)) fail_msg("%s keep %d drop %d: off by %g", one.arch, keep, drop, d);
            rig_feed(&r, &twin, NULL, tok + n, 6, 0, other); /* which shared the pages */
            run_alone(&r, tok, n + 6, 0, whole);
            assert_true(worst(other, whole + n * N_COL, 6) < 1e-4);
            kv_seq_fini(&s), kv_seq_fini(&twin);
        }
        assert_int_equal(kv_pool_free_tokens(r.pool), 10 * KV_PAGE);
        rig_close(&r);
    }
}

static void learned_positions_end(void **state) {
    (void)state;
    static const struct toy gpt2 = {.arch = "gpt2",
                                    .layer_norm = true,
                                    .norm_bias = true,
                                    .mlp = true,
                                    .gelu = true,
                                    .positions = true,
                                    .n_kv = 4,
                                    .fused_qkv = true,
                                    .tied = true};
    struct rig r;
    struct err e;
    struct kv_seq s;
    open_toy(&r, &gpt2, (struct rig_opts){.n_ctx = 400});
    kv_seq_init(&s, r.pool);
    assert_int_equal(kv_seq_extend(&s, TOY_CTX + 1, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    rig_feed(&r, &s, NULL, text(1, 60), 60, 0, NULL);
    assert_int_equal(kv_seq_shift(&s, 4, 10, r.f, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    kv_seq_fini(&s);
    rig_close(&r);
}

/* ---- no allocation in the loop ---- */

static void running_allocates_nothing(void **state) {
    (void)state;
#if COUNT_ALLOCATIONS
    for (int k = 0; k < N_KIND; k++) {
        struct rig r;
        struct kv_seq s;
        open_toy(&r, kinds[k], (struct rig_opts){.n_threads = 2});
        kv_seq_init(&s, r.pool);
        rig_feed(&r, &s, NULL, text(1, 100), 10, 0, NULL); /* warm-up: the list of spans */
        const long before = n_alloc;
        rig_feed(&r, &s, NULL, text(1, 100) + 10, 60, 0, whole);
        rig_feed(&r, &s, NULL, text(1, 100) + 70, 30, 1, whole);
        assert_int_equal(n_alloc, before);
        kv_seq_fini(&s);
        rig_close(&r);
    }
#else
    print_message("allocations are counted in plain gcc builds only\n");
#endif
}

/* ---- sizes ---- */

static void sizes_are_those_of_the_weights(void **state) {
    (void)state;
    /* per layer: q 4*32, k and v 2*32 each, o; gate, up, down of 80; head; all of 48 */
    const double layer = 48 * (128 + 64 + 64 + 128) + 3 * 48 * 80, head = 48 * TOY_VOCAB;
    struct rig r;
    open_toy(&r, &plain, (struct rig_opts){0});
    assert_true(model_flops_per_token(r.m) == 2 * (3 * layer + head));
    assert_int_equal(model_weight_bytes(r.m), 4 * (3 * layer + head));
    assert_int_equal(kv_pool_token_bytes(r.pool), 3 * 2 * 2 * 32 * 4);
    rig_close(&r);
    /* three of six experts of 32, and a router */
    const double moe = 48 * (128 + 64 + 64 + 128) + 3 * 3 * 48 * 32 + 6 * 48;
    open_toy(&r, &experts, (struct rig_opts){0});
    assert_true(model_flops_per_token(r.m) == 2 * (3 * moe + head));
    rig_close(&r);
    open_toy(&r, &latent, (struct rig_opts){0}); /* one row of 32 + 32 for all heads */
    assert_int_equal(kv_pool_token_bytes(r.pool), 3 * 64 * 4);
    rig_close(&r);
}

/* ---- adapters ---- */

static const char *write_adapter(const char *arch, const char *tensor, int n_in, int n_out,
                                 int rank, bool with_b) {
    static char path[512];
    struct err e;
    snprintf(path, sizeof path, "%s/lora.gguf", dir);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    gguf_set_str(w, "general.type", STR("adapter"), &e);
    gguf_set_str(w, "adapter.type", STR("lora"), &e);
    gguf_set_str(w, "general.architecture", str_of(arch), &e);
    gguf_set_f32(w, "adapter.lora.alpha", 8, &e);
    char a[128], b[128];
    snprintf(a, sizeof a, "%s.lora_a", tensor), snprintf(b, sizeof b, "%s.lora_b", tensor);
    const int64_t ne_a[] = {n_in, rank}, ne_b[] = {rank, n_out};
    assert_int_equal(gguf_add_tensor(w, a, QT_F32, 2, ne_a, &e), 0);
    if (with_b) assert_int_equal(gguf_add_tensor(w, b, QT_F32, 2, ne_b, &e), 0);
    const size_t n = (size_t)(n_in * rank + (with_b ? n_out * rank : 0));
    float *v = malloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = 0.3f * sinf((float)i * 1.7f);
    assert_int_equal(gguf_write_data(w, v, n * sizeof *v, &e), 0);
    free(v);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    return path;
}

static void wrong_adapters_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *arch, *tensor;
        int n_in, n_out;
        bool with_b;
        const char *says;
    } bad[] = {
        {"qwen2", "blk.0.attn_q.weight", 48, 128, true, "general.architecture"},
        {"llama", "blk.0.attn_x.weight", 48, 128, true, "blk.0.attn_x.weight"},
        {"llama", "blk.9.attn_q.weight", 48, 128, true, "blk.9.attn_q.weight"},
        {"llama", "blk.0.attn_q.weight", 48, 127, true, "48 x 127"},
        {"llama", "blk.0.attn_q.weight", 40, 128, true, "40 x 128"},
        {"llama", "blk.0.attn_q.weight", 48, 128, false, "blk.0.attn_q.weight.lora_b"},
    };
    struct rig r;
    struct err e;
    open_toy(&r, &plain, (struct rig_opts){0});
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path =
            write_adapter(bad[i].arch, bad[i].tensor, bad[i].n_in, bad[i].n_out, 4, bad[i].with_b);
        assert_null(model_adapter_open(r.m, path, 1, &e));
        if (!strstr(e.msg, bad[i].says)) fail_msg("\"%s\" does not say %s", e.msg, bad[i].says);
    }
    assert_null(model_adapter_open(r.m, toy_path(&plain), 1, &e));
    assert_non_null(strstr(e.msg, "general.type"));
    rig_close(&r);
}

/* An adapter on a fused tensor reaches all its row ranges: the same as on the parts.  And two
 * sequences in one batch may differ in it. */
static void adapters_reach_fused_rows(void **state) {
    (void)state;
    static const struct toy fused = {
        .arch = "phi3", .rope = 'h', .fused_qkv = true, .fused_up = true};
    struct rig r;
    struct err e;
    struct kv_seq s[2];
    open_toy(&r, &fused, (struct rig_opts){.max_rank = 4});
    run_alone(&r, text(1, 20), 20, 0, whole);
    struct model_adapter *ad = model_adapter_open(
        r.m, write_adapter("phi3", "blk.1.attn_qkv.weight", 48, 96, 4, true), 0.5f, &e);
    assert_non_null(ad);
    const struct adapter *a = model_adapter_get(ad);
    assert_int_equal(a->max_rank, 4);
    kv_seq_init(&s[0], r.pool), kv_seq_init(&s[1], r.pool);
    rig_feed(&r, &s[0], a, text(1, 20), 20, 0, other);
    assert_true(worst(other, whole, 20) > 0.05);
    float with[20 * N_COL];
    memcpy(with, other, sizeof with);
    kv_seq_truncate(&s[0], 0);
    assert_int_equal(kv_seq_extend(&s[0], 20, &e) | kv_seq_extend(&s[1], 20, &e), 0);
    const struct batch_seq b[] = {{&s[0], text(1, 20), 20, NULL, 20},
                                  {&s[1], text(1, 20), 20, a, 20}};
    const float *both = forward_run(r.f, b, 2);
    assert_true(worst(both, whole, 20) < 1e-4);
    assert_true(worst(both + 20 * N_COL, with, 20) < 1e-4);
    kv_seq_truncate(&s[0], 0), kv_seq_truncate(&s[1], 0);
    assert_int_equal(kv_seq_extend(&s[0], 20, &e) | kv_seq_extend(&s[1], 20, &e), 0);
    const struct batch_seq last[] = {{&s[0], text(1, 20), 20, a, 1},
                                     {&s[1], text(1, 20), 20, NULL, 1}};
    both = forward_run(r.f, last, 2);
    assert_true(worst(both, with + 19 * N_COL, 1) < 1e-4);
    assert_true(worst(both + N_COL, whole + 19 * N_COL, 1) < 1e-4);
    kv_seq_fini(&s[0]), kv_seq_fini(&s[1]);
    model_adapter_free(ad);
    rig_close(&r);
}

/* Beside experts, which take none. */
static void adapters_beside_experts(void **state) {
    (void)state;
    struct rig r;
    struct err e;
    struct kv_seq s;
    open_toy(&r, &experts, (struct rig_opts){.max_rank = 4});
    assert_null(model_adapter_open(
        r.m, write_adapter("qwen3moe", "blk.0.ffn_up_exps.weight", 48, 32, 4, true), 1, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    struct model_adapter *ad = model_adapter_open(
        r.m, write_adapter("qwen3moe", "blk.2.attn_output.weight", 128, 48, 4, true), 1, &e);
    assert_non_null(ad);
    run_alone(&r, text(1, 20), 20, 0, whole);
    kv_seq_init(&s, r.pool);
    rig_feed(&r, &s, model_adapter_get(ad), text(1, 20), 20, 0, other);
    assert_true(worst(other, whole, 20) > 0.05);
    kv_seq_fini(&s);
    model_adapter_free(ad);
    rig_close(&r);
}

/* ---- debug points ---- */

struct seen {
    char names[4096];
    int n;
};

static void see(void *ctx, const char *name, int il, const float *x, int n, int n_col, int ld) {
    struct seen *s = ctx;
    assert_true(n == 9 && n_col > 0 && ld >= n_col && isfinite(x[0]));
    if (il <= 0) s->n += snprintf(s->names + s->n, sizeof s->names - (size_t)s->n, "%s ", name);
}

/* The same names everywhere, and watching changes nothing. */
static void points_have_the_same_names(void **state) {
    (void)state;
    for (int k = 0; k < N_KIND; k++) {
        struct rig r;
        struct seen s = {{0}, 0};
        open_toy(&r, kinds[k], (struct rig_opts){.n_threads = 2});
        run_alone(&r, text(1, 9), 9, 0, whole);
        forward_set_tap(r.f, see, &s);
        run_alone(&r, text(1, 9), 9, 0, other);
        assert_true(worst(whole, other, 9) < 1e-4);
        char want[256];
        snprintf(want, sizeof want,
                 "embed attn_norm q k %sattn attn_out ffn_norm %sffn_out l_out "
                 "out_norm logits ",
                 kinds[k] == &latent ? "" : "v ", kinds[k] == &experts ? "router " : "");
        assert_string_equal(s.names, want);
        rig_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_make_no_difference),
        cmocka_unit_test(unwanted_rows_cost_nothing_else),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(company_changes_no_bit),
        cmocka_unit_test(cache_types),
        cmocka_unit_test(quantized_caches_need_whole_blocks),
        cmocka_unit_test(prefixes_are_shared),
        cmocka_unit_test(truncation_copies_what_is_shared),
        cmocka_unit_test(a_full_pool_is_an_error),
        cmocka_unit_test(shift_equals_recomputing),
        cmocka_unit_test(learned_positions_end),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(sizes_are_those_of_the_weights),
        cmocka_unit_test(wrong_adapters_are_refused),
        cmocka_unit_test(adapters_reach_fused_rows),
        cmocka_unit_test(adapters_beside_experts),
        cmocka_unit_test(points_have_the_same_names),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
