/* The network's rules, without a registry: classes of addresses, URLs, redirects (SECURITY.md R2,
 * R3, R6), against servers on loopback that answer as a test says. */
#include "hostile.h"
#include "server_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"
#include "net/client.h"
#include "net/url.h"

/* ---- classes ---- */

static void classes(void **state) {
    (void)state;
    static const struct {
        const char *ip;
        enum net_class kind;
    } table[] = {
        /* first and last of each network, and their neighbours */
        {"127.0.0.0", NET_LOOPBACK},
        {"127.255.255.255", NET_LOOPBACK},
        {"126.255.255.255", NET_PUBLIC},
        {"128.0.0.0", NET_PUBLIC},
        {"10.0.0.0", NET_PRIVATE},
        {"10.255.255.255", NET_PRIVATE},
        {"9.255.255.255", NET_PUBLIC},
        {"11.0.0.0", NET_PUBLIC},
        {"172.16.0.0", NET_PRIVATE},
        {"172.31.255.255", NET_PRIVATE},
        {"172.15.255.255", NET_PUBLIC},
        {"172.32.0.0", NET_PUBLIC},
        {"192.168.0.0", NET_PRIVATE},
        {"192.168.255.255", NET_PRIVATE},
        {"192.167.255.255", NET_PUBLIC},
        {"192.169.0.0", NET_PUBLIC},
        {"100.64.0.0", NET_PRIVATE},
        {"100.127.255.255", NET_PRIVATE},
        {"100.63.255.255", NET_PUBLIC},
        {"100.128.0.0", NET_PUBLIC},
        {"0.0.0.0", NET_SPECIAL},
        {"0.255.255.255", NET_SPECIAL},
        {"1.0.0.0", NET_PUBLIC},
        {"169.254.0.0", NET_SPECIAL},
        {"169.254.169.254", NET_SPECIAL},
        {"169.253.255.255", NET_PUBLIC},
        {"169.255.0.0", NET_PUBLIC},
        {"192.0.0.170", NET_SPECIAL},
        {"192.0.1.0", NET_PUBLIC},
        {"192.0.2.1", NET_SPECIAL},
        {"192.88.99.1", NET_SPECIAL},
        {"198.51.100.1", NET_SPECIAL},
        {"203.0.113.255", NET_SPECIAL},
        {"198.17.255.255", NET_PUBLIC},
        {"198.18.0.0", NET_SPECIAL},
        {"198.19.255.255", NET_SPECIAL},
        {"198.20.0.0", NET_PUBLIC},
        {"223.255.255.255", NET_PUBLIC},
        {"224.0.0.1", NET_SPECIAL},
        {"239.255.255.250", NET_SPECIAL},
        {"240.0.0.1", NET_SPECIAL},
        {"255.255.255.255", NET_SPECIAL},
        {"8.8.8.8", NET_PUBLIC},
        {"::1", NET_LOOPBACK},
        {"::", NET_SPECIAL},
        {"::2", NET_SPECIAL}, /* 0.0.0.2 */
        {"::127.0.0.1", NET_LOOPBACK},
        {"::10.1.2.3", NET_PRIVATE},
        {"::ffff:127.0.0.1", NET_LOOPBACK},
        {"::ffff:10.1.2.3", NET_PRIVATE},
        {"::ffff:0.0.0.0", NET_SPECIAL},
        {"::ffff:169.254.169.254", NET_SPECIAL},
        {"::ffff:8.8.8.8", NET_PUBLIC},
        {"64:ff9b::7f00:1", NET_LOOPBACK},
        {"64:ff9b::a9fe:a9fe", NET_SPECIAL},
        {"64:ff9b::808:808", NET_PUBLIC},
        {"64:ff9b:1::808:808", NET_SPECIAL}, /* NAT64 of a site's own */
        {"2002:7f00:1::", NET_LOOPBACK},
        {"2002:c0a8:101::1", NET_PRIVATE},
        {"2002:808:808::1", NET_PUBLIC},
        {"fc00::1", NET_PRIVATE},
        {"fdff:ffff::1", NET_PRIVATE},
        {"fe80::1", NET_SPECIAL},
        {"febf::1", NET_SPECIAL},
        {"fec0::1", NET_SPECIAL},
        {"ff02::1", NET_SPECIAL},
        {"ff0e::1", NET_SPECIAL},
        {"100::1", NET_SPECIAL},
        {"2001:0:1::1", NET_SPECIAL}, /* Teredo */
        {"2001:2::1", NET_SPECIAL},   /* benchmarks */
        {"2001:20::1", NET_SPECIAL},  /* ORCHID */
        {"2001:1ff:ffff::1", NET_SPECIAL},
        {"2001:200::1", NET_PUBLIC},
        {"2001:db8::1", NET_SPECIAL},
        {"2001:4860:4860::8888", NET_PUBLIC},
        {"3fff::1", NET_SPECIAL}, /* documentation */
        {"3fff:fff:ffff::1", NET_SPECIAL},
        {"3fff:1000::1", NET_PUBLIC},
        {"2620:fe::fe", NET_PUBLIC},
        {"4000::1", NET_SPECIAL},
        {"5f00::1", NET_SPECIAL},
        /* no addresses */
        {"", NET_SPECIAL},
        {"localhost", NET_SPECIAL},
        {"127.1", NET_SPECIAL},
        {"0x7f.0.0.1", NET_SPECIAL},
        {"8.8.8.8 ", NET_SPECIAL},
        {"256.1.1.1", NET_SPECIAL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (net_class_of_text(table[i].ip) != table[i].kind)
            fail_msg("%s: class %d, not %d", table[i].ip, net_class_of_text(table[i].ip),
                     table[i].kind);
    const struct sockaddr unix_socket = {.sa_family = AF_UNIX};
    assert_int_equal(net_class_of(&unix_socket), NET_SPECIAL);
}

/* However an IPv4 address is wrapped, it keeps its class. */
static void wrapped_addresses(void **state) {
    (void)state;
    unsigned x = 1;
    for (int i = 0; i < 100000; i++) {
        char v4[32], wrapped[64];
        x = x * 1664525 + 1013904223;
        /* Half of them near the special ones. */
        static const unsigned char first[] = {0, 10, 100, 127, 169, 172, 192, 198, 203, 224};
        const unsigned a = i & 1 ? first[(x >> 8) % sizeof first] : x >> 24;
        const unsigned b = x >> 16 & 255, c = x >> 8 & 255, d = x >> 3 & 255;
        snprintf(v4, sizeof v4, "%u.%u.%u.%u", a, b, c, d);
        const enum net_class kind = net_class_of_text(v4);
        snprintf(wrapped, sizeof wrapped, "::ffff:%s", v4);
        assert_int_equal(net_class_of_text(wrapped), kind);
        snprintf(wrapped, sizeof wrapped, "64:ff9b::%s", v4);
        assert_int_equal(net_class_of_text(wrapped), kind);
        snprintf(wrapped, sizeof wrapped, "2002:%x:%x::1", a << 8 | b, c << 8 | d);
        assert_int_equal(net_class_of_text(wrapped), kind);
    }
}

static void loopback_names(void **state) {
    (void)state;
    static const char *const yes[] = {"localhost", "LocalHost", "127.0.0.1",
                                      "127.9.9.9", "::1",       "[::1]"};
    static const char *const no[] = {"localhost.example.com",
                                     "127.0.0.1.example.com",
                                     "10.0.0.1",
                                     "0.0.0.0",
                                     "[::]",
                                     "xlocalhost",
                                     "",
                                     "example.com"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!net_is_loopback_name(yes[i])) fail_msg("%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (net_is_loopback_name(no[i])) fail_msg("%s", no[i]);
}

/* ---- URLs ---- */

static void urls(void **state) {
    (void)state;
    static const struct {
        const char *url, *host; /* NULL: refused */
        int port;
        bool https;
    } table[] = {
        {"https://example.com", "example.com", 443, true},
        {"http://example.com/", "example.com", 80, false},
        {"HTTPS://EXAMPLE.com:8443/a?b#c", "example.com", 8443, true},
        {"http://[::1]:5000/v2/", "[::1]", 5000, false},
        {"http://[2001:DB8::1]/", "[2001:db8::1]", 80, false},
        /* As the resolver would read them: what is checked is what is connected to. */
        {"http://2130706433/", "127.0.0.1", 80, false},
        {"http://0x7f.1/", "127.0.0.1", 80, false},
        {"http://0177.0.0.1/", "127.0.0.1", 80, false},
        {"http://127.1/", "127.0.0.1", 80, false},
        {"http://%31%32%37.0.0.1/", "127.0.0.1", 80, false},
        {"http://a.com/@b.com", "a.com", 80, false},
        {"http://a.com?@b.com", "a.com", 80, false},
        {"http://a.com#@b.com", "a.com", 80, false},
        {"", NULL, 0, false},
        {"example.com", NULL, 0, false},
        {"//example.com/", NULL, 0, false},
        {"/v2/", NULL, 0, false},
        {"ftp://example.com/", NULL, 0, false},
        {"file:///etc/passwd", NULL, 0, false},
        {"gopher://example.com/", NULL, 0, false},
        {"https://", NULL, 0, false},
        {"http://user@example.com/", NULL, 0, false},
        {"http://user:password@example.com/", NULL, 0, false},
        {"http://good.com@evil.com/", NULL, 0, false},
        {"http://example.com:99999/", NULL, 0, false},
        {"http://example.com:-1/", NULL, 0, false},
        {"http://example.com:80x/", NULL, 0, false},
        {"http://exa mple.com/", NULL, 0, false},
        {"http://example.com/a b", NULL, 0, false},
        {"http://example.com/\r\nHost: evil.com", NULL, 0, false},
        {"http://example.com/\x01", NULL, 0, false},
        {"http://ex\xc3\xa4mple.com/", NULL, 0, false},
        {"http://example.com/\xff", NULL, 0, false},
        {"http://ex%c3%a4mple.com/", NULL, 0, false},
        {"http://example.com%00.evil.com/", NULL, 0, false},
        {"http://example.com%0d/", NULL, 0, false},
        {"http://[::1/", NULL, 0, false},
        {"http://[::g]/", NULL, 0, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct net_url u;
        struct err e;
        const int rc = net_url_parse(table[i].url, &u, &e);
        if ((rc == 0) != (table[i].host != NULL)) fail_msg("\"%s\": %d", table[i].url, rc);
        if (rc != 0) {
            assert_int_equal(e.code, ERR_USAGE);
            continue;
        }
        if (strcmp(u.host, table[i].host) != 0 || u.port != table[i].port ||
            u.https != table[i].https)
            fail_msg("\"%s\": host %s, port %d, https %d", table[i].url, u.host, u.port, u.https);
    }
}

static unsigned next_random(unsigned *x) {
    *x = *x * 1664525 + 1013904223;
    return *x >> 16;
}

/* Pieces in any order. */
static void random_text(unsigned *x, const char *const *piece, size_t n_piece, char *out,
                        size_t n) {
    out[0] = 0;
    for (unsigned k = next_random(x) % 8; k > 0; k--)
        strncat(out, piece[next_random(x) % n_piece], n - strlen(out) - 1);
}

/* What parses has the origin that it says: spelled anew from its parts, it parses to the same. */
static void urls_parse_to_themselves(void **state) {
    (void)state;
    static const char *const piece[] = {"http:", "https:", "//", "/",   "\\", "@", ":",   "80",
                                        "a",     "B.c",    ".",  "?",   "#",  "[", "::1", "]",
                                        "%2e",   "%40",    "%",  "127", "..", "-", "\t",  "0"};
    unsigned x = 7;
    int n_parsed = 0;
    for (int i = 0; i < 200000; i++) {
        char url[200], again[600];
        struct net_url u, v;
        strcpy(url, i & 1 ? "http://a" : "");
        random_text(&x, piece, sizeof piece / sizeof *piece, url + strlen(url), 180);
        if (net_url_parse(url, &u, NULL) != 0) continue;
        n_parsed++;
        if (!u.host[0] || strpbrk(u.host, "/@?# \\\t") || u.port < 0 || u.port > 65535)
            fail_msg("\"%s\": host \"%s\", port %d", url, u.host, u.port);
        for (const char *p = u.host; *p; p++)
            assert_false(*p >= 'A' && *p <= 'Z');
        snprintf(again, sizeof again, "%s://%s:%d/", u.https ? "https" : "http", u.host, u.port);
        if (net_url_parse(again, &v, NULL) != 0 || !net_url_same_origin(&u, &v))
            fail_msg("\"%s\" is \"%s\", which is another", url, again);
    }
    assert_true(n_parsed > 10000);
}

/* A path stays where it is, whatever is in it. */
static void references_stay_at_the_origin(void **state) {
    (void)state;
    static const char *const piece[] = {"/", ".",   "..", "a",   "@b.com", "?",
                                        "#", "%2f", "%",  "x:1", ""};
    static const char base[] = "https://good.com:5000/v2/library/m/blobs/uploads/1?state=2";
    struct net_url start, u;
    unsigned x = 3;
    assert_int_equal(net_url_parse(base, &start, NULL), 0);
    for (int i = 0; i < 50000; i++) {
        char rel[200] = "/a";
        random_text(&x, piece, sizeof piece / sizeof *piece, rel + 2, 190);
        char *to = net_url_resolve(base, rel, NULL);
        if (!to) continue;
        if (net_url_parse(to, &u, NULL) != 0 || !net_url_same_origin(&u, &start))
            fail_msg("\"%s\" leads to \"%s\"", rel, to);
        free(to);
    }
    static const struct {
        const char *rel, *to;
    } table[] = {{"/x", "https://good.com:5000/x"},
                 {"2", "https://good.com:5000/v2/library/m/blobs/uploads/2"},
                 {"../2", "https://good.com:5000/v2/library/m/blobs/2"},
                 {"?b", "https://good.com:5000/v2/library/m/blobs/uploads/1?b"},
                 {"//evil.com/x", "https://evil.com/x"},
                 {"http://evil.com/", "http://evil.com/"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *to = net_url_resolve(base, table[i].rel, NULL);
        assert_non_null(to);
        assert_string_equal(to, table[i].to);
        free(to);
    }
    struct err e;
    assert_null(net_url_resolve(base, "/a b", &e));
    assert_int_equal(e.code, ERR_FORMAT);
}

/* ---- redirects ---- */

static struct hostile near, far;
static atomic_int with_credentials[2], with_header[2]; /* requests at near and far */
static struct {
    const char *to; /* Location of /go; NULL: none */
    int status;
    const char *more; /* headers */
} plan;

/* /go says plan; /hopN leads to /hopN-1, and 0 is the end; /body answers what was sent. */
static void answer(void *ctx, int fd, const struct hostile_request *q) {
    const int which = ctx == &far;
    char text[600], body[4096], length[32];
    hostile_header(q, "X-Mine", text, sizeof text);
    if (text[0]) atomic_fetch_add(&with_header[which], 1);
    if (q->authorization[0]) atomic_fetch_add(&with_credentials[which], 1);
    hostile_header(q, "Content-Length", length, sizeof length);
    const size_t n = hostile_body(fd, q, body, (size_t)atoi(length) % sizeof body);
    if (strcmp(q->path, "/go") == 0) {
        if (plan.to)
            snprintf(text, sizeof text, "Location: %s\r\n%s", plan.to, plan.more ? plan.more : "");
        else
            snprintf(text, sizeof text, "%s", plan.more ? plan.more : "");
        hostile_answer(fd, plan.status, text, "left", 4);
    } else if (strncmp(q->path, "/hop", 4) == 0 && atoi(q->path + 4) > 0) {
        snprintf(text, sizeof text, "Location: /hop%d\r\n", atoi(q->path + 4) - 1);
        hostile_answer(fd, 302, text, "", 0);
    } else {
        hostile_answer(fd, 200, "", n ? body : q->method, n ? n : strlen(q->method));
    }
}

static struct net_client *net;
static char *dir;

static int set_up(void **state) {
    struct err e;
    (void)state;
    dir = temp_folder();
    hostile_start(&near, answer, &near);
    hostile_start(&far, answer, &far);
    net = net_client_new(&(struct net_opts){0}, &e);
    assert_non_null(net);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    net_client_free(net);
    hostile_stop(&near);
    hostile_stop(&far);
    temp_remove(dir);
    return 0;
}

static const char *url_of(const struct hostile *h, const char *path) {
    static char ring[8][200];
    static unsigned i;
    char *b = ring[i++ & 7];
    snprintf(b, sizeof ring[0], "http://127.0.0.1:%d%s", h->port, path);
    return b;
}

/* GET of path at near; what net_do returns. */
static int get(const char *path, struct net_request more, struct net_answer *a, struct err *e) {
    more.url = url_of(&near, path);
    return net_do(net, &more, a, e);
}

static void hops_are_counted(void **state) {
    (void)state;
    struct net_answer a;
    struct err e;
    assert_int_equal(get("/hop5", (struct net_request){0}, &a, &e), 0);
    assert_int_equal(a.status, 200);
    net_answer_fini(&a);
    assert_int_equal(get("/hop6", (struct net_request){0}, &a, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "redirects"));
    net_answer_fini(&a);
}

static void only_redirects_are_followed(void **state) {
    (void)state;
    static const int statuses[] = {201, 202, 300, 301, 302, 303, 304, 307, 308, 404};
    struct net_answer a;
    struct err e;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        const int s = statuses[i];
        const bool follows = s == 301 || s == 302 || s == 303 || s == 307 || s == 308;
        plan.to = "/end", plan.status = s;
        assert_int_equal(get("/go", (struct net_request){0}, &a, &e), 0);
        assert_int_equal(a.status, follows ? 200 : s);
        net_answer_fini(&a);
        plan.to = NULL; /* to nowhere */
        assert_int_equal(get("/go", (struct net_request){0}, &a, &e), 0);
        assert_int_equal(a.status, s);
        net_answer_fini(&a);
    }
}

static void credentials_stay(void **state) {
    (void)state;
    static const char *const mine[] = {"X-Mine: 1"};
    const struct net_request q = {.authorization = "Bearer x", .header = mine, .n_header = 1};
    struct net_answer a;
    struct err e;
    plan.status = 307;
    /* Another port is another origin, and so is another name of this machine. */
    char other_name[100];
    snprintf(other_name, sizeof other_name, "http://localhost:%d/end", near.port);
    const char *const to[] = {"/end", url_of(&far, "/end"), other_name};
    static const int at_near[] = {2, 1, 1}; /* requests with credentials */
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 2; k++)
            atomic_store(&with_credentials[k], 0), atomic_store(&with_header[k], 0);
        plan.to = to[i];
        assert_int_equal(get("/go", q, &a, &e), 0);
        assert_int_equal(a.status, 200);
        net_answer_fini(&a);
        assert_int_equal(atomic_load(&with_credentials[0]), at_near[i]);
        assert_int_equal(atomic_load(&with_header[0]), at_near[i]);
        assert_int_equal(atomic_load(&with_credentials[1]), 0);
        assert_int_equal(atomic_load(&with_header[1]), 0);
    }
}

static void kept_redirects(void **state) {
    (void)state;
    struct net_answer a;
    struct err e;
    const int before = atomic_load(&far.n_requests);
    plan.to = url_of(&far, "/end"), plan.status = 307;
    assert_int_equal(get("/go", (struct net_request){.same_host = true}, &a, &e), 0);
    assert_int_equal(a.status, 307);
    assert_string_equal(a.location, url_of(&far, "/end"));
    net_answer_fini(&a);
    plan.to = "end"; /* said whole, and not followed */
    assert_int_equal(get("/go", (struct net_request){.keep_redirect = true}, &a, &e), 0);
    assert_int_equal(a.status, 307);
    assert_string_equal(a.location, url_of(&near, "/end"));
    assert_int_equal(a.net, NET_LOOPBACK);
    net_answer_fini(&a);
    assert_int_equal(get("/go", (struct net_request){.same_host = true}, &a, &e), 0);
    assert_int_equal(a.status, 200);
    net_answer_fini(&a);
    assert_int_equal(atomic_load(&far.n_requests), before);
}

static void nowhere_else(void **state) {
    (void)state;
    static const struct {
        const char *to, *said;
    } table[] = {{"http://192.0.2.1/", "plain http"},
                 {"http://0.0.0.0:1/", "plain http"},
                 {"https://0.0.0.0:1/", "private network"},
                 {"https://[::]:1/", "private network"},
                 {"https://10.0.0.1:1/", "private network"},
                 {"https://169.254.169.254/latest", "private network"},
                 {"https://[fe80::1]:1/", "private network"},
                 {"https://[::ffff:10.0.0.1]:1/", "private network"},
                 {"https://2852039166/", "private network"}, /* 169.254.169.254 */
                 {"file:///etc/passwd", "accepted"},
                 {"ftp://127.0.0.1/", "accepted"},
                 {"http://a@127.0.0.1:1/", "accepted"}};
    struct net_answer a;
    struct err e;
    plan.status = 302;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        plan.to = table[i].to;
        if (get("/go", (struct net_request){0}, &a, &e) == 0 || !strstr(e.msg, table[i].said))
            fail_msg("%s: %s", table[i].to, e.msg);
        net_answer_fini(&a);
    }
}

/* A first host that is public: nothing here may be asked, by whatever name. */
static void from_the_public_to_here(void **state) {
    (void)state;
    static const char *const forms[] = {"https://127.0.0.1:%d/", "https://localhost:%d/",
                                        "https://[::1]:%d/", "https://[::ffff:127.0.0.1]:%d/",
                                        "https://2130706433:%d/"};
    struct net_answer by = {.url = "https://example.com/x", .net = NET_PUBLIC}, a;
    struct err e;
    const int before = atomic_load(&near.n_connections);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char url[100];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(url, sizeof url, forms[i], near.port);
#pragma GCC diagnostic pop
        const struct net_request q = {
            .url = url, .redirected_by = &by, .authorization = "Bearer x"};
        if (net_do(net, &q, &a, &e) == 0 || !strstr(e.msg, "private network"))
            fail_msg("%s: %s", url, e.msg);
        net_answer_fini(&a);
    }
    const struct net_request q = {.url = url_of(&near, "/end"), .redirected_by = &by};
    assert_int_equal(net_do(net, &q, &a, &e), -1);
    assert_non_null(strstr(e.msg, "https to http"));
    net_answer_fini(&a);
    assert_int_equal(atomic_load(&near.n_connections), before);
}

