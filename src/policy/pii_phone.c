/* Telephone numbers: with the country's code (ITU-T E.164), in the forms that one country alone
 * writes (pii_phone_data.c), and, beside a word like "Tel.", in any plausible grouping. */
#include "policy/pii_phone.h"

#include "policy/pii_priv.h"

enum { PHONE_MAX = 15, PHONE_BYTES = 48, GROUPS_MAX = 8 };

/* What stands there, as far as it may be one number. */
struct dialled {
    char digit[PHONE_MAX + 1];
    int n;                         /* digits */
    int n_group, upto[GROUPS_MAX]; /* digits up to each group's end */
    size_t end[GROUPS_MAX];
};

/* Length of the separators and brackets at i, at most four. */
static size_t read_gap(struct pii_scan *s, size_t i) {
    size_t at = i, n;
    for (int k = 0; k < 4; k++, at += n) {
        int c;
        n = pii_separator(s, at, &c);
        if (n) continue;
        c = pii_look(s, at);
        if (c != '.' && c != '/' && c != '(' && c != ')') break;
        n = 1;
    }
    return at - i;
}

static void read_dialled(struct pii_scan *s, size_t i, struct dialled *d) {
    *d = (struct dialled){0};
    size_t at = i;
    while (at < i + PHONE_BYTES && d->n_group < GROUPS_MAX) {
        int len = 0;
        while (d->n < PHONE_MAX && pii_is_digit(pii_look(s, at)))
            d->digit[d->n++] = s->p[at++], len++;
        if (len == 0) break;
        if (pii_is_digit(pii_look(s, at))) { /* more than any number has */
            d->n -= len;
            break;
        }
        d->upto[d->n_group] = d->n;
        d->end[d->n_group++] = at;
        const size_t k = read_gap(s, at);
        if (k == 0 || !pii_is_digit(pii_look(s, at + k))) break;
        at += k;
    }
}

static bool set_hit(struct pii_hit *hit, size_t start, size_t end) {
    *hit = (struct pii_hit){PII_PHONE, start, end};
    return true;
}

/* ---- with the country's code ---- */

/* How many digits the code takes, or 0. */
static int country_code(const char *d, int n, int *min, int *max) {
    for (const struct phone_country *c = phone_countries; c->code; c++) {
        const int k = (int)strlen(c->code);
        if (n > k && memcmp(d, c->code, (size_t)k) == 0 && strchr(c->first, d[k])) {
            *min = c->min, *max = c->max;
            return k;
        }
    }
    for (int k = 3; k >= 2; k--) {
        char code[6] = {' '};
        memcpy(code + 1, d, (size_t)k);
        code[k + 1] = ' ';
        code[k + 2] = 0;
        if (n > k && strstr(phone_codes, code)) {
            *min = 7, *max = 12;
            return k;
        }
    }
    return 0;
}

static bool is_nanp(const char *d) {
    return d[0] >= '2' && d[3] >= '2';
}

/* i: the first digit; start: the "+" or "00" before it. */
static bool international(struct pii_scan *s, size_t i, size_t start, struct pii_hit *hit) {
    struct dialled d;
    int min, max;
    read_dialled(s, i, &d);
    const int code = country_code(d.digit, d.n, &min, &max);
    if (!code || d.n < 8) return false;
    for (int k = d.n_group - 1; k >= 0; k--) {
        /* "+44 (0)20": the trunk prefix does not count. */
        const bool trunk = k > 0 && d.digit[code] == '0' && d.upto[0] == code;
        const int n = d.upto[k] - code - trunk;
        if (n < min || n > max || pii_number_goes_on(s, d.end[k])) continue;
        if (code == 1 && d.digit[0] == '1' && !is_nanp(d.digit + 1)) continue;
        return set_hit(hit, start, d.end[k]);
    }
    return false;
}

/* ---- in a country's own form ---- */

/* Where the text at i that has the form ends, or 0. */
static size_t match_form(struct pii_scan *s, size_t i, const char *form) {
    size_t at = i;
    char sep = 0; /* the first separator where the form says "~": all are the same */
    for (const char *f = form; *f; f++) {
        const int c = pii_look(s, at);
        int kind;
        size_t n = 1;
        switch (*f) {
        case 'd':
            if (!pii_is_digit(c)) return 0;
            break;
        case 'N':
            if (c < '2' || c > '9') return 0;
            break;
        case '~':
            n = pii_separator(s, at, &kind);
            if (n == 0 && c == '.') n = 1, kind = '.';
            if (n == 0 || (sep && sep != kind)) return 0;
            sep = (char)kind;
            break;
        case '_': n = pii_space(s, at); break; /* perhaps a blank */
        case ' ':
            n = pii_space(s, at);
            if (n == 0) return 0;
            break;
        case '-':
            n = pii_separator(s, at, &kind);
            if (n == 0 || kind != '-') return 0;
            break;
        case '[': { /* one of */
            bool in = false;
            for (f++; *f != ']'; f++) {
                const bool range = f[1] == '-';
                in = in || (c >= *f && c <= (range ? f[2] : *f));
                if (range) f += 2;
            }
            if (!in) return 0;
            break;
        }
        default:
            if (c != *f) return 0;
        }
        at += n;
    }
    return at;
}

/* What follows a number that needs no word nearby: no more digits. */
static bool ends_clean(struct pii_scan *s, size_t end) {
    if (pii_number_goes_on(s, end)) return false;
    const size_t gap = pii_space(s, end);
    return !gap || !pii_is_digit(pii_look(s, end + gap));
}

