/* Filters of one value; those of sequences are in jinja_list.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja_priv.h"

#define ON_TEXT(name, call)                                                                        \
    static struct jv name(struct jrun *r, struct jv v, const struct jargs *a) {                    \
        v = jv_to_str(r, v);                                                                       \
        return r->failed ? v : call(r, v, a);                                                      \
    }
ON_TEXT(f_trim, jm_trim)
ON_TEXT(f_upper, jm_upper)
ON_TEXT(f_lower, jm_lower)
ON_TEXT(f_title, jm_words)
ON_TEXT(f_capitalize, jm_capitalize)
ON_TEXT(f_replace, jm_replace)

static struct jv f_string(struct jrun *r, struct jv v, const struct jargs *a) {
    (void)a;
    return jv_to_str(r, v);
}

static struct jv f_default(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *other = ja_get(a, 0, "default_value");
    const bool use = v.kind == J_UNDEF || (ja_flag(a, 1, "boolean", false) && !jv_truth(v));
    return !use ? v : other ? *other : jv_z(r, "");
}

static struct jv f_length(struct jrun *r, struct jv v, const struct jargs *a) {
    (void)a;
    switch (v.kind) {
    case J_STR: return jv_int(jr_step(r, v.s->n) ? (jint)jv_chars(v.s) : 0);
    case J_LIST:
    case J_TUPLE: return jv_int((jint)v.l->n);
    case J_DICT: return jv_int((jint)v.d->n);
    case J_UNDEF: return jv_int(0);
    default: return jr_fail(r, ERR_FORMAT, "a %s has no length", jv_kind(v));
    }
}

/* Text to a number: white space around it is no harm. */
static bool number_of(struct jv v, double *x) {
    char z[64], *end;
    size_t n = v.s->n, i = 0;
    while (i < n && (v.s->p[i] == ' ' || v.s->p[i] == '\n' || v.s->p[i] == '\t'))
        i++;
    while (n > i && (v.s->p[n - 1] == ' ' || v.s->p[n - 1] == '\n' || v.s->p[n - 1] == '\t'))
        n--;
    if (n == i || n - i >= sizeof z) return false;
    memcpy(z, v.s->p + i, n - i);
    z[n - i] = 0;
    if (strpbrk(z, "xXpP(")) return false;
    *x = strtod(z, &end);
    return *end == 0;
}

static int digit_of(char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                : 99;
}

/* In a base of 2 to 36; 2, 8 and 16 may say so ("0x1f"). */
static bool whole_of(struct jv v, int base, jint *out) {
    const char sign_of_base = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : 0;
    size_t i = 0, n = v.s->n;
    jint x = 0;
    while (i < n && v.s->p[i] == ' ')
        i++;
    while (n > i && (v.s->p[n - 1] == ' ' || v.s->p[n - 1] == '\n'))
        n--;
    const bool minus = i < n && v.s->p[i] == '-';
    i += i < n && (minus || v.s->p[i] == '+');
    if (sign_of_base && i + 2 < n && v.s->p[i] == '0' && (v.s->p[i + 1] | 32) == sign_of_base)
        i += 2;
    if (i == n) return false;
    for (; i < n; i++) {
        const int d = digit_of(v.s->p[i]);
        if (d >= base || x > ((jint)1 << 120)) return false;
        x = x * base + d;
    }
    *out = minus ? -x : x;
    return true;
}

static struct jv f_int(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *other = ja_get(a, 0, "default");
    double x = NAN;
    jint i;
    if (v.kind == J_UNDEF)
        return jr_fail(r, ERR_FORMAT, "%s is undefined", v.name ? v.name : "a value");
    if (v.kind == J_INT || v.kind == J_BOOL) return jv_int(jv_whole(v));
    const jint base = ja_int(r, a, 1, "base", 10);
    if (base < 2 || base > 36) return jr_fail(r, ERR_FORMAT, "int in a base beyond 2 to 36");
    if (v.kind == J_STR && whole_of(v, (int)base, &i)) return jv_int(i);
    if (v.kind == J_FLOAT) x = v.f;
    if (v.kind == J_STR && !number_of(v, &x)) x = NAN;
    if (x > -1e36 && x < 1e36) return jv_int((jint)x);
    return other ? *other : jv_int(0);
}

static struct jv f_float(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *other = ja_get(a, 0, "default");
    double x;
    if (v.kind == J_UNDEF)
        return jr_fail(r, ERR_FORMAT, "%s is undefined", v.name ? v.name : "a value");
    if (jv_is_num(v)) return jv_float(jv_num(v));
    if (v.kind == J_STR && number_of(v, &x)) return jv_float(x);
    return other ? *other : jv_float(0);
}

