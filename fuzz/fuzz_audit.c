/* Fuzz target: an audit log of JSON lines, verified.
 *
 *   'r' and bytes  a log as it is: verify says one thing or the other, and names an entry
 *   's' and lines  become texts of entries of a whole chain: verify says so; with one byte of it
 *                  flipped, which the input chooses, that entry is named */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/audit_entry.h"
#include "policy/audit_read.h"
#include "policy/audit_verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { N_LINE = 16 };

static void require(bool holds) {
    if (!holds) abort();
}

static struct audit_verdict verify(struct str text) {
    struct audit_verdict v;
    struct err e = {0};
    struct audit_reader *r = audit_reader_memory(text, &e);
    require(r && audit_verify(r, NULL, NULL, &v, &e) == 0);
    audit_reader_close(r);
    require(v.whole || (v.bad_seq > 0 && v.what[0] && memchr(v.what, 0, sizeof v.what)));
    require(v.n_entries == (v.n_entries ? v.last - v.first + 1 : 0));
    return v;
}

/* begin[i]: where line i begins; begin[*n] is the end of all. */
static void make_chain(struct str in, struct buf *out, size_t begin[N_LINE + 1], int *n) {
    uint8_t hash[SHA256_BYTES] = {0};
    *n = 0;
    while (in.n && *n < N_LINE) {
        const char *nl = memchr(in.p, '\n', in.n);
        const struct str text = {in.p, nl ? (size_t)(nl - in.p) : in.n};
        struct buf line = {0};
        buf_printf(&line, "{\"seq\":%d", *n + 1);
        audit_text(&line, "type", "request");
        audit_text_n(&line, "x", text);
        require(audit_seal(&line, NULL, hash, NULL) == 0);
        begin[(*n)++] = out->n;
        buf_append(out, line.p, line.n);
        buf_byte(out, '\n');
        buf_fini(&line);
        in.p += text.n + (nl != NULL), in.n -= text.n + (nl != NULL);
    }
    begin[*n] = out->n;
}

static void try_chain(const uint8_t *bytes, size_t n) {
    struct buf text = {0};
    size_t begin[N_LINE + 1];
    int n_line, bad = 0;
    if (n < 2) return;
    make_chain((struct str){(const char *)bytes + 2, n - 2}, &text, begin, &n_line);
    require(!text.failed);
    require(verify(buf_view(&text)).whole);
    if (text.n) {
        const size_t at = (bytes[0] * 256u + bytes[1]) % text.n;
        while (begin[bad + 1] <= at)
            bad++;
        text.p[at] ^= 1;
        const struct audit_verdict v = verify(buf_view(&text));
        /* The end of the last line is not needed: that is what a cut may leave. */
        require(at + 1 == text.n || (!v.whole && v.bad_seq == (uint64_t)bad + 1));
    }
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0 || n > 1 << 16) return 0;
    if (bytes[0] == 's')
        try_chain(bytes + 1, n - 1);
    else
        verify((struct str){(const char *)bytes + 1, n - 1});
    return 0;
}
