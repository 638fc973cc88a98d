/* Where a registry may send us for a blob (SECURITY.md R3, R13): through the command, with targets
 * that have a certificate we trust and the right bytes, so that nothing but the rule refuses them.
 */
#include "fake_registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"
#include "net/proxy.h"

static struct hostile cdn; /* https */
static atomic_int cdn_credentials;

static void give_blob(void *ctx, int fd, const struct hostile_request *q) {
    (void)ctx;
    if (q->authorization[0]) atomic_fetch_add(&cdn_credentials, 1);
    if (strstr(q->path, "loop")) {
        char to[100];
        snprintf(to, sizeof to, "Location: /loop%d\r\n", rand());
        hostile_answer(fd, 302, to, "", 0);
    } else {
        fake_send_blob(fd, q, fake.blob, fake.n_blob);
    }
}

static int set_up(void **state) {
    static char authority[700];
    if (fake_set_up(state) != 0) return -1;
    hostile_certificate(fake.shop.dir);
    snprintf(authority, sizeof authority, "%s/cert.pem", fake.shop.dir);
    setenv("SSL_CERT_FILE", authority, 1);
    hostile_start_tls(&cdn, give_blob, NULL, fake.shop.dir);
    return 0;
}

static int tear_down(void **state) {
    hostile_stop(&cdn);
    unsetenv("SSL_CERT_FILE");
    return fake_tear_down(state);
}

/* A model whose config is its layer, so that all that is asked for is the blob. */
static const char *one_blob(void) {
    static char text[3000];
    snprintf(text, sizeof text, FAKE_MANIFEST("sha256:%s", "%zu", FAKE_LAYER("sha256:%s", "%zu")),
             fake.blob_digest.hex, fake.n_blob, fake.blob_digest.hex, fake.n_blob);
    return text;
}

struct target {
    const char *form, *said; /* %d: the port of the CDN */
};

static const char *url_of(const char *form, int port) {
    static char url[200];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(url, sizeof url, form, port);
#pragma GCC diagnostic pop
    return url;
}

static void each_refused(struct plan p, const struct target *t, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *url = url_of(t[i].form, cdn.port);
        const int before = atomic_load(&cdn.n_connections);
        p.redirect = url;
        plan = p;
        fake_refused(url, t[i].said);
        if (!strstr(url, "loop") && atomic_load(&cdn.n_connections) != before)
            fail_msg("%s was connected to", url);
    }
}

/* ---- straight ----
 *
 * The registry is on loopback, so redirects to loopback are like to like, and allowed. */

static void to_addresses(void **state) {
    (void)state;
    static const struct target targets[] = {
        {"https://0.0.0.0:%d/blob", "private network"},
        {"https://0:%d/blob", "private network"},
        {"https://[::]:%d/blob", "private network"},
        {"https://[::ffff:0.0.0.0]:%d/blob", "private network"},
        {"https://10.0.0.1:%d/blob", "private network"},
        {"https://192.168.1.1:%d/blob", "private network"},
        {"https://[::ffff:192.168.1.1]:%d/blob", "private network"},
        {"https://[fd00::1]:%d/blob", "private network"},
        {"https://[fe80::1]:%d/blob", "private network"},
        {"https://169.254.169.254/latest/%d", "private network"},
        {"https://2852039166/latest/%d", "private network"},
        {"https://0251.0376.0251.0376/latest/%d", "private network"},
    };
    plan = (struct plan){.manifest = one_blob(),
                         .redirect = url_of("https://localhost:%d/blob", cdn.port)};
    fake_pulled("the same place by a name that is allowed");
    each_refused((struct plan){.manifest = one_blob()}, targets, sizeof targets / sizeof *targets);
}

