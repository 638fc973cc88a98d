/* Which linears get an adapter, what the pair is called and how it begins (LoRA, arXiv:2106.09685,
 * section 4.1).  Pairs belong to tensors of the file, as readers of adapter files want it: where
 * the binder cut a fused tensor in row ranges, its parts share A and the rows of B follow theirs.
 * Stacks of experts take none: no reader of ours or of llama.cpp's files multiplies them. */
#include "train/lora.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "model/weights.h"

enum { DEFAULT_RANK = 16, MAX_RANK = 512 };

/* ---- options ---- */

static const struct {
    const char *name[3]; /* ours, in GGUF files, on the hub */
    int target;
} target_names[] = {
    {{"q", "attn_q", "q_proj"}, LORA_Q},
    {{"k", "attn_k", "k_proj"}, LORA_K},
    {{"v", "attn_v", "v_proj"}, LORA_V},
    {{"o", "attn_output", "o_proj"}, LORA_O},
    {{"gate", "ffn_gate", "gate_proj"}, LORA_GATE},
    {{"up", "ffn_up", "up_proj"}, LORA_UP},
    {{"down", "ffn_down", "down_proj"}, LORA_DOWN},
    {{"all", "all-linear", "all"}, LORA_ALL},
};

static int target_by_name(struct str s) {
    for (size_t i = 0; i < sizeof target_names / sizeof *target_names; i++)
        for (int k = 0; k < 3; k++)
            if (str_is(s, target_names[i].name[k])) return target_names[i].target;
    return 0;
}

int lora_parse_targets(const char *text, int *targets, struct err *e) {
    static const char between[] = ", \t";
    int all = 0;
    for (const char *p = text + strspn(text, between); *p; p += strspn(p, between)) {
        const struct str s = {p, strcspn(p, between)};
        const int one = target_by_name(s);
        if (!one)
            return err_set(e, ERR_USAGE,
                           "targets: \"%.*s\"; all, or some of q k v o gate up down with commas "
                           "between (also attn_q..., q_proj...)",
                           s.n < 40 ? (int)s.n : 40, s.p);
        all |= one;
        p += s.n;
    }
    if (!all)
        return err_set(e, ERR_USAGE, "targets: none named; all, or some of q k v o gate up down");
    *targets = all;
    return 0;
}

static int rank_of(const struct lora_opts *o) {
    return o->rank ? o->rank : DEFAULT_RANK;
}

static float alpha_of(const struct lora_opts *o) {
    return o->alpha > 0 ? o->alpha : 2.0f * (float)rank_of(o);
}

float lora_scale(const struct lora_opts *o) {
    const double rank = rank_of(o);
    return (float)((double)alpha_of(o) / (o->stabilized ? sqrt(rank) : rank));
}

float lora_file_alpha(const struct lora_opts *o) {
    return o->stabilized ? (float)((double)alpha_of(o) * sqrt(rank_of(o))) : alpha_of(o);
}

static int check_opts(const struct lora_opts *o, int n_layer, struct err *e) {
    if (rank_of(o) < 1 || rank_of(o) > MAX_RANK)
        return err_set(e, ERR_USAGE, "rank: %d; 1 to %d is accepted", o->rank, MAX_RANK);
    if (!(o->alpha >= 0 && lora_file_alpha(o) < 1e6f)) /* what model_adapter_open takes */
        return err_set(e, ERR_USAGE, "alpha: %g; more than 0, below 1e6 is accepted",
                       (double)o->alpha);
    if (!(o->dropout >= 0 && o->dropout <= 0.9f))
        return err_set(e, ERR_USAGE, "dropout: %g; 0 to 0.9 is accepted", (double)o->dropout);
    if (o->targets & ~LORA_ALL)
        return err_set(e, ERR_USAGE, "targets: %#x; bits of %#x", o->targets, LORA_ALL);
    if (o->last_layers < 0 || o->last_layers > n_layer)
        return err_set(e, ERR_USAGE, "layers: %d; the model has %d (0: all)", o->last_layers,
                       n_layer);
    return 0;
}

