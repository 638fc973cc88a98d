/* Filters of sequences. */
#include <string.h>

#include "text/chat/jinja_priv.h"

/* "a.b.0" of a value, as map(attribute=...) and sort(attribute=...) read it. */
static struct jv path(struct jrun *r, struct jv v, struct jv attribute, const struct jv *other) {
    if (attribute.kind == J_INT) {
        v = jr_item(r, v, attribute);
        return v.kind == J_UNDEF && other ? *other : v;
    }
    if (attribute.kind != J_STR)
        return jr_fail(r, ERR_FORMAT, "an attribute that is a %s", jv_kind(attribute));
    const char *p = attribute.s->p, *end = p + attribute.s->n;
    for (const char *dot; p <= end && !r->failed; p = dot + 1) {
        dot = memchr(p, '.', (size_t)(end - p));
        if (!dot) dot = end;
        jint i = 0;
        bool whole = dot > p;
        for (const char *c = p; c < dot && whole; c++) {
            whole = *c >= '0' && *c <= '9' && i < 100000000;
            i = i * 10 + (*c - '0');
        }
        v = jr_item(r, v, whole ? jv_int(i) : jv_text(r, p, (size_t)(dot - p), false));
        if (v.kind == J_UNDEF && other && !r->failed) v = *other;
    }
    return v;
}

static struct jv keyed(struct jrun *r, struct jv v, const struct jv *attribute,
                       const struct jv *other, bool folded) {
    const struct jargs none = {0};
    if (attribute && attribute->kind != J_NONE) v = path(r, v, *attribute, other);
    return folded && v.kind == J_STR && !r->failed ? jm_lower(r, v, &none) : v;
}

static struct jv f_list(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jlist *l = jv_items(r, v);
    struct jv out = jv_list(r, l ? l->n : 0);
    (void)a;
    for (size_t i = 0; l && i < l->n && !r->failed; i++)
        jv_push(r, out, l->v[i]);
    return out;
}

static struct jv f_first(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jlist *l = jv_items(r, v);
    (void)a;
    return l && l->n ? l->v[0] : jv_undef("the first item of nothing");
}

static struct jv f_last(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jlist *l = jv_items(r, v);
    (void)a;
    return l && l->n ? l->v[l->n - 1] : jv_undef("the last item of nothing");
}

static struct jv f_join(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *sep = ja_get(a, 0, "d"), *attribute = ja_get(a, 1, "attribute");
    const struct jlist *l = jv_items(r, v);
    struct jbuild b = {0};
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        if (i && sep) jb_str(r, &b, *sep);
        const struct jv x = keyed(r, l->v[i], attribute, NULL, false);
        if (!r->failed) jb_str(r, &b, x);
    }
    return jb_take(r, &b);
}

/* What map and select see: nothing in what is false, as in Jinja. */
static const struct jlist *some(struct jrun *r, struct jv v) {
    return jv_items(r, jv_truth(v) ? v : jv_undef(NULL));
}

/* Python's generators: loops and filters read them, tojson does not. */
static struct jv lazy(struct jrun *r, struct jv list) {
    if (!r->failed) list.l->lazy = true;
    return list;
}

/* Arguments from number `from` on. */
static struct jargs rest(const struct jargs *a, int from) {
    struct jargs x = *a;
    const int n = from < a->n ? from : a->n;
    if (n) x.v += n; /* no arguments: v is NULL */
    x.n -= n;
    return x;
}

static struct jv f_map(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jlist *l = some(r, v);
    const struct jv *attribute = ja_get(a, -1, "attribute"), *other = ja_get(a, -1, "default");
    const struct jargs more = rest(a, 1);
    struct jv out = jv_list(r, 0);
    if (!attribute && (a->n < 1 || a->v[0].kind != J_STR))
        return jr_fail(r, ERR_FORMAT, "map needs a filter or an attribute");
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        const struct jv x = attribute ? path(r, l->v[i], *attribute, other)
                                      : jr_filter(r, jv_str(a->v[0]), l->v[i], &more);
        jv_push(r, out, x);
    }
    return lazy(r, out);
}

/* select, reject, selectattr, rejectattr: by a test or by truth. */
static struct jv chosen(struct jrun *r, struct jv v, const struct jargs *a, bool by_attr,
                        bool want) {
    const struct jlist *l = some(r, v);
    const struct jargs own = rest(a, by_attr), more = rest(a, by_attr + 1);
    struct jv out = jv_list(r, 0);
    if ((by_attr && a->n < 1) || (own.n > 0 && own.v[0].kind != J_STR))
        return jr_fail(r, ERR_FORMAT, "select needs names");
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        const struct jv x = by_attr ? path(r, l->v[i], a->v[0], NULL) : l->v[i];
        if (r->failed) break;
        const bool yes = own.n > 0 ? jr_test(r, jv_str(own.v[0]), x, &more) : jv_truth(x);
        if (yes == want) jv_push(r, out, l->v[i]);
    }
    return lazy(r, out);
}

