/* Values that are no JSON: Python's literals, and the braces of models whose texts stand between
 * marks of their own. */
#include <ctype.h>
#include <string.h>

#include "base/utf8.h"
#include "text/chat/answer_priv.h"

static void skip(struct str *s, size_t n) {
    s->p += n;
    s->n -= n;
}

static void skip_blanks(struct str *s) {
    while (s->n > 0 && answer_blank(s->p[0]))
        skip(s, 1);
}

static bool take(struct str *s, char c) {
    skip_blanks(s);
    if (s->n == 0 || s->p[0] != c) return false;
    skip(s, 1);
    return true;
}

/* ---- Texts ---- */

static json_t *marked_text(struct str *s, const char *quote) {
    skip(s, strlen(quote));
    const char *end = memmem(s->p, s->n, quote, strlen(quote));
    if (!end) return NULL;
    json_t *v = json_stringn(s->p, (size_t)(end - s->p));
    skip(s, (size_t)(end - s->p) + strlen(quote));
    return v;
}

static bool hex_char(struct str *s, size_t n, struct buf *out) {
    uint32_t cp = 0;
    char bytes[4];
    if (s->n < n) return false;
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)s->p[i])) return false;
        const char c = (char)tolower((unsigned char)s->p[i]);
        cp = cp * 16 + (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    skip(s, n);
    if (cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return false;
    buf_append(out, bytes, (size_t)utf8_encode(cp, bytes));
    return true;
}

/* Behind a backslash. */
static bool escaped(struct str *s, struct buf *out) {
    static const char from[] = "ntrbf0\\'\"/\n", to[] = "\n\t\r\b\f\0\\'\"/";
    if (s->n == 0) return false;
    const char c = s->p[0];
    const char *at = memchr(from, c, sizeof from - 1);
    skip(s, 1);
    if (c == 'u') return hex_char(s, 4, out);
    if (c == 'U') return hex_char(s, 8, out);
    if (c == 'x') return hex_char(s, 2, out);
    if (c == '0') return false;
    if (c == '\n') return true;
    if (!at) buf_byte(out, '\\');
    buf_byte(out, at ? to[at - from] : c);
    return true;
}

static json_t *quoted_text(struct str *s) {
    const char q = s->p[0];
    struct buf text = {0};
    json_t *v = NULL;
    skip(s, 1);
    while (s->n > 0 && s->p[0] != q) {
        const char c = s->p[0];
        skip(s, 1);
        if (c != '\\')
            buf_byte(&text, c);
        else if (!escaped(s, &text))
            break;
    }
    if (s->n > 0 && s->p[0] == q && !text.failed) {
        v = json_stringn(text.n ? text.p : "", text.n);
        skip(s, 1);
    }
    buf_fini(&text);
    return v;
}

/* ---- Words and numbers ---- */

static bool is_end(char c) {
    return c == ',' || c == ']' || c == '}' || c == ')' || c == ':' || c == '\n';
}

static json_t *word(struct str *s, bool any) {
    static const struct {
        const char *word;
        char kind;
    } words[] = {{"true", 't'},  {"True", 't'}, {"false", 'f'},
                 {"False", 'f'}, {"null", 'n'}, {"None", 'n'}};
    size_t n = 0;
    while (n < s->n && !is_end(s->p[n]))
        n++;
    struct str w = {s->p, n};
    while (w.n > 0 && answer_blank(w.p[w.n - 1]))
        w.n--;
    skip(s, n);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(w, words[i].word))
            return words[i].kind == 'n' ? json_null() : json_boolean(words[i].kind == 't');
    if (w.n == 0) return NULL;
    if (w.p[0] == '-' || isdigit((unsigned char)w.p[0])) {
        json_t *v = answer_read_json(w);
        if (v || !any) return v;
    }
    return any ? json_stringn(w.p, w.n) : NULL;
}

/* ---- Lists and objects ---- */

static json_t *list(struct str *s, char close, const char *quote, int depth) {
    json_t *out = json_array();
    skip(s, 1);
    while (!take(s, close)) {
        json_t *v = answer_literal(s, quote, depth + 1);
        if (!v || json_array_append_new(out, v) != 0) return json_decref(out), NULL;
        if (!take(s, ',') && (s->n == 0 || s->p[0] != close)) return json_decref(out), NULL;
    }
    return out;
}

/* A key: a text, or a plain word before the colon. */
static json_t *key_of(struct str *s, const char *quote) {
    skip_blanks(s);
    if (s->n > 0 && (s->p[0] == '"' || s->p[0] == '\'')) return quoted_text(s);
    if (quote && s->n > 0 && answer_match(*s, quote) > 0) return marked_text(s, quote);
    size_t n = 0;
    while (n < s->n && n < ANSWER_MAX_NAME && !is_end(s->p[n]))
        n++;
    json_t *v = n > 0 ? json_stringn(s->p, n) : NULL;
    skip(s, n);
    return v;
}

static json_t *object(struct str *s, const char *quote, int depth) {
    json_t *out = json_object();
    skip(s, 1);
    while (!take(s, '}')) {
        json_t *k = key_of(s, quote);
        json_t *v = k && take(s, ':') ? answer_literal(s, quote, depth + 1) : NULL;
        const bool ok = v && json_object_set_new(out, json_string_value(k), v) == 0;
        json_decref(k);
        if (!ok || (!take(s, ',') && (s->n == 0 || s->p[0] != '}'))) return json_decref(out), NULL;
    }
    return out;
}

json_t *answer_literal(struct str *s, const char *quote, int depth) {
    skip_blanks(s);
    if (s->n == 0 || depth > ANSWER_MAX_DEPTH) return NULL;
    if (quote && answer_match(*s, quote) > 0) return marked_text(s, quote);
    switch (s->p[0]) {
    case '"':
    case '\'': return quoted_text(s);
    case '[': return list(s, ']', quote, depth);
    case '(': return list(s, ')', quote, depth);
    case '{': return object(s, quote, depth);
    default: return word(s, quote != NULL);
    }
}