static void to_other_schemes(void **state) {
    (void)state;
    static const struct target targets[] = {
        {"https://localhost:%d/loop", "redirects"},
        {"http://0.0.0.0:%d/blob", "plain http"},
        {"file:///etc/passwd?%d", ""},
        {"ftp://localhost:%d/blob", ""},
        {"https://a@localhost:%d/blob", ""},
    };
    char name[100];
    struct hostile tls;
    each_refused((struct plan){.manifest = one_blob()}, targets, sizeof targets / sizeof *targets);
    /* From https to http, even to the same machine. */
    hostile_start_tls(&tls, fake_answer, NULL, fake.shop.dir);
    snprintf(name, sizeof name, "https://localhost:%d/library/m", tls.port);
    plan = (struct plan){.name = name};
    fake_pulled("over https");
    const int before = atomic_load(&fake.server.n_connections);
    plan = (struct plan){.name = name,
                         .redirect = url_of("http://localhost:%d/blob", fake.server.port)};
    fake_refused("https to http", "from https to http");
    assert_int_equal(atomic_load(&fake.server.n_connections), before);
    hostile_stop(&tls);
}

/* A CDN gets the range, not the token. */
static void without_credentials(void **state) {
    (void)state;
    plan = (struct plan){.manifest = one_blob(),
                         .challenge = fake_challenge(),
                         .redirect = url_of("https://localhost:%d/blob", cdn.port)};
    atomic_store(&cdn_credentials, 0);
    fake_pulled("another host");
    assert_true(atomic_load(&fake.token_requests) > 0);
    assert_int_equal(atomic_load(&cdn_credentials), 0);
}

/* ---- through a proxy ----
 *
 * It is on loopback, and resolves registry.example and cdn.example, which nobody else does. */

static atomic_int n_connect;

static void proxy(void *ctx, int fd, const struct hostile_request *q) {
    struct hostile_request inner = *q;
    if (strcmp(q->method, "CONNECT") == 0) {
        const char *port = strrchr(q->path, ':');
        atomic_fetch_add(&n_connect, 1);
        hostile_tunnel(fd, port && atoi(port + 1) != 443 ? atoi(port + 1) : cdn.port);
    } else if (strncmp(q->path, "http://registry.example/", 24) == 0) {
        snprintf(inner.path, sizeof inner.path, "%s", q->path + 23);
        fake_answer(ctx, fd, &inner);
    } else {
        hostile_answer(fd, 502, "", "", 0);
    }
}

static void through_a_proxy(void **state) {
    (void)state;
    static const struct target targets[] = {
        {"https://127.0.0.1:%d/blob", "private network"}, /* the proxy's own class */
        {"https://localhost:%d/blob", "private network"},
        {"https://0.0.0.0:%d/blob", "private network"},
        {"https://[::1]:%d/blob", "private network"},
        {"https://[::ffff:127.0.0.1]:%d/blob", "private network"},
        {"https://127.1:%d/blob", "private network"},
        {"https://10.0.0.1:%d/blob", "private network"},
        {"https://169.254.169.254:%d/blob", "private network"},
        {"https://[fd00::1]:%d/blob", "private network"},
        {"http://cdn.example:%d/blob", "plain http"},
    };
    struct hostile p;
    char address[100];
    hostile_start(&p, proxy, NULL);
    snprintf(address, sizeof address, "http://127.0.0.1:%d", p.port);
    setenv("http_proxy", address, 1), setenv("https_proxy", address, 1);
    const struct plan through = {
        .name = "http://registry.example/library/m", .insecure = true, .manifest = one_blob()};
    plan = through;
    fake_pulled("through a proxy");
    plan.redirect = "https://cdn.example/blob";
    fake_pulled("and a CDN");
    assert_int_equal(atomic_load(&n_connect), 1);
    each_refused(through, targets, sizeof targets / sizeof *targets);
    assert_int_equal(atomic_load(&n_connect), 1);
    /* Not asked for what is on this machine, nor for what is excepted. */
    const int before = atomic_load(&p.n_connections);
    plan = (struct plan){0};
    fake_pulled("on this machine");
    setenv("no_proxy", "10.0.0.0/8, .example", 1);
    plan = through;
    fake_refused("not through the proxy", "registry.example");
    assert_int_equal(atomic_load(&p.n_connections), before);
    unsetenv("no_proxy"), unsetenv("http_proxy"), unsetenv("https_proxy");
    hostile_stop(&p);
}