static struct jv f_select(struct jrun *r, struct jv v, const struct jargs *a) {
    return chosen(r, v, a, false, true);
}
static struct jv f_reject(struct jrun *r, struct jv v, const struct jargs *a) {
    return chosen(r, v, a, false, false);
}
static struct jv f_selectattr(struct jrun *r, struct jv v, const struct jargs *a) {
    return chosen(r, v, a, true, true);
}
static struct jv f_rejectattr(struct jrun *r, struct jv v, const struct jargs *a) {
    return chosen(r, v, a, true, false);
}

/* A stable merge sort of n values by their keys. */
static void merge_sort(struct jrun *r, struct jv *k, struct jv *v, size_t n, struct jv *tmp,
                       bool reverse) {
    if (n < 2 || r->failed) return;
    const size_t half = n / 2;
    merge_sort(r, k, v, half, tmp, reverse);
    merge_sort(r, k + half, v + half, n - half, tmp, reverse);
    for (size_t i = 0, j = half, o = 0; o < n && !r->failed; o++) {
        bool left = j == n;
        if (i < half && j < n) {
            const int c = jv_equal(r, k[i], k[j]) ? 0 : jv_compare(r, k[i], k[j]);
            left = reverse ? c >= 0 : c <= 0;
        }
        const size_t from = left ? i++ : j++;
        tmp[2 * o] = k[from];
        tmp[2 * o + 1] = v[from];
    }
    for (size_t o = 0; o < n && !r->failed; o++) {
        k[o] = tmp[2 * o];
        v[o] = tmp[2 * o + 1];
    }
}

/* "role,name": by the first, then by the next. */
static struct jv sort_key(struct jrun *r, struct jv v, const struct jv *attribute,
                          const struct jv *other, bool folded) {
    if (!attribute || attribute->kind != J_STR || !memchr(attribute->s->p, ',', attribute->s->n))
        return keyed(r, v, attribute, other, folded);
    const char *p = attribute->s->p, *end = p + attribute->s->n;
    struct jv list = jv_list(r, 2);
    for (const char *comma; p <= end && !r->failed; p = comma + 1) {
        comma = memchr(p, ',', (size_t)(end - p));
        if (!comma) comma = end;
        const struct jv one = jv_text(r, p, (size_t)(comma - p), false);
        if (!r->failed) jv_push(r, list, keyed(r, v, &one, other, folded));
    }
    return list;
}

static struct jv sorted(struct jrun *r, const struct jlist *l, const struct jv *attribute,
                        const struct jv *other, bool folded, bool reverse) {
    const size_t n = l ? l->n : 0;
    struct jv *k = jr_alloc(r, n + 1, sizeof *k), *tmp = jr_alloc(r, 2 * n + 1, sizeof *tmp);
    struct jv out = jv_list(r, n);
    for (size_t i = 0; i < n && !r->failed; i++) {
        k[i] = sort_key(r, l->v[i], attribute, other, folded);
        jv_push(r, out, l->v[i]);
    }
    if (!r->failed) merge_sort(r, k, out.l->v, n, tmp, reverse);
    return out;
}

static struct jv f_sort(struct jrun *r, struct jv v, const struct jargs *a) {
    return sorted(r, jv_items(r, v), ja_get(a, 2, "attribute"), NULL,
                  !ja_flag(a, 1, "case_sensitive", false), ja_flag(a, 0, "reverse", false));
}

/* dictsort(case_sensitive=False, by="key", reverse=False) */
static struct jv f_dictsort(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *by = ja_get(a, 1, "by");
    if (v.kind != J_DICT) return jr_fail(r, ERR_FORMAT, "dictsort of a %s", jv_kind(v));
    const struct jv which = jv_int(by && by->kind == J_STR && str_is(jv_str(*by), "value"));
    const struct jv items = jm_items(r, v, a);
    return r->failed ? v
                     : sorted(r, items.l, &which, NULL, !ja_flag(a, 0, "case_sensitive", false),
                              ja_flag(a, 2, "reverse", false));
}

static struct jv f_unique(struct jrun *r, struct jv v, const struct jargs *a) {
    const bool folded = !ja_flag(a, 0, "case_sensitive", false);
    const struct jv *attribute = ja_get(a, 1, "attribute");
    const struct jlist *l = jv_items(r, v);
    struct jv seen = jv_list(r, 0), out = jv_list(r, 0);
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        const struct jv k = keyed(r, l->v[i], attribute, NULL, folded);
        bool known = false;
        if (r->failed || !jv_hashable(r, k)) break;
        for (size_t j = 0; j < seen.l->n && !known && !r->failed; j++)
            known = jv_equal(r, seen.l->v[j], k);
        if (known || r->failed) continue;
        jv_push(r, seen, k);
        jv_push(r, out, l->v[i]);
    }
    return out;
}

static struct jv f_sum(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *attribute = ja_get(a, 0, "attribute"), *start = ja_get(a, 1, "start");
    const struct jlist *l = jv_items(r, v);
    struct jv sum = start ? *start : jv_int(0);
    for (size_t i = 0; l && i < l->n && !r->failed; i++)
        sum = jr_binary(r, '+', sum, keyed(r, l->v[i], attribute, NULL, false));
    return sum;
}

