/* Losses and gradients of train/grad.h against what shares no code with them: central differences
 * of the plain forward pass in double (toy_forward.c), for every architecture and every tensor; and
 * the identities that must hold between ways to run the same batch. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "gguf/write.h"
#include "model/weights.h"
#include "quant/quant.h"
#include "toy.h"
#include "toy_weights.h"
#include "train/grad.h"
#include "train/loss.h"

enum { N_TOK = 45, MAX_TOK = 96 };

/* A file and its gradients. */
struct bench {
    struct team *team;
    struct gguf *file;
    struct grad *g;
    struct params *p;
};

static void bench_open(struct bench *b, const char *path, int n_thread, struct grad_opts o) {
    struct err e = {0};
    if (!o.max_rows) o.max_rows = MAX_TOK;
    b->team = team_new(n_thread, &e);
    b->file = gguf_open(path, &e);
    b->g = b->file ? grad_new(b->team, b->file, &o, &e) : NULL;
    if (!b->g) fail_msg("%s", e.msg);
    b->p = grad_params(b->g);
}

static void bench_close(struct bench *b) {
    grad_free(b->g);
    gguf_close(b->file);
    team_free(b->team);
}

/* Tokens of a seed, a label for most next ones. */
static struct batch one_sequence(int32_t *tok, int32_t *label, int32_t *start, int n, int seed) {
    for (int i = 0; i < n; i++)
        tok[i] = (i * 37 + seed * 11 + i * i * 5) % TOY_VOCAB;
    for (int i = 0; i < n; i++)
        label[i] = i + 1 < n && i % 5 != 2 ? tok[i + 1] : -1;
    start[0] = 0, start[1] = n;
    return (struct batch){n, 1, tok, label, start};
}

/* Mean loss, its gradient in b->p->grad. */
static double run(struct bench *b, const struct batch *batch) {
    struct err e = {0};
    float coef[MAX_TOK];
    double nll[MAX_TOK];
    const int n_label = batch_n_label(batch);
    loss_coef(batch, n_label, coef);
    memset(b->p->grad, 0, b->p->n_plane * sizeof *b->p->grad);
    if (grad_run(b->g, batch, coef, nll, &e) != 0) fail_msg("%s", e.msg);
    return loss_sum(batch, nll) / n_label;
}

/* ---- every architecture against central differences ---- */

static double toy_loss(const struct toy_model *m, const struct batch *b) {
    double *logits = malloc(sizeof *logits * (size_t)b->n * TOY_VOCAB), loss = 0;
    toy_forward(m, b->tok, b->n, logits);
    for (int i = 0; i < b->n; i++) {
        const double *x = logits + (size_t)i * TOY_VOCAB;
        double sum = 0;
        if (b->label[i] < 0) continue;
        for (int k = 0; k < TOY_VOCAB; k++)
            sum += exp(x[k] - x[b->label[i]]);
        loss += log(sum);
    }
    free(logits);
    return loss / batch_n_label(b);
}

static double noise(uint64_t *s) {
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (double)(*s >> 33) / 0x1p30 - 1;
}

/* The derivative of the loss along a random direction of tensor t, by fourth-order differences, and
 * what the gradient says of it: both for the steps that floats can take. */
static void along(const struct toy_model *m, struct tensor *t, const struct batch *b,
                  const float *grad, uint64_t seed, double *want, double *got) {
    static const double at[4] = {1, -1, 2, -2}, weight[4] = {8, -8, -1, 1};
    const size_t n = (size_t)t->ne[0] * (size_t)t->ne[1] * (size_t)t->ne[2];
    float *v = malloc(n * sizeof *v);
    double square = 0, h;
    memcpy(v, t->v, n * sizeof *v);
    *want = *got = 0;
    for (size_t i = 0; i < n; i++)
        square += (double)v[i] * (double)v[i];
    h = 2e-5 * sqrt(square / (double)n); /* so little that no router chooses another expert */
    for (int k = 0; k < 4; k++) {
        uint64_t s = seed;
        for (size_t i = 0; i < n; i++) {
            t->v[i] = (float)((double)v[i] + at[k] * h * noise(&s));
            *got += weight[k] / 12 * (double)grad[i] * ((double)t->v[i] - (double)v[i]);
        }
        *want += weight[k] / 12 * toy_loss(m, b);
    }
    memcpy(t->v, v, n * sizeof *v);
    free(v);
}

