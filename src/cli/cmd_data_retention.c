/* `cria data retention`: what is kept where, of a server when one answers, else of this machine. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "server/keep.h"

static bool as_json;

const struct opt *cmd_data_retention_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: data with what, path, bytes, files, max_bytes, max_age_s, wipe"},
        {0},
    };
    return table;
}

static json_t *list_here(struct err *e) {
    struct settings t;
    if (cli_settings(NULL, &t, e) != 0) return NULL;
    json_t *list = keep_list(&t, e);
    return list ? json_pack("{s:o}", "data", list) : NULL;
}

static void limit_of(const json_t *o, char out[2 * HUMAN_TEXT]) {
    const json_t *bytes = json_object_get(o, "max_bytes"), *age = json_object_get(o, "max_age_s");
    char size[HUMAN_TEXT] = "";
    if (json_is_integer(bytes)) human_bytes((uint64_t)json_integer_value(bytes), size);
    const long long s = json_integer_value(age);
    snprintf(out, 2 * HUMAN_TEXT, "%s%s", size, *size && s ? ", " : "");
    const size_t n = strlen(out);
    if (s >= 86400)
        snprintf(out + n, 2 * HUMAN_TEXT - n, "%lld days", s / 86400);
    else if (s)
        snprintf(out + n, 2 * HUMAN_TEXT - n, "%lld s", s);
    if (!*out) strcpy(out, "-");
}

static void print_row(const json_t *o, int width) {
    struct buf b = {0};
    char size[HUMAN_TEXT], limit[2 * HUMAN_TEXT];
    const char *path = json_string_value(json_object_get(o, "path"));
    const char *what = json_string_value(json_object_get(o, "what"));
    const char *wipe = json_string_value(json_object_get(o, "wipe"));
    human_bytes((uint64_t)json_integer_value(json_object_get(o, "bytes")), size);
    limit_of(o, limit);
    text_escape(&b, str_of(path ? path : "(nothing is kept)"), false);
    printf("%-20s  %9s  %-18s  %-*s  %s\n", what ? what : "", size, limit, width, b.p ? b.p : "",
           wipe ? wipe : "");
    buf_fini(&b);
}

static void print_table(const json_t *list) {
    size_t i;
    json_t *o;
    int width = (int)strlen("(nothing is kept)");
    json_array_foreach((json_t *)(uintptr_t)list, i, o) {
        const char *path = json_string_value(json_object_get(o, "path"));
        if (path && (int)strlen(path) > width) width = (int)strlen(path);
    }
    printf("%-20s  %9s  %-18s  %-*s  %s\n", "WHAT", "SIZE", "AT MOST", width, "WHERE", "WIPE WITH");
    json_array_foreach((json_t *)(uintptr_t)list, i, o) print_row(o, width);
}

int cmd_data_retention(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct remote *r;
    json_t *all = NULL;
    if (cli_parse(argc, argv, cmd_data_retention_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("data retention", n_args, 0, 0, "no arguments", e) != 0) return -1;
    int rc = remote_find(NULL, &r, e);
    if (rc != 0) return rc;
    if (r)
        rc = remote_ask(r, NET_GET, "/api/data", NULL, &all, e);
    else
        rc = (all = list_here(e)) ? 0 : -1;
    remote_close(r);
    if (rc != 0) return rc;
    if (as_json)
        cli_print_json(json_incref(all));
    else
        print_table(json_object_get(all, "data"));
    json_decref(all);
    return 0;
}
