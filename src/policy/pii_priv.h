/* The scan from inside: a place in the text, what was seen before it, looks ahead that know when
 * they meet the end.
 *
 * Every decision about a place depends only on PII_BEHIND bytes before it, on the topics seen so
 * far, and on bytes ahead that were read through pii_look().  A look past the end of what is there
 * sets `short_look`: in a stream the place is decided again when more has come.  So pieces give
 * what the whole text gives, wherever they are cut. */
#pragma once

#include "policy/pii.h"
#include "policy/pii_topic.h"

enum {
    PII_BEHIND = 16,      /* bytes before a place that a scanner may look at */
    PII_WORD_MAX = 256,   /* of a word; the rest of a longer one is passed over */
    PII_VALUE_MAX = 512,  /* behind "password=" */
    PII_TOKEN_MAX = 4096, /* of a token; a longer one is several hits */
    PII_KEY_MAX = 32768,  /* of a private key's block */
};

struct pii_scan {
    const char *p;
    size_t n, at;    /* at: the place */
    uint64_t base;   /* offset of p[0] in the whole text */
    bool final;      /* nothing follows p[n) */
    bool short_look; /* a look went past p[n) */
    enum pii_kind tail_kind;
    bool (*tail)(int c);    /* not NULL: the last hit was cut at its limit and goes on with these */
    uint64_t found;         /* where the last entity ended */
    uint64_t quiet;         /* no value of a secret begins before */
    uint64_t seen[N_TOPIC]; /* where the last word of a topic ended; 0: none yet */
};

/* The byte at i, or -1 at the end. */
static inline int pii_look(struct pii_scan *s, size_t i) {
    if (i < s->n) return (unsigned char)s->p[i];
    s->short_look = true;
    return -1;
}

/* The byte k before i, k <= PII_BEHIND; -1 at the beginning. */
static inline int pii_behind(const struct pii_scan *s, size_t i, size_t k) {
    return i >= k ? (unsigned char)s->p[i - k] : -1;
}

static inline bool pii_is_digit(int c) {
    return c >= '0' && c <= '9';
}
static inline bool pii_is_upper(int c) {
    return c >= 'A' && c <= 'Z';
}
static inline bool pii_is_alpha(int c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
static inline bool pii_is_alnum(int c) {
    return pii_is_digit(c) || pii_is_alpha(c);
}
static inline int pii_upper(int c) {
    return c >= 'a' && c <= 'z' ? c - 32 : c;
}
static inline bool pii_is_hex(int c) {
    return pii_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
static inline bool pii_is_blank(int c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Length of the letter of two bytes at i (Latin with accents, Greek, Cyrillic, Hebrew, Arabic), or
 * 0.  Scripts of three bytes often have no blanks between words: they count as a boundary. */
static inline size_t pii_letter2(struct pii_scan *s, size_t i) {
    const int c = pii_look(s, i);
    return c >= 0xc3 && c <= 0xdf && (pii_look(s, i + 1) & 0xc0) == 0x80 ? 2 : 0;
}

/* Is there no letter, digit or "_" before i?  One that a backslash escapes ("\n") does not count.
 */
bool pii_starts_word(const struct pii_scan *s, size_t i);
/* Does a letter or digit follow directly at i? */
static inline bool pii_goes_on(struct pii_scan *s, size_t i) {
    return pii_is_alnum(pii_look(s, i)) || pii_look(s, i) == '_' || pii_letter2(s, i);
}
/* The same, or a digit behind "-", "." or "/": i is within a larger number. */
bool pii_number_goes_on(struct pii_scan *s, size_t i);

/* Was a word of the topic within `window` bytes before i, and no word of another kind of number
 * (order, version...) after it? */
bool pii_near(const struct pii_scan *s, enum topic t, size_t i, size_t window);
/* Or does one follow i on its line, within 32 bytes? */
bool pii_near_after(struct pii_scan *s, enum topic t, size_t i);
/* What precedes i says that the number is of another kind: "order", "#", "version". */
bool pii_other_number(const struct pii_scan *s, size_t i);

/* Length of the blank at i, also a no-break one; 0: none. */
size_t pii_space(struct pii_scan *s, size_t i);
/* Of a blank or a dash, also the typographic ones; *c gets ' ' or '-'. */
size_t pii_separator(struct pii_scan *s, size_t i, int *c);

/* ---- the families: is there an entity at the place i?  Then *hit has it. ---- */

/* A number in groups, as most ids are written. */
enum { PII_GROUPS = 8, PII_DIGITS = 24 };
struct pii_groups {
    int n;                         /* groups */
    size_t start, end[PII_GROUPS]; /* where each ends */
    int len[PII_GROUPS];           /* digits of each */
    int upto[PII_GROUPS];          /* digits of it and those before */
    char sep[PII_GROUPS];          /* before it: ' ' '-' '.' '/' ':'; [0]: 0 */
    char digit[PII_DIGITS + 1];    /* all of them, without separators */
    bool glued;                    /* "ABC-", "1." or "a/" stands before it */
};
void pii_groups_read(struct pii_scan *s, size_t i, struct pii_groups *g);
/* Do the first groups have the lengths of `form` ("3-2-4", to its end or a "|"), with the
 * separators it has (a blank also stands for a no-break one), and does the number end there? */
bool pii_groups_are(struct pii_scan *s, const struct pii_groups *g, const char *form);
/* Are there n digits up to the end of some group? */
bool pii_groups_reach(const struct pii_groups *g, int n);

bool pii_number(struct pii_scan *s, size_t i, struct pii_hit *hit); /* at a digit */
bool pii_card(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit);
bool pii_national(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit);
bool pii_dni(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit);
bool pii_ipv4(struct pii_scan *s, const struct pii_groups *g, struct pii_hit *hit);
bool pii_phone(struct pii_scan *s, size_t i, struct pii_hit *hit);       /* at + ( or a digit */
bool pii_birth(struct pii_scan *s, size_t i, struct pii_hit *hit);       /* at a digit or a month */
bool pii_hex_address(struct pii_scan *s, size_t i, struct pii_hit *hit); /* IPv6, MAC */
bool pii_email(struct pii_scan *s, size_t i, struct pii_hit *hit);
bool pii_url(struct pii_scan *s, size_t i, size_t end, struct pii_hit *hit); /* a word, its end */
bool pii_iban(struct pii_scan *s, size_t i, struct pii_hit *hit);
bool pii_lettered(struct pii_scan *s, size_t i, struct pii_hit *hit); /* ids that begin with one */
bool pii_corsica(struct pii_scan *s, size_t i, struct pii_hit *hit);  /* at a digit */
bool pii_token(struct pii_scan *s, size_t i, struct pii_hit *hit);
bool pii_key_block(struct pii_scan *s, size_t i, struct pii_hit *hit); /* at "-----" */
/* The value behind a word like "password"; topics: of the word's parts. */
bool pii_value(struct pii_scan *s, size_t i, size_t end, uint32_t topics, struct pii_hit *hit);

/* ---- the scan ---- */

enum pii_step { PII_HIT, PII_MORE, PII_DONE };

/* The next entity from s->at on, of any kind.  PII_MORE: p[at..n) cannot be decided yet; PII_DONE:
 * at is n. */
enum pii_step pii_next(struct pii_scan *s, struct pii_hit *hit);
