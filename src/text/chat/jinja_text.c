/* Values to text: builders that keep the marks of quoted text, Python's str() and repr(), and
 * json.dumps(). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/chat/jinja_priv.h"

void jb_put(struct jrun *r, struct jbuild *b, const char *p, size_t n, bool quoted) {
    if (n == 0 || !jr_step(r, n)) return;
    if (n > r->o.max_out || b->text.n + n > r->o.max_out) {
        jr_fail(r, ERR_LIMIT, "more than the %zu KiB of text that a template may write",
                r->o.max_out >> 10);
        return;
    }
    if (r->arena.used_bytes + r->live_bytes + 2 * n > r->o.max_mem) {
        jr_fail(r, ERR_LIMIT, "more than the %zu MiB of memory that a template may take",
                r->o.max_mem >> 20);
        return;
    }
    r->live_bytes += 2 * n;
    buf_append(&b->text, p, n);
    char *m = buf_room(&b->mark, n);
    if (m) {
        memset(m, quoted, n);
        b->mark.n += n;
    }
    if (!m || b->text.failed) jr_fail(r, ERR_NOMEM, "out of memory");
}

void jb_z(struct jrun *r, struct jbuild *b, const char *z) {
    jb_put(r, b, z, strlen(z), false);
}

void jb_sub(struct jrun *r, struct jbuild *b, const struct jstr *s, size_t at, size_t n) {
    if (!s->mark) {
        jb_put(r, b, s->p + at, n, s->quoted);
        return;
    }
    for (size_t i = at, j; i < at + n && !r->failed; i = j) {
        for (j = i + 1; j < at + n && s->mark[j] == s->mark[i];)
            j++;
        jb_put(r, b, s->p + i, j - i, s->mark[i]);
    }
}

void jb_fini(struct jrun *r, struct jbuild *b) {
    r->live_bytes -= 2 * b->text.n < r->live_bytes ? 2 * b->text.n : r->live_bytes;
    buf_fini(&b->text);
    buf_fini(&b->mark);
}

struct jv jb_take(struct jrun *r, struct jbuild *b) {
    const size_t n = b->text.n;
    bool mixed = false;
    for (size_t i = 1; i < n && !mixed; i++)
        mixed = b->mark.p[i] != b->mark.p[0];
    char *p = jr_alloc(r, n + 1, 1);
    unsigned char *mark = mixed ? jr_alloc(r, n, 1) : NULL;
    struct jv v = jv_text(r, p, n, n && b->mark.p[0]);
    if (!r->failed) {
        if (n) memcpy(p, b->text.p, n);
        if (mixed) memcpy(mark, b->mark.p, n);
        ((struct jstr *)v.s)->mark = mark;
    }
    jb_fini(r, b);
    return r->failed ? jv_undef(NULL) : v;
}

struct jv jv_to_str(struct jrun *r, struct jv v) {
    if (v.kind == J_STR) return v;
    struct jbuild b = {0};
    jb_str(r, &b, v);
    return jb_take(r, &b);
}

size_t jv_print_int(jint i, int base, char out[160]) {
    char tmp[160];
    size_t n = 0, k = 0;
    unsigned __int128 u = i < 0 ? -(unsigned __int128)i : (unsigned __int128)i;
    do {
        tmp[n++] = "0123456789abcdef"[(int)(u % (unsigned)base)];
        u /= (unsigned)base;
    } while (u);
    if (i < 0) out[k++] = '-';
    while (n)
        out[k++] = tmp[--n];
    out[k] = 0;
    return k;
}

/* Python's repr(): the shortest digits that read back; 1e16 and 1e-05 have exponents. */
void jv_print_float(double f, char out[32]) {
    if (isnan(f) || isinf(f)) {
        snprintf(out, 32, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    int prec = 1;
    do
        snprintf(out, 32, "%.*e", prec - 1, f);
    while (strtod(out, NULL) != f && ++prec <= 17);
    const int exp10 = f == 0 ? 0 : atoi(strchr(out, 'e') + 1);
    if (exp10 >= 16 || exp10 < -4) return;
    const int decimals = prec - 1 - exp10;
    snprintf(out, 32, "%.*f", decimals > 1 ? decimals : 1, f);
}

size_t jv_char_at(const struct jstr *s, size_t i) {
    size_t p = 0;
    for (uint32_t cp; i > 0 && p < s->n; i--)
        p += (size_t)utf8_decode(s->p + p, s->n - p, &cp);
    return p;
}

size_t jv_chars(const struct jstr *s) {
    size_t n = 0;
    uint32_t cp;
    for (size_t p = 0; p < s->n; n++)
        p += (size_t)utf8_decode(s->p + p, s->n - p, &cp);
    return n;
}

static bool printable(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return cp == ' ';
    default: return true;
    }
}

static bool quoted_at(const struct jstr *s, size_t i) {
    return s->mark ? s->mark[i] : s->quoted;
}

static size_t repr_escape(uint32_t cp, char quote, char out[16]) {
    const char *k = cp == '\n'   ? "\\n"
                    : cp == '\r' ? "\\r"
                    : cp == '\t' ? "\\t"
                    : cp == '\\' ? "\\\\"
                                 : NULL;
    if (k) return (size_t)snprintf(out, 16, "%s", k);
    if (cp == (uint32_t)quote) return (size_t)snprintf(out, 16, "\\%c", quote);
    if (printable(cp)) return 0;
    return (size_t)snprintf(out, 16,
                            cp < 0x100     ? "\\x%02x"
                            : cp < 0x10000 ? "\\u%04x"
                                           : "\\U%08x",
                            cp);
}

static void repr_str(struct jrun *r, struct jbuild *b, const struct jstr *s) {
    const bool single = s->n && memchr(s->p, '\'', s->n);
    const char quote = single && !memchr(s->p, '"', s->n) ? '"' : '\'';
    size_t from = 0, n;
    jb_put(r, b, &quote, 1, false);
    for (size_t i = 0; i < s->n && !r->failed; i += n) {
        uint32_t cp;
        char esc[16];
        n = (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        const size_t k = repr_escape(cp, quote, esc);
        if (!k) continue;
        jb_sub(r, b, s, from, i - from);
        jb_put(r, b, esc, k, quoted_at(s, i));
        from = i + n;
    }
    jb_sub(r, b, s, from, s->n - from);
    jb_put(r, b, &quote, 1, false);
}

static void repr_list(struct jrun *r, struct jbuild *b, const struct jlist *l, const char *ends) {
    jb_put(r, b, ends, 1, false);
    for (size_t i = 0; i < l->n && !r->failed; i++) {
        if (i) jb_z(r, b, ", ");
        jb_repr(r, b, l->v[i]);
    }
    if (*ends == '(' && l->n == 1) jb_z(r, b, ",");
    jb_put(r, b, ends + 1, 1, false);
}

static void repr_dict(struct jrun *r, struct jbuild *b, const struct jdict *d) {
    jb_z(r, b, "{");
    for (size_t i = 0; i < d->n && !r->failed; i++) {
        if (i) jb_z(r, b, ", ");
        jb_repr(r, b, d->k[i]);
        jb_z(r, b, ": ");
        jb_repr(r, b, d->v[i]);
    }
    jb_z(r, b, "}");
}

static bool enter(struct jrun *r) {
    if (++r->depth > 400) jr_fail(r, ERR_LIMIT, "values nested too deep");
    return jr_step(r, 0);
}

void jb_repr(struct jrun *r, struct jbuild *b, struct jv v) {
    char z[160];
    if (enter(r)) switch (v.kind) {
        case J_UNDEF: jb_z(r, b, "Undefined"); break;
        case J_NONE: jb_z(r, b, "None"); break;
        case J_BOOL: jb_z(r, b, v.b ? "True" : "False"); break;
        case J_INT: jb_put(r, b, z, jv_print_int(v.i, 10, z), false); break;
        case J_FLOAT:
            jv_print_float(v.f, z);
            jb_z(r, b, z);
            break;
        case J_STR: repr_str(r, b, v.s); break;
        case J_LIST: repr_list(r, b, v.l, "[]"); break;
        case J_TUPLE: repr_list(r, b, v.l, "()"); break;
        case J_DICT: repr_dict(r, b, v.d); break;
        case J_SPACE: jb_z(r, b, "<namespace>"); break;
        case J_FUNC: jb_z(r, b, "<function>"); break;
        case J_MACRO: jb_z(r, b, "<macro>"); break;
        }
    r->depth--;
}

void jb_str(struct jrun *r, struct jbuild *b, struct jv v) {
    if (v.kind == J_STR)
        jb_sub(r, b, v.s, 0, v.s->n);
    else if (v.kind != J_UNDEF)
        jb_repr(r, b, v);
}

struct dump {
    struct jv indent; /* J_STR, or none: one line */
    struct jv item, key;
    bool ascii, sorted;
};

static void json_str(struct jrun *r, struct jbuild *b, const struct jstr *s, bool ascii) {
    size_t from = 0, n;
    jb_z(r, b, "\"");
    for (size_t i = 0; i < s->n && !r->failed; i += n) {
        uint32_t cp;
        char esc[16];
        n = (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        static const char from_c[] = "\"\\\n\r\t\b\f", to_c[] = "\"\\nrtbf";
        const char *k = cp && cp < 128 ? memchr(from_c, (int)cp, sizeof from_c - 1) : NULL;
        if (!k && cp >= 0x20 && !(ascii && cp >= 0x7f)) continue;
        jb_sub(r, b, s, from, i - from);
        if (k)
            snprintf(esc, sizeof esc, "\\%c", to_c[k - from_c]);
        else if (cp < 0x10000)
            snprintf(esc, sizeof esc, "\\u%04x", cp);
        else
            snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                     0xdc00 + (cp & 0x3ff));
        jb_put(r, b, esc, strlen(esc), quoted_at(s, i));
        from = i + n;
    }
    jb_sub(r, b, s, from, s->n - from);
    jb_z(r, b, "\"");
}

static void newline(struct jrun *r, struct jbuild *b, const struct dump *d, int level) {
    if (d->indent.kind != J_STR) return;
    jb_z(r, b, "\n");
    for (int i = 0; i < level && !r->failed; i++)
        jb_str(r, b, d->indent);
}

static void dump_value(struct jrun *r, struct jbuild *b, const struct dump *d, struct jv v,
                       int level);

static void dump_key(struct jrun *r, struct jbuild *b, const struct dump *d, struct jv k) {
    if (k.kind == J_STR) {
        json_str(r, b, k.s, d->ascii);
        return;
    }
    jb_z(r, b, "\"");
    if (k.kind == J_NONE || jv_is_num(k))
        dump_value(r, b, d, k, 0);
    else
        jr_fail(r, ERR_FORMAT, "JSON has no keys that are a %s", jv_kind(k));
    jb_z(r, b, "\"");
}

static void dump_dict(struct jrun *r, struct jbuild *b, const struct dump *d, const struct jdict *x,
                      int level) {
    size_t *order = jr_alloc(r, x->n + 1, sizeof *order);
    for (size_t i = 0; order && i < x->n;
         i++) { /* insertion: sort_keys is rare, objects are small */
        size_t j = i;
        for (; d->sorted && j > 0 && jv_compare(r, x->k[order[j - 1]], x->k[i]) > 0; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    jb_z(r, b, "{");
    for (size_t i = 0; i < x->n && !r->failed; i++) {
        if (i) jb_str(r, b, d->item);
        newline(r, b, d, level + 1);
        dump_key(r, b, d, x->k[order[i]]);
        jb_str(r, b, d->key);
        dump_value(r, b, d, x->v[order[i]], level + 1);
    }
    if (x->n) newline(r, b, d, level);
    jb_z(r, b, "}");
}

static void dump_list(struct jrun *r, struct jbuild *b, const struct dump *d, const struct jlist *l,
                      int level) {
    if (l->lazy) jr_fail(r, ERR_FORMAT, "tojson: JSON has no generator; \"| list\" makes a list");
    jb_z(r, b, "[");
    for (size_t i = 0; i < l->n && !r->failed; i++) {
        if (i) jb_str(r, b, d->item);
        newline(r, b, d, level + 1);
        dump_value(r, b, d, l->v[i], level + 1);
    }
    if (l->n) newline(r, b, d, level);
    jb_z(r, b, "]");
}

static void dump_value(struct jrun *r, struct jbuild *b, const struct dump *d, struct jv v,
                       int level) {
    if (enter(r)) switch (v.kind) {
        case J_NONE: jb_z(r, b, "null"); break;
        case J_BOOL: jb_z(r, b, v.b ? "true" : "false"); break;
        case J_FLOAT:
            if (isfinite(v.f))
                jb_repr(r, b, v);
            else
                jb_z(r, b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
            break;
        case J_INT: jb_repr(r, b, v); break;
        case J_STR: json_str(r, b, v.s, d->ascii); break;
        case J_LIST:
        case J_TUPLE: dump_list(r, b, d, v.l, level); break;
        case J_DICT: dump_dict(r, b, d, v.d, level); break;
        default: jr_fail(r, ERR_FORMAT, "tojson: JSON has no %s", jv_kind(v)); break;
        }
    r->depth--;
}

/* tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False) */
struct jv jf_tojson(struct jrun *r, struct jv self, const struct jargs *a) {
    struct dump d = {.indent = jv_none(),
                     .ascii = ja_flag(a, 0, "ensure_ascii", false),
                     .sorted = ja_flag(a, 3, "sort_keys", false)};
    const struct jv *indent = ja_get(a, 1, "indent"), *sep = ja_get(a, 2, "separators");
    if (indent && indent->kind == J_UNDEF && self.kind >= J_LIST)
        return jr_fail(r, ERR_FORMAT, "tojson: the indent is undefined");
    if (indent && jv_is_num(*indent)) {
        struct jbuild b = {0};
        for (jint i = jv_whole(*indent); i > 0 && !r->failed; i--)
            jb_z(r, &b, " ");
        d.indent = jb_take(r, &b);
    } else if (indent && indent->kind == J_STR) {
        d.indent = *indent;
    }
    d.item = jv_z(r, d.indent.kind == J_STR ? "," : ", ");
    d.key = jv_z(r, ": ");
    if (sep && (sep->kind == J_LIST || sep->kind == J_TUPLE) && sep->l->n == 2) {
        d.item = sep->l->v[0];
        d.key = sep->l->v[1];
    }
    struct jbuild b = {0};
    dump_value(r, &b, &d, self, 0);
    return jb_take(r, &b);
}
