/* Python's two ways to format: "%05.1f" % x and "{:>5}".format(x). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/chat/jinja_priv.h"

enum { MAX_WIDTH = 1000 };

struct spec {
    bool left, plus, space, zero, alt, centre, right;
    char fill, group; /* group: "," or "_" between thousands, or 0 */
    int width, prec;  /* prec < 0: none */
    char type;
};

/* text, after its sign, to the width. */
static void pad(struct jrun *r, struct jbuild *b, const struct spec *s, struct jv text,
                bool number) {
    const int n = (int)(jv_chars(text.s) > MAX_WIDTH ? MAX_WIDTH : jv_chars(text.s));
    const int gap = s->width > n ? s->width - n : 0;
    const bool zeros = s->zero && number && !s->left;
    const size_t sign = zeros && text.s->n && strchr("+- ", text.s->p[0]) ? 1 : 0;
    const int before = s->left ? 0 : s->centre ? gap / 2 : gap;
    jb_sub(r, b, text.s, 0, sign);
    for (int i = 0; i < before && !r->failed; i++)
        jb_put(r, b, zeros ? "0" : &s->fill, 1, false);
    jb_sub(r, b, text.s, sign, text.s->n - sign);
    for (int i = before; i < gap && !r->failed; i++)
        jb_put(r, b, &s->fill, 1, false);
}

static struct jv number_text(struct jrun *r, const struct spec *s, struct jv v) {
    char z[512], digits[160];
    const char *plus = s->plus ? "+" : s->space ? " " : "";
    if (!s->type) {
        snprintf(z, sizeof z, "%s", v.f < 0 ? "" : plus);
        jv_print_float(v.f, z + strlen(z));
    } else if (strchr("diuxXob", s->type)) {
        if (v.kind == J_FLOAT) v = jv_int((jint)(v.f > -1e30 && v.f < 1e30 ? v.f : 0));
        const jint i = jv_whole(v);
        const int base = (s->type | 32) == 'x' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
        jv_print_int(i, base, digits);
        snprintf(z, sizeof z, "%s%s%s", i < 0 ? "-" : plus, s->alt && base == 16 ? "0x" : "",
                 digits + (i < 0));
        for (char *c = z; s->type == 'X' && *c; c++)
            *c = (char)toupper((unsigned char)*c);
    } else {
        const int prec = s->prec < 0 ? 6 : s->prec > 100 ? 100 : s->prec;
        const double x = jv_num(v) * (s->type == '%' ? 100 : 1);
        char fmt[] = {'%', '.', '*', s->type == '%' ? 'f' : s->type, 0};
        char num[480];
        snprintf(num, sizeof num, fmt, prec, x);
        snprintf(z, sizeof z, "%s%.480s%s", num[0] == '-' ? "" : plus, num,
                 s->type == '%' ? "%" : "");
    }
    const size_t n = strlen(z);
    char *p = jr_alloc(r, n + 1, 1);
    if (p) memcpy(p, z, n + 1);
    return jv_text(r, p, n, false);
}

/* "%c": a number or one character. */
static struct jv one_char(struct jrun *r, struct jv v) {
    char *p = jr_alloc(r, 4, 1);
    if (v.kind == J_STR && jv_chars(v.s) == 1) return v;
    if ((v.kind != J_INT && v.kind != J_BOOL) || jv_whole(v) < 0 || jv_whole(v) > 0x10ffff)
        return jr_fail(r, ERR_FORMAT, "format: c needs an int or one character");
    return p ? jv_text(r, p, (size_t)utf8_encode((uint32_t)jv_whole(v), p), false) : v;
}

/* 1,234,567.5 */
static struct jv grouped(struct jrun *r, const struct spec *s, struct jv text) {
    const char *p = text.s->p;
    size_t from = strchr("+- ", p[0]) ? 1 : 0, to = from;
    struct jbuild b = {0};
    while (to < text.s->n && isdigit((unsigned char)p[to]))
        to++;
    jb_sub(r, &b, text.s, 0, from);
    for (size_t i = from; i < to && !r->failed; i++) {
        if (i > from && (to - i) % 3 == 0) jb_put(r, &b, &s->group, 1, false);
        jb_sub(r, &b, text.s, i, 1);
    }
    jb_sub(r, &b, text.s, to, text.s->n - to);
    return jb_take(r, &b);
}

