/* GGUF to PEFT.  Data flow:
 *
 *   pair of a tensor -> parts: the checkpoint's modules in it (one; those of a fused tensor)
 *                    -> names, B's rows in the checkpoint's order -> safetensors
 *                    -> which modules, in which layers -> adapter_config.json
 *
 * A is the same for all parts of a tensor; each gets its own, as PEFT has no other way. */
#include "create/export_adapter.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "create/convert_priv.h"
#include "gguf/safetensors_write.h"
#include "model/lora_set.h"
#include "quant/quant.h"
#include "train/adapter_file.h"

enum { MAX_PARTS = 3, ST_PER_PART = 2 };

struct exported {
    const char *module; /* "model.layers.0.self_attn.q_proj" */
    const char *last;   /* "q_proj"; in module */
    int layer, rank;
};

struct export {
    struct lora_set set;
    const struct family *family;
    int n_layer, n_head, n_kv_head;
    int n_ff; /* 0: not known */
    struct arena a;
    struct st_tensor *t; /* [n_t], owned */
    int n_t;
    struct exported *part; /* [n_part], owned */
    int n_part;
};

/* ---- the base ---- */

static int read_base(struct export *x, const struct gguf *g, struct err *e) {
    static const char *const names[] = {"block_count", "attention.head_count",
                                        "attention.head_count_kv", "feed_forward_length"};
    int *const out[] = {&x->n_layer, &x->n_head, &x->n_kv_head, &x->n_ff};
    for (int i = 0; i < 4; i++) {
        char key[CONVERT_NAME];
        uint32_t v = i == 2 ? (uint32_t)x->n_head : 0;
        snprintf(key, sizeof key, "%s.%s", x->family->arch, names[i]);
        /* Widths that differ from layer to layer are an array: no tensor is cut by them. */
        const int got = gguf_get_u32(g, key, &v, i == 3 ? NULL : e);
        if (got < 0 && i < 3) return -1;
        if (got == 0 && i < 2)
            return err_set(e, ERR_NOT_FOUND,
                           "%s: says nothing of its base (key '%s'); the base's file is needed",
                           gguf_path(g), key);
        if (v > 1 << 24 || (v < 1 && i < 3))
            return err_set(e, ERR_FORMAT, "%s: key '%s' is %u", gguf_path(g), key, v);
        *out[i] = (int)v;
    }
    return 0;
}

static int open_base(struct export *x, const char *base, struct err *e) {
    x->family = family_of_arch(x->set.arch);
    if (!x->family || (x->family->flags & FAMILY_ENCODER))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: the names of architecture \"%.*s\" in checkpoints are not known",
                       gguf_path(x->set.g), x->set.arch.n < 40 ? (int)x->set.arch.n : 40,
                       x->set.arch.p);
    if (!base) return read_base(x, x->set.g, e);
    struct gguf *g = gguf_open(base, e);
    struct str arch = STR("missing");
    int rc = g && gguf_get_str(g, "general.architecture", &arch, e) >= 0 ? 0 : -1;
    if (rc == 0 && !str_eq(arch, x->set.arch))
        rc = err_set(e, ERR_FORMAT, "%s: architecture %.*s; the adapter is for %s", base,
                     arch.n < 40 ? (int)arch.n : 40, arch.p, x->family->arch);
    if (rc == 0) rc = read_base(x, g, e);
    gguf_close(g);
    return rc;
}

/* ---- parts of a tensor ---- */

struct part {
    char gguf[CONVERT_NAME]; /* the name of this part alone */
    int row0, n_row;
};

/* The parts' names in place of "attn_qkv" or "ffn_up"; rows of each. */
static int cut(struct part part[MAX_PARTS], int il, const char *const name[], const int n_row[],
               int n) {
    for (int i = 0, row = 0; i < n; row += n_row[i++]) {
        part[i] = (struct part){.row0 = row, .n_row = n_row[i]};
        snprintf(part[i].gguf, sizeof part[i].gguf, "blk.%d.%s.weight", il, name[i]);
    }
    return n;
}

/* Which of the checkpoint's modules a tensor of n_row rows holds; their number. */
static int parts_of(const struct export *x, const char *name, int n_row, struct part *part) {
    static const char *const qkv[] = {"attn_q", "attn_k", "attn_v"};
    static const char *const glu[] = {"ffn_gate", "ffn_up"};
    const int n_all = x->n_head + 2 * x->n_kv_head, half[] = {x->n_ff, x->n_ff};
    int il, end = 0;
    char what[32];
    const bool fused = !(x->family->flags & FAMILY_FUSED) &&
                       sscanf(name, "blk.%5d.%30[a-z_].weight%n", &il, what, &end) == 2 && end &&
                       !name[end];
    if (fused && strcmp(what, "attn_qkv") == 0 && n_row % n_all == 0) {
        const int dim = n_row / n_all, kv = dim * x->n_kv_head;
        return cut(part, il, qkv, (const int[]){dim * x->n_head, kv, kv}, 3);
    }
    if (fused && strcmp(what, "ffn_up") == 0 && x->n_ff && n_row == 2 * x->n_ff)
        return cut(part, il, glu, half, 2);
    part[0] = (struct part){.n_row = n_row};
    snprintf(part[0].gguf, sizeof part[0].gguf, "%s", name);
    return 1;
}

