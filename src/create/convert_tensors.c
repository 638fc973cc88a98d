/* The tensors: which there are, in which order, and their data, row by row.
 *
 * Shapes are written as the hub has them; whether they are those of the model is checked by whoever
 * opens the result (engine_check_model), with GGUF's names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "create/convert_priv.h"

enum { CHUNK_BYTES = 4 << 20 };

struct planned {
    struct tensor_name n;
    const struct st_tensor **src; /* [n_src]: one, or one an expert; owned */
    int n_src, n_found;
    const float *made; /* [ne0] computed here instead; borrowed */
    int n_made;
    enum qtype type;
};

struct tensor_plan {
    struct conversion *c;
    struct planned *t; /* [n], owned */
    int n, cap;
    uint64_t n_bytes, done;
};

struct tensor_plan *tensor_plan_empty(struct conversion *c, struct err *e) {
    struct tensor_plan *p = calloc(1, sizeof *p);
    if (p)
        p->c = c;
    else
        err_nomem(e, c->folder);
    return p;
}

void tensor_plan_free(struct tensor_plan *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++)
        free(p->t[i].src);
    free(p->t);
    free(p);
}

/* ---- planning ---- */

static struct planned *push(struct tensor_plan *p, const struct tensor_name *n, struct err *e) {
    if (p->n == p->cap) {
        const int cap = p->cap ? 2 * p->cap : 256;
        struct planned *t = realloc(p->t, (size_t)cap * sizeof *t);
        if (!t) {
            err_nomem(e, n->name);
            return NULL;
        }
        p->t = t, p->cap = cap;
    }
    struct planned *x = &p->t[p->n];
    *x = (struct planned){.n = *n, .n_src = n->expert < 0 ? 1 : p->c->n_expert};
    x->src = calloc((size_t)(x->n_src ? x->n_src : 1), sizeof *x->src);
    if (!x->src) {
        err_nomem(e, n->name);
        return NULL;
    }
    p->n++;
    return x;
}

/* Vectors, routers and the encoders' small tables stay floats; matrices keep what they are. */
static enum qtype type_of(const struct tensor_name *n, const struct st_tensor *t) {
    const bool small = strstr(n->name, "ffn_gate_inp") || strstr(n->name, "position_embd") ||
                       strstr(n->name, "token_types");
    if (t->n_dim < 2 || small) return QT_F32;
    return t->type == ST_BF16 ? QT_BF16 : t->type == ST_F16 ? QT_F16 : QT_F32;
}

static int check_source(const struct tensor_name *n, const struct st_tensor *t, struct err *e) {
    if (!st_is_float(t->type) || st_type_bytes(t->type) < 2)
        return err_set(e, ERR_UNSUPPORTED,
                       "tensor '%s' is %s; F64, F32, F16 and BF16 weights are converted (not those "
                       "quantized already)",
                       t->name, st_type_name(t->type));
    if (t->n_dim < 1 || t->n_dim > 2 || (n->expert >= 0 && t->n_dim != 2) || t->n_bytes == 0)
        return err_set(e, ERR_FORMAT, "tensor '%s' has %d dimensions; 1 or 2 are accepted", t->name,
                       t->n_dim);
    for (int i = 0; i < t->n_dim; i++)
        if (t->shape[i] > INT32_MAX)
            return err_set(e, ERR_FORMAT, "tensor '%s' is longer than 2^31-1", t->name);
    return 0;
}

/* Heads that are cut in two halves. */
static int check_heads(const struct conversion *c, const struct tensor_name *n,
                       const struct st_tensor *t, struct err *e) {
    const int n_head = n->op == OP_ROTATE_Q ? c->n_head : c->n_kv_head;
    if (n->op == OP_COPY || t->shape[0] % (2 * (int64_t)n_head) == 0) return 0;
    return err_set(e, ERR_FORMAT, "tensor '%s' has %lld rows; %d heads of even size are needed",
                   t->name, (long long)t->shape[0], n_head);
}

