/* Merging is quantizing with something added on the way: the quantizer reads, encodes and writes
 * piece by piece; this adds a row's part of B A to each.
 *
 * Checks are those of a model that the adapter is attached to, made on the base's tensors: a base
 * need not be one that this build runs. */
#include "create/merge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cores.h"
#include "create/create_priv.h"
#include "gguf/write.h"
#include "model/lora_set.h"
#include "quant/quant.h"
#include "train/adapter_file.h"

enum { LANE = 16 }; /* columns whose sums stay in registers */

struct pair {
    const float *a, *b; /* [rank][n_in], [n_out][rank]; in the mapping or in `own` */
    float *own;
    size_t rank, n_in;
    float scale;
};

struct merge {
    struct lora_set set;
    struct pair *pair; /* [set.n], owned */
    float scale;
};

/* ---- pairs ---- */

/* Floats of a tensor: where they lie, or decoded to *to, which moves on. */
static const float *floats(const struct gguf_tensor *t, float **to) {
    const size_t n = (size_t)t->ne[0] * (size_t)t->ne[1];
    float *out = *to;
    if (t->type == QT_F32) return (const float *)(const void *)t->data;
    quant_type(t->type)->decode(t->data, out, n);
    *to += n;
    return out;
}

static int open_pair(struct merge *m, int i, struct err *e) {
    const struct lora_set_pair *from = &m->set.pair[i];
    struct pair *p = &m->pair[i];
    const size_t na = (size_t)from->a->ne[0] * (size_t)from->rank;
    const size_t nb = (size_t)from->b->ne[1] * (size_t)from->rank;
    *p = (struct pair){.rank = (size_t)from->rank, .scale = m->scale * from->scale};
    p->n_in = (size_t)from->a->ne[0];
    if (from->a->type != QT_F32 || from->b->type != QT_F32) {
        p->own = malloc((na + nb) * sizeof *p->own);
        if (!p->own) return err_nomem(e, from->name);
    }
    float *to = p->own;
    p->a = floats(from->a, &to);
    p->b = floats(from->b, &to);
    return 0;
}

static int open_adapter(struct merge *m, const char *path, const struct merge_opts *o,
                        struct err *e) {
    m->scale = o->scale != 0 ? o->scale : 1;
    if (lora_set_open(&m->set, path, NULL, e) != 0) return -1;
    m->pair = calloc((size_t)m->set.n, sizeof *m->pair);
    if (!m->pair) return err_nomem(e, path);
    for (int i = 0; i < m->set.n; i++)
        if (open_pair(m, i, e) != 0) return -1;
    return 0;
}

static void close_adapter(struct merge *m) {
    for (int i = 0; m->pair && i < m->set.n; i++)
        free(m->pair[i].own);
    free(m->pair);
    lora_set_close(&m->set);
}

/* ---- does it fit? ---- */

/* NAME.scale of NVFP4 files: the weight is not what the tensor decodes to. */
static bool has_scale(const struct gguf *base, const char *name) {
    char scale[GGUF_MAX_NAME_BYTES + 1];
    const size_t n = strlen(name), k = strlen("weight");
    if (n <= k || strcmp(name + n - k, "weight") != 0) return false;
    memcpy(scale, name, n - k);
    memcpy(scale + n - k, "scale", sizeof "scale");
    return gguf_tensor(base, scale) != NULL;
}

static int check_pair(const struct gguf *base, const struct lora_set *s,
                      const struct lora_set_pair *p, struct err *e) {
    const struct gguf_tensor *w = gguf_tensor(base, p->name);
    const char *path = gguf_path(s->g);
    if (!w || w->n_dim < 2)
        return err_set(e, ERR_FORMAT, "%s: '%s' is not a weight of %s that takes an adapter", path,
                       p->name, gguf_path(base));
    if (w->ne[2] != 1 || w->ne[3] != 1 || strcmp(p->name, "token_embd.weight") == 0 ||
        has_scale(base, p->name))
        return err_set(e, ERR_UNSUPPORTED, "%s: adapters of '%s' are not supported", path, p->name);
    if (p->a->ne[0] == w->ne[0] && p->b->ne[1] == w->ne[1]) return 0;
    return err_set(e, ERR_FORMAT,
                   "%s: the adapter of '%s' is for %lld x %lld; the model has %lld x %lld", path,
                   p->name, (long long)p->a->ne[0], (long long)p->b->ne[1], (long long)w->ne[0],
                   (long long)w->ne[1]);
}

