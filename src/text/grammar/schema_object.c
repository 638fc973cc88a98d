/* Objects of a JSON schema.  A key is either one that some schema of the list names, which come in
 * the order in which they are named, or another one; others come behind.  What a value must meet
 * follows from its key alone, schema by schema: the property of that name, every pattern that finds
 * something in it, or else additionalProperties.  Other keys are therefore split by which patterns
 * they meet, and each part is a language of its own (lang.h).
 *
 * The members are read by rules for (next name, members so far, names that later ones depend on).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/schema_priv.h"

enum { MAX_PATTERNS = 5, MAX_NAMES = 20000, MAX_TRACKED = 12, MAX_PLACES = 60000 };

struct name {
    const char *key; /* borrowed */
    int value;       /* rule, or IMPOSSIBLE: the key must not come */
    bool required;
    int bit; /* among those that others depend on, or -1 */
};

struct object {
    struct gen *g;
    const struct all *a;
    struct name *name; /* [n_name] owned */
    int n_name, cap_name;
    json_t *at; /* owned: name -> its number */
    const char *pattern[MAX_PATTERNS];
    struct parts reads[MAX_PATTERNS]; /* each pattern as a condition */
    int n_pattern;
    struct parts names; /* propertyNames */
    int lo, hi;         /* members; hi -1: any number */
    int others;         /* rule of a further member, or IMPOSSIBLE */
    int n_bit;
    uint32_t needs[MAX_TRACKED]; /* by bit: names that must be there, too */
};

/* ---- names ---- */

static int name_at(const struct object *o, const char *key) {
    const json_t *v = json_object_get(o->at, key);
    return v ? (int)json_integer_value(v) : -1;
}

static int name_add(struct object *o, const char *key) {
    const int had = name_at(o, key);
    if (had >= 0) return had;
    if (o->n_name >= MAX_NAMES)
        return err_set(o->g->e, ERR_LIMIT, "schema: more than %d properties", MAX_NAMES);
    if (o->n_name == o->cap_name) {
        const int to = o->cap_name ? 2 * o->cap_name : 16;
        struct name *n = realloc(o->name, (size_t)to * sizeof *n);
        if (!n) return err_nomem(o->g->e, "schema");
        o->name = n, o->cap_name = to;
    }
    o->name[o->n_name] = (struct name){.key = key, .value = IMPOSSIBLE, .bit = -1};
    json_object_set_new(o->at, key, json_integer(o->n_name));
    return o->n_name++;
}

static int list_names(struct object *o) {
    const struct all *a = o->a;
    const char *key;
    json_t *v;
    size_t k;
    for (int i = 0; i < a->n; i++) {
        json_object_foreach(json_object_get(a->s[i], "properties"), key, v) {
            if (name_add(o, key) < 0) return -1;
        }
    }
    for (int i = 0; i < a->n; i++) {
        json_array_foreach(json_object_get(a->s[i], "required"), k, v) {
            if (!json_is_string(v))
                return schema_unsupported(o->g, "required that is no list of names");
            const int n = name_add(o, json_string_value(v));
            if (n < 0) return -1;
            o->name[n].required = true;
        }
    }
    return 0;
}

/* A name that another one depends on, or that depends on one: its bit. */
static int track(struct object *o, const char *key) {
    const int n = name_add(o, key);
    if (n < 0) return -1;
    if (o->name[n].bit >= 0) return o->name[n].bit;
    if (o->n_bit == MAX_TRACKED)
        return schema_unsupported(o->g, "dependentRequired of more than 12 names");
    return o->name[n].bit = o->n_bit++;
}

static int list_needs(struct object *o) {
    for (int i = 0; i < o->a->n; i++) {
        const char *key;
        json_t *list, *v;
        size_t k;
        json_object_foreach(json_object_get(o->a->s[i], "dependentRequired"), key, list) {
            const int from = track(o, key);
            if (from < 0) return -1;
            json_array_foreach(list, k, v) {
                const int to = json_is_string(v) ? track(o, json_string_value(v)) : -1;
                if (to < 0)
                    return o->g->e->code ? -1 : schema_unsupported(o->g, "this dependentRequired");
                o->needs[from] |= 1u << to;
            }
        }
    }
    return 0;
}

/* ---- patterns ---- */

