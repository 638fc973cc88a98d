/* See train_case.h.  Nothing in the file is believed: shapes and offsets are held against the bytes
 * that are there. */
#include "cli/train_case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/os.h"

enum { MAX_JSON = 16 << 20, MAX_BIN = 1 << 30, MAX_VALUES = 1 << 20 };

int train_case_open(struct train_case *c, const char *path, const char *out, struct err *e) {
    struct buf text = {0};
    memset(c, 0, sizeof *c);
    c->out = out;
    const char *slash = strrchr(path, '/');
    c->folder = strndup(path, slash ? (size_t)(slash + 1 - path) : 0);
    c->scalars = json_object();
    if (!c->folder || !c->scalars) return err_nomem(e, path);
    if (os_read_file(path, MAX_JSON, &text, e) == 0)
        c->json = json_read_object(path, buf_view(&text), MAX_VALUES, e);
    buf_fini(&text);
    if (!c->json) return -1;
    const char *bin = json_string_value(json_object_get(c->json, "bin"));
    if (!bin || !train_case_model(c) || !train_case_kind(c) || strchr(bin, '/') ||
        strchr(train_case_model(c), '/'))
        return err_set(e, ERR_FORMAT, "%s: \"bin\", \"model\" and \"kind\" must be names", path);
    char name[1024];
    snprintf(name, sizeof name, "%s%s", c->folder, bin);
    if (os_read_file(name, MAX_BIN, &c->bytes, e) != 0) return -1;
    if (mkdir(out, 0777) != 0 && errno != EEXIST) return err_errno(e, out);
    return 0;
}

void train_case_close(struct train_case *c) {
    json_decref(c->json);
    json_decref(c->scalars);
    buf_fini(&c->bytes);
    free(c->folder);
}

const char *train_case_kind(const struct train_case *c) {
    return json_string_value(json_object_get(c->json, "kind"));
}

const char *train_case_model(const struct train_case *c) {
    return json_string_value(json_object_get(c->json, "model"));
}

double train_case_param(const struct train_case *c, const char *name, double dflt) {
    const json_t *v = json_object_get(json_object_get(c->json, "params"), name);
    return json_is_number(v) ? json_number_value(v) : dflt;
}

const char *train_case_word(const struct train_case *c, const char *name) {
    return json_string_value(json_object_get(json_object_get(c->json, "params"), name));
}

static const json_t *find(const struct train_case *c, const char *name) {
    size_t i;
    const json_t *a, *list = json_object_get(c->json, "arrays");
    json_array_foreach(list, i, a) {
        const char *s = json_string_value(json_object_get(a, "name"));
        if (s && !strcmp(s, name)) return a;
    }
    return NULL;
}

const void *train_case_array(const struct train_case *c, const char *name, const char *type,
                             size_t *n, struct err *e) {
    const json_t *a = find(c, name), *d;
    const char *dtype = json_string_value(json_object_get(a, "dtype"));
    const json_int_t at = json_integer_value(json_object_get(a, "offset"));
    uint64_t count = 1, end;
    size_t i;
    if (!a || !dtype || strcmp(dtype, type)) {
        err_set(e, ERR_FORMAT, "array '%s': %s; %s is needed", name, a ? "another type" : "missing",
                type);
        return NULL;
    }
    json_array_foreach(json_object_get(a, "shape"), i,
                       d) if (json_integer_value(d) < 0 ||
                              !checked_mul(count, (uint64_t)json_integer_value(d), &count)) count =
        UINT64_MAX / 4;
    if (at < 0 || at % 4 || !checked_mul(count, 4, &end) || !checked_add(end, (uint64_t)at, &end) ||
        end > c->bytes.n) {
        err_set(e, ERR_FORMAT, "array '%s': %llu values from byte %lld on; the file has %zu bytes",
                name, (unsigned long long)count, (long long)at, c->bytes.n);
        return NULL;
    }
    *n = (size_t)count;
    return c->bytes.p + at;
}

int train_case_batch(const struct train_case *c, const char *prefix, const char *labels,
                     struct batch *b, struct err *e) {
    char name[3][64];
    size_t n[3];
    const void *p[3];
    snprintf(name[0], sizeof name[0], "%stokens", prefix);
    snprintf(name[1], sizeof name[1], "%s%s", prefix, labels);
    snprintf(name[2], sizeof name[2], "%sseq_start", prefix);
    for (int i = 0; i < 3; i++)
        if (!(p[i] = train_case_array(c, name[i], "i32", &n[i], e))) return -1;
    *b =
        (struct batch){(int)n[0], (int)n[2] - 1, (int32_t *)p[0], (int32_t *)p[1], (int32_t *)p[2]};
    bool good = n[0] == n[1] && n[0] > 0 && n[0] < 1 << 24 && n[2] >= 2;
    for (int s = 0; good && s < b->n_seq; s++)
        good = b->seq_start[s] < b->seq_start[s + 1];
    if (good && b->seq_start[0] == 0 && b->seq_start[b->n_seq] == b->n) return 0;
    return err_set(e, ERR_FORMAT, "arrays '%s', '%s', '%s' do not fit each other", name[0], name[1],
                   name[2]);
}

int train_case_write(const struct train_case *c, const char *name, const float *x, size_t n,
                     struct err *e) {
    struct buf path = {0};
    buf_str(&path, c->out);
    buf_byte(&path, '/');
    for (const char *p = name; *p; p++)
        *p == '/' ? buf_str(&path, "__") : buf_byte(&path, *p);
    buf_str(&path, ".f32");
    buf_byte(&path, 0);
    const int rc = path.failed ? err_nomem(e, name) : os_write_file(path.p, x, n * sizeof *x, e);
    buf_fini(&path);
    return rc;
}

int train_case_write_doubles(const struct train_case *c, const char *name, const double *x,
                             size_t n, struct err *e) {
    float *f = malloc((n ? n : 1) * sizeof *f);
    if (!f) return err_nomem(e, name);
    for (size_t i = 0; i < n; i++)
        f[i] = (float)x[i];
    const int rc = train_case_write(c, name, f, n, e);
    free(f);
    return rc;
}

void train_case_scalar(struct train_case *c, const char *name, double x, bool list) {
    json_t *v = json_object_get(c->scalars, name);
    if (list && !v) json_object_set_new(c->scalars, name, v = json_array());
    if (list)
        json_array_append_new(v, json_real(x));
    else
        json_object_set_new(c->scalars, name, json_real(x));
}

int train_case_finish(struct train_case *c, struct err *e) {
    char path[1024];
    snprintf(path, sizeof path, "%s/scalars.json", c->out);
    char *text = json_dumps(c->scalars, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    const int rc = text ? os_write_file(path, text, strlen(text), e) : err_nomem(e, path);
    free(text);
    return rc;
}
