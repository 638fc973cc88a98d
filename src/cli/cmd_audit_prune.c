/* `cria audit prune` and `cria audit digest`.  A log that a server writes is pruned by that server;
 * another one here, by whoever runs this. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/os.h"
#include "cli/audit_file.h"
#include "cli/remote.h"
#include "cli/settings.h"
#include "policy/audit.h"

static const char *before, *key_file, *sign_key, *log_file;
static bool as_json;

const struct opt *cmd_audit_prune_options(void) {
    static const struct opt table[] = {
        {"before", 0, OPT_STR, &before, 0, 0, "DATE",
         "entries older than this go; 2026-11-27, or with THH:MM:SSZ"},
        {"hmac-key", 0, OPT_STR, &key_file, 0, 0, "FILE", "default: CRIA_AUDIT_KEY_FILE"},
        {"sign-key", 0, OPT_STR, &sign_key, 0, 0, "FILE", "default: CRIA_AUDIT_SIGN_KEY"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object: pruned"},
        {0},
    };
    return table;
}

static int ask_server(uint64_t *n, struct err *e) {
    struct remote *r;
    json_t *out = NULL, *body = json_pack("{s:s}", "before", before);
    int rc = remote_need(&r, e);
    if (rc == 0 && !body) rc = err_set(e, ERR_USAGE, "--before: no UTF-8 text");
    if (rc == 0) rc = remote_ask(r, NET_POST, "/api/audit/prune", body, &out, e);
    *n = (uint64_t)json_integer_value(json_object_get(out, "pruned"));
    json_decref(out);
    json_decref(body);
    remote_close(r);
    return rc;
}

static int prune_here(const char *path, uint64_t *n, struct err *e) {
    struct settings t;
    if (cli_settings(NULL, &t, e) != 0) return -1;
    const struct audit_opts o = {.file = path,
                                 .key_file = key_file ? key_file : t.audit_key_file,
                                 .sign_key = sign_key ? sign_key : t.audit_sign_key,
                                 .what = "prune",
                                 .required = true};
    struct audit *a = audit_open(&o, e);
    const int rc = a ? audit_prune(a, before, n, e) : -1;
    audit_close(a);
    return rc;
}

int cmd_audit_prune(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    uint64_t n = 0;
    char path[AUDIT_PATH];
    struct err why = {0};
    if (cli_parse(argc, argv, cmd_audit_prune_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("audit prune", n_args, 0, 1, "--before DATE [FILE]", e) != 0) return -1;
    if (!before || !audit_is_time(before))
        return err_set(e, ERR_USAGE,
                       "--before: found \"%s\"; a date like 2026-11-27, or a time like "
                       "2026-11-27T10:13:09Z, is accepted",
                       before ? before : "");
    if (audit_file_name(n_args ? args[0] : NULL, path, e) != 0) return -1;
    /* Opening would make one. */
    struct audit_reader *r = audit_reader_open(path, e);
    if (!r) return -1;
    audit_reader_close(r);
    int rc = prune_here(path, &n, &why);
    if (rc != 0 && why.code == ERR_BUSY && !n_args)
        rc = ask_server(&n, e);
    else if (rc != 0)
        *e = why;
    if (rc != 0) return rc;
    if (as_json)
        cli_print_json(json_pack("{s:I}", "pruned", (json_int_t)n));
    else
        printf("%" PRIu64 " entries removed\n", n);
    return 0;
}

/* ---- digest ---- */

const struct opt *cmd_audit_digest_options(void) {
    static const struct opt table[] = {
        {"log", 0, OPT_STR, &log_file, 0, 0, "FILE", "whose key is used; default: CRIA_AUDIT_FILE"},
        {0},
    };
    return table;
}

int cmd_audit_digest(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    char path[AUDIT_PATH], name[AUDIT_PATH + 8];
    uint8_t key[AUDIT_DIGEST_KEY], digest[SHA256_BYTES];
    struct buf text = {0};
    if (cli_parse(argc, argv, cmd_audit_digest_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("audit digest", n_args, 0, 1, "[TEXT-FILE|-]", e) != 0) return -1;
    if (audit_file_name(log_file, path, e) != 0) return -1;
    snprintf(name, sizeof name, "%s.key", path);
    int rc = audit_digest_key(name, false, key, e);
    if (rc == 0) rc = os_read_file(n_args ? args[0] : "-", 256 << 20, &text, e);
    if (rc == 0 && audit_digest(key, buf_view(&text), digest) != 0) rc = err_nomem(e, "digest");
    buf_fini(&text);
    for (int i = 0; rc == 0 && i < SHA256_BYTES; i++)
        printf("%02x", digest[i]);
    if (rc == 0) puts("");
    return rc;
}