int tensor_plan_add(struct tensor_plan *p, const struct tensor_name *n, const struct st_tensor *t,
                    struct err *e) {
    struct planned *x = NULL;
    if (check_source(n, t, e) != 0 || check_heads(p->c, n, t, e) != 0) return -1;
    if (n->expert >= p->c->n_expert)
        return err_set(e, ERR_FORMAT, "tensor '%s' of expert %d; config.json has %d experts",
                       t->name, n->expert, p->c->n_expert);
    for (int i = 0; i < p->n && !x; i++)
        if (strcmp(p->t[i].n.name, n->name) == 0) x = &p->t[i];
    const bool again = x && n->expert < 0;
    if (!x) x = push(p, n, e);
    if (!x) return -1;
    const int at = n->expert < 0 ? 0 : n->expert;
    if (again || x->src[at])
        return err_set(e, ERR_FORMAT, "tensors '%s' and '%s' are the same weight, %s",
                       x->src[at]->name, t->name, n->name);
    if (x->n_found++ == 0) x->type = type_of(n, t);
    x->src[at] = t;
    return 0;
}

/* A vector that is computed from config.json. */
static int add_made(struct tensor_plan *p, const char *name, const float *v, int n, struct err *e) {
    struct tensor_name tn = {.layer = -1, .expert = -1, .order = -1};
    if (!v) return 0;
    snprintf(tn.name, sizeof tn.name, "%s.weight", name);
    struct planned *x = push(p, &tn, e);
    if (!x) return -1;
    x->made = v, x->n_made = n, x->type = QT_F32;
    return 0;
}

/* All parts of a stack are there and alike. */
static int check_stack(const struct planned *x, struct err *e) {
    for (int i = 0; i < x->n_src && !x->made; i++) {
        if (!x->src[i])
            return err_set(e, ERR_FORMAT, "%s: the weights of expert %d are missing", x->n.name, i);
        if (memcmp(x->src[i]->shape, x->src[0]->shape, sizeof x->src[0]->shape) != 0 ||
            x->src[i]->type != x->src[0]->type)
            return err_set(e, ERR_FORMAT, "tensors '%s' and '%s' differ in shape or type",
                           x->src[0]->name, x->src[i]->name);
    }
    return 0;
}

/* Does the head repeat the embedding?  Yes, where config.json says so, or does not say and there is
 * no head. */
static int plan_head(struct tensor_plan *p, const struct st_tensor *embed,
                     const struct st_tensor *head, struct err *e) {
    const struct conversion *c = p->c;
    const json_t *said = convert_config(c, "tie_word_embeddings");
    if (!said) said = json_object_get(c->root, "tie_word_embeddings");
    const bool tied = (c->family->flags & FAMILY_TIED) || json_is_true(said) || !head;
    if (c->family->flags & FAMILY_ENCODER) return 0;
    if (!head && json_is_false(said) && !(c->family->flags & FAMILY_TIED))
        return err_set(e, ERR_FORMAT,
                       "%s: no lm_head.weight, but config.json says \"tie_word_embeddings\": false",
                       c->folder);
    if (tied && !(c->family->flags & FAMILY_OWN_HEAD)) return 0;
    const struct tensor_name n = {.name = "output.weight", .layer = -1, .expert = -1, .order = 2};
    return tensor_plan_add(p, &n, tied ? embed : head, e);
}

/* What stands before the layers, the layers, what stands behind them. */
static int by_place(const void *a, const void *b) {
    const struct tensor_name *x = &((const struct planned *)a)->n;
    const struct tensor_name *y = &((const struct planned *)b)->n;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : strcmp(x->name, y->name);
}

