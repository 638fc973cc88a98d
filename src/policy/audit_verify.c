/* See audit_verify.h.  One pass.  A line that is no entry is remembered: it is right when the next
 * whole entry says that a write was cut there, and how many bytes of which digest it left. */
#include "policy/audit_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/audit_entry.h"

struct check {
    struct audit_verdict *v;
    const struct audit_keys *k;        /* or NULL */
    const struct audit_anchor *anchor; /* or NULL */
    uint64_t due;                      /* the next seq */
    uint8_t prev[SHA256_BYTES];
    bool sealed, anchored; /* one with a seal was met; the anchor's entry was */
    /* Lines that are no entries, where a write may have been cut. */
    bool skipping;
    struct sha256 skip_hash;
    uint64_t skip_bytes;
    char what[sizeof((struct audit_verdict *)0)->what]; /* of the first of them */
};

__attribute__((format(printf, 4, 5))) static void say(char *out, const struct audit_item *i,
                                                      uint64_t seq, const char *fmt, ...) {
    char line[32] = "", what[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (i->n_line) snprintf(line, sizeof line, ", line %ld", i->n_line);
    snprintf(out, sizeof((struct audit_verdict *)0)->what, "%.140s%s: seq %" PRIu64 ": %s", i->file,
             line, seq, what);
}

/* The first bad entry; returns 1, which ends the pass. */
static int bad(struct check *c, const struct audit_item *i, const char *what) {
    c->v->bad_seq = c->due;
    say(c->v->what, i, c->due, "%s", what);
    return 1;
}

/* ---- where the chain begins ---- */

/* With entry 1; or behind what an entry says was pruned; or with a rotated file's own word for what
 * was before it. */
static int find_begin(struct check *c, struct audit_reader *r, struct err *e) {
    struct audit_item i;
    struct audit_line l;
    struct audit_checkpoint p;
    uint64_t first = 0, n_before = 0;
    int rc;
    c->due = 1;
    while ((rc = audit_reader_next(r, &i, e)) == 1) {
        if (!audit_line_parse(i.line, &l)) {
            n_before += first == 0;
            continue;
        }
        const bool has = audit_line_checkpoint(&l, &p);
        if (first == 0) {
            first = l.seq > n_before && !audit_line_is(&l, "torn") ? l.seq - n_before : l.seq;
            if (first == 1) break;
            if (has && !n_before && p.through + 1 == l.seq && !str_is(p.why, "count")) {
                c->due = l.seq;
                memcpy(c->prev, p.hash, sizeof p.hash);
                break;
            }
        }
        if (has && str_is(p.why, "prune") && p.through < first && p.through >= c->due) {
            c->due = p.through + 1;
            memcpy(c->prev, p.hash, sizeof p.hash);
        }
    }
    return rc < 0 ? -1 : audit_reader_rewind(r, e);
}

/* ---- one entry ---- */

static int check_seals(struct check *c, const struct audit_item *i, const struct audit_line *l) {
    uint8_t d[SHA256_BYTES];
    const bool mac = c->k && c->k->n_hmac > 0, sign = c->k && c->k->n_verify > 0;
    if (!mac && !sign) return 0;
    if ((mac && !l->hmac) || (sign && !l->sig)) {
        c->v->n_unsealed++;
        return c->sealed ? bad(c, i, "not sealed, although entries before it are") : 0;
    }
    c->sealed = true;
    if (mac &&
        (audit_line_digest(l, c->prev, l->hmac, d) != 0 || !audit_key_mac_ok(c->k, d, l->hmac)))
        return bad(c, i, "its HMAC is not by this key");
    if (sign &&
        (audit_line_digest(l, c->prev, l->sig, d) != 0 || !audit_key_sign_ok(c->k, d, l->sig)))
        return bad(c, i, "its signature is not by this key");
    return 0;
}

static uint64_t number_of(const struct audit_line *l, const char *key) {
    char want[24];
    const int n = snprintf(want, sizeof want, ",\"%s\":", key);
    const char *at = memmem(l->body.p, l->body.n, want, (size_t)n);
    return at ? strtoull(at + n, NULL, 10) : 0; /* the line goes on behind the number */
}

/* What entries say about the chain itself. */
static int note(struct check *c, const struct audit_item *i, const struct audit_line *l) {
    struct audit_checkpoint p;
    if (audit_line_is(l, "lost")) c->v->n_lost += number_of(l, "entries");
    if (audit_line_is(l, "start") && str_is(audit_line_member(l, "after"), "crash"))
        c->v->n_crash++;
    if (c->anchor && c->anchor->seq == l->seq) {
        c->anchored = true;
        if (memcmp(c->anchor->hash, l->hash, SHA256_BYTES) != 0)
            return bad(c, i, "its hash is not the one that was noted: the chain was written anew");
    }
    if (audit_line_checkpoint(l, &p) && !str_is(p.why, "prune") &&
        (p.through + 1 != l->seq || memcmp(p.hash, c->prev, SHA256_BYTES) != 0))
        return bad(c, i, "a checkpoint that does not fit the entries before it");
    return 0;
}

static int take(struct check *c, const struct audit_item *i, const struct audit_line *l) {
    if (check_seals(c, i, l) || note(c, i, l)) return 1;
    memcpy(c->prev, l->hash, SHA256_BYTES);
    if (c->v->n_entries++ == 0) c->v->first = l->seq;
    c->v->last = l->seq;
    c->due = l->seq + 1;
    return 0;
}

/* ---- lines that are no entries, or not in their place ---- */

static void say_wrong(struct check *c, const struct audit_item *i, const struct audit_line *l,
                      bool parsed) {
    const uint64_t seq = l->seq, due = c->due;
    c->v->torn = !parsed && !i->ended;
    if (c->v->torn)
        say(c->what, i, due, "torn: a write was cut, and nothing was written since");
    else if (!parsed)
        say(c->what, i, due, "changed: this is no whole entry");
    else if (i->row && i->row != seq)
        say(c->what, i, due, "changed: row %" PRIu64 " has entry %" PRIu64, i->row, seq);
    else if (seq == due)
        say(c->what, i, due, "changed: its hash does not fit");
    else
        say(c->what, i, due, "%s: entry %" PRIu64 " is in its place",
            seq > due ? "missing" : "put in or moved", seq);
}

static void skip(struct check *c, const struct audit_item *i, const struct audit_line *l,
                 bool parsed) {
    if (!c->skipping) {
        c->skipping = true;
        c->skip_bytes = 0;
        say_wrong(c, i, l, parsed);
        sha256_init(&c->skip_hash);
    } else {
        sha256_add(&c->skip_hash, "\n", 1);
        c->skip_bytes++;
    }
    sha256_add(&c->skip_hash, i->line.p, i->line.n);
    c->skip_bytes += i->line.n;
}

/* Does this entry tell of what was skipped? */
static bool tells(struct check *c, const struct audit_line *l) {
    uint8_t is[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];
    if (!audit_line_is(l, "torn") || number_of(l, "bytes") != c->skip_bytes) return false;
    const bool known = sha256_final(&c->skip_hash, is) == 0; /* once: nothing is known after it */
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", is[i]);
    return known && str_is(audit_line_member(l, "sha256"), text);
}

static int one(struct check *c, const struct audit_item *i) {
    struct audit_line l;
    const bool parsed = audit_line_parse(i->line, &l);
    const bool fits = parsed && (!i->row || i->row == l.seq) && l.seq == c->due &&
                      audit_line_follows(&l, c->prev);
    if (fits && c->skipping && tells(c, &l)) {
        c->skipping = false;
        c->v->n_torn++;
    } else if (!fits || c->skipping) {
        skip(c, i, &l, parsed);
        return 0;
    }
    return take(c, i, &l);
}

/* ---- the end ---- */

/* 1: not whole. */
static int check_end(struct check *c, struct audit_reader *r) {
    struct audit_verdict *v = c->v;
    uint64_t head;
    uint8_t hash[SHA256_BYTES];
    const char *why = NULL;
    v->head_known = audit_reader_head(r, &head, hash);
    v->bad_seq = c->due;
    if (c->skipping) {
        snprintf(v->what, sizeof v->what, "%s", c->what);
        return 1;
    }
    if (v->head_known && head > v->last)
        why = "missing at the end: the head knows it";
    else if (v->head_known && head == v->last && v->n_entries &&
             memcmp(hash, c->prev, SHA256_BYTES) != 0)
        v->bad_seq = v->last, why = "its hash is not the head's: the chain was written anew";
    else if (v->head_known && head < v->last && audit_reader_head_is_exact(r))
        v->bad_seq = head + 1, why = "put in behind the last that the head knows";
    else if (c->anchor && c->anchor->seq && !c->anchored)
        v->bad_seq = c->anchor->seq, why = "missing: it was noted";
    else if (c->k && (c->k->n_hmac || c->k->n_verify) && !c->sealed && v->n_entries)
        v->bad_seq = v->last, why = "no entry is sealed, and a key was given";
    if (why) snprintf(v->what, sizeof v->what, "seq %" PRIu64 ": %s", v->bad_seq, why);
    return why != NULL;
}

int audit_verify(struct audit_reader *r, const struct audit_keys *k,
                 const struct audit_anchor *anchor, struct audit_verdict *v, struct err *e) {
    struct check c = {.v = v, .k = k, .anchor = anchor};
    struct audit_item i;
    int rc, stop = 0;
    *v = (struct audit_verdict){0};
    if (find_begin(&c, r, e) != 0) return -1;
    while (!stop && (rc = audit_reader_next(r, &i, e)) == 1)
        stop = one(&c, &i);
    if (!stop && rc == 0) stop = check_end(&c, r);
    if (c.skipping) {
        uint8_t unused[SHA256_BYTES];
        (void)sha256_final(&c.skip_hash, unused);
    }
    memcpy(v->hash, c.prev, SHA256_BYTES);
    v->whole = !stop;
    return stop || rc == 0 ? 0 : -1;
}