static struct jv extreme(struct jrun *r, struct jv v, const struct jargs *a, int sign) {
    const struct jv *attribute = ja_get(a, 1, "attribute");
    const bool folded = !ja_flag(a, 0, "case_sensitive", false);
    const struct jlist *l = jv_items(r, v);
    struct jv best = jv_undef("the extreme of nothing"), key = best;
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        const struct jv k = keyed(r, l->v[i], attribute, NULL, folded);
        if (i > 0 && jv_compare(r, k, key) * sign <= 0) continue;
        best = l->v[i];
        key = k;
    }
    return best;
}

static struct jv f_max(struct jrun *r, struct jv v, const struct jargs *a) {
    return extreme(r, v, a, 1);
}

static struct jv f_min(struct jrun *r, struct jv v, const struct jargs *a) {
    return extreme(r, v, a, -1);
}

static struct jv f_reverse(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jlist *l = jv_items(r, v);
    struct jv out = jv_list(r, 0);
    struct jbuild b = {0};
    (void)a;
    for (size_t i = l ? l->n : 0; i-- > 0 && !r->failed;)
        if (v.kind == J_STR)
            jb_str(r, &b, l->v[i]);
        else
            jv_push(r, out, l->v[i]);
    return v.kind == J_STR ? jb_take(r, &b) : out;
}

static struct jv f_items(struct jrun *r, struct jv v, const struct jargs *a) {
    if (v.kind == J_UNDEF) return jv_list(r, 0);
    if (v.kind != J_DICT) return jr_fail(r, ERR_FORMAT, "items of a %s", jv_kind(v));
    return jm_items(r, v, a);
}

static struct jv f_batch(struct jrun *r, struct jv v, const struct jargs *a) {
    const jint size = ja_int(r, a, 0, "linecount", 0);
    const struct jv *fill = ja_get(a, 1, "fill_with");
    const struct jlist *l = jv_items(r, v);
    struct jv out = jv_list(r, 0), row = jv_list(r, 0);
    if (size < 1) return jr_fail(r, ERR_FORMAT, "batch needs a size");
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        if ((jint)row.l->n == size) {
            jv_push(r, out, row);
            row = jv_list(r, 0);
        }
        if (!r->failed) jv_push(r, row, l->v[i]);
    }
    if (r->failed || row.l->n == 0) return out;
    while (fill && (jint)row.l->n < size && !r->failed)
        jv_push(r, row, *fill);
    jv_push(r, out, row);
    return out;
}

static struct jv f_slice(struct jrun *r, struct jv v, const struct jargs *a) {
    const jint n = ja_int(r, a, 0, "slices", 0);
    const struct jv *fill = ja_get(a, 1, "fill_with");
    const struct jlist *l = jv_items(r, v);
    struct jv out = jv_list(r, 0);
    if (!l || n < 1) return jr_fail(r, ERR_FORMAT, "slice needs a number");
    const size_t each = l->n / (size_t)n, extra = l->n % (size_t)n;
    size_t at = 0;
    for (size_t i = 0; i < (size_t)n && !r->failed; i++) {
        struct jv row = jv_list(r, 0);
        for (size_t k = each + (i < extra); k-- > 0 && !r->failed;)
            jv_push(r, row, l->v[at++]);
        if (fill && i >= extra && !r->failed) jv_push(r, row, *fill);
        jv_push(r, out, row);
    }
    return out;
}

static struct jv f_groupby(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *attribute = ja_get(a, 0, "attribute"), *other = ja_get(a, 1, "default");
    const bool folded = !ja_flag(a, 2, "case_sensitive", false);
    if (!attribute) return jr_fail(r, ERR_FORMAT, "groupby needs an attribute");
    const struct jv all = sorted(r, jv_items(r, v), attribute, other, folded, false);
    struct jv out = jv_list(r, 0), members = jv_none(), key = jv_none();
    for (size_t i = 0; !r->failed && i < all.l->n; i++) {
        const struct jv k = keyed(r, all.l->v[i], attribute, other, folded);
        const struct jv shown = keyed(r, all.l->v[i], attribute, other, false);
        if (r->failed) break;
        if (members.kind == J_NONE || !jv_equal(r, k, key)) {
            key = k;
            struct jv pair = jv_list(r, 2);
            members = jv_list(r, 0);
            if (r->failed) break;
            jv_push(r, pair, shown);
            jv_push(r, pair, members);
            pair.kind = J_TUPLE;
            pair.l->group = true;
            jv_push(r, out, pair);
        }
        jv_push(r, members, all.l->v[i]);
    }
    return out;
}

const struct jentry jinja_list_filters[] = {
    {"list", f_list},
    {"first", f_first},
    {"last", f_last},
    {"join", f_join},
    {"map", f_map},
    {"select", f_select},
    {"reject", f_reject},
    {"selectattr", f_selectattr},
    {"rejectattr", f_rejectattr},
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"unique", f_unique},
    {"sum", f_sum},
    {"max", f_max},
    {"min", f_min},
    {"reverse", f_reverse},
    {"items", f_items},
    {"batch", f_batch},
    {"slice", f_slice},
    {"groupby", f_groupby},
    {0},
};
