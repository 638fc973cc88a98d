/* `cria debug train`: compute what a case of reference training data computes, losses, gradients,
 * optimizer steps or preferences, and write every array and scalar under the case's own names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cores.h"
#include "cli/commands.h"
#include "cli/train_case.h"
#include "train/dpo.h"
#include "train/grad.h"
#include "train/loss.h"
#include "train/optim.h"

static const char *case_path, *out_path;
static int n_thread, recompute, bf16;

const struct opt *debug_train_options(void) {
    static const struct opt table[] = {
        {"case", 0, OPT_STR, &case_path, 0, 0, "FILE", "CASE.json, its .bin and models/ beside it"},
        {"out", 0, OPT_STR, &out_path, 0, 0, "DIR", "where the arrays and scalars.json go"},
        {"threads", 0, OPT_INT, &n_thread, 1, 512, "N", "threads"},
        {"recompute", 0, OPT_FLAG, &recompute, 0, 0, NULL, "keep no layer's activations"},
        {"bf16", 0, OPT_FLAG, &bf16, 0, 0, NULL, "products of bfloat16 operands"},
        {0},
    };
    return table;
}

/* What a case runs with. */
struct rig {
    struct train_case c;
    struct team *team;
    struct gguf *file, *adapter;
    struct grad *g;
    struct params *p;
    const char **tensor; /* [n_tensor] weights with an adapter; pieces of `names` */
    char *names;
    int n_tensor;
    double *nll; /* [max rows] */
    float *coef; /* the same */
    int max_rows;
};

static void rig_close(struct rig *r) {
    grad_free(r->g);
    gguf_close(r->file);
    gguf_close(r->adapter);
    team_free(r->team);
    free(r->tensor);
    free(r->names);
    free(r->nll);
    free(r->coef);
    train_case_close(&r->c);
}

/* ---- adapters of a case ---- */

static const char lora_a[] = ".lora_a";

static bool add_tensor(struct rig *r, const char *name, size_t skip, char **at) {
    const size_t n = strlen(name);
    if (n < skip + sizeof lora_a || strcmp(name + n - strlen(lora_a), lora_a)) return true;
    r->tensor = realloc(r->tensor, ((size_t)r->n_tensor + 1) * sizeof *r->tensor);
    if (!r->tensor) return false;
    r->tensor[r->n_tensor++] = *at;
    *at += sprintf(*at, "%.*s", (int)(n - skip - strlen(lora_a)), name + skip) + 1;
    return true;
}

/* Weights that the case's arrays init/NAME.lora_a, or else its model's adapter file, name. */
static int find_tensors(struct rig *r, struct err *e) {
    const json_t *a, *list = json_object_get(r->c.json, "arrays");
    const int n_file = r->adapter ? gguf_n_tensor(r->adapter) : 0;
    size_t i;
    char *at = r->names = malloc((json_array_size(list) + (size_t)n_file + 1) * 256);
    if (!at) return err_nomem(e, "adapter");
    for (int k = 0; k < n_file; k++)
        if (!add_tensor(r, gguf_tensor_at(r->adapter, k)->name, 0, &at))
            return err_nomem(e, "adapter");
    json_array_foreach(list, i, a) {
        const char *name = json_string_value(json_object_get(a, "name"));
        if (!name || strncmp(name, "init/", 5) || strlen(name) > 200) continue;
        if (!add_tensor(r, name, 5, &at)) return err_nomem(e, "adapter");
    }
    return 0;
}

/* The parameters' first values. */
static int fill(struct rig *r, struct err *e) {
    for (int i = 0; i < r->p->n_param; i++) {
        const struct param *p = &r->p->p[i];
        char name[300];
        size_t n = 0;
        const float *from;
        snprintf(name, sizeof name, "init/%s", p->name);
        if (r->adapter) {
            const struct gguf_tensor *t = gguf_tensor(r->adapter, p->name);
            from = t && t->type == QT_F32 ? (const float *)(const void *)t->data : NULL;
            n = t ? t->n_bytes / sizeof *from : 0;
        } else {
            from = train_case_array(&r->c, name, "f32", &n, e);
        }
        if (!from || n != p->n)
            return err_set(e, ERR_FORMAT, "array '%s': %zu values; %zu are needed", name, n, p->n);
        memcpy(r->p->w + p->at, from, n * sizeof *from);
    }
    return 0;
}

/* ---- set-up ---- */

static int open_file(const struct rig *r, const char *folder, const char *tail, struct gguf **out,
                     struct err *e) {
    char path[1024];
    snprintf(path, sizeof path, "%s%s/%s%s", r->c.folder, folder, train_case_model(&r->c), tail);
    *out = gguf_open(path, e);
    return *out ? 0 : -1;
}

