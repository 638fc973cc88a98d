/* `cria keys add` and `cria keys set`: a key's roles, models and limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cmd_keys.h"
#include "server/settings.h"

static bool as_json, rotate, disable, enable;
static const char *role, *models, *rpm, *tpm, *concurrent, *daily_requests, *daily_tokens,
    *priority, *expires;

/* What both have. */
#define KEY_OPTIONS                                                                                \
    {"role", 0, OPT_STR,    &role,                                                                 \
     0,      0, "ROLE,...", "inference (usual), models, train, read, admin: what it may do"},      \
        {"models",   0,                                                                            \
         OPT_STR,    &models,                                                                      \
         0,          0,                                                                            \
         "NAME,...", "the models it may use and see, as llama3.2:*,team/*; default: * (all)"},     \
        {"rpm", 0, OPT_STR, &rpm, 0, 0, "N", "requests a minute; 0: no limit, here and below"},    \
        {"tpm", 0, OPT_STR, &tpm, 0, 0, "N", "tokens a minute, of prompts and answers; 20k, 1m"},  \
        {"concurrent", 0, OPT_STR, &concurrent, 0, 0, "N", "requests at once"},                    \
        {"daily-requests", 0, OPT_STR, &daily_requests, 0, 0, "N", "requests a day (UTC)"},        \
        {"daily-tokens", 0, OPT_STR, &daily_tokens, 0, 0, "N", "tokens a day (UTC)"},              \
        {"priority",                                                                               \
         0,                                                                                        \
         OPT_STR,                                                                                  \
         &priority,                                                                                \
         0,                                                                                        \
         0,                                                                                        \
         "CLASS",                                                                                  \
         "low, normal or high: of 21 that begin while all wait 1 is low, 4 normal, 16 high"},      \
        {"expires", 0,                                                                             \
         OPT_STR,   &expires,                                                                      \
         0,         0,                                                                             \
         "WHEN",    "YYYY-MM-DD (its beginning, UTC), a time from now as 12h or 30d, or never"},

const struct opt *cmd_keys_add_options(void) {
    static const struct opt table[] = {
        KEY_OPTIONS{"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
                    "one object: key (the only time), name, roles, models, limits"},
        {0},
    };
    return table;
}

const struct opt *cmd_keys_set_options(void) {
    static const struct opt table[] = {
        KEY_OPTIONS{"rotate", 0, OPT_FLAG, &rotate, 0, 0, NULL,
                    "a new key under the same name, shown once; the old one is worth nothing"},
        {"disable", 0, OPT_FLAG, &disable, 0, 0, NULL, "it may not be used until it is enabled"},
        {"enable", 0, OPT_FLAG, &enable, 0, 0, NULL, "it may be used again"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object, as of `cria keys list`"},
        {0},
    };
    return table;
}

/* ---- values ---- */

static int reject(const char *option, const char *found, const char *accepted, struct err *e) {
    return err_set(e, ERR_USAGE, "--%s: found \"%s\"; %s is accepted", option, found, accepted);
}

/* "600", "20k", "1.5m", "2g": thousands.  Text NULL: *out stays. */
static int take_count(const char *option, const char *text, int64_t max, int64_t *out,
                      struct err *e) {
    char *end, accepted[80];
    if (!text) return 0;
    const size_t digits = strspn(text, "0123456789."); /* no "1e3", no "0x10" */
    const double n = *text >= '0' && *text <= '9' ? strtod(text, &end) : -1;
    const double unit = n < 0 || end != text + digits ? 0
                        : *end == 0                   ? 1
                        : end[1]                      ? 0
                        : *end == 'k'                 ? 1e3
                        : *end == 'm'                 ? 1e6
                        : *end == 'g'                 ? 1e9
                                                      : 0;
    const double all = n * unit;
    snprintf(accepted, sizeof accepted, "a whole number from 0 to %lld, or as 20k, 1.5m",
             (long long)max);
    if (unit == 0 || !(all <= (double)max) || all != (double)(int64_t)all)
        return reject(option, text, accepted, e);
    *out = (int64_t)all;
    return 0;
}

static int take_class(struct key *k, struct err *e) {
    if (!priority) return 0;
    for (int i = 0; i < N_KEY_CLASS; i++)
        if (strcmp(priority, key_class_name[i]) == 0) {
            k->class = (enum key_class)i;
            return 0;
        }
    return reject("priority", priority, "low, normal or high", e);
}

static bool is_date(const char *text, int64_t *unix_s) {
    struct tm tm = {0};
    int n = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &n) != 3) return false;
    if (text[n] || n != 10) return false;
    const struct tm asked = tm;
    tm.tm_year -= 1900, tm.tm_mon--;
    *unix_s = (int64_t)timegm(&tm);
    return tm.tm_mday == asked.tm_mday && tm.tm_mon + 1 == asked.tm_mon && *unix_s > 0;
}

/* "30d": settings_time knows no days. */
static bool is_days(const char *text, int64_t *ns) {
    char *end;
    const long n = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;
    if (n <= 0 || n > 36500 || strcmp(end, "d") != 0) return false;
    *ns = n * INT64_C(86400000000000);
    return true;
}

