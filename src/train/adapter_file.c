/* Writing: keys, then tensors in the order of the parameters, encoded a row at a time.  Reading: a
 * file may be anybody's, so its options are taken from its tensors, and from our own keys only
 * where they agree with what other readers see. */
#include "train/adapter_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

/* ---- writing ---- */

static int set_text(struct gguf_writer *w, const char *key, const char *v, struct err *e) {
    return v ? gguf_set_str(w, key, str_of(v), e) : 0;
}

/* What the names and the order of rows depend on in other formats. */
static int set_base(struct gguf_writer *w, const struct gguf *base, struct err *e) {
    static const char *const keys[] = {"block_count", "attention.head_count",
                                       "attention.head_count_kv", "feed_forward_length"};
    struct str arch = STR("");
    if (gguf_get_str(base, "general.architecture", &arch, e) < 0 ||
        gguf_set_str(w, "general.architecture", arch, e) != 0)
        return -1;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[128];
        snprintf(key, sizeof key, "%.*s.%s", arch.n < 64 ? (int)arch.n : 64, arch.p, keys[i]);
        const struct gguf_kv *kv = gguf_find(base, key);
        if (kv && gguf_copy_kv(w, kv, e) != 0) return -1;
    }
    return 0;
}

int adapter_file_keys(struct gguf_writer *w, const struct gguf *base, const struct lora_opts *o,
                      struct err *e) {
    const struct lora_opts as_asked = {.rank = o->rank, .alpha = o->alpha};
    if (gguf_set_str(w, "general.type", STR("adapter"), e) != 0 || set_base(w, base, e) != 0 ||
        gguf_set_str(w, "adapter.type", STR("lora"), e) != 0 ||
        gguf_set_f32(w, "adapter.lora.alpha", lora_file_alpha(o), e) != 0 ||
        gguf_set_f32(w, "cria.lora.alpha", lora_file_alpha(&as_asked), e) != 0 ||
        gguf_set_bool(w, "cria.lora.rslora", o->stabilized, e) != 0)
        return -1;
    return gguf_set_f32(w, "cria.lora.dropout", o->dropout, e);
}

static int set_notes(struct gguf_writer *w, const struct adapter_notes *n, struct err *e) {
    if (n->base_name && (gguf_set_u32(w, "general.base_model.count", 1, e) != 0 ||
                         set_text(w, "general.base_model.0.name", n->base_name, e) != 0))
        return -1;
    if (set_text(w, ADAPTER_BASE, n->base_name, e) != 0 ||
        set_text(w, ADAPTER_BASE_DIGEST, n->base_digest, e) != 0 ||
        set_text(w, ADAPTER_DATA_DIGEST, n->data_digest, e) != 0 ||
        set_text(w, ADAPTER_RECIPE, n->recipe, e) != 0)
        return -1;
    for (int i = 0; i < n->n_metric; i++) {
        const struct adapter_metric *m = &n->metric[i];
        char key[128];
        snprintf(key, sizeof key, ADAPTER_TRAIN "%s", m->name);
        const int rc = m->count ? gguf_set_u64(w, key, (uint64_t)m->value, e)
                                : gguf_set_f32(w, key, (float)m->value, e);
        if (rc != 0) return -1;
    }
    return 0;
}

static int write_rows(struct gguf_writer *w, const struct params *p, const struct param *x,
                      enum qtype type, uint8_t *row, struct err *e) {
    const size_t n = (size_t)x->ne[0], row_bytes = qtype_row_bytes(type, (int)n);
    float *back = (float *)(void *)(row + n * sizeof(float));
    for (size_t at = 0; at < x->n; at += n) {
        const float *v = p->w + x->at + at;
        quant_type(type)->encode(v, row, n, NULL);
        quant_type(type)->decode(row, back, n);
        for (size_t i = 0; i < n; i++)
            if (!isfinite(back[i]))
                return err_set(e, ERR_FORMAT, "tensor %s, row %zu: %g found; %s is accepted",
                               x->name, at / n, (double)v[i],
                               isfinite(v[i]) ? "-65504 to 65504" : "a finite number");
        if (gguf_write_data(w, row, row_bytes, e) != 0) return -1;
    }
    return 0;
}

static int write_tensors(struct gguf_writer *w, const struct params *p, enum qtype type,
                         struct err *e) {
    size_t longest = 1;
    for (int i = 0; i < p->n_param; i++) {
        const struct param *x = &p->p[i];
        if (gguf_add_tensor(w, x->name, type, x->n_dim, x->ne, e) != 0) return -1;
        if ((size_t)x->ne[0] > longest) longest = (size_t)x->ne[0];
    }
    uint8_t *row = malloc(2 * longest * sizeof(float)); /* encoded, and decoded again */
    int rc = row ? 0 : err_nomem(e, "adapter");
    for (int i = 0; rc == 0 && i < p->n_param; i++)
        rc = write_rows(w, p, &p->p[i], type, row, e);
    free(row);
    return rc;
}

