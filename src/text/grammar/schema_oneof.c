/* Whether two lists of schemas exclude each other, as far as that is easily seen: no type in
 * common, no text in common of strings and numbers, different constants, or objects that both ask
 * for a key whose values exclude each other (what a discriminator is). */
#include "text/grammar/schema_priv.h"

#include <string.h>

enum { MAX_DEPTH = 6 };

/* Apart in all branches of the first choice of a. */
static int branches(struct gen *g, const struct all *a, int at, const char *key, uint8_t used,
                    const struct all *b, int depth) {
    const json_t *v;
    size_t i;
    if (json_array_size(json_object_get(a->s[at], key)) > 64) return 0;
    json_array_foreach(json_object_get(a->s[at], key), i, v) {
        struct all one = *a;
        one.used[at] |= used;
        const int add = all_add(g, &one, v, at);
        const int rc = add == IMPOSSIBLE ? 1
                       : add < 0         ? -1
                                         : schema_disjoint(g, &one, b, depth + 1);
        if (rc != 1) return rc;
    }
    return 1;
}

static bool no_common_value(const json_t *x, const json_t *y) {
    const json_t *v, *w;
    size_t i, k;
    if (json_array_size(x) * json_array_size(y) > 1000000) return false;
    json_array_foreach(x, i, v) {
        json_array_foreach(y, k, w) {
            const bool numbers = json_is_number(v) && json_is_number(w);
            if (json_equal(v, w) || (numbers && json_number_value(v) == json_number_value(w)))
                return false;
        }
    }
    return true;
}

/* Strings (or numbers) without a text in common. */
static int texts_apart(struct gen *g, const struct all *a, const struct all *b, int type) {
    struct parts x = {.n = 0};
    int rc = 0;
    for (int k = 0; k < 2 && rc == 0; k++)
        rc = type == TYPE_STRING ? parts_of_string(g, &x, k ? b : a)
                                 : parts_of_number(g, &x, k ? b : a, type == TYPE_INTEGER);
    if (rc == 0) {
        const int meets = x.n ? lang_meets(x.p, x.n, &g->work, g->e) : 1;
        rc = meets < 0 ? -1 : !meets;
    }
    parts_fini(&x);
    return rc == IMPOSSIBLE ? 1 : rc;
}

static bool requires(const struct all *a, const char *key) {
    const json_t *v;
    size_t k;
    for (int i = 0; i < a->n; i++) {
        json_array_foreach(json_object_get(a->s[i], "required"), k, v) {
            if (json_is_string(v) && strcmp(json_string_value(v), key) == 0) return true;
        }
    }
    return false;
}

/* What a list says of a key by name, or that it forbids all it does not name. */
static int of_key(struct gen *g, const struct all *a, const char *key, struct all *out) {
    out->n = 0;
    for (int i = 0; i < a->n; i++) {
        const json_t *v = json_object_get(json_object_get(a->s[i], "properties"), key);
        if (!v && !json_object_get(a->s[i], "patternProperties"))
            v = json_object_get(a->s[i], "additionalProperties");
        const int rc = v ? all_add(g, out, v, -1) : 0;
        if (rc != 0) return rc;
    }
    return 0;
}

static int objects_apart(struct gen *g, const struct all *a, const struct all *b, int depth) {
    for (int i = 0; i < a->n; i++) {
        const json_t *v;
        size_t k;
        json_array_foreach(json_object_get(a->s[i], "required"), k, v) {
            const char *key = json_string_value(v);
            struct all x, y;
            if (!key) continue;
            if (schema_work(g, 20 + json_array_size(json_object_get(b->s[0], "required"))) != 0)
                return -1;
            const int rx = of_key(g, a, key, &x), ry = of_key(g, b, key, &y);
            if (rx == -1 || ry == -1) return -1;
            if (rx == IMPOSSIBLE || ry == IMPOSSIBLE) return 1; /* needed here, forbidden there */
            if (!requires(b, key)) continue;
            const int rc = schema_disjoint(g, &x, &y, depth + 1);
            if (rc != 0) return rc;
        }
    }
    return 0;
}

/* One type that both leave. */
static int type_apart(struct gen *g, const struct all *a, const struct all *b, int type,
                      int depth) {
    switch (type) {
    case TYPE_STRING:
    case TYPE_INTEGER:
    case TYPE_NUMBER: return texts_apart(g, a, b, type);
    case TYPE_OBJECT: {
        const int rc = objects_apart(g, a, b, depth);
        return rc != 0 ? rc : objects_apart(g, b, a, depth);
    }
    default: return 0;
    }
}

/* Both are expanded and without choices. */
static int apart(struct gen *g, const struct all *a, const struct all *b, int depth) {
    json_t *x = all_values(g, a), *y = all_values(g, b);
    if (x && y) schema_work(g, json_array_size(x) * json_array_size(y));
    int rc = g->e->code ? -1 : x && y ? no_common_value(x, y) : 0;
    json_decref(x), json_decref(y);
    /* Values are made of the types that are guessed where none is said, but valid for all. */
    const int ta = all_types(g, a, false), tb = all_types(g, b, false);
    if (rc != 0 || ta < 0 || tb < 0) return ta < 0 || tb < 0 ? -1 : rc;
    const int types = (all_types(g, a, true) & tb) | (all_types(g, b, true) & ta);
    for (int t = TYPE_NULL; t <= TYPE_OBJECT; t *= 2) {
        if (!(types & t)) continue;
        rc = type_apart(g, a, b, t, depth);
        if (rc != 1) return rc;
    }
    return 1;
}

int schema_disjoint(struct gen *g, const struct all *a, const struct all *b, int depth) {
    struct all x = *a, y = *b;
    int at;
    if (depth > MAX_DEPTH) return 0;
    if (schema_work(g, 2000) != 0) return -1;
    const int rx = all_expand(g, &x), ry = all_expand(g, &y);
    if (rx == -1 || ry == -1) return -1;
    if (rx == IMPOSSIBLE || ry == IMPOSSIBLE) return 1;
    if ((at = all_find(&x, "anyOf", USED_ANY_OF)) >= 0)
        return branches(g, &x, at, "anyOf", USED_ANY_OF, &y, depth);
    if ((at = all_find(&x, "oneOf", USED_ONE_OF)) >= 0)
        return branches(g, &x, at, "oneOf", USED_ONE_OF, &y, depth);
    if (all_find(&y, "anyOf", USED_ANY_OF) >= 0 || all_find(&y, "oneOf", USED_ONE_OF) >= 0)
        return schema_disjoint(g, &y, &x, depth + 1);
    return apart(g, &x, &y, depth);
}