/* Rows of the largest batch of a case: all its batches are arrays of tokens. */
static int most_rows(const struct train_case *c) {
    const json_t *a, *list = json_object_get(c->json, "arrays");
    json_int_t most = 1;
    size_t i;
    json_array_foreach(list, i, a) {
        const char *name = json_string_value(json_object_get(a, "name"));
        const json_int_t n = json_integer_value(json_array_get(json_object_get(a, "shape"), 0));
        const size_t len = name ? strlen(name) : 0;
        if (len >= 6 && !strcmp(name + len - 6, "tokens") && n > most && n < 1 << 24) most = n;
    }
    return (int)most;
}

static int rig_open(struct rig *r, bool lora, bool from_file, struct err *e) {
    const int n = n_thread ? n_thread : cores_default_threads(e);
    if (n < 0 || !(r->team = team_new(n, e))) return -1;
    if (open_file(r, "models", ".gguf", &r->file, e) != 0) return -1;
    if (lora && from_file && open_file(r, "adapters", ".lora.gguf", &r->adapter, e) != 0) return -1;
    if (lora && find_tensors(r, e) != 0) return -1;
    const double rank = train_case_param(&r->c, "rank", 1);
    const struct lora_opts lo = {
        .rank = (int)rank,
        .alpha = (float)(train_case_param(&r->c, "scale", 1) * rank),
        .tensors = r->tensor,
        .n_tensors = r->n_tensor,
    };
    r->max_rows = most_rows(&r->c);
    const struct grad_opts o = {
        .lora = lora ? &lo : NULL,
        .max_rows = r->max_rows,
        .kept_layers = recompute ? 0 : -1,
        .prec = bf16 ? GEMM_BF16 : GEMM_F32,
    };
    r->g = grad_new(r->team, r->file, &o, e);
    if (!r->g) return -1;
    r->p = grad_params(r->g);
    r->nll = malloc((size_t)r->max_rows * sizeof *r->nll);
    r->coef = malloc((size_t)r->max_rows * sizeof *r->coef);
    if (!r->nll || !r->coef) return err_nomem(e, "losses");
    return lora ? fill(r, e) : 0;
}

/* ---- what cases share ---- */

static double mean_loss(const struct batch *b, const double *nll) {
    const int n = batch_n_label(b);
    return n ? loss_sum(b, nll) / n : 0;
}

/* NAME/TENSOR of a plane. */
static int write_plane(const struct rig *r, const char *name, const float *plane, struct err *e) {
    for (int i = 0; i < r->p->n_param; i++) {
        const struct param *p = &r->p->p[i];
        char full[300];
        snprintf(full, sizeof full, "%s/%s", name, p->name);
        if (train_case_write(&r->c, full, plane + p->at, p->n, e) != 0) return -1;
    }
    return 0;
}

static int run_all(struct rig *r, const struct batch *b, int n_label, struct err *e) {
    loss_coef(b, n_label ? n_label : 1, r->coef);
    return grad_run(r->g, b, r->coef, r->nll, e);
}

/* ---- forward ---- */

struct taps {
    struct rig *r;
    const char *tail;
    float *logits; /* [rows][n_vocab] */
    struct err *e;
    int rc;
};

static void tap(void *ctx, const char *name, int il, const float *x, int n, int n_col, int ld) {
    struct taps *t = ctx;
    char full[64] = "";
    if (!strcmp(name, "logits"))
        memcpy(t->logits + (size_t)il * n_col, x, (size_t)n * (size_t)n_col * sizeof *x);
    if (!strcmp(name, "l_out")) snprintf(full, sizeof full, "layer_out.%d", il);
    if (!strcmp(name, "out_norm")) snprintf(full, sizeof full, "final_norm");
    if (full[0] && !*t->tail && ld == n_col && t->rc == 0)
        t->rc = train_case_write(&t->r->c, full, x, (size_t)n * (size_t)n_col, t->e);
}

static int forward_labels(struct rig *r, const char *labels, const char *middle, const char *tail,
                          struct taps *t, struct err *e) {
    struct batch b;
    char name[64];
    if (train_case_batch(&r->c, "", labels, &b, e) != 0) return -1;
    grad_set_tap(r->g, tap, t);
    if (grad_eval(r->g, &b, !*tail, r->nll, e) != 0 || t->rc != 0) return -1;
    grad_set_tap(r->g, NULL, NULL);
    snprintf(name, sizeof name, "nll%s%s", middle, tail);
    if (train_case_write_doubles(&r->c, name, r->nll, (size_t)b.n, e) != 0) return -1;
    snprintf(name, sizeof name, "loss%s%s", middle, tail);
    train_case_scalar(&r->c, name, mean_loss(&b, r->nll), false);
    snprintf(name, sizeof name, "n_label%s", middle);
    train_case_scalar(&r->c, name, batch_n_label(&b), false);
    snprintf(name, sizeof name, "logits%s", tail);
    return train_case_write(&r->c, name, t->logits,
                            (size_t)b.n * (size_t)model_n_vocab(grad_model(r->g)), e);
}

