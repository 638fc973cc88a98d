/* Fuzz target: requests from outside.  The first byte chooses: h a head, c a chunked body, u an
 * escaped path or query.  Cut in two at every point, and byte by byte, the same bytes must give the
 * same result as whole: what a proxy's packets look like must not matter. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_chunk.h"
#include "net/http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { CUTS_MAX = 400 }; /* longer inputs are cut at fewer points */

static void require(bool holds) {
    if (!holds) abort();
}

/* ---- heads ---- */

static void require_inside(struct str s, const char *p, size_t n) {
    require(s.n == 0 || (s.p >= p && s.p + s.n <= p + n));
}

static int scan_cut(const char *p, size_t n, size_t cut, struct http_scan *s) {
    *s = (struct http_scan){0};
    const int rc = http_scan_head(s, p, cut);
    return rc ? rc : http_scan_head(s, p, n);
}

static void check_parsed(const struct http_head *h, const char *p, size_t n) {
    require(h->n_field <= HTTP_FIELDS_MAX && h->minor >= 0 && h->minor <= 1);
    require(h->n_body_bytes >= -1 && h->path.n >= 1 && h->path.p[0] == '/');
    require_inside(h->target, p, n);
    require_inside(h->path, p, n);
    require_inside(h->query, p, n);
    for (int i = 0; i < h->n_field; i++) {
        require(h->field[i].name.n > 0);
        require_inside(h->field[i].name, p, n);
        require_inside(h->field[i].value, p, n);
        require(!memchr(h->field[i].value.p, '\r', h->field[i].value.n));
        require(!memchr(h->field[i].value.p, 0, h->field[i].value.n));
    }
    require(!(http_head_get(h, "Content-Length") && http_head_get(h, "Transfer-Encoding")));
}

static void fuzz_head(const char *p, size_t n) {
    static struct http_head h;
    struct http_scan whole, s;
    const char *why = NULL;
    const int rc = scan_cut(p, n, n, &whole);
    const size_t step = n / CUTS_MAX + 1;
    for (size_t cut = 0; cut < n; cut += step) {
        require(scan_cut(p, n, cut, &s) == rc);
        require(s.at == whole.at && s.lead == whole.lead && s.n_line == whole.n_line);
    }
    if (rc != 1) return;
    require(whole.lead < whole.at && whole.at <= n && whole.at - whole.lead <= HTTP_HEAD_MAX);
    const char *head = p + whole.lead;
    const size_t n_head = whole.at - whole.lead;
    const int parsed = http_head_parse(&h, head, n_head, &why);
    require(parsed == 0 || (parsed <= -400 && parsed >= -505 && why && why[0]));
    if (parsed == 0) check_parsed(&h, head, n_head);
}

/* ---- chunks ---- */

struct body {
    int rc;
    size_t n_used, n_body;
    uint64_t sum;
};

static void feed(struct http_chunk *c, const char *p, size_t n, struct body *b) {
    struct str data;
    size_t n_used;
    while (n && b->rc == 0) {
        b->rc = http_chunk_feed(c, p, n, &n_used, &data);
        if (b->rc < 0) return;
        require(n_used > 0 && n_used <= n && data.n <= n_used);
        require_inside(data, p, n);
        for (size_t i = 0; i < data.n; i++)
            b->sum = (b->sum ^ (uint8_t)data.p[i]) * 0x100000001b3u;
        b->n_body += data.n, b->n_used += n_used;
        p += n_used, n -= n_used;
    }
}

static void require_same(const struct body *a, const struct body *b) {
    require(a->rc == b->rc && a->n_body == b->n_body && a->sum == b->sum);
    require(a->rc < 0 || a->n_used == b->n_used);
}

static void fuzz_chunks(const char *p, size_t n) {
    struct http_chunk c = {0};
    struct body whole = {0}, each = {0};
    feed(&c, p, n, &whole);
    require(whole.n_body <= n);
    c = (struct http_chunk){0};
    for (size_t i = 0; i < n; i++)
        feed(&c, p + i, 1, &each);
    require_same(&whole, &each);
    for (size_t cut = 0; cut < n; cut += n / CUTS_MAX + 1) {
        struct body two = {0};
        c = (struct http_chunk){0};
        feed(&c, p, cut, &two);
        feed(&c, p + cut, n - cut, &two);
        require_same(&whole, &two);
    }
}

/* ---- escapes ---- */

static void fuzz_escapes(struct str s) {
    struct buf out = {0};
    if (http_decode(s, &out))
        for (size_t i = 0; i < out.n; i++)
            require((uint8_t)out.p[i] >= ' ' && out.p[i] != 0x7f);
    require(out.n <= s.n);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0) return 0;
    char *copy = malloc(n); /* exactly: an overread is seen */
    require(copy != NULL);
    memcpy(copy, bytes + 1, n - 1);
    switch (bytes[0]) {
    case 'h': fuzz_head(copy, n - 1); break;
    case 'c': fuzz_chunks(copy, n - 1); break;
    case 'u': fuzz_escapes((struct str){copy, n - 1}); break;
    }
    free(copy);
    return 0;
}
