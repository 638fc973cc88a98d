/* SentencePiece BPE (Kudo & Richardson, arXiv:1808.06226): start from characters, keep joining the
 * neighbours whose joined text is the token with the highest score, leftmost first; characters that
 * are no token become byte tokens.
 *
 * Blanks are U+2581 here.  Where no token has one after another character (true of the usual
 * vocabularies), no merge can cross into a run of blanks, so the text is cut there and each word
 * merged alone: same result, and the heap stays in cache. */
#include <stdlib.h>

#include "base/f16.h"
#include "base/work.h"
#include "text/heap.h"
#include "text/tables.h"

struct span {
    uint32_t lo, n; /* bytes of the text; n is 0 once joined to the left neighbour */
    int32_t prev, next;
};

struct spm {
    const struct vocab *v;
    struct str text;
    struct span *span; /* [cap], owned */
    size_t cap;
    struct heap heap;
    bool failed;
};

/* A float as an integer that sorts the other way round: the highest score comes first. */
static uint32_t descending(float score) {
    const uint32_t u = f32_bits(score);
    return u >> 31 ? u : ~u & 0x7fffffffu;
}

static void queue(struct spm *s, int32_t left) {
    const struct span *l = &s->span[left];
    if (l->next < 0) return;
    const uint32_t n = l->n + s->span[l->next].n;
    if (n > VOCAB_MAX_TOKEN_BYTES) return;
    const int32_t id = vocab_find_plain(s->v, (struct str){s->text.p + l->lo, n});
    if (id < 0) return;
    const uint64_t key = (uint64_t)descending(vocab_score(s->v, id)) << 32 | (uint32_t)left;
    heap_push(&s->heap, (struct heap_item){key, (int32_t)n, l->next});
}

/* Length of the character that starts with this byte, as the lead byte announces it: malformed
 * input is cut where the reference cuts it. */
static size_t announced_length(char lead) {
    static const uint8_t by_high_nibble[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    return by_high_nibble[(uint8_t)lead >> 4];
}

static void emit(struct spm *s, const struct span *x, struct ids *out) {
    const struct vocab *v = s->v;
    const struct str t = {s->text.p + x->lo, x->n};
    const int32_t id = vocab_find_plain(v, t);
    if (id >= 0) {
        ids_push(out, id);
        return;
    }
    for (size_t i = 0; i < t.n; i++) {
        const int32_t byte = v->byte_id[(uint8_t)t.p[i]];
        if (byte >= 0)
            ids_push(out, byte);
        else if (v->special.unk >= 0)
            ids_push(out, v->special.unk);
    }
}

static bool reserve(struct spm *s, size_t n) {
    if (n <= s->cap) return true;
    struct span *p = n < INT32_MAX ? realloc(s->span, 2 * n * sizeof *p) : NULL;
    if (!p) {
        s->failed = true;
        return false;
    }
    s->span = p;
    s->cap = 2 * n;
    return true;
}

/* Encode text[lo, hi). */
static void encode_word(struct spm *s, size_t lo, size_t hi, struct ids *out) {
    if (!reserve(s, hi - lo)) return;
    int32_t n = 0;
    for (size_t i = lo; i < hi; n++) {
        size_t len = announced_length(s->text.p[i]);
        if (len > hi - i) len = hi - i;
        s->span[n] = (struct span){(uint32_t)i, (uint32_t)len, n - 1, n + 1};
        i += len;
    }
    if (n == 0) return;
    s->span[n - 1].next = -1;
    s->heap.n = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        queue(s, i);
    while (s->heap.n > 0 && !work_stopped()) {
        const struct heap_item it = heap_pop(&s->heap);
        const int32_t left = (int32_t)(uint32_t)it.key;
        struct span *l = &s->span[left], *r = &s->span[it.b];
        if (l->n == 0 || r->n == 0 || l->n + r->n != (uint32_t)it.a) continue; /* stale */
        l->n += r->n;
        r->n = 0;
        l->next = r->next;
        if (l->next >= 0) s->span[l->next].prev = left;
        if (l->prev >= 0) queue(s, l->prev);
        queue(s, left);
    }
    for (int32_t i = 0; i >= 0; i = s->span[i].next)
        emit(s, &s->span[i], out);
}

static bool is_mark(struct str t, size_t i) {
    return t.n - i >= 3 && memcmp(t.p + i, BLANK_MARK, 3) == 0;
}

static void encode_words(struct spm *s, struct ids *out) {
    const struct str t = s->text;
    size_t lo = 0;
    bool in_word = false;
    for (size_t i = 0; i < t.n && !work_stopped();) {
        const bool mark = is_mark(t, i);
        if (mark && in_word) {
            encode_word(s, lo, i, out);
            lo = i;
        }
        in_word = !mark;
        const size_t len = announced_length(t.p[i]);
        i += len < t.n - i ? len : t.n - i;
    }
    encode_word(s, lo, t.n, out);
}

int spm_encode(const struct vocab *v, struct str text, bool prefix, struct ids *out,
               struct err *e) {
    struct buf escaped = {0};
    if (prefix) buf_append(&escaped, BLANK_MARK, 3);
    for (size_t i = 0; i < text.n;) {
        const char *blank = memchr(text.p + i, ' ', text.n - i);
        const size_t n = blank ? (size_t)(blank - text.p) - i : text.n - i;
        buf_append(&escaped, text.p + i, n);
        if (blank) buf_append(&escaped, BLANK_MARK, 3);
        i += n + (blank != NULL);
    }
    struct spm s = {.v = v, .text = buf_view(&escaped)};
    s.failed = escaped.failed;
    if (!s.failed && escaped.n >= INT32_MAX) s.failed = true;
    if (!s.failed) {
        if (v->splits_at_blank)
            encode_words(&s, out);
        else
            encode_word(&s, 0, s.text.n, out);
    }
    const bool failed = s.failed || s.heap.failed || out->failed;
    free(s.span);
    free(s.heap.v);
    buf_fini(&escaped);
    return failed ? err_nomem(e, "tokenizer") : 0;
}
