/* Payment cards: the issuer's range and length (ISO/IEC 7812; the ranges that the networks
 * publish), and the check digit by Luhn's formula (US patent 2,950,048; ISO/IEC 7812-1, annex B).
 */
#include "policy/pii_priv.h"

static const struct issuer {
    int from, to, n_prefix; /* first digits */
    int min, max;           /* digits in all */
    bool common;            /* found without a word nearby when written in one piece */
} issuers[] = {
    {4, 4, 1, 16, 16, true},                                       /* Visa */
    {4, 4, 1, 13, 19, false},                                      /* old and new lengths of it */
    {51, 55, 2, 16, 16, true},                                     /* Mastercard */
    {2221, 2720, 4, 16, 16, true},  {34, 34, 2, 15, 15, true},     /* American Express */
    {37, 37, 2, 15, 15, true},      {6011, 6011, 4, 16, 19, true}, /* Discover */
    {644, 659, 3, 16, 19, true},    {300, 305, 3, 14, 19, true},   /* Diners Club */
    {309, 309, 3, 14, 19, true},    {36, 36, 2, 14, 19, true},
    {38, 39, 2, 14, 19, true},      {3528, 3589, 4, 16, 19, true}, /* JCB */
    {62, 62, 2, 16, 19, true},                                     /* UnionPay */
    {2200, 2204, 4, 16, 19, true},                                 /* Mir */
    {60, 60, 2, 16, 16, false},                                    /* RuPay */
    {81, 82, 2, 16, 16, false},     {508, 508, 3, 16, 16, false},
    {50, 50, 2, 12, 19, false}, /* Maestro */
    {56, 58, 2, 12, 19, false},     {6304, 6304, 4, 12, 19, false},
    {6759, 6763, 4, 12, 19, false}, {9792, 9792, 4, 16, 16, false}, /* Troy */
};

static bool luhn(const char *d, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) {
        const int v = d[n - 1 - i] - '0', twice = 2 * v;
        sum += i % 2 == 0 ? v : twice > 9 ? twice - 9 : twice;
    }
    return sum % 10 == 0;
}

/* 0: no issuer; 1: one that needs a word nearby; 2: a common one. */
static int issued(const char *d, int n) {
    int best = 0;
    for (size_t k = 0; k < sizeof issuers / sizeof *issuers; k++) {
        const struct issuer *r = &issuers[k];
        int prefix = 0;
        for (int i = 0; i < r->n_prefix; i++)
            prefix = 10 * prefix + d[i] - '0';
        if (prefix < r->from || prefix > r->to || n < r->min || n > r->max) continue;
        if (r->common) return 2;
        best = 1;
    }
    return best;
}

static bool all_equal(const char *d, int n) {
    for (int i = 1; i < n; i++)
        if (d[i] != d[0]) return false;
    return true;
}

/* As people write them; with one kind of separator. */
static int grouped(struct pii_scan *s, const struct pii_groups *g) {
    static const char *const forms[] = {"4 4 4 4",   "4-4-4-4", "4.4.4.4",   "4 6 5",
                                        "4-6-5",     "4 6 4",   "4-6-4",     "4 4 4 4 3",
                                        "4-4-4-4-3", "6 13",    "4 4 4 4 2", "6 10"};
    for (size_t k = 0; k < sizeof forms / sizeof *forms; k++)
        if (pii_groups_are(s, g, forms[k])) {
            int n = 0;
            for (const char *f = forms[k]; *f; f++)
                n += !pii_is_digit(*f);
            return n + 1;
        }
    return 0;
}

bool pii_card(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit) {
    int k = 1;
    const bool one = g->len[0] >= 12 && !pii_number_goes_on(s, g->end[0]);
    if (g->glued || (!one && (k = grouped(s, g)) == 0)) return false;
    const int n = g->upto[k - 1], kind = issued(g->digit, n);
    if (n > 19 || !kind || !luhn(g->digit, n) || all_equal(g->digit, n)) return false;
    const bool near = pii_near(s, TOPIC_CARD, g->start, 64);
    if (!near && pii_other_number(s, g->start)) return false;
    if (!near && one && kind < 2 && !pii_near_after(s, TOPIC_CARD, g->end[0])) return false;
    *hit = (struct pii_hit){PII_CARD, g->start, g->end[k - 1]};
    return true;
}
