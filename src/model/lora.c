/* LoRA adapters (arXiv:2106.09685): W' = W + scale * alpha / rank * B A, applied beside the base
 * weights.  Files pair tensors W.lora_a [rank][n_in] and W.lora_b [n_out][rank]; where the binder
 * cut W in row ranges, so is B. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/weights.h"
#include "quant/quant.h"

enum { MAX_RANK = 1024 };

struct model_adapter {
    struct gguf *g;         /* owned */
    struct lora_pair *pair; /* [n_linear], owned */
    struct adapter a;
};

static struct mat mat_of(const struct gguf_tensor *t) {
    return (struct mat){t->data, t->type, (int)t->ne[1], (int)t->ne[0],
                        qtype_row_bytes(t->type, (int)t->ne[0])};
}

static bool is_weight(const struct gguf_tensor *t) {
    const struct quant_type *q = quant_type(t->type);
    return q && q->decode && t->ne[2] == 1 && t->ne[3] == 1;
}

/* Without an alpha the product stands as it is. */
static float scale_of(float scale, float alpha, int rank) {
    return alpha > 0 ? scale * alpha / (float)rank : scale;
}

/* Attach the pair of W = name to every linear that is W or a row range of it. */
static int attach(const struct model *m, struct model_adapter *ad, const char *name,
                  const struct gguf_tensor *a, const struct gguf_tensor *b, float scale,
                  float alpha, struct err *e) {
    const char *path = gguf_path(ad->g);
    int n_found = 0;
    if (!is_weight(a) || !is_weight(b) || a->ne[1] != b->ne[0] || a->ne[1] > MAX_RANK)
        return err_set(e, ERR_FORMAT, "%s: tensors '%s.lora_a' and '.lora_b' do not fit each other",
                       path, name);
    for (int i = 0; i < m->n_linear; i++) {
        const struct linear_origin *o = &m->linear[i];
        if (strcmp(o->name, name)) continue;
        if (o->l->n_mat > 1 || !strcmp(name, "token_embd.weight"))
            return err_set(e, ERR_UNSUPPORTED, "%s: adapters of '%s' are not supported", path,
                           name);
        if (a->ne[0] != o->l->w.n_col || b->ne[1] != o->n_row_all)
            return err_set(
                e, ERR_FORMAT, "%s: the adapter of '%s' is for %lld x %lld; the model has %d x %d",
                path, name, (long long)a->ne[0], (long long)b->ne[1], o->l->w.n_col, o->n_row_all);
        struct lora_pair *p = &ad->pair[o->l->id];
        *p = (struct lora_pair){mat_of(a), mat_of(b), scale_of(scale, alpha, (int)a->ne[1])};
        p->b.data += p->b.row_bytes * (size_t)o->row0;
        p->b.n_row = o->l->w.n_row;
        if (p->a.n_row > ad->a.max_rank) ad->a.max_rank = p->a.n_row;
        n_found++;
    }
    if (n_found) return 0;
    return err_set(e, ERR_FORMAT, "%s: '%s' is not a weight of this model that takes an adapter",
                   path, name);
}

static int check_kind(const struct model *m, const struct gguf *g, float *alpha, struct err *e) {
    static const char *const key[] = {"general.type", "adapter.type", "general.architecture"};
    const char *const want[] = {"adapter", "lora", m->hp.arch};
    for (int i = 0; i < 3; i++) {
        struct str v = STR("missing");
        if (gguf_get_str(g, key[i], &v, e) < 0) return -1;
        if (!str_is(v, want[i]))
            return err_set(e, ERR_FORMAT, "%s: key '%s' is %.*s; %s is needed", gguf_path(g),
                           key[i], (int)(v.n < 40 ? v.n : 40), v.p, want[i]);
    }
    const int got = gguf_get_f32(g, "adapter.lora.alpha", alpha, e);
    if (got < 0) return -1;
    if (!(*alpha >= 0 && *alpha < 1e6f))
        return err_set(e, ERR_FORMAT, "%s: key 'adapter.lora.alpha' is %g; 0 to 1e6 is accepted",
                       gguf_path(g), (double)*alpha);
    return 0;
}

static int fill(const struct model *m, struct model_adapter *ad, float scale, struct err *e) {
    float alpha = 0;
    if (check_kind(m, ad->g, &alpha, e) != 0) return -1;
    for (int i = 0; i < gguf_n_tensor(ad->g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(ad->g, i);
        const size_t n = strlen(t->name);
        char name[GGUF_MAX_NAME_BYTES + 1], other[GGUF_MAX_NAME_BYTES + 1];
        const bool is_a = n > 7 && !strcmp(t->name + n - 7, ".lora_a");
        const bool is_b = n > 7 && !strcmp(t->name + n - 7, ".lora_b");
        if (!is_a && !is_b)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s' is no part of a LoRA adapter",
                           gguf_path(ad->g), t->name);
        memcpy(name, t->name, n - 7), name[n - 7] = 0;
        memcpy(other, t->name, n + 1), other[n - 1] = is_a ? 'b' : 'a';
        const struct gguf_tensor *twin = gguf_tensor(ad->g, other);
        if (!twin)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s' is missing", gguf_path(ad->g), other);
        if (is_a && attach(m, ad, name, t, twin, scale, alpha, e) != 0) return -1;
    }
    if (ad->a.max_rank == 0)
        return err_set(e, ERR_FORMAT, "%s: the adapter has no tensors", gguf_path(ad->g));
    return 0;
}

struct model_adapter *model_adapter_open(const struct model *m, const char *path, float scale,
                                         struct err *e) {
    struct model_adapter *ad = calloc(1, sizeof *ad);
    if (!ad) goto nomem;
    ad->pair = calloc((size_t)m->n_linear, sizeof *ad->pair);
    if (!ad->pair) goto nomem;
    ad->a.pair = ad->pair;
    ad->g = gguf_open(path, e);
    if (!ad->g || fill(m, ad, scale, e) != 0) goto fail;
    return ad;
nomem:
    err_nomem(e, path);
fail:
    model_adapter_free(ad);
    return NULL;
}

const struct adapter *model_adapter_get(const struct model_adapter *a) {
    return &a->a;
}

const struct gguf *model_adapter_gguf(const struct model_adapter *a) {
    return a->g;
}

void model_adapter_free(struct model_adapter *a) {
    if (!a) return;
    gguf_close(a->g);
    free(a->pair);
    free(a);
}
