/* The settings of a server, CRIA_X or OLLAMA_X in the environment: one table, read at the start and
 * again when asked to.  A value that does not parse is an error that names it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/conf.h"

enum { SETTING_TEXT = 512 };

struct settings {
    char host[SETTING_TEXT]; /* as net/server.h takes it */
    char model[SETTING_TEXT], origins[SETTING_TEXT], hosts[SETTING_TEXT];
    char keys[SETTING_TEXT]; /* file; empty: ~/.cria/keys.db when it is there */
    char api_key_file[SETTING_TEXT], tls_cert[SETTING_TEXT], tls_key[SETTING_TEXT];
    char config[SETTING_TEXT];
    char responses[SETTING_TEXT];  /* folder; empty: ~/.cria */
    char log_format[SETTING_TEXT]; /* json, text, or empty */
    char fallback[SETTING_TEXT], fallback_url[SETTING_TEXT], fallback_model[SETTING_TEXT];
    char fallback_key_file[SETTING_TEXT];
    char isolation[SETTING_TEXT];      /* isolation_parse */
    char response_cache[SETTING_TEXT]; /* off, on, always */
    char cache_url[SETTING_TEXT];      /* of Redis, or empty */
    uint64_t memory_bytes, responses_bytes, cache_bytes;
    int64_t cache_ttl_ns;
    int64_t num_parallel, max_loaded_models, max_queue, max_connections, max_peer_connections;
    int64_t responses_count, breaker_failures;
    int64_t keep_alive_ns, load_timeout_ns, request_timeout_ns, grace_ns, responses_age_ns;
    int64_t first_token_timeout_ns, breaker_cooldown_ns;
    char pii[SETTING_TEXT], pii_entities[SETTING_TEXT];
    bool log_prompts, wide;
    char audit[SETTING_TEXT]; /* off, on, required */
    char audit_file[SETTING_TEXT], audit_key_file[SETTING_TEXT], audit_sign_key[SETTING_TEXT];
    char audit_public_key[SETTING_TEXT];
    uint64_t audit_rotate_bytes;
    bool audit_content;
};

enum setting_kind {
    SETTING_IS_TEXT,
    SETTING_IS_HOST,
    SETTING_IS_INT,
    SETTING_IS_BYTES,
    SETTING_IS_TIME,
    SETTING_IS_BOOL
};

struct setting {
    const char *name; /* without CRIA_; NULL ends the table */
    enum setting_kind kind;
    int offset;        /* in struct settings */
    const char *usual; /* parsed when it is not set */
    const char *help;
    int64_t min, max; /* of numbers */
};

extern const struct setting settings_table[];

/* From the environment, and where it has none from `file` (policy/conf.h; NULL: none), with or
 * without CRIA_ or OLLAMA_ before the names.  The environment of a running process stays as it is;
 * the file is what can be changed and read again.  What the file says of models is left in *conf:
 * conf_free, also after a failure.  ERR_USAGE: "setting CRIA_X: found ...; ... is accepted", also
 * for a name that is none. */
int settings_read(struct settings *s, struct conf *conf, const char *file, struct err *e);

/* The file of settings that holds when no option names one: the setting CONFIG, else
 * ~/.cria/cria.conf where that is there; NULL: none. */
enum { SETTINGS_PATH = 4096 };
const char *settings_file(char path[SETTINGS_PATH]);

struct settings_url {
    char unix_path[SETTING_TEXT]; /* of a Unix socket; else empty */
    bool https;
    char host[SETTING_TEXT]; /* as written, IPv6 in brackets; "127.0.0.1" where none is */
    char port[8];
    char path[SETTING_TEXT]; /* of a URL, without a slash at its end: "/base" or "" */
};

/* The parts of what HOST may be, the one parser of it.  ERR_USAGE. */
int settings_url(const char *text, struct settings_url *out, struct err *e);

/* What HOST may be: an address with or without a port, "localhost", ":PORT", "[IPv6]:PORT", a URL
 * (http: port 80, https: 443 when it names none), "unix:PATH".  out [SETTING_TEXT]: ADDRESS:PORT.
 */
int settings_host(const char *text, char *out, struct err *e);

/* Take "user:password" out of a URL before it is shown: all up to the last "@", as a password may
 * have one. */
void settings_hide_user(char *text);

/* "5m", "1h30m", "300ms", a number of seconds, with a sign; ERR_USAGE. */
int settings_time(const char *text, int64_t *ns, struct err *e);
