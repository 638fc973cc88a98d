/* National numbers of digits alone: the check digit, and either the usual grouping or a word
 * nearby.
 *
 * Each row of the table: how it is written so that the form alone says what it is, how else it is
 * written beside a word that says so, and its check. */
#include "policy/pii_priv.h"

static int value(const char *d, int n) {
    int v = 0;
    for (int i = 0; i < n; i++)
        v = 10 * v + d[i] - '0';
    return v;
}

/* Sum of digit times weight. */
static int weighed(const char *d, const signed char *w, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += (d[i] - '0') * w[i];
    return sum;
}

/* Social Security Administration, "SSN Randomization" (2011): areas 000, 666 and 900-999, group 00
 * and serial 0000 are not given.  078-05-1120 and 219-09-9999 were printed in advertisements. */
static bool is_ssn(const char *d) {
    const int area = value(d, 3);
    if (area == 0 || area == 666 || area >= 900 || value(d + 3, 2) == 0 || value(d + 5, 4) == 0)
        return false;
    return memcmp(d, "078051120", 9) != 0 && memcmp(d, "219099999", 9) != 0;
}

/* Steuer-ID (section 139b AO): of the first ten digits one comes twice or, since 2016, three times,
 * but not three in a row; no other comes twice.  The last by ISO/IEC 7064, MOD 11,10. */
static bool is_de_tax(const char *d) {
    int count[10] = {0}, n_repeated = 0, most = 0, product = 10;
    for (int i = 0; i < 10; i++) {
        int sum = (d[i] - '0' + product) % 10;
        count[d[i] - '0']++;
        product = (sum ? sum : 10) * 2 % 11;
        if (i > 1 && d[i] == d[i - 1] && d[i] == d[i - 2]) return false;
    }
    for (int i = 0; i < 10; i++) {
        n_repeated += count[i] > 1;
        if (count[i] > most) most = count[i];
    }
    return d[0] != '0' && n_repeated == 1 && most <= 3 && (11 - product) % 10 == d[10] - '0';
}

/* Burgerservicenummer: the eleven-test with weights 9 to 2 and -1 (Besluit burgerservicenummer). */
static bool is_bsn(const char *d) {
    static const signed char w[] = {9, 8, 7, 6, 5, 4, 3, 2, -1};
    return value(d, 9) > 0 && weighed(d, w, 9) % 11 == 0;
}

/* PESEL (ustawa o ewidencji ludnosci, 2010): date of birth with the century in the month, then
 * weights 1 3 7 9. */
static bool is_pesel(const char *d) {
    static const signed char w[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};
    const int month = value(d + 2, 2) % 20, day = value(d + 4, 2);
    return month >= 1 && month <= 12 && day >= 1 && day <= 31 && weighed(d, w, 11) % 10 == 0;
}

/* CPF (Receita Federal): two digits, each 11 minus the sum of falling weights, modulo 11. */
static bool is_cpf(const char *d) {
    bool equal = true;
    for (int i = 1; i < 11; i++)
        equal = equal && d[i] == d[0];
    for (int n = 9; n < 11; n++) {
        int sum = 0;
        for (int i = 0; i < n; i++)
            sum += (d[i] - '0') * (n + 1 - i);
        if (sum * 10 % 11 % 10 != d[n] - '0') return false;
    }
    return !equal;
}

/* NHS number (NHS Data Dictionary): weights 10 to 2, 11 minus the remainder; 10 is not given. */
static bool is_nhs(const char *d) {
    static const signed char w[] = {10, 9, 8, 7, 6, 5, 4, 3, 2};
    const int check = (11 - weighed(d, w, 9) % 11) % 11;
    return check == d[9] - '0' && value(d, 3) > 0;
}

/* Aadhaar (UIDAI): Verhoeff's check over the dihedral group D5 (J. Verhoeff, "Error Detecting
 * Decimal Codes", 1969); the first digit is 2 to 9. */
static bool is_aadhaar(const char *d) {
    static const char step[8][11] = {"0123456789", "1576283094", "5803796142", "8916043527",
                                     "9453126870", "4286573901", "2793806415", "7046913258"};
    int c = 0;
    for (int i = 0; i < 12; i++) {
        const int b = step[i % 8][d[11 - i] - '0'] - '0';
        /* The product in D5: rotations 0-4, reflections 5-9. */
        if (c < 5)
            c = b < 5 ? (c + b) % 5 : 5 + (c + b - 5) % 5;
        else
            c = b < 5 ? 5 + (c - 5 - b + 5) % 5 : (c - 5 - (b - 5) + 5) % 5;
    }
    return c == 0 && d[0] >= '2';
}

/* NIR (INSEE): sex, year, month, department, commune, order, and 97 minus the rest modulo 97.
 * Months above 12 stand for unknown ones.  Corsica, with its letters, is pii_lettered.c's. */
