/* fmt.Sprintf: flags, width, precision and verbs as Go has them, its complaints included
 * ("%!d(string=x)"). */
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/chat/gotmpl_priv.h"

static bool one_of(const char *set, char c) {
    return c && strchr(set, c);
}

static size_t count_runes(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; n++) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
    }
    return n;
}

/* The text to its width.  Zeros go behind a sign, for numbers. */
static void pad(const struct gt_verb *f, struct str s, bool number, struct buf *out) {
    const size_t have = count_runes(s);
    const size_t fill = f->width > 0 && (size_t)f->width > have ? (size_t)f->width - have : 0;
    const bool zero = f->zero && !f->minus;
    if (zero && number && s.n && (s.p[0] == '-' || s.p[0] == '+')) {
        buf_byte(out, s.p[0]);
        s = (struct str){s.p + 1, s.n - 1};
    }
    for (size_t i = 0; !f->minus && i < fill; i++)
        buf_byte(out, zero ? '0' : ' ');
    buf_append(out, s.p, s.n);
    for (size_t i = 0; f->minus && i < fill; i++)
        buf_byte(out, ' ');
}

/* "%!d(string=x)": the value as %v, in the width that was given. */
static int bad_verb(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v,
                    struct buf *out) {
    buf_printf(out, "%%!%c(", f->c);
    if (v->kind == GV_NIL)
        buf_str(out, "<nil>");
    else {
        struct gt_verb shown = *f;
        shown.c = 'v';
        buf_printf(out, "%s=", gt_type_name(v));
        if (gt_format(r, &shown, v, out) != 0) return -1;
    }
    buf_byte(out, ')');
    return 0;
}

static void format_int(const struct gt_verb *f, int64_t i, struct buf *out) {
    static const char digit[] = "0123456789abcdef", capital[] = "0123456789ABCDEF";
    const unsigned base = f->c == 'x' || f->c == 'X'   ? 16
                          : f->c == 'o' || f->c == 'O' ? 8
                          : f->c == 'b'                ? 2
                                                       : 10;
    char text[160], *p = text + sizeof text;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    int n = 0;
    for (; u || n == 0 || (n < f->prec && n < 64); u /= base, n++)
        *--p = (f->c == 'X' ? capital : digit)[u % base];
    if ((f->sharp && base == 16) || f->c == 'O') {
        *--p = base == 8 ? 'o' : f->c;
        *--p = '0';
    }
    if (i < 0 || f->plus || f->space) *--p = i < 0 ? '-' : f->plus ? '+' : ' ';
    pad(f, (struct str){p, (size_t)(text + sizeof text - p)}, true, out);
}

static void format_rune(const struct gt_verb *f, int64_t i, struct buf *out) {
    char c[4];
    struct buf b = {0};
    const bool valid = i >= 0 && i <= 0x10ffff;
    const struct str s = {c, (size_t)utf8_encode(valid ? (uint32_t)i : UTF8_BAD, c)};
    if (f->c == 'c')
        buf_append(&b, s.p, s.n);
    else if (f->c == 'q')
        gt_quote(s, '\'', f->plus, &b);
    else
        buf_printf(&b, "U+%04llX", (unsigned long long)i);
    pad(f, buf_view(&b), false, out);
    buf_fini(&b);
}

static void format_float(const struct gt_verb *f, double x, struct buf *out) {
    struct buf b = {0};
    const char verb = f->c == 'v' ? 'g' : f->c == 'F' ? 'f' : f->c;
    const bool general = verb == 'g' || verb == 'G';
    if ((f->plus || f->space) && !signbit(x) && !isinf(x)) buf_byte(&b, f->plus ? '+' : ' ');
    gt_float(x, verb, f->prec >= 0 || general ? f->prec : 6, &b);
    pad(f, buf_view(&b), isfinite(x), out);
    buf_fini(&b);
}