static struct jv f_abs(struct jrun *r, struct jv v, const struct jargs *a) {
    (void)a;
    if (!jv_is_num(v)) return jr_fail(r, ERR_FORMAT, "abs of a %s", jv_kind(v));
    if (v.kind == J_FLOAT) return jv_float(fabs(v.f));
    return jv_whole(v) < 0 ? jr_binary(r, '-', jv_int(0), v) : jv_int(jv_whole(v));
}

/* Half to even, through decimal text, as Python rounds. */
static struct jv f_round(struct jrun *r, struct jv v, const struct jargs *a) {
    const jint prec = ja_int(r, a, 0, "precision", 0);
    const struct jv *method = ja_get(a, 1, "method");
    char z[480];
    if (!jv_is_num(v)) return jr_fail(r, ERR_FORMAT, "round of a %s", jv_kind(v));
    if (prec < -300 || prec > 100) return jr_fail(r, ERR_FORMAT, "round to that many digits");
    const double x = jv_num(v), scale = pow(10, (double)prec);
    if (method && method->kind == J_STR && !str_is(jv_str(*method), "common"))
        return jv_float(
            (str_is(jv_str(*method), "ceil") ? ceil(x * scale) : floor(x * scale)) / scale + 0.0);
    if (v.kind != J_FLOAT && prec >= 0) return jv_int(jv_whole(v));
    if (prec < 0) return jv_float(nearbyint(x * scale) / scale);
    snprintf(z, sizeof z, "%.*f", (int)prec, x);
    return jv_float(strtod(z, NULL));
}

static struct jv f_indent(struct jrun *r, struct jv v, const struct jargs *a) {
    const struct jv *w = ja_get(a, 0, "width");
    const bool first = ja_flag(a, 1, "first", false), blank = ja_flag(a, 2, "blank", false);
    struct jbuild b = {0};
    if (v.kind != J_STR) return jr_fail(r, ERR_FORMAT, "indent of a %s", jv_kind(v));
    struct jv pad = w && w->kind == J_STR
                        ? *w
                        : jr_binary(r, '*', jv_z(r, " "),
                                    jv_int(ja_int(r, a, w && w->kind == J_STR ? -1 : 0, "", 4)));
    if (w && jv_is_num(*w)) pad = jr_binary(r, '*', jv_z(r, " "), jv_int((jint)jv_num(*w)));
    if (first && v.s->n == 0 && !r->failed) jb_str(r, &b, pad);
    for (size_t i = 0, j; !r->failed && i < v.s->n; i = j) {
        for (j = i; j < v.s->n && v.s->p[j] != '\n';)
            j++;
        if ((i > 0 || first) && (j > i || blank || (i == 0 && first))) jb_str(r, &b, pad);
        j += j < v.s->n;
        jb_sub(r, &b, v.s, i, j - i);
    }
    return jb_take(r, &b);
}

static struct jv f_safe(struct jrun *r, struct jv v, const struct jargs *a) {
    (void)a;
    v = jv_to_str(r, v);
    if (!r->failed) v = jv_sub(r, v.s, 0, v.s->n); /* its own object: the text has other users */
    if (!r->failed) ((struct jstr *)v.s)->safe = true;
    return v;
}

/* The filter: what is safe stays as it is. */
static struct jv f_escape(struct jrun *r, struct jv v, const struct jargs *a) {
    v = v.kind == J_STR && v.s->safe ? v : jf_escape(r, v, a);
    return r->failed ? v : f_safe(r, v, a);
}

struct jv jf_escape(struct jrun *r, struct jv v, const struct jargs *a) {
    struct jbuild b = {0};
    (void)a;
    v = jv_to_str(r, v);
    for (size_t i = 0; !r->failed && i < v.s->n; i++) {
        const char c = v.s->p[i];
        const char *to = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '"'  ? "&#34;"
                         : c == '\'' ? "&#39;"
                                     : NULL;
        if (to)
            jb_put(r, &b, to, strlen(to), v.s->mark ? v.s->mark[i] : v.s->quoted);
        else
            jb_sub(r, &b, v.s, i, 1);
    }
    return jb_take(r, &b);
}

static struct jv f_urlencode(struct jrun *r, struct jv v, const struct jargs *a) {
    struct jbuild b = {0};
    (void)a;
    v = jv_to_str(r, v);
    for (size_t i = 0; !r->failed && i < v.s->n; i++) {
        const unsigned char c = (unsigned char)v.s->p[i];
        char esc[4];
        if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
            (c && strchr("_.-~/", c))) {
            jb_sub(r, &b, v.s, i, 1);
            continue;
        }
        snprintf(esc, sizeof esc, "%%%02X", c);
        jb_put(r, &b, esc, 3, false);
    }
    return jb_take(r, &b);
}