static int plan_all(struct tensor_plan *p, struct err *e) {
    const struct conversion *c = p->c;
    const struct st_tensor *embed = NULL, *head = NULL;
    for (int i = 0; i < safetensors_n(c->st); i++) {
        const struct st_tensor *t = safetensors_at(c->st, i);
        struct tensor_name n;
        const int found = tensor_name(c->family, t->name, &n);
        if (found < 0)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s: tensor '%s' is no weight of %s that is known here", c->folder,
                           t->name, c->family->model_type);
        if (found == 0) continue;
        if (n.layer >= c->n_layer)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s', but config.json has %d layers",
                           c->folder, t->name, c->n_layer);
        if (strcmp(n.name, "token_embd.weight") == 0) embed = t;
        if (strcmp(n.name, "output.weight") == 0) {
            head = t;
            continue;
        }
        if (tensor_plan_add(p, &n, t, e) != 0) return err_prefix(e, c->folder);
    }
    if (!embed) return err_set(e, ERR_FORMAT, "%s: no embedding among the tensors", c->folder);
    if (plan_head(p, embed, head, e) != 0 ||
        add_made(p, "rope_freqs", c->rope_divisor, c->n_rot / 2, e) != 0 ||
        add_made(p, "rope_factors_long", c->rope_long, c->n_rot / 2, e) != 0)
        return -1;
    return add_made(p, "rope_factors_short", c->rope_short, c->n_rot / 2, e);
}

struct tensor_plan *tensor_plan_new(struct conversion *c, struct err *e) {
    struct tensor_plan *p = tensor_plan_empty(c, e);
    if (p && plan_all(p, e) == 0) {
        qsort(p->t, (size_t)p->n, sizeof *p->t, by_place);
        return p;
    }
    tensor_plan_free(p);
    return NULL;
}

/* ---- writing ---- */

static int n_col(const struct planned *x) {
    if (x->made) return x->n_made;
    return (int)x->src[0]->shape[x->src[0]->n_dim - 1];
}

static int n_row(const struct planned *x) {
    return !x->made && x->src[0]->n_dim == 2 ? (int)x->src[0]->shape[0] : 1;
}

/* The file's type is that of its matrices: the first of them tells. */
static int set_file_type(struct tensor_plan *p, struct err *e) {
    for (int i = 0; i < p->n; i++) {
        const enum qtype t = p->t[i].type;
        if (n_row(&p->t[i]) < 2 || strstr(p->t[i].n.name, "position_embd")) continue;
        const char *name = t == QT_BF16 ? "BF16" : t == QT_F16 ? "F16" : "F32";
        return gguf_set_u32(p->c->w, "general.file_type", (uint32_t)gguf_file_type_by_name(name),
                            e);
    }
    return 0;
}

int tensor_plan_declare(struct tensor_plan *p, struct err *e) {
    if (set_file_type(p, e) != 0) return -1;
    for (int i = 0; i < p->n; i++) {
        const struct planned *x = &p->t[i];
        if (check_stack(x, e) != 0) return err_prefix(e, p->c->folder);
        const int64_t ne[3] = {n_col(x), n_row(x), x->n_src};
        const bool matrix = !x->made && x->src[0]->n_dim == 2;
        const int n_dim = x->n.expert >= 0 ? 3 : matrix ? 2 : 1;
        if (gguf_add_tensor(p->c->w, x->n.name, x->type, n_dim, ne, e) != 0) return -1;
        p->n_bytes += qtype_row_bytes(x->type, n_col(x)) * (size_t)n_row(x) * (size_t)x->n_src;
    }
    return 0;
}

size_t tensor_source_row(size_t r, size_t head_rows) {
    const size_t head = r / head_rows, i = r % head_rows;
    return head * head_rows + (i % 2 ? head_rows / 2 : 0) + i / 2;
}

/* One tensor on its way: a matrix, or a vector, of which each value is a row where rows move. */
struct work {
    const struct st_tensor *t;
    enum qtype type;
    size_t rows, cols, row_bytes;
    size_t head_rows; /* of each head whose rows move; 0: none do */
    bool same;        /* the bytes are the result's */
    bool plus_one;
    float *row;   /* [cols] */
    uint8_t *out; /* room for a chunk */
};

