/* What a run will do and need, before it begins: steps, memory by parts, operations. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "base/ram.h"
#include "train/train_priv.h"

/* ---- the model's size ---- */

/* Values that a token meets in the products of a forward: of all layers, of the head. */
struct sizes {
    int n_layer;
    double layers, head;
};

static double elements(const struct gguf_tensor *t) {
    return (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
}

static uint32_t key_u32(const struct gguf *g, const char *name) {
    struct str arch = STR("");
    char key[160];
    uint32_t v = 0;
    if (gguf_get_str(g, "general.architecture", &arch, NULL) != 1 || arch.n > 64) return 0;
    snprintf(key, sizeof key, "%.*s.%s", (int)arch.n, arch.p, name);
    return gguf_get_u32(g, key, &v, NULL) == 1 ? v : 0;
}

static void measure(const struct gguf *g, struct sizes *s) {
    const double n_expert = key_u32(g, "expert_count"), n_used = key_u32(g, "expert_used_count");
    double embed = 0;
    *s = (struct sizes){.n_layer = (int)key_u32(g, "block_count")};
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const bool routed = strstr(t->name, "_exps.") && n_expert > 0;
        if (t->n_dim < 2) continue;
        if (strcmp(t->name, "token_embd.weight") == 0) embed = elements(t);
        if (strcmp(t->name, "output.weight") == 0) s->head = elements(t);
        if (strncmp(t->name, "blk.", 4) == 0)
            s->layers += elements(t) * (routed ? n_used / n_expert : 1);
    }
    if (s->head == 0) s->head = embed; /* tied */
}

/* ---- the data ---- */

static int check_seq(const struct train_seq *s, int n, const struct train_opts *o, int64_t *n_tok,
                     int64_t *n_label, int *longest, struct err *e) {
    for (int i = 0; i < n; i++) {
        const int labels = train_count_labels(&s[i]);
        if (s[i].n < 2 || labels == 0)
            return err_set(e, ERR_FORMAT,
                           "training: sequence %d has %d tokens, %d of them to be learned; at "
                           "least 2 and 1 are needed",
                           i + 1, s[i].n, labels);
        if (s[i].n > o->ctx)
            return err_set(e, ERR_FORMAT,
                           "training: sequence %d has %d tokens; the context of %d is accepted",
                           i + 1, s[i].n, o->ctx);
        *n_tok += s[i].n;
        *n_label += labels;
        if (s[i].n > *longest) *longest = s[i].n;
    }
    return 0;
}

/* What is there before the run: the program, libraries, vocabulary.  Reservations have pages of 2
 * MiB that are touched in part: measured, about four of them. */
static uint64_t program_bytes(uint64_t data_bytes) {
    const uint64_t now = os_rss_bytes();
    return (now > data_bytes ? now - data_bytes : 0) + (8 << 20);
}

static int count_all(const struct train_data *d, const struct train_opts *o, struct train_plan *p,
                     struct err *e) {
    int64_t tok = 0, label = 0;
    const int n_unit = d->n_seq / train_unit(o);
    if (n_unit < 1) return err_set(e, ERR_FORMAT, "training: no examples; at least one is needed");
    if (check_seq(d->seq, d->n_seq, o, &p->n_tok, &p->n_label, &p->max_seq_rows, e) != 0 ||
        check_seq(d->valid, d->n_valid, o, &tok, &label, &p->max_seq_rows, e) != 0)
        return -1;
    p->n_seq = d->n_seq;
    p->n_valid = d->n_valid;
    p->n_valid_tok = tok;
    p->n_valid_label = label;
    p->step_per_epoch = (n_unit + o->batch - 1) / o->batch;
    const double steps = fmax(1, round(o->epochs * p->step_per_epoch));
    if (steps > 1e9)
        return err_set(e, ERR_USAGE, "training: %.3g steps; at most 1e9 are accepted", steps);
    p->n_step = (int)steps;
    if (o->max_steps && o->max_steps < p->n_step) p->n_step = o->max_steps;
    p->n_warmup = (int)ceil(o->warmup * p->n_step);
    const int quarter = (p->step_per_epoch + 3) / 4, tenth = (p->n_step + 9) / 10;
    p->valid_every = o->valid_every ? o->valid_every : quarter > tenth ? quarter : tenth;
    p->max_rows = train_plan_rows(d, o, p->n_step, e);
    p->data_bytes = d->n_bytes;
    p->program_bytes = program_bytes(d->n_bytes);
    return p->max_rows < 0 ? -1 : 0;
}

int train_plan_check(const struct train_plan *p, const struct train_data *d,
                     const struct train_opts *o, struct err *e) {
    const int n_unit = d->n_seq / train_unit(o);
    int64_t n_tok = 0;
    int longest = 0;
    for (int i = 0; i < d->n_seq + d->n_valid; i++) {
        const int n = i < d->n_seq ? d->seq[i].n : d->valid[i - d->n_seq].n;
        if (i < d->n_seq) n_tok += n;
        if (n > longest) longest = n;
    }
    if (d->n_seq == p->n_seq && d->n_valid == p->n_valid && n_tok == p->n_tok &&
        longest == p->max_seq_rows && longest <= o->ctx &&
        p->step_per_epoch == (n_unit + o->batch - 1) / o->batch)
        return 0;
    return err_set(e, ERR_USAGE,
                   "training: %d and %d sequences of %lld tokens, at most %d each, in batches of "
                   "%d; the plan is of %d and %d of %lld, at most %d, %d steps an epoch",
                   d->n_seq, d->n_valid, (long long)n_tok, longest, o->batch, p->n_seq, p->n_valid,
                   (long long)p->n_tok, p->max_seq_rows, p->step_per_epoch);
}