/* ---- what decides ---- */

static void which_proxy(void **state) {
    (void)state;
    static const struct {
        const char *no_proxy, *url;
        bool proxied;
    } row[] = {
        {"", "http://a.example/", true},
        {"", "https://a.example/", true},
        {"", "http://127.0.0.1:5000/", false},
        {"", "http://[::1]/", false},
        {"", "http://localhost/", false},
        {"", "http://10.1.2.3/", true},
        {"*", "http://a.example/", false},
        {"example", "http://a.example/", false},
        {".example", "http://example/", false},
        {"ample", "http://a.example/", true},
        {"A.Example", "http://a.example./", false},
        {"b.example, a.example", "http://a.example/", false},
        {"a.example.org", "http://a.example/", true},
        {"10.0.0.0/8", "http://10.1.2.3/", false},
        {"10.0.0.0/8", "http://11.1.2.3/", true},
        {"10.1.2.0/23", "http://10.1.3.9/", false},
        {"10.1.2.0/23", "http://10.1.4.9/", true},
        {"10.1.2.3", "http://10.1.2.3/", false},
        {"10.1.2.3/33", "http://10.1.2.3/", true},
        {"10.1.2.3/", "http://10.1.2.3/", true},
        {"2.3", "http://10.1.2.3/", true},
        {"fd00::/8", "http://[fd12::1]/", false},
        {"fd00::/8", "http://[fe12::1]/", true},
    };
    setenv("http_proxy", "http://p:1", 1), setenv("HTTPS_PROXY", "http://p:2", 1);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct net_url u;
        setenv("NO_PROXY", row[i].no_proxy, 1);
        assert_int_equal(net_url_parse(row[i].url, &u, NULL), 0);
        const char *want = !row[i].proxied ? "" : u.https ? "http://p:2" : "http://p:1";
        if (strcmp(net_proxy_of(&u), want) != 0)
            fail_msg("%s without %s: \"%s\"", row[i].url, row[i].no_proxy, net_proxy_of(&u));
    }
    unsetenv("http_proxy"), unsetenv("HTTPS_PROXY"), unsetenv("NO_PROXY");
}

static void classes_of_hosts(void **state) {
    (void)state;
    static const struct {
        const char *host;
        int kind; /* -1: a name */
    } row[] = {
        {"127.0.0.1", NET_LOOPBACK},
        {"127.0.0.1.", NET_LOOPBACK},
        {"[::1]", NET_LOOPBACK},
        {"localhost", NET_LOOPBACK},
        {"LocalHost.", NET_LOOPBACK},
        {"a.localhost", NET_LOOPBACK},
        {"[::ffff:10.0.0.1]", NET_PRIVATE},
        {"10.0.0.1", NET_PRIVATE},
        {"[fd00::1]", NET_PRIVATE},
        {"169.254.169.254", NET_SPECIAL},
        {"0.0.0.0", NET_SPECIAL},
        {"[::]", NET_SPECIAL},
        {"[fe80::1%25eth0]", NET_SPECIAL},
        {"8.8.8.8", NET_PUBLIC},
        {"notlocalhost", -1},
        {"localhost.example", -1},
        {"example", -1},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        enum net_class kind;
        const int got = net_class_of_host(row[i].host, &kind) ? (int)kind : -1;
        if (got != row[i].kind) fail_msg("%s: %d", row[i].host, got);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(to_addresses),        cmocka_unit_test(to_other_schemes),
        cmocka_unit_test(without_credentials), cmocka_unit_test(through_a_proxy),
        cmocka_unit_test(which_proxy),         cmocka_unit_test(classes_of_hosts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
