/* `cria list [PREFIX]`: the models in the store, a server's when one answers, newest first. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/human.h"
#include "cli/model.h"
#include "cli/remote_store.h"

static bool as_json;

const struct opt *cmd_list_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: models with name, model, digest, size, modified_at"},
        {0},
    };
    return table;
}

enum { N_COLUMN = 4, ID_SHOWN = 12 };

struct row {
    char name[NAME_TEXT], id[ID_SHOWN + 1], size[HUMAN_TEXT], modified[HUMAN_TEXT];
};

static void fill_row(const struct store_entry *m, int64_t now_s, struct row *r) {
    name_short(&m->name, r->name);
    snprintf(r->id, sizeof r->id, "%.*s", ID_SHOWN, m->damaged ? "(damaged)" : m->id.hex);
    human_bytes(m->n_bytes, r->size);
    if (m->damaged) snprintf(r->size, sizeof r->size, "-");
    human_time(m->modified_s, now_s, r->modified);
}

static int print_table(const struct store_entry *m, int n, struct err *e) {
    static const char *const head[N_COLUMN] = {"NAME", "ID", "SIZE", "MODIFIED"};
    struct row *rows = calloc((size_t)n + 1, sizeof *rows);
    int width[N_COLUMN - 1] = {4, 2, 4};
    if (!rows) return err_nomem(e, "list");
    for (int i = 0; i < n; i++) {
        fill_row(&m[i], time(NULL), &rows[i]);
        const char *const cell[] = {rows[i].name, rows[i].id, rows[i].size};
        for (int c = 0; c < N_COLUMN - 1; c++)
            if ((int)strlen(cell[c]) > width[c]) width[c] = (int)strlen(cell[c]);
    }
    printf("%-*s    %-*s    %-*s    %s\n", width[0], head[0], width[1], head[1], width[2], head[2],
           head[3]);
    for (int i = 0; i < n; i++)
        printf("%-*s    %-*s    %-*s    %s\n", width[0], rows[i].name, width[1], rows[i].id,
               width[2], rows[i].size, rows[i].modified);
    free(rows);
    return 0;
}

static void print_json(const struct store_entry *m, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char name[NAME_TEXT], when[32];
        struct tm tm;
        const time_t t = (time_t)m[i].modified_s;
        name_short(&m[i].name, name);
        gmtime_r(&t, &tm);
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
        json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:s}", "name", name, "model", name, "digest",
                              m[i].id.hex, "size", (json_int_t)m[i].n_bytes, "modified_at", when);
        if (m[i].damaged) json_object_set_new(o, "damaged", json_true());
        json_array_append_new(list, o);
    }
    cli_print_json(json_pack("{s:o}", "models", list));
}

int cmd_list(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, n = 0;
    if (cli_parse(argc, argv, cmd_list_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("list", n_args, 0, 1, "[PREFIX]", e) != 0) return -1;
    struct store_entry *m = NULL;
    const char *prefix = n_args ? args[0] : NULL;
    struct remote *r;
    const int found = remote_find(NULL, &r, e);
    if (found != 0) return found;
    struct store *s = r ? NULL : cli_store(e);
    int rc = r ? remote_list(r, prefix, &m, &n, e) : s ? store_list(s, prefix, &m, &n, e) : -1;
    if (rc == 0 && as_json)
        print_json(m, n);
    else if (rc == 0)
        rc = print_table(m, n, e);
    free(m);
    store_close(s);
    remote_close(r);
    return rc;
}