static int list_patterns(struct object *o) {
    for (int i = 0; i < o->a->n; i++) {
        const char *key;
        json_t *v;
        const json_t *names = json_object_get(o->a->s[i], "propertyNames");
        json_object_foreach(json_object_get(o->a->s[i], "patternProperties"), key, v) {
            bool had = false;
            for (int k = 0; k < o->n_pattern; k++)
                had = had || strcmp(o->pattern[k], key) == 0;
            if (had) continue;
            if (o->n_pattern == MAX_PATTERNS)
                return schema_unsupported(o->g, "patternProperties of more than 5 patterns");
            json_t *text = json_string(key);
            const int rc = parts_regex(o->g, &o->reads[o->n_pattern], text, false, false);
            json_decref(text);
            o->pattern[o->n_pattern++] = key;
            if (rc != 0) return -1;
        }
        if (!names) continue;
        struct all one = {.n = 0};
        int rc = all_add(o->g, &one, names, -1);
        if (rc == 0) rc = all_expand(o->g, &one);
        if (rc == 0 && (all_find(&one, "enum", 0) >= 0 || all_find(&one, "const", 0) >= 0 ||
                        all_find(&one, "anyOf", 0) >= 0 || all_find(&one, "oneOf", 0) >= 0))
            rc = schema_unsupported(o->g, "propertyNames other than pattern, format and lengths");
        if (rc == 0) rc = parts_of_string(o->g, &o->names, &one);
        if (rc == IMPOSSIBLE) rc = schema_unsupported(o->g, "propertyNames that no name meets");
        if (rc != 0) return -1;
    }
    return 0;
}

/* What schema i says of a key's value; *said: whether it says anything.  key NULL: one that nobody
 * names; met: bits of its patterns. */
static int condition(struct object *o, int i, const char *key, unsigned met, struct all *out,
                     bool *said) {
    const json_t *s = o->a->s[i], *patterns = json_object_get(s, "patternProperties");
    const json_t *own = key ? json_object_get(json_object_get(s, "properties"), key) : NULL;
    int rc = own ? all_add(o->g, out, own, -1) : 0;
    *said = own != NULL;
    for (int k = 0; k < o->n_pattern && rc == 0; k++) {
        const json_t *v = met >> k & 1 ? json_object_get(patterns, o->pattern[k]) : NULL;
        *said = *said || v;
        if (v) rc = all_add(o->g, out, v, -1);
    }
    const json_t *more = json_object_get(s, "additionalProperties");
    if (rc == 0 && !*said && more) rc = all_add(o->g, out, more, -1);
    *said = *said || more;
    return rc;
}

/* What all say of it; unevaluatedProperties speaks where neither its own schema nor what that
 * brings in has said anything. */
static int conditions(struct object *o, const char *key, unsigned met, struct all *out) {
    bool said[SCHEMA_MAX_ALL];
    out->n = 0;
    for (int i = 0; i < o->a->n; i++) {
        const int rc = condition(o, i, key, met, out, &said[i]);
        if (rc != 0) return rc;
    }
    for (int i = 0; i < o->a->n; i++) {
        const json_t *left = json_object_get(o->a->s[i], "unevaluatedProperties");
        bool evaluated = false;
        for (int k = 0; k < o->a->n; k++)
            evaluated = evaluated || (said[k] && all_within(o->a, k, i));
        const int rc = left && !evaluated ? all_add(o->g, out, left, -1) : 0;
        if (rc != 0) return rc;
    }
    return 0;
}

static int named_values(struct object *o) {
    for (int n = 0; n < o->n_name; n++) {
        const char *key = o->name[n].key;
        unsigned met = 0;
        struct all one;
        for (int k = 0; k < o->n_pattern; k++)
            if (lang_accepts(o->reads[k].p, o->reads[k].n, str_of(key))) met |= 1u << k;
        int rc = conditions(o, key, met, &one);
        if (rc == 0 && !lang_accepts(o->names.p, o->names.n, str_of(key))) rc = IMPOSSIBLE;
        if (rc == 0) rc = schema_emit(o->g, &one);
        if (rc == -1) return -1;
        o->name[n].value = rc;
        if (rc == IMPOSSIBLE && o->name[n].required) return IMPOSSIBLE;
    }
    return 0;
}

/* ---- other members ---- */