static void check_arch(int i, const char *dir) {
    const struct toy *t = &toy_archs[i];
    char path[512];
    int32_t tok[N_TOK], label[N_TOK], start[2];
    struct toy_model *m = toy_new(t, (uint64_t)i * 977 + 5);
    struct bench b;
    int n_checked = 0;
    const struct batch batch = one_sequence(tok, label, start, N_TOK, i);
    snprintf(path, sizeof path, "%s/%d-%s.gguf", dir, i, t->arch);
    toy_write(m, path);
    bench_open(&b, path, 2, (struct grad_opts){.kept_layers = i % 3});
    const double loss = run(&b, &batch), want_loss = toy_loss(m, &batch);
    if (!(fabs(loss - want_loss) < 1e-5 * want_loss))
        fail_msg("case %d, %s: loss %.9g; %.9g in double", i, t->arch, loss, want_loss);
    for (int k = 0; k < m->n_w; k++) {
        double want, got;
        const struct param *p = params_find(b.p, m->w[k].name);
        if (!p) fail_msg("case %d, %s: '%s' is not trained", i, t->arch, m->w[k].name);
        bool right =
            false; /* a router on the brink of another choice is no derivative: look again */
        for (uint64_t try = 0; try < (t->n_expert ? 4 : 1) && !right; try++) {
            along(m, &m->w[k], &batch, b.p->grad + p->at, 12345 + try, &want, &got);
            right = fabs(want - got) < 1e-3 * fabs(want) + 2e-10;
        }
        if (!right)
            fail_msg("case %d, %s, '%s': derivative %.9g; %.9g by differences", i, t->arch, p->name,
                     got, want);
        n_checked++;
    }
    assert_true(n_checked > 10);
    bench_close(&b);
    toy_free(m);
}

/* Files whose matrices model/ takes apart into memory of its own cannot be written to. */
static bool taken_apart(const struct toy *t) {
    return t->kv_b;
}

static void gradients_of_every_architecture(void **state) {
    (void)state;
    char *dir = temp_folder();
    const int every = SANITIZED ? 6 : 1; /* the plain forward is slow, and more so then */
    for (int i = 0; i < toy_n_arch; i += every)
        if (!toy_archs[i].encoder && !taken_apart(&toy_archs[i])) check_arch(i, dir);
    temp_remove(dir);
}

static void what_cannot_be_trained_is_refused(void **state) {
    (void)state;
    char *dir = temp_folder(), path[512];
    struct team *team = team_new(1, NULL);
    int n_refused = 0;
    for (int i = 0; i < toy_n_arch; i++) {
        const struct toy *t = &toy_archs[i];
        struct err e = {0};
        if (!t->encoder && !taken_apart(t)) continue;
        struct toy_model *m = toy_new(t, 3);
        snprintf(path, sizeof path, "%s/%d.gguf", dir, i);
        toy_write(m, path);
        struct gguf *file = gguf_open(path, &e);
        assert_null(grad_new(team, file, &(struct grad_opts){.max_rows = 8}, &e));
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, path));
        gguf_close(file);
        toy_free(m);
        n_refused++;
    }
    assert_true(n_refused >= 4);
    team_free(team);
    temp_remove(dir);
}

/* ---- adapters ---- */

static struct tensor *toy_tensor(const struct toy_model *m, const char *name) {
    for (int i = 0; i < m->n_w; i++)
        if (!strcmp(m->w[i].name, name)) return &m->w[i];
    return NULL;
}

/* W += scale B A in the toy. */
static void merge(struct toy_model *m, const struct params *p, double scale) {
    for (int i = 0; i < p->n_param; i += 2) {
        const struct param *a = &p->p[i], *b = &p->p[i + 1];
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(a->name) - strlen(".lora_a")), a->name);
        struct tensor *t = toy_tensor(m, name);
        assert_non_null(t);
        const size_t n_in = (size_t)a->ne[0], rank = (size_t)a->ne[1], n_out = (size_t)b->ne[1];
        for (size_t o = 0; o < n_out; o++)
            for (size_t k = 0; k < n_in; k++) {
                double sum = 0;
                for (size_t r = 0; r < rank; r++)
                    sum += (double)p->w[b->at + o * rank + r] * (double)p->w[a->at + r * n_in + k];
                t->v[o * n_in + k] = (float)((double)t->v[o * n_in + k] + scale * sum);
            }
    }
}

/* |x - y| / |y|. */
static double off(const float *x, const double *y, size_t n) {
    double d = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        d += ((double)x[i] - y[i]) * ((double)x[i] - y[i]), square += y[i] * y[i];
    return sqrt(d / (square > 0 ? square : 1));
}

/* With W' = W + s B A:  dB = s dW' A^T,  dA = s B^T dW'.  dW' is that of the merged model, which
 * the test above holds against differences. */