/* ---- tensors ---- */

/* Types that PEFT's files hold; others become floats. */
static enum st_type type_of(const struct gguf_tensor *t) {
    return t->type == QT_F16 ? ST_F16 : t->type == QT_BF16 ? ST_BF16 : ST_F32;
}

static int add_tensor(struct export *x, const char *module, char half, const struct gguf_tensor *t,
                      int row0, int n_row, size_t head_rows, struct err *e) {
    struct st_tensor *out = &x->t[x->n_t];
    const size_t n_col = (size_t)t->ne[0], n_rows = (size_t)n_row;
    char name[2 * CONVERT_NAME];
    *out = (struct st_tensor){.type = type_of(t), .n_dim = 2, .shape = {n_row, t->ne[0]}};
    const size_t row_bytes = n_col * st_type_bytes(out->type);
    const size_t from_bytes = qtype_row_bytes(t->type, (int)n_col);
    snprintf(name, sizeof name, "base_model.model.%s.lora_%c.weight", module, half);
    uint8_t *data = arena_calloc(&x->a, n_rows, row_bytes);
    out->name = arena_strndup(&x->a, name, strlen(name));
    out->data = data;
    out->n_bytes = n_rows * row_bytes;
    if (!data || !out->name) return err_nomem(e, name);
    for (size_t r = 0; r < n_rows; r++) {
        uint8_t *to = data + row_bytes * (head_rows ? tensor_source_row(r, head_rows) : r);
        const uint8_t *from = t->data + from_bytes * (r + (size_t)row0);
        if (out->type == ST_F32)
            quant_type(t->type)->decode(from, (float *)(void *)to, n_col); /* rows are 4-aligned */
        else
            memcpy(to, from, row_bytes);
    }
    x->n_t++;
    return 0;
}

static int add_part(struct export *x, const struct lora_set_pair *p, const struct part *part,
                    struct err *e) {
    struct hub_name hub;
    if (tensor_hub_name(x->family, part->gguf, &hub) != 1 || strstr(hub.module, "norm") ||
        strstr(hub.module, "embed"))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: the adapter of '%s' has no counterpart in checkpoints of %s",
                       gguf_path(x->set.g), p->name, x->family->arch);
    const int n_head = hub.op == OP_ROTATE_Q ? x->n_head : x->n_kv_head;
    if (hub.op != OP_COPY && part->n_row % (2 * n_head) != 0)
        return err_set(e, ERR_FORMAT, "%s: '%s' has %d rows; %d heads of even size are needed",
                       gguf_path(x->set.g), p->name, part->n_row, n_head);
    if (hub.layer >= x->n_layer)
        return err_set(e, ERR_FORMAT, "%s: '%s'; the base has %d layers", gguf_path(x->set.g),
                       p->name, x->n_layer);
    char module[CONVERT_NAME + 8];
    snprintf(module, sizeof module, "%s%s", hub.inner ? "model." : "", hub.module);
    char *own = arena_strndup(&x->a, module, strlen(module));
    if (!own) return err_nomem(e, module);
    const char *dot = strrchr(own, '.');
    x->part[x->n_part++] = (struct exported){own, dot ? dot + 1 : own, hub.layer, p->rank};
    const size_t head_rows = hub.op == OP_COPY ? 0 : (size_t)(part->n_row / n_head);
    if (add_tensor(x, module, 'A', p->a, 0, p->rank, 0, e) != 0) return -1;
    return add_tensor(x, module, 'B', p->b, part->row0, part->n_row, head_rows, e);
}

static int add_all(struct export *x, struct err *e) {
    const size_t n = (size_t)x->set.n * MAX_PARTS;
    x->t = calloc(n * ST_PER_PART, sizeof *x->t);
    x->part = calloc(n, sizeof *x->part);
    if (!x->t || !x->part) return err_nomem(e, gguf_path(x->set.g));
    for (int i = 0; i < x->set.n; i++) {
        const struct lora_set_pair *p = &x->set.pair[i];
        struct part part[MAX_PARTS];
        const int n_part = parts_of(x, p->name, (int)p->b->ne[1], part);
        for (int k = 0; k < n_part; k++)
            if (add_part(x, p, &part[k], e) != 0) return -1;
    }
    return 0;
}

/* ---- adapter_config.json ---- */

static json_t *number(float v) {
    return v == (float)(int)v ? json_integer((int)v) : json_real((double)v);
}

static bool has(const struct export *x, int layer, const char *last) {
    for (int i = 0; i < x->n_part; i++)
        if (x->part[i].layer == layer && strcmp(x->part[i].last, last) == 0) return true;
    return false;
}

/* PEFT makes an adapter of every module whose name ends with a target, in all layers or in those
 * listed.  Where that would be more than there is, the targets are whole names. */