static void format_text(const struct gt_verb *f, struct str s, struct buf *out) {
    struct buf b = {0};
    if (f->prec >= 0) { /* so many runes */
        size_t n = 0;
        for (int i = 0; i < f->prec && n < s.n; i++) {
            uint32_t cp;
            n += (size_t)utf8_decode(s.p + n, s.n - n, &cp);
        }
        s.n = n;
    }
    if (f->c == 'q')
        gt_quote(s, '"', f->plus, &b);
    else if (f->c == 'x' || f->c == 'X')
        for (size_t i = 0; i < s.n; i++)
            buf_printf(&b, f->c == 'x' ? "%02x" : "%02X", (unsigned char)s.p[i]);
    else if (f->sharp && f->c == 'v')
        gt_quote(s, '"', false, &b);
    else
        buf_append(&b, s.p, s.n);
    pad(f, buf_view(&b), false, out);
    out->failed |= b.failed;
    buf_fini(&b);
}

static int format_list(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v,
                       struct buf *out) {
    buf_byte(out, '[');
    for (size_t i = 0; i < gt_len(v); i++) {
        const struct gt_val x = gt_item(v, i);
        if (i > 0) buf_byte(out, ' ');
        if (gt_format(r, f, &x, out) != 0) return -1;
    }
    buf_byte(out, ']');
    return 0;
}

static int format_map(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v,
                      struct buf *out) {
    size_t n;
    const struct str *key = gt_map_keys(r, v, &n);
    if (!key) return -1;
    buf_str(out, "map[");
    for (size_t i = 0; i < n; i++) {
        const struct gt_val x = gt_map_get(v, key[i]);
        if (i > 0) buf_byte(out, ' ');
        format_text(f, key[i], out);
        buf_byte(out, ':');
        if (gt_format(r, f, &x, out) != 0) return -1;
    }
    buf_byte(out, ']');
    return 0;
}

static int format_struct(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v,
                         struct buf *out) {
    struct gt_member m;
    bool first = true;
    buf_byte(out, '{');
    for (int i = 0; gt_struct_member(v, i, &m); i++) {
        if (!m.shown) continue;
        if (!first) buf_byte(out, ' ');
        if (f->plus && f->c == 'v') buf_printf(out, "%s:", m.json);
        first = false;
        if (gt_format(r, f, &m.v, out) != 0) return -1;
    }
    buf_byte(out, '}');
    return 0;
}

static int format_json(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v,
                       struct buf *out) {
    struct buf b = {0};
    const int rc = gt_json(r, v, &b);
    if (rc == 0) format_text(f, buf_view(&b), out);
    buf_fini(&b);
    return rc;
}

int gt_format(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v, struct buf *out) {
    static const char *const verbs[] = {
        [GV_BOOL] = "vt", [GV_INT] = "vdboOxXcqU", [GV_FLOAT] = "veEfFgG", [GV_STR] = "vsxXq"};
    if (out->n > GT_MAX_TEMP)
        return gt_refuse_limit(r, "it makes strings of more than", GT_MAX_TEMP, "bytes");
    if (f->c == 'T') {
        format_text(f, str_of(v->kind == GV_NIL ? "<nil>" : gt_type_name(v)), out);
        return 0;
    }
    if (gt_speaks_json(v) && one_of("vsxXq", f->c)) return format_json(r, f, v, out);
    if (v->kind == GV_LIST) return format_list(r, f, v, out);
    if (v->kind == GV_MAP) return format_map(r, f, v, out);
    if (v->kind == GV_STRUCT) return format_struct(r, f, v, out);
    if (v->kind == GV_NIL && f->c == 'v') {
        pad(f, STR("<nil>"), false, out);
        return 0;
    }
    if (v->kind == GV_NIL || !one_of(verbs[v->kind], f->c)) return bad_verb(r, f, v, out);
    if (v->kind == GV_BOOL) pad(f, v->b ? STR("true") : STR("false"), false, out);
    if (v->kind == GV_INT && one_of("cqU", f->c)) format_rune(f, v->i, out);
    if (v->kind == GV_INT && !one_of("cqU", f->c)) {
        struct gt_verb plain = *f;
        if (f->c == 'v') plain.plus = false; /* there it asks for the names of fields */
        format_int(&plain, v->i, out);
    }
    if (v->kind == GV_FLOAT) format_float(f, v->f, out);
    if (v->kind == GV_STR) format_text(f, v->s, out);
    return 0;
}

