/* See name.h.  The text is cut from its ends: a scheme, a pin, a tag behind the last "/", then up
 * to three parts between slashes. */
#include "store/name.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

struct part {
    const char *what; /* "model", ... */
    size_t max;
    bool dots;
};

static const struct part part_host = {"host", NAME_HOST_MAX, true},
                         part_space = {"namespace", NAME_PART_MAX, false},
                         part_model = {"model", NAME_PART_MAX, true},
                         part_tag = {"tag", NAME_PART_MAX, true};

static int bad_part(const struct part *p, struct str s, struct err *e) {
    return err_set(e, ERR_USAGE,
                   "model name: found %s \"%.*s\"; 1 to %zu of letters, digits, _ -%s that begin "
                   "with a letter, a digit or _ are accepted",
                   p->what, (int)(s.n < 100 ? s.n : 100), s.p, p->max, p->dots ? " ." : "");
}

static int set_part(const struct part *p, struct str s, char *out, struct err *e) {
    bool good = s.n >= 1 && s.n <= p->max && (is_alnum(s.p[0]) || s.p[0] == '_');
    for (size_t i = 1; good && i < s.n; i++)
        good = is_alnum(s.p[i]) || s.p[i] == '_' || s.p[i] == '-' || (p->dots && s.p[i] == '.');
    if (!good) return bad_part(p, s, e);
    memcpy(out, s.p, s.n);
    out[s.n] = 0;
    return 0;
}

/* A name or an address in digits, perhaps with ":port". */
static int set_host(struct str s, char *out, struct err *e) {
    const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    const struct str bare = {s.p, colon ? (size_t)(colon - s.p) : s.n};
    if (s.n > NAME_HOST_MAX) return bad_part(&part_host, s, e);
    if (set_part(&part_host, bare, out, e) != 0) return -1;
    for (size_t i = 0; i < bare.n; i++)
        out[i] = lower(out[i]);
    if (!colon) return 0;
    long port = 0;
    const size_t n_port = s.n - bare.n - 1;
    bool good = n_port >= 1 && n_port <= 5 && colon[1] != '0';
    for (size_t i = 0; good && i < n_port; i++) {
        good = colon[1 + i] >= '0' && colon[1 + i] <= '9';
        port = port * 10 + (colon[1 + i] - '0');
    }
    if (!good || port > 65535)
        return err_set(e, ERR_USAGE,
                       "model name: found port \"%.*s\"; a number from 1 to 65535 is accepted",
                       (int)(n_port < 20 ? n_port : 20), colon + 1);
    memcpy(out + bare.n, colon, n_port + 1);
    out[s.n] = 0;
    return 0;
}

/* The last character c in s, or NULL. */
static const char *last(struct str s, char c) {
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == c) return s.p + i;
    return NULL;
}

/* Take what stands behind the last c away from *s; false: there is none. */
static bool cut_last(struct str *s, char c, struct str *behind) {
    const char *at = last(*s, c);
    if (!at) return false;
    const size_t n = (size_t)(at - s->p);
    *behind = (struct str){at + 1, s->n - n - 1};
    s->n = n;
    return true;
}

static bool cut_scheme(struct str *s, const char *scheme) {
    const size_t n = strlen(scheme);
    if (s->n < n || strncasecmp(s->p, scheme, n) != 0) return false;
    *s = (struct str){s->p + n, s->n - n};
    return true;
}

static int parse(struct str s, struct name *n, struct err *e) {
    struct str piece;
    n->plain_http = cut_scheme(&s, "http://");
    n->tls = !n->plain_http && cut_scheme(&s, "https://");
    const bool with_scheme = n->plain_http || n->tls;
    if (cut_last(&s, '@', &piece) && digest_parse(piece, &n->pin, e) != 0) {
        if (e) e->code = ERR_USAGE; /* what a user typed, not a broken file */
        return err_prefix(e, "model name");
    }
    const char *colon = last(s, ':'), *slash = last(s, '/');
    n->has_tag = colon && (!slash || colon > slash);
    if (n->has_tag) {
        cut_last(&s, ':', &piece);
        if (set_part(&part_tag, piece, n->tag, e) != 0) return -1;
    }
    if (!cut_last(&s, '/', &piece))
        return with_scheme ? err_set(e, ERR_USAGE,
                                     "model name: found no host behind the scheme; "
                                     "HOST/NAMESPACE/MODEL[:TAG] is accepted")
                           : set_part(&part_model, s, n->model, e);
    if (set_part(&part_model, piece, n->model, e) != 0) return -1;
    const bool has_host = cut_last(&s, '/', &piece);
    if (!has_host && (with_scheme || memchr(s.p, ':', s.n) || memchr(s.p, '.', s.n)))
        return err_set(e, ERR_USAGE,
                       "model name: found \"%.*s\" and no namespace; "
                       "HOST/NAMESPACE/MODEL[:TAG] is accepted",
                       (int)(s.n < 100 ? s.n : 100), s.p);
    if (set_part(&part_space, has_host ? piece : s, n->space, e) != 0) return -1;
    return has_host ? set_host(s, n->host, e) : 0;
}

int name_parse(const char *text, struct name *out, struct err *e) {
    struct name n = {
        .host = NAME_DEFAULT_HOST, .space = NAME_DEFAULT_NAMESPACE, .tag = NAME_DEFAULT_TAG};
    *out = (struct name){0};
    if (!*text)
        return err_set(e, ERR_USAGE,
                       "model name: found none; [HOST/][NAMESPACE/]MODEL[:TAG] is accepted");
    if (parse(str_of(text), &n, e) != 0) return -1;
    *out = n;
    return 0;
}

void name_short(const struct name *n, char out[NAME_TEXT]) {
    if (strcmp(n->host, NAME_DEFAULT_HOST) != 0)
        name_full(n, out);
    else if (strcasecmp(n->space, NAME_DEFAULT_NAMESPACE) != 0)
        snprintf(out, NAME_TEXT, "%s/%s:%s", n->space, n->model, n->tag);
    else
        snprintf(out, NAME_TEXT, "%s:%s", n->model, n->tag);
}

void name_full(const struct name *n, char out[NAME_TEXT]) {
    snprintf(out, NAME_TEXT, "%s/%s/%s:%s", n->host, n->space, n->model, n->tag);
}

bool name_eq(const struct name *a, const struct name *b) {
    return strcasecmp(a->host, b->host) == 0 && strcasecmp(a->space, b->space) == 0 &&
           strcasecmp(a->model, b->model) == 0 && strcasecmp(a->tag, b->tag) == 0;
}
