/* Strings and numbers of a JSON schema: each keyword is a condition, all of them together a
 * language (lang.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/grammar/schema_priv.h"

/* ---- conditions ---- */

void parts_fini(struct parts *x) {
    for (int i = 0; i < x->n_own; i++)
        grammar_free(x->own[i]);
    x->n = x->n_own = 0;
}

static int room(struct gen *g, struct parts *x) {
    if (x->n < LANG_MAX_PARTS) return 0;
    return err_set(g->e, ERR_LIMIT, "schema: more than %d conditions on one value", LANG_MAX_PARTS);
}

int parts_gbnf(struct gen *g, struct parts *x, struct str gbnf, bool not ) {
    if (room(g, x) != 0) return -1;
    struct grammar *own = grammar_parse(gbnf, g->e);
    if (!own) return -1;
    x->own[x->n_own++] = own;
    x->p[x->n++] = (struct lang_part){.kind = LANG_GRAMMAR, .g = own, .not = not };
    return 0;
}

int parts_regex(struct gen *g, struct parts *x, const json_t *pattern, bool whole, bool not ) {
    struct buf b = {0};
    if (!json_is_string(pattern)) return schema_unsupported(g, "a pattern that is no string");
    const struct str text = {json_string_value(pattern), json_string_length(pattern)};
    int rc = gen_regex(&b, text, whole, g->e);
    if (rc == 0) rc = b.failed ? err_nomem(g->e, "schema") : parts_gbnf(g, x, buf_view(&b), not );
    buf_fini(&b);
    return rc;
}

int parts_length(struct gen *g, struct parts *x, int lo, int hi) {
    if (lo == 0 && hi < 0) return 0;
    if (room(g, x) != 0) return -1;
    x->p[x->n++] = (struct lang_part){.kind = LANG_LENGTH, .lo = lo, .hi = hi};
    return 0;
}

/* ---- strings ---- */

#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 OCTET "(?:\\." OCTET "){3}"
#define DATE                                                                                       \
    "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-"             \
    "(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|"                                        \
    "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
#define TIME                                                                                       \
    "(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}(?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):"       \
    "[0-5][0-9])"
#define DAYS                                                                                       \
    "(?:[0-9]{1,9}D|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?)"
#define HOURS                                                                                      \
    "T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S)"
#define LABEL "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,28}[a-zA-Z0-9])?"
#define HEX4 "[0-9a-fA-F]{1,4}"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"
#define TAIL "(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define AUTHORITY "//(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9a-fA-F]{2})+(?::[0-9]{1,5})?"
#define URI                                                                                        \
    "[a-zA-Z][a-zA-Z0-9+.-]{0,20}:(?:" AUTHORITY "(?:/" PCHAR "*)*|" PCHAR "+(?:/" PCHAR "*)*"     \
    ")" TAIL

/* Never more than the standards say; less where they ask for what a client's check may not know
 * (leap seconds, years before 1000), and names of at most 8 labels of 30 characters instead of 253
 * in all. */
static const char *const formats[][2] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration", "P(?:" DAYS "(?:" HOURS ")?|" HOURS "|[0-9]{1,9}W)"},
    {"uuid", "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
    {"email",
     "[A-Za-z0-9_%+-]{1,15}(?:\\.[A-Za-z0-9_%+-]{1,15}){0,3}@" LABEL "(?:\\." LABEL "){1,4}"},
    {"idn-email",
     "[A-Za-z0-9_%+-]{1,15}(?:\\.[A-Za-z0-9_%+-]{1,15}){0,3}@" LABEL "(?:\\." LABEL "){1,4}"},
    {"hostname", LABEL "(?:\\." LABEL "){0,7}"},
    {"idn-hostname", LABEL "(?:\\." LABEL "){0,7}"},
    {"ipv4", IPV4},
    {"ipv6", "(?:" HEX4 ":){7}" HEX4 "|(?:" HEX4 ":){1,7}:|(?:" HEX4 ":){1,6}:" HEX4 "|(?:" HEX4
             ":){1,5}(?::" HEX4 "){1,2}|(?:" HEX4 ":){1,4}(?::" HEX4 "){1,3}|(?:" HEX4
             ":){1,3}(?::" HEX4 "){1,4}|(?:" HEX4 ":){1,2}(?::" HEX4 "){1,5}|" HEX4 ":(?::" HEX4
             "){1,6}|:(?:(?::" HEX4 "){1,7}|:)|::(?:ffff:)?" IPV4 "|(?:" HEX4 ":){6}" IPV4},
    {"uri", URI},
    {"iri", URI},
    {"uri-reference",
     "(?:" URI ")|(?:/" PCHAR "+)+/?" TAIL "|[A-Za-z0-9._~-]+(?:/" PCHAR "*)*" TAIL "|#" PCHAR "*"},
    {"iri-reference", "(?:" URI ")|(?:/" PCHAR "+)+/?" TAIL},
    {"json-pointer", "(?:/(?:[^~/]|~[01])*)*"},
    {"relative-json-pointer", "(?:0|[1-9][0-9]{0,8})(?:#|(?:/(?:[^~/]|~[01])*)*)"},
    {"byte", "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
    {"password", "[^]*"},
};

static int format_of(struct gen *g, const json_t *format) {
    for (size_t i = 0; json_is_string(format) && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i][0], json_string_value(format)) == 0) return (int)i;
    return err_set(g->e, ERR_UNSUPPORTED,
                   "schema: format \"%.40s\" cannot be enforced; accepted: date time date-time "
                   "duration uuid email hostname ipv4 ipv6 uri uri-reference json-pointer",
                   json_is_string(format) ? json_string_value(format) : "(no string)");
}