static struct work work_of(const struct conversion *c, const struct planned *x,
                           const struct st_tensor *t) {
    const bool moves = x->n.op != OP_COPY, vector = moves && t->n_dim == 1;
    const int n_head = x->n.op == OP_ROTATE_Q ? c->n_head : c->n_kv_head;
    struct work w = {.t = t, .type = x->type};
    w.cols = vector ? 1 : (size_t)n_col(x);
    w.rows = vector ? (size_t)n_col(x) : (size_t)n_row(x);
    w.row_bytes = qtype_row_bytes(x->type, (int)w.cols);
    w.head_rows = moves ? w.rows / (size_t)n_head : 0;
    w.plus_one = (c->family->flags & FAMILY_NORM_PLUS) && strstr(x->n.name, "norm.weight");
    w.same = !w.plus_one && ((t->type == ST_F32 && x->type == QT_F32) ||
                             (t->type == ST_F16 && x->type == QT_F16) ||
                             (t->type == ST_BF16 && x->type == QT_BF16));
    return w;
}

/* Rows first..first+n in the result's type: where they lie, or made in the room for a chunk. */
static const uint8_t *rows_of(const struct work *w, size_t first, size_t n) {
    uint8_t *out = w->out;
    if (w->same && !w->head_rows) return w->t->data + first * w->row_bytes;
    for (size_t r = first; r < first + n; r++, out += w->row_bytes) {
        const size_t from = w->head_rows ? tensor_source_row(r, w->head_rows) : r;
        if (w->same) {
            memcpy(out, w->t->data + from * w->row_bytes, w->row_bytes);
            continue;
        }
        safetensors_floats(w->t, from * w->cols, w->cols, w->row); /* to F32, the only other type */
        for (size_t i = 0; i < w->cols && w->plus_one; i++)
            w->row[i] += 1.0f;
        memcpy(out, w->row, w->row_bytes);
    }
    return w->out;
}

static int advance(struct tensor_plan *p, size_t n, struct err *e) {
    const struct convert_opts *o = p->c->o;
    p->done += n;
    if (!o->progress || o->progress(o->ctx, p->done, p->n_bytes) == 0) return 0;
    return err_set(e, ERR_CANCELLED, "%s: interrupted", p->c->folder);
}

static int write_one(struct tensor_plan *p, const struct planned *x, const struct st_tensor *t,
                     struct err *e) {
    struct work w = work_of(p->c, x, t);
    const size_t step = w.row_bytes < CHUNK_BYTES ? CHUNK_BYTES / w.row_bytes : 1;
    w.out = malloc(step * w.row_bytes);
    w.row = malloc(w.cols * sizeof *w.row);
    int rc = w.out && w.row ? 0 : err_nomem(e, t->name);
    for (size_t r = 0; rc == 0 && r < w.rows; r += step) {
        const size_t n = w.rows - r < step ? w.rows - r : step;
        rc = gguf_write_data(p->c->w, rows_of(&w, r, n), n * w.row_bytes, e);
        if (rc == 0) rc = advance(p, n * w.row_bytes, e);
        if (w.same && !w.head_rows) safetensors_forget(t, r * w.row_bytes, (r + n) * w.row_bytes);
    }
    safetensors_forget(t, 0, t->n_bytes);
    free(w.row);
    free(w.out);
    return rc;
}

int tensor_plan_write(struct tensor_plan *p, struct err *e) {
    int rc = 0;
    for (int i = 0; rc == 0 && i < p->n; i++) {
        const struct planned *x = &p->t[i];
        if (x->made) rc = gguf_write_data(p->c->w, x->made, (size_t)x->n_made * sizeof(float), e);
        for (int k = 0; rc == 0 && !x->made && k < x->n_src; k++)
            rc = write_one(p, x, x->src[k], e);
    }
    return rc;
}