static void set_targets(const struct export *x, json_t *config) {
    json_t *lasts = json_object(), *layers = json_object(), *value;
    const char *last, *layer;
    bool product = true;
    for (int i = 0; i < x->n_part; i++) {
        char number_text[16];
        snprintf(number_text, sizeof number_text, "%d", x->part[i].layer);
        json_object_set_new(lasts, x->part[i].last, json_true());
        json_object_set_new(layers, number_text, json_integer(x->part[i].layer));
        product = product && x->part[i].layer >= 0;
    }
    json_object_foreach(lasts, last, value) {
        json_t *at;
        json_object_foreach(layers, layer, at) product =
            product && has(x, (int)json_integer_value(at), last);
    }
    json_t *targets = json_array(), *some = json_array();
    if (product)
        json_object_foreach(lasts, last, value) json_array_append_new(targets, json_string(last));
    for (int i = 0; !product && i < x->n_part; i++)
        json_array_append_new(targets, json_string(x->part[i].module));
    const bool all = !product || (int)json_object_size(layers) == x->n_layer;
    for (int il = 0; !all && il < x->n_layer; il++)
        if (has(x, il, x->part[0].last)) json_array_append_new(some, json_integer(il));
    json_object_set_new(config, "target_modules", targets);
    json_object_set_new(config, "layers_to_transform", all ? json_null() : json_incref(some));
    json_decref(some);
    json_decref(lasts);
    json_decref(layers);
}

/* r is that of the first; modules of another are named. */
static void set_ranks(const struct export *x, json_t *config) {
    json_t *ranks = json_object();
    for (int i = 0; i < x->n_part; i++)
        if (x->part[i].rank != x->part[0].rank)
            json_object_set_new(ranks, x->part[i].module, json_integer(x->part[i].rank));
    json_object_set_new(config, "r", json_integer(x->part[0].rank));
    json_object_set_new(config, "rank_pattern", ranks);
}

/* One alpha is divided by each module's rank, here and there; none stands for the rank itself. */
static int set_scale(const struct export *x, json_t *config, struct err *e) {
    struct lora_opts o = {.rank = x->part[0].rank};
    const bool ranks = json_object_size(json_object_get(config, "rank_pattern")) > 0;
    if (adapter_file_scale(&x->set, &o, e) != 0) return -1;
    if (x->set.alpha == 0 && ranks)
        return err_set(e, ERR_UNSUPPORTED, "%s: several ranks without 'adapter.lora.alpha'",
                       gguf_path(x->set.g));
    if (ranks && o.stabilized) o = (struct lora_opts){.alpha = x->set.alpha};
    json_object_set_new(config, "lora_alpha", number(o.alpha));
    json_object_set_new(config, "use_rslora", json_boolean(o.stabilized));
    json_object_set_new(config, "lora_dropout", json_real((double)o.dropout));
    return 0;
}

static json_t *base_name(const struct export *x, const struct export_opts *o) {
    struct str s = STR("");
    if (o && o->base_name) return json_string(o->base_name);
    if (gguf_get_str(x->set.g, "general.base_model.0.name", &s, NULL) != 1 &&
        gguf_get_str(x->set.g, ADAPTER_BASE, &s, NULL) != 1)
        return json_null();
    json_t *j = json_stringn(s.p, s.n);
    return j ? j : json_null();
}

static char *config_text(const struct export *x, const struct export_opts *o, struct err *e) {
    json_t *config =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:o, s:{}, s:n}", "peft_type", "LORA",
                  "task_type", "CAUSAL_LM", "bias", "none", "fan_in_fan_out", 0, "use_dora", 0,
                  "inference_mode", 1, "init_lora_weights", 1, "base_model_name_or_path",
                  base_name(x, o), "alpha_pattern", "modules_to_save");
    set_targets(x, config);
    set_ranks(x, config);
    char *text = NULL;
    if (set_scale(x, config, e) == 0) {
        text = json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS);
        if (!text) err_nomem(e, gguf_path(x->set.g));
    }
    json_decref(config);
    return text;
}

/* ---- all ---- */

static int write_all(const struct export *x, const char *folder, const char *config,
                     struct err *e) {
    char path[PATH_MAX];
    if (strlen(folder) + 40 >= sizeof path)
        return err_set(e, ERR_USAGE, "%.60s...: too long a path", folder);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) return err_errno(e, folder);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    if (safetensors_write(path, x->t, x->n_t, e) != 0) return -1;
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    return os_write_file(path, config, strlen(config), e);
}

int export_adapter(const char *adapter, const char *base, const char *folder,
                   const struct export_opts *o, struct err *e) {
    struct export x = {0};
    int rc = lora_set_open(&x.set, adapter, NULL, e);
    if (rc == 0) rc = open_base(&x, base, e);
    if (rc == 0) rc = add_all(&x, e);
    char *config = rc == 0 ? config_text(&x, o, e) : NULL;
    if (rc == 0) rc = config ? write_all(&x, folder, config, e) : -1;
    free(config);
    free(x.t);
    free(x.part);
    arena_fini(&x.a);
    lora_set_close(&x.set);
    return rc;
}
