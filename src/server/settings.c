/* See settings.h.  Ollama's names keep their meaning; those of ours stand behind them. */
#include "server/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"

#define AT(field) offsetof(struct settings, field)

/* clang-format off */
const struct setting settings_table[] = {
    {"HOST", SETTING_IS_HOST, AT(host), "127.0.0.1:11434", "where it listens: ADDRESS:PORT, [IPv6]:PORT, unix:PATH", 0, 0},
    {"KEEP_ALIVE", SETTING_IS_TIME, AT(keep_alive_ns), "5m", "how long a model stays loaded; negative: for ever", 0, 0},
    {"LOAD_TIMEOUT", SETTING_IS_TIME, AT(load_timeout_ns), "5m", "for the load of a model; 0: none", 0, 0},
    {"REQUEST_TIMEOUT", SETTING_IS_TIME, AT(request_timeout_ns), "0", "for a request, its waiting included; 0: none", 0, 0},
    {"NUM_PARALLEL", SETTING_IS_INT, AT(num_parallel), "0", "sequences of a model at once; 0: by memory", 0, 1024},
    {"MAX_LOADED_MODELS", SETTING_IS_INT, AT(max_loaded_models), "0", "0: 3", 0, 1024},
    {"MAX_QUEUE", SETTING_IS_INT, AT(max_queue), "512", "requests that wait; more are answered 503", 0, 1000000},
    {"MEMORY", SETTING_IS_BYTES, AT(memory_bytes), "0", "limit over all models: weights, caches, compute; 0: none", 0, 0},
    {"MODEL", SETTING_IS_TEXT, AT(model), "", "pulled if it is missing, and loaded at the start", 0, 0},
    {"ORIGINS", SETTING_IS_TEXT, AT(origins), "", "web pages that may ask, beside local ones: https://a.example,https://*.b.example", 0, 0},
    {"ALLOWED_HOSTS", SETTING_IS_TEXT, AT(hosts), "", "names this server is known by, beside local ones: a.example,.b.example", 0, 0},
    {"ALLOW_REMOTE", SETTING_IS_BOOL, AT(wide), "0", "1: other machines may ask although there are no keys", 0, 0},
    {"API_KEY_FILE", SETTING_IS_TEXT, AT(api_key_file), "", "lines NAME KEY [read|use|admin]", 0, 0},
    {"TLS_CERT", SETTING_IS_TEXT, AT(tls_cert), "", "certificate and its chain, PEM", 0, 0},
    {"TLS_KEY", SETTING_IS_TEXT, AT(tls_key), "", "its private key, PEM", 0, 0},
    {"GRACE", SETTING_IS_TIME, AT(grace_ns), "30s", "for answers under way when the server is told to stop", 0, 0},
    {"MAX_CONNECTIONS", SETTING_IS_INT, AT(max_connections), "12000", "at once", 1, 1000000},
    {"MAX_PEER_CONNECTIONS", SETTING_IS_INT, AT(max_peer_connections), "-1", "of one address (IPv6: /64); 0: no limit; -1: a quarter of them, no limit on this machine", -1, 1000000},
    {"CONFIG", SETTING_IS_TEXT, AT(config), "", "file with more of these, read again on SIGHUP: lines NAME=VALUE", 0, 0},
    {"RESPONSES", SETTING_IS_TEXT, AT(responses), "", "folder of /v1/responses that are kept; default: ~/.cria", 0, 0},
    {"RESPONSES_COUNT", SETTING_IS_INT, AT(responses_count), "10000", "of them; the oldest leave; 0: none is kept", 0, 100000000},
    {"RESPONSES_SIZE", SETTING_IS_BYTES, AT(responses_bytes), "256m", "bytes they may take", 0, 0},
    {"RESPONSES_AGE", SETTING_IS_TIME, AT(responses_age_ns), "720h", "how long they are kept", 0, 0},
    {"LOG_FORMAT", SETTING_IS_TEXT, AT(log_format), "", "json or text; default: text on a terminal, else json", 0, 0},
    {"LOG_PROMPTS", SETTING_IS_BOOL, AT(log_prompts), "0", "1: bodies of requests are in the log", 0, 0},
    {0},
};
/* clang-format on */

