/* See model_policy.h. */
#include "policy/model_policy.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"

enum { LINE_MAX_BYTES = 4096 };

static int reject(const char *what, const char *found, const char *accepted, struct err *e) {
    return err_set(e, ERR_USAGE, "%s: found \"%.80s\"; %s is accepted", what, found, accepted);
}

/* The next word of blanks-separated text, terminated in place; NULL: no more. */
static char *next_word(char **at) {
    char *word;
    do
        word = strsep(at, " \t\r\n");
    while (word && !*word);
    return word;
}

/* The index of text among n choices, or -1. */
static int one_of(const char *text, const char *const *choice, int n) {
    for (int i = 0; i < n; i++)
        if (strcasecmp(text, choice[i]) == 0) return i;
    return -1;
}

static int fallback_line(struct model_policy *p, char *text, struct err *e) {
    p->n_fallback = 0;
    for (char *word; (word = next_word(&text));) {
        struct name n;
        if (p->n_fallback == POLICY_MAX_FALLBACK)
            return err_set(e, ERR_USAGE, "FALLBACK: found more than %d models; %d are accepted",
                           POLICY_MAX_FALLBACK, POLICY_MAX_FALLBACK);
        if (name_parse(word, &n, e) != 0) return err_prefix(e, "FALLBACK");
        for (int i = 0; i < p->n_fallback; i++)
            if (name_eq(&p->fallback[i], &n))
                return err_set(e, ERR_USAGE, "FALLBACK: found \"%s\" twice; once is accepted",
                               word);
        p->fallback[p->n_fallback++] = n;
    }
    return p->n_fallback ? 0 : reject("FALLBACK", "", "one model or several", e);
}

static int cache_line(struct model_policy *p, char *text, struct err *e) {
    static const char *const mode[] = {"off", "on", "always"};
    static const char accepted[] = "off, on, always, a time like 1h, or both";
    p->cache = POLICY_CACHE_UNSET;
    p->cache_ttl_ns = 0;
    int n = 0;
    for (char *word; (word = next_word(&text)); n++) {
        const int k = one_of(word, mode, 3);
        if (k >= 0 && p->cache == POLICY_CACHE_UNSET)
            p->cache = POLICY_CACHE_OFF + (unsigned)k;
        else if (k >= 0 || p->cache_ttl_ns || !os_parse_time(word, &p->cache_ttl_ns) ||
                 p->cache_ttl_ns <= 0)
            return reject("CACHE", word, accepted, e);
    }
    if (n == 0) return reject("CACHE", "", accepted, e);
    if (p->cache == POLICY_CACHE_UNSET) p->cache = POLICY_CACHE_ON;
    return 0;
}

static int policy_word(struct model_policy *p, const char *key, const char *value, struct err *e) {
    static const char *const pii[] = {"off", "report", "mask", "redact", "replace", "block"};
    static const char *const audit[] = {"off", "on", "required"};
    if (strcasecmp(key, "pii") == 0) {
        if (one_of(value, pii, 6) < 0)
            return reject("POLICY pii", value, "off, report, mask, redact, replace or block", e);
        snprintf(p->pii, sizeof p->pii, "%s", value);
    } else if (strcasecmp(key, "pii_entities") == 0) {
        if (strlen(value) >= POLICY_TEXT)
            return reject("POLICY pii_entities", value, "a shorter list", e);
        snprintf(p->pii_entities, sizeof p->pii_entities, "%s", value);
    } else if (strcasecmp(key, "audit") == 0) {
        const int k = one_of(value, audit, 3);
        if (k < 0) return reject("POLICY audit", value, "off, on or required", e);
        p->audit = POLICY_AUDIT_OFF + (unsigned)k;
    } else if (strcasecmp(key, "first_token") == 0) {
        if (!os_parse_time(value, &p->first_token_ns) || p->first_token_ns <= 0)
            return reject("POLICY first_token", value, "a time like 5s", e);
    } else {
        return reject("POLICY", key, "pii, pii_entities, audit or first_token", e);
    }
    return 0;
}

static int policy_line(struct model_policy *p, char *text, struct err *e) {
    int n = 0;
    for (char *word; (word = next_word(&text)); n++) {
        char *equals = strchr(word, '=');
        if (!equals) return reject("POLICY", word, "NAME=VALUE, as pii=redact", e);
        *equals = 0;
        if (policy_word(p, word, equals + 1, e) != 0) return -1;
    }
    return n ? 0 : reject("POLICY", "", "NAME=VALUE, as pii=redact", e);
}

int model_policy_line(struct model_policy *p, const char *name, struct str value, struct err *e) {
    static const struct {
        const char *name;
        int (*read)(struct model_policy *p, char *text, struct err *e);
    } line[] = {{"FALLBACK", fallback_line}, {"CACHE", cache_line}, {"POLICY", policy_line}};
    char text[LINE_MAX_BYTES];
    if (value.n >= sizeof text)
        return err_set(e, ERR_USAGE, "%s: found %zu bytes; at most %zu are accepted", name, value.n,
                       sizeof text - 1);
    snprintf(text, sizeof text, "%.*s", (int)value.n, value.p);
    for (size_t i = 0; i < sizeof line / sizeof *line; i++)
        if (strcasecmp(name, line[i].name) == 0) return line[i].read(p, text, e);
    return reject("model", name, "fallback, cache or policy", e);
}

int model_policy_read(struct store *s, const struct manifest *m, struct model_policy *p,
                      struct err *e) {
    static const char prefix[] = "application/vnd.cria.";
    for (int i = 0; i < m->n_layer; i++) {
        const struct layer *l = &m->layer[i];
        const char *name = l->media_type + sizeof prefix - 1;
        struct buf text = {0};
        if (l->kind != LAYER_EXTENSION) continue;
        if (strcasecmp(name, "FALLBACK") != 0 && strcasecmp(name, "CACHE") != 0 &&
            strcasecmp(name, "POLICY") != 0)
            continue; /* of a newer build */
        int rc = store_read_blob(s, &l->digest, LINE_MAX_BYTES, &text, e);
        if (rc == 0) rc = model_policy_line(p, name, buf_view(&text), e);
        buf_fini(&text);
        if (rc != 0) return -1;
    }
    return 0;
}

const char *model_policy_pii(const struct model_policy *p, char out[2 * POLICY_TEXT]) {
    snprintf(out, (size_t)2 * POLICY_TEXT, "%s%s%s", p->pii, *p->pii_entities ? " " : "",
             p->pii_entities);
    return *p->pii ? out : NULL;
}
