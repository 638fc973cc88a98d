/* The text is a ring.  A table leads from the hash of two tokens to the last place where they
 * stood, from there a chain to the places before.  While the text follows a place it is not
 * searched again:
 *
 *     ... the quick brown fox ... the quick |          two tokens match: follow that place
 *                   ^at                                foretold: brown, fox, ...
 */
#include "engine/ngram.h"

#include <stdlib.h>

#include "base/os.h"

enum {
    MIN_TOK = 1 << 10,
    MAX_TOK = 1 << 17, /* 2 MB; older tokens of longer texts are forgotten */
    N_TRIED = 16,      /* places compared in a search */
    MAX_MATCH = 32,    /* longer matches are all alike */
    N_CLASS = 5,       /* matches of 2, 4, 8, 16, 32 tokens and more have odds of their own */
    NOWHERE = -1,
};

struct ngram {
    int32_t *tok;    /* [size] the ring */
    int32_t *before; /* [size] place before the pair that ends at this place; 0: none, else + 1 */
    int32_t *last;   /* [2 size] by hash: the last place of such a pair, + 1 */
    size_t size, bytes; /* size: a power of two */
    int64_t n;          /* tokens so far; place i is at tok[i % size] */
    int64_t at;         /* the text follows this place: its token is foretold.  NOWHERE: none */
    int match;          /* tokens before `at` that equal the text's last, 2 to MAX_MATCH */
    struct odds odds[N_CLASS];
};

/* ---- odds ---- */

/* An opinion to begin with weighs as much as two events. */
void odds_init(struct odds *o, float p) {
    *o = (struct odds){2 * p, 2};
}

void odds_add(struct odds *o, bool hit) {
    const float keep = 0.95f; /* 20 events count */
    o->hit = o->hit * keep + (hit ? 1.0f : 0.0f);
    o->all = o->all * keep + 1.0f;
}

float odds_p(const struct odds *o) {
    return o->hit / o->all;
}

static int class_of(int match) {
    int c = 0;
    while (match >= 4 && c < N_CLASS - 1)
        match /= 2, c++;
    return c;
}

/* ---- the text ---- */

struct ngram *ngram_new(int n_tok, struct err *e) {
    static const float first[N_CLASS] = {0.25f, 0.4f, 0.6f, 0.75f, 0.85f};
    struct ngram *g = calloc(1, sizeof *g);
    if (!g) goto nomem;
    g->size = MIN_TOK;
    while (g->size < MAX_TOK && g->size < (size_t)n_tok)
        g->size *= 2;
    g->bytes = g->size * 4 * sizeof *g->tok;
    g->tok = os_reserve(g->bytes);
    if (!g->tok) goto nomem;
    g->before = g->tok + g->size;
    g->last = g->before + g->size;
    g->at = NOWHERE;
    for (int c = 0; c < N_CLASS; c++)
        odds_init(&g->odds[c], first[c]);
    return g;
nomem:
    err_nomem(e, "n-grams");
    free(g);
    return NULL;
}

void ngram_free(struct ngram *g) {
    if (!g) return;
    os_unreserve(g->tok, g->bytes);
    free(g);
}

static int32_t *slot(const struct ngram *g, int64_t place) {
    return &g->tok[(size_t)place & (g->size - 1)];
}

/* Where the table keeps the pair that ends at a place (Knuth's multiplicative hash). */
static int32_t *head(const struct ngram *g, int64_t place) {
    const uint64_t pair = (uint64_t)(uint32_t)*slot(g, place - 1) << 32 | (uint32_t)*slot(g, place);
    return &g->last[(size_t)((pair * 0x9e3779b97f4a7c15u) >> 32) & (2 * g->size - 1)];
}

/* Places are kept in 32 bits, 1 more than they are; this is the latest place that such a number can
 * mean, or NOWHERE when it means none or one that the ring has lost. */
static int64_t place_of(const struct ngram *g, int32_t kept) {
    if (kept == 0) return NOWHERE;
    const uint32_t back = (uint32_t)g->n - (uint32_t)kept;
    return back < g->size - 1 ? g->n - 1 - (int64_t)back : NOWHERE;
}

/* How many tokens up to place a and up to the text's end are the same. */
static int same_before(const struct ngram *g, int64_t a) {
    const int64_t first = g->n > (int64_t)g->size ? g->n - (int64_t)g->size : 0;
    int n = 0;
    while (n < MAX_MATCH && a - n >= first && *slot(g, a - n) == *slot(g, g->n - 1 - n))
        n++;
    return n;
}

/* The latest of the places with the longest match. */
static void search(struct ngram *g, int32_t kept) {
    g->at = NOWHERE, g->match = 1;
    for (int i = 0; i < N_TRIED; i++) {
        const int64_t place = place_of(g, kept);
        if (place == NOWHERE) return;
        const int n = same_before(g, place);
        if (n > g->match) g->at = place + 1, g->match = n;
        if (n == MAX_MATCH) return;
        kept = g->before[(size_t)place & (g->size - 1)];
    }
}

void ngram_push(struct ngram *g, int32_t id) {
    bool follows = false;
    if (g->at != NOWHERE) {
        follows = *slot(g, g->at) == id;
        odds_add(&g->odds[class_of(g->match)], follows);
    }
    *slot(g, g->n++) = id;
    if (g->n < 2) return;
    int32_t *h = head(g, g->n - 1);
    const int32_t kept = *h;
    g->before[(size_t)(g->n - 1) & (g->size - 1)] = kept;
    *h = (int32_t)(uint32_t)g->n; /* 0 once in 2^32 tokens: one place less */
    if (!follows) {
        search(g, kept);
        return;
    }
    g->at++;
    if (g->match < MAX_MATCH) g->match++;
}

int ngram_guess(const struct ngram *g, int n, int32_t *id, float *p) {
    if (g->at == NOWHERE) return 0;
    for (int i = 0; i < n; i++) {
        const int64_t at = g->at + i;
        id[i] = at < g->n ? *slot(g, at) : id[at - g->n]; /* a text that repeats goes on so */
        p[i] = odds_p(&g->odds[class_of(g->match + i)]);
    }
    return n;
}
