/* See pii_stream.h: the scan of pii_scan.c over a window that moves on. */
#include "policy/pii_stream.h"

#include <stdlib.h>

#include "policy/pii_priv.h"

struct pii_stream {
    const struct pii_policy *policy;
    struct pii_vault *vault;
    struct pii_counts counts;
    struct pii_scan scan;
    struct buf text; /* what the scan sees: PII_BEHIND bytes that are out, then what is held */
    size_t n_out;    /* of text: they are out */
    size_t n_wanted; /* bytes of text that are worth the next look */
};

struct pii_stream *pii_stream_new(const struct pii_policy *policy, struct pii_vault *vault,
                                  struct err *e) {
    struct pii_stream *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "filter");
        return NULL;
    }
    s->policy = policy;
    s->vault = vault;
    return s;
}

void pii_stream_free(struct pii_stream *s) {
    if (!s) return;
    buf_fini(&s->text);
    free(s);
}

/* Append text up to `to` as it is. */
static void put(struct pii_stream *s, size_t to, struct buf *out) {
    buf_append(out, s->text.p + s->n_out, to - s->n_out);
    s->n_out = to;
}

static int put_hit(struct pii_stream *s, const struct pii_hit *h, struct buf *out, struct err *e) {
    const enum pii_action a = (enum pii_action)s->policy->action[h->kind];
    if (a == PII_OFF) return 0;
    s->counts.n[h->kind]++;
    put(s, h->start, out);
    s->n_out = h->end;
    return pii_write(out, h->kind, (struct str){s->text.p + h->start, h->end - h->start}, a,
                     s->vault, e);
}

/* What is out and behind the scan's view goes. */
static void forget(struct pii_stream *s) {
    if (s->n_out <= PII_BEHIND) return;
    const size_t n = s->n_out - PII_BEHIND;
    buf_drop(&s->text, n);
    s->n_out -= n;
    s->scan.at -= n;
    s->scan.base += n;
}

static int run(struct pii_stream *s, struct buf *out, struct err *e) {
    struct pii_hit hit;
    s->scan.p = s->text.p;
    s->scan.n = s->text.n;
    while (pii_next(&s->scan, &hit) == PII_HIT)
        if (put_hit(s, &hit, out, e) != 0) return -1;
    put(s, s->scan.at, out);
    forget(s);
    /* What is held is looked at again with every piece: with single bytes of a long one that would
     * be the square of its length, so it grows by an eighth first. */
    const size_t held = s->text.n - s->n_out;
    s->n_wanted = s->text.n + (held > 512 ? held / 8 : 0);
    return out->failed ? err_nomem(e, "filter") : 0;
}

int pii_stream_feed(struct pii_stream *s, struct str piece, struct buf *out, struct err *e) {
    buf_append(&s->text, piece.p, piece.n);
    if (s->text.failed) return err_nomem(e, "filter");
    return piece.n && s->text.n >= s->n_wanted ? run(s, out, e) : 0;
}

int pii_stream_end(struct pii_stream *s, struct buf *out, struct err *e) {
    s->scan.final = true;
    const int rc = s->text.n ? run(s, out, e) : 0;
    buf_reset(&s->text);
    s->n_out = 0;
    s->n_wanted = 0;
    s->scan = (struct pii_scan){0};
    return rc;
}

size_t pii_stream_held(const struct pii_stream *s) {
    return s->text.n - s->n_out;
}

const struct pii_counts *pii_stream_counts(const struct pii_stream *s) {
    return &s->counts;
}
