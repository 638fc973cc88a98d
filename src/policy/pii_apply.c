/* What stands in the text for an entity, and whole texts. */
#include <stdlib.h>

#include "policy/pii_priv.h"
#include "policy/pii_vault.h"

/* ---- hits ---- */

int pii_hits_add(struct pii_hits *h, struct pii_hit hit, struct err *e) {
    if (h->n == h->cap) {
        const size_t cap = h->cap ? 2 * h->cap : 32;
        struct pii_hit *v = realloc(h->v, cap * sizeof *v);
        if (!v) return err_nomem(e, "entities");
        h->v = v;
        h->cap = cap;
    }
    h->v[h->n++] = hit;
    return 0;
}

void pii_hits_fini(struct pii_hits *h) {
    free(h->v);
    *h = (struct pii_hits){0};
}

static int by_start(const void *a, const void *b) {
    const struct pii_hit *x = a, *y = b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return x->end > y->end ? -1 : x->end < y->end;
}

void pii_hits_sort(struct pii_hits *h) {
    size_t n = 0;
    if (h->n) qsort(h->v, h->n, sizeof *h->v, by_start);
    for (size_t i = 0; i < h->n; i++)
        if (n == 0 || h->v[i].start >= h->v[n - 1].end) h->v[n++] = h->v[i];
    h->n = n;
}

int pii_find(struct str text, const struct pii_policy *p, struct pii_hits *out, struct err *e) {
    struct pii_scan s = {.p = text.p, .n = text.n, .final = true};
    struct pii_hit hit;
    while (pii_next(&s, &hit) == PII_HIT)
        if (p->action[hit.kind] != PII_OFF && pii_hits_add(out, hit, e) != 0) return -1;
    return 0;
}

size_t pii_count_chars(const char *p, size_t n) {
    size_t n_char = 0;
    for (size_t i = 0; i < n; n_char++) {
        const unsigned char c = (unsigned char)p[i];
        const size_t len = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
        size_t k = 1;
        while (k < len && i + k < n && (p[i + k] & 0xc0) == 0x80)
            k++;
        i += k == len ? len : 1;
    }
    return n_char;
}

void pii_counts_add(struct pii_counts *to, const struct pii_counts *more) {
    for (int k = 0; k < N_PII; k++)
        to->n[k] += more->n[k];
}

/* ---- masks ---- */

static bool is_tail(char c) {
    return (c & 0xc0) == 0x80;
}

/* Stars for a run of n characters: as many as tell its class of length, not the length. */
static void stars(struct buf *out, size_t n) {
    buf_str(out, n <= 8 ? "***" : n <= 16 ? "******" : "*********");
}

/* The first character, whole. */
static size_t first_char(struct str v) {
    size_t k = v.n > 0;
    while (k < v.n && is_tail(v.p[k]))
        k++;
    return k;
}

/* j***@e***.com */
static void mask_email(struct buf *out, struct str v) {
    const char *at = memrchr(v.p, '@', v.n), *dot = memrchr(v.p, '.', v.n);
    const size_t n_local = (size_t)(at - v.p), n_host = (size_t)(dot - at - 1);
    buf_append(out, v.p, first_char((struct str){v.p, n_local}));
    stars(out, n_local);
    buf_byte(out, '@');
    buf_append(out, at + 1, first_char((struct str){at + 1, n_host}));
    stars(out, n_host);
    buf_append(out, dot, v.n - (size_t)(dot - v.p));
}

/* Letters and digits become stars but for the first `head` and the last `tail` of them; what stands
 * between stays. */
static void mask_most(struct buf *out, struct str v, size_t head, size_t tail) {
    size_t n = 0, k = 0;
    for (size_t i = 0; i < v.n; i++)
        n += pii_is_alnum((unsigned char)v.p[i]) || (unsigned char)v.p[i] >= 0xc0;
    if (n < 2 * (head + tail)) head = tail = 0;
    for (size_t i = 0; i < v.n; i++) {
        const unsigned char c = (unsigned char)v.p[i];
        const bool counts = pii_is_alnum(c) || c >= 0xc0;
        if (is_tail(v.p[i])) {
            if (k <= head || k > n - tail) buf_byte(out, v.p[i]);
            continue;
        }
        if (!counts || k++ < head || k > n - tail)
            buf_byte(out, v.p[i]);
        else
            buf_byte(out, '*');
    }
}

static void mask(struct buf *out, enum pii_kind k, struct str v) {
    switch (k) {
    case PII_EMAIL: mask_email(out, v); return;
    case PII_PHONE: mask_most(out, v, v.p[0] == '+' ? 2 : 0, 2); return;
    case PII_CARD: mask_most(out, v, 0, 4); return; /* PCI DSS 3.4.1: at most the last four here */
    case PII_IBAN: mask_most(out, v, 2, 4); return;
    case PII_IP:
    case PII_MAC: mask_most(out, v, 2, 0); return;
    case PII_BIRTH_DATE: mask_most(out, v, 0, 0); return;
    case PII_URL_CREDENTIALS: buf_str(out, "***:***"); return;
    case PII_PRIVATE_KEY:
    case PII_SECRET: stars(out, v.n); return;
    case PII_NAME:
    case PII_ADDRESS:
        buf_append(out, v.p, first_char(v));
        stars(out, v.n);
        return;
    default: mask_most(out, v, 0, 2);
    }
}

/* ---- writing ---- */

static void label(struct buf *out, enum pii_kind k) {
    buf_byte(out, '[');
    for (const char *c = pii_name(k); *c; c++)
        buf_byte(out, (char)pii_upper(*c));
    buf_byte(out, ']');
}

int pii_write(struct buf *out, enum pii_kind k, struct str value, enum pii_action a,
              struct pii_vault *vault, struct err *e) {
    const int put = a == PII_REPLACE && vault ? pii_vault_put(vault, k, value, out, e) : 1;
    if (put <= 0) return put;
    if (a <= PII_REPORT)
        buf_append(out, value.p, value.n);
    else if (a == PII_MASK)
        mask(out, k, value);
    else
        label(out, k);
    return out->failed ? err_nomem(e, "text") : 0;
}

int pii_apply(struct buf *out, struct str text, const struct pii_hits *hits,
              const struct pii_policy *p, struct pii_vault *vault, struct err *e) {
    size_t at = 0;
    for (size_t i = 0; i < hits->n; i++) {
        const struct pii_hit *h = &hits->v[i];
        buf_append(out, text.p + at, h->start - at);
        const struct str value = {text.p + h->start, h->end - h->start};
        if (pii_write(out, h->kind, value, (enum pii_action)p->action[h->kind], vault, e) != 0)
            return -1;
        at = h->end;
    }
    buf_append(out, text.p + at, text.n - at);
    return out->failed ? err_nomem(e, "text") : 0;
}
