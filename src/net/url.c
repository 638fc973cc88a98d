/* URLs through libcurl's parser, so that what is checked is what is connected to. */
#include "net/url.h"

#include <stdio.h>
#include <stdlib.h>

#include <curl/curl.h>

static bool has_odd_bytes(const char *z) {
    for (; *z; z++)
        if ((unsigned char)*z <= ' ' || (unsigned char)*z >= 0x7f) return true;
    return false;
}

/* One part into out, lower case; false when it is missing or too long. */
static bool take(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t n) {
    char *text = NULL;
    bool ok = curl_url_get(u, part, &text, flags) == CURLUE_OK && strlen(text) < n;
    if (ok) memcpy(out, text, strlen(text) + 1);
    curl_free(text);
    for (char *p = out; ok && *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p + 32);
    return ok;
}

static bool split(CURLU *u, const char *url, struct net_url *out) {
    char scheme[16], port[8];
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK) return false;
    if (!take(u, CURLUPART_SCHEME, 0, scheme, sizeof scheme)) return false;
    out->https = strcmp(scheme, "https") == 0;
    if (!out->https && strcmp(scheme, "http") != 0) return false;
    char *found = NULL;
    const bool has_user = curl_url_get(u, CURLUPART_USER, &found, 0) == CURLUE_OK ||
                          curl_url_get(u, CURLUPART_PASSWORD, &found, 0) == CURLUE_OK;
    curl_free(found);
    if (has_user || !take(u, CURLUPART_HOST, 0, out->host, sizeof out->host) ||
        !take(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port))
        return false;
    out->port = atoi(port);
    return true;
}

int net_url_parse(const char *url, struct net_url *out, struct err *e) {
    CURLU *u = curl_url();
    if (!u) return err_nomem(e, "URL");
    const bool ok = !has_odd_bytes(url) && split(u, url, out);
    curl_url_cleanup(u);
    if (ok) return 0;
    return err_set(e, ERR_USAGE, "\"%.200s\": a URL http(s)://HOST[:PORT]/... is accepted", url);
}

char *net_url_resolve(const char *base, const char *rel, struct err *e) {
    CURLU *u = curl_url();
    char *text = NULL, *out = NULL;
    if (u && !has_odd_bytes(rel) && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, rel, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
        out = strdup(text);
    curl_free(text);
    curl_url_cleanup(u);
    if (!out) err_set(e, ERR_FORMAT, "%s: answered with the location \"%.200s\"", base, rel);
    return out;
}