static void never_from_https_to_http(void **state) {
    (void)state;
    struct server tls = {0};
    struct net_answer a;
    struct err e;
    char http[2000], authority[700], url[100];
    make_certificates(dir);
    snprintf(http, sizeof http,
             "server {\nlisten 127.0.0.1:$port ssl;\nssl_certificate %s/cert.pem;\n"
             "ssl_certificate_key %s/key.pem;\nreturn 302 http://127.0.0.1:%d/end;\n}\n",
             dir, dir, near.port);
    nginx_start(&tls, dir, "tls", http);
    snprintf(authority, sizeof authority, "%s/ca.pem", dir);
    setenv("SSL_CERT_FILE", authority, 1);
    snprintf(url, sizeof url, "https://localhost:%d/", tls.port);
    const int before = atomic_load(&near.n_connections);
    const int rc = net_do(net, &(struct net_request){.url = url}, &a, &e);
    unsetenv("SSL_CERT_FILE");
    server_stop(&tls);
    net_answer_fini(&a);
    assert_int_equal(rc, -1);
    if (!strstr(e.msg, "https to http")) fail_msg("%s", e.msg);
    assert_int_equal(atomic_load(&near.n_connections), before);
}

/* ---- bodies ---- */

struct source {
    int at, n_rewound;
};

