/* `cria keys usage [NAME]`: what keys have used, by day and model. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cmd_keys.h"
#include "policy/key_usage.h"

static bool as_json;
static int n_days;

const struct opt *cmd_keys_usage_options(void) {
    static const struct opt table[] = {
        {"days", 0, OPT_INT, &n_days, 1, 400, "N", "so many, today included; default: 30"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: usage, a list of day, key, model, requests, refused, errors, prompt_tokens, "
         "tokens"},
        {0},
    };
    return table;
}

struct report {
    json_t *list; /* with --json */
    struct key_use all;
    int n;
};

static void print_row(const char *day, const char *key, const char *model,
                      const struct key_use *u) {
    printf("%-10s  %-20s  %-24s  %9lld  %8lld  %7lld  %13lld  %12lld\n", day, key, model,
           (long long)u->n_request, (long long)u->n_refused, (long long)u->n_error,
           (long long)u->n_prompt, (long long)u->n_eval);
}

static json_t *row_json(const char *day, const struct key_use *u) {
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "day", day, "key", u->key, "model",
                     u->model, "requests", (json_int_t)u->n_request, "refused",
                     (json_int_t)u->n_refused, "errors", (json_int_t)u->n_error, "prompt_tokens",
                     (json_int_t)u->n_prompt, "tokens", (json_int_t)u->n_eval);
}

static int on_row(void *ctx, int64_t day, const struct key_use *u) {
    struct report *r = ctx;
    char text[CLI_DAY];
    cli_day(day, text);
    if (r->list)
        json_array_append_new(r->list, row_json(text, u));
    else if (r->n == 0)
        printf("%-10s  %-20s  %-24s  %9s  %8s  %7s  %13s  %12s\n", "DAY", "KEY", "MODEL",
               "REQUESTS", "REFUSED", "ERRORS", "PROMPT TOKENS", "TOKENS");
    if (!r->list) print_row(text, u->key, *u->model ? u->model : "-", u);
    r->n++;
    r->all.n_request += u->n_request;
    r->all.n_refused += u->n_refused;
    r->all.n_error += u->n_error;
    r->all.n_prompt += u->n_prompt;
    r->all.n_eval += u->n_eval;
    return 0;
}

int cmd_keys_usage(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct report r = {.n = 0};
    if (cli_parse(argc, argv, cmd_keys_usage_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("keys usage", n_args, 0, 1, "[NAME]", e) != 0) return -1;
    struct keys_db *d = cli_keys_db(false, e);
    if (!d) return -1;
    if (as_json) r.list = json_array();
    const int64_t since = (int64_t)time(NULL) / 86400 - (n_days ? n_days : 30) + 1;
    const int rc = key_usage_read(d, n_args ? args[0] : NULL, since, on_row, &r, e);
    keys_db_close(d);
    if (rc == 0 && as_json)
        cli_print_json(json_pack("{s:O}", "usage", r.list));
    else if (rc == 0 && r.n > 1)
        print_row("all", "", "", &r.all);
    else if (rc == 0 && r.n == 0)
        fprintf(stderr, "nothing was used in that time\n");
    json_decref(r.list);
    return rc;
}
