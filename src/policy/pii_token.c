/* Keys and tokens that say what they are: by prefix, alphabet and length (pii_token_data.c), JSON
 * web tokens (RFC 7519), and two forms without a prefix. */
#include "policy/pii_token.h"

#include "policy/pii_priv.h"

static bool is_word(int c) {
    return pii_is_alnum(c) || c == '_';
}
static bool is_url64(int c) {
    return is_word(c) || c == '-';
}
static bool is_dotted(int c) {
    return is_url64(c) || c == '.';
}
static bool is_b64(int c) {
    return pii_is_alnum(c) || c == '+' || c == '/' || c == '=';
}

static bool (*const alphabet_of[])(int c) = {
    [TOKEN_ALNUM] = pii_is_alnum, [TOKEN_WORD] = is_word,   [TOKEN_URL64] = is_url64,
    [TOKEN_DOTTED] = is_dotted,   [TOKEN_HEX] = pii_is_hex, [TOKEN_B64] = is_b64,
};

static size_t run_of(struct pii_scan *s, size_t i, bool (*is)(int c), size_t most) {
    size_t n = 0;
    while (n < most && is(pii_look(s, i + n)))
        n++;
    return n;
}

static bool take(struct pii_scan *s, size_t i, size_t end, bool (*is)(int c), struct pii_hit *hit) {
    /* What is longer than any token goes on as another hit. */
    if (end - i >= PII_TOKEN_MAX) s->tail = is, s->tail_kind = PII_SECRET;
    *hit = (struct pii_hit){PII_SECRET, i, end};
    return true;
}

/* A word of letters only behind a prefix is a name ("sk-learn"). */
static bool is_random(const char *p, size_t n) {
    bool digit = false, letter = false;
    for (size_t i = 0; i < n; i++) {
        digit |= pii_is_digit(p[i]);
        letter |= pii_is_alpha(p[i]);
    }
    return (digit && letter) || n >= 30;
}

static bool prefixed(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    for (const struct token_form *f = token_forms; f->prefix; f++) {
        size_t k = 0;
        if (f->prefix[0] != s->p[i]) continue;
        while (f->prefix[k] && pii_look(s, i + k) == (unsigned char)f->prefix[k])
            k++;
        if (f->prefix[k]) continue;
        bool (*const is)(int) = alphabet_of[f->alphabet];
        size_t n = run_of(s, i + k, is, PII_TOKEN_MAX - k);
        while (n && (s->p[i + k + n - 1] == '.' || s->p[i + k + n - 1] == '-'))
            n--; /* of the sentence */
        if (n < (size_t)f->min || (f->max && n > (size_t)f->max)) continue;
        if (!is_random(s->p + i + k, n)) continue;
        return take(s, i, i + k + n, is, hit);
    }
    return false;
}

/* Three parts (signed) or five (encrypted) of base64url with dots between, the first a JSON object:
 * "eyJ" is base64 of '{"'. */
static bool jwt(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    if (s->p[i] != 'e' || pii_look(s, i + 1) != 'y' || pii_look(s, i + 2) != 'J') return false;
    size_t at = i;
    int n_part = 0;
    while (n_part < 5) {
        const size_t n = run_of(s, at, is_url64, PII_TOKEN_MAX - (at - i));
        if (n < 8 && n_part < 2) return false;
        at += n;
        n_part++;
        if (pii_look(s, at) != '.' || !is_url64(pii_look(s, at + 1)) || at - i >= PII_TOKEN_MAX - 1)
            break;
        at++;
    }
    return (n_part >= 2 || at - i >= 256) && take(s, i, at, is_dotted, hit);
}

/* Telegram: bot id, ":", 35 characters. */
static bool telegram(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    const size_t n = run_of(s, i, pii_is_digit, 11);
    if (n < 8 || n > 10 || pii_look(s, i + n) != ':' || run_of(s, i + n + 1, is_url64, 36) != 35)
        return false;
    return is_random(s->p + i + n + 1, 35) && take(s, i, i + n + 36, is_url64, hit);
}

/* Azure client secret: three characters, a digit, "Q~", 34 more. */
static bool azure(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    if (pii_look(s, i + 4) != 'Q' || pii_look(s, i + 5) != '~' || !pii_is_digit(pii_look(s, i + 3)))
        return false;
    size_t n = 6;
    while (n < 48 && (is_dotted(pii_look(s, i + n)) || pii_look(s, i + n) == '~'))
        n++;
    return n >= 37 && n <= 44 && take(s, i, i + n, is_dotted, hit);
}

bool pii_token(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    const int before = pii_behind(s, i, 1);
    for (size_t k = 1; k < 16; k++) /* most words are too short */
        if (pii_look(s, i + k) <= ' ') return false;
    if (before == '-' || before == '.') {
        /* Within a longer run, whose tries would add up to more than linear time; but "--sk-..." */
        if (pii_is_alnum(pii_behind(s, i, 2)) || pii_behind(s, i, 2) == '_') return false;
    }
    return prefixed(s, i, hit) || jwt(s, i, hit) || azure(s, i, hit) ||
           (pii_is_digit(s->p[i]) && telegram(s, i, hit));
}