/* More than was announced, if one lets it. */
static int64_t give(void *ctx, void *bytes, size_t n, struct err *e) {
    struct source *s = ctx;
    (void)e;
    memset(bytes, 'a' + s->at++ % 26, n);
    return (int64_t)n;
}

static int rewind_source(void *ctx, struct err *e) {
    struct source *s = ctx;
    (void)e;
    s->at = 0, s->n_rewound++;
    return 0;
}

/* It goes to the end of the redirect whole, from its beginning, and no longer than announced. */
static void bodies_go_with_redirects(void **state) {
    (void)state;
    struct source s = {0};
    struct net_answer a;
    struct err e;
    const struct net_request q = {
        .method = NET_PUT, .read = give, .rewind = rewind_source, .body_bytes = 3000, .ctx = &s};
    plan.to = url_of(&far, "/body"), plan.status = 307;
    assert_int_equal(get("/go", q, &a, &e), 0);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 3000);
    assert_int_equal(a.body.p[0], 'a');
    assert_true(s.n_rewound >= 1);
    net_answer_fini(&a);
}

static void what_an_upload_received(void **state) {
    (void)state;
    static const struct {
        const char *header;
        uint64_t received;
    } table[] = {{"Range: 0-0\r\n", 0},
                 {"Range: 0-99\r\n", 100},
                 {"range: bytes=0-99\r\n", 100},
                 {"Range: 0-18446744073709551615\r\n", UINT64_MAX},
                 {"Range: 5-99\r\n", UINT64_MAX},
                 {"Range: \r\n", UINT64_MAX},
                 {"X-Range: 0-99\r\n", UINT64_MAX},
                 {"", UINT64_MAX}};
    struct net_answer a;
    struct err e;
    plan.to = NULL, plan.status = 200;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        plan.more = table[i].header;
        assert_int_equal(get("/go", (struct net_request){0}, &a, &e), 0);
        if (a.received != table[i].received)
            fail_msg("%s: %llu", table[i].header, (unsigned long long)a.received);
        net_answer_fini(&a);
    }
    plan.more = NULL;
}

