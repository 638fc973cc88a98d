/* Fuzz target: personal data in any bytes.  The first byte says how long pieces are; the rest is
 * the text.  Pieces give what the whole gives, hits are in order and apart, placeholders come back.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/pii_stream.h"
#include "policy/pii_vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static void in_order(const struct pii_hits *h, size_t n) {
    size_t end = 0;
    for (size_t i = 0; i < h->n; i++) {
        require(h->v[i].start >= end && h->v[i].end > h->v[i].start && h->v[i].end <= n);
        end = h->v[i].end;
    }
}

static void whole(struct str text, const struct pii_policy *p, struct pii_vault *v,
                  struct buf *out) {
    struct pii_hits hits = {0};
    struct err e;
    require(pii_find(text, p, &hits, &e) == 0);
    in_order(&hits, text.n);
    require(pii_apply(out, text, &hits, p, v, &e) == 0);
    pii_hits_fini(&hits);
}

static void pieces(struct str text, size_t piece, const struct pii_policy *p, struct pii_vault *v,
                   struct buf *out) {
    struct err e;
    struct pii_stream *s = pii_stream_new(p, v, &e);
    require(s != NULL);
    for (size_t i = 0; i < text.n; i += piece) {
        const struct str next = {text.p + i, text.n - i < piece ? text.n - i : piece};
        require(pii_stream_feed(s, next, out, &e) == 0);
        require(pii_stream_held(s) <= PII_STREAM_HELD);
    }
    require(pii_stream_end(s, out, &e) == 0);
    pii_stream_free(s);
}

static void compare(struct str text, size_t piece, const char *mode) {
    struct buf a = {0}, b = {0}, back = {0};
    struct pii_policy p;
    struct err e;
    require(pii_policy_parse(&p, mode, NULL, &e) == 0);
    struct pii_vault *v = pii_vault_new(&e), *w = pii_vault_new(&e);
    pii_vault_reserve(v, text);
    pii_vault_reserve(w, text);
    whole(text, &p, v, &a);
    pieces(text, piece, &p, w, &b);
    require(str_eq(buf_view(&a), buf_view(&b)));
    if (strcmp(mode, "replace") == 0) {
        struct pii_restore r = {{0}, 0};
        for (size_t i = 0; i < a.n; i += piece)
            pii_restore_feed(&r, v, (struct str){a.p + i, a.n - i < piece ? a.n - i : piece},
                             &back);
        pii_restore_end(&r, v, &back);
        require(str_eq(buf_view(&back), text));
    }
    pii_vault_free(v);
    pii_vault_free(w);
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0) return 0;
    const struct str text = {(const char *)bytes + 1, n - 1};
    const size_t piece = 1 + bytes[0] % 64;
    compare(text, piece, "mask");
    compare(text, piece, "replace");
    return 0;
}