static int reject(const char *what, const char *text, const char *accepted, struct err *e) {
    return err_set(e, ERR_USAGE, "%s: found \"%s\"; %s is accepted", what, text, accepted);
}

int settings_time(const char *text, int64_t *ns, struct err *e) {
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    const char *p = text + (*text == '-' || *text == '+');
    double all = 0;
    bool any = false, bare = false;
    while (*p && !bare) {
        char *end;
        const size_t n_number = strspn(p, "0123456789.");
        const double v = n_number ? strtod(p, &end) : -1;
        if (n_number == 0 || end != p + n_number) goto bad;
        const size_t n_unit = strspn(end, "numsh");
        size_t i = 0;
        while (i < 6 && (strlen(units[i].unit) != n_unit || memcmp(units[i].unit, end, n_unit)))
            i++;
        bare = n_unit == 0 && *end == 0 && !any;
        if (i == 6 && !bare) goto bad;
        all += v * (bare ? 1e9 : units[i].ns);
        any = true;
        p = end + n_unit;
    }
    if (!any || *p || all > 9e18) goto bad;
    *ns = (int64_t)(*text == '-' ? -all : all);
    return 0;
bad:
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

enum { FILE_MAX = 1 << 20, N_SETTING = sizeof settings_table / sizeof *settings_table };

static int index_of(const char *name) {
    if (strncmp(name, "CRIA_", 5) == 0) name += 5;
    if (strncmp(name, "OLLAMA_", 7) == 0) name += 7;
    for (int i = 0; i < N_SETTING - 1; i++)
        if (strcmp(settings_table[i].name, name) == 0) return i;
    return -1;
}

/* Without blanks, and quotes that stand on both ends. */
static char *trim(char *text) {
    text += strspn(text, " \t\r");
    size_t n = strlen(text);
    while (n && strchr(" \t\r", text[n - 1]))
        text[--n] = 0;
    if (n > 1 && (*text == '"' || *text == '\'') && text[n - 1] == *text) {
        text[n - 1] = 0;
        text++;
    }
    return text;
}

/* value[i]: what the file says of the i-th setting, within b; or NULL. */
static int read_file(const char *file, struct buf *b, char *value[N_SETTING], struct err *e) {
    int n_line = 0;
    if (os_read_file(file, FILE_MAX, b, e) != 0) return -1;
    for (char *rest = b->n ? b->p : NULL, *line; rest && (line = strsep(&rest, "\n"));) {
        n_line++;
        line = trim(line);
        if (!*line || *line == '#') continue;
        char *equals = strchr(line, '=');
        if (!equals)
            return err_set(e, ERR_USAGE, "%s, line %d: NAME=VALUE is accepted", file, n_line);
        *equals = 0;
        const int i = index_of(trim(line));
        if (i < 0)
            return err_set(e, ERR_USAGE,
                           "%s, line %d: \"%s\" is no setting; `cria serve --help` lists them",
                           file, n_line, line);
        value[i] = trim(equals + 1);
    }
    return 0;
}

int settings_read(struct settings *s, const char *file, struct err *e) {
    char *value[N_SETTING] = {0};
    struct buf b = {0};
    *s = (struct settings){0};
    int rc = file && *file ? read_file(file, &b, value, e) : 0;
    for (int i = 0; rc == 0 && settings_table[i].name; i++) {
        const struct setting *t = &settings_table[i];
        char v[4096], where[64];
        const char *text = os_setting(t->name, v, sizeof v);
        if (!text) text = value[i] && *value[i] ? value[i] : t->usual;
        rc = parse(t, text, s, e);
        if (rc == 0) continue;
        snprintf(where, sizeof where, "setting CRIA_%s", t->name);
        err_prefix(e, where);
    }
    buf_fini(&b);
    const char *f = s->log_format;
    if (rc == 0 && *f && strcmp(f, "json") != 0 && strcmp(f, "text") != 0)
        rc = reject("setting CRIA_LOG_FORMAT", f, "json or text", e);
    return rc;
}
