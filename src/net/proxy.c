/* See proxy.h. */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/str.h"
#include "net/address.h"

/* The first of the variables that says something. */
static const char *variable(const char *const *names) {
    for (; *names; names++) {
        const char *v = getenv(*names);
        if (v && *v) return v;
    }
    return "";
}

/* 4 or 16 bytes; 0: no address. */
static size_t address_of(const char *text, uint8_t out[16]) {
    if (inet_pton(AF_INET, text, out) == 1) return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

/* Is the address in ADDRESS or ADDRESS/BITS? */
static bool in_net(const uint8_t *a, size_t n, struct str one) {
    char z[64], *end = NULL;
    uint8_t net[16];
    if (one.n >= sizeof z) return false;
    snprintf(z, sizeof z, "%.*s", (int)one.n, one.p);
    char *slash = strchr(z, '/');
    if (slash) *slash = 0;
    const long most = (long)n * 8, bits = slash ? strtol(slash + 1, &end, 10) : most;
    if (address_of(z, net) != n || (slash && (*end || end == slash + 1))) return false;
    if (bits < 0 || bits > most) return false;
    const size_t whole = (size_t)bits / 8, rest = (size_t)bits % 8;
    if (memcmp(a, net, whole) != 0) return false;
    return rest == 0 || ((a[whole] ^ net[whole]) >> (8 - rest)) == 0;
}

/* "example.com" and ".example.com" stand for that host and all below it. */
static bool is_below(const char *host, size_t n, struct str one) {
    while (one.n && one.p[0] == '.')
        one.p++, one.n--;
    if (one.n && one.p[one.n - 1] == '.') one.n--;
    if (one.n == 0 || one.n > n || strncasecmp(host + n - one.n, one.p, one.n) != 0) return false;
    return one.n == n || host[n - one.n - 1] == '.';
}

static bool is_excepted(const char *host, const char *list) {
    char bare[NET_HOST_MAX];
    uint8_t a[16];
    snprintf(bare, sizeof bare, "%s", host + (host[0] == '['));
    bare[strcspn(bare, "]")] = 0;
    size_t n = strlen(bare);
    if (n > 1 && bare[n - 1] == '.') bare[--n] = 0;
    const size_t n_address = address_of(bare, a);
    for (const char *p = list; *p;) {
        p += strspn(p, ", \t");
        const struct str one = {p, strcspn(p, ", \t")};
        p += one.n;
        if (one.n == 1 && one.p[0] == '*') return true;
        if (n_address ? in_net(a, n_address, one) : is_below(bare, n, one)) return true;
    }
    return false;
}

const char *net_proxy_of(const struct net_url *u) {
    static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL},
                             *const tls[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                             NULL},
                             *const none[] = {"no_proxy", "NO_PROXY", NULL};
    enum net_class kind;
    const char *proxy = variable(u->https ? tls : plain);
    if (!*proxy || (net_class_of_host(u->host, &kind) && kind == NET_LOOPBACK)) return "";
    return is_excepted(u->host, variable(none)) ? "" : proxy;
}
