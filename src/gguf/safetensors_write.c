/* See safetensors_write.h.  The file is put together in memory: what is written here are adapters,
 * some hundred megabytes at most. */
#include "gguf/safetensors_write.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

static int by_size_and_name(const void *a, const void *b) {
    const struct st_tensor *x = *(const struct st_tensor *const *)a;
    const struct st_tensor *y = *(const struct st_tensor *const *)b;
    const size_t nx = st_type_bytes(x->type), ny = st_type_bytes(y->type);
    return nx != ny ? (nx > ny ? -1 : 1) : strcmp(x->name, y->name);
}

static json_t *entry(const struct st_tensor *t, size_t at) {
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dim; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", st_type_name(t->type), "shape", shape,
                     "data_offsets", (json_int_t)at, (json_int_t)(at + t->n_bytes));
}

/* The header's JSON, padded; NULL without memory. */
static char *header(const struct st_tensor *const *t, int n, size_t *n_header, size_t *n_data) {
    json_t *all = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    bool whole = all != NULL;
    *n_data = 0;
    for (int i = 0; whole && i < n; i++) { /* bytes in memory add up within size_t */
        whole = json_object_set_new(all, t[i]->name, entry(t[i], *n_data)) == 0;
        *n_data += t[i]->n_bytes;
    }
    char *text = whole ? json_dumps(all, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(all);
    if (!text) return NULL;
    const size_t k = strlen(text);
    *n_header = (k + 7) / 8 * 8;
    char *padded = realloc(text, *n_header + 1);
    if (!padded) {
        free(text);
        return NULL;
    }
    memset(padded + k, ' ', *n_header - k);
    return padded;
}

int safetensors_write(const char *path, const struct st_tensor *t, int n, struct err *e) {
    const struct st_tensor **order = malloc(((size_t)n + 1) * sizeof *order);
    size_t n_header = 0, n_data = 0;
    struct buf b = {0};
    if (!order) return err_nomem(e, path);
    for (int i = 0; i < n; i++)
        order[i] = &t[i];
    qsort(order, (size_t)n, sizeof *order, by_size_and_name);
    char *text = header(order, n, &n_header, &n_data);
    int rc = text && buf_room(&b, 8 + n_header + n_data) ? 0 : err_nomem(e, path);
    for (int i = 0; rc == 0 && i < 8; i++)
        buf_byte(&b, (char)(unsigned char)((uint64_t)n_header >> 8 * i));
    if (rc == 0) buf_append(&b, text, n_header);
    for (int i = 0; rc == 0 && i < n; i++)
        buf_append(&b, order[i]->data, order[i]->n_bytes);
    if (rc == 0) rc = b.failed ? err_nomem(e, path) : os_write_file(path, b.p, b.n, e);
    buf_fini(&b);
    free(text);
    free(order);
    return rc;
}
