/* Template text to tokens.  White space around tags as Jinja's lexer does it: "-" eats all of it,
 * "+" keeps it; else one newline behind a block or comment goes (trim_blocks), and the blanks
 * before one that begins a line (lstrip_blocks). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/chat/jinja_priv.h"

static int fail(struct jlex *x, const char *what) {
    return err_set(x->e, ERR_FORMAT, "%s: line %d: %s", x->name, x->line, what);
}

static int push(struct jlex *x, enum jtok_kind kind, int op, struct str text) {
    if (x->n == x->cap) {
        const size_t cap = x->cap ? 2 * x->cap : 256;
        struct jtok *t = arena_calloc(x->arena, cap, sizeof *t);
        if (!t) return err_nomem(x->e, x->name);
        if (x->n) memcpy(t, x->tok, x->n * sizeof *t);
        x->tok = t;
        x->cap = cap;
    }
    x->tok[x->n++] = (struct jtok){kind, op, x->line, text};
    return 0;
}

static bool blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool at(const struct jlex *x, size_t pos, const char *z) {
    return pos <= x->src.n && str_starts((struct str){x->src.p + pos, x->src.n - pos}, str_of(z));
}

static void skip_to(struct jlex *x, size_t pos) {
    if (pos > x->pos) x->line_start = x->src.p[pos - 1] == '\n';
    for (; x->pos < pos; x->pos++)
        x->line += x->src.p[x->pos] == '\n';
}

/* Behind a tag's end. */
static void trim_after(struct jlex *x, char sign, bool newline) {
    size_t p = x->pos;
    if (sign == '-')
        while (p < x->src.n && blank(x->src.p[p]))
            p++;
    else if (sign != '+' && newline && p < x->src.n && x->src.p[p] == '\n')
        p++;
    skip_to(x, p);
}

/* The text x->pos..end stands before a tag with that sign. */
static struct str trim_before(const struct jlex *x, size_t end, char sign, bool lstrip) {
    struct str s = {x->src.p + x->pos, end - x->pos};
    size_t n = s.n;
    while (n > 0 && blank(s.p[n - 1]) && (sign == '-' || s.p[n - 1] != '\n'))
        n--;
    if (sign == '-')
        s.n = n;
    else if (sign != '+' && lstrip && (n == 0 ? x->line_start : s.p[n - 1] == '\n'))
        s.n = n;
    return s;
}

static char sign_at(const struct jlex *x, size_t p) {
    return p < x->src.n && (x->src.p[p] == '-' || x->src.p[p] == '+') ? x->src.p[p] : 0;
}

/* "{% raw %}" or "{% endraw %}" at p: where it ends, and its last sign; else 0. */
static size_t raw_tag(const struct jlex *x, size_t p, const char *word, char *sign) {
    if (!at(x, p, "{%")) return 0;
    p += 2 + (sign_at(x, p + 2) != 0);
    while (p < x->src.n && blank(x->src.p[p]))
        p++;
    if (!at(x, p, word)) return 0;
    p += strlen(word);
    while (p < x->src.n && blank(x->src.p[p]))
        p++;
    *sign = sign_at(x, p);
    p += *sign != 0;
    return at(x, p, "%}") ? p + 2 : 0;
}

static int lex_raw(struct jlex *x, char sign) {
    trim_after(x, sign, false);
    for (size_t p = x->pos; p < x->src.n; p++) {
        const size_t end = raw_tag(x, p, "endraw", &sign);
        if (!end) continue;
        if (push(x, T_TEXT, 0, trim_before(x, p, sign_at(x, p + 2), true)) != 0) return -1;
        skip_to(x, end);
        trim_after(x, sign, true);
        return 0;
    }
    return fail(x, "{% raw %} without {% endraw %}");
}

static int lex_comment(struct jlex *x, size_t p) {
    for (p += 2; p < x->src.n; p++)
        if (at(x, p, "#}")) {
            const char sign = sign_at(x, p - 1);
            skip_to(x, p + 2);
            trim_after(x, sign, true);
            return 0;
        }
    return fail(x, "{# without #}");
}

static int lex_text(struct jlex *x) {
    size_t p = x->pos, end;
    while (p < x->src.n && !at(x, p, "{%") && !at(x, p, "{{") && !at(x, p, "{#"))
        p++;
    const bool tag = p < x->src.n;
    const char sign = tag ? sign_at(x, p + 2) : '+';
    const struct str s = trim_before(x, p, sign, tag && x->src.p[p + 1] != '{');
    if (s.n && push(x, T_TEXT, 0, s) != 0) return -1;
    skip_to(x, p);
    if (!tag) return 0;
    char last;
    if (x->src.p[p + 1] == '#') return lex_comment(x, p);
    if ((end = raw_tag(x, p, "raw", &last)) != 0) {
        skip_to(x, end);
        return lex_raw(x, last);
    }
    x->in = x->src.p[p + 1] == '%' ? T_BLOCK : T_VAR;
    x->depth = 0;
    skip_to(x, p + 2 + (sign != 0));
    return push(x, (enum jtok_kind)x->in, 0, STR(""));
}

/* Digits of a \x, \u, \U or octal escape at p[0..n): how many were read. */
static size_t escape_code(const char *p, size_t n, size_t want, int base, uint32_t *cp) {
    size_t k = 0;
    for (*cp = 0; k < want && k < n; k++) {
        const int c = tolower((unsigned char)p[k]);
        const int d = isdigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
        if (d >= base) break;
        *cp = *cp * (uint32_t)base + (uint32_t)d;
    }
    return k;
}

