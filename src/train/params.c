/* See params.h.  The four planes are one reservation: zero pages cost nothing until touched, and
 * large pages spare the optimizer's sweep most of its misses in the page table. */
#include "train/params.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/os.h"

enum { ALIGN_FLOATS = 16, N_PLANE = 4 };

/* The floats of a tensor, and that of all four planes with it as bytes, fit. */
static bool count_floats(const struct params *p, int n_dim, const int64_t *ne, size_t *n,
                         size_t *n_plane) {
    uint64_t k = 1, end, bytes;
    for (int d = 0; d < n_dim; d++)
        if (ne[d] < 1 || !checked_mul(k, (uint64_t)ne[d], &k)) return false;
    if (!checked_align(k, ALIGN_FLOATS, &end) || !checked_add(end, p->n_plane, &end)) return false;
    if (!checked_mul(end, N_PLANE * sizeof(float), &bytes) || bytes > SIZE_MAX / 2) return false;
    *n = (size_t)k;
    *n_plane = (size_t)end;
    return true;
}

int params_add(struct params *p, const char *name, int n_dim, const int64_t *ne, struct err *e) {
    assert(!p->w);
    struct param t = {.n_dim = n_dim, .ne = {1, 1, 1, 1}, .at = p->n_plane, .decay = n_dim >= 2};
    size_t n_plane;
    if (n_dim < 1 || n_dim > 4)
        return err_set(e, ERR_FORMAT, "parameter %s: %d dimensions; 1 to 4 are accepted", name,
                       n_dim);
    if (!count_floats(p, n_dim, ne, &t.n, &n_plane))
        return err_set(e, ERR_LIMIT, "parameter %s: its size is nothing or beyond this machine",
                       name);
    if (params_find(p, name))
        return err_set(e, ERR_FORMAT, "parameter %s: declared twice; names must differ", name);
    memcpy(t.ne, ne, (size_t)n_dim * sizeof *ne);

    struct param *more = realloc(p->p, ((size_t)p->n_param + 1) * sizeof *more);
    if (!more) return err_nomem(e, name);
    p->p = more;
    t.name = strdup(name);
    if (!t.name) return err_nomem(e, name);
    p->p[p->n_param++] = t;
    p->n_plane = n_plane;
    return 0;
}

int params_alloc(struct params *p, struct err *e) {
    assert(!p->w);
    if (p->n_plane == 0) return 0;
    float *all = os_reserve(N_PLANE * p->n_plane * sizeof *all);
    if (!all) return err_nomem(e, "parameters");
    p->w = all;
    p->grad = all + p->n_plane;
    p->m = all + 2 * p->n_plane;
    p->v = all + 3 * p->n_plane;
    return 0;
}

void params_fini(struct params *p) {
    for (int i = 0; i < p->n_param; i++)
        free(p->p[i].name);
    free(p->p);
    os_unreserve(p->w, N_PLANE * p->n_plane * sizeof *p->w);
    *p = (struct params){0};
}

size_t params_count(const struct params *p) {
    size_t n = 0;
    for (int i = 0; i < p->n_param; i++)
        n += p->p[i].n;
    return n;
}

const struct param *params_find(const struct params *p, const char *name) {
    for (int i = 0; i < p->n_param; i++)
        if (strcmp(p->p[i].name, name) == 0) return &p->p[i];
    return NULL;
}
