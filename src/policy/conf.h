/* cria.conf: settings of the server and what is said of single models, in the INI form that libinih
 * reads.
 *
 *   # a comment; also ; and behind a value " ; so"
 *   KEEP_ALIVE = 10m             a setting, with or without CRIA_ before its name
 *
 *   [model llama3.2:3b]          lines as in a Modelfile (policy/model_policy.h); they replace
 *   fallback = llama3.2:1b       the model's own
 *   cache = always 1h
 *   policy = pii=redact audit=required
 *
 * A value goes on in the next line when that one is indented, up to 4095 bytes.  A line may have
 * CONF_LINE_MAX bytes, the library's limit. */
#pragma once

#include "policy/model_policy.h"

enum { CONF_LINE_MAX = 198, CONF_MAX_BYTES = 1 << 20 };

struct conf_line {
    const char *name, *value; /* trimmed, quotes at both ends cut off */
    int line;                 /* 1, 2, ... where it begins */
};

enum { CONF_FALLBACK, CONF_CACHE, CONF_POLICY, CONF_N_LINE };

struct conf_model {
    struct name name;
    const char *said[CONF_N_LINE]; /* as model_policy_line() takes it; NULL: nothing */
    int line;
};

struct conf {
    struct conf_line *setting; /* [n_setting] in the order of the file; names are not checked */
    int n_setting;
    struct conf_model *model; /* [n_model] */
    int n_model;
    struct arena a;
};

/* ERR_USAGE "FILE, line N: ..."; conf_free also after a failure. */
int conf_read(const char *path, struct conf *out, struct err *e);
void conf_free(struct conf *c);

/* What holds for a model: its own lines, and over them what the file says. */
void conf_model_policy(const struct conf *c, const struct name *n, struct model_policy *p);
