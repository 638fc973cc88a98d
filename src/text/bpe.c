/* Byte-level BPE (Sennrich et al., arXiv:1508.07909; GPT-2's byte alphabet): pre-tokenize, then in
 * each word keep joining the neighbours whose merge has the lowest rank, leftmost first.
 *
 *   text -> valid UTF-8 -> words (pretok) -> pieces of bytes -> merges -> ids
 *
 * A word of a few bytes is merged by scanning for the best pair; a long one through a heap over a
 * linked list, so that a run of 100,000 equal characters costs n log n. */
#include <stdlib.h>

#include "base/utf8.h"
#include "base/work.h"
#include "text/bytemap.h"
#include "text/heap.h"
#include "text/tables.h"

enum { SHORT_WORD = 40 }; /* pieces; above it the heap wins */

struct node {
    int32_t id; /* piece; -1 once joined to its left neighbour */
    int32_t prev, next;
};

struct bpe {
    const struct vocab *v;
    struct ids *out;
    struct node *node; /* [cap_node], owned */
    size_t cap_node;
    struct heap heap;
    struct buf clean; /* the text made valid or escaped */
    bool failed;
};

/* Append the ids of a finished piece.  Pieces that are no tokens (named by merges only) fall back
 * to their bytes; a byte without a token is dropped, as the reference does. */
static void emit(struct bpe *b, int32_t id) {
    const struct vocab *v = b->v;
    if (id < v->n) {
        ids_push(b->out, id);
        return;
    }
    const struct str t = v->text[id];
    for (size_t i = 0; i < t.n;) {
        uint32_t cp;
        const size_t len = (size_t)utf8_decode(t.p + i, t.n - i, &cp);
        const int byte = bytemap_byte(cp);
        for (size_t k = 0; k < len; k++) {
            if (!v->raw && (byte < 0 || k > 0)) break;
            const int32_t single = v->byte_id[v->raw ? (uint8_t)t.p[i + k] : (uint8_t)byte];
            if (single >= 0 && single < v->n) ids_push(b->out, single);
        }
        i += len;
    }
}

static void emit_bytes(struct bpe *b, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const int32_t id = b->v->byte_id[(uint8_t)p[i]];
        if (id >= 0 && id < b->v->n) ids_push(b->out, id);
    }
}

/* Merge n <= SHORT_WORD pieces in place; returns how many are left. */
static int merge_short(const struct vocab *v, int32_t *id, int n) {
    const struct merge *pair[SHORT_WORD];
    for (int i = 0; i + 1 < n; i++)
        pair[i] = mergetab_find(&v->merges, id[i], id[i + 1]);
    for (;;) {
        int best = -1;
        uint32_t rank = UINT32_MAX;
        for (int i = 0; i + 1 < n; i++)
            if (pair[i] && pair[i]->rank < rank) rank = pair[best = i]->rank;
        if (best < 0) return n;
        id[best] = (int32_t)pair[best]->result;
        n--;
        for (int i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            pair[i - 1] = pair[i]; /* pair[best] is set anew below */
        }
        if (best > 0) pair[best - 1] = mergetab_find(&v->merges, id[best - 1], id[best]);
        if (best + 1 < n) pair[best] = mergetab_find(&v->merges, id[best], id[best + 1]);
    }
}

static void queue(struct bpe *b, int32_t left) {
    const struct node *l = &b->node[left];
    if (l->next < 0) return;
    const int32_t right_id = b->node[l->next].id;
    const struct merge *m = mergetab_find(&b->v->merges, l->id, right_id);
    if (m)
        heap_push(&b->heap,
                  (struct heap_item){(uint64_t)m->rank << 32 | (uint32_t)left, l->id, right_id});
}

/* Merge the n nodes of b->node, already linked. */
static void merge_long(struct bpe *b, int32_t n) {
    struct node *node = b->node;
    b->heap.n = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        queue(b, i);
    while (b->heap.n > 0 && !work_stopped()) {
        const struct heap_item it = heap_pop(&b->heap);
        struct node *l = &node[(uint32_t)it.key];
        if (l->id != it.a || l->next < 0 || node[l->next].id != it.b) continue; /* stale */
        struct node *r = &node[l->next];
        l->id = (int32_t)mergetab_find(&b->v->merges, it.a, it.b)->result;
        r->id = -1;
        l->next = r->next;
        if (l->next >= 0) node[l->next].prev = (int32_t)(uint32_t)it.key;
        if (l->prev >= 0) queue(b, l->prev);
        queue(b, (int32_t)(uint32_t)it.key);
    }
    for (int32_t i = 0; i >= 0; i = node[i].next)
        emit(b, node[i].id);
}

