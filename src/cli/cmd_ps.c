/* `cria ps [PREFIX]`: the models that the server has loaded. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/text.h"
#include "store/name.h"

static bool as_json;

const struct opt *cmd_ps_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "the server's answer: models with all it says"},
        {0},
    };
    return table;
}

enum { N_COLUMN = 6, ID_SHOWN = 12, FOREVER_S = 20 * 365 * 24 * 3600 };

struct row {
    char cell[N_COLUMN][NAME_TEXT];
};

static const char *text_of(const json_t *m, const char *key) {
    const char *s = json_string_value(json_object_get(m, key));
    return s ? s : "";
}

/* "100% CPU", "48%/52% CPU/GPU". */
static void processor(int64_t size, int64_t gpu, char *out, size_t n) {
    if (gpu <= 0 || size <= 0)
        snprintf(out, n, "100%% CPU");
    else if (gpu >= size)
        snprintf(out, n, "100%% GPU");
    else {
        const int cpu = (int)((double)(size - gpu) / (double)size * 100 + 0.5);
        snprintf(out, n, "%d%%/%d%% CPU/GPU", cpu, 100 - cpu);
    }
}

/* When it is unloaded, from RFC 3339; what is over is on its way out. */
static void until(const char *when, char *out, size_t n) {
    struct tm tm = {0};
    char span[HUMAN_TEXT];
    const char *rest = strptime(when, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest) {
        snprintf(out, n, "?");
        return;
    }
    const time_t t = timegm(&tm), now = time(NULL);
    human_time(t, now, span);
    snprintf(out, n, "%s", t < now ? "Stopping..." : t - now > FOREVER_S ? "Forever" : span);
}

/* A server elsewhere may say what it likes: none of it reaches the terminal as it is. */
static void fill_text(const char *text, int n_shown, char out[NAME_TEXT]) {
    struct buf safe = {0};
    text_escape(&safe, str_of(text), false);
    snprintf(out, NAME_TEXT, "%.*s", n_shown, buf_view(&safe).p);
    buf_fini(&safe);
}

static void fill_row(const json_t *m, struct row *r) {
    const int64_t size = json_integer_value(json_object_get(m, "size"));
    char bytes[HUMAN_TEXT];
    human_bytes((uint64_t)(size > 0 ? size : 0), bytes);
    fill_text(text_of(m, "name"), NAME_TEXT - 1, r->cell[0]);
    fill_text(text_of(m, "digest"), ID_SHOWN, r->cell[1]);
    snprintf(r->cell[2], sizeof r->cell[2], "%s", bytes);
    processor(size, json_integer_value(json_object_get(m, "size_vram")), r->cell[3],
              sizeof r->cell[3]);
    snprintf(r->cell[4], sizeof r->cell[4], "%lld",
             (long long)json_integer_value(json_object_get(m, "context_length")));
    until(text_of(m, "expires_at"), r->cell[5], sizeof r->cell[5]);
}

static void print_row(const struct row *r, const int width[N_COLUMN]) {
    for (int c = 0; c < N_COLUMN - 1; c++)
        printf("%-*s    ", width[c], r->cell[c]);
    puts(r->cell[N_COLUMN - 1]);
}

static int print_table(const json_t *models, struct err *e) {
    static const struct row head = {{"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}};
    const size_t n = json_array_size(models);
    struct row *rows = calloc(n + 1, sizeof *rows);
    int width[N_COLUMN] = {0};
    if (!rows) return err_nomem(e, "ps");
    rows[0] = head;
    for (size_t i = 0; i < n; i++)
        fill_row(json_array_get(models, i), &rows[i + 1]);
    for (size_t i = 0; i <= n; i++)
        for (int c = 0; c < N_COLUMN; c++)
            if ((int)strlen(rows[i].cell[c]) > width[c]) width[c] = (int)strlen(rows[i].cell[c]);
    for (size_t i = 0; i <= n; i++)
        print_row(&rows[i], width);
    free(rows);
    return 0;
}

/* Only those whose names begin with PREFIX, letter case aside. */
static void keep_those(json_t *models, const char *prefix) {
    for (size_t i = json_array_size(models); i-- > 0;)
        if (strncasecmp(text_of(json_array_get(models, i), "name"), prefix, strlen(prefix)) != 0)
            json_array_remove(models, i);
}

int cmd_ps(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    json_t *answer = NULL;
    if (cli_parse(argc, argv, cmd_ps_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("ps", n_args, 0, 1, "[PREFIX]", e) != 0) return -1;
    struct remote *r;
    int rc = remote_need(&r, e);
    if (rc == 0) rc = remote_ask(r, NET_GET, "/api/ps", NULL, &answer, e);
    json_t *models = json_object_get(answer, "models");
    if (rc == 0 && !json_is_array(models))
        rc = err_set(e, ERR_FORMAT, "%.200s: an answer without \"models\"", remote_url(r));
    if (rc == 0 && n_args) keep_those(models, args[0]);
    if (rc == 0 && as_json)
        cli_print_json(json_incref(answer));
    else if (rc == 0)
        rc = print_table(models, e);
    json_decref(answer);
    remote_close(r);
    return rc;
}