static void check_pair(const struct params *p, int i, const struct params *full, double scale,
                       const char *arch) {
    const struct param *a = &p->p[i], *b = &p->p[i + 1];
    const size_t n_in = (size_t)a->ne[0], rank = (size_t)a->ne[1], n_out = (size_t)b->ne[1];
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(strlen(a->name) - strlen(".lora_a")), a->name);
    const float *dw = full->grad + params_find(full, name)->at;
    double *da = calloc(rank * n_in, sizeof *da), *db = calloc(n_out * rank, sizeof *db);
    for (size_t o = 0; o < n_out; o++)
        for (size_t k = 0; k < n_in; k++)
            for (size_t r = 0; r < rank; r++) {
                const double d = scale * (double)dw[o * n_in + k];
                da[r * n_in + k] += d * (double)p->w[b->at + o * rank + r];
                db[o * rank + r] += d * (double)p->w[a->at + r * n_in + k];
            }
    const double off_a = off(p->grad + a->at, da, a->n), off_b = off(p->grad + b->at, db, b->n);
    if (!(off_a < 2e-4) || !(off_b < 2e-4))
        fail_msg("%s, '%s': dA off by %g, dB by %g", arch, name, off_a, off_b);
    free(da);
    free(db);
}

static void fill_adapter(struct params *p) {
    uint64_t s = 99;
    for (int i = 0; i < p->n_param; i++)
        for (size_t k = 0; k < p->p[i].n; k++)
            p->w[p->p[i].at + k] = (float)(0.1 * noise(&s));
}

static void adapters_of_every_architecture(void **state) {
    (void)state;
    char *dir = temp_folder(), path[512];
    for (int i = 0; i < toy_n_arch; i++) {
        const struct toy *t = &toy_archs[i];
        int32_t tok[N_TOK], label[N_TOK], start[2];
        const struct lora_opts lo = {.rank = 3, .alpha = 4.5f};
        struct bench b, merged;
        if (t->encoder || taken_apart(t)) continue;
        struct toy_model *m = toy_new(t, (uint64_t)i * 31 + 7);
        const struct batch batch = one_sequence(tok, label, start, N_TOK, i);
        snprintf(path, sizeof path, "%s/%d.gguf", dir, i);
        toy_write(m, path);
        bench_open(&b, path, 2, (struct grad_opts){.lora = &lo, .kept_layers = i % 4 - 1});
        fill_adapter(b.p);
        const double loss = run(&b, &batch);
        merge(m, b.p, (double)lora_scale(&lo));
        snprintf(path, sizeof path, "%s/%d-merged.gguf", dir, i);
        toy_write(m, path);
        bench_open(&merged, path, 1, (struct grad_opts){.kept_layers = -1});
        const double want = run(&merged, &batch);
        if (!(fabs(loss - want) < 2e-5 * want))
            fail_msg("%s: loss %.9g with the adapter, %.9g merged", t->arch, loss, want);
        for (int k = 0; k < b.p->n_param; k += 2)
            check_pair(b.p, k, merged.p, (double)lora_scale(&lo), t->arch);
        bench_close(&b);
        bench_close(&merged);
        toy_free(m);
    }
    temp_remove(dir);
}

/* ---- every type of weight ---- */

/* The toy with its matrices in `type`, or (back) with what those bytes decode to. */
static void write_quantized(const struct toy_model *m, const char *like, const char *path,
                            enum qtype type, bool back) {
    struct err e = {0};
    struct gguf *from = gguf_open(like, &e);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(from);
    assert_non_null(w);
    for (int i = 0; i < gguf_n_kv(from); i++)
        assert_int_equal(gguf_copy_kv(w, gguf_kv_at(from, i), &e), 0);
    for (int i = 0; i < m->n_w; i++) {
        const struct tensor *t = &m->w[i];
        const int64_t ne[3] = {t->ne[0], t->ne[1], t->ne[2]};
        const enum qtype as = t->n_dim == 2 && !back ? type : QT_F32;
        assert_int_equal(gguf_add_tensor(w, t->name, as, t->n_dim, ne, &e), 0);
    }
    for (int i = 0; i < m->n_w; i++) {
        const struct tensor *t = &m->w[i];
        const size_t n_col = (size_t)t->ne[0], n_row = (size_t)t->ne[1];
        const size_t row = qtype_row_bytes(type, (int)n_col);
        uint8_t *blocks = malloc(row);
        float *v = malloc(n_col * sizeof *v);
        for (size_t r = 0; r < n_row; r++) {
            const float *x = t->v + r * n_col;
            if (t->n_dim == 2) {
                quant_type(type)->encode(x, blocks, n_col, NULL);
                quant_type(type)->decode(blocks, v, n_col);
                x = v;
            }
            const bool raw = t->n_dim == 2 && !back;
            assert_int_equal(gguf_write_data(w, raw ? (const void *)blocks : x,
                                             raw ? row : n_col * sizeof *v, &e),
                             0);
        }
        free(blocks);
        free(v);
    }
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    gguf_close(from);
}

