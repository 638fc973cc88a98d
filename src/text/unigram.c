/* Unigram (Kudo, arXiv:1804.10959), as SentencePiece does it for T5: normalize, then find the
 * segmentation with the highest sum of token scores (Viterbi over byte offsets).
 *
 *   text -> charsmap replacements -> blanks merged and marked U+2581 -> best path -> ids
 *
 * The charsmap is SentencePiece's: a double array in the style of Darts, XOR-compressed
 * (Kanda, "Space- and Time-Efficient String Dictionaries"), from byte sequences to replacements. */
#include <float.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "base/work.h"
#include "text/tables.h"

/* A character that no token covers costs this much more than the worst token. */
static const double UNKNOWN_PENALTY = 10.0;

static uint32_t charsmap_unit(const struct vocab *v, uint32_t i, bool *ok) {
    uint32_t n_bytes, unit;
    memcpy(&n_bytes, v->charsmap.p, 4);
    if (i >= n_bytes / 4) {
        *ok = false; /* a damaged map ends the match, never the process */
        return 0;
    }
    memcpy(&unit, v->charsmap.p + 4 + 4 * (size_t)i, 4);
    return unit;
}

/* Bits of a unit: 0-7 and 31 label, 8 has a leaf, 9 wide offset, 10-30 offset; a leaf holds a
 * value in bits 0-30. */
static uint32_t unit_offset(uint32_t unit) {
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* The replacement of the longest prefix of text that the map knows; its length in *len, 0: none. */
static struct str charsmap_find(const struct vocab *v, struct str text, size_t *len) {
    struct str found = {"", 0};
    *len = 0;
    if (v->charsmap.n == 0) return found;
    uint32_t n_bytes;
    memcpy(&n_bytes, v->charsmap.p, 4);
    const char *replacement = v->charsmap.p + 4 + n_bytes;
    const size_t n_replacement = v->charsmap.n - 4 - n_bytes;
    bool ok = true;
    uint32_t node = unit_offset(charsmap_unit(v, 0, &ok));
    for (size_t i = 0; ok && i < text.n && text.p[i] != 0; i++) {
        const uint32_t c = (uint8_t)text.p[i];
        node ^= c;
        const uint32_t unit = charsmap_unit(v, node, &ok);
        if (!ok || (unit & (1u << 31 | 0xff)) != c) break;
        node ^= unit_offset(unit);
        if (!(unit >> 8 & 1)) continue;
        const uint32_t at = charsmap_unit(v, node, &ok) & 0x7fffffffu;
        if (!ok || at >= n_replacement) break;
        found = (struct str){replacement + at, strlen(replacement + at)}; /* NUL checked at load */
        *len = i + 1;
    }
    return found;
}

/* Normalized form of what text starts with; *used bytes of it. */
static struct str normalize_prefix(const struct vocab *v, struct str text, size_t *used) {
    size_t len = 0;
    if (trie_longest(&v->users, text.p, text.n, &len) >= 0) {
        *used = len;
        return (struct str){text.p, len};
    }
    const struct str r = charsmap_find(v, text, &len);
    if (len > 0) {
        *used = len;
        return r;
    }
    uint32_t cp;
    const int n = utf8_decode_strict(text.p, text.n, &cp);
    *used = n < 0 ? 1 : (size_t)n;
    return n < 0 ? STR("\xef\xbf\xbd") : (struct str){text.p, (size_t)n};
}

static void normalize(const struct vocab *v, struct str text, struct buf *out) {
    const struct str blank = v->escape_blanks ? STR(BLANK_MARK) : STR(" ");
    const bool prepend = v->special.add_space_prefix;
    bool prepended = false, in_word = false;
    for (size_t i = 0; i < text.n;) {
        size_t used;
        const struct str r = normalize_prefix(v, (struct str){text.p + i, text.n - i}, &used);
        for (size_t k = 0; k < r.n; k++) {
            if (r.p[k] == ' ') {
                in_word = false;
                if (!v->merge_blanks) buf_append(out, blank.p, blank.n);
                continue;
            }
            if (!in_word && ((prepend && !prepended) || v->merge_blanks)) {
                buf_append(out, blank.p, blank.n);
                prepended = true;
            }
            in_word = true;
            buf_byte(out, r.p[k]);
        }
        i += used;
    }
}

struct best {
    double score;
    uint32_t from; /* offset where the token starts */
    int32_t id;
};

static void offer(struct best *at, double score, size_t from, int32_t id) {
    if (score > at->score) *at = (struct best){score, (uint32_t)from, id};
}

/* best[i]: how text[0, i) is segmented best. */
static void search(const struct vocab *v, struct str text, struct best *best) {
    const double unknown = (v->min_score == FLT_MAX ? 0 : (double)v->min_score) - UNKNOWN_PENALTY;
    for (size_t i = 0; i <= text.n; i++)
        best[i] = (struct best){-DBL_MAX, 0, v->special.unk};
    best[0].score = 0;
    for (size_t i = 0; i < text.n && !work_stopped();) {
        uint32_t cp;
        const size_t len = (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        bool covered = false;
        int32_t node = TRIE_ROOT;
        for (size_t k = i; k < text.n; k++) {
            node = trie_step(&v->words, node, (uint8_t)text.p[k]);
            if (node == TRIE_NONE) break;
            const int32_t id = trie_value(&v->words, node);
            if (id < 0) continue;
            const double score = v->attr[id] & ATTR_USER ? 0.0 : (double)vocab_score(v, id);
            covered |= k + 1 - i == len;
            offer(&best[k + 1], best[i].score + score, i, id);
        }
        if (!covered) offer(&best[i + len], best[i].score + unknown, i, v->special.unk);
        i += len;
    }
}

/* Read the path from its end; neighbouring unknowns are one. */
static void backtrack(const struct vocab *v, const struct best *best, size_t n, struct ids *out) {
    const size_t start = out->n;
    bool after_unknown = false;
    for (size_t i = n; i > 0; i = best[i].from) {
        const bool unknown = best[i].id == v->special.unk;
        if (!(unknown && after_unknown) && best[i].id >= 0) ids_push(out, best[i].id);
        after_unknown = unknown;
    }
    for (size_t a = start, b = out->n; a + 1 < b; a++) {
        const int32_t t = out->v[a];
        out->v[a] = out->v[--b];
        out->v[b] = t;
    }
}

int unigram_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e) {
    struct buf norm = {0};
    normalize(v, text, &norm);
    const bool fits = !norm.failed && norm.n < UINT32_MAX;
    struct best *best = fits ? malloc((norm.n + 1) * sizeof *best) : NULL;
    if (best && norm.n > 0) {
        search(v, buf_view(&norm), best);
        if (!work_stopped()) backtrack(v, best, norm.n, out);
    }
    const bool failed = !best || out->failed;
    free(best);
    buf_fini(&norm);
    return failed ? err_nomem(e, "tokenizer") : 0;
}