/* Keys that no schema names, of those that meet just these patterns, as a member. */
static int other_member(struct object *o, struct parts *x, unsigned met, struct buf *out) {
    struct all one;
    char name[32];
    int value = conditions(o, NULL, met, &one);
    if (value == 0) value = schema_emit(o->g, &one);
    if (value < 0) return value;
    const int keep = x->n;
    for (int k = 0; k < o->n_pattern; k++) {
        if (x->n == LANG_MAX_PARTS) return schema_unsupported(o->g, "so many patterns of names");
        x->p[x->n] = o->reads[k].p[0];
        x->p[x->n++].not = !(met >> k & 1);
    }
    const int rc =
        lang_rules(x->p, x->n, false, o->g->n_rule++, o->g->out, name, &o->g->work, o->g->e);
    x->n = keep;
    if (rc < 0) return -1;
    if (rc == 1)
        buf_printf(out, "%s \"\\\"\" %s \"\\\"\" ws \":\" ws r%d", out->n ? " |" : "", name, value);
    return 0;
}

/* The rule of any further member. */
static int other_members(struct object *o) {
    struct parts x = o->names;
    struct buf listed = {0}, member = {0};
    int rc = 0;
    buf_str(&listed, "root ::=");
    for (int n = 0; n < o->n_name; n++) {
        if (n) buf_str(&listed, " |");
        gen_literal(&listed, str_of(o->name[n].key));
    }
    const int own = x.n_own; /* only what is added here is freed here */
    if (o->n_name) rc = parts_gbnf(o->g, &x, buf_view(&listed), true);
    if (rc == 0 && !x.n && !o->n_pattern) { /* any name: as `string` has it */
        struct all one;
        rc = conditions(o, NULL, 0, &one);
        if (rc == 0) rc = schema_emit(o->g, &one);
        if (rc >= 0) buf_printf(&member, " string ws \":\" ws r%d", rc), rc = 0;
    } else {
        for (unsigned met = 0; met < 1u << o->n_pattern && rc != -1; met++)
            rc = other_member(o, &x, met, &member);
    }
    while (x.n_own > own)
        grammar_free(x.own[--x.n_own]);
    o->others = IMPOSSIBLE;
    if (rc != -1 && member.n) {
        o->others = o->g->n_rule++;
        buf_printf(o->g->out, "r%d ::=%s\n", o->others, member.p);
    }
    buf_fini(&listed), buf_fini(&member);
    return rc == -1 ? -1 : 0;
}

/* ---- members in order ---- */

/* Where reading is: members so far, no further than counts matter, and the names among them that
 * later ones depend on. */
struct place {
    int count;
    uint32_t present;
    int rule;
};

struct places {
    struct place *p;
    int n, cap;
};

static int place_rule(struct object *o, struct places *to, int count, uint32_t present) {
    const int most = o->hi >= 0 ? o->hi + 1 : o->lo > 1 ? o->lo : 1;
    if (count > most) count = most;
    for (int i = to->n; i-- > 0;)
        if (to->p[i].count == count && to->p[i].present == present) return to->p[i].rule;
    if (to->n > 512 || o->g->n_rule > SCHEMA_MAX_RULES)
        return schema_unsupported(o->g, "counts and dependencies of so many properties");
    if (to->n == to->cap) {
        const int cap = to->cap ? 2 * to->cap : 8;
        struct place *p = realloc(to->p, (size_t)cap * sizeof *p);
        if (!p) return err_nomem(o->g->e, "schema");
        to->p = p, to->cap = cap;
    }
    to->p[to->n] = (struct place){count, present, o->g->n_rule++};
    return to->p[to->n++].rule;
}

/* Whether a name may come (or stay away) after those that are present: what is before it in order
 * is decided. */
static bool may_take(const struct object *o, int n, uint32_t present) {
    const struct name *nm = &o->name[n];
    if (nm->value == IMPOSSIBLE) return false;
    for (int i = 0; nm->bit >= 0 && i < n; i++)
        if (o->name[i].bit >= 0 && o->needs[nm->bit] >> o->name[i].bit & 1 &&
            !(present >> o->name[i].bit & 1))
            return false;
    return true;
}

static bool may_skip(const struct object *o, int n, uint32_t present) {
    const struct name *nm = &o->name[n];
    if (nm->required) return false;
    for (int b = 0; nm->bit >= 0 && b < o->n_bit; b++)
        if (present >> b & 1 && o->needs[b] >> nm->bit & 1) return false;
    return true;
}

/* All names have been seen to: further members, as many as still must or may come.  Those may have
 * the same key, hence count as one where a minimum is asked for. */