/* A frozen base of any type: the gradients are those of the floats that it stands for. */
static void adapters_on_every_type(void **state) {
    (void)state;
    static const struct toy shape = {.arch = "llama",
                                     .rope = 'p',
                                     .n_layer = 2,
                                     .n_embd = 256,
                                     .n_head = 4,
                                     .n_kv = 2,
                                     .n_ff = 256};
    char *dir = temp_folder(), path[512], coded[512], plain[512];
    struct toy_model *m = toy_new(&shape, 21);
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch batch = one_sequence(tok, label, start, N_TOK, 4);
    const struct lora_opts lo = {.rank = 4};
    int n_type = 0;
    snprintf(path, sizeof path, "%s/f32.gguf", dir);
    toy_write(m, path);
    for (uint32_t t = 0; t < QT_COUNT; t++) {
        if (!qtype_geom(t) || !quant_type((enum qtype)t)->encode) continue;
        struct bench a, b;
        snprintf(coded, sizeof coded, "%s/%s.gguf", dir, qtype_name(t));
        snprintf(plain, sizeof plain, "%s/%s-back.gguf", dir, qtype_name(t));
        write_quantized(m, path, coded, (enum qtype)t, false);
        write_quantized(m, path, plain, (enum qtype)t, true);
        bench_open(&a, coded, 2, (struct grad_opts){.lora = &lo, .kept_layers = 1});
        bench_open(&b, plain, 2, (struct grad_opts){.lora = &lo, .kept_layers = -1});
        fill_adapter(a.p), fill_adapter(b.p);
        const double x = run(&a, &batch), y = run(&b, &batch);
        if (x != y || memcmp(a.p->grad, b.p->grad, a.p->n_plane * sizeof(float)))
            fail_msg("%s: loss %.9g; %.9g of its floats, or gradients differ", qtype_name(t), x, y);
        bench_close(&a);
        bench_close(&b);
        n_type++;
    }
    assert_true(n_type >= 25);
    toy_free(m);
    temp_remove(dir);
}

/* ---- identities ---- */

static char *write_toy(const char *dir, const char *arch) {
    static char path[512];
    for (int i = 0; i < toy_n_arch; i++) {
        if (strcmp(toy_archs[i].arch, arch)) continue;
        struct toy_model *m = toy_new(&toy_archs[i], 77);
        snprintf(path, sizeof path, "%s/%s.gguf", dir, arch);
        toy_write(m, path);
        toy_free(m);
        return path;
    }
    fail_msg("no toy %s", arch);
    return NULL;
}

static const char *const some_archs[] = {"llama", "qwen3",    "gemma2",
                                         "phi3",  "qwen3moe", "deepseek2"};
enum { N_SOME = sizeof some_archs / sizeof *some_archs };

/* Gradients in new memory. */
static float *gradients(const char *path, int n_thread, struct grad_opts o, const struct batch *b,
                        double *loss) {
    struct bench k;
    bench_open(&k, path, n_thread, o);
    if (o.lora) fill_adapter(k.p);
    *loss = run(&k, b);
    const size_t n = k.p->n_plane * sizeof(float);
    float *g = malloc(n + sizeof n);
    memcpy(g, k.p->grad, n);
    memcpy((uint8_t *)g + n, &n, sizeof n);
    bench_close(&k);
    return g;
}

/* One, two, three threads; kept and computed again; adapters with and without dropout, all weights:
 * not a bit differs. */
static void threads_and_recomputation_change_no_bit(void **state) {
    (void)state;
    char *dir = temp_folder();
    const struct lora_opts plain = {.rank = 5}, drop = {.rank = 5, .dropout = 0.25f};
    const struct lora_opts *const lora[] = {NULL, &plain, &drop};
    for (int a = 0; a < N_SOME; a++) {
        int32_t tok[64], label[64], start[2];
        const struct batch b = one_sequence(tok, label, start, 64, a);
        const char *path = write_toy(dir, some_archs[a]);
        for (int k = 0; k < 3; k++) {
            double want, loss;
            float *g = gradients(path, 1, (struct grad_opts){.lora = lora[k], .kept_layers = -1},
                                 &b, &want);
            for (int n = 1; n <= 3; n++) {
                struct grad_opts o = {.lora = lora[k], .kept_layers = n - 1};
                float *h = gradients(path, n, o, &b, &loss);
                size_t bytes = 0;
                struct bench probe;
                bench_open(&probe, path, 1, o);
                bytes = probe.p->n_plane * sizeof(float);
                bench_close(&probe);
                if (loss != want || memcmp(g, h, bytes))
                    fail_msg("%s, %d threads, %d layers kept: another result", some_archs[a], n,
                             n - 1);
                free(h);
            }
            free(g);
        }
    }
    temp_remove(dir);
}

