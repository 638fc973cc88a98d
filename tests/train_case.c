/* See train_case.h. */
#include "train_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct train_case case_open_at(const char *stem) {
    struct train_case c = {0};
    char path[300];
    const char *slash = strrchr(stem, '/');
    snprintf(c.name, sizeof c.name, "%s", slash ? slash + 1 : stem);
    snprintf(path, sizeof path, "%s.json", stem);
    c.j = slurp_json(path);
    snprintf(path, sizeof path, "%s.bin", stem);
    c.bytes = slurp(path, &c.n_bytes);
    return c;
}

struct train_case case_open(const char *name) {
    char rel[160];
    snprintf(rel, sizeof rel, "train/%s", name);
    return case_open_at(golden(rel));
}

void case_close(struct train_case *c) {
    json_decref(c->j);
    free(c->bytes);
    *c = (struct train_case){0};
}

static const json_t *find_array(const struct train_case *c, const char *name) {
    const json_t *a;
    size_t i;
    json_array_foreach(json_object_get(c->j, "arrays"), i, a) {
        if (strcmp(json_string_value(json_object_get(a, "name")), name) == 0) return a;
    }
    fail_msg("%s: no array %s", c->name, name);
    return NULL;
}

const void *case_array(const struct train_case *c, const char *name, const char *dtype, size_t *n) {
    const json_t *a = find_array(c, name), *dim;
    const json_int_t at = json_integer_value(json_object_get(a, "offset"));
    size_t i;
    if (strcmp(json_string_value(json_object_get(a, "dtype")), dtype) != 0)
        fail_msg("%s: %s is not %s", c->name, name, dtype);
    *n = 1;
    json_array_foreach(json_object_get(a, "shape"), i, dim) *n *= (size_t)json_integer_value(dim);
    if (at < 0 || (size_t)at + *n * (strcmp(dtype, "f64") == 0 ? 8 : 4) > c->n_bytes)
        fail_msg("%s: %s lies outside the file", c->name, name);
    return c->bytes + at;
}

double case_number(const struct train_case *c, const char *key, int i) {
    const json_t *v = json_object_get(json_object_get(c->j, "params"), key);
    if (!v) v = json_object_get(json_object_get(c->j, "scalars"), key);
    if (json_is_array(v)) v = json_array_get(v, (size_t)i);
    if (!json_is_number(v)) fail_msg("%s: no number %s", c->name, key);
    return json_number_value(v);
}
