/* Tokens of a Go template: text, delimiters with their trim markers, and what stands in actions.
 * Follows text/template/parse/lex.go. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/chat/gotmpl_priv.h"

int gt_fail(struct err *e, enum err_code code, int line, const char *fmt, ...) {
    char where[64];
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    snprintf(where, sizeof where, "template: line %d", line);
    return err_prefix(e, where);
}

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80);
}

static char peek(const struct gt_lex *l, size_t ahead) {
    return l->at + ahead < l->src.n ? l->src.p[l->at + ahead] : 0;
}

static bool here(const struct gt_lex *l, const char *z) {
    return str_starts((struct str){l->src.p + l->at, l->src.n - l->at}, str_of(z));
}

static void advance(struct gt_lex *l, size_t to) {
    for (; l->at < to; l->at++)
        if (l->src.p[l->at] == '\n') l->line++;
}

static struct str rest(const struct gt_lex *l) {
    return (struct str){l->src.p + l->at, l->src.n - l->at};
}

/* At "/ *": to behind the comment and its "}}". */
static int skip_comment(struct gt_lex *l, struct err *e) {
    const struct str s = rest(l);
    const char *end = memmem(s.p + 2, s.n - 2, "*/", 2);
    if (!end) return gt_fail(e, ERR_FORMAT, l->line, "unclosed comment; \"*/}}\" is needed");
    advance(l, l->at + (size_t)(end - s.p) + 2);
    if (blank(peek(l, 0)) && peek(l, 1) == '-') {
        advance(l, l->at + 2);
        l->trim = true;
    }
    if (!here(l, "}}"))
        return gt_fail(e, ERR_FORMAT, l->line,
                       "a comment ends before the closing delimiter; \"*/}}\" is needed");
    advance(l, l->at + 2);
    return 0;
}

/* Text up to the next action; comments vanish. */
static int lex_text(struct gt_lex *l, struct gt_tok *t, struct err *e) {
    for (;;) {
        while (l->trim && l->at < l->src.n && blank(peek(l, 0)))
            advance(l, l->at + 1);
        l->trim = false;
        const struct str s = rest(l);
        const char *open = s.n ? memmem(s.p, s.n, "{{", 2) : NULL;
        size_t n = open ? (size_t)(open - s.p) : s.n;
        const size_t delim = l->at + n;
        const bool trims = open && n + 3 < s.n && open[2] == '-' && blank(open[3]);
        while (trims && n > 0 && blank(s.p[n - 1]))
            n--;
        *t = (struct gt_tok){.type = GT_TEXT, .text = {s.p, n}, .line = l->line};
        advance(l, delim);
        if (n > 0) return 0;
        t->line = l->line;
        t->type = open ? GT_LEFT : GT_EOF;
        if (!open) return 0;
        advance(l, delim + (trims ? 4 : 2));
        if (!here(l, "/*")) break;
        if (skip_comment(l, e) != 0) return -1;
    }
    l->action = true;
    l->parens = 0;
    return 0;
}

/* May a name end here? */
static bool name_ends(const struct gt_lex *l) {
    const char c = peek(l, 0);
    return l->at >= l->src.n || blank(c) || strchr(".,|:()", c) || here(l, "}}");
}

static int bad_char(const struct gt_lex *l, struct err *e) {
    uint32_t cp = 0;
    if (l->at >= l->src.n)
        return gt_fail(e, ERR_FORMAT, l->line, "unclosed action; \"}}\" is needed");
    utf8_decode(l->src.p + l->at, l->src.n - l->at, &cp);
    return gt_fail(e, ERR_FORMAT, l->line, "unexpected character U+%04X in an action", cp);
}

static int lex_name(struct gt_lex *l, struct gt_tok *t, enum gt_tok_type type, size_t skip,
                    struct err *e) {
    const size_t from = l->at + (type == GT_FIELD);
    l->at += skip;
    while (l->at < l->src.n && alnum(peek(l, 0)))
        l->at++;
    t->type = type;
    t->text = (struct str){l->src.p + from, l->at - from};
    return name_ends(l) ? 0 : bad_char(l, e);
}

