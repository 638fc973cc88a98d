/* Heads and chunked bodies of requests: what is accepted and what is refused (SECURITY.md H5), each
 * also cut in two at every byte. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "net/http_chunk.h"
#include "net/http_head.h"

/* A string with its length: NUL bytes count. */
#define RAW(literal) (literal), sizeof(literal) - 1
#define HOST "Host: a\r\n"

/* Scan and parse as one; the result must not depend on where the bytes are cut. */
static int read_head(struct http_head *h, const char *p, size_t n, size_t *n_used) {
    struct http_scan s = {0};
    const char *why = NULL;
    int rc = http_scan_head(&s, p, n);
    for (size_t cut = 0; cut <= n; cut += n > 2000 ? 97 : 1) {
        struct http_scan two = {0};
        int again = http_scan_head(&two, p, cut);
        if (again == 0) again = http_scan_head(&two, p, n);
        assert_int_equal(again, rc);
        assert_int_equal(two.at, s.at);
    }
    if (n_used) *n_used = s.at;
    if (rc != 1) return rc ? rc : 1;
    rc = http_head_parse(h, p + s.lead, s.at - s.lead, &why);
    if (rc < 0) assert_non_null(why);
    return rc;
}

static void heads(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        int rc; /* 0 accepted, 1 unfinished, -status */
    } table[] = {
        /* accepted */
        {RAW("GET / HTTP/1.1\r\n" HOST "\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\nHost: [::1]:11434\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.0\r\n\r\n"), 0},
        {RAW("HEAD /a/b?c=d?e&f HTTP/1.1\r\n" HOST "\r\n"), 0},
        {RAW("OPTIONS /api/tags HTTP/1.1\r\n" HOST "\r\n"), 0},
        {RAW("GET //x/../y HTTP/1.1\r\n" HOST "\r\n"), 0},
        {RAW("\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 0},
        {RAW("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 0},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), 0},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 999999999999999999\r\n\r\n"), 0},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 007\r\n\r\n"), 0},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"), 0},
        {RAW("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\n" HOST "X: \xc3\xa9\xff\tb\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.1\r\n" HOST "Empty:\r\n\r\n"), 0},
        {RAW("GET / HTTP/1.0\r\nExpect: something\r\n\r\n"), 0},
        /* unfinished */
        {RAW(""), 1},
        {RAW("\r\n"), 1},
        {RAW("GET / HTTP/1.1\r\n" HOST), 1},
        {RAW("GET / HTTP/1.1\r\n" HOST "\r"), 1},
        /* two opinions on the length */
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
         -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
         -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 5,\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
             "Transfer-Encoding: chunked\r\n\r\n"),
         -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n"), -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
             "chunked\r\n\r\n"),
         -400},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n"), -501},
        {RAW("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n"), -501},
        {RAW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), -400},
        /* line ends */
        {RAW("GET / HTTP/1.1\nHost: a\n\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: a\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), -400},
        {RAW("\nGET / HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), -400},
        /* fields */
        {RAW("GET / HTTP/1.1\r\n" HOST " folded\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "\tfolded: b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n X: b\r\n" HOST "\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "X\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "X(y): b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "X\xc3\xa9: b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "X: a\x1b[m\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n"), -400},
        /* hosts */
        {RAW("GET / HTTP/1.1\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\n" HOST HOST "\r\n"), -400},
        {RAW("GET / HTTP/1.0\r\n" HOST HOST "\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: :80\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), -400},
        {RAW("GET / HTTP/1.1\r\nHost: []\r\n\r\n"), -400},
        /* request lines */
        {RAW("GET http://a/ HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET a HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET  / HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /  HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET / HTTP/1.1 \r\n" HOST "\r\n"), -400},
        {RAW(" GET / HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /\ta HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /a b HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /a#b HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET /\r\n" HOST "\r\n"), -400},
        {RAW("GET\r\n" HOST "\r\n"), -400},
        {RAW("GET / HTTP/1\r\n" HOST "\r\n"), -400},
        {RAW("GET / HTTP/01.1\r\n" HOST "\r\n"), -400},
        {RAW("GET / http/1.1\r\n" HOST "\r\n"), -400},
        {RAW("GET / HTTP/1.1x\r\n" HOST "\r\n"), -400},
        {RAW("GET / HTTP/1.2\r\n" HOST "\r\n"), -505},
        {RAW("GET / HTTP/0.9\r\n" HOST "\r\n"), -505},
        {RAW("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), -505},
        {RAW("get / HTTP/1.1\r\n" HOST "\r\n"), -501},
        {RAW("TRACE / HTTP/1.1\r\n" HOST "\r\n"), -501},
        {RAW("CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n"), -501},
        {RAW("G(T / HTTP/1.1\r\n" HOST "\r\n"), -400},
        {RAW("\x16\x03\x01\x02\x00\x01"), -400}, /* TLS */
        /* expectations */
        {RAW("POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n"), -417},
        {RAW("POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"),
         -417},
    };
    static struct http_head h;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int rc = read_head(&h, table[i].text, table[i].n, NULL);
        if (rc != table[i].rc) fail_msg("%d, not %d: %s", rc, table[i].rc, table[i].text);
    }
}

/* What is as long as may be, and one byte longer. */
static void limits(void **state) {
    (void)state;
    static struct http_head h;
    for (int over = 0; over < 2; over++) {
        struct buf b = {0};
        buf_str(&b, "GET /");
        for (int i = 1; i < HTTP_TARGET_MAX + over; i++)
            buf_byte(&b, 'a');
        buf_str(&b, " HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(read_head(&h, b.p, b.n, NULL), over ? -414 : 0);

        buf_reset(&b);
        buf_str(&b, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 1; i < HTTP_FIELDS_MAX + over; i++)
            buf_str(&b, "a: b\r\n");
        buf_str(&b, "\r\n");
        assert_int_equal(read_head(&h, b.p, b.n, NULL), over ? -431 : 0);

        buf_reset(&b);
        buf_str(&b, "GET / HTTP/1.1\r\n" HOST "a: ");
        while (b.n < (size_t)HTTP_HEAD_MAX - 4 + (size_t)over)
            buf_byte(&b, 'b');
        buf_str(&b, "\r\n\r\n");
        assert_int_equal(read_head(&h, b.p, b.n, NULL), over ? -431 : 0);
        buf_fini(&b);
    }
    /* Without any end: refused as soon as it is too long, not gathered. */
    struct buf b = {0};
    for (int i = 0; i < 1000000; i++)
        buf_byte(&b, 'a');
    size_t n_used;
    assert_int_equal(read_head(&h, b.p, b.n, &n_used), -414);
    assert_in_range(n_used, HTTP_TARGET_MAX, HTTP_TARGET_MAX + 100);
    buf_fini(&b);
}

static void parts(void **state) {
    (void)state;
    static struct http_head h;
    size_t n_used;
    static const char text[] =
        "\r\nPOST /a%20b?c=d&e HTTP/1.1\r\nHost: x:1\r\nContent-Length: 42\r\n"
        "A: 1\r\na:\t2 \r\nExpect: 100-Continue\r\n\r\nBODY";
    assert_int_equal(read_head(&h, text, sizeof text - 1, &n_used), 0);
    assert_string_equal(text + n_used, "BODY");
    assert_string_equal(http_method_name(h.method), "POST");
    assert_int_equal(h.minor, 1);
    assert_true(str_is(h.target, "/a%20b?c=d&e") && str_is(h.path, "/a%20b") &&
                str_is(h.query, "c=d&e") && str_is(h.host, "x:1"));
    assert_int_equal(h.n_body_bytes, 42);
    assert_true(h.expect_continue && h.keep_alive);
    assert_int_equal(h.n_field, 5);
    assert_true(str_is(*http_head_get(&h, "a"), "1"));
    assert_true(str_is(h.field[3].value, "2"));
    assert_null(http_head_get(&h, "b"));
}

static void keep_alive(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool keep;
    } table[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: x, close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive , close\r\n\r\n", false},
    };
    static struct http_head h;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(read_head(&h, table[i].text, strlen(table[i].text), NULL), 0);
        if (h.keep_alive != table[i].keep) fail_msg("%s", table[i].text);
    }
}

/* Feed p in pieces of n_piece; the body goes to out, what is left behind it to *n_rest. */
static int read_chunks(const char *p, size_t n, size_t n_piece, struct buf *out, size_t *n_rest) {
    struct http_chunk c = {0};
    int rc = 0;
    while (n && rc == 0) {
        struct str data;
        size_t n_used;
        rc = http_chunk_feed(&c, p, n < n_piece ? n : n_piece, &n_used, &data);
        if (rc < 0) break;
        buf_append(out, data.p, data.n);
        p += n_used, n -= n_used;
    }
    *n_rest = n;
    return rc;
}

static void chunks(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        int rc; /* 1 complete, 0 unfinished, -400 */
        const char *body;
        size_t n_rest;
    } table[] = {
        {RAW("0\r\n\r\n"), 1, "", 0},
        {RAW("5\r\nhello\r\n0\r\n\r\n"), 1, "hello", 0},
        {RAW("5\r\nhello\r\n00\r\n\r\nGET /"), 1, "hello", 5},
        {RAW("00000003\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), 1, "abc0123456789", 0},
        {RAW("3;a=\"b\"; c\r\nabc\r\n0;x\r\n\r\n"), 1, "abc", 0},
        {RAW("2\r\n\r\n\r\n0\r\n\r\n"), 1, "\r\n", 0},
        {RAW("5\r\nhel"), 0, "hel", 0},
        {RAW("0\r\n"), 0, "", 0},
        {RAW("000000003\r\nabc\r\n"), -400, "", 0},
        {RAW("FFFFFFFFFFFFFFFF1\r\n"), -400, "", 0},
        {RAW("5 \r\nhello\r\n"), -400, "", 0},
        {RAW(" 5\r\nhello\r\n"), -400, "", 0},
        {RAW("+5\r\nhello\r\n"), -400, "", 0},
        {RAW("-5\r\nhello\r\n"), -400, "", 0},
        {RAW("0x5\r\nhello\r\n"), -400, "", 0},
        {RAW("\r\nhello\r\n"), -400, "", 0},
        {RAW("5\nhello\n0\n\n"), -400, "", 0},
        {RAW("5;a\nhello\r\n"), -400, "", 0},
        {RAW("5;a\rX\nhello\r\n"), -400, "", 0},
        {RAW("5;a\0\r\nhello\r\n"), -400, "", 0},
        {RAW("5\r\nhelloX0\r\n\r\n"), -400, "hello", 0},
        {RAW("5\r\nhello\n0\r\n\r\n"), -400, "hello", 0},
        {RAW("5\r\nhello\r\n0\r\nA: b\r\n\r\n"), -400, "hello", 0},
        {RAW("5\r\nhello\r\n0\r\n\n"), -400, "hello", 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (size_t n_piece = table[i].n; n_piece; n_piece--) {
            struct buf out = {0};
            size_t n_rest;
            const int rc = read_chunks(table[i].text, table[i].n, n_piece, &out, &n_rest);
            buf_append(&out, "", 0);
            if (rc != table[i].rc || (rc >= 0 && n_rest != table[i].n_rest) ||
                !str_is(buf_view(&out), table[i].body))
                fail_msg("pieces of %zu: %d, body \"%s\": %s", n_piece, rc, out.p, table[i].text);
            buf_fini(&out);
        }
}

/* One extension as long as may be, and longer; many that are too long together. */
static void extensions(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct buf b = {0}, out = {0};
        size_t n_rest;
        buf_str(&b, "0;");
        for (int i = 0; i < HTTP_CHUNK_EXT_MAX + over; i++)
            buf_byte(&b, 'x');
        buf_str(&b, "\r\n\r\n");
        assert_int_equal(read_chunks(b.p, b.n, b.n, &out, &n_rest), over ? -400 : 1);
        buf_reset(&b);
        for (int i = 0; i < HTTP_CHUNK_EXT_ALL / 8 + over; i++)
            buf_str(&b, "1;12345678\r\nx\r\n");
        buf_str(&b, "0\r\n\r\n");
        assert_int_equal(read_chunks(b.p, b.n, b.n, &out, &n_rest), over ? -400 : 1);
        buf_fini(&b);
        buf_fini(&out);
    }
}

static void escapes(void **state) {
    (void)state;
    static const struct {
        const char *raw, *form; /* form: NULL when refused */
    } table[] = {
        {"", ""},           {"/a%2Fb%20c", "/a/b c"},
        {"a+b", "a+b"},     {"%c3%A9", "\xc3\xa9"},
        {"%", NULL},        {"%4", NULL},
        {"%4g", NULL},      {"%00", NULL},
        {"%0d%0aX:", NULL}, {"%7f", NULL},
        {"%ff", NULL},      {"%c0%af", NULL},
        {"%2541", "%41"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct buf out = {0};
        const bool good = http_decode(str_of(table[i].raw), &out);
        if (good != (table[i].form != NULL) || (good && !str_is(buf_view(&out), table[i].form)))
            fail_msg("%s -> %d %s", table[i].raw, good, out.p);
        buf_fini(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),      cmocka_unit_test(limits), cmocka_unit_test(parts),
        cmocka_unit_test(keep_alive), cmocka_unit_test(chunks), cmocka_unit_test(extensions),
        cmocka_unit_test(escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
