/* Secrets by what stands before them ("password: ...", "api_key=..."), and private keys. */
#include <math.h>

#include "policy/pii_priv.h"

/* ---- private keys ---- */

static bool says(struct pii_scan *s, size_t i, const char *text) {
    for (size_t k = 0; text[k]; k++)
        if (pii_look(s, i + k) != (unsigned char)text[k]) return false;
    return true;
}

static bool is_base64(int c) {
    return pii_is_alnum(c) || c == '+' || c == '/' || c == '=';
}

/* The label of a line "-----BEGIN label-----" that says "PRIVATE KEY"; the end of the line, or 0.
 */
static size_t begin_line(struct pii_scan *s, size_t i) {
    size_t at = i + 11;
    bool private = false;
    while (at - i < 64 && (pii_is_upper(pii_look(s, at)) || pii_look(s, at) == ' ' ||
                           pii_is_digit(pii_look(s, at)))) {
        private = private || says(s, at, "PRIVATE KEY");
        at++;
    }
    return private && says(s, at, "-----") ? at + 5 : 0;
}

/* RFC 7468 and RFC 4880, 6.2: base64, blanks, header lines, "\n" as programs write it.  To the end
 * line; without one, as far as there are long runs of base64. */
bool pii_key_block(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    if (pii_behind(s, i, 1) == '-' || !says(s, i, "-----BEGIN ")) return false;
    size_t at = begin_line(s, i), run = 0, end = 0;
    if (!at) return false;
    for (; at - i < PII_KEY_MAX; at++) {
        const int c = pii_look(s, at);
        run = is_base64(c) ? run + 1 : 0;
        if (run >= 16) end = at + 1;
        if (c == '-' && says(s, at, "-----")) break;
        if (!is_base64(c) && !pii_is_blank(c) && !(c > 0 && memchr("\\:,-\"'", c, 6))) break;
    }
    if (end && says(s, at, "-----END ")) {
        size_t stop = at + 9;
        while (stop - at < 64 && (pii_is_upper(pii_look(s, stop)) || pii_look(s, stop) == ' ' ||
                                  pii_is_digit(pii_look(s, stop))))
            stop++;
        if (says(s, stop, "-----")) end = stop + 5;
    }
    if (!end) return false;
    if (end - i >= PII_KEY_MAX) s->tail = is_base64, s->tail_kind = PII_PRIVATE_KEY;
    *hit = (struct pii_hit){PII_PRIVATE_KEY, i, end};
    return true;
}

/* ---- values ---- */

static size_t blanks(struct pii_scan *s, size_t at) {
    for (int k = 0; k < 8 && (pii_look(s, at) == ' ' || pii_look(s, at) == '\t'); k++)
        at++;
    return at;
}

/* Behind the word: a closing quote or bracket, blanks, then ":" "=" ":=" "=>" or "is".  Returns
 * where the value begins, or 0; *quote: the quote before it, or 0. */
static size_t value_start(struct pii_scan *s, size_t at, bool flag, bool loose, int *quote) {
    int c = pii_look(s, at);
    if (c == '\\') c = pii_look(s, ++at);
    if (c == '"' || c == '\'') at++;
    if (pii_look(s, at) == ']') at++;
    const size_t word_end = at;
    at = blanks(s, at);
    c = pii_look(s, at);
    if (c == ':' || c == '=') {
        at++;
        c = pii_look(s, at);
        if (c == '=' || c == '>') at++;
    } else if (c == 0xef && says(s, at, "\xef\xbc\x9a")) { /* the full-width ":" */
        at += 3;
    } else if (loose && (says(s, at, "is ") || says(s, at, "es ") || says(s, at, "is: "))) {
        at += 3;
    } else if (loose && (says(s, at, "ist ") || says(s, at, "est "))) {
        at += 4;
    } else if (!(flag && at > word_end)) {
        return 0;
    }
    at = blanks(s, at);
    c = pii_look(s, at);
    if (c == '\\' && pii_look(s, at + 1) == '"') c = pii_look(s, ++at);
    *quote = c == '"' || c == '\'' || c == '`' ? c : 0;
    return *quote ? at + 1 : at;
}