/* A string or character constant, quotes included; newlines end it unclosed. */
static int lex_quoted(struct gt_lex *l, struct gt_tok *t, struct err *e) {
    const char q = peek(l, 0);
    const size_t from = l->at;
    for (l->at++; l->at < l->src.n && peek(l, 0) != q && peek(l, 0) != '\n'; l->at++)
        if (peek(l, 0) == '\\' && peek(l, 1) != '\n') l->at++;
    if (l->at >= l->src.n || peek(l, 0) != q)
        return gt_fail(e, ERR_FORMAT, l->line, "an unterminated quoted string");
    l->at++;
    t->type = q == '"' ? GT_STRING : GT_CHAR;
    t->text = (struct str){l->src.p + from, l->at - from};
    return 0;
}

static int lex_raw(struct gt_lex *l, struct gt_tok *t, struct err *e) {
    const struct str s = rest(l);
    const char *end = memchr(s.p + 1, '`', s.n - 1);
    if (!end) return gt_fail(e, ERR_FORMAT, l->line, "an unterminated raw string");
    t->type = GT_RAW;
    t->text = (struct str){s.p + 1, (size_t)(end - s.p) - 1};
    advance(l, l->at + (size_t)(end - s.p) + 1);
    return 0;
}

static int lex_number(struct gt_lex *l, struct gt_tok *t) {
    const size_t from = l->at;
    const bool hex = here(l, "0x") || here(l, "0X");
    for (l->at++; l->at < l->src.n; l->at++) {
        const char c = peek(l, 0), before = l->src.p[l->at - 1];
        const bool sign = (c == '+' || c == '-') &&
                          (before == 'p' || before == 'P' || (!hex && (before | 32) == 'e'));
        if (!alnum(c) && c != '.' && !sign) break;
    }
    t->type = GT_NUM;
    t->text = (struct str){l->src.p + from, l->at - from};
    return 0;
}

/* At "}}" or " -}}"?  *n: its length. */
static bool at_right(const struct gt_lex *l, size_t *n) {
    *n = here(l, "}}") ? 2 : 4;
    return *n == 2 ||
           (blank(peek(l, 0)) && peek(l, 1) == '-' && peek(l, 2) == '}' && peek(l, 3) == '}');
}

static int lex_symbol(struct gt_lex *l, struct gt_tok *t, struct err *e) {
    static const char one[] = "|,=()";
    static const enum gt_tok_type type[] = {GT_PIPE, GT_COMMA, GT_ASSIGN, GT_OPEN, GT_CLOSE};
    const char c = peek(l, 0);
    const char *hit = c ? strchr(one, c) : NULL;
    t->text = (struct str){l->src.p + l->at, 1};
    if (here(l, ":=")) {
        t->type = GT_DECLARE;
        l->at += 2;
        return 0;
    }
    if (!hit) return bad_char(l, e);
    t->type = type[hit - one];
    l->parens += (c == '(') - (c == ')');
    if (l->parens < 0)
        return gt_fail(e, ERR_FORMAT, l->line, "a right parenthesis that nothing opened");
    l->at++;
    return 0;
}

static int lex_action(struct gt_lex *l, struct gt_tok *t, struct err *e) {
    size_t n_right;
    *t = (struct gt_tok){0};
    while (!at_right(l, &n_right) && l->at < l->src.n && blank(peek(l, 0))) {
        advance(l, l->at + 1);
        t->spaced = true;
    }
    t->line = l->line;
    if (l->at >= l->src.n) return bad_char(l, e);
    if (at_right(l, &n_right)) {
        if (l->parens > 0) return gt_fail(e, ERR_FORMAT, l->line, "an unclosed left parenthesis");
        t->type = GT_RIGHT;
        t->text = STR("}}");
        l->trim = n_right == 4;
        l->action = false;
        advance(l, l->at + n_right);
        return 0;
    }
    const char c = peek(l, 0);
    const bool digit = c >= '0' && c <= '9';
    if (c == '"' || c == '\'') return lex_quoted(l, t, e);
    if (c == '`') return lex_raw(l, t, e);
    if (c == '$') return lex_name(l, t, GT_VAR, 1, e);
    if (digit || c == '+' || c == '-' || (c == '.' && peek(l, 1) >= '0' && peek(l, 1) <= '9'))
        return lex_number(l, t);
    if (c == '.' && alnum(peek(l, 1))) return lex_name(l, t, GT_FIELD, 1, e);
    if (c == '.') {
        t->type = GT_DOT;
        t->text = STR(".");
        l->at++;
        return name_ends(l) ? 0 : bad_char(l, e);
    }
    if (alnum(c)) return lex_name(l, t, GT_IDENT, 0, e);
    return lex_symbol(l, t, e);
}

