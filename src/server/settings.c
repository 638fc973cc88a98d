/* See settings.h.  Ollama's names keep their meaning; those of ours stand behind them. */
#include "server/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/answer_redis_url.h"
#include "policy/isolation.h"
#include "policy/pii.h"

#define AT(field) offsetof(struct settings, field)

/* clang-format off */
const struct setting settings_table[] = {
    {"HOST", SETTING_IS_HOST, AT(host), "127.0.0.1:11434", "where it listens: ADDRESS:PORT, [IPv6]:PORT, unix:PATH", 0, 0},
    {"KEEP_ALIVE", SETTING_IS_TIME, AT(keep_alive_ns), "5m", "how long a model stays loaded; negative: for ever", 0, 0},
    {"LOAD_TIMEOUT", SETTING_IS_TIME, AT(load_timeout_ns), "5m", "for the load of a model; 0: none", 0, 0},
    {"REQUEST_TIMEOUT", SETTING_IS_TIME, AT(request_timeout_ns), "0", "for a request, its waiting included; 0: none", 0, 0},
    {"FIRST_TOKEN_TIMEOUT", SETTING_IS_TIME, AT(first_token_timeout_ns), "0", "for the first token of an answer, waiting and loading included; then the fallback is asked; 0: none", 0, 0},
    {"FALLBACK", SETTING_IS_TEXT, AT(fallback), "", "models that answer when the one that is asked for cannot, in this order: NAME NAME ...", 0, 0},
    {"FALLBACK_URL", SETTING_IS_TEXT, AT(fallback_url), "", "at last another host is asked that speaks OpenAI's API: https://HOST/v1; prompts go there", 0, 0},
    {"FALLBACK_MODEL", SETTING_IS_TEXT, AT(fallback_model), "", "the model's name there", 0, 0},
    {"FALLBACK_KEY_FILE", SETTING_IS_TEXT, AT(fallback_key_file), "", "file with the API key for it", 0, 0},
    {"BREAKER_FAILURES", SETTING_IS_INT, AT(breaker_failures), "5", "of a model in a row, before its fallback is asked first; 0: never", 0, 1000000},
    {"BREAKER_COOLDOWN", SETTING_IS_TIME, AT(breaker_cooldown_ns), "30s", "after which one request tries such a model again", 0, 0},
    {"NUM_PARALLEL", SETTING_IS_INT, AT(num_parallel), "0", "sequences of a model at once; 0: by memory", 0, 1024},
    {"MAX_LOADED_MODELS", SETTING_IS_INT, AT(max_loaded_models), "0", "0: 3", 0, 1024},
    {"MAX_QUEUE", SETTING_IS_INT, AT(max_queue), "512", "requests that wait; more are answered 503", 0, 1000000},
    {"MEMORY", SETTING_IS_BYTES, AT(memory_bytes), "0", "limit over the server and all models: weights, caches, compute; 0: none", 0, 0},
    {"MODEL", SETTING_IS_TEXT, AT(model), "", "pulled if it is missing, and loaded at the start", 0, 0},
    {"ORIGINS", SETTING_IS_TEXT, AT(origins), "", "web pages that may ask, beside local ones: https://a.example,https://*.b.example", 0, 0},
    {"ALLOWED_HOSTS", SETTING_IS_TEXT, AT(hosts), "", "names this server is known by, beside local ones: a.example,.b.example", 0, 0},
    {"ALLOW_REMOTE", SETTING_IS_BOOL, AT(wide), "0", "1: other machines may ask although there are no keys", 0, 0},
    {"API_KEY_FILE", SETTING_IS_TEXT, AT(api_key_file), "", "lines NAME KEY [read|use|admin]", 0, 0},
    {"KEYS", SETTING_IS_TEXT, AT(keys), "", "database of API keys (`cria keys`); default: ~/.cria/keys.db when it is there", 0, 0},
    {"TLS_CERT", SETTING_IS_TEXT, AT(tls_cert), "", "certificate and its chain, PEM", 0, 0},
    {"TLS_KEY", SETTING_IS_TEXT, AT(tls_key), "", "its private key, PEM", 0, 0},
    {"GRACE", SETTING_IS_TIME, AT(grace_ns), "30s", "for answers under way when the server is told to stop", 0, 0},
    {"MAX_CONNECTIONS", SETTING_IS_INT, AT(max_connections), "12000", "at once", 1, 1000000},
    {"MAX_PEER_CONNECTIONS", SETTING_IS_INT, AT(max_peer_connections), "-1", "of one address (IPv6: /64); 0: no limit; -1: a quarter of them, no limit on this machine", -1, 1000000},
    {"CONFIG", SETTING_IS_TEXT, AT(config), "", "file with more of these, and rules of models, read again on SIGHUP; default: ~/.cria/cria.conf", 0, 0},
    {"RESPONSES", SETTING_IS_TEXT, AT(responses), "", "folder of /v1/responses that are kept; default: ~/.cria", 0, 0},
    {"RESPONSES_COUNT", SETTING_IS_INT, AT(responses_count), "10000", "of them; the oldest leave; 0: none is kept", 0, 100000000},
    {"RESPONSES_SIZE", SETTING_IS_BYTES, AT(responses_bytes), "256m", "bytes they may take", 0, 0},
    {"RESPONSES_AGE", SETTING_IS_TIME, AT(responses_age_ns), "720h", "how long they are kept", 0, 0},
    {"RESPONSE_CACHE", SETTING_IS_TEXT, AT(response_cache), "off", "answers that are kept for equal requests: off, on (those with temperature 0 or a seed), always", 0, 0},
    {"CACHE_URL", SETTING_IS_TEXT, AT(cache_url), "", "Redis that keeps them for several servers: redis://[:PASSWORD@]HOST[:PORT][/DB]; default: answers.db in ~/.cria", 0, 0},
    {"CACHE_TTL", SETTING_IS_TIME, AT(cache_ttl_ns), "1h", "how long they hold", 0, 0},
    {"CACHE_BYTES", SETTING_IS_BYTES, AT(cache_bytes), "256m", "they may take in the file; the least recently used leave", 0, 0},
    {"PII", SETTING_IS_TEXT, AT(pii), "off", "personal data and secrets in requests and answers: off, report, replace (by placeholders that come back in the answer), mask, redact, block", 0, 0},
    {"PII_ENTITIES", SETTING_IS_TEXT, AT(pii_entities), "", "which of them, perhaps with an action each: all,email=mask,card=block; default: all but names and addresses", 0, 0},
    {"ISOLATION", SETTING_IS_TEXT, AT(isolation), "off", "on: nothing may leave this machine, enforced by the kernel; best-effort: as far as it can", 0, 0},
    {"AUDIT", SETTING_IS_TEXT, AT(audit), "off", "off, on, or required: no answer without an entry in the log of who asked what", 0, 0},
    {"AUDIT_FILE", SETTING_IS_TEXT, AT(audit_file), "", "that log, SQLite, or JSON lines when it ends in .jsonl; default: ~/.cria/audit.db", 0, 0},
    {"AUDIT_KEY_FILE", SETTING_IS_TEXT, AT(audit_key_file), "", "key that its entries get an HMAC by", 0, 0},
    {"AUDIT_SIGN_KEY", SETTING_IS_TEXT, AT(audit_sign_key), "", "key that they are signed with, ed25519, PEM", 0, 0},
    {"AUDIT_CONTENT", SETTING_IS_BOOL, AT(audit_content), "0", "1: prompts and answers, too, encrypted to AUDIT_PUBLIC_KEY; else digests of them", 0, 0},
    {"AUDIT_PUBLIC_KEY", SETTING_IS_TEXT, AT(audit_public_key), "", "of who may read them, X25519 or RSA, PEM", 0, 0},
    {"AUDIT_ROTATE", SETTING_IS_BYTES, AT(audit_rotate_bytes), "1g", "size from which JSON lines go on in a new file; 0: never", 0, 0},
    {"LOG_FORMAT", SETTING_IS_TEXT, AT(log_format), "", "json or text; default: text on a terminal, else json", 0, 0},
    {"LOG_PROMPTS", SETTING_IS_BOOL, AT(log_prompts), "0", "1: bodies of requests are in the log", 0, 0},
    {0},
};
/* clang-format on */