/* Sequences in one pack, and each alone with the gradients added up. */
static void packed_is_unpacked(void **state) {
    (void)state;
    static const int length[] = {1, 17, 2, 40, 9};
    char *dir = temp_folder();
    for (int a = 0; a < N_SOME; a++) {
        int32_t tok[MAX_TOK], label[MAX_TOK], start[6] = {0};
        struct err e = {0};
        struct bench packed, alone;
        float coef[MAX_TOK];
        double nll[MAX_TOK], one_nll[MAX_TOK];
        struct batch b = {.tok = tok, .label = label, .seq_start = start};
        for (int s = 0; s < 5; s++) {
            int32_t two[2];
            one_sequence(tok + b.n, label + b.n, two, length[s], 3 * s + a);
            b.n += length[s], start[++b.n_seq] = b.n;
        }
        const char *path = write_toy(dir, some_archs[a]);
        bench_open(&packed, path, 2, (struct grad_opts){.kept_layers = -1});
        bench_open(&alone, path, 2, (struct grad_opts){.kept_layers = 0});
        loss_coef(&b, batch_n_label(&b), coef);
        assert_int_equal(grad_run(packed.g, &b, coef, nll, &e), 0);
        for (int s = 0; s < 5; s++) {
            int32_t two[2] = {0, length[s]};
            const struct batch one = {length[s], 1, tok + start[s], label + start[s], two};
            assert_int_equal(grad_run(alone.g, &one, coef + start[s], one_nll, &e), 0);
            if (memcmp(one_nll, nll + start[s], (size_t)length[s] * sizeof *nll))
                fail_msg("%s: sequence %d has other losses in a pack", some_archs[a], s);
        }
        for (int i = 0; i < packed.p->n_param; i++) {
            const struct param *p = &packed.p->p[i];
            double *want = malloc(p->n * sizeof *want);
            for (size_t k = 0; k < p->n; k++)
                want[k] = (double)alone.p->grad[p->at + k];
            const double d = off(packed.p->grad + p->at, want, p->n);
            if (!(d < 1e-5)) fail_msg("%s, '%s': off by %g in a pack", some_archs[a], p->name, d);
            free(want);
        }
        bench_close(&packed);
        bench_close(&alone);
    }
    temp_remove(dir);
}

/* A prompt's rows have no label: what would be learned of them changes nothing; and with B zero an
 * adapter changes no bit of the losses. */
static void masked_rows_and_fresh_adapters(void **state) {
    (void)state;
    char *dir = temp_folder();
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch b = one_sequence(tok, label, start, N_TOK, 1);
    const struct lora_opts lo = {0};
    double base[N_TOK], tuned[N_TOK];
    struct bench k;
    struct rng r;
    struct err e = {0};
    bench_open(&k, write_toy(dir, "llama"), 2, (struct grad_opts){.lora = &lo, .kept_layers = -1});
    rng_seed(&r, 4);
    lora_init(k.p, &r);
    assert_int_equal(grad_eval(k.g, &b, true, base, &e), 0);
    assert_int_equal(grad_eval(k.g, &b, false, tuned, &e), 0);
    assert_memory_equal(base, tuned, sizeof base);
    for (int i = 0; i < N_TOK; i++)
        assert_true((base[i] > 0) == (label[i] >= 0));

    float coef[N_TOK];
    loss_coef(&b, batch_n_label(&b), coef);
    for (int i = 0; i < N_TOK; i++)
        if (label[i] < 0) coef[i] = 1e6f; /* asked for, but there is nothing to learn */
    assert_int_equal(grad_run(k.g, &b, coef, tuned, &e), 0);
    const size_t bytes = k.p->n_plane * sizeof(float);
    float *g = malloc(bytes);
    memcpy(g, k.p->grad, bytes);
    run(&k, &b);
    assert_memory_equal(g, k.p->grad, bytes);
    free(g);
    bench_close(&k);
    temp_remove(dir);
}

static void dropout_follows_its_seed(void **state) {
    (void)state;
    char *dir = temp_folder();
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch b = one_sequence(tok, label, start, N_TOK, 1);
    const struct lora_opts lo = {.rank = 4, .dropout = 0.5f};
    struct bench k;
    bench_open(&k, write_toy(dir, "llama"), 2, (struct grad_opts){.lora = &lo, .kept_layers = 0});
    fill_adapter(k.p);
    grad_set_seed(k.g, 1);
    const double first = run(&k, &b), again = run(&k, &b);
    grad_set_seed(k.g, 2);
    const double other = run(&k, &b);
    assert_true(first == again && first != other);
    double nll[N_TOK], twice[N_TOK];
    struct err e = {0};
    assert_int_equal(grad_eval(k.g, &b, false, nll, &e), 0); /* nothing is dropped when evaluated */
    grad_set_seed(k.g, 3);
    assert_int_equal(grad_eval(k.g, &b, false, twice, &e), 0);
    assert_memory_equal(nll, twice, sizeof nll);
    bench_close(&k);
    temp_remove(dir);
}

static enum qtype fake_q8(void *ctx, const char *tensor) {
    (void)ctx;
    return strstr(tensor, "ffn_") && strstr(tensor, "weight") && !strstr(tensor, "norm") ? QT_Q8_0
                                                                                         : QT_F32;
}

/* Quantization-aware: losses are those of the rounded model, gradients too, and the parameters stay
 * as fine as they were. */