int gt_lex_next(struct gt_lex *l, struct gt_tok *t, struct err *e) {
    return l->action ? lex_action(l, t, e) : lex_text(l, t, e);
}

/* ---- Constants ---------------------------------------------------------------------------------
 */

/* n digits of base at p: their value, or -1. */
static int64_t digits(struct str s, size_t at, size_t n, int base) {
    char text[9] = {0};
    if (at + n > s.n) return -1;
    for (size_t i = 0; i < n; i++) {
        const char c = s.p[at + i];
        const int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' ? (c | 32) - 'a' + 10 : 99;
        if (d >= base) return -1;
        text[i] = c;
    }
    return strtoll(text, NULL, base);
}

/* The escape at s.p[*at] (behind the backslash) to out. */
static int unescape(struct str s, size_t *at, char q, char **out) {
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    const char c = s.p[(*at)++];
    const char *hit = memchr(from, c, sizeof from - 1);
    if (hit || c == q) {
        *(*out)++ = hit ? to[hit - from] : c;
        return 0;
    }
    const bool octal = c >= '0' && c <= '7';
    const size_t n = octal ? 3 : c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (n == 0) return -1;
    *at -= octal;
    const int64_t v = digits(s, *at, n, octal ? 8 : 16);
    *at += n;
    if (v < 0 || (n < 4 && v > 255) || v > 0x10ffff || (n >= 4 && v >= 0xd800 && v < 0xe000))
        return -1;
    if (n < 4)
        *(*out)++ = (char)v;
    else
        *out += utf8_encode((uint32_t)v, *out);
    return 0;
}

int gt_unquote(const struct gt_tok *t, struct arena *a, struct str *out, struct err *e) {
    if (t->type == GT_RAW) {
        *out = t->text;
        return 0;
    }
    const struct str s = {t->text.p + 1, t->text.n - 2};
    char *p = arena_alloc(a, s.n + 1), *to = p;
    if (!p) return err_nomem(e, "template");
    for (size_t i = 0; i < s.n;) {
        const char c = s.p[i++];
        if (c != '\\')
            *to++ = c;
        else if (unescape(s, &i, t->text.p[0], &to) != 0)
            return gt_fail(e, ERR_FORMAT, t->line, "an unknown escape in the string %.*s",
                           (int)(t->text.n < 40 ? t->text.n : 40), t->text.p);
    }
    *out = (struct str){p, (size_t)(to - p)};
    return 0;
}

/* The text without sign, base and "_"; the base. */
static int split_number(struct str s, char text[72], bool *negative) {
    size_t n = 0, i = 0;
    *negative = s.n && s.p[0] == '-';
    i += s.n && (s.p[0] == '-' || s.p[0] == '+');
    if (i >= s.n || s.n > 70 || !((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.')) return -1;
    int base = 10;
    const char x = s.p[i] == '0' && i + 1 < s.n ? (char)(s.p[i + 1] | 32) : 0;
    if (x == 'x' || x == 'b' || x == 'o') {
        base = x == 'x' ? 16 : x == 'b' ? 2 : 8;
        i += 2;
        if (i >= s.n) return -1;
    } else if (x && s.p[i + 1] != '.' && x != 'e')
        base = 8;
    for (; i < s.n; i++)
        if (s.p[i] != '_') text[n++] = s.p[i];
    text[n] = 0;
    return base;
}

int gt_number(const struct gt_tok *t, bool *is_float, int64_t *i, double *f, struct err *e) {
    char text[72] = "";
    char *end = text;
    bool negative;
    const int base = split_number(t->text, text, &negative);
    *is_float = base > 0 && (strchr(text, '.') || (base != 16 && strpbrk(text, "eE")));
    errno = 0;
    if (base > 0 && *is_float && (base == 10 || base == 8)) {
        *f = strtod(text, &end);
        if (negative) *f = -*f;
    } else if (base > 0 && !*is_float) {
        *i = strtoll(text, &end, base);
        if (negative) *i = -*i;
    }
    if (end == text || *end || errno == ERANGE || (text[0] == '-' || text[0] == '+'))
        return gt_fail(e, ERR_FORMAT, t->line, "bad number \"%.*s\"",
                       (int)(t->text.n < 40 ? t->text.n : 40), t->text.p);
    return 0;
}