int adapter_file_write(const char *path, const struct params *p, const struct lora_opts *o,
                       const struct adapter_notes *n, struct err *e) {
    struct gguf_writer *w = gguf_writer_new(path, 0, e);
    if (!w) return -1;
    const enum qtype type = n->half ? QT_F16 : QT_F32;
    if (adapter_file_keys(w, n->base, o, e) == 0 && set_text(w, "general.name", n->name, e) == 0 &&
        set_notes(w, n, e) == 0 && write_tensors(w, p, type, e) == 0)
        return gguf_writer_finish(w, e);
    gguf_writer_abort(w);
    return -1;
}

/* ---- options from a file ---- */

/* "blk.N.WHAT.weight" to N and what declares it; false: not trained here. */
static bool target_of(const char *name, int *il, int *target) {
    static const struct {
        const char *what;
        int target;
    } known[] = {
        {"attn_q", LORA_Q},        {"attn_q_a", LORA_Q},
        {"attn_q_b", LORA_Q},      {"attn_qkv", LORA_Q},
        {"attn_k", LORA_K},        {"attn_v", LORA_V},
        {"attn_kv_a_mqa", LORA_K}, {"attn_output", LORA_O},
        {"ffn_gate", LORA_GATE},   {"ffn_up", LORA_UP},
        {"ffn_down", LORA_DOWN},   {"ffn_gate_shexp", LORA_GATE},
        {"ffn_up_shexp", LORA_UP}, {"ffn_down_shexp", LORA_DOWN},
    };
    char what[64];
    int end = 0;
    if (sscanf(name, "blk.%5d.%60[a-z_].weight%n", il, what, &end) != 2 || !end || name[end])
        return false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(what, known[i].what) == 0) {
            *target = known[i].target;
            return *il >= 0;
        }
    return false;
}

/* Our own keys, where they mean what adapter.lora.alpha says to others; that alone else. */
int adapter_file_scale(const struct lora_set *s, struct lora_opts *o, struct err *e) {
    struct lora_opts own = *o;
    if (gguf_get_f32(s->g, "cria.lora.alpha", &own.alpha, e) < 0 ||
        gguf_get_bool(s->g, "cria.lora.rslora", &own.stabilized, e) < 0 ||
        gguf_get_f32(s->g, "cria.lora.dropout", &own.dropout, e) < 0)
        return -1;
    if (own.dropout >= 0 && own.dropout <= 0.9f) o->dropout = own.dropout;
    if (own.alpha > 0 && fabsf(lora_file_alpha(&own) - s->alpha) <= 1e-6f * s->alpha) {
        o->alpha = own.alpha;
        o->stabilized = own.stabilized;
        return 0;
    }
    o->alpha = s->alpha > 0 ? s->alpha : (float)o->rank; /* none: the product as it stands */
    return 0;
}

int adapter_file_opts(const struct lora_set *s, int n_layer, struct lora_opts *o, struct err *e) {
    int first = n_layer;
    *o = (struct lora_opts){.rank = s->pair[0].rank};
    for (int i = 0; i < s->n; i++) {
        const struct lora_set_pair *p = &s->pair[i];
        int il, target;
        if (!target_of(p->name, &il, &target) || il >= n_layer)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s: the adapter of '%s'; those of the attention and feed-forward "
                           "linears of %d layers are trained",
                           gguf_path(s->g), p->name, n_layer);
        if (p->rank != o->rank)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s: '%s' is of rank %d, '%s' of rank %d; one rank for all is trained",
                           gguf_path(s->g), s->pair[0].name, o->rank, p->name, p->rank);
        o->targets |= target;
        if (il < first) first = il;
    }
    o->last_layers = first ? n_layer - first : 0;
    return adapter_file_scale(s, o, e);
}

/* ---- values ---- */

static int read_tensor(const struct lora_set *s, const struct gguf_tensor *t, struct params *p,
                       struct err *e) {
    const struct param *x = params_find(p, t->name);
    if (!x || t->ne[0] != x->ne[0] || t->ne[1] != x->ne[1])
        return err_set(e, ERR_FORMAT, "%s: tensor '%s' is %lld x %lld; %s", gguf_path(s->g),
                       t->name, (long long)t->ne[0], (long long)t->ne[1],
                       x ? "the model's has another shape" : "none of this name is trained");
    float *out = p->w + x->at;
    quant_type(t->type)->decode(t->data, out, x->n);
    for (size_t i = 0; i < x->n; i++)
        if (!isfinite(out[i]))
            return err_set(e, ERR_FORMAT, "%s: tensor '%s': %g found; finite numbers are accepted",
                           gguf_path(s->g), t->name, (double)out[i]);
    return 0;
}

int adapter_file_read(const struct lora_set *s, struct params *p, struct err *e) {
    for (int i = 0; i < s->n; i++)
        if (read_tensor(s, s->pair[i].a, p, e) != 0 || read_tensor(s, s->pair[i].b, p, e) != 0)
            return -1;
    return 0;
}
