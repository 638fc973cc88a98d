/* The addresses that are connected, each with the number of its connections: a table of lists by a
 * hash of the name.  All connections of an address share one entry.  What is limited is an IPv4
 * address, a user of a Unix socket or, as every house has one, a /64 of IPv6: it has an entry of
 * its own, to which those of its addresses point. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/address.h"
#include "net/server_priv.h"

struct name {
    char text[INET6_ADDRSTRLEN], net[INET6_ADDRSTRLEN + 4]; /* net: "" or "2001:db8:1:2::/64" */
    bool local;                                             /* loopback, a Unix socket */
};

static void name_of(int fd, const struct sockaddr *a, struct name *out) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct ucred u = {0};
    socklen_t n_u = sizeof u;
    *out = (struct name){.local = a->sa_family == AF_UNIX || net_class_of(a) == NET_LOOPBACK};
    if (a->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, out->text, sizeof out->text);
    } else if (a->sa_family == AF_INET6) {
        const uint8_t *ip = ((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr;
        const bool four = memcmp(ip, mapped, 12) == 0; /* at a listener for both */
        inet_ntop(four ? AF_INET : AF_INET6, four ? ip + 12 : ip, out->text, sizeof out->text);
        if (four || out->local) return;
        uint8_t net[16] = {0};
        memcpy(net, ip, 8);
        inet_ntop(AF_INET6, net, out->net, INET6_ADDRSTRLEN);
        const size_t n = strlen(out->net);
        memcpy(out->net + n, "/64", sizeof "/64");
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n_u) == 0) {
        snprintf(out->text, sizeof out->text, "unix:%lu", (unsigned long)u.uid);
    }
}

static struct peer **list_of(struct net_server *s, const char *name) {
    uint32_t h = 2166136261u; /* FNV-1a: who floods a list slows only the search in it */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return &s->peers[(h ^ h >> 16) % (sizeof s->peers / sizeof *s->peers)];
}

/* This name, counted once more; NULL: it has `max` already (0: no limit), or no memory. */
static struct peer *take(struct net_server *s, const char *name, int max) {
    struct peer **list = list_of(s, name), *p = *list;
    while (p && strcmp(p->name, name) != 0)
        p = p->next;
    if (!p) {
        p = calloc(1, sizeof *p + strlen(name) + 1);
        if (!p) return NULL;
        strcpy(p->name, name);
        p->next = *list;
        *list = p;
    } else if (max && p->n_conn >= max) {
        return NULL;
    }
    p->n_conn++;
    return p;
}

static void drop(struct net_server *s, struct peer *p) {
    if (!p || --p->n_conn) return;
    struct peer **at = list_of(s, p->name);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
}

struct peer *peer_ref(struct net_server *s, int fd, const struct sockaddr *a) {
    struct name name;
    name_of(fd, a, &name);
    const int wanted = s->o.n_peer_max, quarter = (s->o.n_conn_max + 3) / 4;
    const int max = wanted >= 0 ? wanted : name.local ? 0 : quarter;
    struct peer *net = *name.net ? take(s, name.net, max) : NULL;
    if (*name.net && !net) return NULL;
    struct peer *p = take(s, name.text, max);
    if (p)
        p->net = net;
    else
        drop(s, net);
    return p;
}

void peer_unref(struct net_server *s, struct peer *p) {
    if (!p) return;
    drop(s, p->net); /* it counts each connection of its addresses */
    drop(s, p);
}