static int check_base(const char *base, const struct lora_set *s, struct err *e) {
    struct str arch = STR("missing"), type = STR("model");
    struct gguf *g = gguf_open(base, e);
    int rc = g && gguf_get_str(g, "general.architecture", &arch, e) >= 0 &&
                     gguf_get_str(g, "general.type", &type, e) >= 0
                 ? 0
                 : -1;
    if (rc == 0 && str_is(type, "adapter"))
        rc = err_set(e, ERR_FORMAT, "%s: is an adapter; the base model is needed", base);
    if (rc == 0 && !str_eq(arch, s->arch))
        rc = err_set(e, ERR_FORMAT,
                     "%s: key 'general.architecture' is %.*s; the base's, %.*s, is needed",
                     gguf_path(s->g), s->arch.n < 40 ? (int)s->arch.n : 40, s->arch.p,
                     arch.n < 40 ? (int)arch.n : 40, arch.p);
    for (int i = 0; rc == 0 && i < s->n; i++)
        rc = check_pair(g, s, &s->pair[i], e);
    gguf_close(g);
    return rc;
}

/* ---- what the quantizer asks ---- */

static const void *find(void *ctx, const struct gguf_tensor *t) {
    const struct merge *m = ctx;
    const struct lora_set_pair *p = lora_set_find(&m->set, t->name);
    return p ? &m->pair[p - m->set.pair] : NULL;
}

/* n <= LANE columns: sum[i] = sum over r of b[r] a[r][i], in the order of r. */
static void lane(const struct pair *p, const float *b, const float *a, int64_t n, float sum[LANE]) {
    for (int i = 0; i < LANE; i++)
        sum[i] = 0;
    for (size_t r = 0; r < p->rank; r++, a += p->n_in) {
        const float x = b[r];
        if (n == LANE) {
            for (int i = 0; i < LANE; i++)
                sum[i] += x * a[i];
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            sum[i] += x * a[i];
    }
}

static void add_row(const void *what, int64_t row, int64_t col, int64_t n, float *values) {
    const struct pair *p = what;
    const float *b = p->b + (size_t)row * p->rank;
    for (int64_t at = 0; at < n; at += LANE) {
        const int64_t k = n - at < LANE ? n - at : LANE;
        float sum[LANE];
        lane(p, b, p->a + col + at, k, sum);
        for (int64_t i = 0; i < k; i++)
            values[at + i] += p->scale * sum[i];
    }
}

static int lineage(void *ctx, struct gguf_writer *w, struct err *e) {
    const struct gguf *g = ((const struct merge *)ctx)->set.g;
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        if (str_starts(kv->key, STR(ADAPTER_TRAIN)) && gguf_copy_kv(w, kv, e) != 0) return -1;
    }
    return 0;
}

/* ---- all ---- */

static int run(struct merge *m, const char *base, const char *out, const struct merge_opts *o,
               struct merge_report *r, struct err *e) {
    const struct quantize_edit edit = {m, find, add_row, lineage};
    struct quantize_opts qo = {.mix = QUANTIZE_KEEP, .edit = &edit};
    struct quantize_summary s;
    const int n = o->n_threads ? o->n_threads : cores_default_threads(e);
    if (n < 0 || (o->type && *o->type && create_find_mix(o->type, &qo.mix, e) != 0)) return -1;
    struct quantizer *q = quantize_new(base, &qo, e);
    const int rc = q ? quantize_run(q, out, n, o->progress, o->ctx, e) : -1;
    if (rc == 0) {
        quantize_summarize(q, &s);
        if (r) *r = (struct merge_report){m->set.n, s.n_requantize, s.rmse};
    }
    quantize_free(q);
    return rc;
}

/* The quantizer refuses to write over the base; this, over the adapter. */
static int check_output(const char *adapter, const char *out, struct err *e) {
    struct stat a, b;
    if (stat(out, &b) != 0 || stat(adapter, &a) != 0) return 0;
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return 0;
    return err_set(e, ERR_USAGE, "%s: is the adapter; the output must be another file", out);
}

int merge_adapter(const char *base, const char *adapter, const char *out,
                  const struct merge_opts *o, struct merge_report *r, struct err *e) {
    struct merge m = {0};
    int rc = open_adapter(&m, adapter, o, e);
    if (rc == 0) rc = check_output(adapter, out, e);
    if (rc == 0) rc = check_base(base, &m.set, e);
    if (rc == 0) rc = run(&m, base, out, o, r, e);
    close_adapter(&m);
    return rc;
}
