/* See cache_wish.h. */
#include "server/cache_wish.h"

#include <string.h>
#include <strings.h>

#include "server/front_priv.h"
#include "server/settings.h"

static const struct field cache_fields[] = {
    {.name = "ttl", .types = FIELD_TEXT | FIELD_NUMBER, .min = 0, .max = 1e9},
    {.name = "mode", .types = FIELD_TEXT, .one_of = "on off always refresh"},
    {0}};

bool cache_mode_read(const char *word, enum cache_mode *out) {
    static const char *const words[] = {[CACHE_OFF] = "off",
                                        [CACHE_ON] = "on",
                                        [CACHE_ALWAYS] = "always",
                                        [CACHE_REFRESH] = "refresh"};
    for (int i = CACHE_OFF; i <= CACHE_REFRESH; i++) {
        if (strcmp(words[i], word) != 0) continue;
        *out = (enum cache_mode)i;
        return true;
    }
    return false;
}

/* "10m", or a number of seconds. */
static int read_ttl(const json_t *v, int64_t *ttl_s, struct err *e) {
    int64_t ns = (int64_t)(json_number_value(v) * 1e9); /* at most 1e18: the field's table */
    if (json_is_string(v) && settings_time(json_string_value(v), &ns, e) != 0) {
        err_prefix(e, "cache.ttl");
        return err_field(e, "cache.ttl");
    }
    if (ns < 0) {
        err_set(e, ERR_USAGE, "cache.ttl: found a time before now; 0 and more is accepted");
        return err_field(e, "cache.ttl");
    }
    *ttl_s = (ns + 999999999) / 1000000000;
    return 0;
}

static int read_field(struct request *r, json_t *o, struct cache_wish *w, struct err *e) {
    struct fault f = {.dialect = r->dialect};
    if (field_check(o, "cache.", cache_fields, &f) != 0) {
        *e = f.err;
        return -1;
    }
    api_tell_ignored(r, &f);
    const char *mode = field_text(o, "mode");
    const json_t *ttl = field_get(o, "ttl");
    if (mode) cache_mode_read(mode, &w->mode);
    if (ttl && read_ttl(ttl, &w->ttl_s, e) != 0) return -1;
    if (ttl && w->ttl_s == 0) w->mode = CACHE_OFF; /* for no time at all */
    w->asked = true;
    return 0;
}

static bool is_word(const char *p, size_t n, const char *word) {
    return strlen(word) == n && strncasecmp(p, word, n) == 0;
}

/* RFC 9111, 5.2.1: what a request may say of it. */
static void read_header(const struct str *v, struct cache_wish *w) {
    for (size_t at = 0; at < v->n;) {
        size_t n = 0;
        while (at + n < v->n && v->p[at + n] != ',')
            n++;
        const char *p = v->p + at;
        size_t k = n;
        while (k && (*p == ' ' || *p == '\t'))
            p++, k--;
        while (k && (p[k - 1] == ' ' || p[k - 1] == '\t'))
            k--;
        if (is_word(p, k, "no-store")) w->mode = CACHE_OFF, w->asked = true;
        if ((is_word(p, k, "no-cache") || is_word(p, k, "max-age=0")) && w->mode != CACHE_OFF)
            w->mode = CACHE_REFRESH, w->asked = true;
        at += n + 1;
    }
}

int cache_wish_read(struct request *r, struct cache_wish *out, struct err *e) {
    const struct http_head *h = request_head(r);
    *out = (struct cache_wish){0};
    json_t *body = request_json(r), *o = json_object_get(body, "cache");
    if (json_is_object(o) && read_field(r, o, out, e) != 0) return -1;
    for (int i = 0; i < h->n_field; i++)
        if (http_is(h->field[i].name, "cache-control")) read_header(&h->field[i].value, out);
    return 0;
}
