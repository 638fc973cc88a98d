/* See pii_vault.h.  Values are found by hash, placeholders by kind and number. */
#include "policy/pii_vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/hash.h"

enum { NUMBER_MAX = 9, NUMBER_LAST = 99999999, HELD_MAX = sizeof((struct pii_restore *)0)->held };

struct entry {
    enum pii_kind kind;
    int number;
    char *value; /* owned */
    size_t n;
    uint64_t hash;
};

struct pii_vault {
    struct entry *v;
    size_t n, cap;
    uint32_t *slot; /* [n_slot] index + 1 of an entry, 0: free; n_slot is a power of two */
    size_t n_slot;
    int last[N_PII]; /* numbers in use, ours or the text's */
};

struct pii_vault *pii_vault_new(struct err *e) {
    struct pii_vault *v = calloc(1, sizeof *v);
    if (!v) err_nomem(e, "placeholders");
    return v;
}

void pii_vault_free(struct pii_vault *v) {
    if (!v) return;
    for (size_t i = 0; i < v->n; i++)
        free(v->v[i].value);
    free(v->v);
    free(v->slot);
    free(v);
}

/* "<EMAIL_12>" at p[0..n): its length, 0: it is none, -1: it may become one. */
static int parse(const char *p, size_t n, enum pii_kind *kind, long *number) {
    size_t k = 1, bar = 0; /* the last "_" */
    if (n == 0 || p[0] != '<') return 0;
    for (; k < n && k < HELD_MAX - 1; k++) {
        const char c = p[k], low = (char)(c | 32);
        if (c == '_')
            bar = k;
        else if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9'))
            break;
    }
    if (k == n && n < HELD_MAX - 1) return -1;
    if (k >= n || p[k] != '>' || bar < 2 || k == bar + 1 || k - bar - 1 > NUMBER_MAX) return 0;
    for (size_t i = bar + 1; i < k; i++)
        if (p[i] < '0' || p[i] > '9') return 0;
    for (int i = 0; i < N_PII; i++) {
        const char *name = pii_name((enum pii_kind)i);
        if (strlen(name) != bar - 1 || strncasecmp(p + 1, name, bar - 1) != 0) continue;
        *kind = (enum pii_kind)i;
        *number = atol(p + bar + 1);
        return (int)k + 1;
    }
    return 0;
}

void pii_vault_reserve(struct pii_vault *v, struct str text) {
    const char *p = text.p, *end = p + text.n;
    while (p < end && (p = memchr(p, '<', (size_t)(end - p)))) {
        enum pii_kind kind;
        long number;
        if (parse(p, (size_t)(end - p), &kind, &number) > 0 && number > v->last[kind] &&
            number <= NUMBER_LAST)
            v->last[kind] = (int)number;
        p++;
    }
}

static void insert(struct pii_vault *v, size_t i) {
    size_t k = v->v[i].hash & (v->n_slot - 1);
    while (v->slot[k])
        k = (k + 1) & (v->n_slot - 1);
    v->slot[k] = (uint32_t)(i + 1);
}

/* Room for one more. */
static int grow(struct pii_vault *v, struct err *e) {
    if (v->n < v->cap) return 0;
    const size_t cap = v->cap ? 2 * v->cap : 16;
    struct entry *all = realloc(v->v, cap * sizeof *all);
    if (!all) return err_nomem(e, "placeholders");
    v->v = all;
    uint32_t *slot = calloc(2 * cap, sizeof *slot);
    if (!slot) return err_nomem(e, "placeholders");
    free(v->slot);
    v->slot = slot;
    v->n_slot = 2 * cap;
    v->cap = cap;
    for (size_t i = 0; i < v->n; i++)
        insert(v, i);
    return 0;
}

static const struct entry *lookup(const struct pii_vault *v, enum pii_kind k, struct str value,
                                  uint64_t hash) {
    for (size_t i = hash & (v->n_slot - 1); v->n_slot && v->slot[i];
         i = (i + 1) & (v->n_slot - 1)) {
        const struct entry *x = &v->v[v->slot[i] - 1];
        if (x->hash == hash && x->kind == k && str_eq((struct str){x->value, x->n}, value))
            return x;
    }
    return NULL;
}

static void print(const struct entry *x, char out[40]) {
    char name[32];
    int k = 0;
    for (const char *c = pii_name(x->kind); *c; c++)
        name[k++] = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    name[k] = 0;
    snprintf(out, 40, "<%s_%d>", name, x->number);
}

int pii_vault_put(struct pii_vault *v, enum pii_kind k, struct str value, struct buf *out,
                  struct err *e) {
    const uint64_t hash = hash64(value.p, value.n, (uint64_t)k);
    const struct entry *x = lookup(v, k, value, hash);
    char name[40];
    if (!x) {
        if (v->last[k] == NUMBER_LAST) return 1;
        if (grow(v, e) != 0) return -1;
        char *copy = malloc(value.n + 1);
        if (!copy) return err_nomem(e, "placeholders");
        memcpy(copy, value.p, value.n);
        v->v[v->n] = (struct entry){k, ++v->last[k], copy, value.n, hash};
        insert(v, v->n);
        x = &v->v[v->n++];
    }
    print(x, name);
    buf_str(out, name);
    return 0;
}

bool pii_vault_at(const struct pii_vault *v, size_t i, char name[40], struct str *value) {
    if (!v || i >= v->n) return false;
    print(&v->v[i], name);
    *value = (struct str){v->v[i].value, v->v[i].n};
    return true;
}

/* ---- back ---- */

static const struct entry *numbered(const struct pii_vault *v, enum pii_kind k, long number) {
    for (size_t i = 0; i < v->n; i++)
        if (v->v[i].kind == k && v->v[i].number == number) return &v->v[i];
    return NULL;
}

/* Append what of p[0..n) is decided; returns how many bytes that took. */
static size_t restore(const struct pii_vault *v, const char *p, size_t n, bool final,
                      struct buf *out) {
    size_t at = 0;
    while (at < n) {
        const char *open = memchr(p + at, '<', n - at);
        const size_t to = open ? (size_t)(open - p) : n;
        enum pii_kind kind;
        long number;
        buf_append(out, p + at, to - at);
        at = to;
        if (at == n) break;
        const int k = parse(p + at, n - at, &kind, &number);
        if (k < 0 && !final) break;
        const struct entry *x = k > 0 ? numbered(v, kind, number) : NULL;
        if (x)
            buf_append(out, x->value, x->n);
        else
            buf_append(out, p + at, k > 0 ? (size_t)k : 1);
        at += k > 0 ? (size_t)k : 1;
    }
    return at;
}

void pii_restore_feed(struct pii_restore *r, const struct pii_vault *v, struct str text,
                      struct buf *out) {
    /* What is held is completed byte by byte: that is less than HELD_MAX of them. */
    while (r->n && text.n) {
        r->held[r->n++] = *text.p++;
        text.n--;
        const size_t taken = restore(v, r->held, r->n, false, out);
        memmove(r->held, r->held + taken, r->n - taken);
        r->n -= taken;
    }
    if (r->n) return;
    const size_t taken = restore(v, text.p, text.n, false, out);
    memcpy(r->held, text.p + taken, text.n - taken);
    r->n = text.n - taken;
}

void pii_restore_end(struct pii_restore *r, const struct pii_vault *v, struct buf *out) {
    restore(v, r->held, r->n, true, out);
    r->n = 0;
}
