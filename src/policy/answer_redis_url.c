/* See answer_redis_url.h. */
#include "policy/answer_redis_url.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX becomes its byte. */
static bool decode(const char *p, size_t n, char out[ANSWER_URL_PART]) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++, k++) {
        if (k >= ANSWER_URL_PART - 1) return false;
        out[k] = p[i];
        if (p[i] != '%') continue;
        const int a = i + 2 < n ? hex(p[i + 1]) : -1, b = i + 2 < n ? hex(p[i + 2]) : -1;
        if (a < 0 || b < 0 || a + b == 0) return false;
        out[k] = (char)(a << 4 | b);
        i += 2;
    }
    out[k] = 0;
    return true;
}

/* A whole number from min to max, all of the text. */
static bool number(const char *p, size_t n, int min, int max, int *out) {
    *out = 0;
    if (n == 0 || n > 5) return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return *out >= min && *out <= max;
}

static bool split(const char *p, struct answer_redis_url *out) {
    const char *slash = strchr(p, '/'), *at = NULL;
    size_t n = slash ? (size_t)(slash - p) : strlen(p);
    for (size_t i = 0; i < n; i++)
        if (p[i] == '@') at = p + i;
    if (at) {
        const char *colon = memchr(p, ':', (size_t)(at - p));
        if (!colon || !decode(p, (size_t)(colon - p), out->user) ||
            !decode(colon + 1, (size_t)(at - colon - 1), out->password))
            return false;
        n -= (size_t)(at + 1 - p);
        p = at + 1;
    }
    const char *close = *p == '[' ? memchr(p, ']', n) : NULL;
    const char *host = close ? p + 1 : p;
    const char *colon = memchr(close ? close : p, ':', n - (size_t)(close ? close - p : 0));
    const size_t n_host = close ? (size_t)(close - host) : colon ? (size_t)(colon - p) : n;
    if (n_host == 0 || n_host >= ANSWER_URL_PART || (*p == '[' && !close)) return false;
    memcpy(out->host, host, n_host);
    out->host[n_host] = 0;
    if (close && close + 1 != p + n && close[1] != ':') return false;
    if (colon && !number(colon + 1, n - (size_t)(colon + 1 - p), 1, 65535, &out->port))
        return false;
    return !slash || !slash[1] || number(slash + 1, strlen(slash + 1), 0, 1 << 14, &out->db);
}

int answer_redis_url(const char *url, struct answer_redis_url *out, struct err *e) {
    static const char scheme[] = "redis://";
    *out = (struct answer_redis_url){.port = 6379};
    if (strncmp(url, scheme, sizeof scheme - 1) == 0 && split(url + sizeof scheme - 1, out))
        return 0;
    return err_set(
        e, ERR_USAGE,
        "CRIA_CACHE_URL: this is none; redis://[:PASSWORD@]HOST[:PORT][/DB] is accepted");
}
