/* Classes of addresses, by the special-purpose registries (RFC 6890 and its updates). */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static enum net_class class4(uint32_t a) {
    static const struct {
        uint32_t net;
        int bits;
        enum net_class kind;
    } table[] = {
        {0x7f000000, 8, NET_LOOPBACK}, /* 127.0.0.0 */
        {0x0a000000, 8, NET_PRIVATE},  /* 10.0.0.0 */
        {0xac100000, 12, NET_PRIVATE}, /* 172.16.0.0 */
        {0xc0a80000, 16, NET_PRIVATE}, /* 192.168.0.0 */
        {0x64400000, 10, NET_PRIVATE}, /* 100.64.0.0, carrier-grade NAT */
        {0x00000000, 8, NET_SPECIAL},  /* 0.0.0.0, "this network": reaches this machine */
        {0xa9fe0000, 16, NET_SPECIAL}, /* 169.254.0.0, link-local: cloud metadata */
        {0xc0000000, 24, NET_SPECIAL}, /* 192.0.0.0, protocol assignments */
        {0xc0000200, 24, NET_SPECIAL}, /* 192.0.2.0, documentation */
        {0xc0586300, 24, NET_SPECIAL}, /* 192.88.99.0, 6to4 relays */
        {0xc6336400, 24, NET_SPECIAL}, /* 198.51.100.0 */
        {0xcb007100, 24, NET_SPECIAL}, /* 203.0.113.0 */
        {0xc6120000, 15, NET_SPECIAL}, /* 198.18.0.0, benchmarks */
        {0xe0000000, 3, NET_SPECIAL},  /* 224.0.0.0 multicast, 240.0.0.0 reserved, broadcast */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (((a ^ table[i].net) >> (32 - table[i].bits)) == 0) return table[i].kind;
    return NET_PUBLIC;
}

static uint32_t word(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum net_class class6(const uint8_t a[16]) {
    static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff},
                                   nat64[12] = {0, 0x64, 0xff, 0x9b}, one[16] = {[15] = 1};
    if (memcmp(a, one, 16) == 0) return NET_LOOPBACK;
    if (memcmp(a, zero, 16) == 0) return NET_SPECIAL;
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, zero, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return class4(word(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02) return class4(word(a + 2)); /* 2002::/16, 6to4 */
    if ((a[0] & 0xfe) == 0xfc) return NET_PRIVATE;                /* fc00::/7 */
    if ((a[0] & 0xe0) != 0x20)
        return NET_SPECIAL;                       /* outside 2000::/3: link-local, multicast, ... */
    const bool special = word(a) == 0x20010db8 || /* documentation */
                         (word(a) & 0xfffff000) == 0x3fff0000 || /* 3fff::/20, the same */
                         (word(a) & 0xfffffe00) == 0x20010000; /* 2001::/23: Teredo, ORCHID, ... */
    return special ? NET_SPECIAL : NET_PUBLIC;
}

enum net_class net_class_of(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        return class4(ntohl(in.sin_addr.s_addr));
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        return class6(in.sin6_addr.s6_addr);
    }
    return NET_SPECIAL;
}

enum net_class net_class_of_text(const char *ip) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
        return net_class_of((const struct sockaddr *)&v4);
    if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
        return net_class_of((const struct sockaddr *)&v6);
    return NET_SPECIAL;
}

static bool is_address(const char *z) {
    unsigned char unused[16];
    return inet_pton(AF_INET, z, unused) == 1 || inet_pton(AF_INET6, z, unused) == 1;
}

bool net_class_of_host(const char *host, enum net_class *out) {
    static const char local[] = "localhost";
    char z[256];
    snprintf(z, sizeof z, "%s", host + (host[0] == '['));
    z[strcspn(z, "]%")] = 0; /* "%eth0": a zone */
    size_t n = strlen(z);
    if (n > 1 && z[n - 1] == '.') z[--n] = 0;
    const size_t m = sizeof local - 1;
    if (n >= m && strcasecmp(z + n - m, local) == 0 && (n == m || z[n - m - 1] == '.'))
        *out = NET_LOOPBACK; /* RFC 6761, 6.3 */
    else if (is_address(z))
        *out = net_class_of_text(z);
    else
        return false;
    return true;
}

bool net_is_loopback_name(const char *host) {
    char z[64];
    if (strcasecmp(host, "localhost") == 0) return true;
    snprintf(z, sizeof z, "%s", host + (host[0] == '['));
    z[strcspn(z, "]")] = 0;
    return net_class_of_text(z) == NET_LOOPBACK;
}