/* ---- the pairs ---- */

struct declaring {
    struct params *p;
    const struct lora_opts *o;
    const struct model *m;
    int rank, targets;
    int n_found; /* linears chosen, fused parts counted each */
    struct err *e;
};

static bool is_named(const struct lora_opts *o, const char *tensor) {
    for (int i = 0; i < o->n_tensors; i++)
        if (!strcmp(o->tensors[i], tensor)) return true;
    return false;
}

/* The pair of the tensor that l is, or is cut from; once. */
static int declare_one(struct declaring *d, const struct linear *l, int target) {
    if (!l->w.data || l->n_mat != 1 || l->id < 0) return 0;
    const struct linear_origin *from = &d->m->linear[l->id];
    if (d->o->tensors ? !is_named(d->o, from->name) : !(d->targets & target)) return 0;
    const int64_t a[2] = {l->w.n_col, d->rank}, b[2] = {d->rank, from->n_row_all};
    char name[GGUF_MAX_NAME_BYTES + 8];
    d->n_found++;
    snprintf(name, sizeof name, "%s.lora_a", from->name);
    if (params_find(d->p, name)) return 0;
    if (params_add(d->p, name, 2, a, d->e) != 0) return -1;
    snprintf(name, sizeof name, "%s.lora_b", from->name);
    return params_add(d->p, name, 2, b, d->e);
}

static int declare_layer(struct declaring *d, const struct layer *l) {
    const struct attn_weights *attn = &l->attn;
    const struct mla_weights *mla = &l->mla;
    const struct ffn_weights *ffn = &l->ffn, *shared = &l->moe.shared;
    const struct {
        const struct linear *l;
        int target;
    } in_order[] = {
        {&attn->q, LORA_Q},
        {&attn->k, LORA_K},
        {&attn->v, LORA_V},
        {&attn->o, LORA_O},
        {&mla->q_a, LORA_Q},
        {&mla->q, LORA_Q},
        {&mla->kv_a, LORA_K | LORA_V},
        {&mla->o, LORA_O},
        {&ffn->gate, LORA_GATE},
        {&ffn->up, LORA_UP},
        {&ffn->down, LORA_DOWN},
        {&shared->gate, LORA_GATE},
        {&shared->up, LORA_UP},
        {&shared->down, LORA_DOWN},
    };
    for (size_t i = 0; i < sizeof in_order / sizeof *in_order; i++)
        if (declare_one(d, in_order[i].l, in_order[i].target) != 0) return -1;
    return 0;
}

int lora_declare(struct params *p, const struct model *m, const struct lora_opts *o,
                 struct err *e) {
    const int n_layer = m->hp.n_layer;
    if (check_opts(o, n_layer, e) != 0) return -1;
    struct declaring d = {p, o, m, rank_of(o), o->targets ? o->targets : LORA_ALL, 0, e};
    for (int il = o->last_layers ? n_layer - o->last_layers : 0; il < n_layer; il++)
        if (declare_layer(&d, &m->layer[il]) != 0) return -1;
    if (d.n_found) return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: no linear of the chosen targets and layers takes an adapter (experts do "
                   "not)",
                   gguf_path(m->g));
}

void lora_init(struct params *p, struct rng *r) {
    for (int i = 0; i < p->n_param; i++) {
        const struct param *x = &p->p[i];
        const size_t n = strlen(x->name);
        const bool is_a = n > 7 && strcmp(x->name + n - 7, ".lora_a") == 0;
        const double bound = is_a ? 1.0 / sqrt((double)x->ne[0]) : 0.0;
        for (size_t k = 0; k < x->n; k++)
            p->w[x->at + k] = is_a ? (float)(bound * (2.0 * rng_unit(r) - 1.0)) : 0.0f;
    }
}