static void answers_are_bounded(void **state) {
    (void)state;
    struct net_answer a;
    struct err e;
    plan.to = NULL, plan.status = 200;
    assert_int_equal(get("/go", (struct net_request){.max_bytes = 4}, &a, &e), 0);
    net_answer_fini(&a);
    assert_int_equal(get("/go", (struct net_request){.max_bytes = 3}, &a, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    net_answer_fini(&a);
    plan.more = "Content-Encoding: gzip\r\n";
    assert_int_equal(get("/go", (struct net_request){0}, &a, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    net_answer_fini(&a);
    plan.more = "Content-Encoding: identity\r\n";
    assert_int_equal(get("/go", (struct net_request){0}, &a, &e), 0);
    net_answer_fini(&a);
    plan.more = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(wrapped_addresses),
        cmocka_unit_test(loopback_names),
        cmocka_unit_test(urls),
        cmocka_unit_test(urls_parse_to_themselves),
        cmocka_unit_test(references_stay_at_the_origin),
        cmocka_unit_test(hops_are_counted),
        cmocka_unit_test(only_redirects_are_followed),
        cmocka_unit_test(credentials_stay),
        cmocka_unit_test(kept_redirects),
        cmocka_unit_test(nowhere_else),
        cmocka_unit_test(from_the_public_to_here),
        cmocka_unit_test(never_from_https_to_http),
        cmocka_unit_test(bodies_go_with_redirects),
        cmocka_unit_test(what_an_upload_received),
        cmocka_unit_test(answers_are_bounded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
