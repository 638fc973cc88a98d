/* See hf_edit.h. */
#include "hf_edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "hf_priv.h"
#include "support.h"

json_t *hf_get(const char *dir, const char *file) {
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return slurp_json(path);
}

void hf_replace(const char *dir, const char *file, json_t *v) {
    if (hf_put_json(dir, file, v) != 0) fail_msg("%s/%s", dir, file);
}

void hf_bytes(const char *dir, const char *file, const void *bytes, size_t n) {
    if (hf_put(dir, file, bytes, n) != 0) fail_msg("%s/%s", dir, file);
}

void hf_text(const char *dir, const char *file, const char *text) {
    hf_bytes(dir, file, text, strlen(text));
}

void hf_remove(const char *dir, const char *file) {
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (unlink(path) != 0) fail_msg("%s is not there", path);
}

void hf_set(const char *dir, const char *file, const char *key, json_t *v) {
    json_t *root = hf_get(dir, file), *at = root;
    const char *dot;
    for (; (dot = strchr(key, '.')); key = dot + 1) {
        at = json_object_getn(at, key, (size_t)(dot - key));
        if (!at) fail_msg("%s/%s: nothing at %s", dir, file, key);
    }
    if (v)
        json_object_set_new(at, key, v);
    else if (json_object_del(at, key) != 0)
        fail_msg("%s/%s: no %s to remove", dir, file, key);
    hf_replace(dir, file, root);
}

struct file {
    json_t *header;
    struct buf data;
};

static struct file file_read(const char *dir, const char *name) {
    char path[1400];
    size_t n;
    uint64_t n_header;
    struct file f = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    uint8_t *p = slurp(path, &n);
    memcpy(&n_header, p, 8);
    f.header = json_loadb((const char *)p + 8, n_header, 0, NULL);
    assert_non_null(f.header);
    buf_append(&f.data, p + 8 + n_header, n - 8 - n_header);
    free(p);
    return f;
}

/* What the header names, packed anew: no holes. */
static void file_write(struct file *f, const char *dir, const char *name) {
    struct buf data = {0}, all = {0};
    const char *key;
    json_t *t;
    json_object_foreach(f->header, key, t) {
        json_t *at = json_object_get(t, "data_offsets");
        if (!at) continue;
        const size_t from = (size_t)json_integer_value(json_array_get(at, 0));
        const size_t to = (size_t)json_integer_value(json_array_get(at, 1)), n = data.n;
        buf_append(&data, f->data.p + from, to - from);
        json_object_set_new(t, "data_offsets",
                            json_pack("[I, I]", (json_int_t)n, (json_int_t)data.n));
    }
    char *text = json_dumps(f->header, JSON_COMPACT);
    const uint64_t n = strlen(text);
    buf_append(&all, &n, 8);
    buf_append(&all, text, n);
    if (data.n) buf_append(&all, data.p, data.n);
    assert_int_equal(hf_put(dir, name, all.p, all.n), 0);
    free(text), json_decref(f->header);
    buf_fini(&data), buf_fini(&all), buf_fini(&f->data);
}

void hf_rename_tensors(const char *dir, const char *file, const char *from, const char *to) {
    struct file f = file_read(dir, file);
    json_t *out = json_object(), *t;
    const char *key;
    int n_changed = 0;
    json_object_foreach(f.header, key, t) {
        char name[300];
        const int is = strncmp(key, from, strlen(from)) == 0;
        snprintf(name, sizeof name, "%s%s", is ? to : "", is ? key + strlen(from) : key);
        json_object_set(out, name, t);
        n_changed += is;
    }
    json_decref(f.header);
    f.header = out;
    file_write(&f, dir, file);
    if (!n_changed) fail_msg("%s/%s: no tensors %s", dir, file, from);
}

void hf_drop_tensor(const char *dir, const char *file, const char *name) {
    struct file f = file_read(dir, file);
    if (json_object_del(f.header, name) != 0) fail_msg("%s/%s: no tensor %s", dir, file, name);
    file_write(&f, dir, file);
}

void hf_add_tensor(const char *dir, const char *file, const char *name, const char *type, int d0,
                   int d1) {
    struct file f = file_read(dir, file);
    const size_t at = f.data.n;
    const size_t n = (size_t)d0 * (size_t)(d1 ? d1 : 1) * (strcmp(type, "F32") == 0 ? 4 : 2);
    uint8_t *zeros = calloc(n, 1);
    buf_append(&f.data, zeros, n);
    free(zeros);
    json_t *shape = d1 ? json_pack("[i, i]", d0, d1) : json_pack("[i]", d0);
    json_object_set_new(f.header, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", type, "shape", shape,
                                  "data_offsets", (json_int_t)at, (json_int_t)f.data.n));
    file_write(&f, dir, file);
}
