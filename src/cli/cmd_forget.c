/* `cria forget`: wipe what is kept of prompts and answers.  What a server has, it wipes itself when
 * it answers; the history of chats is always the user's own.  The audit log stays, and is told. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit_file.h"
#include "cli/remote.h"
#include "cli/settings.h"
#include "server/keep.h"

static bool history, cache, responses, prefix_cache, all, yes, as_json;

const struct opt *cmd_forget_options(void) {
    static const struct opt table[] = {
        {"history", 0, OPT_FLAG, &history, 0, 0, NULL, "lines typed in chats"},
        {"cache", 0, OPT_FLAG, &cache, 0, 0, NULL, "answers in the response cache"},
        {"responses", 0, OPT_FLAG, &responses, 0, 0, NULL, "conversations of /v1/responses"},
        {"prefix-cache", 0, OPT_FLAG, &prefix_cache, 0, 0, NULL,
         "computed beginnings of prompts (CRIA_CACHE)"},
        {"all", 0, OPT_FLAG, &all, 0, 0, NULL, "all of these"},
        {"yes", 'y', OPT_FLAG, &yes, 0, 0, NULL, "without asking"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object: how many of each were wiped"},
        {0},
    };
    return table;
}

static int confirm(struct err *e) {
    char line[16] = "";
    if (yes) return 0;
    if (!isatty(STDIN_FILENO))
        return err_set(e, ERR_USAGE, "forget: --yes is needed where nobody can be asked");
    fputs("This cannot be undone.  Wipe? [y/N] ", stderr);
    if (fgets(line, sizeof line, stdin) && (*line == 'y' || *line == 'Y')) return 0;
    return err_set(e, ERR_CANCELLED, "forget: nothing was wiped");
}

/* The log is open before anything goes: where it is required nothing goes without it.  What went
 * before a failure is told, too. */
static int forget_here(unsigned what, json_t **done, struct err *e) {
    struct settings t;
    struct audit *log;
    struct err untold = {0};
    if (cli_settings(NULL, &t, e) != 0) return -1;
    int told = audit_file_begin(&t, "forget", &log, &untold);
    if (told != 0 && strcmp(t.audit, "required") == 0) {
        *e = untold;
        return -1;
    }
    const int rc = keep_forget(&t, what, done, e);
    if (told == 0) told = audit_file_end(log, "forget", "wiped", *done, &untold);
    if (rc != 0 || told == 0) return rc;
    *e = untold;
    return err_prefix(e, "it is wiped, but the audit log was not told");
}

/* The user's own history first, then what the server has; that tells its log of both. */
static int forget_there(struct remote *r, unsigned what, json_t **done, struct err *e) {
    const struct settings unused = {.host = ""};
    json_t *there = NULL;
    if (keep_forget(&unused, what & KEEP_HISTORY, done, e) != 0) return -1;
    json_t *body = json_pack("{s:b, s:b, s:b, s:b}", "responses", (what & KEEP_RESPONSES) != 0,
                             "cache", (what & KEEP_CACHE) != 0, "prefix_cache",
                             (what & KEEP_PREFIX) != 0, "history", (what & KEEP_HISTORY) != 0);
    if (!body) return err_nomem(e, "forget");
    const int rc = remote_ask(r, NET_POST, "/api/forget", body, &there, e);
    if (rc == 0) json_object_update_missing(*done, there);
    json_decref(there);
    json_decref(body);
    return rc;
}

static void print_done(const json_t *done) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)done, key, v) {
        printf("%s: %lld wiped\n", strcmp(key, "prefix_cache") == 0 ? "prefix cache" : key,
               (long long)json_integer_value(v));
    }
}

static int forget(unsigned what, json_t **done, struct err *e) {
    struct remote *r;
    int rc = remote_find(NULL, &r, e);
    if (rc != 0) return rc;
    rc = r ? forget_there(r, what, done, e) : forget_here(what, done, e);
    remote_close(r);
    return rc;
}

int cmd_forget(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    json_t *done = NULL;
    if (cli_parse(argc, argv, cmd_forget_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("forget", n_args, 0, 0, "--history --cache --responses --prefix-cache", e) !=
        0)
        return -1;
    const unsigned what = all ? (unsigned)KEEP_ALL
                              : (history ? (unsigned)KEEP_HISTORY : 0) |
                                    (cache ? (unsigned)KEEP_CACHE : 0) |
                                    (responses ? (unsigned)KEEP_RESPONSES : 0) |
                                    (prefix_cache ? (unsigned)KEEP_PREFIX : 0);
    if (!what)
        return err_set(e, ERR_USAGE,
                       "forget: what?  --history, --cache, --responses, --prefix-cache or --all");
    if (confirm(e) != 0) return -1;
    const int rc = forget(what, &done, e);
    if (rc == 0 && as_json)
        cli_print_json(json_incref(done));
    else if (rc == 0)
        print_done(done);
    json_decref(done);
    return rc;
}