static void format_one(struct jrun *r, struct jbuild *b, const struct spec *s, struct jv v) {
    const bool number = !s->type || strchr("diuxXobeEfFgG%", s->type);
    struct jv text;
    if (number && !jv_is_num(v)) {
        jr_fail(r, ERR_FORMAT, "format: %c needs a number, not a %s", s->type, jv_kind(v));
        return;
    }
    if (s->type && strchr("xXob", s->type) && v.kind == J_FLOAT) {
        jr_fail(r, ERR_FORMAT, "format: %c needs an int, not a float", s->type);
        return;
    }
    if (number) {
        text = number_text(r, s, v);
        if (s->group && !r->failed) text = grouped(r, s, text);
    } else if (s->type == 'c') {
        text = one_char(r, v);
    } else if (s->type == 'r') {
        struct jbuild t = {0};
        jb_repr(r, &t, v);
        text = jb_take(r, &t);
    } else {
        text = jv_to_str(r, v);
    }
    if (!r->failed && !number && s->prec >= 0)
        text = jv_sub(r, text.s, 0, jv_char_at(text.s, (size_t)s->prec));
    if (!r->failed) pad(r, b, s, text, number);
}

static size_t digits(const char *p, size_t n, size_t i, int *out) {
    for (*out = 0; i < n && isdigit((unsigned char)p[i]); i++)
        *out = *out < MAX_WIDTH ? *out * 10 + p[i] - '0' : MAX_WIDTH;
    if (*out > MAX_WIDTH) *out = MAX_WIDTH;
    return i;
}

/* "%-5.2f" from behind the "%": where it ends. */
static size_t percent_spec(const char *p, size_t n, size_t i, struct spec *s) {
    *s = (struct spec){.prec = -1, .fill = ' '};
    for (; i < n && p[i] && strchr("-+ 0#", p[i]); i++) {
        s->left |= p[i] == '-';
        s->plus |= p[i] == '+';
        s->space |= p[i] == ' ';
        s->zero |= p[i] == '0';
        s->alt |= p[i] == '#';
    }
    i = digits(p, n, i, &s->width);
    if (i < n && p[i] == '.') i = digits(p, n, i + 1, &s->prec);
    s->type = i < n ? p[i++] : 0;
    return i;
}

struct jv jv_percent(struct jrun *r, struct jv fmt, struct jv args) {
    const char *p = fmt.s->p;
    const size_t n = fmt.s->n;
    struct jbuild b = {0};
    size_t used = 0;
    for (size_t i = 0, j; i < n && !r->failed; i = j) {
        struct spec s;
        for (j = i; j < n && p[j] != '%';)
            j++;
        jb_sub(r, &b, fmt.s, i, j - i);
        if (j == n) break;
        const char *name = j + 1 < n && p[j + 1] == '(' ? p + j + 2 : NULL,
                   *close = name ? memchr(name, ')', n - j - 2) : NULL;
        j = percent_spec(p, n, close ? (size_t)(close - p) + 1 : j + 1, &s);
        if (s.type == '%') {
            jb_z(r, &b, "%");
            continue;
        }
        const struct jv *v = NULL;
        if (close && args.kind != J_DICT)
            v = NULL;
        else if (close)
            v = jv_get(r, args.d, (struct str){name, (size_t)(close - name)});
        else if (args.kind == J_TUPLE)
            v = used < args.l->n ? &args.l->v[used++] : NULL;
        else
            v = used++ == 0 ? &args : NULL;
        if (!v || !s.type || !strchr("sdiuxXoeEfFgGrc", s.type))
            jr_fail(r, ERR_FORMAT,
                    v ? "format: an unknown conversion" : "format: a value is missing");
        else
            format_one(r, &b, &s, *v);
    }
    if (used < (args.kind == J_TUPLE
                    ? args.l->n
                    : args.kind != J_DICT && args.kind != J_LIST && args.kind != J_UNDEF))
        jr_fail(r, ERR_FORMAT, "format: more values than it shows");
    return jb_take(r, &b);
}

static bool brace_spec(const char *p, size_t n, struct spec *s) {
    size_t i = 0;
    *s = (struct spec){.prec = -1, .fill = ' ', .type = 's'};
    if (n > 1 && strchr("<>^", p[1]) && p[1]) s->fill = p[i++];
    if (i < n && p[i] && strchr("<>^", p[i])) {
        s->left = p[i] == '<';
        s->right = p[i] == '>';
        s->centre = p[i++] == '^';
    }
    if (i < n && (p[i] == '+' || p[i] == ' ' || p[i] == '-')) {
        s->plus = p[i] == '+';
        s->space = p[i++] == ' ';
    }
    if (i < n && p[i] == '#') s->alt = i++ < n;
    if (i < n && p[i] == '0') s->zero = i++ < n;
    i = digits(p, n, i, &s->width);
    if (i < n && (p[i] == ',' || p[i] == '_')) s->group = p[i++];
    if (i < n && p[i] == '.') i = digits(p, n, i + 1, &s->prec);
    s->type = i < n ? p[i++] : 0;
    return i == n;
}

