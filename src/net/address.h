/* What kind of network an address belongs to.  A redirect may not lead from one kind into a more
 * private one (SECURITY.md R3). */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

enum net_class {
    NET_PUBLIC,
    NET_LOOPBACK, /* 127.0.0.0/8, ::1 */
    NET_PRIVATE,  /* 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7 */
    NET_SPECIAL,  /* unspecified, link-local, multicast, documentation, reserved, other families */
};

/* An IPv4 address inside an IPv6 one (mapped, compatible, 6to4, NAT64) counts as that. */
enum net_class net_class_of(const struct sockaddr *a);

/* The same of an address as text ("127.0.0.1", "::1"); NET_SPECIAL when it is none. */
enum net_class net_class_of_text(const char *ip);

/* What the host of a URL says without a name server: of an address, also in brackets or with a dot
 * at its end, and of "localhost" and the names below it.  False for other names. */
bool net_class_of_host(const char *host, enum net_class *out);

/* "localhost" or a literal loopback address, with or without brackets: what stays on this machine
 * whatever a name server says. */
bool net_is_loopback_name(const char *host);
