/* Options of a run: defaults, bounds, names.  Where the defaults come from: "LoRA Without Regret"
 * (Thinking Machines, 2025) for adapters on all linears with ten times the rate of full training;
 * Rafailov et al. (arXiv:2305.18290) for DPO's beta. */
#include <string.h>

#include "train/train_priv.h"

enum { MAX_CTX = 1 << 17, MAX_BATCH = 4096, MAX_STEPS = 1 << 30 };

static const char *const names[] = {
    [TRAIN_LORA] = "lora", [TRAIN_FULL] = "full", [TRAIN_DPO] = "dpo", [TRAIN_QAT] = "qat"};
enum { N_METHOD = sizeof names / sizeof *names };

const char *train_method_name(enum train_method m) {
    return names[m];
}

int train_method_by_name(const char *name) {
    for (int i = 0; i < N_METHOD; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

/* Not twice: what was negative is a zero then. */
static double or_default(double v, double zero) {
    return v == 0 ? zero : v < 0 ? 0 : v;
}

static void fill(struct train_opts *o) {
    const bool full = train_is_full(o);
    o->epochs = o->epochs == 0 ? 3 : o->epochs;
    o->lr = o->lr != 0 ? o->lr : full ? 5e-4 : o->method == TRAIN_DPO ? 5e-5 : 2e-4;
    o->ctx = o->ctx ? o->ctx : 1024;
    o->batch = o->batch ? o->batch : 8;
    o->micro_rows = o->micro_rows ? o->micro_rows : o->ctx;
    o->warmup = or_default(o->warmup, 0.03);
    o->min_ratio = or_default(o->min_ratio, 0.1);
    o->clip = or_default(o->clip, 1);
    o->weight_decay = or_default(o->weight_decay, full ? 0.1 : 0);
    o->beta2 = o->beta2 != 0 ? o->beta2 : 0.999;
    o->patience = o->patience == 0 ? 3 : o->patience < 0 ? 0 : o->patience;
    o->dpo_beta = o->dpo_beta != 0 ? o->dpo_beta : 0.1;
    o->checkpoint_s = o->checkpoint_s != 0 ? o->checkpoint_s : 60;
    if (o->lora.rank == 0) o->lora.rank = 16;
    if (o->lora.alpha == 0) o->lora.alpha = 2 * (float)o->lora.rank;
    if (o->lora.targets == 0) o->lora.targets = LORA_ALL;
}

static int check(const struct train_opts *o, struct err *e) {
    const struct {
        const char *name;
        double v, min, max;
    } bounds[] = {
        {"epochs", o->epochs, 1e-6, 1e6},
        {"learning rate", o->lr, 1e-12, 10},
        {"rank", o->lora.rank, 1, 512},
        {"alpha", (double)o->lora.alpha, 1e-6, 1e6},
        {"dropout", (double)o->lora.dropout, 0, 0.9},
        {"last layers", o->lora.last_layers, 0, 512},
        {"context", o->ctx, 2, MAX_CTX},
        {"batch", o->batch, 1, MAX_BATCH},
        {"rows of a micro-batch", o->micro_rows, o->ctx, 64.0 * MAX_CTX},
        {"steps", o->max_steps, 0, MAX_STEPS},
        {"warm-up", o->warmup, 0, 1},
        {"lowest rate, as a share of the highest,", o->min_ratio, 0, 1},
        {"clip", o->clip, 0, 1e6},
        {"weight decay", o->weight_decay, 0, 10},
        {"beta2", o->beta2, 0.5, 0.99999},
        {"steps between validations", o->valid_every, 0, MAX_STEPS},
        {"beta", o->dpo_beta, 1e-6, 100},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (!(bounds[i].v >= bounds[i].min && bounds[i].v <= bounds[i].max))
            return err_set(e, ERR_USAGE, "training: found %s %g; %.7g to %.7g is accepted",
                           bounds[i].name, bounds[i].v, bounds[i].min, bounds[i].max);
    if (o->from && o->method != TRAIN_LORA)
        return err_set(e, ERR_USAGE,
                       "training: method %s with pairs to go on from; method lora is accepted",
                       train_method_name(o->method));
    if (o->method == TRAIN_QAT && !o->fake)
        return err_set(e, ERR_USAGE,
                       "training: method qat without a type; the type of the result, "
                       "as Q4_K or Q8_0, is needed");
    return 0;
}

int train_resolve(const struct train_opts *in, struct train_opts *out, struct err *e) {
    *out = *in;
    if (!out->resolved) fill(out);
    out->resolved = true;
    return check(out, e);
}

struct grad_opts train_grad_opts(const struct train_opts *o, const struct train_plan *p) {
    return (struct grad_opts){.lora = train_is_full(o) ? NULL : &o->lora,
                              .max_rows = p->max_rows,
                              .max_seq_rows = p->max_seq_rows,
                              .kept_layers = p->kept_layers == p->n_layer ? -1 : p->kept_layers,
                              .prec = p->prec,
                              .fake = o->method == TRAIN_QAT ? o->fake : NULL,
                              .fake_ctx = o->fake_ctx};
}