/* ".name" and "[key]" behind a field's name; how many bytes. */
static size_t brace_path(struct jrun *r, const char *p, size_t n, struct jv *v) {
    size_t i = 0, end;
    while (i < n && (p[i] == '.' || p[i] == '[') && !r->failed) {
        const bool item = p[i++] == '[';
        for (end = i; end < n && (item ? p[end] != ']' : !strchr(".[!:", p[end]));)
            end++;
        int k = 0;
        const bool whole = item && end > i && end - i < 9 && digits(p, end, i, &k) == end;
        const struct str name = {p + i, end - i};
        *v = whole  ? jr_item(r, *v, jv_int(k))
             : item ? jr_item(r, *v, jv_text(r, name.p, name.n, false))
                    : jr_attr(r, *v, name);
        i = end + (item && end < n);
    }
    return i;
}

/* The type that a value has without one, or an error. */
static void brace_type(struct jrun *r, struct spec *s, struct jv *v, bool given) {
    if (v->kind == J_BOOL && given) *v = jv_int(v->b);
    const bool number = v->kind == J_INT || v->kind == J_FLOAT;
    if (!number && v->kind != J_STR && given) {
        jr_fail(r, ERR_FORMAT, "format: a %s has no widths or types", jv_kind(*v));
    } else if (!number) {
        if ((s->type && s->type != 's') || (v->kind == J_STR && (s->plus || s->space || s->group)))
            jr_fail(r, ERR_FORMAT, "format: not for a %s", jv_kind(*v));
        s->type = 's';
    } else if (!s->type) {
        s->type = v->kind == J_INT ? 'd' : s->prec >= 0 ? 'g' : 0;
    } else if (!strchr(v->kind == J_INT ? "dxXobeEfFgG%c" : "eEfFgG%", s->type)) {
        jr_fail(r, ERR_FORMAT, "format: not for a %s", jv_kind(*v));
    }
}

/* "{0.name!r:>5}" without its braces. */
static void brace_field(struct jrun *r, struct jbuild *b, const char *p, size_t n,
                        const struct jargs *a, int *next) {
    size_t k = 0, colon = 0;
    while (k < n && (isalnum((unsigned char)p[k]) || p[k] == '_'))
        k++;
    const struct str name = {p, k};
    struct jv v = jv_undef(NULL);
    const struct jv *found = NULL;
    int i = 0;
    if (k == 0) i = (*next)++;
    const bool number = k == 0 || digits(p, k, 0, &i) == k;
    found = number ? ja_get(a, i, NULL) : NULL;
    for (int q = 0; !number && q < a->n_kw; q++)
        if (str_eq(a->kw[q], name)) found = &a->v[a->n + q];
    if (!found) {
        jr_fail(r, ERR_FORMAT, "format: a value is missing");
        return;
    }
    v = *found;
    k += brace_path(r, p + k, n - k, &v);
    if (r->failed) return;
    const bool repr = k + 1 < n && p[k] == '!' && p[k + 1] == 'r';
    colon = k + (k < n && p[k] == '!' ? 2 : 0);
    struct spec s = {.prec = -1, .fill = ' ', .type = 0};
    if (colon < n && p[colon] != ':')
        jr_fail(r, ERR_FORMAT, "format: a field that is not understood");
    else if (colon < n && !brace_spec(p + colon + 1, n - colon - 1, &s))
        jr_fail(r, ERR_FORMAT, "format: an unknown conversion");
    if (repr && !r->failed) {
        struct jbuild t = {0};
        jb_repr(r, &t, v);
        v = jb_take(r, &t);
    }
    if (!r->failed) brace_type(r, &s, &v, colon + 1 < n);
    if (s.type == 's' && !s.right && !s.centre) s.left = true;
    if (!r->failed) format_one(r, b, &s, v);
}

struct jv jm_format(struct jrun *r, struct jv self, const struct jargs *a) {
    const char *p = self.s->p;
    const size_t n = self.s->n;
    struct jbuild b = {0};
    int next = 0;
    for (size_t i = 0; i < n && !r->failed;) {
        if ((p[i] == '{' || p[i] == '}') && i + 1 < n && p[i + 1] == p[i]) {
            jb_sub(r, &b, self.s, i, 1);
            i += 2;
        } else if (p[i] == '{') {
            const char *close = memchr(p + i, '}', n - i);
            if (!close) return jb_fini(r, &b), jr_fail(r, ERR_FORMAT, "format: { without }");
            brace_field(r, &b, p + i + 1, (size_t)(close - p) - i - 1, a, &next);
            i = (size_t)(close - p) + 1;
        } else {
            jb_sub(r, &b, self.s, i++, 1);
        }
    }
    return jb_take(r, &b);
}