static bool own_form(struct pii_scan *s, size_t i, bool near, struct pii_hit *hit) {
    for (const char *const *f = phone_forms; *f; f++) {
        if (**f != '[' && **f != 'N' && **f != 'd' && **f != s->p[i]) continue;
        const size_t end = match_form(s, i, *f);
        if (end && (near ? !pii_number_goes_on(s, end) : ends_clean(s, end)))
            return set_hit(hit, i, end);
    }
    return false;
}

/* ---- beside a word ---- */

/* 2024-01-15, 15.01.2024, 12/05/85 */
static bool is_date(const struct dialled *d) {
    const int a = d->upto[0], b = d->n_group > 1 ? d->upto[1] - a : 0,
              c = d->n_group > 2 ? d->upto[2] - a - b : 0;
    if (d->n_group < 3 || b > 2) return false;
    return (a == 4 && c <= 2 && (d->digit[0] == '1' || d->digit[0] == '2')) || (a <= 2 && c == 4) ||
           (a <= 2 && c <= 2 && d->n <= 6);
}

/* Up to group k, none of one digit; but "166-0" is a switchboard's. */
static bool even_groups(const struct dialled *d, int k, bool strong) {
    int last = 0;
    for (int i = 0; i <= k; i++) {
        const int len = d->upto[i] - last;
        if (len == 1 && i > 0 && !(strong && i == k)) return false;
        last = d->upto[i];
    }
    return true;
}

static bool spoken(struct pii_scan *s, size_t i, size_t start, bool strong, struct pii_hit *hit) {
    struct dialled d;
    read_dialled(s, i, &d);
    if (d.n_group == 0 || is_date(&d)) return false;
    for (int k = d.n_group - 1; k >= 0; k--) {
        const int n = d.upto[k], least = strong ? 6 : k ? 7 : 9;
        if (n < least || n > 13 || !even_groups(&d, k, strong) || pii_number_goes_on(s, d.end[k]))
            continue;
        return set_hit(hit, start, d.end[k]);
    }
    return false;
}

/* Near a word that says so, which no other entity has had; but lists go on: "Tel. 1, 2 or 3". */
static bool is_announced(const struct pii_scan *s, enum topic t, size_t i) {
    return pii_near(s, t, i, 48) && (s->seen[t] > s->found || s->base + i - s->found <= 5);
}

/* "(+49) ..." */
static bool closes(struct pii_scan *s, size_t i) {
    size_t n = 0;
    while (n < 4 && pii_is_digit(pii_look(s, i + n)))
        n++;
    return pii_look(s, i + n) == ')';
}

/* A number that is said to be an id is none when its check digit is wrong. */
static bool is_said_id(const struct pii_scan *s, size_t i) {
    uint64_t call = s->seen[TOPIC_PHONE];
    if (s->seen[TOPIC_CALL] > call) call = s->seen[TOPIC_CALL];
    for (enum topic t = TOPIC_CARD; t <= TOPIC_AADHAAR; t++)
        if (pii_near(s, t, i, 32) && s->seen[t] > call && s->seen[t] > s->found) return true;
    return false;
}

bool pii_phone(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    const int c = s->p[i];
    size_t first = i; /* digit */
    if (c == '(' || c == '+') {
        first += 1 + (c == '(' && pii_look(s, i + 1) == '+');
        if (c == '+' && pii_look(s, first) == '(') first++;
        if (!pii_is_digit(pii_look(s, first))) return false;
    }
    const int before = pii_behind(s, i, 1), b2 = pii_behind(s, i, 2);
    if (s->p[first - (first > i)] == '+' || (c == '+')) {
        if (pii_is_alnum(before) || before == '+') return false;
        if (c == '(' && !closes(s, first)) return false; /* "(+49 30 123456)": at the "+" */
        return international(s, first, i, hit);
    }
    if (!pii_starts_word(s, i) && c != '(') return false;
    if (c == '(' && pii_is_alnum(before)) return false; /* f(123...) */
    if ((before == '-' || before == '/' || before == '.') && (pii_is_digit(b2) || b2 == before))
        return false;
    if (before == '$' || before == '#' || before == '@' || before == '\\') return false;
    const bool other = is_said_id(s, i), strong = !other && is_announced(s, TOPIC_PHONE, i);
    const bool near = strong || (!other && is_announced(s, TOPIC_CALL, i));
    if ((before == '-' || before == '/') && pii_is_alnum(b2) && !strong) return false;
    if (c == '0' && pii_look(s, i + 1) == '0' && pii_look(s, i + 2) != '0' &&
        (near || pii_space(s, i + 4) || pii_space(s, i + 3)) && international(s, i + 2, i, hit))
        return true;
    if (!near && (other || pii_other_number(s, i))) return false;
    if (own_form(s, i, near, hit) || (near && spoken(s, first, i, strong, hit))) return true;
    if (c == '(') return false;
    /* "4155552671 is my mobile" */
    struct dialled d;
    read_dialled(s, i, &d);
    if (d.n < 9 || d.n > 13 || d.n_group > 5 || is_date(&d) ||
        !even_groups(&d, d.n_group - 1, false) || !ends_clean(s, d.end[d.n_group - 1]) ||
        pii_other_number(s, i))
        return false;
    return pii_near_after(s, TOPIC_PHONE, d.end[d.n_group - 1]) &&
           set_hit(hit, i, d.end[d.n_group - 1]);
}
