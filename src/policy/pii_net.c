/* Addresses on networks: e-mail, IPv4, IPv6, MAC, and the user and password in a URL. */
#include "policy/pii_priv.h"

enum { LOCAL_MAX = 64, DOMAIN_MAX = 255, AUTHORITY_MAX = 512 }; /* RFC 5321, 4.5.3.1 */

/* ---- e-mail ---- */

/* Of a local part without quotes (RFC 5322 atext), those that people use. */
static size_t local_char(struct pii_scan *s, size_t i) {
    const int c = pii_look(s, i);
    if (pii_is_alnum(c) || c == '.' || c == '_' || c == '-' || c == '+' || c == '%' || c == '\'' ||
        c == '&')
        return 1;
    return c >= 0x80 ? pii_letter2(s, i) : 0;
}

/* A letter or digit of a domain; of three bytes only where its label has begun with such. */
static size_t label_char(struct pii_scan *s, size_t i, bool wide) {
    const int c = pii_look(s, i);
    if (pii_is_alnum(c) || c == '-') return 1;
    if (c < 0x80) return 0;
    if (c < 0xe0) return pii_letter2(s, i);
    if (!wide || c > 0xef || (c == 0xe3 && pii_look(s, i + 1) == 0x80)) return 0; /* 、。 */
    return (pii_look(s, i + 1) & 0xc0) == 0x80 && (pii_look(s, i + 2) & 0xc0) == 0x80 ? 3 : 0;
}

/* The end of the domain at i, or 0: labels with dots between, the last of letters. */
static size_t domain_end(struct pii_scan *s, size_t i) {
    size_t at = i, end = 0;
    for (int n_label = 1;; n_label++) {
        const size_t label = at;
        const bool wide = pii_look(s, at) >= 0xe0;
        bool letters = true;
        for (size_t k; at - i < DOMAIN_MAX && (k = label_char(s, at, wide)); at += k)
            letters = letters && !pii_is_digit(s->p[at]) && s->p[at] != '-';
        size_t stop = at;
        while (stop > label && s->p[stop - 1] == '-')
            stop--;
        if (stop == label || s->p[label] == '-') return end;
        const bool coded = at - label > 4 && memcmp(s->p + label, "xn--", 4) == 0;
        if (n_label > 1 && ((letters && at - label >= 2) || coded)) end = at;
        if (pii_look(s, at) != '.') return end;
        at++;
    }
}

bool pii_email(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    size_t at = i, k;
    while (at - i <= LOCAL_MAX && (k = local_char(s, at)))
        at += k;
    if (at == i || at - i > LOCAL_MAX || pii_look(s, at) != '@') return false;
    if (s->p[at - 1] == '.' || (at - i == 3 && memcmp(s->p + i, "git", 3) == 0)) return false;
    for (k = i + 1; k < at; k++)
        if (s->p[k] == '.' && s->p[k - 1] == '.') return false;
    const size_t host = at + 1, end = domain_end(s, host);
    /* logo@2x.png */
    if (end == 0 || (pii_is_digit(s->p[host]) && s->p[host + 1] == 'x' && s->p[host + 2] == '.'))
        return false;
    *hit = (struct pii_hit){PII_EMAIL, i, end};
    return true;
}

/* ---- URLs ---- */

/* "user:password@" behind "scheme://": what stands before the last "@" of the authority (RFC 3986,
 * 3.2).  A password that is a variable of some program is none. */
bool pii_url(struct pii_scan *s, size_t i, size_t end, struct pii_hit *hit) {
    if (pii_look(s, end) != ':' || pii_look(s, end + 1) != '/' || pii_look(s, end + 2) != '/' ||
        !pii_is_alpha(pii_look(s, i)))
        return false;
    const size_t start = end + 3;
    size_t at = start, colon = 0, last = 0;
    for (; at - start < AUTHORITY_MAX; at++) {
        const int c = pii_look(s, at);
        if (c <= ' ' || memchr("/?#\"'<>\\`|^{}[]$", c, 16)) break;
        if (c == ':' && !colon) colon = at;
        if (c == '@') last = at;
    }
    if (!last || !colon || colon + 1 >= last) return false;
    if (last - colon == 4 && memcmp(s->p + colon + 1, "***", 3) == 0) return false;
    *hit = (struct pii_hit){PII_URL_CREDENTIALS, start, last};
    return true;
}

/* ---- IPv4 ---- */

/* Four numbers up to 255; 0 where they are none.  Not of people: loopback, "this" network, masks.
 */
static bool is_address4(const char *p, size_t n) {
    int v[4] = {0}, k = 0, len = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '.') {
            if (len == 0 || ++k > 3) return false;
            len = 0;
            continue;
        }
        if (!pii_is_digit(p[i]) || (len > 0 && v[k] == 0) || (v[k] = 10 * v[k] + p[i] - '0') > 255)
            return false;
        len++;
    }
    return k == 3 && len > 0 && v[0] != 127 && v[0] != 0 && v[0] != 255;
}

