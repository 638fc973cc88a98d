/* LoRA adapters (arXiv:2106.09685): W' = W + scale * alpha / rank * B A, applied beside the base
 * weights.  Files pair tensors W.lora_a [rank][n_in] and W.lora_b [n_out][rank]; where the binder
 * cut W in row ranges, so is B. */
#include <stdlib.h>
#include <string.h>

#include "model/lora_set.h"
#include "model/weights.h"

struct model_adapter {
    struct lora_set set;    /* owned */
    struct lora_pair *pair; /* [n_linear], owned */
    struct adapter a;
};

static struct mat mat_of(const struct gguf_tensor *t) {
    return (struct mat){t->data, t->type, (int)t->ne[1], (int)t->ne[0],
                        qtype_row_bytes(t->type, (int)t->ne[0])};
}

/* Attach a pair to every linear that is its tensor or a row range of it. */
static int attach(const struct model *m, struct model_adapter *ad, const struct lora_set_pair *from,
                  float scale, struct err *e) {
    const char *path = gguf_path(ad->set.g), *name = from->name;
    const struct gguf_tensor *a = from->a, *b = from->b;
    int n_found = 0;
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
        *p = (struct lora_pair){mat_of(a), mat_of(b), scale * from->scale};
        p->b.data += p->b.row_bytes * (size_t)o->row0;
        p->b.n_row = o->l->w.n_row;
        if (p->a.n_row > ad->a.max_rank) ad->a.max_rank = p->a.n_row;
        n_found++;
    }
    if (n_found) return 0;
    return err_set(e, ERR_FORMAT, "%s: '%s' is not a weight of this model that takes an adapter",
                   path, name);
}

struct model_adapter *model_adapter_take(const struct model *m, struct gguf *file, float scale,
                                         struct err *e) {
    struct model_adapter *ad = calloc(1, sizeof *ad);
    if (!ad) {
        err_nomem(e, gguf_path(file));
        gguf_close(file);
        return NULL;
    }
    if (lora_set_take(&ad->set, file, m->hp.arch, e) != 0) goto fail;
    ad->pair = calloc((size_t)m->n_linear, sizeof *ad->pair);
    if (!ad->pair) {
        err_nomem(e, gguf_path(file));
        goto fail;
    }
    ad->a.pair = ad->pair;
    for (int i = 0; i < ad->set.n; i++)
        if (attach(m, ad, &ad->set.pair[i], scale, e) != 0) goto fail;
    return ad;
fail:
    model_adapter_free(ad);
    return NULL;
}

struct model_adapter *model_adapter_open(const struct model *m, const char *path, float scale,
                                         struct err *e) {
    struct gguf *file = gguf_open(path, e);
    return file ? model_adapter_take(m, file, scale, e) : NULL;
}

const struct adapter *model_adapter_get(const struct model_adapter *a) {
    return &a->a;
}

const struct gguf *model_adapter_gguf(const struct model_adapter *a) {
    return a->set.g;
}

void model_adapter_free(struct model_adapter *a) {
    if (!a) return;
    lora_set_close(&a->set);
    free(a->pair);
    free(a);
}
