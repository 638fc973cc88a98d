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

int vocab_tree_group(uint8_t c) {
    static const char single[] = "\"\\,:[]{}-.+/_ '*#<>()=;|\n"; /* 25 of them */
    const char *at = c ? strchr(single, c) : NULL;
    if (at) return (int)(at - single);
    if (c >= '0' && c <= '9') return 25;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return c < 'a' ? 26 : 27;
    return c < 0x20 || c == 0x7f ? 30 : 31;
}

/* What the bytes of a text are, by groups; beyond ASCII that follows from those before alone (RFC
 * 3629), so that texts with a common beginning agree on it. */
static void text_groups(struct str s, uint8_t *group) {
    int need = 0; /* bytes missing of a character; -1: broken */
    uint8_t lo = 0x80, hi = 0xbf;
    for (size_t i = 0; i < s.n; i++) {
        const uint8_t c = (uint8_t)s.p[i];
        if (need > 0 && c >= lo && c <= hi)
            need--;
        else if (need == 0 && c >= 0xc2 && c < 0xf5)
            need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        else if (need != 0 || c >= 0x80)
            need = -1;
        lo = need > 0 && c == 0xe0 ? 0xa0 : need > 0 && c == 0xf0 ? 0x90 : 0x80;
        hi = need > 0 && c == 0xed ? 0x9f : need > 0 && c == 0xf4 ? 0x8f : 0xbf;
        group[i] = (uint8_t)(need < 0    ? VOCAB_TREE_BROKEN
                             : c >= 0x80 ? VOCAB_TREE_TEXT
                                         : vocab_tree_group(c));
    }
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

/* Up from open[from] to level `to`: nothing more comes below those nodes. */
static void leave(struct grammar_vocab *gv, const int32_t *open, const uint8_t *group, int from,
                  int to, int at) {
    for (int level = from; level > to; level--) {
        const int32_t node = open[level - 1];
        gv->skip[node] = at;
        if (level < 2) continue;
        const int32_t up = open[level - 2];
        gv->below[up] |= gv->below[node] | 1u << group[level - 1];
        if (gv->height[node] >= gv->height[up]) gv->height[up] = gv->height[node] + 1;
    }
}

/* Nodes of k[n]; open[level] is the node on the way down there. */
static void fill(struct grammar_vocab *gv, const struct key *k, int n) {
    int32_t open[VOCAB_TREE_MAX_TEXT];
    uint8_t group[VOCAB_TREE_MAX_TEXT];
    int level = 0, at = 0;
    for (int i = 0; i < n; i++) {
        const int same = i ? (int)shared(&k[i - 1], &k[i]) : 0;
        leave(gv, open, group, level, same, at);
        level = same;
        text_groups((struct str){k[i].p, k[i].n}, group);
        for (; level < (int)k[i].n; level++, at++) {
            open[level] = at;
            gv->byte[at] = (uint8_t)k[i].p[level];
            gv->level[at] = (uint16_t)level;
            gv->first[at] = i, gv->below[at] = 0, gv->height[at] = 0;
        }
        if (level > gv->depth) gv->depth = level;
        gv->order[i] = k[i].id;
    }
    leave(gv, open, group, level, 0, at);
    gv->first[at] = n;
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
    gv->skip = malloc(room * sizeof *gv->skip), gv->first = malloc(room * sizeof *gv->first);
    gv->below = malloc(room * sizeof *gv->below), gv->height = malloc(room * sizeof *gv->height);
    if (!gv->byte || !gv->level || !gv->skip || !gv->first || !gv->below || !gv->height)
        return err_nomem(e, "grammar");
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
        gv->at = calloc(n, sizeof *gv->at), gv->order = malloc(n * sizeof *gv->order);
        gv->end = malloc(n * sizeof *gv->end);
    }
    if (!gv || !k || !gv->at || !gv->order || !gv->end)
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
    free(gv->byte), free(gv->level), free(gv->skip), free(gv->first), free(gv->below),
        free(gv->height);
    free(gv->order);
    free(gv->at), free(gv->text), free(gv->end);
    free(gv);
}