/* ---- memory ---- */

static int need(const struct gguf *g, const struct train_opts *o, int n_thread, int kept,
                struct train_plan *p, struct err *e) {
    p->kept_layers = kept;
    const struct grad_opts go = train_grad_opts(o, p);
    if (grad_need(g, &go, n_thread, &p->need, e) != 0) return -1;
    const uint64_t rows = sizeof(float) + sizeof(double) + 3 * sizeof(int32_t);
    p->best_bytes = p->n_valid ? p->need.params / 4 : 0;
    const uint64_t n_seq = (uint64_t)p->n_seq + (uint64_t)p->n_valid;
    p->run_bytes =
        (uint64_t)p->max_rows * rows + n_seq * (sizeof(struct train_seq) + 4 * sizeof(int));
    if (o->method == TRAIN_DPO) { /* log-probabilities: of all, and four of those at hand */
        const int n_pick = 2 * o->batch, n_most = n_pick > p->n_valid ? n_pick : p->n_valid;
        p->run_bytes += (n_seq + 4 * (uint64_t)n_most) * sizeof(double);
    }
    p->total_bytes = p->need.weights + p->need.params + p->need.activations + p->need.head +
                     p->need.scratch + p->data_bytes + p->best_bytes + p->run_bytes +
                     p->program_bytes;
    return 0;
}

int train_plan_fit(const struct gguf *g, const struct train_opts *o, int n_thread, uint64_t limit,
                   struct train_plan *p, bool *fits, struct err *e) {
    int lo = 0, hi = p->n_layer;
    if (o->recompute == TRAIN_RECOMPUTE_ALL) hi = 0;
    if (o->recompute == TRAIN_RECOMPUTE_NONE) lo = hi;
    while (lo < hi) { /* lo: fits, or is the least */
        const int mid = (lo + hi + 1) / 2;
        if (need(g, o, n_thread, mid, p, e) != 0) return -1;
        if (p->total_bytes <= limit)
            lo = mid;
        else
            hi = mid - 1;
    }
    if (need(g, o, n_thread, lo, p, e) != 0) return -1;
    *fits = p->total_bytes <= limit;
    return 0;
}

/* ---- operations ---- */

/* Two for each weight a token meets, in the forward; as many for the gradient of the input, where
 * there is a backward, and again for the weights' own; and again where it is computed twice. */
static double count_flops(const struct sizes *s, const struct train_opts *o,
                          const struct train_plan *p) {
    const bool full = train_is_full(o);
    const double n = p->n_layer > 0 ? p->n_layer : 1;
    const double back =
        full || !o->lora.last_layers || o->lora.last_layers > n ? 1 : o->lora.last_layers / n;
    const double again = fmin(back, 1 - p->kept_layers / n);
    const double epochs = (double)p->n_step / p->step_per_epoch;
    const double tok = (double)p->n_tok, label = (double)p->n_label;
    const double forward = 2 * s->layers * tok + 2 * s->head * label;
    double per_epoch = forward + 2 * s->layers * tok * (back * (full ? 2 : 1) + again) +
                       2 * s->head * label * (full ? 2 : 1);
    if (o->method == TRAIN_DPO) per_epoch += forward + forward / fmax(1, epochs);
    const int n_valid = p->n_valid ? p->n_step / p->valid_every + 2 : 0;
    const double valid =
        2 * s->layers * (double)p->n_valid_tok + 2 * s->head * (double)p->n_valid_label;
    return per_epoch * epochs + valid * n_valid;
}

int train_plan(const struct gguf *g, const struct train_data *d, const struct train_opts *opts,
               int n_thread, struct train_plan *p, struct err *e) {
    struct train_opts o;
    struct sizes s;
    bool fits;
    *p = (struct train_plan){0};
    if (train_resolve(opts, &o, e) != 0 || count_all(d, &o, p, e) != 0) return -1;
    measure(g, &s);
    p->n_layer = s.n_layer;
    p->prec = o.precision == TRAIN_F32 ? GEMM_F32 : gemm_has_bf16() ? GEMM_BF16 : GEMM_F32;
    /* Without a limit the machine's free memory decides only what is computed twice. */
    const uint64_t free_bytes = ram_available_bytes("");
    const uint64_t limit = o.memory_bytes ? o.memory_bytes
                           : free_bytes   ? free_bytes / 10 * 8
                                          : UINT64_MAX;
    if (train_plan_fit(g, &o, n_thread, limit, p, &fits, e) != 0) return -1;
    p->flops = count_flops(&s, &o, p);
    if (fits || !o.memory_bytes) return 0;
    return train_plan_refuse(g, &o, n_thread, p, e);
}