/* The escape behind a backslash at p[0..n) to out; how many bytes it has. */
static size_t unescape(const char *p, size_t n, char **out) {
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    const char *k = memchr(from, *p, sizeof from - 1);
    uint32_t cp;
    size_t used;
    if (*p == '\n') return 1;
    if (k) {
        *(*out)++ = to[k - from];
        return 1;
    }
    const size_t want = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
    if (want && escape_code(p + 1, n - 1, want, 16, &cp) == want)
        used = 1 + want;
    else
        used = want ? 0 : escape_code(p, n, 3, 8, &cp);
    if (used)
        *out += utf8_encode(cp, *out);
    else
        *(*out)++ = '\\';
    return used;
}

static int lex_string(struct jlex *x) {
    const char quote = x->src.p[x->pos];
    size_t p = x->pos + 1, end = p;
    while (end < x->src.n && x->src.p[end] != quote)
        end += 1 + (x->src.p[end] == '\\');
    if (end >= x->src.n) return fail(x, "a string without its closing quote");
    /* An escape is never shorter than what it stands for, but \777 makes 2 bytes of 4. */
    char *out = arena_alloc(x->arena, end - p + 4), *w = out;
    if (!out) return err_nomem(x->e, x->name);
    while (p < end)
        if (x->src.p[p] == '\\') {
            p++;
            p += unescape(x->src.p + p, end - p, &w);
        } else {
            *w++ = x->src.p[p++];
        }
    const int rc = push(x, T_STR, 0, (struct str){out, (size_t)(w - out)});
    skip_to(x, end + 1);
    return rc;
}

static int lex_number(struct jlex *x) {
    const char *s = x->src.p;
    size_t p = x->pos, n = x->src.n;
    enum jtok_kind kind = T_INT;
    if (s[p] == '0' && p + 1 < n && strchr("xXoObB", s[p + 1])) p += 2;
    const bool based = p > x->pos;
    while (p < n &&
           (s[p] == '_' || (based ? isxdigit((unsigned char)s[p]) : isdigit((unsigned char)s[p]))))
        p++;
    if (!based && p + 1 < n && s[p] == '.' && isdigit((unsigned char)s[p + 1]))
        for (kind = T_FLOAT, p++; p < n && (isdigit((unsigned char)s[p]) || s[p] == '_');)
            p++;
    if (!based && p < n && (s[p] | 32) == 'e') {
        size_t q = p + 1;
        if (q < n && (s[q] == '+' || s[q] == '-')) q++;
        if (q < n && isdigit((unsigned char)s[q]))
            for (kind = T_FLOAT, p = q; p < n && isdigit((unsigned char)s[p]);)
                p++;
    }
    const int rc = push(x, kind, 0, (struct str){s + x->pos, p - x->pos});
    skip_to(x, p);
    return rc;
}

static int lex_op(struct jlex *x) {
    static const struct {
        const char *z;
        int op;
    } two[] = {{"==", OP_EQ}, {"!=", OP_NE},  {"<=", OP_LE},
               {">=", OP_GE}, {"//", OP_DIV}, {"**", OP_POW}};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (at(x, x->pos, two[i].z)) {
            skip_to(x, x->pos + 2);
            return push(x, T_OP, two[i].op, STR(""));
        }
    const char c = x->src.p[x->pos];
    if (!c || !strchr("+-*/%<>=.,:|()[]{}~;", c)) return fail(x, "a character that begins nothing");
    x->depth += strchr("([{", c) ? 1 : strchr(")]}", c) ? -1 : 0;
    if (x->depth < 0) return fail(x, "a closing bracket that nothing opened");
    skip_to(x, x->pos + 1);
    return push(x, T_OP, c, STR(""));
}

static int lex_tag(struct jlex *x) {
    size_t p = x->pos;
    while (p < x->src.n && blank(x->src.p[p]))
        p++;
    skip_to(x, p);
    if (p == x->src.n) return fail(x, "a tag that does not end");
    const char *end = x->in == T_BLOCK ? "%}" : "}}";
    const char sign = sign_at(x, p);
    if (x->depth == 0 && at(x, p + (sign != 0), end)) {
        if (push(x, x->in == T_BLOCK ? T_BLOCK_END : T_VAR_END, 0, STR("")) != 0) return -1;
        skip_to(x, p + (sign != 0) + 2);
        trim_after(x, sign, x->in == T_BLOCK);
        x->in = 0;
        return 0;
    }
    const char c = x->src.p[p];
    if (c == '"' || c == '\'') return lex_string(x);
    if (isdigit((unsigned char)c)) return lex_number(x);
    if (!isalpha((unsigned char)c) && c != '_' && !(c & 0x80)) return lex_op(x);
    while (p < x->src.n &&
           (isalnum((unsigned char)x->src.p[p]) || x->src.p[p] == '_' || x->src.p[p] & 0x80))
        p++;
    const int rc = push(x, T_NAME, 0, (struct str){x->src.p + x->pos, p - x->pos});
    skip_to(x, p);
    return rc;
}

/* Newlines are "\n" from here on; one at the end of the template is not part of it. */
static struct str normalize(struct arena *a, struct str s) {
    char *p = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; p && i < s.n; i++) {
        if (s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n') continue;
        p[n++] = s.p[i] == '\r' ? '\n' : s.p[i];
    }
    if (n && p[n - 1] == '\n') n--;
    return (struct str){p, n};
}

struct jtok *jinja_lex(const char *name, struct arena *a, struct str src, struct err *e) {
    struct jlex x = {
        .name = name, .arena = a, .src = normalize(a, src), .line = 1, .line_start = true, .e = e};
    int rc = x.src.p ? 0 : err_nomem(e, name);
    while (rc == 0 && (x.pos < x.src.n || x.in))
        rc = x.in ? lex_tag(&x) : lex_text(&x);
    if (rc == 0) rc = push(&x, T_END, 0, STR(""));
    return rc == 0 ? x.tok : NULL;
}
