/* From patterns to questions.  See guide.h. */
#include "guide.h"

#include <ctype.h>
#include <string.h>

/* Deep enough for what people write; words that name each other in a circle end here. */
enum { MAX_DEPTH = 16 };

static uint64_t next(struct chance *c) {
    uint64_t z = (c->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int chance_below(struct chance *c, int n) {
    return (int)((next(c) >> 32) * (uint64_t)n >> 32);
}

bool chance_of(struct chance *c, int percent) {
    return chance_below(c, 100) < percent;
}

struct expand {
    const struct guide *g;
    struct chance *c;
    struct buf *out;
    struct err *e;
};

static int expand(struct expand *x, struct str s, int depth);

/* A word that no language has: the guide must learn that what it does not know is not Cria. */
static void junk(struct expand *x) {
    static const char *const begin[] = {"b",  "c",  "d",   "f",  "g",  "h",  "j",  "k",   "l",
                                        "m",  "n",  "p",   "r",  "s",  "t",  "v",  "w",   "z",
                                        "br", "cl", "dr",  "fl", "gr", "pl", "qu", "sch", "sh",
                                        "sp", "st", "str", "th", "tr", "",   "wh", "pr",  "kn"};
    static const char *const middle[] = {"a",  "e",  "i",  "o",  "u", "y",
                                         "ai", "ea", "oo", "ou", "ie"};
    static const char *const end[] = {"",   "b",  "ck",   "d",   "ff", "g",  "l",   "m",  "n",
                                      "p",  "r",  "s",    "t",   "x",  "nd", "ng",  "nt", "rk",
                                      "st", "sh", "tion", "ing", "er", "le", "ous", "ism"};
    const int n = 1 + chance_below(x->c, 3);
    for (int i = 0; i < n; i++) {
        buf_str(x->out, begin[chance_below(x->c, sizeof begin / sizeof *begin)]);
        buf_str(x->out, middle[chance_below(x->c, sizeof middle / sizeof *middle)]);
        if (i == n - 1 || chance_of(x->c, 30))
            buf_str(x->out, end[chance_below(x->c, sizeof end / sizeof *end)]);
    }
}

/* The end of the alternative that begins at s.p[i]: at a "|" or the end, braces skipped. */
static size_t alternative_end(struct str s, size_t i) {
    int open = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '{') open++;
        if (s.p[i] == '}') open--;
        if (s.p[i] == '|' && open == 0) break;
    }
    return i;
}

/* One of "a|b|c", each as likely. */
static int choose(struct expand *x, struct str s, int depth) {
    int n = 1;
    size_t i, begin = 0;
    for (i = alternative_end(s, 0); i < s.n; i = alternative_end(s, i + 1))
        n++;
    for (int k = chance_below(x->c, n); k > 0; k--)
        begin = alternative_end(s, begin) + 1;
    const size_t end = alternative_end(s, begin);
    return expand(x, (struct str){s.p + begin, end - begin}, depth + 1);
}

static int expand_word(struct expand *x, struct str name, int depth) {
    if (name.n == 4 && memcmp(name.p, "junk", 4) == 0) {
        junk(x);
        return 0;
    }
    for (int i = 0; i < x->g->n_word; i++) {
        const struct word *w = &x->g->word[i];
        if (strlen(w->name) == name.n && memcmp(w->name, name.p, name.n) == 0)
            return choose(x, (struct str){w->choices, strlen(w->choices)}, depth);
    }
    return err_set(x->e, ERR_FORMAT, "<%.*s> is not a word; a line \"word\" makes one", (int)name.n,
                   name.p);
}

/* The bracket that closes s.p[i], or s.n. */
static size_t closing(struct str s, size_t i) {
    int open = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '{') open++;
        if (s.p[i] == '}' && --open == 0) break;
    }
    return i;
}

static int expand(struct expand *x, struct str s, int depth) {
    int rc = 0;
    if (depth > MAX_DEPTH) return err_set(x->e, ERR_FORMAT, "words that name each other");
    for (size_t i = 0; rc == 0 && i < s.n; i++) {
        if (s.p[i] == '{') {
            const size_t end = closing(s, i);
            if (end == s.n)
                return err_set(x->e, ERR_FORMAT, "\"%.*s\": { without }", (int)s.n, s.p);
            rc = choose(x, (struct str){s.p + i + 1, end - i - 1}, depth);
            i = end;
        } else if (s.p[i] == '<' && memchr(s.p + i, '>', s.n - i)) {
            const char *end = memchr(s.p + i, '>', s.n - i);
            rc = expand_word(x, (struct str){s.p + i + 1, (size_t)(end - s.p) - i - 1}, depth);
            i = (size_t)(end - s.p);
        } else if (s.p[i] != ' ' || (x->out->n > 0 && x->out->p[x->out->n - 1] != ' ')) {
            buf_byte(x->out, s.p[i]); /* an empty alternative leaves no second blank */
        }
    }
    return rc;
}

int guide_expand(const struct guide *g, const char *pattern, struct chance *c, struct buf *out,
                 struct err *e) {
    struct expand x = {g, c, out, e};
    const int rc = expand(&x, (struct str){pattern, strlen(pattern)}, 0);
    while (out->n > 0 && out->p[out->n - 1] == ' ')
        out->p[--out->n] = 0;
    return rc != 0 ? rc : out->failed ? err_nomem(e, "question") : 0;
}

void guide_normalize(struct str s, struct buf *out) {
    const size_t begin = out->n;
    for (size_t i = 0; i < s.n; i++) {
        const char ch = s.p[i];
        if (strchr("?!,'\"`;", ch) || (ch == '.' && (i + 1 == s.n || s.p[i + 1] == ' '))) continue;
        if (ch != ' ')
            buf_byte(out, (char)tolower((unsigned char)ch));
        else if (out->n > begin && out->p[out->n - 1] != ' ')
            buf_byte(out, ' ');
    }
    while (out->n > begin && out->p[out->n - 1] == ' ')
        out->p[--out->n] = 0;
    if (out->n == begin) buf_append(out, s.p, s.n); /* nothing but signs */
}
