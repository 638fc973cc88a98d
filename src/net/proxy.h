/* Which proxy the environment names for a URL.  Read here and not by libcurl, since what is behind
 * a proxy must be known: an address that we connect to is then the proxy's and says nothing about
 * the host that was asked for. */
#pragma once

#include <stddef.h>

#include "net/url.h"

/* A proxy as libcurl takes it, or "" for none.  http_proxy (only in lower case: HTTP_PROXY is a
 * header of a CGI request), https_proxy, HTTPS_PROXY, then all_proxy, ALL_PROXY; not for hosts of
 * no_proxy or NO_PROXY ("*", or names that stand for themselves and what is below them, addresses,
 * ADDRESS/BITS), and never for this machine itself: it would be another one to the proxy.  The
 * environment's own text. */
const char *net_proxy_of(const struct net_url *u);
