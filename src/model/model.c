/* Opening a model: architecture, hyper-parameters, weights. */
#include "model/model.h"

#include <stdlib.h>

#include "model/weights.h"

static int open_model(struct model *m, struct err *e) {
    struct str name = {0};
    const int got = gguf_get_str(m->g, "general.architecture", &name, e);
    if (got < 0) return -1;
    if (got == 0)
        return err_set(e, ERR_FORMAT, "%s: key 'general.architecture' is missing", gguf_path(m->g));
    m->arch = arch_find(name, e);
    if (!m->arch) return err_prefix(e, gguf_path(m->g));
    if (hparams_read(&m->hp, m->arch, m->g, e) != 0) return -1;
    return model_bind(m, e);
}

struct model *model_open(const struct gguf *g, const struct ops *ops, struct err *e) {
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        err_nomem(e, gguf_path(g));
        return NULL;
    }
    m->g = g, m->ops = ops;
    if (open_model(m, e) == 0) return m;
    model_free(m);
    return NULL;
}

void model_free(struct model *m) {
    if (!m) return;
    arena_fini(&m->arena);
    free(m->linear);
    free(m);
}

const struct hparams *model_hparams(const struct model *m) {
    return &m->hp;
}

const char *model_arch(const struct model *m) {
    return m->hp.arch;
}

bool model_is_embedding(const struct model *m) {
    return m->arch->encoder;
}

int model_pooling(const struct model *m) {
    return m->hp.pooling;
}

int model_n_vocab(const struct model *m) {
    return m->hp.n_vocab;
}

int model_n_embd(const struct model *m) {
    return m->hp.n_embd;
}

int model_n_layer(const struct model *m) {
    return m->hp.n_layer;
}

int model_n_ctx_train(const struct model *m) {
    return m->hp.n_ctx_train;
}

bool model_positions_end(const struct model *m) {
    return m->pos_embed.data != NULL;
}

size_t model_weight_bytes(const struct model *m) {
    return m->weight_bytes;
}

double model_flops_per_token(const struct model *m) {
    return 2 * m->weights_used;
}

size_t model_head_bytes(const struct model *m) {
    return (size_t)m->head.w.n_row * m->head.w.row_bytes;
}

double model_head_flops(const struct model *m) {
    return 2.0 * m->head.w.n_row * m->head.w.n_col;
}