static void rounding_in_the_forward(void **state) {
    (void)state;
    static const struct toy shape = {.arch = "llama", .rope = 'p', .n_embd = 64, .n_ff = 96};
    char *dir = temp_folder(), path[512], rounded[512];
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch b = one_sequence(tok, label, start, N_TOK, 2);
    struct toy_model *m = toy_new(&shape, 5);
    struct bench fake, plain;
    snprintf(path, sizeof path, "%s/a.gguf", dir);
    snprintf(rounded, sizeof rounded, "%s/b.gguf", dir);
    toy_write(m, path);
    bench_open(&fake, path, 2, (struct grad_opts){.fake = fake_q8, .kept_layers = -1});
    for (int i = 0; i < fake.p->n_param; i++)
        assert_memory_equal(fake.p->w + fake.p->p[i].at, toy_tensor(m, fake.p->p[i].name)->v,
                            fake.p->p[i].n * sizeof(float));
    for (int i = 0; i < m->n_w; i++) {
        struct tensor *t = &m->w[i];
        struct block {
            uint16_t d;
            int8_t q[32];
        } blocks[4];
        if (fake_q8(NULL, t->name) == QT_F32) continue;
        for (int r = 0; r < t->ne[1]; r++) {
            float *x = t->v + (size_t)r * (size_t)t->ne[0];
            quant_type(QT_Q8_0)->encode(x, blocks, (size_t)t->ne[0], NULL);
            quant_type(QT_Q8_0)->decode(blocks, x, (size_t)t->ne[0]);
        }
    }
    toy_write(m, rounded);
    bench_open(&plain, rounded, 2, (struct grad_opts){.kept_layers = -1});
    assert_true(run(&fake, &b) == run(&plain, &b));
    assert_memory_equal(fake.p->grad, plain.p->grad, fake.p->n_plane * sizeof(float));
    bench_close(&fake);
    bench_close(&plain);
    toy_free(m);
    temp_remove(dir);
}

/* ---- experts of which gate and up are one tensor ---- */

#define GATE "ffn_gate_exps.weight"
#define UP "ffn_up_exps.weight"
#define BOTH "ffn_gate_up_exps.weight"

static bool is_half(const char *name, const char *half) {
    const size_t n = strlen(name), m = strlen(half);
    return n > m && strcmp(name + n - m, half) == 0;
}

/* "blk.0.ffn_gate_exps.weight" to another of its layer. */
static const char *beside(const char *name, const char *what) {
    static char out[128];
    snprintf(out, sizeof out, "%.*s%s", (int)(strchr(name + 4, '.') + 1 - name), name, what);
    return out;
}

/* The file with each expert's gate rows and then its up rows in one. */
static void fuse_experts(const char *from, const char *to) {
    struct err e = {0};
    struct gguf *g = gguf_open(from, &e);
    struct gguf_writer *w = gguf_writer_new(to, 0, &e);
    if (!g || !w) fail_msg("%s", e.msg);
    for (int i = 0; i < gguf_n_kv(g); i++)
        assert_int_equal(gguf_copy_kv(w, gguf_kv_at(g, i), &e), 0);
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const bool gate = is_half(t->name, GATE);
        const int64_t ne[4] = {t->ne[0], t->ne[1] * (gate ? 2 : 1), t->ne[2], t->ne[3]};
        if (is_half(t->name, UP)) continue;
        const char *name = gate ? beside(t->name, BOTH) : t->name;
        assert_int_equal(gguf_add_tensor(w, name, t->type, t->n_dim, ne, &e), 0);
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i), *up = NULL;
        if (is_half(t->name, UP)) continue;
        if (is_half(t->name, GATE)) up = gguf_tensor(g, beside(t->name, UP));
        const size_t n = up ? t->n_bytes / (size_t)t->ne[2] : t->n_bytes;
        for (size_t at = 0; at < t->n_bytes; at += n) {
            assert_int_equal(gguf_write_data(w, t->data + at, n, &e), 0);
            if (up) assert_int_equal(gguf_write_data(w, up->data + at, n, &e), 0);
        }
    }
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    gguf_close(g);
}

static void fused_experts_are_trained_alike(void **state) {
    (void)state;
    char *dir = temp_folder(), fused[512];
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch b = one_sequence(tok, label, start, N_TOK, 4);
    const char *path = write_toy(dir, "qwen3moe");
    struct bench two, one;
    int n_seen = 0;
    snprintf(fused, sizeof fused, "%s/fused.gguf", dir);
    fuse_experts(path, fused);
    bench_open(&two, path, 2, (struct grad_opts){.kept_layers = -1});
    bench_open(&one, fused, 2, (struct grad_opts){.kept_layers = -1});
    assert_true(run(&two, &b) == run(&one, &b));
    for (int i = 0; i < two.p->n_param; i++) {
        const struct param *p = &two.p->p[i];
        const bool gate = is_half(p->name, GATE), up = is_half(p->name, UP);
        const char *name = gate || up ? beside(p->name, BOTH) : p->name;
        const struct param *q = params_find(one.p, name);
        const size_t n = gate || up ? (size_t)(p->ne[0] * p->ne[1]) : p->n;
        assert_non_null(q);
        for (size_t at = 0; at < p->n; at += n)
            if (memcmp(two.p->grad + p->at + at,
                       one.p->grad + q->at + (gate || up ? 2 * at : at) + (up ? n : 0),
                       n * sizeof(float)))
                fail_msg("%s: another gradient at %zu", p->name, at);
        n_seen += gate || up;
    }
    assert_true(n_seen >= 2);
    bench_close(&two);
    bench_close(&one);
    temp_remove(dir);
}