static int reject(const char *what, const char *text, const char *accepted, struct err *e) {
    return err_set(e, ERR_USAGE, "%s: found \"%s\"; %s is accepted", what, text, accepted);
}

int settings_time(const char *text, int64_t *ns, struct err *e) {
    if (os_parse_time(text, ns)) return 0;
    return reject("time", text, "a time like 300ms, 5m, 1h30m or a number of seconds", e);
}

/* ---- HOST ---- */

static bool is_port(const char *p, size_t n) {
    return n > 0 && n <= 5 && strspn(p, "0123456789") == n && atol(p) <= 65535;
}

enum { UNIX_PATH = 107 }; /* bytes: sun_path of Linux, without its end */

static int reject_address(const char *text, struct err *e) {
    return reject("address", text,
                  "ADDRESS, ADDRESS:PORT, :PORT, [IPv6]:PORT, localhost, a URL or unix:PATH (at "
                  "most 107 bytes)",
                  e);
}

/* Without brackets, with or without a zone ("%eth0"). */
static bool is_ipv6(const char *host) {
    char bare[64];
    unsigned char unused[16];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(host, "%"), host);
    return strlen(host) < sizeof bare && inet_pton(AF_INET6, bare, unused) == 1;
}

/* HOST[:PORT] in `out`, which has its scheme's port. */
static bool split_port(struct settings_url *out) {
    char *host = out->host, *close = *host == '[' ? strchr(host, ']') : NULL;
    char *colon = close ? (close[1] == ':' ? close + 1 : NULL) : strchr(host, ':');
    const bool bare6 = !close && colon && strchr(colon + 1, ':'); /* "::1" */
    if ((*host == '[' && !close) || (close && close[1] && !colon)) return false;
    if (strlen(host) > 200 || (bare6 && !is_ipv6(host))) return false;
    if (colon && !bare6) {
        if (!is_port(colon + 1, strlen(colon + 1))) return false;
        *colon = 0;
        snprintf(out->port, sizeof out->port, "%s", colon + 1);
    } else if (bare6) {
        char bare[SETTING_TEXT];
        snprintf(bare, sizeof bare, "%s", host);
        snprintf(host, SETTING_TEXT, "[%.200s]", bare);
    }
    if (!*host) strcpy(host, "127.0.0.1");
    return true;
}

