/* Ids that begin with a letter or hold letters: IBAN, NIE, codice fiscale, NINO, the NIR of
 * Corsica.
 */
#include "policy/pii_priv.h"

/* ---- IBAN ---- */

/* Country and length: SWIFT, IBAN Registry (ISO 13616-2), release 99. */
static const char lengths[] =
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24"
    "FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32"
    "LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24"
    "RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

static int iban_length(int a, int b) {
    for (const char *c = lengths; *c; c += 4)
        if (c[0] == a && c[1] == b) return 10 * (c[2] - '0') + c[3] - '0';
    return 0;
}

/* Is the number, its first four characters moved to the end and letters as 10 to 35, 1 modulo 97?
 * (ISO/IEC 7064 MOD 97-10, as ISO 13616 uses it.) */
static bool is_mod97(const char *text, int n) {
    int rest = 0;
    for (int i = 0; i < n; i++) {
        const int c = text[(i + 4) % n];
        rest = pii_is_digit(c) ? (10 * rest + c - '0') % 97 : (100 * rest + c - 'A' + 10) % 97;
    }
    return rest == 1;
}

bool pii_iban(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    char text[36];
    int n = 0;
    if (!pii_is_alpha(pii_look(s, i + 1))) return false;
    /* The first two digits may stand apart: "DE 89 3704..." */
    const size_t apart = pii_space(s, i + 2);
    if (!pii_is_digit(pii_look(s, i + 2 + apart)) || !pii_is_digit(pii_look(s, i + 3 + apart)))
        return false;
    const int length = iban_length(pii_upper(s->p[i]), pii_upper(s->p[i + 1]));
    size_t at = i;
    while (n < length) {
        const int c = pii_look(s, at);
        int sep;
        const size_t gap = n > 0 && !pii_is_alnum(c) ? pii_separator(s, at, &sep) : 0;
        if (gap && pii_is_alnum(pii_look(s, at + gap))) {
            at += gap;
            continue;
        }
        if (!pii_is_alnum(c)) return false;
        text[n++] = (char)pii_upper(c);
        at++;
    }
    if (n == 0 || pii_goes_on(s, at) || !is_mod97(text, n)) return false;
    *hit = (struct pii_hit){PII_IBAN, i, at};
    return true;
}

/* ---- NIE ---- */

/* X, Y or Z as 0, 1, 2 before seven digits; then the letter of the DNI (Orden INT/2058/2008). */
static bool nie(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    static const char letters[] = "TRWAGMYFPDXBNJZSQVHLCKE";
    const int first = pii_upper(pii_look(s, i));
    int v = first - 'X', n = 0, sep;
    size_t at = i + 1;
    if (first < 'X' || first > 'Z') return false;
    at += pii_separator(s, at, &sep);
    while (n < 7) {
        const int c = pii_look(s, at);
        if (c == '.' && (n == 1 || n == 4) && pii_is_digit(pii_look(s, at + 1))) {
            at++;
            continue;
        }
        if (!pii_is_digit(c)) return false;
        v = 10 * v + c - '0';
        n++, at++;
    }
    at += pii_separator(s, at, &sep);
    const int c = pii_upper(pii_look(s, at));
    if (c != letters[v % 23] || pii_goes_on(s, at + 1)) return false;
    *hit = (struct pii_hit){PII_ES_DNI, i, at + 1};
    return true;
}

/* ---- codice fiscale ---- */

static int alnum_value(int c) {
    return pii_is_digit(c) ? c - '0' : c - 'A';
}

/* Decreto ministeriale 23/12/1976: letters of name and surname, year, month letter, day (women
 * +40), municipality, and the sum of values by odd and even place modulo 26.  Where two people
 * share one, digits become LMNPQRSTUV (omocodia). */
