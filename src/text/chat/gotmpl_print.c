/* How Go prints values: fmt's %v, Sprint and Sprintln, strconv's floats and quotes, json.Marshal.
 */
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/chat/gotmpl_priv.h"

/* ---- Floats ------------------------------------------------------------------------------------
 */

/* The fewest digits that read back as f > 0: 0.d1d2... * 10^*point.  Returns how many. */
static int shortest(double f, char digit[18], int *point) {
    char text[40];
    int prec = 0;
    do
        snprintf(text, sizeof text, "%.*e", prec, f);
    while (strtod(text, NULL) != f && ++prec < 17);
    int n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p != '.' && n < 17) digit[n++] = *p;
    *point = (int)strtol(p + 1, NULL, 10) + 1;
    while (n > 1 && digit[n - 1] == '0')
        n--;
    return n;
}

static void append_exponent(const char *digit, int n, int point, struct buf *out) {
    buf_byte(out, digit[0]);
    if (n > 1) buf_byte(out, '.');
    buf_append(out, digit + 1, (size_t)n - 1);
    buf_printf(out, "e%c%02d", point - 1 < 0 ? '-' : '+', abs(point - 1));
}

static void append_positional(const char *digit, int n, int point, struct buf *out) {
    if (point <= 0) buf_str(out, "0.");
    for (int i = point; i < 0; i++)
        buf_byte(out, '0');
    for (int i = 0; i < n || i < point; i++) {
        if (i == point && i > 0) buf_byte(out, '.');
        buf_byte(out, i < n ? digit[i] : '0');
    }
}

void gt_float(double f, char verb, int prec, struct buf *out) {
    char digit[18], form[] = "%.*f";
    int point;
    if (isnan(f) || isinf(f)) {
        buf_str(out, isnan(f) ? "NaN" : f < 0 ? "-Inf" : "+Inf");
        return;
    }
    if (prec >= 0) {
        char text[GT_MAX_WIDTH + 400];
        form[3] = verb;
        snprintf(text, sizeof text, form, prec, f);
        buf_str(out, text);
        return;
    }
    if (signbit(f)) buf_byte(out, '-');
    if (f == 0) {
        buf_byte(out, '0');
        return;
    }
    const int n = shortest(fabs(f), digit, &point);
    const bool general = verb == 'g' || verb == 'G';
    /* strconv decides as for a precision of 6, however many digits there are: 1e+06. */
    const bool large = general && (point - 1 < -4 || point - 1 >= 6);
    if (verb == 'e' || large)
        append_exponent(digit, n, point, out);
    else
        append_positional(digit, n, point, out);
}

/* ---- Quotes ------------------------------------------------------------------------------------
 */

static void quote_rune(uint32_t cp, const char *p, int n, char q, bool ascii, struct buf *out) {
    static const char from[] = "\a\b\f\n\r\t\v\\", to[] = "abfnrtv\\";
    const char *hit = cp && cp < 128 ? strchr(from, (int)cp) : NULL;
    if (hit || cp == (uint32_t)q) {
        buf_byte(out, '\\');
        buf_byte(out, hit ? to[hit - from] : q);
    } else if (utf8_printable(p, (size_t)n) > 0 && !(ascii && cp > 126))
        buf_append(out, p, (size_t)n);
    else if (cp < 128)
        buf_printf(out, "\\x%02x", cp);
    else
        buf_printf(out, cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
}

void gt_quote(struct str s, char q, bool ascii, struct buf *out) {
    buf_byte(out, q);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        const int n = utf8_decode_strict(s.p + i, s.n - i, &cp);
        if (n < 0)
            buf_printf(out, "\\x%02x", (unsigned char)s.p[i]);
        else
            quote_rune(cp, s.p + i, n, q, ascii, out);
        i += n < 0 ? 1 : (size_t)n;
    }
    buf_byte(out, q);
}

/* ---- json.Marshal ------------------------------------------------------------------------------
 */

