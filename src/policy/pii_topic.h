/* Words that say what a number or a text beside them is: "Tel.", "Steuer-ID", "born", "password".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum topic {
    TOPIC_PHONE,
    TOPIC_CALL, /* "call": weaker */
    TOPIC_CARD,
    TOPIC_SSN,
    TOPIC_DE_TAX,
    TOPIC_DNI,
    TOPIC_NIR,
    TOPIC_BSN,
    TOPIC_PESEL,
    TOPIC_CPF,
    TOPIC_NHS,
    TOPIC_NINO,
    TOPIC_AADHAAR,
    TOPIC_BIRTH,
    TOPIC_OTHER,   /* order, invoice, serial: numbers that are nobody's */
    TOPIC_VERSION, /* version, section: no IP address */
    TOPIC_PASSWORD,
    TOPIC_SECRET, /* secret, token, credential */
    TOPIC_KEY,
    TOPIC_KEY_OF, /* api, access, account: before "key" */
    TOPIC_BEARER,
    TOPIC_MONTH,
    N_TOPIC
};

struct topic_word {
    const char *text; /* lower case */
    enum topic topic;
    int value; /* of a month: 1 to 12 */
};

extern const struct topic_word topic_words[]; /* pii_topic_data.c; NULL ends it */

/* FNV-1a over lower-case bytes (Fowler, Noll, Vo). */
enum { TOPIC_SEED = 0x1234567 };
static inline uint32_t topic_hash(uint32_t h, unsigned char c) {
    return (h ^ c) * 16777619u;
}

/* Lower case of a letter of one byte. */
static inline unsigned char topic_fold(unsigned char c) {
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}
/* Of a letter of two bytes: Latin-1, Greek, Cyrillic.  Others stay. */
void topic_fold2(unsigned char *a, unsigned char *b);

/* The word, or NULL; hash: of its folded bytes. */
const struct topic_word *topic_find(struct str word, uint32_t hash);
/* The word of three-byte letters that the text begins with, or NULL; *more: it may become one. */
const struct topic_word *topic_find3(struct str text, bool *more);
