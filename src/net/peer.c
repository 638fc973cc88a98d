/* The addresses that are connected, each with the number of its connections: a table of lists by a
 * hash of the name.  All connections of an address share one entry. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/server_priv.h"

static void name_of(int fd, const struct sockaddr *a, char *out, size_t n) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct ucred u = {0};
    socklen_t n_u = sizeof u;
    char text[INET6_ADDRSTRLEN] = "";
    if (a->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, text, sizeof text);
    } else if (a->sa_family == AF_INET6) {
        const uint8_t *ip = ((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr;
        const bool four = memcmp(ip, mapped, 12) == 0; /* at a listener for both */
        inet_ntop(four ? AF_INET : AF_INET6, four ? ip + 12 : ip, text, sizeof text);
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n_u) == 0) {
        snprintf(text, sizeof text, "unix:%lu", (unsigned long)u.uid);
    }
    snprintf(out, n, "%s", text);
}

static struct peer **list_of(struct net_server *s, const char *name) {
    uint32_t h = 2166136261u; /* FNV-1a: who floods a list slows only the search in it */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return &s->peers[(h ^ h >> 16) % (sizeof s->peers / sizeof *s->peers)];
}

struct peer *peer_ref(struct net_server *s, int fd, const struct sockaddr *a) {
    char name[INET6_ADDRSTRLEN];
    name_of(fd, a, name, sizeof name);
    struct peer **list = list_of(s, name), *p = *list;
    while (p && strcmp(p->name, name) != 0)
        p = p->next;
    if (!p) {
        p = calloc(1, sizeof *p + strlen(name) + 1);
        if (!p) return NULL;
        strcpy(p->name, name);
        p->next = *list;
        *list = p;
    } else if (s->o.n_peer_max && p->n_conn >= s->o.n_peer_max) {
        return NULL;
    }
    p->n_conn++;
    return p;
}

void peer_unref(struct net_server *s, struct peer *p) {
    if (!p || --p->n_conn) return;
    struct peer **at = list_of(s, p->name);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
}
