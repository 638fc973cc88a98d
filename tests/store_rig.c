/* See store_rig.h. */
#include "store_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG "{\"model_format\":\"gguf\",\"architecture\":\"amd64\",\"os\":\"linux\"}"

void shop_open(struct shop *r) {
    *r = (struct shop){.dir = temp_folder()};
    snprintf(r->root, sizeof r->root, "%s/store", r->dir);
    r->s = store_open(r->root, &r->e);
    if (!r->s) fail_msg("%s", r->e.msg);
}

void shop_close(struct shop *r) {
    store_close(r->s);
    temp_remove(r->dir);
}

static struct layer layer_of(const char *media, const char *text) {
    struct layer l = {.media_type = media, .n_bytes = strlen(text)};
    digest_of(text, strlen(text), &l.digest, NULL);
    return l;
}

void shop_manifest(struct shop *r, const char *text, struct buf *out) {
    const struct layer config = layer_of(MEDIA_CONFIG, CONFIG),
                       layer = layer_of(MEDIA_LAYER "model", text);
    if (manifest_build(&config, &layer, 1, out, &r->e) != 0) fail_msg("%s", r->e.msg);
}

int shop_try_put(struct shop *r, const char *name, const char *text) {
    struct name n;
    struct buf b = {0};
    if (name_parse(name, &n, &r->e) != 0) return -1;
    struct lease *l = store_lease(r->s, &r->e);
    if (!l) return -1;
    shop_manifest(r, text, &b);
    int rc = store_write_blob(l, CONFIG, strlen(CONFIG), NULL, &r->e);
    if (rc == 0) rc = store_write_blob(l, text, strlen(text), NULL, &r->e);
    if (rc == 0) rc = store_put(r->s, &n, buf_view(&b), &r->e);
    store_lease_end(l);
    buf_fini(&b);
    return rc;
}

void shop_put(struct shop *r, const char *name, const char *text) {
    if (shop_try_put(r, name, text) != 0) fail_msg("%s: %s", name, r->e.msg);
}

int shop_remove(struct shop *r, const char *name) {
    struct name n;
    return name_parse(name, &n, &r->e) == 0 ? store_remove(r->s, &n, &r->e) : -1;
}

void shop_blob(struct shop *r, const char *text) {
    struct lease *l = store_lease(r->s, &r->e);
    if (!l || store_write_blob(l, text, strlen(text), NULL, &r->e) != 0) fail_msg("%s", r->e.msg);
    store_lease_end(l);
}

bool shop_has_all(struct shop *r, const struct manifest *m) {
    bool all = store_has_blob(r->s, &m->config.digest, m->config.n_bytes);
    for (int i = 0; i < m->n_layer; i++)
        all = all && store_has_blob(r->s, &m->layer[i].digest, m->layer[i].n_bytes);
    return all;
}

void shop_file(struct shop *r, const char *rel, const char *text) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", r->root, rel);
    for (char *p = path + strlen(r->dir) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(path, 0755);
        *p = '/';
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) fail_msg("%s", path);
    close(fd);
}

bool shop_there(struct shop *r, const char *rel) {
    char path[1200];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", r->root, rel);
    return lstat(path, &st) == 0;
}

int shop_count(struct shop *r, const char *rel) {
    char path[1200];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", r->root, rel);
    DIR *d = opendir(path);
    if (!d) return 0;
    for (struct dirent *f; (f = readdir(d));)
        n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static void fail_finding(void *ctx, const char *model, const struct digest *d, const char *what) {
    (void)ctx;
    fprintf(stderr, "%s: %s: %s\n", model ? model : "-", d ? d->hex : "-", what);
}

void shop_check(struct shop *r, int n) {
    struct store_check c;
    if (store_verify(r->s, NULL, &c, fail_finding, NULL, NULL, &r->e) != 0)
        fail_msg("%s", r->e.msg);
    if (c.n_missing + c.n_wrong + c.n_damaged) fail_msg("the store is not valid");
    if (n >= 0) assert_int_equal(c.n_models, n);
}
