/* See train_work.h. */
#include "cli/train_work.h"

#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create/show.h"
#include "gguf/write.h"
#include "store/config.h"

static int join(char out[STORE_PATH], const char *a, const char *b, struct err *e) {
    if (snprintf(out, STORE_PATH, "%s%s", a, b) < STORE_PATH) return 0;
    return err_set(e, ERR_USAGE, "%.200s...: the path is too long", a);
}

int train_work_open(struct train_work *w, const char *out, struct err *e) {
    char models[STORE_PATH];
    struct stat st;
    *w = (struct train_work){.store = NULL};
    if (stat(out, &st) == 0 && !S_ISREG(st.st_mode)) /* better now than after a night */
        return err_set(e, ERR_USAGE, "%s: is there and no regular file; a file is accepted", out);
    if (join(w->folder, out, ".train", e) != 0 || join(w->base, w->folder, "/base.gguf", e) != 0 ||
        join(w->plan, w->folder, "/plan.gguf", e) != 0 ||
        join(models, w->folder, "/models", e) != 0)
        return -1;
    if (mkdir(w->folder, 0777) != 0) {
        if (errno != EEXIST) return err_errno(e, w->folder);
        w->was_there = true;
    }
    w->store = store_open(models, e);
    return w->store ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f) {
    (void)st, (void)kind, (void)f;
    remove(path); /* what stays keeps its folder, and is found there */
    return 0;
}

void train_work_close(struct train_work *w, bool remove) {
    char models[STORE_PATH];
    store_close(w->store);
    w->store = NULL;
    if (w->plan[0]) unlink(w->plan);
    if (!remove || !w->folder[0] || join(models, w->folder, "/models", NULL) != 0) return;
    nftw(models, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    unlink(w->base);
    rmdir(w->folder);
}

/* Everything but the weights is equal. */
static bool same_head(const struct gguf *a, const struct gguf *b) {
    const struct gguf_bytes x = gguf_file_at(a, 0), y = gguf_file_at(b, 0);
    if (x.n != y.n || gguf_n_tensor(a) == 0 || gguf_n_tensor(b) == 0) return false;
    const size_t n = (size_t)((const uint8_t *)gguf_tensor_at(a, 0)->data - x.p);
    return (size_t)((const uint8_t *)gguf_tensor_at(b, 0)->data - y.p) == n &&
           memcmp(x.p, y.p, n) == 0;
}

const char *train_work_planned(const struct train_work *w) {
    struct gguf *base = gguf_open(w->base, NULL), *plan = gguf_open(w->plan, NULL);
    const bool same = base && plan && same_head(base, plan);
    gguf_close(base);
    gguf_close(plan);
    return same ? w->base : w->plan;
}

int train_work_model(struct train_work *w, const struct name *n, char path[STORE_PATH],
                     struct err *e) {
    struct manifest m = {.layer = NULL};
    if (store_get(w->store, n, NULL, &m, e) != 0) return -1;
    const struct layer *l = manifest_layer(&m, LAYER_MODEL);
    const int rc = l ? store_blob(w->store, &l->digest, path, NULL, e)
                     : err_set(e, ERR_FORMAT, "%s: no model was made", w->folder);
    manifest_fini(&m);
    return rc;
}

/* The config's "training" without the base's path, which is gone soon, in *out; empty when it has
 * none. */
static int read_training(struct train_work *w, const struct name *n, struct buf *out,
                         struct err *e) {
    struct manifest m = {.layer = NULL};
    struct model_config c = {.training = NULL};
    struct buf text = {0};
    int rc = store_get(w->store, n, NULL, &m, e);
    if (rc == 0) rc = store_read_blob(w->store, &m.config.digest, CONFIG_MAX_BYTES, &text, e);
    if (rc == 0) rc = model_config_parse(w->folder, buf_view(&text), &c, e);
    json_t *j = rc == 0 && c.training ? json_loads(c.training, 0, NULL) : NULL;
    json_object_del(j, "base");
    char *z = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (z) buf_str(out, z);
    if (rc == 0 && (out->failed || (j && !z))) rc = err_nomem(e, w->folder);
    free(z);
    json_decref(j);
    model_config_fini(&c);
    manifest_fini(&m);
    buf_fini(&text);
    return rc;
}

static int copy_all(struct gguf_writer *w, const struct gguf *g, struct str training,
                    struct err *e) {
    for (int i = 0; i < gguf_n_kv(g); i++)
        if (gguf_copy_kv(w, gguf_kv_at(g, i), e) != 0) return -1;
    if (training.n && gguf_set_str(w, KEY_TRAINING, training, e) != 0) return -1;
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, e) != 0) return -1;
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (gguf_write_data(w, t->data, t->n_bytes, e) != 0) return -1;
    }
    return 0;
}

int train_work_deliver(struct train_work *w, const struct name *trained, const char *path,
                       const char *out, struct err *e) {
    struct buf training = {0};
    struct gguf *g = gguf_open(path, e);
    struct gguf_writer *to = NULL;
    int rc = g ? read_training(w, trained, &training, e) : -1;
    if (rc == 0) rc = (to = gguf_writer_new(out, (uint32_t)gguf_alignment(g), e)) ? 0 : -1;
    if (rc == 0) rc = copy_all(to, g, buf_view(&training), e);
    if (rc == 0)
        rc = gguf_writer_finish(to, e);
    else
        gguf_writer_abort(to);
    gguf_close(g);
    buf_fini(&training);
    return rc;
}
