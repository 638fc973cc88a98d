/* `create --merge [TYPE]`: base and adapter become a model of its own.  With TRAINFILE the adapter
 * is what was trained (tune_result.c); without, what ADAPTER names or the base model brings. */
#include <stdio.h>

#include "create/create_priv.h"
#include "create/merge.h"

struct merging {
    struct create_bar bar;
    uint64_t all;
};

static int on_progress(void *ctx, double done_bytes) {
    struct merging *m = ctx;
    return create_progress(&m->bar, (uint64_t)done_bytes, m->all);
}

static void warn(struct creation *k, int n_requantize) {
    char text[160];
    if (n_requantize == 0) return;
    snprintf(text, sizeof text,
             "warning: %d tensors were quantized already; their errors add up, an F16 base is "
             "better, or an adapter",
             n_requantize);
    create_say(k, text, NULL);
}

/* TYPE, else -q's, else as the base. */
static const char *type_of(const struct create_opts *o) {
    return *o->merge ? o->merge : o->quantize;
}

int create_merge_files(struct creation *k, const char *base, const char *adapter, const char *out,
                       struct err *e) {
    struct merging m = {.bar = {k, "merging the adapter"}};
    struct merge_report report;
    const struct merge_opts o = {
        .type = type_of(k->o), .n_threads = k->o->n_threads, .progress = on_progress, .ctx = &m};
    struct gguf *g = gguf_open(base, e);
    if (!g) return -1;
    m.all = gguf_file_bytes(g);
    gguf_close(g);
    create_say(k, m.bar.status, NULL);
    if (merge_adapter(base, adapter, out, &o, &report, e) != 0) return -1;
    warn(k, report.n_requantize);
    return 0;
}

int create_merge(struct creation *k, struct err *e) {
    const struct layer *model = create_layer(k, LAYER_MODEL);
    const struct layer *adapter = create_layer(k, LAYER_ADAPTER);
    char base[STORE_PATH], from[STORE_PATH], merged[STORE_PATH];
    if (!model || !adapter)
        return err_set(e, ERR_USAGE,
                       "create: merge without an adapter; ADAPTER or TRAINFILE is "
                       "missing");
    if (store_blob(k->s, &model->digest, base, NULL, e) != 0 ||
        store_blob(k->s, &adapter->digest, from, NULL, e) != 0 ||
        create_work_path(k, merged, e) != 0 || create_merge_files(k, base, from, merged, e) != 0)
        return -1;
    create_drop_layers(k, LAYER_ADAPTER);
    return create_add_made(k, merged, LAYER_MODEL, e);
}
