/* `cria audit log`: entries on a terminal, or as they are. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "cli/audit_file.h"
#include "cli/text.h"

static struct audit_filter filter;
static int last;
static bool as_json;

const struct opt *cmd_audit_log_options(void) {
    static const struct opt table[] = {
        {"since", 0, OPT_STR, &filter.since, 0, 0, "DATE",
         "not older; 2026-11-27, or with THH:MM:SSZ"},
        {"until", 0, OPT_STR, &filter.until, 0, 0, "DATE", "older"},
        {"model", 0, OPT_STR, &filter.model, 0, 0, "NAME", "only this model, any tag without one"},
        {"key", 0, OPT_STR, &filter.key, 0, 0, "NAME", "only requests with this API key"},
        {"type", 0, OPT_STR, &filter.type, 0, 0, "TYPE",
         "only these: request, begin, denied, connect, settings, start, stop, ..."},
        {"last", 'n', OPT_INT, &last, 0, 1e9, "N", "only the last N of them"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "entries as they are, a JSON object a line"},
        {0},
    };
    return table;
}

/* What a line does not show by itself. */
static bool is_shown_apart(const char *key) {
    static const char *const apart[] = {"seq",     "time",        "type",        "mono",
                                        "hash",    "hmac",        "sig",         "id",
                                        "content", "prompt_hmac", "answer_hmac", "options"};
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (strcmp(key, apart[i]) == 0) return true;
    return false;
}

static void print_entry(const json_t *o) {
    struct buf b = {0};
    const char *key;
    json_t *v;
    const char *time = json_string_value(json_object_get(o, "time"));
    const char *type = json_string_value(json_object_get(o, "type"));
    printf("%6lld  %.19sZ  %-10s", (long long)json_integer_value(json_object_get(o, "seq")),
           time ? time : "", type ? type : "");
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        if (is_shown_apart(key)) continue;
        char *whole = json_is_string(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        const char *text = json_is_string(v) ? json_string_value(v) : whole ? whole : "";
        buf_printf(&b, " %s=", key);
        text_escape(&b, str_of(text), false);
        free(whole);
    }
    puts(b.p ? b.p : "");
    buf_fini(&b);
}

/* How many there are before the last N. */
static int count_skipped(struct audit_reader *r, long long *n, struct err *e) {
    struct audit_item i;
    json_t *o;
    int rc;
    *n = 0;
    while ((rc = audit_reader_next(r, &i, e)) == 1) {
        if (audit_filter_take(&filter, i.line, &o, NULL) == 1) ++*n;
        json_decref(o);
    }
    *n = *n > last ? *n - last : 0;
    return rc < 0 ? -1 : audit_reader_rewind(r, e);
}

int cmd_audit_log(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    long long skip = 0;
    struct audit_item i;
    if (cli_parse(argc, argv, cmd_audit_log_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("audit log", n_args, 0, 1, "[FILE]", e) != 0) return -1;
    if (audit_filter_check(&filter, e) != 0) return -1;
    struct audit_reader *r = audit_file_open(n_args ? args[0] : NULL, e);
    if (!r) return -1;
    int rc = last ? count_skipped(r, &skip, e) : 0;
    while (rc == 0 && !cli_interrupted && (rc = audit_reader_next(r, &i, e)) == 1) {
        json_t *o;
        struct err why = {0};
        rc = 0;
        const int wanted = audit_filter_take(&filter, i.line, &o, &why);
        if (wanted < 0)
            fprintf(stderr, "%s, %s %lld: %s\n", i.file, i.n_line ? "line" : "row",
                    i.n_line ? (long long)i.n_line : (long long)i.row, why.msg);
        if (wanted == 1 && skip-- <= 0) {
            if (as_json)
                printf("%.*s\n", (int)i.line.n, i.line.p);
            else
                print_entry(o);
        }
        json_decref(o);
    }
    audit_reader_close(r);
    return rc < 0 ? -1 : 0;
}