static bool is_nir(const char *d) {
    const int month = value(d + 3, 2), department = value(d + 5, 2);
    unsigned long long v = 0;
    for (int i = 0; i < 13; i++)
        v = 10 * v + (unsigned)(d[i] - '0');
    const bool known = (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
    return d[0] != '0' && d[0] != '9' && d[0] != '5' && d[0] != '6' && known && department > 0 &&
           97 - (int)(v % 97) == value(d + 13, 2);
}

static const struct national {
    enum pii_kind kind;
    enum topic topic;
    int n;                    /* digits */
    const char *own, *spoken; /* forms: enough alone; enough beside a word */
    bool (*is)(const char *d);
} table[] = {
    {PII_US_SSN, TOPIC_SSN, 9, "3-2-4|3 2 4", "9|3.2.4", is_ssn},
    {PII_BR_CPF, TOPIC_CPF, 11, "3.3.3-2", "11|9-2|3 3 3 2|3.3.3.2|3 3 3-2", is_cpf},
    {PII_DE_TAX_ID, TOPIC_DE_TAX, 11, "2 3 3 3", "11|3 4 4|2.3.3.3|2-3-3-3|2/3/3/3", is_de_tax},
    {PII_PL_PESEL, TOPIC_PESEL, 11, NULL, "11|6 5|6-5|2 2 2 5", is_pesel},
    {PII_NL_BSN, TOPIC_BSN, 9, "4.2.3", "9|4 2 3|3 3 3|3.3.3|4-2-3", is_bsn},
    {PII_UK_NHS, TOPIC_NHS, 10, NULL, "10|3 3 4|3-3-4", is_nhs},
    {PII_IN_AADHAAR, TOPIC_AADHAAR, 12, "4 4 4|4-4-4", "12", is_aadhaar},
    {PII_FR_NIR, TOPIC_NIR, 15, "15|1 2 2 2 3 3 2|1 2 2 2 3 3-2|13 2",
     "1 2 2 5 3 2|1-2-2-2-3-3-2|1 14|1.2.2.2.3.3.2", is_nir},
};

/* The number of groups of the form among forms that g has, or 0. */
static int written(struct pii_scan *s, const struct pii_groups *g, const char *forms) {
    for (const char *f = forms; f && *f; f += *f == '|') {
        int k = 1;
        const bool is = pii_groups_are(s, g, f);
        for (; *f && *f != '|'; f++)
            k += !pii_is_digit(*f);
        if (is) return k;
    }
    return 0;
}

static bool is_said(struct pii_scan *s, enum topic t, const struct pii_groups *g, int k) {
    return pii_near(s, t, g->start, 64) || pii_near_after(s, t, g->end[k - 1]);
}

/* Nothing says that it is a part of another number, or another number. */
static bool is_alone(struct pii_scan *s, const struct pii_groups *g, int k) {
    return !g->glued && !(k < g->n && g->sep[k] == ' ') && !pii_other_number(s, g->start);
}

bool pii_national(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit) {
    /* Beside its own word first: "NHS 943 476 5919". */
    for (int alone = 0; alone < 2; alone++)
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            const struct national *t = &table[i];
            if (!pii_groups_reach(g, t->n)) continue;
            int k = written(s, g, t->own);
            if (!k && !alone) k = written(s, g, t->spoken);
            if (!k || g->upto[k - 1] != t->n || !t->is(g->digit)) continue;
            if (alone ? !is_alone(s, g, k) : !is_said(s, t->topic, g, k)) continue;
            *hit = (struct pii_hit){t->kind, g->start, g->end[k - 1]};
            return true;
        }
    return false;
}

/* DNI: 8 digits and a letter, the number modulo 23 (Real Decreto 1553/2005). */
bool pii_dni(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit) {
    static const char letters[] = "TRWAGMYFPDXBNJZSQVHLCKE";
    int k = g->len[0] == 8 ? 1 : 0, sep;
    if (!k && g->n >= 3 && g->len[0] == 2 && g->len[1] == 3 && g->len[2] == 3 &&
        g->sep[1] == g->sep[2] && (g->sep[1] == '.' || g->sep[1] == ' '))
        k = 3;
    if (!k || g->glued) return false;
    size_t at = g->end[k - 1];
    const size_t gap = pii_separator(s, at, &sep);
    if (gap && sep == ' ' && !pii_near(s, TOPIC_DNI, g->start, 64)) return false;
    at += gap;
    const int c = pii_look(s, at);
    if (!pii_is_alpha(c) || pii_goes_on(s, at + 1)) return false;
    if (letters[value(g->digit, 8) % 23] != pii_upper(c)) return false;
    *hit = (struct pii_hit){PII_ES_DNI, g->start, at + 1};
    return true;
}
