/* See pii_topic.h: a table of hashes over the words, made once. */
#include "policy/pii_topic.h"

#include <pthread.h>
#include <stdbool.h>

enum { SLOTS = 2048 }; /* a power of two, several times the words */

static const struct topic_word *slot[SLOTS], *slot3[SLOTS];
static pthread_once_t made = PTHREAD_ONCE_INIT;

void topic_fold2(unsigned char *a, unsigned char *b) {
    const unsigned char x = *a, y = *b;
    if (x == 0xc3 && y <= 0x9e) /* À to Þ */
        *b = (unsigned char)(y + 0x20);
    else if (x == 0xce && y >= 0x91 && y <= 0x9f) /* Α to Ο */
        *b = (unsigned char)(y + 0x20);
    else if (x == 0xce && y >= 0xa0 && y <= 0xa9) /* Π to Ω */
        *a = 0xcf, *b = (unsigned char)(y - 0x20);
    else if (x == 0xd0 && y >= 0x90 && y <= 0x9f) /* А to П */
        *b = (unsigned char)(y + 0x20);
    else if (x == 0xd0 && y >= 0xa0 && y <= 0xaf) /* Р to Я */
        *a = 0xd1, *b = (unsigned char)(y - 0x20);
    else if (x == 0xc5 && y == 0x9a) /* Ś */
        *b = 0x9b;
}

static bool is_wide(unsigned char c) {
    return c >= 0xe0;
}

static void make(void) {
    for (const struct topic_word *w = topic_words; w->text; w++) {
        const unsigned char *u = (const unsigned char *)w->text;
        uint32_t h = TOPIC_SEED;
        const bool wide = is_wide(*u);
        /* Of wide words the first character; they are few, and have no end in the text. */
        for (size_t i = 0; wide ? i < 3 : u[i] != 0; i++)
            h = topic_hash(h, u[i]);
        const struct topic_word **at = wide ? slot3 : slot;
        while (at[h % SLOTS])
            h++;
        at[h % SLOTS] = w;
    }
}

/* Is it w in any case? */
static bool same(const struct topic_word *w, struct str word) {
    const unsigned char *t = (const unsigned char *)w->text, *u = (const unsigned char *)word.p;
    if (strlen(w->text) != word.n) return false;
    for (size_t i = 0; i < word.n;) {
        unsigned char a = topic_fold(u[i]), b = i + 1 < word.n ? u[i + 1] : 0;
        if (a < 0x80) {
            if (a != t[i++]) return false;
            continue;
        }
        topic_fold2(&a, &b);
        if (a != t[i] || b != t[i + 1]) return false;
        i += 2;
    }
    return true;
}

const struct topic_word *topic_find(struct str word, uint32_t hash) {
    pthread_once(&made, make);
    for (; slot[hash % SLOTS]; hash++)
        if (same(slot[hash % SLOTS], word)) return slot[hash % SLOTS];
    return NULL;
}

const struct topic_word *topic_find3(struct str text, bool *more) {
    pthread_once(&made, make);
    uint32_t h = TOPIC_SEED;
    *more = text.n < 3;
    if (text.n < 3) return NULL;
    for (size_t i = 0; i < 3; i++)
        h = topic_hash(h, (unsigned char)text.p[i]);
    for (; slot3[h % SLOTS]; h++) {
        const struct str word = str_of(slot3[h % SLOTS]->text);
        if (str_starts(text, word)) return slot3[h % SLOTS];
        *more |= str_starts(word, text);
    }
    return NULL;
}