struct spec {
    struct str text;
    size_t at;
    const struct gt_val *arg;
    int n, used;
};

/* Digits or "*"; -1 when there are none. */
static int read_size(struct gt_run *r, struct spec *s, int *out) {
    *out = -1;
    if (s->at < s->text.n && s->text.p[s->at] == '*') {
        s->at++;
        const struct gt_val *v = s->used < s->n ? &s->arg[s->used++] : NULL;
        if (!v || v->kind != GV_INT || v->i < -GT_MAX_WIDTH || v->i > GT_MAX_WIDTH)
            return gt_refuse(r, "printf: a bad width or precision for \"*\"");
        *out = (int)v->i;
        return 0;
    }
    for (; s->at < s->text.n && s->text.p[s->at] >= '0' && s->text.p[s->at] <= '9'; s->at++) {
        *out = (*out < 0 ? 0 : *out * 10) + (s->text.p[s->at] - '0');
        if (*out > GT_MAX_WIDTH)
            return gt_refuse_limit(r, "printf: a width or precision over", GT_MAX_WIDTH, "");
    }
    return 0;
}

static void read_flags(struct spec *s, struct gt_verb *f) {
    for (; s->at < s->text.n; s->at++) {
        switch (s->text.p[s->at]) {
        case '+': f->plus = true; break;
        case '-': f->minus = true; break;
        case '#': f->sharp = true; break;
        case ' ': f->space = true; break;
        case '0': f->zero = true; break;
        default: return;
        }
    }
}

/* Behind a '%'. */
static int format_one(struct gt_run *r, struct spec *s, struct buf *out) {
    struct gt_verb f = {.width = -1, .prec = -1};
    read_flags(s, &f);
    if (read_size(r, s, &f.width) != 0) return -1;
    if (f.width < -1) {
        f.minus = true;
        f.width = -f.width;
    }
    if (s->at < s->text.n && s->text.p[s->at] == '.') {
        s->at++;
        if (read_size(r, s, &f.prec) != 0) return -1;
        if (f.prec < 0) f.prec = 0;
    }
    if (s->at >= s->text.n) {
        buf_str(out, "%!(NOVERB)");
        return 0;
    }
    f.c = s->text.p[s->at++];
    if (f.c == '[') return gt_refuse(r, "printf: argument indexes (%%[n]) are not supported");
    if (f.c == '%') {
        buf_byte(out, '%');
        return 0;
    }
    if (s->used >= s->n) {
        buf_printf(out, "%%!%c(MISSING)", f.c);
        return 0;
    }
    return gt_format(r, &f, &s->arg[s->used++], out);
}

int gt_sprintf(struct gt_run *r, const struct gt_val *arg, int n, struct buf *out) {
    struct spec s = {.text = arg[0].s, .arg = arg + 1, .n = n - 1};
    while (s.at < s.text.n) {
        const char *from = s.text.p + s.at;
        const char *percent = memchr(from, '%', s.text.n - s.at);
        const size_t n_plain = percent ? (size_t)(percent - from) : s.text.n - s.at;
        buf_append(out, from, n_plain);
        s.at += n_plain + (percent != NULL);
        if (percent && format_one(r, &s, out) != 0) return -1;
    }
    for (int i = s.used; i < s.n; i++) {
        buf_str(out, i == s.used ? "%!(EXTRA " : ", ");
        if (s.arg[i].kind != GV_NIL) buf_printf(out, "%s=", gt_type_name(&s.arg[i]));
        if (gt_show(r, &s.arg[i], out) != 0) return -1;
    }
    if (s.used < s.n) buf_byte(out, ')');
    return 0;
}