/* ---- tensors that toys have not ---- */

struct extra {
    const char *name;
    int64_t n_col, n_row; /* n_row 0: a vector */
};

/* The file with more tensors, of values between -0.2 and 0.2. */
static void add_tensors(const char *from, const char *to, const struct extra *x, int n_extra) {
    struct err e = {0};
    uint64_t s = 3;
    struct gguf *g = gguf_open(from, &e);
    struct gguf_writer *w = gguf_writer_new(to, 0, &e);
    if (!g || !w) fail_msg("%s", e.msg);
    for (int i = 0; i < gguf_n_kv(g); i++)
        assert_int_equal(gguf_copy_kv(w, gguf_kv_at(g, i), &e), 0);
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_int_equal(gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, &e), 0);
    }
    for (int i = 0; i < n_extra; i++) {
        const int64_t ne[2] = {x[i].n_col, x[i].n_row};
        assert_int_equal(gguf_add_tensor(w, x[i].name, QT_F32, x[i].n_row ? 2 : 1, ne, &e), 0);
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_int_equal(gguf_write_data(w, t->data, t->n_bytes, &e), 0);
    }
    for (int i = 0; i < n_extra; i++)
        for (int64_t k = 0; k < x[i].n_col * (x[i].n_row ? x[i].n_row : 1); k++) {
            const float v = (float)(0.2 * noise(&s));
            assert_int_equal(gguf_write_data(w, &v, sizeof v, &e), 0);
        }
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    gguf_close(g);
}

/* A tensor that the model does not read is no parameter: nothing but decay would happen to it. */
static void what_is_not_read_stays(void **state) {
    (void)state;
    static const struct extra more = {"adapter_of_another.weight", 8, 6};
    char *dir = temp_folder(), path[512];
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch b = one_sequence(tok, label, start, N_TOK, 4);
    struct bench plain, with;
    bench_open(&plain, write_toy(dir, "llama"), 2, (struct grad_opts){.kept_layers = -1});
    snprintf(path, sizeof path, "%s/more.gguf", dir);
    add_tensors(gguf_path(plain.file), path, &more, 1);
    bench_open(&with, path, 2, (struct grad_opts){.kept_layers = -1});
    assert_null(params_find(with.p, more.name));
    assert_int_equal(with.p->n_param, plain.p->n_param);
    assert_true(run(&with, &b) == run(&plain, &b));
    assert_memory_equal(with.p->grad, plain.p->grad, plain.p->n_plane * sizeof(float));
    bench_close(&plain);
    bench_close(&with);
    temp_remove(dir);
}

static double loss_with(struct bench *b, const struct batch *batch) {
    struct err e = {0};
    double nll[MAX_TOK];
    grad_refresh(b->g);
    if (grad_eval(b->g, batch, false, nll, &e) != 0) fail_msg("%s", e.msg);
    return loss_sum(batch, nll) / batch_n_label(batch);
}

/* Along its own gradient the loss rises by the gradient's length. */
static void check_rise(struct bench *b, const struct batch *batch, const char *name) {
    const struct param *p = params_find(b->p, name);
    const double h = 1e-3;
    double square = 0, loss[2];
    assert_non_null(p);
    run(b, batch);
    const float *g = b->p->grad + p->at;
    float *w = b->p->w + p->at;
    for (size_t i = 0; i < p->n; i++)
        square += (double)g[i] * (double)g[i];
    if (!(square > 0)) fail_msg("'%s' has no gradient", name);
    float *was = malloc(p->n * sizeof *was);
    memcpy(was, w, p->n * sizeof *was);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < p->n; i++)
            w[i] = (float)((double)was[i] + (k ? -h : h) * (double)g[i] / sqrt(square));
        loss[k] = loss_with(b, batch);
    }
    memcpy(w, was, p->n * sizeof *was);
    grad_refresh(b->g);
    free(was);
    const double rise = (loss[0] - loss[1]) / (2 * h), length = sqrt(square);
    if (!(fabs(rise - length) < 0.02 * length))
        fail_msg("'%s': the loss rises by %g, the gradient is %g", name, rise, length);
}

