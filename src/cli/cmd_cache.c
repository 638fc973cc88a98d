/* `cria cache stats|clear|rm`: the response cache, through the server when one answers, else the
 * file (or Redis) itself. */
#include "cli/commands.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/settings.h"
#include "policy/answer_cache.h"
#include "store/name.h"

static bool as_json;
static const char *model;

#define JSON_OPTION(keys)                                                                          \
    { "json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object: " keys }

const struct opt *cmd_cache_stats_options(void) {
    static const struct opt table[] = {
        JSON_OPTION("mode, store, ttl_s, entries, bytes; of a server: hits, misses, shared..."),
        {0}};
    return table;
}

const struct opt *cmd_cache_clear_options(void) {
    static const struct opt table[] = {JSON_OPTION("removed"), {0}};
    return table;
}

const struct opt *cmd_cache_rm_options(void) {
    static const struct opt table[] = {
        {"model", 0, OPT_STR, &model, 0, 0, "NAME", "the answers of this model"},
        JSON_OPTION("removed"),
        {0}};
    return table;
}

/* ---- without a server ---- */

static struct answer_cache *open_here(struct settings *t, struct err *e) {
    if (cli_settings(NULL, t, e) != 0) return NULL;
    signal(SIGPIPE, SIG_IGN); /* Redis may go meanwhile */
    const struct answer_cache_opts o = {.url = t->cache_url, .max_bytes = t->cache_bytes};
    return answer_cache_open(&o, e);
}

static int stats_here(json_t **out, struct err *e) {
    struct settings t;
    struct answer_cache_stats s;
    struct answer_cache *c = open_here(&t, e);
    if (!c) return -1;
    answer_cache_stats(c, true, &s);
    answer_cache_close(c);
    if (s.n < 0) return err_set(e, ERR_IO, "cache: the store (%s) does not answer", s.store);
    *out = json_pack("{s:s, s:s, s:I, s:I, s:I}", "mode", t.response_cache, "store", s.store,
                     "ttl_s", (json_int_t)(t.cache_ttl_ns / 1000000000), "entries", (json_int_t)s.n,
                     "bytes", (json_int_t)s.n_bytes);
    return *out ? 0 : err_nomem(e, "cache");
}

static int drop_here(const struct answer_filter *f, int64_t *n, struct err *e) {
    struct settings t;
    struct answer_cache *c = open_here(&t, e);
    if (!c) return -1;
    const int rc = answer_cache_drop(c, f, n, e);
    answer_cache_close(c);
    return rc;
}

/* ---- stats ---- */

static int64_t number(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

static void print_stats(const json_t *o) {
    static const char *const counted[] = {"hits",   "misses",    "shared", "bypasses",
                                          "stores", "evictions", "errors", "dropped"};
    char size[HUMAN_TEXT];
    const char *mode = json_string_value(json_object_get(o, "mode")),
               *store = json_string_value(json_object_get(o, "store"));
    human_bytes((uint64_t)(number(o, "bytes") > 0 ? number(o, "bytes") : 0), size);
    printf("mode       %s\nstore      %s\nttl        %" PRId64 " s\nentries    %" PRId64
           "\nsize       %s\n",
           mode ? mode : "", store ? store : "", number(o, "ttl_s"), number(o, "entries"), size);
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++)
        if (json_object_get(o, counted[i]))
            printf("%-10s %" PRId64 "\n", counted[i], number(o, counted[i]));
}

int cmd_cache_stats(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    json_t *out = NULL;
    struct remote *r;
    if (cli_parse(argc, argv, cmd_cache_stats_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("cache stats", n_args, 0, 0, "no arguments", e) != 0) return -1;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    const int rc = r ? remote_ask(r, NET_GET, "/api/cache", NULL, &out, e) : stats_here(&out, e);
    remote_close(r);
    if (rc != 0) return -1;
    if (as_json)
        cli_print_json(out);
    else {
        print_stats(out);
        json_decref(out);
    }
    return 0;
}

/* ---- removing ---- */

static int drop_there(struct remote *r, const struct answer_filter *f, int64_t *n, struct err *e) {
    struct buf path = {0};
    json_t *out = NULL;
    buf_str(&path, "/api/cache");
    if (f->prefix) buf_printf(&path, "/keys/%s", f->prefix);
    if (f->model) buf_printf(&path, "/models/%s", f->model);
    const int rc =
        path.failed ? err_nomem(e, "cache") : remote_ask(r, NET_DELETE, path.p, NULL, &out, e);
    *n = number(out, "removed");
    json_decref(out);
    buf_fini(&path);
    return rc;
}

static int drop(const struct answer_filter *f, int64_t *n, struct err *e) {
    struct remote *r;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    const int rc = r ? drop_there(r, f, n, e) : drop_here(f, n, e);
    remote_close(r);
    return rc;
}

static void print_removed(int64_t n) {
    if (as_json)
        cli_print_json(json_pack("{s:I}", "removed", (json_int_t)n));
    else
        printf("removed %" PRId64 " answers\n", n);
}

int cmd_cache_clear(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    int64_t n = 0;
    if (cli_parse(argc, argv, cmd_cache_clear_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("cache clear", n_args, 0, 0, "no arguments", e) != 0) return -1;
    const int rc = drop(&(struct answer_filter){0}, &n, e);
    if (rc == 0) print_removed(n);
    return rc;
}

static int check_prefix(const char *p, struct err *e) {
    const size_t n = strlen(p);
    if (n > 0 && n <= ANSWER_KEY_HEX && strspn(p, "0123456789abcdef") == n) return 0;
    return err_set(e, ERR_USAGE,
                   "cache rm: found key \"%.80s\"; 1 to %d hexadecimal digits, 0-9 a-f, "
                   "are accepted",
                   p, ANSWER_KEY_HEX);
}

int cmd_cache_rm(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char text[NAME_TEXT];
    int n_args;
    int64_t n = 0;
    struct answer_filter f = {0};
    if (cli_parse(argc, argv, cmd_cache_rm_options(), args, &n_args, e) != 0) return -1;
    if (n_args != (model ? 0 : 1))
        return err_set(e, ERR_USAGE, "cache rm: KEY_PREFIX, or --model NAME, is accepted");
    if (model) {
        struct name name;
        if (name_parse(model, &name, e) != 0) return -1;
        name_short(&name, text);
        f.model = text;
    } else {
        if (check_prefix(args[0], e) != 0) return -1;
        f.prefix = args[0];
    }
    const int rc = drop(&f, &n, e);
    if (rc != 0) return rc;
    print_removed(n);
    return n > 0 ? 0 : err_set(e, ERR_NOT_FOUND, "cache rm: no answer is kept under that");
}

/* clang-format off */
const struct command cache_commands[] = {
    {"stats", NULL, "", "what is in it, and how often it helped", cmd_cache_stats, .options = cmd_cache_stats_options},
    {"clear", NULL, "", "remove all answers", cmd_cache_clear, .options = cmd_cache_clear_options},
    {"rm", NULL, "KEY_PREFIX | --model NAME", "remove some", cmd_cache_rm, .options = cmd_cache_rm_options},
    {0},
};
/* clang-format on */
