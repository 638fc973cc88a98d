/* Cutting text at special tokens.
 *
 * The reference takes the special tokens from the longest to the shortest and cuts every stretch
 * that is still text at all occurrences of each.  That order matters where tokens overlap, so it
 * is kept; one walk over the text with a trie first finds which tokens occur at all, so that the
 * cost does not grow with the number of special tokens a model reserves. */
#include <stdlib.h>

#include "text/tables.h"

static void push(struct fragments *f, struct fragment x) {
    if (x.id < 0 && x.lo >= x.hi) return;
    if (f->n == f->cap) {
        const size_t cap = f->cap ? 2 * f->cap : 16;
        struct fragment *v = realloc(f->v, cap * sizeof *v);
        if (!v) {
            f->failed = true;
            return;
        }
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n++] = x;
}

void fragments_fini(struct fragments *f) {
    free(f->v);
    *f = (struct fragments){0};
}

/* Is text[lo, hi) inside one trusted span? */
static bool is_trusted(const struct reading *how, size_t lo, size_t hi) {
    size_t a = 0, b = how->n_trust; /* the first span that ends behind lo */
    while (a < b) {
        const size_t mid = a + (b - a) / 2;
        if (how->trust[mid].hi <= lo)
            a = mid + 1;
        else
            b = mid;
    }
    return a < how->n_trust && how->trust[a].lo <= lo && hi <= how->trust[a].hi;
}

/* User-defined tokens are text as a rule, but some files type "<|start|>" as one. */
static bool looks_like_control(struct str t) {
    return t.n >= 4 && memcmp(t.p, "<|", 2) == 0 && memcmp(t.p + t.n - 2, "|>", 2) == 0;
}

static bool may_read(const struct vocab *v, const struct reading *how, int32_t id, size_t at) {
    const bool special = v->attr[id] & ATTR_SPECIAL;
    if (!how->mixed) return how->parse_special || !special;
    if (!special && !looks_like_control(v->text[id])) return true;
    return is_trusted(how, at, at + v->text[id].n);
}

/* The special tokens that occur in text, each once. */
static void find_present(const struct vocab *v, struct str text, const struct reading *how,
                         struct ids *present) {
    const struct trie *t = &v->specials;
    uint8_t *seen = calloc((size_t)v->n / 8 + 1, 1);
    if (!seen) {
        present->failed = true;
        return;
    }
    for (size_t i = 0; i < text.n; i++) {
        if (!v->first_byte[(uint8_t)text.p[i]]) continue;
        int32_t node = TRIE_ROOT;
        for (size_t k = i; k < text.n; k++) {
            node = trie_step(t, node, (uint8_t)text.p[k]);
            if (node == TRIE_NONE) break;
            const int32_t id = trie_value(t, node);
            if (id < 0 || seen[id / 8] >> (id % 8) & 1 || !may_read(v, how, id, i)) continue;
            seen[id / 8] = (uint8_t)(seen[id / 8] | 1 << (id % 8));
            ids_push(present, id);
        }
    }
    free(seen);
}

/* Longest first, then by id: insertion sort, since few kinds of tokens occur in one text. */
static void sort_by_length(const struct vocab *v, struct ids *present) {
    for (size_t i = 1; i < present->n; i++) {
        const int32_t id = present->v[i];
        size_t k = i;
        for (; k > 0; k--) {
            const int32_t before = present->v[k - 1];
            const size_t a = v->text[before].n, b = v->text[id].n;
            if (a > b || (a == b && before < id)) break;
            present->v[k] = before;
        }
        present->v[k] = id;
    }
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cut one stretch of text at every occurrence of token id. */
static void cut(const struct vocab *v, struct str text, const struct reading *how,
                struct fragment f, int32_t id, struct fragments *out) {
    const struct str token = v->text[id];
    for (size_t from = f.lo; from < f.hi;) {
        const char *at = memmem(text.p + from, f.hi - from, token.p, token.n);
        if (!at) break;
        size_t left = (size_t)(at - text.p);
        const size_t after = left + token.n;
        if (!may_read(v, how, id, left)) {
            from = left + 1;
            continue;
        }
        if (v->attr[id] & ATTR_LSTRIP)
            while (left > f.lo && is_space(text.p[left - 1]))
                left--;
        push(out, (struct fragment){f.lo, left, -1});
        push(out, (struct fragment){0, 0, id});
        f.lo = after;
        if (v->attr[id] & ATTR_RSTRIP)
            while (f.lo < f.hi && is_space(text.p[f.lo]))
                f.lo++;
        from = f.lo;
    }
    push(out, f);
}

void partition(const struct vocab *v, struct str text, const struct reading *how,
               struct fragments *out) {
    struct ids present = {0};
    struct fragments next = {0};
    out->n = 0;
    push(out, (struct fragment){0, text.n, -1});
    find_present(v, text, how, &present);
    sort_by_length(v, &present);
    for (size_t i = 0; i < present.n; i++) {
        next.n = 0;
        for (size_t k = 0; k < out->n; k++) {
            if (out->v[k].id >= 0)
                push(&next, out->v[k]);
            else
                cut(v, text, how, out->v[k], present.v[i], &next);
        }
        const struct fragments swap = *out;
        *out = next;
        next = swap;
    }
    out->failed |= next.failed | present.failed;
    fragments_fini(&next);
    ids_fini(&present);
}