static int take_expiry(struct key *k, struct err *e) {
    struct err unused;
    int64_t ns, at;
    if (!expires) return 0;
    if (strcmp(expires, "never") == 0)
        k->expires_s = 0;
    else if (is_date(expires, &at))
        k->expires_s = at;
    else if ((is_days(expires, &ns) || settings_time(expires, &ns, &unused) == 0) && ns > 0)
        k->expires_s = (int64_t)time(NULL) + (ns + 999999999) / 1000000000;
    else
        return reject("expires", expires, "a date as 2027-01-31, a time as 12h or 30d, or never",
                      e);
    return 0;
}

static int take_models(struct key *k, struct err *e) {
    if (!models) return 0;
    const char *wrong = keys_check_models(models);
    if (wrong) return err_set(e, ERR_USAGE, "--models: %s", wrong);
    char *copy = strcmp(models, "*") == 0 ? NULL : strdup(models);
    if (!copy && strcmp(models, "*") != 0) return err_nomem(e, "keys");
    free(k->models);
    k->models = copy;
    return 0;
}

/* What the options say; the rest stays. */
static int change(void *ctx, struct key *k, struct err *e) {
    struct key_quota *q = &k->quota;
    if (role && !rights_parse(role, &k->rights))
        return reject("role", role, "inference, models, train, read, admin, or several", e);
    if (take_models(k, e) != 0 || take_class(k, e) != 0 || take_expiry(k, e) != 0 ||
        take_count("rpm", rpm, KEY_RPM_MAX, &q->rpm, e) != 0 ||
        take_count("tpm", tpm, KEY_TPM_MAX, &q->tpm, e) != 0 ||
        take_count("concurrent", concurrent, INT32_MAX, &q->concurrent, e) != 0 ||
        take_count("daily-requests", daily_requests, KEY_DAILY_MAX, &q->daily_requests, e) != 0 ||
        take_count("daily-tokens", daily_tokens, KEY_DAILY_MAX, &q->daily_tokens, e) != 0)
        return -1;
    if (disable && enable)
        return err_set(e, ERR_USAGE, "--disable and --enable exclude each other");
    if (disable || enable) k->disabled = disable;
    if (!ctx) return 0;
    struct key *copy = ctx; /* for --json */
    *copy = *k;
    copy->models = k->models ? strdup(k->models) : NULL;
    return 0;
}

/* ---- the commands ---- */

/* The key alone on stdout: it may be read into a variable. */
static void show(const struct key *k, const char *text) {
    if (as_json) {
        cli_print_json(cli_key_json(k, text));
        return;
    }
    if (!text) return;
    fprintf(stderr, "key %s; it is shown this once only:\n", k->name);
    printf("%s\n", text);
}

/* From now on nobody gets in without one: not what everybody expects. */
static void tell_if_first(struct keys_db *d) {
    struct err unused;
    struct keys *k = keys_new(&unused);
    if (k && keys_db_load(d, k, &unused) == 0 && keys_count(k) == 1)
        fprintf(stderr, "the first key: a server that uses this database answers nobody without "
                        "one from now on\n");
    keys_unref(k);
}

int cmd_keys_add(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char text[KEY_TEXT];
    int n_args;
    struct key k = {.rights = RIGHT_READ | RIGHT_USE};
    if (cli_parse(argc, argv, cmd_keys_add_options(), args, &n_args, e) != 0) return -1;
    int rc = change(NULL, &k, e);
    if (rc == 0) rc = cli_check_args("keys add", n_args, 1, 1, "NAME", e);
    const char *wrong = rc == 0 ? keys_check_name(args[0]) : NULL;
    if (wrong) rc = err_set(e, ERR_USAGE, "keys add: %s", wrong);
    if (rc == 0) snprintf(k.name, sizeof k.name, "%s", args[0]);
    struct keys_db *d = rc == 0 ? cli_keys_db(true, e) : NULL;
    rc = d ? keys_db_add(d, &k, text, e) : -1;
    if (rc == 0) show(&k, text);
    if (rc == 0) tell_if_first(d);
    keys_db_close(d);
    free(k.models);
    return rc;
}

int cmd_keys_set(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char text[KEY_TEXT];
    int n_args;
    struct key k = {.rights = RIGHT_NONE};
    if (cli_parse(argc, argv, cmd_keys_set_options(), args, &n_args, e) != 0) return -1;
    struct key trial = {.rights = RIGHT_NONE}; /* what is wrong in an option is told first */
    const int wrong = change(NULL, &trial, e);
    free(trial.models);
    if (wrong != 0 || cli_check_args("keys set", n_args, 1, 1, "NAME", e) != 0) return -1;
    struct keys_db *d = cli_keys_db(false, e);
    const int rc = d ? keys_db_set(d, args[0], change, &k, rotate ? text : NULL, e) : -1;
    if (rc == 0) show(&k, rotate ? text : NULL);
    keys_db_close(d);
    free(k.models);
    return rc;
}
