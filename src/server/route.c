/* Which route a request takes.  A few dozen of them are compared one by one: it costs less than a
 * microsecond, and a plain walk has no state to get wrong. */
#include "server/route.h"

#include <string.h>

#include "server/front_priv.h"

/* The last one is for tests. */
static const struct route *tables[] = {
    routes_front,     routes_native,    routes_store, routes_train, routes_openai,
    routes_responses, routes_anthropic, routes_extra, routes_cache, routes_pii,
    routes_keep,      routes_audit,     NULL,
};
enum { N_TABLE = sizeof tables / sizeof *tables };

void route_add(const struct route *table) {
    tables[N_TABLE - 1] = table;
}

const struct route *route_at(int i) {
    for (size_t t = 0; t < N_TABLE && tables[t]; t++)
        for (const struct route *r = tables[t]; r->path; r++)
            if (i-- == 0) return r;
    return NULL;
}

int route_index(const struct route *wanted) {
    const struct route *r;
    for (int i = 0; (r = route_at(i)); i++)
        if (r == wanted) return i;
    return -1;
}

/* Does the path match?  *param: where ":name" begins, 0 without one. */
static bool matches(const struct route *r, const char *path, size_t *param) {
    const char *colon = strchr(r->path, ':');
    *param = colon ? (size_t)(colon - r->path) : 0;
    if (!colon) return strcmp(r->path, path) == 0;
    return strncmp(r->path, path, *param) == 0 && path[*param];
}

static bool answers(const struct route *r, enum http_method m) {
    return r->method == m || (r->method == HTTP_GET && m == HTTP_HEAD);
}

struct found route_find(enum http_method method, const char *path) {
    struct found f = {0};
    for (size_t t = 0; t < N_TABLE && tables[t]; t++) {
        for (const struct route *r = tables[t]; r->path; r++) {
            size_t param;
            if (!matches(r, path, &param)) continue;
            if (!answers(r, method)) {
                if (!f.other) f.other = r;
            } else if (!f.route || param == 0) { /* one without a parameter is the nearer one */
                f.route = r;
                f.param = param;
            }
        }
    }
    return f;
}

void route_allow(const char *path, struct buf *out) {
    static const enum http_method all[] = {HTTP_GET, HTTP_HEAD,  HTTP_POST,
                                           HTTP_PUT, HTTP_PATCH, HTTP_DELETE};
    const size_t at = out->n;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (route_find(all[i], path).route)
            buf_printf(out, "%s%s", out->n > at ? ", " : "", http_method_name(all[i]));
}

enum dialect route_dialect(const char *path) {
    if (strncmp(path, "/v1/messages", 12) == 0) return DIALECT_ANTHROPIC;
    return strncmp(path, "/v1/", 4) == 0 ? DIALECT_OPENAI : DIALECT_OLLAMA;
}
