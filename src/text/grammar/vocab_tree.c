/* See vocab_tree.h.  Texts are sorted by their first eight bytes as a number, which decides nearly
 * every comparison, and become nodes in that order. */
#include "text/grammar/vocab_tree.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "text/vocab.h"

struct key {
    uint64_t head; /* the first bytes, the first one highest */
    const char *p;
    uint32_t n;
    int32_t id;
};

static int by_text(const void *pa, const void *pb) {
    const struct key *a = pa, *b = pb;
    if (a->head != b->head) return a->head < b->head ? -1 : 1;
    const uint32_t n = a->n < b->n ? a->n : b->n;
    const int c = n > 8 ? memcmp(a->p + 8, b->p + 8, n - 8) : 0;
    if (c) return c;
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static uint64_t head_of(struct str s) {
    uint64_t h = 0;
    for (size_t i = 0; i < 8; i++)
        h = h << 8 | (i < s.n ? (uint8_t)s.p[i] : 0);
    return h;
}

/* Texts one behind the other; end tokens. */
static int read_texts(struct grammar_vocab *gv, const struct vocab *v, struct err *e) {
    struct buf all = {0};
    const int n = gv->n_vocab < vocab_size(v) ? gv->n_vocab : vocab_size(v);
    for (int32_t id = 0; id < n; id++) {
        const enum token_attr attr = vocab_attr(v, id);
        gv->at[id] = (uint32_t)all.n;
        if (vocab_is_eog(v, id))
            gv->end[gv->n_end++] = id;
        else if (attr == TOKEN_NORMAL || attr == TOKEN_BYTE || attr == TOKEN_USER_DEFINED)
            tok_piece(v, id, false, &all);
        if (all.n - gv->at[id] > VOCAB_TREE_MAX_TEXT) all.n = gv->at[id];
        if (all.failed) break;
    }
    for (int32_t id = n; id <= gv->n_vocab; id++)
        gv->at[id] = (uint32_t)all.n;
    gv->text = all.p;
    return all.failed ? err_nomem(e, "grammar") : 0;
}

static size_t shared(const struct key *a, const struct key *b) {
    const size_t n = a->n < b->n ? a->n : b->n;
    size_t i = 0;
    while (i < n && a->p[i] == b->p[i])
        i++;
    return i;
}

/* How many nodes the sorted texts make. */
static size_t count_nodes(const struct key *k, int n) {
    size_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += k[i].n - (i ? shared(&k[i - 1], &k[i]) : 0);
    return sum;
}

/* Nodes of k[n]; open[level] is the node on the way down there. */
static void fill(struct grammar_vocab *gv, const struct key *k, int n) {
    int32_t open[VOCAB_TREE_MAX_TEXT];
    int level = 0, at = 0;
    for (int i = 0; i < n; i++) {
        const int same = i ? (int)shared(&k[i - 1], &k[i]) : 0;
        while (level > same)
            gv->skip[open[--level]] = at;
        for (; level < (int)k[i].n; level++, at++) {
            open[level] = at;
            gv->byte[at] = (uint8_t)k[i].p[level];
            gv->level[at] = (uint16_t)level;
            gv->token[at] = -1;
        }
        if (level > gv->depth) gv->depth = level;
        int32_t *token = &gv->token[open[level - 1]];
        gv->twin[k[i].id] = *token < 0 ? -1 : *token & ~VOCAB_TREE_TWIN;
        *token = *token < 0 ? k[i].id : k[i].id | VOCAB_TREE_TWIN;
    }
    while (level > 0)
        gv->skip[open[--level]] = at;
}

static int build(struct grammar_vocab *gv, struct key *k, struct err *e) {
    int n = 0;
    for (int32_t id = 0; id < gv->n_vocab; id++) {
        const struct str s = vocab_tree_text(gv, id);
        if (s.n) k[n++] = (struct key){head_of(s), s.p, (uint32_t)s.n, id};
    }
    qsort(k, (size_t)n, sizeof *k, by_text);
    const size_t n_node = count_nodes(k, n), room = n_node + 1;
    if (n_node > INT32_MAX / 4)
        return err_set(e, ERR_LIMIT, "grammar: the vocabulary's texts are too long");
    gv->n_node = (int)n_node;
    gv->byte = malloc(room * sizeof *gv->byte), gv->level = malloc(room * sizeof *gv->level);
    gv->skip = malloc(room * sizeof *gv->skip), gv->token = malloc(room * sizeof *gv->token);
    if (!gv->byte || !gv->level || !gv->skip || !gv->token) return err_nomem(e, "grammar");
    fill(gv, k, n);
    return 0;
}

struct grammar_vocab *grammar_vocab_new(const struct vocab *v, int n_vocab, struct err *e) {
    static atomic_uint_fast64_t serial;
    struct grammar_vocab *gv = calloc(1, sizeof *gv);
    struct key *k = malloc(((size_t)n_vocab + 1) * sizeof *k);
    int rc = -1;
    if (gv) {
        const size_t n = (size_t)n_vocab + 1;
        gv->n_vocab = n_vocab, gv->serial = ++serial;
        gv->at = calloc(n, sizeof *gv->at), gv->twin = malloc(n * sizeof *gv->twin);
        gv->end = malloc(n * sizeof *gv->end);
    }
    if (!gv || !k || !gv->at || !gv->twin || !gv->end)
        err_nomem(e, "grammar");
    else if (read_texts(gv, v, e) == 0 && build(gv, k, e) == 0)
        rc = 0;
    free(k);
    if (rc == 0) return gv;
    grammar_vocab_free(gv);
    return NULL;
}

void grammar_vocab_free(struct grammar_vocab *gv) {
    if (!gv) return;
    free(gv->byte), free(gv->level), free(gv->skip), free(gv->token), free(gv->twin);
    free(gv->at), free(gv->text), free(gv->end);
    free(gv);
}
