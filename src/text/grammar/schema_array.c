/* Arrays of a JSON schema.  The items of a place must meet what every schema of the list says about
 * that place; behind the last place that one of them names, all places are alike. */
#include "text/grammar/schema_priv.h"

enum { MAX_PLACES = 4096, MAX_UNIQUE = 8, MAX_CONTAINS = 4096 };

struct shape {
    int n_prefix, lo, hi; /* hi -1: any number */
    int n_contains;       /* items that must meet `contains` */
    const json_t *contains;
    bool unique;
};

/* Whether schema k, or what it brings in, says something about place i. */
static bool evaluated(const struct all *a, int k, int i) {
    for (int m = 0; m < a->n; m++)
        if (all_within(a, m, k) &&
            (json_object_get(a->s[m], "items") ||
             i < (int)json_array_size(json_object_get(a->s[m], "prefixItems"))))
            return true;
    return false;
}

/* What must hold at place i (or behind all named ones). */
static int place(struct gen *g, const struct all *a, int i, struct all *out) {
    out->n = 0;
    for (int k = 0; k < a->n; k++) {
        const json_t *prefix = json_object_get(a->s[k], "prefixItems");
        const json_t *left = json_object_get(a->s[k], "unevaluatedItems");
        if (prefix && !json_is_array(prefix))
            return schema_unsupported(g, "prefixItems that are no list");
        const json_t *s = i < (int)json_array_size(prefix) ? json_array_get(prefix, (size_t)i)
                                                           : json_object_get(a->s[k], "items");
        int rc = s ? all_add(g, out, s, -1) : 0;
        if (rc == 0 && left && !evaluated(a, k, i)) rc = all_add(g, out, left, -1);
        if (rc != 0) return rc;
    }
    return 0;
}

static int place_rule(struct gen *g, const struct all *a, int i) {
    struct all at;
    const int rc = place(g, a, i, &at);
    return rc == 0 ? schema_emit(g, &at) : rc;
}

static int read_contains(struct gen *g, const struct all *a, struct shape *s) {
    const int at = all_find(a, "contains", 0);
    int most;
    if (at < 0) return 0;
    const struct all own = {.s = {a->s[at]}, .n = 1}; /* elsewhere they say nothing */
    if (all_count(g, &own, "minContains", true, 1, &s->n_contains) != 0 ||
        all_count(g, &own, "maxContains", false, -1, &most) != 0)
        return -1;
    if (most >= 0) return schema_unsupported(g, "maxContains");
    s->contains = json_object_get(a->s[at], "contains");
    for (int i = at + 1; i < a->n; i++)
        if (json_object_get(a->s[i], "contains"))
            return schema_unsupported(g, "contains of two schemas for one array");
    return 0;
}

static int read_shape(struct gen *g, const struct all *a, struct shape *s) {
    *s = (struct shape){.hi = -1};
    if (all_count(g, a, "minItems", true, 0, &s->lo) != 0 ||
        all_count(g, a, "maxItems", false, -1, &s->hi) != 0 || read_contains(g, a, s) != 0)
        return -1;
    for (int i = 0; i < a->n; i++) {
        const int n = (int)json_array_size(json_object_get(a->s[i], "prefixItems"));
        if (n > s->n_prefix) s->n_prefix = n;
        if (json_is_true(json_object_get(a->s[i], "uniqueItems"))) s->unique = true;
    }
    if (s->n_prefix > MAX_PLACES) return schema_unsupported(g, "prefixItems of more than 4096");
    return s->hi >= 0 && s->hi < s->lo ? IMPOSSIBLE : 0;
}

/* Items behind the named places: lo..hi of them, the first one without a comma when `first`. */
static void alike(struct buf *b, int rule, int lo, int hi, bool first) {
    if (hi == 0) {
        buf_str(b, " \"\"");
        return;
    }
    if (first) buf_printf(b, " (r%d ws", rule);
    buf_printf(b, " (\",\" ws r%d ws){%d,", rule, first && lo > 0 ? lo - 1 : lo);
    if (hi >= 0) buf_printf(b, "%d", first ? hi - 1 : hi);
    buf_str(b, "}");
    if (first) buf_str(b, lo > 0 ? ")" : ")?");
}

/* Place by place: a rule for each, then those that are alike. */
static int in_places(struct gen *g, struct buf *b, const struct all *a, struct shape *s) {
    const int first = g->n_rule;
    g->n_rule += s->n_prefix + 1;
    buf_printf(b, " \"[\" ws r%d \"]\"", first);
    for (int i = 0;; i++) {
        const bool last = i == s->n_prefix;
        const int item = s->hi >= 0 && i >= s->hi ? IMPOSSIBLE : place_rule(g, a, i);
        if (item == -1) return -1;
        if (item == IMPOSSIBLE) { /* the array ends before this place */
            if (i < s->lo) return IMPOSSIBLE;
            for (; i <= s->n_prefix; i++)
                buf_printf(g->out, "r%d ::= \"\"\n", first + i);
            return 0;
        }
        buf_printf(g->out, "r%d ::=", first + i);
        if (last)
            alike(g->out, item, s->lo > i ? s->lo - i : 0, s->hi < 0 ? -1 : s->hi - i, i == 0);
        else
            buf_printf(g->out, " %s r%d ws r%d%s", i ? "\",\" ws" : "", item, first + i + 1,
                       i >= s->lo ? " | \"\"" : "");
        buf_str(g->out, "\n");
        if (last) return 0;
    }
}