static bool reserve_nodes(struct bpe *b, size_t n) {
    if (n <= b->cap_node) return true;
    const size_t cap = n + n / 2;
    struct node *node = n < INT32_MAX ? realloc(b->node, cap * sizeof *node) : NULL;
    if (!node) {
        b->failed = true;
        return false;
    }
    b->node = node;
    b->cap_node = cap;
    return true;
}

static void encode_bytes(struct bpe *b, struct str word) {
    const struct vocab *v = b->v;
    if (word.n <= SHORT_WORD) {
        int32_t id[SHORT_WORD];
        for (size_t i = 0; i < word.n; i++)
            id[i] = v->byte_id[(uint8_t)word.p[i]];
        const int n = merge_short(v, id, (int)word.n);
        for (int i = 0; i < n; i++)
            emit(b, id[i]);
        return;
    }
    if (!reserve_nodes(b, word.n)) return;
    const int32_t n = (int32_t)word.n;
    for (int32_t i = 0; i < n; i++)
        b->node[i] = (struct node){v->byte_id[(uint8_t)word.p[i]], i - 1, i + 1 < n ? i + 1 : -1};
    merge_long(b, n);
}

/* Merges over characters (Gemma 4's kind).  A character that no piece names cannot merge: it ends
 * the stretch before it and becomes byte tokens. */
static void encode_chars(struct bpe *b, struct str word) {
    if (!reserve_nodes(b, word.n)) return;
    int32_t n = 0;
    for (size_t i = 0; i <= word.n;) {
        uint32_t cp;
        const size_t len = i < word.n ? (size_t)utf8_decode(word.p + i, word.n - i, &cp) : 1;
        const struct str c = {word.p + i, len};
        const int32_t id = i < word.n ? symtab_find(&b->v->by_text, b->v->text, c) : -1;
        if (id >= 0) {
            b->node[n] = (struct node){id, n - 1, n + 1};
            n++;
        } else {
            if (n > 0) {
                b->node[n - 1].next = -1;
                merge_long(b, n);
                n = 0;
            }
            if (i < word.n) emit_bytes(b, c.p, c.n);
        }
        i += len;
    }
}

/* The token that the whole word is, where the model allows the shortcut; else -1. */
static int32_t whole_word(const struct vocab *v, struct str word) {
    const bool lines = v->whole_lines && word.p[0] == '\n';
    if (!v->whole_words && !lines) return -1;
    if (v->raw) return vocab_find_plain(v, word);
    char text[2 * VOCAB_MAX_TOKEN_BYTES];
    if (word.n > VOCAB_MAX_TOKEN_BYTES) return -1;
    return vocab_find_plain(v, (struct str){text, bytemap_encode(word.p, word.n, text)});
}

static void encode_word(struct bpe *b, struct str word) {
    const int32_t whole = whole_word(b->v, word);
    if (whole >= 0)
        ids_push(b->out, whole);
    else if (b->v->raw)
        encode_chars(b, word);
    else
        encode_bytes(b, word);
}

/* text with invalid bytes as U+FFFD and, where the model wants it, blanks as U+2581; borrowed when
 * nothing needs to change. */
static struct str prepare(struct bpe *b, struct str text) {
    size_t good = utf8_valid_prefix(text.p, text.n);
    if (good == text.n && !(b->v->escape_blanks && memchr(text.p, ' ', text.n))) return text;
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        const size_t len = (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        char c[4];
        if (cp == ' ' && b->v->escape_blanks)
            buf_append(&b->clean, BLANK_MARK, 3);
        else
            buf_append(&b->clean, c, (size_t)utf8_encode(cp, c));
        i += len;
    }
    return buf_view(&b->clean);
}

int bpe_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e) {
    struct bpe b = {.v = v, .out = out};
    struct cuts cuts = {0}, tmp = {0};
    const struct str clean = prepare(&b, text);
    pretok_split(v->pretok, clean, &cuts, &tmp);
    size_t lo = 0;
    for (size_t i = 0; i < cuts.n && !work_stopped(); i++) {
        encode_word(&b, (struct str){clean.p + lo, cuts.end[i] - lo});
        lo = cuts.end[i];
    }
    const bool failed =
        b.failed || b.heap.failed || b.clean.failed || cuts.failed || tmp.failed || out->failed;
    free(b.node);
    free(b.heap.v);
    buf_fini(&b.clean);
    cuts_fini(&cuts);
    cuts_fini(&tmp);
    return failed ? err_nomem(e, "tokenizer") : 0;
}
