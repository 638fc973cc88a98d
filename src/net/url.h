/* URLs as far as the client needs them, taken apart by libcurl. */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "base/err.h"

enum { NET_HOST_MAX = 256 };

struct net_url {
    bool https;
    char host[NET_HOST_MAX]; /* lower case, without a port; IPv6 in brackets; a dot at its end
                                stays: a name server may know "a." and "a" as two hosts */
    int port;                /* filled in */
};

/* ERR_USAGE: no http or https URL, user info, blanks or control characters. */
int net_url_parse(const char *url, struct net_url *out, struct err *e);

/* Scheme, host and port: what a browser calls an origin. */
static inline bool net_url_same_origin(const struct net_url *a, const struct net_url *b) {
    return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Reference rel against base: an absolute URL, free(); NULL with ERR_FORMAT. */
char *net_url_resolve(const char *base, const char *rel, struct err *e);