static int last_rule(struct object *o, const struct place *p) {
    struct buf *out = o->g->out;
    const int need = o->lo > p->count ? o->lo - p->count : 0;
    const int most = o->hi >= 0 ? o->hi - p->count : -1;
    buf_printf(out, "r%d ::=", p->rule);
    if ((o->hi >= 0 && most < 0) || need > 1 || (need && (o->others < 0 || most == 0)))
        buf_str(out, " []");
    else if (o->others >= 0 && most != 0 && p->count == 0) {
        buf_printf(out, " (r%d ws (\",\" ws r%d ws){0,", o->others, o->others);
        if (most > 0) buf_printf(out, "%d", most - 1);
        buf_printf(out, "})%s", need ? "" : "?");
    } else if (o->others >= 0 && most != 0) {
        buf_printf(out, " (\",\" ws r%d ws){%d,", o->others, need);
        if (most > 0) buf_printf(out, "%d", most);
        buf_str(out, "}");
    } else {
        buf_str(out, " \"\"");
    }
    buf_str(out, "\n");
    return 0;
}

static int name_rule(struct object *o, int n, const struct place *p, struct places *to) {
    struct buf *out = o->g->out;
    const struct name *nm = &o->name[n];
    const bool skip = may_skip(o, n, p->present), take = may_take(o, n, p->present);
    buf_printf(out, "r%d ::=%s", p->rule, take || skip ? "" : " []");
    if (take) {
        const uint32_t bit = nm->bit >= 0 ? 1u << nm->bit : 0;
        const int next = place_rule(o, to, p->count + 1, p->present | bit);
        if (next < 0) return -1;
        buf_str(out, p->count ? " \",\" ws" : "");
        gen_string(out, str_of(nm->key));
        buf_printf(out, " ws \":\" ws r%d ws r%d", nm->value, next);
    }
    if (skip) {
        const int next = place_rule(o, to, p->count, p->present);
        if (next < 0) return -1;
        buf_printf(out, "%s r%d", take ? " |" : "", next);
    }
    buf_str(out, "\n");
    if (out->n > GRAMMAR_MAX_BYTES)
        return err_set(o->g->e, ERR_LIMIT, "schema: more than %d bytes of grammar",
                       GRAMMAR_MAX_BYTES);
    return 0;
}

static int members(struct object *o, struct buf *b) {
    struct places now = {0}, then = {0};
    const int first = place_rule(o, &now, 0, 0);
    int rc = first < 0 ? -1 : 0;
    for (int n = 0; n < o->n_name && rc == 0; n++) {
        then.n = 0;
        for (int i = 0; i < now.n && rc == 0; i++)
            rc = name_rule(o, n, &now.p[i], &then);
        const struct places t = now;
        now = then, then = t;
    }
    for (int i = 0; i < now.n && rc == 0; i++)
        rc = last_rule(o, &now.p[i]);
    free(now.p), free(then.p);
    buf_printf(b, " \"{\" ws r%d \"}\"", first);
    return rc;
}

/* ---- the whole ---- */

/* Says whether a grammar of these counts can be made at all. */
static int check_counts(struct object *o) {
    int must = 0, may = 0;
    for (int n = 0; n < o->n_name; n++) {
        must += o->name[n].required;
        may += o->name[n].value >= 0;
    }
    if (o->hi >= 0 && (o->hi < o->lo || must > o->hi)) return IMPOSSIBLE;
    if (o->lo > may + (o->others >= 0))
        return o->others >= 0
                   ? schema_unsupported(o->g, "minProperties above 1 of keys without names")
                   : IMPOSSIBLE;
    if (o->lo > 64 && o->lo > must) return schema_unsupported(o->g, "minProperties above 64");
    if (o->lo <= must) o->lo = 0; /* the required ones see to it */
    if (o->hi > 64 && o->hi >= may && o->others < 0) o->hi = -1;
    if (o->hi > 256) return schema_unsupported(o->g, "maxProperties above 256");
    return 0;
}

static int object(struct object *o, struct buf *b) {
    int rc = 0;
    if (all_count(o->g, o->a, "minProperties", true, 0, &o->lo) != 0 ||
        all_count(o->g, o->a, "maxProperties", false, -1, &o->hi) != 0 || list_names(o) != 0 ||
        list_needs(o) != 0 || list_patterns(o) != 0)
        return -1;
    if ((rc = named_values(o)) != 0 || (rc = other_members(o)) != 0 || (rc = check_counts(o)) != 0)
        return rc;
    return members(o, b);
}

int schema_object(struct gen *g, struct buf *b, const struct all *a) {
    struct object o = {.g = g, .a = a, .at = json_object()};
    const int rc = object(&o, b);
    for (int k = 0; k < MAX_PATTERNS; k++)
        parts_fini(&o.reads[k]);
    parts_fini(&o.names);
    free(o.name);
    json_decref(o.at);
    return rc;
}