static void json_text(struct str s, struct buf *out) {
    buf_byte(out, '"');
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        const int n = utf8_decode_strict(s.p + i, s.n - i, &cp);
        if (n < 0)
            buf_str(out, "\\ufffd");
        else if (cp == '"' || cp == '\\')
            buf_printf(out, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            buf_str(out, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        else if (cp < 32 || cp == '<' || cp == '>' || cp == '&' || cp == 0x2028 || cp == 0x2029)
            buf_printf(out, "\\u%04x", cp);
        else
            buf_append(out, s.p + i, (size_t)n);
        i += n < 0 ? 1 : (size_t)n;
    }
    buf_byte(out, '"');
}

static int json_float(struct gt_run *r, double f, struct buf *out) {
    const double size = fabs(f);
    const size_t from = out->n;
    if (!isfinite(f)) return gt_refuse(r, "json: a number that is not finite");
    const bool large = f != 0 && (size < 1e-6 || size >= 1e21);
    gt_float(f, large ? 'e' : 'f', -1, out);
    /* e-09 is e-9 in JSON. */
    if (large && !out->failed && out->n - from > 4 && out->p[out->n - 2] == '0') {
        out->p[out->n - 2] = out->p[out->n - 1];
        out->n--;
    }
    return 0;
}

static int json_map(struct gt_run *r, const struct gt_val *v, struct buf *out) {
    size_t n;
    const struct str *key = gt_map_keys(r, v, &n);
    if (!key) return -1;
    buf_byte(out, '{');
    for (size_t i = 0; i < n; i++) {
        const struct gt_val x = gt_map_get(v, key[i]);
        if (i > 0) buf_byte(out, ',');
        json_text(key[i], out);
        buf_byte(out, ':');
        if (gt_json(r, &x, out) != 0) return -1;
    }
    buf_byte(out, '}');
    return 0;
}

static int json_struct(struct gt_run *r, const struct gt_val *v, struct buf *out) {
    struct gt_member m;
    bool first = true;
    buf_byte(out, '{');
    for (int i = 0; gt_struct_member(v, i, &m); i++) {
        if (!m.filled) continue;
        if (!first) buf_byte(out, ',');
        first = false;
        json_text(str_of(m.json), out);
        buf_byte(out, ':');
        if (gt_json(r, &m.v, out) != 0) return -1;
    }
    buf_byte(out, '}');
    return 0;
}

static int check_size(struct gt_run *r, const struct buf *out) {
    if (out->n <= GT_MAX_TEMP) return 0;
    return gt_refuse_limit(r, "it makes strings of more than", GT_MAX_TEMP, "bytes");
}

int gt_json(struct gt_run *r, const struct gt_val *v, struct buf *out) {
    if (check_size(r, out) != 0) return -1;
    if ((v->kind == GV_LIST || v->kind == GV_MAP) && !v->j) {
        buf_str(out, "null");
        return 0;
    }
    switch (v->kind) {
    case GV_NIL: buf_str(out, "null"); return 0;
    case GV_BOOL: buf_str(out, v->b ? "true" : "false"); return 0;
    case GV_INT: buf_printf(out, "%lld", (long long)v->i); return 0;
    case GV_FLOAT: return json_float(r, v->f, out);
    case GV_STR: json_text(v->s, out); return 0;
    case GV_MAP: return json_map(r, v, out);
    case GV_STRUCT: return json_struct(r, v, out);
    case GV_LIST: break;
    }
    buf_byte(out, '[');
    for (size_t i = 0; i < gt_len(v); i++) {
        const struct gt_val x = gt_item(v, i);
        if (i > 0) buf_byte(out, ',');
        if (gt_json(r, &x, out) != 0) return -1;
    }
    buf_byte(out, ']');
    return 0;
}

/* ---- Sprint ------------------------------------------------------------------------------------
 */

int gt_show(struct gt_run *r, const struct gt_val *v, struct buf *out) {
    const struct gt_verb f = {.c = 'v', .width = -1, .prec = -1};
    return gt_format(r, &f, v, out);
}

int gt_sprint(struct gt_run *r, const struct gt_val *arg, int n, bool ln, struct buf *out) {
    for (int i = 0; i < n; i++) {
        const bool texts = i > 0 && (arg[i].kind == GV_STR || arg[i - 1].kind == GV_STR);
        if (i > 0 && (ln || !texts)) buf_byte(out, ' ');
        if (gt_show(r, &arg[i], out) != 0) return -1;
    }
    if (ln) buf_byte(out, '\n');
    return check_size(r, out);
}
