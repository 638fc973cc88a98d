/* What a fine-tune begins with: the model's file, an adapter that is trained further, settings that
 * follow from them. */
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "base/utf8.h"
#include "create/tune_priv.h"
#include "train/adapter_file.h"

/* What the user set of these is what the adapter has, or nothing. */
static int check_same(const char *name, double set, double has, struct err *e) {
    char text[32] = "all";
    if (set == 0 || fabs(set - has) <= 1e-6 * fabs(has)) return 0;
    if (has != 0) snprintf(text, sizeof text, "%g", has);
    return err_set(e, ERR_USAGE,
                   "%s: found %g; the adapter that is trained further has %s (--merge makes a "
                   "model that takes another)",
                   name, set, text);
}

static int take_lora(struct lora_opts *set, struct lora_opts has, struct err *e) {
    if (check_same("rank", set->rank, has.rank, e) != 0 ||
        check_same("alpha", (double)set->alpha, (double)has.alpha, e) != 0 ||
        check_same("rslora", set->stabilized, has.stabilized, e) != 0 ||
        check_same("targets (bits)", set->targets, has.targets, e) != 0 ||
        check_same("layers", set->last_layers, has.last_layers, e) != 0)
        return -1;
    if (set->dropout > 0) has.dropout = set->dropout;
    *set = has;
    return 0;
}

/* The model brings an adapter: that one is trained further. */
static int open_adapter(struct tuning *t, const struct layer *adapter, struct err *e) {
    struct str arch = STR("");
    struct lora_opts has;
    char path[STORE_PATH], key[128];
    uint32_t n_layer = 0;
    if (t->set.train.method != TRAIN_LORA)
        return err_set(e, ERR_UNSUPPORTED,
                       "method %s: the model has an adapter already; one without is accepted (make "
                       "one with --merge first)",
                       train_method_name(t->set.train.method));
    if (create_layer_path(t->k, adapter, path, e) != 0 ||
        lora_set_open(&t->from, path, NULL, e) != 0 ||
        gguf_get_str(t->g, "general.architecture", &arch, e) < 0)
        return -1;
    snprintf(key, sizeof key, "%.*s.block_count", arch.n < 64 ? (int)arch.n : 64, arch.p);
    if (gguf_get_u32(t->g, key, &n_layer, e) < 0 ||
        adapter_file_opts(&t->from, (int)n_layer, &has, e) != 0 ||
        take_lora(&t->set.train.lora, has, e) != 0)
        return -1;
    t->from_digest = adapter->digest;
    t->set.train.from = &t->from;
    create_say(t->k, "training the model's adapter further", NULL);
    return 0;
}

static const char *name_of_base(const struct tuning *t) {
    const char *v = "the model";
    for (int i = 0; i < t->m->n; i++)
        if (t->m->line[i].command == MF_FROM && t->m->line[i].value.n) v = t->m->line[i].value.p;
    return v;
}

void tune_base_name(const struct tuning *t, char out[256]) {
    char path[STORE_PATH];
    enum create_what what = CREATE_NOTHING;
    struct str own = STR("");
    const char *from = name_of_base(t), *slash = strrchr(from, '/');
    create_look(t->k->o->folder, from, path, &what, NULL);
    if (what == CREATE_NOTHING || !t->k->o->folder)
        snprintf(out, 256, "%.255s", from);
    else if (gguf_get_str(t->g, "general.name", &own, NULL) == 1 && own.n &&
             utf8_valid_prefix(own.p, own.n) == own.n)
        snprintf(out, 256, "%.*s", own.n < 255 ? (int)own.n : 255, own.p);
    else
        snprintf(out, 256, "%.255s", slash && slash[1] ? slash + 1 : from);
}

/* All weights are trained as floats; an adapter can be for weights of any type. */
static int check_types(const struct tuning *t, struct err *e) {
    const enum train_method method = t->set.train.method;
    if (method != TRAIN_FULL && method != TRAIN_QAT) return 0;
    for (int i = 0; i < gguf_n_tensor(t->g); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(t->g, i);
        if (x->type == QT_F32) continue;
        return err_set(e, ERR_UNSUPPORTED,
                       "method %s: %.160s has weights of %s ('%.60s'); a model of F32 is accepted: "
                       "`cria quantize IN.gguf OUT.gguf F32` makes one of its file (method lora "
                       "takes it as it is)",
                       train_method_name(method), name_of_base(t), qtype_name(x->type), x->name);
    }
    return 0;
}

int tune_open_base(struct tuning *t, struct err *e) {
    const struct layer *model = create_layer(t->k, LAYER_MODEL);
    if (!model) return err_set(e, ERR_FORMAT, "TRAINFILE without a model to train");
    t->base_digest = model->digest;
    if (create_layer_path(t->k, model, t->base, e) != 0) return -1;
    t->g = gguf_open(t->base, e);
    if (!t->g || check_types(t, e) != 0) return -1;
    const struct layer *adapter = create_layer(t->k, LAYER_ADAPTER);
    return adapter ? open_adapter(t, adapter, e) : 0;
}

int tune_model_ctx(const struct gguf *g) {
    struct str arch = STR("");
    char key[128];
    uint32_t n = 0;
    gguf_get_str(g, "general.architecture", &arch, NULL);
    snprintf(key, sizeof key, "%.*s.context_length", arch.n < 64 ? (int)arch.n : 64, arch.p);
    return gguf_get_u32(g, key, &n, NULL) == 1 && n <= INT_MAX ? (int)n : 0;
}

int tune_fill_settings(struct tuning *t, struct err *e) {
    const int own = tune_model_ctx(t->g);
    char text[128];
    t->o = t->set;
    if (train_resolve(&t->set.train, &t->o.train, e) != 0) return -1;
    if (t->set.train.ctx == 0 && own >= 8 && own < t->o.train.ctx) {
        t->set.train.ctx = own;
        snprintf(text, sizeof text, "examples of up to %d tokens are taken, the model's context",
                 own);
        create_say(t->k, text, NULL);
    }
    return train_resolve(&t->set.train, &t->o.train, e);
}
