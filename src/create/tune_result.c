/* From trained parameters to a layer: an adapter, or a model of its own, merged and quantized. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/json.h"
#include "create/tune_priv.h"
#include "engine/quantize.h"
#include "train/adapter_file.h"
#include "train/model_file.h"

static int write_adapter(const struct tune_result *r, const char *path, struct err *e) {
    json_t *recipe = tune_recipe(r->o, r->plan);
    char base[DIGEST_TEXT], data[DIGEST_TEXT];
    struct digest d;
    struct buf text = {0};
    digest_format(r->base_digest, base);
    digest_from_hash(r->data->train.count.file_digest, &d);
    digest_format(&d, data);
    int rc = json_append_figures("recipe", recipe, &text, e);
    const struct adapter_notes notes = {.base = r->base,
                                        .base_name = r->base_name,
                                        .base_digest = base,
                                        .data_digest = data,
                                        .recipe = text.p};
    if (rc == 0) rc = adapter_file_write(path, r->params, &r->o->train.lora, &notes, e);
    buf_fini(&text);
    json_decref(recipe);
    return rc;
}

/* ---- quantizing ---- */

struct making {
    struct create_bar bar;
    uint64_t all;
};

static int on_progress(void *ctx, double done_bytes) {
    struct making *m = ctx;
    return create_progress(&m->bar, (uint64_t)done_bytes, m->all);
}

static int quantize(struct creation *k, const char *type, const char *in, const char *out,
                    struct err *e) {
    struct quantize_summary s;
    struct quantize_opts o = {0};
    char status[100];
    const int n = k->o->n_threads ? k->o->n_threads : cores_default_threads(e);
    if (n < 0 || create_find_mix(type, &o.mix, e) != 0) return -1;
    struct quantizer *q = quantize_new(in, &o, e);
    if (!q) return -1;
    quantize_summarize(q, &s);
    snprintf(status, sizeof status, "quantizing to %.40s", type);
    struct making m = {{k, status}, s.in_bytes};
    create_say(k, status, NULL);
    const int rc = quantize_run(q, out, n, on_progress, &m, e);
    quantize_free(q);
    return rc;
}

/* All weights: F32, or of the type that was asked for. */
static int add_full(struct creation *k, const struct tune_result *r, struct err *e) {
    const char *type = k->o->merge && *k->o->merge ? k->o->merge : r->o->type;
    char path[STORE_PATH], small[STORE_PATH];
    if (create_work_path(k, path, e) != 0 || model_file_write(path, r->base, r->params, e) != 0)
        return -1;
    if (!type) return create_add_made(k, path, LAYER_MODEL, e);
    if (create_work_path(k, small, e) != 0 || quantize(k, type, path, small, e) != 0) return -1;
    unlink(path);
    return create_add_made(k, small, LAYER_MODEL, e);
}

int tune_add_result(struct creation *k, const struct tune_result *r, struct err *e) {
    char adapter[STORE_PATH], merged[STORE_PATH];
    const enum train_method method = r->o->train.method;
    if (method == TRAIN_FULL || method == TRAIN_QAT) return add_full(k, r, e);
    if (create_work_path(k, adapter, e) != 0 || write_adapter(r, adapter, e) != 0) return -1;
    if (!k->o->merge) return create_add_made(k, adapter, LAYER_ADAPTER, e);
    if (create_work_path(k, merged, e) != 0 ||
        create_merge_files(k, gguf_path(r->base), adapter, merged, e) != 0)
        return -1;
    unlink(adapter);
    create_drop_layers(k, LAYER_ADAPTER); /* the one that was trained further */
    return create_add_made(k, merged, LAYER_MODEL, e);
}