/* Different items out of a few: a rule for each set of those that are taken. */
static int unique(struct gen *g, struct buf *b, const struct all *a, const struct shape *s) {
    struct all at;
    int rc = s->n_prefix || s->contains ? -1 : place(g, a, 0, &at);
    if (rc == 0) rc = all_expand(g, &at);
    json_t *v = rc == 0 ? all_values(g, &at) : NULL;
    if (rc == 0 && !v && all_types(g, &at, true) == TYPE_BOOLEAN) v = json_pack("[b, b]", 0, 1);
    const int n = (int)json_array_size(v), first = g->n_rule;
    if (!v || n > MAX_UNIQUE || all_find(&at, "anyOf", 0) >= 0 || all_find(&at, "oneOf", 0) >= 0) {
        json_decref(v);
        return schema_unsupported(g, "uniqueItems of other than up to 8 constants");
    }
    g->n_rule += 1 << n;
    for (int taken = 0; taken < 1 << n; taken++) {
        const int count = __builtin_popcount((unsigned)taken);
        bool any = count >= s->lo;
        buf_printf(g->out, "r%d ::=%s", first + taken, any ? " \"\"" : "");
        for (int i = 0; i < n && (s->hi < 0 || count < s->hi); i++) {
            if (taken >> i & 1) continue;
            buf_printf(g->out, "%s%s", any ? " |" : "", taken ? " \",\" ws" : "");
            schema_constant(g->out, json_array_get(v, (size_t)i));
            buf_printf(g->out, " ws r%d", first + (taken | 1 << i));
            any = true;
        }
        buf_str(g->out, any ? "\n" : " []\n");
    }
    json_decref(v);
    buf_printf(b, " \"[\" ws r%d \"]\"", first);
    return s->lo > n ? IMPOSSIBLE : 0;
}

/* Some items must meet more: rules by how many items there are and how many of those are missing.
 */
static int containing(struct gen *g, struct buf *b, const struct all *a, const struct shape *s) {
    struct all at, more;
    if (s->n_prefix) return schema_unsupported(g, "contains beside prefixItems");
    int rc = place(g, a, 0, &at);
    const int any = rc == 0 ? schema_emit(g, &at) : rc;
    more = at;
    if (rc == 0) rc = all_add(g, &more, s->contains, -1);
    const int special = rc == 0 ? schema_emit(g, &more) : rc;
    if (any < 0 || special < 0) return any == -1 || special == -1 ? -1 : IMPOSSIBLE;
    const int need = s->n_contains, n_max = s->hi >= 0 ? s->hi : s->lo > need ? s->lo : need;
    const int first = g->n_rule, width = need + 1;
    if ((n_max + 1) * (int64_t)width > MAX_CONTAINS)
        return schema_unsupported(g, "contains with counts this large");
    g->n_rule += (n_max + 1) * width;
    for (int n = 0; n <= n_max; n++)
        for (int k = 0; k <= need; k++) { /* k are missing; without a maximum the last n stays */
            const bool ends = k == 0 && n >= s->lo;
            const int to = first + (n < n_max ? n + 1 : n) * width;
            buf_printf(g->out, "r%d ::=%s", first + n * width + k, ends ? " \"\"" : " []");
            if (n == n_max && s->hi >= 0) {
                buf_str(g->out, "\n");
                continue;
            }
            /* Without a comma only at the very beginning: n is 0 there and nowhere else. */
            const char *comma = n ? " \",\" ws" : "";
            buf_printf(g->out, " |%s r%d ws r%d", comma, any, to + k);
            if (k) buf_printf(g->out, " |%s r%d ws r%d", comma, special, to + k - 1);
            buf_str(g->out, "\n");
        }
    buf_printf(b, " \"[\" ws r%d \"]\"", first + need);
    return s->hi >= 0 && s->hi < need ? IMPOSSIBLE : 0;
}

int schema_array(struct gen *g, struct buf *b, const struct all *a) {
    struct shape s;
    const int rc = read_shape(g, a, &s);
    if (rc != 0) return rc;
    if (s.unique && s.hi != 0 && s.hi != 1) return unique(g, b, a, &s);
    if (s.n_contains > 0) return containing(g, b, a, &s);
    return in_places(g, b, a, &s);
}