bool pii_ipv4(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit) {
    if (g->n < 4 || g->sep[1] != '.' || g->sep[2] != '.' || g->sep[3] != '.') return false;
    const size_t end = g->end[3];
    const int before = pii_behind(s, g->start, 1), c = pii_look(s, end);
    if (g->len[3] > 3 || !is_address4(s->p + g->start, end - g->start)) return false;
    if (pii_goes_on(s, end) || (c == '.' && pii_goes_on(s, end + 1)) ||
        (c == '-' && pii_is_alpha(pii_look(s, end + 1))))
        return false;
    if (c == '/' && s->p[end - 1] == '0' && s->p[end - 2] == '.') return false; /* a network */
    if (before == '.' || (before == '-' && pii_is_alnum(pii_behind(s, g->start, 2)))) return false;
    if (before == '/' && pii_is_alnum(pii_behind(s, g->start, 2)) && c != ':' && c != '/')
        return false; /* Chrome/120.0.0.0 */
    if (pii_near(s, TOPIC_VERSION, g->start, 24)) return false;
    *hit = (struct pii_hit){PII_IP, g->start, end};
    return true;
}

/* ---- IPv6 and MAC ---- */

static size_t hex_run(struct pii_scan *s, size_t i, size_t most) {
    size_t n = 0;
    while (n < most && pii_is_hex(pii_look(s, i + n)))
        n++;
    return n;
}

/* Six pairs or three fours with one separator between (IEEE 802, the forms of its users). */
static bool mac(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    size_t len = hex_run(s, i, 5);
    const int sep = pii_look(s, i + len);
    if (!(len == 2 && (sep == ':' || sep == '-')) && !(len == 4 && sep == '.')) return false;
    const int n_group = len == 2 ? 6 : 3, before = pii_behind(s, i, 1);
    if (before == sep || before == ':' || (before == '-' && pii_is_alnum(pii_behind(s, i, 2))))
        return false;
    size_t at = i;
    bool same = true;
    for (int k = 0; k < n_group; k++) {
        if (k && pii_look(s, at++) != sep) return false;
        if (hex_run(s, at, len) < len) return false;
        for (size_t j = 0; j < len; j++)
            same = same && (s->p[at + j] | 32) == (s->p[i] | 32);
        at += len;
    }
    if (same || pii_goes_on(s, at) || (pii_look(s, at) == sep && pii_is_hex(pii_look(s, at + 1))))
        return false;
    *hit = (struct pii_hit){PII_MAC, i, at};
    return true;
}

/* RFC 4291, 2.2: eight groups of up to four digits, "::" for some of zeros once, the last two
 * perhaps as IPv4.  Without "::" some group has more than two digits (else it is a time or a
 * fingerprint), with it there is a digit in it (else it is C++). */
static bool ipv6(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    size_t at = i, longest = 0;
    int n_group = 0, n_digit = 0;
    bool gap = false;
    const int before = pii_behind(s, i, 1);
    if (before == ':' || before == '.') return false;
    while (n_group < 8) {
        const size_t n = hex_run(s, at, 5);
        if (n > 4) return false;
        if (n && pii_look(s, at + n) == '.' && (gap || n_group == 6)) {
            size_t end = at;
            while (end - at < 16 && (pii_is_digit(pii_look(s, end)) || pii_look(s, end) == '.'))
                end++;
            while (end > at && s->p[end - 1] == '.')
                end--;
            if (!is_address4(s->p + at, end - at)) break;
            at = end;
            n_group += 2;
            n_digit = 4;
            longest = 4;
            break;
        }
        if (n) {
            for (size_t k = 0; k < n; k++)
                n_digit += pii_is_digit(s->p[at + k]);
            if (n > longest) longest = n;
            at += n;
            n_group++;
        }
        if (pii_look(s, at) != ':' || n_group == 8) break;
        if (pii_look(s, at + 1) == ':') {
            if (gap) return false;
            gap = true, at += 2;
            if (!pii_is_hex(pii_look(s, at))) break;
        } else if (n && pii_is_hex(pii_look(s, at + 1))) {
            at++;
        } else {
            break;
        }
    }
    if (gap ? n_group < 2 || n_group > 7 || n_digit == 0 : n_group != 8 || longest < 3)
        return false;
    if (pii_goes_on(s, at) || (pii_look(s, at) == ':' && pii_goes_on(s, at + 1))) return false;
    *hit = (struct pii_hit){PII_IP, i, at};
    return true;
}

bool pii_hex_address(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    if (s->p[i] == ':') {
        const int before = pii_behind(s, i, 1);
        return pii_look(s, i + 1) == ':' && !pii_is_alnum(before) && before != '>' &&
               before != '_' && before != ')' && ipv6(s, i, hit);
    }
    const size_t n = hex_run(s, i, 5);
    if (n == 0 || n > 4) return false;
    const int c = pii_look(s, i + n);
    if (c == ':') return (n == 2 && mac(s, i, hit)) || ipv6(s, i, hit);
    return (c == '-' || c == '.') && mac(s, i, hit);
}
