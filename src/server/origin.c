/* See origin.h. */
#include "server/origin.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "net/address.h"
#include "net/http_head.h"

enum { NAME_MAX_BYTES = 256 };

/* Nothing, or ":" and digits. */
static bool is_port(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (i ? !isdigit((unsigned char)s.p[i]) : s.p[i] != ':') return false;
    return true;
}

/* The name of "NAME", "NAME:PORT", "[IPv6]:PORT", in lower case, without brackets and without a dot
 * at its end.  False when it is no such text. */
static bool take_name(struct str host, char out[NAME_MAX_BYTES]) {
    size_t n = host.n;
    const char *p = host.p;
    if (n && *p == '[') {
        const char *end = memchr(p, ']', n);
        if (!end) return false;
        if (!is_port((struct str){end + 1, n - (size_t)(end + 1 - p)})) return false;
        p++;
        n = (size_t)(end - p);
    } else {
        const char *colon = memchr(p, ':', n);
        if (colon && !is_port((struct str){colon, n - (size_t)(colon - p)})) return false;
        if (colon) n = (size_t)(colon - p);
        if (n && p[n - 1] == '.') n--;
    }
    if (n == 0 || n >= NAME_MAX_BYTES) return false;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)tolower((unsigned char)p[i]);
    out[n] = 0;
    return strlen(out) == n;
}

/* Is it TAIL or something before ".TAIL"? */
static bool is_below(const char *name, const char *tail) {
    const size_t n = strlen(name), k = strlen(tail);
    return n > k + 1 && name[n - k - 1] == '.' && strcmp(name + n - k, tail) == 0;
}

/* Each item of "a,b, c" in turn: 1 while there is one. */
static bool next_item(const char **list, struct str *item) {
    const char *p = *list;
    p += strspn(p, ", \t");
    item->p = p;
    item->n = strcspn(p, ",");
    *list = p + item->n;
    while (item->n && isspace((unsigned char)item->p[item->n - 1]))
        item->n--;
    return item->n > 0;
}

bool host_is_local(struct str host, const char *more) {
    char name[NAME_MAX_BYTES], own[NAME_MAX_BYTES] = "", wanted[NAME_MAX_BYTES];
    struct str item;
    if (!take_name(host, name)) return false;
    if (strcmp(name, "localhost") == 0 || is_below(name, "localhost")) return true;
    if (is_below(name, "local") || is_below(name, "internal")) return true;
    const enum net_class c = net_class_of_text(name);
    if (c == NET_LOOPBACK || c == NET_PRIVATE) return true;
    /* What clients call a server that listens everywhere; no name can be made to mean it. */
    if (strcmp(name, "0.0.0.0") == 0 || strcmp(name, "::") == 0) return true;
    if (gethostname(own, sizeof own - 1) == 0 && *own && strcasecmp(name, own) == 0) return true;
    while (more && next_item(&more, &item)) {
        const bool below = *item.p == '.';
        if (below) item.p++, item.n--;
        if (!take_name(item, wanted)) continue;
        if (below ? is_below(name, wanted) : strcmp(name, wanted) == 0) return true;
    }
    return false;
}

/* Does "*" in a pattern standing for any text make it s?  Letters' case aside, as hosts are. */
static bool matches(struct str pattern, struct str s) {
    size_t i = 0, k = 0, star = (size_t)-1, from = 0;
    while (k < s.n) {
        if (i < pattern.n && pattern.p[i] == '*') {
            star = i++;
            from = k;
        } else if (i < pattern.n &&
                   tolower((unsigned char)pattern.p[i]) == tolower((unsigned char)s.p[k])) {
            i++, k++;
        } else if (star != (size_t)-1) {
            i = star + 1;
            k = ++from;
        } else {
            return false;
        }
    }
    while (i < pattern.n && pattern.p[i] == '*')
        i++;
    return i == pattern.n;
}

/* "SCHEME://REST" */
static bool split(struct str origin, struct str *scheme, struct str *rest) {
    const char *colon = memchr(origin.p, ':', origin.n);
    if (!colon) return false;
    scheme->p = origin.p;
    scheme->n = (size_t)(colon - origin.p);
    const size_t behind = origin.n - scheme->n;
    if (behind < 4 || memcmp(colon, "://", 3) != 0) return false;
    *rest = (struct str){colon + 3, behind - 3};
    return true;
}

/* HOST[:PORT] and nothing else: no user, no path. */
static bool is_authority(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr(".-_:[]", s.p[i])) return false;
    return s.n > 0;
}

static bool is_local_page(struct str authority) {
    char name[NAME_MAX_BYTES];
    if (!take_name(authority, name)) return false;
    return strcmp(name, "localhost") == 0 || strcmp(name, "0.0.0.0") == 0 ||
           net_class_of_text(name) == NET_LOOPBACK;
}

bool origin_is_allowed(struct str origin, struct str host, const struct origin_rules *r) {
    static const char *const programs[] = {"app", "tauri", "vscode-webview", "vscode-file"};
    struct str scheme, rest, item;
    const char *list = r->origins ? r->origins : "";
    while (next_item(&list, &item))
        if (matches(item, origin)) return true;
    if (!split(origin, &scheme, &rest)) return false;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        if (http_is(scheme, programs[i])) return true;
    if ((!http_is(scheme, "http") && !http_is(scheme, "https")) || !is_authority(rest))
        return false;
    if (is_local_page(rest)) return true;
    /* The server's own page.  Its name says nothing unless it is known to be ours: a name that was
     * made to resolve to this machine is both the page's and the request's. */
    return str_eq(rest, host) && (r->any_host || host_is_local(host, r->hosts));
}

void origin_headers(struct str origin, bool preflight, struct buf *out) {
    buf_printf(out, "Access-Control-Allow-Origin: %.*s\r\nVary: Origin\r\n", (int)origin.n,
               origin.p);
    if (preflight)
        buf_str(out,
                "Access-Control-Allow-Methods: GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS\r\n"
                "Access-Control-Allow-Headers: Authorization, Content-Type, User-Agent, Accept, "
                "X-Requested-With, X-API-Key, OpenAI-Beta, Anthropic-Version, Anthropic-Beta, "
                "Anthropic-Dangerous-Direct-Browser-Access, X-Stainless-Arch, X-Stainless-Async, "
                "X-Stainless-Custom-Poll-Interval, X-Stainless-Helper-Method, X-Stainless-Lang, "
                "X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-Poll-Helper, "
                "X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, "
                "X-Stainless-Timeout\r\n"
                "Access-Control-Max-Age: 43200\r\n");
    else
        buf_str(out, "Access-Control-Expose-Headers: X-Request-Id, Retry-After, "
                     "X-Cria-Truncated, X-Cria-Left-Out\r\n");
}
