/* See models_rig.h. */
#include "models_rig.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_LAYERS = 8 };

static void write_blob(struct shop *r, struct lease *l, const char *media, const void *bytes,
                       size_t n, struct layer *out) {
    *out = (struct layer){.media_type = media, .n_bytes = n};
    if (store_write_blob(l, bytes, n, &out->digest, &r->e) != 0) fail_msg("%s", r->e.msg);
}

/* A model of this first layer, which is in the store, and what `more` has. */
static void put_model(struct shop *r, struct lease *l, const char *name,
                      const struct layer *weights, const char *config,
                      const struct rig_layer *more) {
    static const char plain[] = "{\"model_format\":\"gguf\",\"model_family\":\"llama\","
                                "\"model_families\":[\"llama\"],\"model_type\":\"1B\","
                                "\"file_type\":\"F32\"}";
    char media[MAX_LAYERS][80];
    struct layer head, layer[MAX_LAYERS] = {*weights};
    struct buf bytes = {0};
    struct name n;
    int k = 1;
    if (!config) config = plain;
    if (name_parse(name, &n, &r->e) != 0) fail_msg("%s", r->e.msg);
    write_blob(r, l, MEDIA_CONFIG, config, strlen(config), &head);
    for (; more && more->kind && k < MAX_LAYERS; more++, k++) {
        snprintf(media[k], sizeof media[k], MEDIA_LAYER "%s", more->kind);
        write_blob(r, l, media[k], more->text, strlen(more->text), &layer[k]);
    }
    if (manifest_build(&head, layer, k, &bytes, &r->e) != 0 ||
        store_put(r->s, &n, buf_view(&bytes), &r->e) != 0)
        fail_msg("%s: %s", name, r->e.msg);
    buf_fini(&bytes);
}

static struct lease *lease(struct shop *r) {
    struct lease *l = store_lease(r->s, &r->e);
    if (!l) fail_msg("%s", r->e.msg);
    return l;
}

void shop_model(struct shop *r, const char *name, const void *weights, size_t n_weights,
                const char *config, const struct rig_layer *more) {
    struct lease *l = lease(r);
    struct layer first;
    write_blob(r, l, MEDIA_LAYER "model", weights, n_weights, &first);
    put_model(r, l, name, &first, config, more);
    store_lease_end(l);
}

void shop_link(struct shop *r, const char *name, const char *path) {
    struct lease *l = lease(r);
    struct layer first = {.media_type = MEDIA_LAYER "model"};
    if (store_add_file(l, path, STORE_LINK, &first.digest, &first.n_bytes, NULL, NULL, &r->e) != 0)
        fail_msg("%s", r->e.msg);
    put_model(r, l, name, &first, NULL, NULL);
    store_lease_end(l);
}

void shop_gguf(struct shop *r, const char *name, const char *path, const struct rig_layer *more) {
    size_t n;
    uint8_t *bytes = slurp(path, &n);
    shop_model(r, name, bytes, n, NULL, more);
    free(bytes);
}