/* Latent attention whose maps of heads have biases. */
static void biases_of_heads_are_trained(void **state) {
    (void)state;
    static const struct extra bias[] = {
        {"blk.0.attn_k_b.bias", 24, 4}, {"blk.0.attn_v_b.bias", 12, 4},
        {"blk.1.attn_k_b.bias", 24, 4}, {"blk.1.attn_v_b.bias", 12, 4},
        {"blk.2.attn_k_b.bias", 24, 4}, {"blk.2.attn_v_b.bias", 12, 4}};
    char *dir = temp_folder(), path[512];
    int32_t tok[N_TOK], label[N_TOK], start[2];
    const struct batch b = one_sequence(tok, label, start, N_TOK, 4);
    struct bench k;
    snprintf(path, sizeof path, "%s/bias.gguf", dir);
    add_tensors(write_toy(dir, "deepseek2"), path, bias, 6);
    bench_open(&k, path, 2, (struct grad_opts){.kept_layers = 1});
    for (int i = 0; i < 6; i++)
        check_rise(&k, &b, bias[i].name);
    bench_close(&k);
    temp_remove(dir);
}

/* ---- what is known before ---- */

/* In a process of its own, whose peak begins at what it has. */
static bool asks_without_a_copy(const char *path) {
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct grad_need need;
        struct gguf *file = gguf_open(path, NULL);
        const size_t before = os_rss_bytes();
        const struct grad_opts o = {.max_rows = 8, .kept_layers = -1};
        if (!file || grad_need(file, &o, 2, &need, NULL) != 0) _exit(2);
        const uint64_t n_file = gguf_file_at(file, 0).n;
        _exit(need.weights == n_file && os_peak_rss_bytes() < before + n_file / 4 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
    return status == 0;
}

/* All weights: the need is that of a copy, but no copy is made to find it out. */
static void needs_are_known_without_a_copy(void **state) {
    (void)state;
    static const struct toy shape = {
        .arch = "llama", .rope = 'p', .n_layer = 2, .n_embd = 512, .n_ff = 2048};
    char *dir = temp_folder(), path[512];
    struct toy_model *m = toy_new(&shape, 5);
    snprintf(path, sizeof path, "%s/a.gguf", dir);
    toy_write(m, path);
    toy_free(m);
    assert_true(asks_without_a_copy(path) || SANITIZED);
    temp_remove(dir);
}

/* Rows times heads beyond an int. */
static void too_many_rows_are_refused(void **state) {
    (void)state;
    char *dir = temp_folder();
    const struct lora_opts lo = {0};
    struct err e = {0};
    struct team *team = team_new(1, &e);
    struct gguf *file = gguf_open(write_toy(dir, "llama"), &e);
    assert_null(grad_new(team, file, &(struct grad_opts){.lora = &lo, .max_rows = 1 << 30}, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "1073741824 rows of 4 heads"));
    gguf_close(file);
    team_free(team);
    temp_remove(dir);
}

static void bad_batches_are_refused(void **state) {
    (void)state;
    char *dir = temp_folder();
    int32_t tok[N_TOK], label[N_TOK], start[2];
    struct batch b = one_sequence(tok, label, start, N_TOK, 1);
    const struct lora_opts lo = {0};
    double nll[MAX_TOK];
    struct bench k;
    struct err e = {0};
    bench_open(&k, write_toy(dir, "llama"), 1,
               (struct grad_opts){.lora = &lo, .max_rows = N_TOK, .max_seq_rows = N_TOK - 5});
    assert_int_equal(grad_eval(k.g, &b, false, nll, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    b.n = start[1] = N_TOK - 5;
    tok[3] = TOY_VOCAB;
    assert_int_equal(grad_eval(k.g, &b, false, nll, &e), -1);
    assert_non_null(strstr(e.msg, "row 3"));
    tok[3] = -1;
    assert_int_equal(grad_eval(k.g, &b, false, nll, &e), -1);
    tok[3] = 3, label[4] = TOY_VOCAB;
    assert_int_equal(grad_eval(k.g, &b, false, nll, &e), -1);
    label[4] = 4;
    assert_int_equal(grad_eval(k.g, &b, false, nll, &e), 0);
    bench_close(&k);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_every_architecture),
        cmocka_unit_test(what_cannot_be_trained_is_refused),
        cmocka_unit_test(adapters_of_every_architecture),
        cmocka_unit_test(adapters_on_every_type),
        cmocka_unit_test(threads_and_recomputation_change_no_bit),
        cmocka_unit_test(packed_is_unpacked),
        cmocka_unit_test(masked_rows_and_fresh_adapters),
        cmocka_unit_test(dropout_follows_its_seed),
        cmocka_unit_test(rounding_in_the_forward),
        cmocka_unit_test(fused_experts_are_trained_alike),
        cmocka_unit_test(what_is_not_read_stays),
        cmocka_unit_test(biases_of_heads_are_trained),
        cmocka_unit_test(needs_are_known_without_a_copy),
        cmocka_unit_test(too_many_rows_are_refused),
        cmocka_unit_test(bad_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