int parts_of_string(struct gen *g, struct parts *x, const struct all *a) {
    int lo = 0, hi = -1;
    if (all_count(g, a, "minLength", true, 0, &lo) != 0 ||
        all_count(g, a, "maxLength", false, -1, &hi) != 0)
        return -1;
    if (hi >= 0 && hi < lo) return IMPOSSIBLE;
    for (int i = 0; i < a->n; i++) {
        const json_t *pattern = json_object_get(a->s[i], "pattern");
        const json_t *format = json_object_get(a->s[i], "format");
        if (pattern && parts_regex(g, x, pattern, false, false) != 0) return -1;
        if (!format) continue;
        const int f = format_of(g, format);
        if (f < 0) return -1;
        json_t *regex = json_string(formats[f][1]);
        const int rc = parts_regex(g, x, regex, true, false);
        json_decref(regex);
        if (rc != 0) return -1;
    }
    return parts_length(g, x, lo, hi);
}

/* The language of some parts as a rule's right side; quotes around it unless raw. */
static int language(struct gen *g, struct buf *b, const struct parts *x, bool raw) {
    char name[32];
    const int rc = lang_rules(x->p, x->n, raw, g->n_rule++, g->out, name, &g->work, g->e);
    if (rc < 0) return -1;
    if (rc == 0) return IMPOSSIBLE;
    buf_printf(b, raw ? " %s" : " \"\\\"\" %s \"\\\"\"", name);
    return 0;
}

/* A format and nothing else: one language, however often. */
static int lone_format(struct gen *g, struct buf *b, const struct parts *x, const struct all *a) {
    const int at = all_find(a, "format", 0);
    const int f = at < 0 || x->n != 1 ? -1 : format_of(g, json_object_get(a->s[at], "format"));
    if (f < 0) return language(g, b, x, false);
    if (!g->format_rule[f]) {
        g->format_rule[f] = g->n_rule + 1;
        return language(g, b, x, false);
    }
    buf_printf(b, " \"\\\"\" l%d-0 \"\\\"\"", g->format_rule[f] - 1);
    return 0;
}

int schema_string(struct gen *g, struct buf *b, const struct all *a) {
    struct parts x = {.n = 0};
    int rc = parts_of_string(g, &x, a);
    if (rc == 0 && x.n == 0) {
        buf_str(b, " string");
    } else if (rc == 0 && x.n == 1 && x.p[0].kind == LANG_LENGTH) {
        buf_printf(b, " \"\\\"\" char{%d,", x.p[0].lo);
        if (x.p[0].hi >= 0) buf_printf(b, "%d", x.p[0].hi);
        buf_str(b, "} \"\\\"\"");
    } else if (rc == 0) {
        rc = lone_format(g, b, &x, a);
    }
    parts_fini(&x);
    return rc;
}

/* ---- numbers ---- */

static struct lang_decimal decimal_of_int(json_int_t n) {
    struct lang_decimal d = {.negative = n < 0};
    char t[32];
    snprintf(t, sizeof t, "%lld", (long long)n);
    for (const char *p = t + (n < 0); *p && n; p++)
        d.digit[d.n_int++] = *p;
    return d;
}

static int bound(struct gen *g, struct parts *x, const json_t *s, const char *key, bool least,
                 bool strictly) {
    const json_t *v = json_object_get(s, key);
    if (!v) return 0;
    if (!json_is_number(v)) return schema_unsupported(g, "a limit that is no number");
    if (room(g, x) != 0) return -1;
    struct lang_part p = {.kind = least ? LANG_AT_LEAST : LANG_AT_MOST, .strictly = strictly};
    bool rounded = false;
    if (json_is_integer(v))
        p.bound = decimal_of_int(json_integer_value(v));
    else if (!lang_decimal(json_real_value(v), least, &p.bound, &rounded))
        return schema_unsupported(g, "a limit beyond 10^15 that is no integer");
    if (rounded) p.strictly = false;
    x->p[x->n++] = p;
    return 0;
}

