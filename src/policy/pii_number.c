/* Numbers in groups: reading them, and which scanner gets them first. */
#include "policy/pii_priv.h"

/* What stands before a number that makes it a part of something else: "ABC-1", "1.1", "a/1", "$1".
 */
static bool is_glued(const struct pii_scan *s, size_t i) {
    const int c = pii_behind(s, i, 1), b = pii_behind(s, i, 2);
    const bool alnum = pii_is_alnum(b);
    if (c == '-' || c == '/') return alnum || b == c;
    if (c == '.' || c == ',' || c == ':') return pii_is_digit(b);
    return c == '$' || c == '@' || (c == 0xa3 && b == 0xc2) || (c == 0xac && b == 0x82) ||
           c == '\\';
}

void pii_groups_read(struct pii_scan *s, size_t i, struct pii_groups *g) {
    int n_digit = 0, sep = 0;
    *g = (struct pii_groups){.start = i, .glued = is_glued(s, i)};
    while (g->n < PII_GROUPS) {
        int len = 0;
        while (n_digit < PII_DIGITS && pii_is_digit(pii_look(s, i + len)))
            g->digit[n_digit++] = s->p[i + len++];
        if (len == 0) break;
        i += len;
        g->sep[g->n] = (char)sep;
        g->len[g->n] = len;
        g->upto[g->n] = n_digit;
        g->end[g->n++] = i;
        size_t k = pii_separator(s, i, &sep);
        const int c = pii_look(s, i);
        if (k == 0 && (c == '.' || c == '/' || c == ':')) k = 1, sep = c;
        if (k == 0 || !pii_is_digit(pii_look(s, i + k))) break;
        i += k;
    }
}

bool pii_groups_are(struct pii_scan *s, const struct pii_groups *g, const char *form) {
    int k = 0;
    for (const char *f = form; *f && *f != '|'; k++) {
        int len = 0;
        const char sep = k ? *f++ : 0;
        while (pii_is_digit(*f))
            len = 10 * len + *f++ - '0';
        if (k >= g->n || g->len[k] != len || g->sep[k] != sep) return false;
    }
    return !pii_number_goes_on(s, g->end[k - 1]);
}

bool pii_groups_reach(const struct pii_groups *g, int n) {
    for (int k = 0; k < g->n; k++)
        if (g->upto[k] == n) return true;
    return false;
}

bool pii_number(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    struct pii_groups g;
    pii_groups_read(s, i, &g);
    const int n = g.upto[g.n - 1];
    if (n < 4) return pii_phone(s, i, hit); /* "0 (532)...", "1 (415)..." */
    return pii_ipv4(s, &g, hit) || pii_corsica(s, i, hit) || pii_dni(s, &g, hit) ||
           (n >= 9 && (pii_card(s, &g, hit) || pii_national(s, &g, hit))) || pii_phone(s, i, hit);
}