static bool is_codice(const char *t) {
    static const char odd[] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
                               20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    static const char shape[] = "AAAAAADDMDDADDDA", omocodia[] = "LMNPQRSTUV";
    int sum = 0, digit[16] = {0};
    for (int i = 0; i < 16; i++) {
        const char *o = memchr(omocodia, t[i], 10);
        const bool number = pii_is_digit(t[i]) || o;
        if (shape[i] == 'D' ? !number : !pii_is_upper(t[i])) return false;
        digit[i] = pii_is_digit(t[i]) ? t[i] - '0' : o ? (int)(o - omocodia) : 0;
        if (i < 15) sum += i % 2 == 0 ? odd[alnum_value(t[i])] : alnum_value(t[i]);
    }
    const int day = 10 * digit[9] + digit[10];
    return memchr("ABCDEHLMPRST", t[8], 12) && (day % 40 >= 1 && day <= 71 && day % 40 <= 31) &&
           sum % 26 == t[15] - 'A';
}

static bool codice(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    char text[16];
    size_t at = i;
    for (int n = 0; n < 16;) {
        const int c = pii_look(s, at);
        const size_t gap = n == 3 || n == 6 || n == 11 ? pii_space(s, at) : 0;
        if (gap) {
            at += gap;
            continue;
        }
        if (n < 6 ? !pii_is_alpha(c) : !pii_is_alnum(c)) return false;
        text[n++] = (char)pii_upper(c);
        at++;
    }
    if (pii_goes_on(s, at) || !is_codice(text)) return false;
    *hit = (struct pii_hit){PII_IT_CODICE_FISCALE, i, at};
    return true;
}

/* ---- NINO ---- */

/* HMRC, National Insurance Manual NIM39110: prefixes that are not given; suffix A to D. */
static bool nino(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    const int a = pii_look(s, i), b = pii_look(s, i + 1);
    if (!pii_is_alpha(a) || !pii_is_alpha(b)) return false;
    const int A = pii_upper(a), Z = pii_upper(b);
    if (memchr("DFIQUV", A, 6) || memchr("DFIOQUV", Z, 7)) return false;
    static const char *const never[] = {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"};
    for (size_t k = 0; k < sizeof never / sizeof *never; k++)
        if (never[k][0] == A && never[k][1] == Z) return false;
    size_t at = i + 2;
    int sep;
    for (int n = 0; n < 6; n++, at++) {
        if (n % 2 == 0) at += pii_separator(s, at, &sep);
        if (!pii_is_digit(pii_look(s, at))) return false;
    }
    at += pii_separator(s, at, &sep);
    const int c = pii_upper(pii_look(s, at));
    if (c < 'A' || c > 'D' || pii_goes_on(s, at + 1)) return false;
    if (!(pii_is_upper(a) && pii_is_upper(b)) && !pii_near(s, TOPIC_NINO, i, 64)) return false;
    *hit = (struct pii_hit){PII_UK_NINO, i, at + 1};
    return true;
}

bool pii_lettered(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    return nie(s, i, hit) || nino(s, i, hit) || codice(s, i, hit);
}

/* ---- the NIR of Corsica ---- */

/* Department 2A or 2B: 19 or 18 in the key's formula (pii_national.c). */
bool pii_corsica(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    char text[15];
    size_t at = i;
    unsigned long long v = 0;
    for (int n = 0; n < 15;) {
        const int c = pii_look(s, at);
        const size_t gap = n ? pii_space(s, at) : 0;
        if (gap && pii_is_alnum(pii_look(s, at + gap))) {
            at += gap;
            continue;
        }
        if (n == 6 ? pii_upper(c) != 'A' && pii_upper(c) != 'B' : !pii_is_digit(c)) return false;
        text[n++] = (char)pii_upper(c);
        at++;
    }
    if (text[5] != '2' || pii_goes_on(s, at)) return false;
    text[5] = '1';
    text[6] = text[6] == 'A' ? '9' : '8';
    for (int n = 0; n < 13; n++)
        v = 10 * v + (unsigned)(text[n] - '0');
    if (97 - (int)(v % 97) != 10 * (text[13] - '0') + text[14] - '0') return false;
    *hit = (struct pii_hit){PII_FR_NIR, i, at};
    return true;
}
