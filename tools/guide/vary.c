/* Slight changes of a question, so that what was learned does not hang on one word.  See guide.h.
 */
#include "guide.h"

#include <string.h>

enum { MAX_WORDS = 64, LONG = 4 }; /* words: a question that may lose some */

enum {               /* percent */
       REPLACE = 18, /* of the words that have others like them */
       TERSE = 12,   /* of the questions: without most of the words that say little */
       DROP = 60,    /* of those words */
       LEAD = 10,    /* of the questions */
       TAIL = 6,
       LOOSE = 30, /* of the questions: words lost or in another order */
       LOSE = 14,  /* of their words */
       SWAP = 10,  /* of them, with the next one */
};

/* Is the word one of "a|b|c"? */
static bool is_one(const char *list, struct str word) {
    for (const char *p = list; *p;) {
        const size_t n = strcspn(p, "|");
        if (n == word.n && memcmp(p, word.p, n) == 0) return true;
        p += n + (p[n] != 0);
    }
    return false;
}

/* One of "a|b|c". */
static struct str pick(const char *list, struct chance *c) {
    int n = 1;
    for (const char *p = list; (p = strchr(p, '|')); p++)
        n++;
    for (int k = chance_below(c, n); k > 0; k--)
        list = strchr(list, '|') + 1;
    return (struct str){list, strcspn(list, "|")};
}

static struct str replaced(const struct guide *g, struct chance *c, struct str word) {
    for (int i = 0; i < g->n_alike; i++)
        if (is_one(g->alike[i], word) && chance_of(c, REPLACE)) return pick(g->alike[i], c);
    return word;
}

static void append(struct buf *out, struct str s) {
    if (out->n > 0 && out->p[out->n - 1] != ' ') buf_byte(out, ' ');
    buf_append(out, s.p, s.n);
}

/* The words of a text; -1: more than MAX_WORDS. */
static int split(struct str s, struct str word[MAX_WORDS]) {
    int n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ') continue;
        const size_t begin = i;
        while (i < s.n && s.p[i] != ' ')
            i++;
        if (n == MAX_WORDS) return -1;
        word[n++] = (struct str){s.p + begin, i - begin};
    }
    return n;
}

/* Some words lost, some swapped with the next one: which words there are says more than their
 * order.  What says something is not lost from a short question, and two such words stay in any,
 * else nobody could tell what was meant. */
static void loosen(const struct guide *g, struct chance *c, struct buf *b) {
    struct str word[MAX_WORDS];
    struct buf out = {0};
    const int n = split(buf_view(b), word);
    int telling = 0;
    for (int i = 0; i < n; i++)
        telling += !g->filler || !is_one(g->filler, word[i]);
    if (telling < 2) return;
    for (int i = 0; i + 1 < n; i++) {
        if (!chance_of(c, SWAP)) continue;
        const struct str first = word[i];
        word[i] = word[i + 1], word[i + 1] = first;
    }
    for (int i = 0; i < n; i++) {
        const bool tells = !g->filler || !is_one(g->filler, word[i]);
        const bool lost = chance_of(c, LOSE) && (!tells || (n >= LONG && telling > 2));
        if (lost && tells) telling--;
        if (!lost) append(&out, word[i]);
    }
    buf_fini(b);
    *b = out;
}

/* Word by word.  What follows "cria" is a command's name. */
static void rewrite(const struct guide *g, struct chance *c, struct str s, struct buf *out) {
    const bool terse = g->filler && chance_of(c, TERSE);
    bool after_name = false;
    for (size_t i = 0; i < s.n;) {
        size_t end = i;
        while (end < s.n && s.p[end] != ' ')
            end++;
        struct str word = {s.p + i, end - i};
        const bool drop = terse && is_one(g->filler, word) && chance_of(c, DROP);
        const bool name = word.n == 4 && memcmp(word.p, "cria", 4) == 0;
        if (!after_name) word = replaced(g, c, word);
        after_name = name;
        if (!drop) append(out, word);
        i = end + 1;
    }
}

int guide_vary(const struct guide *g, struct chance *c, enum variety v, struct buf *b,
               struct err *e) {
    struct buf out = {0};
    int rc = 0;
    if (chance_of(c, LEAD)) rc = guide_expand(g, "<lead>", c, &out, e);
    const size_t lead = out.n;
    if (v >= VARY_WORDS)
        rewrite(g, c, buf_view(b), &out);
    else
        append(&out, buf_view(b));
    if (out.n == lead) append(&out, buf_view(b)); /* nothing but fillers */
    if (v >= VARY_ORDER && chance_of(c, LOOSE)) loosen(g, c, &out);
    if (rc == 0 && chance_of(c, TAIL)) {
        buf_byte(&out, ' ');
        rc = guide_expand(g, "<tail>", c, &out, e);
    }
    if (rc == 0 && out.failed) rc = err_nomem(e, "question");
    buf_fini(b);
    *b = out;
    return rc;
}
