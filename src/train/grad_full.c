/* Training of all weights: the model reads a copy of the file in memory, whose tensors are written
 * from the parameters before each step, rounded as they will be in the file when that is asked for
 * (quantization-aware training; the gradient passes straight through the rounding,
 * arXiv:1308.3432).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os.h"
#include "quant/quant.h"
#include "train/grad_priv.h"

/* Constants of the file that are no weights.  What the model does not read stays as it is, too: it
 * has no gradient, and decay alone would make it nothing. */
static bool is_constant(const char *name) {
    return !strncmp(name, "rope_", 5);
}

/* Read, not copied from the mapping: its pages would count as ours until the end. */
static int read_all(struct gguf_bytes file, uint8_t *to) {
    if (file.fd < 0) {
        memcpy(to, file.p, file.n);
        return 0;
    }
    const ssize_t n = os_read_at(file.fd, to, file.n, 0);
    if (n >= 0 && (size_t)n < file.n) errno = EIO; /* it has become shorter */
    return n >= 0 && (size_t)n == file.n ? 0 : -1;
}

int grad_check_file(const struct gguf *file, struct err *e) {
    if (gguf_n_split(file) != 1)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: a model in %d files; training all weights takes one file",
                       gguf_path(file), gguf_n_split(file));
    for (int i = 0; i < gguf_n_tensor(file); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(file, i);
        if (t->type != QT_F32)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s: tensor '%s' is %s; training all weights takes F32 (cria quantize "
                           "makes it)",
                           gguf_path(file), t->name, qtype_name(t->type));
    }
    return 0;
}

int grad_copy_file(struct grad *g, const struct gguf *from, struct err *e) {
    const struct gguf_bytes file = gguf_file_at(from, 0);
    g->copy = mmap(NULL, file.n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->copy == MAP_FAILED) {
        g->copy = NULL;
        return err_nomem(e, gguf_path(from));
    }
    g->copy_bytes = file.n;
    if (read_all(file, g->copy) != 0) return err_errno(e, gguf_path(from));
    g->copy_gguf = gguf_open_bytes(gguf_path(from), g->copy, file.n, e);
    return g->copy_gguf ? 0 : -1;
}

/* Old files of latent attention have one matrix, whose halves model/ keeps in memory of its own,
 * which no parameter would reach. */
static int check_in_place(const struct grad *g, struct err *e) {
    const struct gguf_bytes file = gguf_file_at(g->source, 0);
    for (int il = 0; il < g->m->hp.n_layer; il++) {
        const uint8_t *p = g->m->layer[il].mla.k_b.w.data;
        if (!p || (p >= file.p && p < file.p + file.n)) continue;
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: tensor 'blk.%d.attn_kv_b.weight' is taken apart at load; adapters can "
                       "be trained, not all weights",
                       gguf_path(g->source), il);
    }
    return 0;
}

/* Vectors stay as they are, as the quantizer leaves them.  A row's blocks must fit a worker's
 * scratch. */
static int check_fake(const struct grad *g, const struct gguf_tensor *t, enum qtype *out,
                      struct err *e) {
    *out = g->o.fake && t->n_dim > 1 ? g->o.fake(g->o.fake_ctx, t->name) : QT_F32;
    if (*out == QT_F32) return 0;
    if (!quant_type(*out)->encode || t->ne[0] % qtype_geom(*out)->block ||
        qtype_row_bytes(*out, (int)t->ne[0]) > gemm_scratch_bytes())
        return err_set(e, ERR_UNSUPPORTED, "tensor '%s' of rows of %lld: cannot be rounded to %s",
                       t->name, (long long)t->ne[0], qtype_name(*out));
    return 0;
}

int grad_declare_full(struct grad *g, struct err *e) {
    const int n = gguf_n_tensor(g->source);
    if (check_in_place(g, e) != 0) return -1;
    g->model_at = calloc((size_t)n, sizeof *g->model_at);
    g->fake = calloc((size_t)n, sizeof *g->fake);
    if (!g->model_at || !g->fake) return err_nomem(e, "parameters");
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g->source, i);
        if (!g->m->used[i] || is_constant(t->name)) continue;
        if (check_fake(g, t, &g->fake[g->p.n_param], e) != 0) return -1;
        g->model_at[g->p.n_param] = (float *)(uintptr_t)t->data; /* written in a copy only */
        if (params_add(&g->p, t->name, t->n_dim, t->ne, e) != 0) return -1;
    }
    return 0;
}

/* Rows of a tensor through the blocks of a type and back. */
static void round_rows(const struct param *p, enum qtype type, const float *from, float *to,
                       uint8_t *blocks) {
    const struct quant_type *q = quant_type(type);
    const size_t n_col = (size_t)p->ne[0];
    for (size_t at = 0; at < p->n; at += n_col) {
        q->encode(from + at, blocks, n_col, NULL);
        q->decode(blocks, to + at, n_col);
    }
}

void grad_load_full(struct grad *g) {
    for (int i = 0; i < g->p.n_param; i++)
        memcpy(g->p.w + g->p.p[i].at, g->model_at[i], g->p.p[i].n * sizeof *g->p.w);
    grad_refresh(g);
}

static void refresh(struct worker *w, void *arg) {
    struct grad *g = arg;
    team_share(w, g->p.n_param);
    for (int n, i; (i = team_draw(w, &n)) >= 0;)
        for (; n > 0; i++, n--) {
            const struct param *p = &g->p.p[i];
            const float *from = g->p.w + p->at;
            if (g->fake[i] != QT_F32)
                round_rows(p, g->fake[i], from, g->model_at[i], w->scratch);
            else
                memcpy(g->model_at[i], from, p->n * sizeof *from);
        }
    team_barrier(w);
}

void grad_refresh(struct grad *g) {
    if (g->full) team_run(g->team, refresh, g);
}

void grad_fini_full(struct grad *g) {
    gguf_close(g->copy_gguf);
    if (g->copy) munmap(g->copy, g->copy_bytes);
    free(g->model_at);
    free(g->fake);
}
