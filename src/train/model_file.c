/* See model_file.h. */
#include "train/model_file.h"

#include <math.h>
#include <string.h>

#include "gguf/write.h"

static int check(const struct params *p, const struct param *t, struct err *e) {
    for (size_t i = 0; i < t->n; i++)
        if (!isfinite(p->w[t->at + i]))
            return err_set(e, ERR_FORMAT,
                           "training: tensor '%s' became %g at %zu; finite values "
                           "are kept",
                           t->name, (double)p->w[t->at + i], i);
    return 0;
}

static int write(struct gguf_writer *w, const struct gguf *base, const struct params *p,
                 struct err *e) {
    for (int i = 0; i < gguf_n_kv(base); i++)
        if (gguf_copy_kv(w, gguf_kv_at(base, i), e) != 0) return -1;
    for (int i = 0; i < gguf_n_tensor(base); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(base, i);
        const struct param *own = params_find(p, t->name);
        const enum qtype type = own ? QT_F32 : t->type;
        if ((own && check(p, own, e) != 0) ||
            gguf_add_tensor(w, t->name, type, t->n_dim, t->ne, e) != 0)
            return -1;
    }
    for (int i = 0; i < gguf_n_tensor(base); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(base, i);
        const struct param *own = params_find(p, t->name);
        const int rc = own ? gguf_write_data(w, p->w + own->at, own->n * sizeof *p->w, e)
                           : gguf_write_data(w, t->data, t->n_bytes, e);
        if (rc != 0) return -1;
    }
    return 0;
}

int model_file_write(const char *path, const struct gguf *base, const struct params *p,
                     struct err *e) {
    struct gguf_writer *w = gguf_writer_new(path, (uint32_t)gguf_alignment(base), e);
    if (!w) return -1;
    if (write(w, base, p, e) == 0) return gguf_writer_finish(w, e);
    gguf_writer_abort(w);
    return -1;
}