static int run_forward(struct rig *r, struct err *e) {
    if (rig_open(r, true, true, e) != 0) return -1;
    const size_t n_vocab = (size_t)model_n_vocab(grad_model(r->g));
    struct taps t = {.r = r, .e = e, .tail = ""};
    t.logits = malloc((size_t)r->max_rows * n_vocab * sizeof *t.logits);
    int rc = t.logits ? 0 : err_nomem(e, "logits");
    for (int lora = 0; lora < 2 && rc == 0; lora++) {
        t.tail = lora ? "_lora" : "";
        rc = forward_labels(r, "labels", "", t.tail, &t, e);
        if (rc == 0) rc = forward_labels(r, "labels_all", "_all", t.tail, &t, e);
    }
    free(t.logits);
    return rc;
}

/* ---- gradients ---- */

static int run_gradient(struct rig *r, struct err *e) {
    struct batch b;
    const bool full = !strcmp(train_case_kind(&r->c), "full_grad");
    if (rig_open(r, !full, false, e) != 0) return -1;
    if (train_case_batch(&r->c, "", "labels", &b, e) != 0) return -1;
    const int n_label = batch_n_label(&b);
    if (run_all(r, &b, n_label, e) != 0) return -1;
    train_case_scalar(&r->c, "loss", mean_loss(&b, r->nll), false);
    train_case_scalar(&r->c, "n_label", n_label, false);
    train_case_scalar(&r->c, "grad_norm", optim_grad_norm(r->team, r->p), false);
    return write_plane(r, "grad", r->p->grad, e);
}

/* The sequences one by one, their gradients added up. */
static int run_accumulate(struct rig *r, struct err *e) {
    struct batch b;
    double sum = 0;
    if (rig_open(r, true, false, e) != 0) return -1;
    if (train_case_batch(&r->c, "", "labels", &b, e) != 0) return -1;
    const int n_label = batch_n_label(&b);
    double *micro = calloc((size_t)b.n_seq * 2, sizeof *micro);
    int rc = micro ? 0 : err_nomem(e, "losses");
    for (int s = 0; s < b.n_seq && rc == 0; s++) {
        const int at = b.seq_start[s];
        int32_t start[2] = {0, b.seq_start[s + 1] - at};
        const struct batch one = {start[1], 1, b.tok + at, b.label + at, start};
        rc = run_all(r, &one, n_label, e);
        micro[s] = loss_sum(&one, r->nll);
        micro[b.n_seq + s] = batch_n_label(&one);
        sum += micro[s];
    }
    if (rc == 0) rc = train_case_write_doubles(&r->c, "micro_loss_sum", micro, (size_t)b.n_seq, e);
    if (rc == 0)
        rc = train_case_write_doubles(&r->c, "micro_n_label", micro + b.n_seq, (size_t)b.n_seq, e);
    free(micro);
    if (rc != 0) return -1;
    train_case_scalar(&r->c, "loss", n_label ? sum / n_label : 0, false);
    train_case_scalar(&r->c, "n_label", n_label, false);
    train_case_scalar(&r->c, "grad_norm", optim_grad_norm(r->team, r->p), false);
    return write_plane(r, "grad", r->p->grad, e);
}

/* ---- optimizer steps ---- */

static int note_eval(struct rig *r, struct err *e) {
    struct batch b;
    if (train_case_batch(&r->c, "eval/", "labels", &b, e) != 0) return -1;
    if (grad_eval(r->g, &b, false, r->nll, e) != 0) return -1;
    train_case_scalar(&r->c, "eval_loss", mean_loss(&b, r->nll), true);
    return 0;
}

static int one_step(struct rig *r, int step, const struct schedule *s, const struct adamw *o,
                    bool write, struct err *e) {
    struct batch b;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "step%d/", step + 1);
    if (train_case_batch(&r->c, prefix, "labels", &b, e) != 0) return -1;
    if (run_all(r, &b, batch_n_label(&b), e) != 0) return -1;
    const double norm = optim_grad_norm(r->team, r->p), lr = schedule_lr(s, step);
    train_case_scalar(&r->c, "loss", mean_loss(&b, r->nll), true);
    train_case_scalar(&r->c, "grad_norm", norm, true);
    train_case_scalar(&r->c, "lr", lr, true);
    train_case_scalar(&r->c, "clip", optim_step(r->team, r->p, o, step, lr, norm), true);
    grad_refresh(r->g);
    prefix[strlen(prefix) - 1] = 0;
    if (write && write_plane(r, prefix, r->p->w, e) != 0) return -1;
    return note_eval(r, e);
}

