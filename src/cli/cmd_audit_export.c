/* `cria audit export`: entries as they are, which verify then takes as a log of JSON lines; or,
 * with the private key, with what was encrypted, as "prompt" and "answer" in place of "content". */
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/audit_file.h"
#include "policy/audit_content.h"

static struct audit_filter filter;
static const char *private_key, *output;

const struct opt *cmd_audit_export_options(void) {
    static const struct opt table[] = {
        {"private-key", 0, OPT_STR, &private_key, 0, 0, "FILE",
         "of CRIA_AUDIT_PUBLIC_KEY, PEM: prompts and answers are decrypted"},
        {"output", 'o', OPT_STR, &output, 0, 0, "FILE", "instead of standard output; mode 0600"},
        {"since", 0, OPT_STR, &filter.since, 0, 0, "DATE", "not older"},
        {"until", 0, OPT_STR, &filter.until, 0, 0, "DATE", "older"},
        {"model", 0, OPT_STR, &filter.model, 0, 0, "NAME", "only this model, any tag without one"},
        {"key", 0, OPT_STR, &filter.key, 0, 0, "NAME", "only requests with this API key"},
        {"type", 0, OPT_STR, &filter.type, 0, 0, "TYPE", "only these"},
        {0},
    };
    return table;
}

/* Put what was encrypted in the place of "content". */
static int decrypt(const struct audit_content *c, json_t *o, struct err *e) {
    struct buf plain = {0};
    json_error_t je;
    const json_t *sealed = json_object_get(o, "content");
    const char *id = json_string_value(json_object_get(o, "id"));
    if (!json_is_object(sealed)) return 0; /* that of "start" says whether there are such */
    int rc = audit_content_open(c, str_of(id ? id : ""), sealed, &plain, e);
    json_t *texts = rc == 0 ? json_loadb(plain.p, plain.n, 0, &je) : NULL;
    if (rc == 0 && !texts) rc = err_set(e, ERR_FORMAT, "what was encrypted is no JSON");
    if (rc == 0) {
        json_object_del(o, "content");
        json_object_del(texts, "v");
        json_object_update(o, texts);
    }
    json_decref(texts);
    if (plain.p) OPENSSL_cleanse(plain.p, plain.cap);
    buf_fini(&plain);
    return rc;
}

static int export_one(FILE *out, const struct audit_content *c, const struct audit_item *i,
                      struct err *e) {
    json_t *o;
    int rc = audit_filter_take(&filter, i->line, &o, e);
    if (rc == 1 && c) rc = decrypt(c, o, e) == 0 ? 1 : -1;
    if (rc == 1 && c)
        json_dumpf(o, out, JSON_COMPACT), putc('\n', out);
    else if (rc == 1)
        fwrite(i->line.p, 1, i->line.n, out), putc('\n', out);
    if (rc < 0 && e) {
        const struct err was = *e;
        const json_t *seq = json_object_get(o, "seq");
        err_set(e, was.code, "%s: seq %lld: %s", i->file, (long long)json_integer_value(seq),
                was.msg);
    }
    json_decref(o);
    return rc < 0 ? -1 : 0;
}

static int export_all(FILE *out, const struct audit_content *c, struct audit_reader *r,
                      struct err *e) {
    struct audit_item i;
    int rc;
    while ((rc = audit_reader_next(r, &i, e)) == 1)
        if (cli_interrupted || export_one(out, c, &i, e) != 0) return -1;
    if (rc == 0 && (fflush(out) != 0 || ferror(out)))
        return err_errno(e, output ? output : "output");
    return rc;
}

static bool is_file(const char *path, const struct stat *st) {
    struct stat other;
    return stat(path, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/* Is it a file of the log that is read? */
static bool is_of_log(const char *log, const struct stat *st) {
    char name[AUDIT_PATH];
    uint64_t *seq = NULL;
    int n = 0;
    bool found = is_file(log, st);
    if (!found) audit_segments(log, &seq, &n, NULL);
    for (int i = 0; i < n && !found; i++) {
        audit_segment_path(log, seq[i], name);
        found = is_file(name, st);
    }
    free(seq);
    return found;
}

/* For its owner only, also where it was there before. */
static FILE *open_output(const char *log, struct err *e) {
    struct stat st;
    const int fd = open(output, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int rc = fd < 0 || fstat(fd, &st) != 0 ? err_errno(e, output) : 0;
    if (rc == 0 && is_of_log(log, &st))
        rc = err_set(e, ERR_USAGE, "--output: %s is the log itself", output);
    if (rc == 0 && S_ISREG(st.st_mode) && (fchmod(fd, 0600) != 0 || ftruncate(fd, 0) != 0))
        rc = err_errno(e, output);
    FILE *out = rc == 0 ? fdopen(fd, "w") : NULL;
    if (rc == 0 && !out) err_errno(e, output);
    if (!out && fd >= 0) close(fd);
    return out;
}

int cmd_audit_export(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char path[AUDIT_PATH];
    int n_args, rc = 0;
    struct audit_content *c = NULL;
    if (cli_parse(argc, argv, cmd_audit_export_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("audit export", n_args, 0, 1, "[FILE]", e) != 0) return -1;
    if (audit_filter_check(&filter, e) != 0) return -1;
    if (private_key && !(c = audit_content_private(private_key, e))) return -1;
    rc = audit_file_name(n_args ? args[0] : NULL, path, e);
    struct audit_reader *r = rc == 0 ? audit_reader_open(path, e) : NULL;
    FILE *out = r && output ? open_output(path, e) : stdout;
    if (!r || !out) rc = -1;
    if (rc == 0) rc = export_all(out, c, r, e);
    if (out && out != stdout && fclose(out) != 0 && rc == 0) rc = err_errno(e, output);
    audit_reader_close(r);
    audit_content_free(c);
    return rc;
}
