/* Dates of birth: a date near a word like "born", in the forms of a dozen languages. */
#include "policy/pii_priv.h"

enum { BIRTH_WINDOW = 40 };

/* Up to four digits at *at; -1: none, or more. */
static int number(struct pii_scan *s, size_t *at, int *len) {
    int v = 0;
    for (*len = 0; pii_is_digit(pii_look(s, *at)); (*len)++, (*at)++) {
        if (*len == 4) return -1;
        v = 10 * v + s->p[*at] - '0';
    }
    return *len ? v : -1;
}

static bool is_day(int d) {
    return d >= 1 && d <= 31;
}
static bool is_year(int y, int len) {
    return len == 4 ? y >= 1880 && y <= 2035 : len == 2 && y >= 0;
}

static size_t blanks(struct pii_scan *s, size_t at) {
    size_t k;
    while ((k = pii_space(s, at)))
        at += k;
    return at;
}

/* The month's name at *at. */
static bool month_name(struct pii_scan *s, size_t *at) {
    const size_t from = *at;
    uint32_t h = TOPIC_SEED;
    size_t i = from;
    while (i - from < 24) {
        const int c = pii_look(s, i);
        if (pii_is_alpha(c)) {
            h = topic_hash(h, topic_fold((unsigned char)c));
            i++;
        } else if (c >= 0x80 && pii_letter2(s, i)) {
            unsigned char a = (unsigned char)c, b = (unsigned char)s->p[i + 1];
            topic_fold2(&a, &b);
            h = topic_hash(topic_hash(h, a), b);
            i += 2;
        } else {
            break;
        }
    }
    if (i == from) return false;
    const struct topic_word *w = topic_find((struct str){s->p + from, i - from}, h);
    *at = i;
    return w && w->topic == TOPIC_MONTH;
}

/* "de ", "of " and the like between the parts. */
static size_t small_word(struct pii_scan *s, size_t at) {
    static const char *const words[] = {"de ", "of ", "del ", "do "};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        size_t n = 0;
        while (words[k][n] && pii_look(s, at + n) == words[k][n])
            n++;
        if (!words[k][n]) return at + n;
    }
    return at;
}

/* 1985年3月12日, with 년 월 일, blanks between or not. */
static size_t east_asian(struct pii_scan *s, size_t at) {
    static const char *const marks[][2] = {{"\xe5\xb9\xb4", "\xeb\x85\x84"},
                                           {"\xe6\x9c\x88", "\xec\x9b\x94"},
                                           {"\xe6\x97\xa5", "\xec\x9d\xbc"}};
    for (int part = 0; part < 3; part++) {
        int len;
        bool mark = false;
        if (part && number(s, &at, &len) < 1) return 0;
        for (int k = 0; k < 2 && !mark; k++) {
            mark = true;
            for (size_t j = 0; j < 3; j++)
                mark = mark && pii_look(s, at + j) == (unsigned char)marks[part][k][j];
        }
        if (!mark) return 0;
        at += 3;
        if (part < 2) at = blanks(s, at);
    }
    return at;
}

/* 12.03.1985 1985-03-12 12/3/85 12. 3. 1985 */
static size_t numeric(struct pii_scan *s, size_t at, int first, int first_len, int sep) {
    int n2, n3;
    at = blanks(s, at + 1);
    const int second = number(s, &at, &n2);
    if (second < 1 || n2 > 2 || pii_look(s, at) != sep) return 0;
    at = blanks(s, at + 1);
    const int third = number(s, &at, &n3);
    if (third < 0) return 0;
    const bool year_first =
        first_len == 4 && is_year(first, 4) && second <= 12 && is_day(third) && n3 <= 2;
    const bool day_first = first_len <= 2 && is_day(first) && second <= 12 && is_year(third, n3);
    const bool month_first =
        first_len <= 2 && first <= 12 && first > 0 && is_day(second) && is_year(third, n3);
    return year_first || day_first || month_first ? at : 0;
}

/* "March 12, 1985", "Mar. 12 1985": behind the name. */
static size_t after_month(struct pii_scan *s, size_t at) {
    int len;
    if (pii_look(s, at) == '.') at++;
    at = blanks(s, at);
    if (!is_day(number(s, &at, &len))) return 0;
    const int c = pii_look(s, at), d = pii_look(s, at + 1);
    if (pii_is_alpha(c) && pii_is_alpha(d)) at += 2; /* 12th */
    if (pii_look(s, at) == ',') at++;
    at = blanks(s, at);
    const int year = number(s, &at, &len);
    return len == 4 && is_year(year, len) ? at : 0;
}

/* "12 March 1985", "12. März 1985", "12 de marzo de 1985", "1er mars 1985": behind the day. */
static size_t after_day(struct pii_scan *s, size_t at) {
    int len;
    if (pii_look(s, at) == '.') at++;
    if (pii_is_alpha(pii_look(s, at)) && pii_is_alpha(pii_look(s, at + 1))) at += 2;
    if (pii_look(s, at) == '-') at++;
    at = small_word(s, blanks(s, at));
    if (!month_name(s, &at)) return 0;
    if (pii_look(s, at) == '.' || pii_look(s, at) == ',' || pii_look(s, at) == '-') at++;
    at = small_word(s, blanks(s, at));
    const int year = number(s, &at, &len);
    return is_year(year, len) && len == 4 ? at : 0;
}

bool pii_birth(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    const uint64_t seen = s->seen[TOPIC_BIRTH];
    size_t at = i, end = 0;
    if (!seen || s->base + i - seen > BIRTH_WINDOW) return false;
    if (!pii_is_digit(s->p[i])) {
        if (month_name(s, &at)) end = after_month(s, at);
    } else {
        int len;
        const int first = number(s, &at, &len), c = pii_look(s, at);
        if (first < 0) return false;
        if (len == 4) end = east_asian(s, at);
        if (!end && (c == '-' || c == '.' || c == '/')) end = numeric(s, at, first, len, c);
        if (!end && len <= 2 && is_day(first)) end = after_day(s, at);
    }
    if (!end || pii_number_goes_on(s, end)) return false;
    *hit = (struct pii_hit){PII_BIRTH_DATE, i, end};
    return true;
}