/* truncate(length=255, killwords=False, end="...", leeway=5) */
static struct jv f_truncate(struct jrun *r, struct jv v, const struct jargs *a) {
    const jint len = ja_int(r, a, 0, "length", 255), leeway = ja_int(r, a, 3, "leeway", 5);
    const struct jv *e = ja_get(a, 2, "end"), end = e ? jv_to_str(r, *e) : jv_z(r, "...");
    if (v.kind != J_STR) { /* anything that is short stays what it is */
        const struct jv n = f_length(r, v, a);
        if (r->failed || n.i <= len + leeway) return v;
        return jr_fail(r, ERR_FORMAT, "truncate of a long %s", jv_kind(v));
    }
    if (r->failed || (jint)jv_chars(v.s) <= len + leeway) return v;
    const jint keep = len - (jint)jv_chars(end.s);
    if (keep < 0) return jr_fail(r, ERR_FORMAT, "truncate shorter than its end");
    size_t n = jv_char_at(v.s, (size_t)keep);
    const char *space = ja_flag(a, 1, "killwords", false) ? NULL : memrchr(v.s->p, ' ', n);
    if (space) n = (size_t)(space - v.s->p);
    return jr_binary(r, '+', jv_sub(r, v.s, 0, n), end);
}

static struct jv f_center(struct jrun *r, struct jv v, const struct jargs *a) {
    const jint width = ja_int(r, a, 0, "width", 80);
    v = jv_to_str(r, v);
    if (r->failed || width > 10000) return jr_fail(r, ERR_FORMAT, "center to more than 10000");
    const jint n = (jint)jv_chars(v.s), gap = width > n ? width - n : 0,
               left = gap / 2 + (gap & width & 1);
    struct jbuild b = {0};
    for (jint i = 0; i < left; i++)
        jb_z(r, &b, " ");
    jb_str(r, &b, v);
    for (jint i = left; i < gap; i++)
        jb_z(r, &b, " ");
    return jb_take(r, &b);
}

static struct jv f_format(struct jrun *r, struct jv v, const struct jargs *a) {
    struct jlist l = {.v = a->v, .n = (size_t)a->n};
    v = jv_to_str(r, v);
    if (a->n && a->n_kw) return jr_fail(r, ERR_FORMAT, "format with values with and without names");
    if (a->n_kw) {
        struct jv d = jv_dict(r);
        for (int i = 0; i < a->n_kw && !r->failed; i++)
            jv_set(r, d.d, jv_text(r, a->kw[i].p, a->kw[i].n, false), a->v[i]);
        return r->failed ? v : jv_percent(r, v, d);
    }
    return r->failed ? v : jv_percent(r, v, (struct jv){.kind = J_TUPLE, .l = &l});
}

static struct jv f_attr(struct jrun *r, struct jv v, const struct jargs *a) {
    if (a->n != 1 || a->v[0].kind != J_STR || v.kind == J_DICT) return jv_undef("attribute");
    return jr_attr(r, v, jv_str(a->v[0]));
}

const struct jentry jinja_filters[] = {
    {"trim", f_trim},
    {"upper", f_upper},
    {"lower", f_lower},
    {"title", f_title},
    {"capitalize", f_capitalize},
    {"replace", f_replace},
    {"string", f_string},
    {"default", f_default},
    {"d", f_default},
    {"length", f_length},
    {"count", f_length},
    {"int", f_int},
    {"float", f_float},
    {"abs", f_abs},
    {"round", f_round},
    {"indent", f_indent},
    {"safe", f_safe},
    {"escape", f_escape},
    {"e", f_escape},
    {"forceescape", jf_escape},
    {"urlencode", f_urlencode},
    {"truncate", f_truncate},
    {"wordcount", jf_wordcount},
    {"center", f_center},
    {"format", f_format},
    {"attr", f_attr},
    {"tojson", jf_tojson},
    {0},
};

struct jv jr_filter(struct jrun *r, struct str name, struct jv v, const struct jargs *a) {
    jcall_fn *fn = jentry_find(jinja_filters, name);
    if (!fn) fn = jentry_find(jinja_list_filters, name);
    if (!fn)
        return jr_fail(r, ERR_FORMAT, "no filter is named %.*s", (int)(name.n > 60 ? 60 : name.n),
                       name.p);
    return fn(r, v, a);
}