static size_t value_end(struct pii_scan *s, size_t at, int quote, bool query) {
    const size_t stop = at + PII_VALUE_MAX;
    for (; at < stop; at++) {
        const int c = pii_look(s, at);
        if (c < ' ' || c == quote) break; /* the end, too */
        if (quote) {
            if (c == '\\' && pii_look(s, at + 1) == quote) break;
            continue;
        }
        if (c == ' ' || c == '"' || c == '\'' || c == '<' || c == '`' || (query && c == '&')) break;
        if (c == 0xe3 || c == 0xef) break; /* 、。， */
        if (c == ',' || c == ';' || c == ')' || c == '}' || c == ']') {
            const int d = pii_look(s, at + 1);
            if (c != ',' || d <= ' ' || d == '"') break;
        }
    }
    return at;
}

struct shape {
    int n, n_lower, n_upper, n_digit, n_mark, most;
    bool code; /* brackets, variables: text of a program */
    float bits;
};

/* Shannon's entropy per character, and what the characters are. */
static struct shape shape_of(const char *p, size_t n) {
    struct shape h = {.n = (int)n};
    int count[256] = {0};
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)p[i];
        if (++count[c] > h.most) h.most = count[c];
        h.n_lower += c >= 'a' && c <= 'z';
        h.n_upper += pii_is_upper(c);
        h.n_digit += pii_is_digit(c);
        h.n_mark += c > ' ' && c < 0x7f && memchr("!@#$%^&*+~?|", c, 12) != NULL;
        h.code |= c == '(' || c == '{' || c == '<' || c == '[' || c == ' ';
    }
    for (int c = 0; c < 256; c++)
        if (count[c]) h.bits -= (float)count[c] / (float)n * log2f((float)count[c] / (float)n);
    return h;
}

static bool starts(struct str v, const char *z) {
    return str_starts(v, str_of(z));
}

/* Names of variables and stand-ins, not values. */
static bool is_stand_in(struct str v, const struct shape *h) {
    if (h->code || v.p[0] == '$' || v.p[0] == '%' || h->most * 2 > h->n) return true;
    if (starts(v, "http://") || starts(v, "https://") || starts(v, "-----") || starts(v, "./"))
        return true;
    static const char *const words[] = {"your",        "YOUR",        "example", "EXAMPLE",
                                        "process.env", "os.environ",  "xxxx",    "XXXX",
                                        "changeme",    "placeholder", "REDACTED"};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (memmem(v.p, v.n, words[k], strlen(words[k]))) return true;
    return false;
}

static bool is_secret(struct str v, bool password, int least) {
    if (v.n < 6) return false;
    const struct shape h = shape_of(v.p, v.n);
    if (is_stand_in(v, &h)) return false;
    if (password) return h.n_digit + h.n_mark > 0 && v.n <= 128;
    const bool mixed = h.n_lower > 2 && h.n_upper > 2;
    if (h.n_digit < (mixed && h.n >= 20 ? h.n < 32 : 2)) return false;
    return h.n >= least && h.n_lower + h.n_upper > 2 && h.bits > (h.n < 24 ? 2.8f : 3.0f);
}

bool pii_value(struct pii_scan *s, size_t i, size_t end, uint32_t topics, struct pii_hit *hit) {
    const bool password = topics >> TOPIC_PASSWORD & 1, bearer = topics >> TOPIC_BEARER & 1;
    const bool strong = topics >> TOPIC_SECRET & 1;
    const bool key = topics >> TOPIC_KEY & 1;
    const bool of = topics >> TOPIC_KEY_OF & 1 ||
                    (s->seen[TOPIC_KEY_OF] && s->base + i - s->seen[TOPIC_KEY_OF] <= 1);
    if (!password && !bearer && !strong && !key) return false;
    const int before = pii_behind(s, i, 1);
    int quote;
    const bool query = before == '?' || before == '&';
    const bool flag = bearer || (before == '-' && pii_behind(s, i, 2) == '-');
    size_t start = value_start(s, end, flag, password || strong || (key && of), &quote);
    if (!start || s->base + start < s->quiet) return false;
    if (bearer) quote = 0;
    /* "Authorization: Bearer" and the like say more than the word before them. */
    if (says(s, start, "Bearer ") || says(s, start, "Basic ")) return false;
    size_t stop = value_end(s, start, quote, query);
    if (!quote)
        while (stop > start && s->p[stop - 1] > 0 && strchr(".:", s->p[stop - 1]))
            stop--;
    const int least = password ? 6 : strong || (key && of) ? 12 : 20;
    if (!is_secret((struct str){s->p + start, stop - start}, password, least)) {
        if (stop - start > 128) s->quiet = s->base + stop;
        return false;
    }
    if (stop - start == PII_VALUE_MAX) s->tail = is_base64, s->tail_kind = PII_SECRET;
    *hit = (struct pii_hit){PII_SECRET, start, stop};
    return true;
}