int settings_url(const char *text, struct settings_url *out, struct err *e) {
    const char *p = text;
    *out = (struct settings_url){.port = "11434"};
    if (strlen(text) >= SETTING_TEXT) return reject_address(text, e);
    if (strncmp(p, "unix:", 5) == 0) {
        snprintf(out->unix_path, sizeof out->unix_path, "%s", p + 5);
        return p[5] && strlen(p + 5) <= UNIX_PATH ? 0 : reject_address(text, e);
    }
    if (strncasecmp(p, "http://", 7) == 0)
        strcpy(out->port, "80"), p += 7;
    else if (strncasecmp(p, "https://", 8) == 0)
        strcpy(out->port, "443"), out->https = true, p += 8;
    const size_t n = strcspn(p, "/");
    snprintf(out->host, sizeof out->host, "%.*s", (int)n, p);
    snprintf(out->path, sizeof out->path, "%s", p + n);
    for (size_t k = strlen(out->path); k && out->path[k - 1] == '/'; k--)
        out->path[k - 1] = 0;
    return split_port(out) ? 0 : reject_address(text, e);
}

int settings_host(const char *text, char *out, struct err *e) {
    struct settings_url u;
    if (settings_url(text, &u, e) != 0) return -1;
    if (u.unix_path[0]) /* a URL's path says nothing about where to listen */
        snprintf(out, SETTING_TEXT, "unix:%.*s", UNIX_PATH, u.unix_path);
    else
        snprintf(out, SETTING_TEXT, "%.202s:%s",
                 strcasecmp(u.host, "localhost") == 0 ? "127.0.0.1" : u.host, u.port);
    return 0;
}

void settings_hide_user(char *text) {
    char *begin = strstr(text, "://"), *at = begin ? strrchr(begin, '@') : NULL;
    if (at) memmove(begin + 3, at, strlen(at) + 1);
}

/* ---- the table ---- */

static int parse_bool(const char *text, bool *out, struct err *e) {
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no",
                                                                                "off"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        *out = strcasecmp(text, yes[i]) == 0;
        if (*out || strcasecmp(text, no[i]) == 0) return 0;
    }
    return reject("value", text, "0 or 1", e);
}

static int parse_int(const struct setting *t, const char *text, int64_t *out, struct err *e) {
    char *end, accepted[80];
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end != text && *end == 0 && errno == 0 && *out >= t->min && *out <= t->max) return 0;
    snprintf(accepted, sizeof accepted, "a whole number from %lld to %lld", (long long)t->min,
             (long long)t->max);
    return reject("value", text, accepted, e);
}

