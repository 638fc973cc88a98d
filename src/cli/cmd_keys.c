/* `cria keys`: who may ask a server, and how much (policy/keys_db.h).  The commands work on the
 * database itself, so they need no server; one that runs sees what they did within a second. */
#include "cli/cmd_keys.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/settings.h"

/* clang-format off */
const struct command keys_commands[] = {
    {"add", NULL, "NAME", "make a key, and show it once", cmd_keys_add, .options = cmd_keys_add_options},
    {"list", "ls", "", "the keys, what they may do and their limits", cmd_keys_list, .options = cmd_keys_list_options},
    {"set", NULL, "NAME", "change what a key may do, or replace it", cmd_keys_set, .options = cmd_keys_set_options},
    {"rm", NULL, "NAME...", "remove keys", cmd_keys_rm, .options = cmd_keys_rm_options},
    {"usage", NULL, "[NAME]", "requests and tokens by day, key and model", cmd_keys_usage, .options = cmd_keys_usage_options},
    {0},
};
/* clang-format on */

/* ---- shared ---- */

struct keys_db *cli_keys_db(bool create, struct err *e) {
    char path[KEYS_DB_PATH];
    struct settings s;
    if (cli_settings(NULL, &s, e) != 0 || keys_db_path(s.keys, path, e) != 0) return NULL;
    struct keys_db *d = keys_db_open(path, create, e);
    if (!d && e->code == ERR_NOT_FOUND)
        err_set(e, ERR_NOT_FOUND, "%s: there are no keys; `cria keys add` makes one", path);
    return d;
}

void cli_moment(int64_t unix_s, char out[CLI_DAY]) {
    struct tm tm;
    const time_t t = (time_t)unix_s;
    gmtime_r(&t, &tm);
    strftime(out, CLI_DAY, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void cli_day(int64_t day, char out[CLI_DAY]) {
    cli_moment(day * 86400, out);
    out[10] = 0;
}

/* A list between commas as JSON. */
static json_t *words(const char *list) {
    json_t *out = json_array();
    for (const char *p = list; *p;) {
        const size_t n = strcspn(p, ", ");
        if (n) json_array_append_new(out, json_stringn(p, n));
        p += n + (p[n] != 0);
    }
    return out;
}

static json_t *or_null(int64_t n) {
    return n ? json_integer(n) : json_null();
}

static json_t *moment(int64_t unix_s) {
    char text[CLI_DAY];
    if (!unix_s) return json_null();
    cli_moment(unix_s, text);
    return json_string(text);
}

json_t *cli_key_json(const struct key *k, const char *text) {
    char rights[RIGHTS_TEXT];
    const struct key_quota *q = &k->quota;
    rights_text(k->rights, rights);
    json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:b}", "name",
                          k->name, "roles", words(rights), "models",
                          k->models ? words(k->models) : json_null(), "rpm", or_null(q->rpm), "tpm",
                          or_null(q->tpm), "concurrent", or_null(q->concurrent), "daily_requests",
                          or_null(q->daily_requests), "daily_tokens", or_null(q->daily_tokens),
                          "priority", key_class_name[k->class], "created", moment(k->created_s),
                          "expires", moment(k->expires_s), "disabled", (int)k->disabled);
    if (o && text) json_object_set_new(o, "key", json_string(text));
    return o;
}

/* ---- list ---- */

static bool as_json;

const struct opt *cmd_keys_list_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: keys with name, roles, models, limits, priority, created, expires, disabled"},
        {0},
    };
    return table;
}

static void add_limit(struct buf *b, int64_t n, const char *what) {
    if (n) buf_printf(b, "%s%lld %s", b->n ? ", " : "", (long long)n, what);
}

static void print_key(const struct key *k, int width) {
    char rights[RIGHTS_TEXT], when[CLI_DAY];
    struct buf b = {0};
    const struct key_quota *q = &k->quota;
    rights_text(k->rights, rights);
    add_limit(&b, q->rpm, "requests/min");
    add_limit(&b, q->tpm, "tokens/min");
    add_limit(&b, q->concurrent, "at once");
    add_limit(&b, q->daily_requests, "requests/day");
    add_limit(&b, q->daily_tokens, "tokens/day");
    if (k->class != KEY_NORMAL)
        buf_printf(&b, "%s%s priority", b.n ? ", " : "", key_class_name[k->class]);
    if (k->expires_s) {
        cli_moment(k->expires_s, when);
        buf_printf(&b, "%s%s %s", b.n ? ", " : "",
                   k->expires_s <= (int64_t)time(NULL) ? "EXPIRED" : "expires", when);
    }
    if (k->disabled) buf_printf(&b, "%sDISABLED", b.n ? ", " : "");
    printf("%-*s  %-22s  %-20s  %s\n", width, k->name, rights, k->models ? k->models : "*",
           b.n ? b.p : "no limits");
    buf_fini(&b);
}

static void print_keys(struct keys *k) {
    int width = 4;
    for (int i = 0; i < keys_count(k); i++)
        if ((int)strlen(keys_at(k, i)->name) > width) width = (int)strlen(keys_at(k, i)->name);
    printf("%-*s  %-22s  %-20s  %s\n", width, "NAME", "ROLES", "MODELS", "LIMITS");
    for (int i = 0; i < keys_count(k); i++)
        print_key(keys_at(k, i), width);
}

int cmd_keys_list(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_keys_list_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("keys list", n_args, 0, 0, "no arguments", e) != 0) return -1;
    struct keys_db *d = cli_keys_db(false, e);
    struct keys *k = d ? keys_new(e) : NULL;
    const int rc = k ? keys_db_load(d, k, e) : -1;
    if (rc == 0 && as_json) {
        json_t *list = json_array();
        for (int i = 0; i < keys_count(k); i++)
            json_array_append_new(list, cli_key_json(keys_at(k, i), NULL));
        cli_print_json(json_pack("{s:o}", "keys", list));
    } else if (rc == 0) {
        print_keys(k);
    }
    keys_unref(k);
    keys_db_close(d);
    return rc;
}

/* ---- rm ---- */

const struct opt *cmd_keys_rm_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object: removed, a list of names"},
        {0},
    };
    return table;
}

/* That nobody may ask any more is not what everybody expects. */
static void warn_if_last(struct keys_db *d) {
    struct err unused;
    struct keys *k = keys_new(&unused);
    if (k && keys_db_load(d, k, &unused) == 0 && keys_count(k) == 0)
        fprintf(stderr, "that was the last key: nobody may ask a server that uses this database "
                        "until `cria keys add` makes another\n");
    keys_unref(k);
}

int cmd_keys_rm(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, rc = 0;
    if (cli_parse(argc, argv, cmd_keys_rm_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("keys rm", n_args, 1, CLI_MAX_ARGS, "NAME...", e) != 0) return -1;
    struct keys_db *d = cli_keys_db(false, e);
    if (!d) return -1;
    json_t *removed = json_array();
    for (int i = 0; i < n_args && rc == 0; i++) {
        rc = keys_db_remove(d, args[i], e);
        if (rc == 0 && !as_json) printf("removed key %s\n", args[i]);
        if (rc == 0) json_array_append_new(removed, json_string(args[i]));
    }
    if (rc == 0 && as_json) cli_print_json(json_pack("{s:O}", "removed", removed));
    json_decref(removed);
    warn_if_last(d);
    keys_db_close(d);
    return rc;
}