static int multiple(struct gen *g, struct parts *x, const json_t *s) {
    const json_t *v = json_object_get(s, "multipleOf");
    struct lang_decimal d;
    bool rounded;
    if (!v) return 0;
    if (room(g, x) != 0) return -1;
    const double m = json_number_value(v);
    if (!(m > 0) || m > 2000 || !lang_decimal(m, true, &d, &rounded) || rounded || d.n_frac > 6)
        return schema_unsupported(g, "multipleOf other than up to 2000 with up to 6 places");
    struct lang_part p = {.kind = LANG_MULTIPLE, .places = d.n_frac};
    for (int i = 0; i < d.n_int + d.n_frac; i++)
        p.step = p.step > 2000 ? p.step : p.step * 10 + (d.digit[i] - '0');
    if (p.step > 2000) return schema_unsupported(g, "multipleOf of more than 2000 steps");
    x->p[x->n++] = p;
    return 0;
}

/* OpenAPI's formats of numbers. */
static int number_format(struct gen *g, struct parts *x, const json_t *s) {
    static const char *const wide[] = {"int64", "float", "double"};
    const json_t *format = json_object_get(s, "format");
    const char *name = json_string_value(format);
    if (!format) return 0;
    for (int i = 0; name && i < 3; i++)
        if (strcmp(name, wide[i]) == 0) return 0;
    if (!name || strcmp(name, "int32") != 0)
        return all_types(g, &(struct all){.s = {s}, .n = 1}, true) & TYPE_STRING
                   ? 0
                   : schema_unsupported(g, "this format of a number");
    if (x->n + 2 > LANG_MAX_PARTS) return room(g, x);
    x->p[x->n++] = (struct lang_part){.kind = LANG_AT_LEAST, .bound = decimal_of_int(INT32_MIN)};
    x->p[x->n++] = (struct lang_part){.kind = LANG_AT_MOST, .bound = decimal_of_int(INT32_MAX)};
    return 0;
}

/* GBNF of numbers whose conditions are x.  Behind the point as many digits as keep 15 in all beside
 * the longest bound, so that two texts are two doubles; of multiples no more than they have, and 15
 * in all, for checks that divide doubles (9 where the states would become too many). */
static void number_base(const struct parts *x, bool integer, char out[128]) {
    int n_int = 0, step = 0, n_frac = 0;
    for (int i = 0; i < x->n; i++) {
        const struct lang_part *p = &x->p[i];
        if (p->bound.n_int > n_int) n_int = p->bound.n_int;
        if (p->kind == LANG_MULTIPLE && p->step > step) step = p->step;
        if (p->places > n_frac) n_frac = p->places;
    }
    const int further = !step ? 17 : step > 250 ? 8 : 14 - n_frac;
    const int n = snprintf(out, 128, "root ::= \"-\"? (\"0\" | [1-9] [0-9]{0,%d})", further);
    if (!step) n_frac = n_int > 14 ? 1 : 15 - n_int;
    if (!integer && n_frac) snprintf(out + n, 128 - (size_t)n, " (\".\" [0-9]{1,%d})?", n_frac);
}

int parts_of_number(struct gen *g, struct parts *x, const struct all *a, bool integer) {
    char base[128];
    for (int i = 0; i < a->n; i++)
        if (bound(g, x, a->s[i], "minimum", true, false) != 0 ||
            bound(g, x, a->s[i], "maximum", false, false) != 0 ||
            bound(g, x, a->s[i], "exclusiveMinimum", true, true) != 0 ||
            bound(g, x, a->s[i], "exclusiveMaximum", false, true) != 0 ||
            multiple(g, x, a->s[i]) != 0 || number_format(g, x, a->s[i]) != 0)
            return -1;
    if (!x->n) return 0;
    number_base(x, integer, base);
    return parts_gbnf(g, x, str_of(base), false);
}

int schema_number(struct gen *g, struct buf *b, const struct all *a, bool integer) {
    struct parts x = {.n = 0};
    int rc = parts_of_number(g, &x, a, integer);
    if (rc == 0 && x.n == 0)
        buf_str(b, integer ? " integer" : " number");
    else if (rc == 0)
        rc = language(g, b, &x, true);
    parts_fini(&x);
    return rc;
}
