/* The settings of a server, CRIA_X or OLLAMA_X in the environment: one table, read at the start and
 * again when asked to.  A value that does not parse is an error that names it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { SETTING_TEXT = 512 };

struct settings {
    char host[SETTING_TEXT]; /* as net/server.h takes it */
    char model[SETTING_TEXT], origins[SETTING_TEXT], hosts[SETTING_TEXT];
    char api_key_file[SETTING_TEXT], tls_cert[SETTING_TEXT], tls_key[SETTING_TEXT];
    char config[SETTING_TEXT];
    char responses[SETTING_TEXT];  /* folder; empty: ~/.cria */
    char log_format[SETTING_TEXT]; /* json, text, or empty */
    uint64_t memory_bytes, responses_bytes;
    int64_t num_parallel, max_loaded_models, max_queue, max_connections, max_peer_connections;
    int64_t responses_count;
    int64_t keep_alive_ns, load_timeout_ns, request_timeout_ns, grace_ns, responses_age_ns;
    bool log_prompts, wide;
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

/* From the environment, and where it has none from `file` (NULL: none): lines NAME=VALUE, with or
 * without CRIA_ or OLLAMA_ before the name, "#" begins a comment line.  The environment of a
 * running process stays as it is; the file is what can be changed and read again.  ERR_USAGE:
 * "setting CRIA_X: found ...; ... is accepted", also for a name that is none. */
int settings_read(struct settings *s, const char *file, struct err *e);

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

/* "5m", "1h30m", "300ms", a number of seconds, with a sign; ERR_USAGE. */
int settings_time(const char *text, int64_t *ns, struct err *e);