static int parse(const struct setting *t, const char *text, struct settings *s, struct err *e) {
    void *at = (char *)s + t->offset;
    switch (t->kind) {
    case SETTING_IS_TEXT:
        if (strlen(text) >= SETTING_TEXT) return reject("value", text, "a shorter text", e);
        snprintf(at, SETTING_TEXT, "%s", text);
        return 0;
    case SETTING_IS_HOST: return settings_host(text, at, e);
    case SETTING_IS_INT: return parse_int(t, text, at, e);
    case SETTING_IS_BYTES:
        if (os_parse_bytes(text, at)) return 0;
        return reject("value", text, "a number of bytes, as 512m or 4g,", e);
    case SETTING_IS_TIME: return settings_time(text, at, e);
    default: return parse_bool(text, at, e);
    }
}

/* ---- the file ---- */

enum { N_SETTING = sizeof settings_table / sizeof *settings_table };

static int index_of(const char *name) {
    if (strncasecmp(name, "CRIA_", 5) == 0) name += 5;
    if (strncasecmp(name, "OLLAMA_", 7) == 0) name += 7;
    for (int i = 0; i < N_SETTING - 1; i++)
        if (strcasecmp(settings_table[i].name, name) == 0) return i;
    return -1;
}

/* line[i]: what the file says of the i-th setting, in *c; or NULL. */
static int read_file(const char *file, struct conf *c, const struct conf_line *line[N_SETTING],
                     struct err *e) {
    if (conf_read(file, c, e) != 0) return -1;
    for (int k = 0; k < c->n_setting; k++) {
        const int i = index_of(c->setting[k].name);
        if (i < 0)
            return err_set(e, ERR_USAGE,
                           "%s, line %d: \"%s\" is no setting; `cria serve --help` lists them",
                           file, c->setting[k].line, c->setting[k].name);
        line[i] = &c->setting[k];
    }
    return 0;
}

static int check_cache(const struct settings *s, struct err *e) {
    struct answer_redis_url unused;
    const char *mode = s->response_cache;
    if (strcmp(mode, "off") != 0 && strcmp(mode, "on") != 0 && strcmp(mode, "always") != 0)
        return reject("setting CRIA_RESPONSE_CACHE", mode, "off, on or always", e);
    return *s->cache_url ? answer_redis_url(s->cache_url, &unused, e) : 0;
}

const char *settings_file(char path[SETTINGS_PATH]) {
    const char *home;
    if (os_setting("CONFIG", path, SETTINGS_PATH)) return path;
    home = getenv("HOME");
    if (!home || snprintf(path, SETTINGS_PATH, "%s/.cria/cria.conf", home) >= SETTINGS_PATH)
        return NULL;
    return access(path, F_OK) == 0 ? path : NULL;
}

int settings_read(struct settings *s, struct conf *conf, const char *file, struct err *e) {
    const struct conf_line *line[N_SETTING] = {0};
    *s = (struct settings){0};
    *conf = (struct conf){0};
    int rc = file && *file ? read_file(file, conf, line, e) : 0;
    for (int i = 0; rc == 0 && settings_table[i].name; i++) {
        const struct setting *t = &settings_table[i];
        char v[4096], where[64];
        const char *text = os_setting(t->name, v, sizeof v);
        const struct conf_line *from = !text && line[i] && *line[i]->value ? line[i] : NULL;
        rc = parse(t, text ? text : from ? from->value : t->usual, s, e);
        if (rc == 0) continue;
        snprintf(where, sizeof where, "setting CRIA_%s", t->name);
        err_prefix(e, where);
        if (!from) continue;
        snprintf(v, sizeof v, "%s, line %d", file, from->line);
        err_prefix(e, v);
    }
    const char *f = s->log_format;
    if (rc == 0 && *f && strcmp(f, "json") != 0 && strcmp(f, "text") != 0)
        rc = reject("setting CRIA_LOG_FORMAT", f, "json or text", e);
    struct pii_policy pii;
    if (rc == 0 && pii_policy_parse(&pii, s->pii, s->pii_entities, e) != 0)
        rc = err_prefix(e, "settings CRIA_PII, CRIA_PII_ENTITIES");
    enum isolation walls;
    if (rc == 0 && isolation_parse(s->isolation, &walls, e) != 0)
        rc = err_prefix(e, "setting CRIA_ISOLATION");
    return rc == 0 ? check_cache(s, e) : rc;
}
