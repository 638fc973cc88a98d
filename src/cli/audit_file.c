/* See audit_file.h. */
#include "cli/audit_file.h"

#include <string.h>

#include "cli/settings.h"
#include "policy/audit.h"

enum { WAIT_MS = 30000 };

int audit_file_name(const char *named, char out[AUDIT_PATH], struct err *e) {
    struct settings t;
    if (!named && cli_settings(NULL, &t, e) != 0) return -1;
    return audit_path(named ? named : t.audit_file, out, e);
}

struct audit_reader *audit_file_open(const char *named, struct err *e) {
    char path[AUDIT_PATH];
    if (audit_file_name(named, path, e) != 0) return NULL;
    return audit_reader_open(path, e);
}

/* ---- which entries ---- */

int audit_filter_check(const struct audit_filter *f, struct err *e) {
    const char *const time[] = {f->since, f->until}, *const name[] = {"--since", "--until"};
    for (int i = 0; i < 2; i++)
        if (time[i] && !audit_is_time(time[i]))
            return err_set(e, ERR_USAGE,
                           "%s: found \"%s\"; a date like 2026-11-27, or a time like "
                           "2026-11-27T10:13:09Z, is accepted",
                           name[i], time[i]);
    return 0;
}

static const char *member(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* "llama3.2" is any tag of it. */
static bool is_model(const char *said, const char *wanted) {
    const size_t n = strlen(wanted);
    return strncmp(said, wanted, n) == 0 && (said[n] == 0 || said[n] == ':');
}

static bool wants(const struct audit_filter *f, const json_t *o) {
    const char *time = member(o, "time");
    if (f->since && audit_is_older(str_of(time), f->since)) return false;
    if (f->until && !audit_is_older(str_of(time), f->until)) return false;
    if (f->model && !is_model(member(o, "model"), f->model)) return false;
    if (f->key && strcmp(member(o, "key"), f->key) != 0) return false;
    return !f->type || strcmp(member(o, "type"), f->type) == 0;
}

int audit_filter_take(const struct audit_filter *f, struct str line, json_t **out, struct err *e) {
    json_error_t je;
    *out = json_loadb(line.p, line.n, 0, &je);
    if (!*out || !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return err_set(e, ERR_FORMAT, "an entry that is none; `cria audit verify` says more");
    }
    if (wants(f, *out)) return 1;
    json_decref(*out);
    *out = NULL;
    return 0;
}

/* ---- writing ---- */

int audit_file_begin(const struct settings *t, const char *type, struct audit **out,
                     struct err *e) {
    enum audit_mode mode;
    *out = NULL;
    if (!audit_mode_of(t->audit, &mode) || mode == AUDIT_OFF) return 0;
    const struct audit_opts o = {.file = t->audit_file,
                                 .key_file = t->audit_key_file,
                                 .sign_key = t->audit_sign_key,
                                 .what = type,
                                 .required = true};
    return (*out = audit_open(&o, e)) ? 0 : -1;
}

int audit_file_end(struct audit *a, const char *type, const char *key, const json_t *value,
                   struct err *e) {
    struct audit_entry x;
    if (!a) return 0;
    audit_entry_begin(&x, type);
    audit_json(&x.text, key, value);
    struct audit_ticket *w = audit_put_ticket(a, &x, e);
    const int rc = w ? audit_wait(a, w, WAIT_MS, e) : -1;
    audit_ticket_free(a, w);
    audit_close(a);
    return rc;
}