static int run_steps(struct rig *r, struct err *e) {
    const struct train_case *c = &r->c;
    const bool full = !strcmp(train_case_kind(c), "adamw_full");
    const char *kind = train_case_word(c, "schedule");
    const int k = kind ? schedule_by_name(kind) : -1, n = (int)train_case_param(c, "total", 0);
    if (k < 0 || n < 1 || n > 1000)
        return err_set(e, ERR_FORMAT, "params: schedule \"%s\" of %d steps", kind ? kind : "", n);
    const struct schedule s = {(enum schedule_kind)k, train_case_param(c, "lr", 0),
                               (int)train_case_param(c, "warmup", 0), n,
                               train_case_param(c, "min_ratio", 0)};
    const struct adamw o = {
        (float)train_case_param(c, "beta1", 0), (float)train_case_param(c, "beta2", 0),
        (float)train_case_param(c, "eps", 0), (float)train_case_param(c, "weight_decay", 0),
        (float)train_case_param(c, "max_norm", 0)};
    if (rig_open(r, !full, false, e) != 0 || note_eval(r, e) != 0) return -1;
    for (int i = 0; i < n; i++)
        if (one_step(r, i, &s, &o, !full || i == n - 1, e) != 0) return -1;
    if (full) return 0;
    return write_plane(r, "adam_m", r->p->m, e) || write_plane(r, "adam_v", r->p->v, e) ? -1 : 0;
}

/* ---- preferences ---- */

static int run_dpo(struct rig *r, struct err *e) {
    struct batch b;
    struct dpo_sum sum = {0};
    if (rig_open(r, true, false, e) != 0) return -1;
    if (train_case_batch(&r->c, "", "labels", &b, e) != 0) return -1;
    const int n_pair = b.n_seq / 2;
    double *x = calloc((size_t)b.n_seq * 4 + 1, sizeof *x), *policy = x, *ref = x + b.n_seq,
           *coef = x + 2 * b.n_seq, *margin = x + 3 * b.n_seq;
    int rc = x ? grad_eval(r->g, &b, true, r->nll, e) : err_nomem(e, "losses");
    if (rc == 0) dpo_logp(&b, r->nll, ref);
    if (rc == 0) rc = grad_eval(r->g, &b, false, r->nll, e);
    if (rc == 0) {
        dpo_logp(&b, r->nll, policy);
        dpo_pairs(n_pair, policy, ref, train_case_param(&r->c, "beta", 0.1), n_pair, margin, coef,
                  &sum);
        dpo_row_coef(&b, coef, r->coef);
        rc = grad_run(r->g, &b, r->coef, r->nll, e);
    }
    if (rc == 0)
        rc = train_case_write_doubles(&r->c, "policy_logp", policy, (size_t)b.n_seq, e) ||
             train_case_write_doubles(&r->c, "reference_logp", ref, (size_t)b.n_seq, e) ||
             train_case_write_doubles(&r->c, "margin", margin, (size_t)n_pair, e) ||
             write_plane(r, "grad", r->p->grad, e);
    free(x);
    if (rc != 0) return -1;
    train_case_scalar(&r->c, "loss", sum.loss / sum.n_pair, false);
    train_case_scalar(&r->c, "accuracy", (double)sum.won / sum.n_pair, false);
    train_case_scalar(&r->c, "grad_norm", optim_grad_norm(r->team, r->p), false);
    return 0;
}

static int run_case(struct rig *r, struct err *e) {
    static const struct {
        const char *kind;
        int (*run)(struct rig *r, struct err *e);
    } kinds[] = {
        {"forward", run_forward},
        {"full_grad", run_gradient},
        {"lora_grad", run_gradient},
        {"accumulate", run_accumulate},
        {"adamw_lora", run_steps},
        {"adamw_full", run_steps},
        {"dpo", run_dpo},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(train_case_kind(&r->c), kinds[i].kind)) return kinds[i].run(r, e);
    return err_set(e, ERR_FORMAT,
                   "%s: kind \"%s\"; forward, full_grad, lora_grad, accumulate, adamw_lora, "
                   "adamw_full and dpo are accepted",
                   case_path, train_case_kind(&r->c));
}

int debug_train(int argc, char **argv, struct err *e) {
    struct rig r = {0};
    int n_args = 0;
    const char *args[CLI_MAX_ARGS];
    if (cli_parse(argc, argv, debug_train_options(), args, &n_args, e) != 0) return -1;
    if (n_args || !case_path || !out_path)
        return err_set(e, ERR_USAGE, "debug train: --case CASE.json and --out DIR are needed");
    int rc = train_case_open(&r.c, case_path, out_path, e);
    if (rc == 0) rc = run_case(&r, e);
    if (rc == 0) rc = train_case_finish(&r.c, e);
    rig_close(&r);
    return rc;
}
