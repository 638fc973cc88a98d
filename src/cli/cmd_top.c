/* `cria top`: what a server is doing, again and again: rates since the last look, queue, memory,
 * and the loaded models with their slots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/remote.h"
#include "cli/text.h"
#include "store/name.h"

enum { TICK_MS = 50 };

static double interval_s;
static int n_looks;
static bool as_json;

const struct opt *cmd_top_options(void) {
    static const struct opt table[] = {
        {"interval", 'i', OPT_FLOAT, &interval_s, 0.1, 3600, "SECONDS", "between two looks (1)"},
        {"count", 'n', OPT_INT, &n_looks, 1, 1 << 30, "N", "looks, then end (until Ctrl-C)"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "a JSON object a look"},
        {0},
    };
    return table;
}

/* One look at the server; owned. */
struct look {
    json_t *stats, *models;
    int64_t ns;
};

static void look_fini(struct look *l) {
    json_decref(l->stats);
    json_decref(l->models);
    *l = (struct look){0};
}

static int take_look(struct remote *r, struct look *l, struct err *e) {
    json_t *ps = NULL;
    *l = (struct look){0};
    int rc = remote_ask(r, NET_GET, "/api/stats", NULL, &l->stats, e);
    if (rc == 0) rc = remote_ask(r, NET_GET, "/api/ps", NULL, &ps, e);
    l->ns = os_now_ns();
    if (rc == 0) l->models = json_incref(json_object_get(ps, "models"));
    json_decref(ps);
    return rc;
}

static double number(const json_t *o, const char *key) {
    return json_number_value(json_object_get(o, key));
}

/* A counter's growth in a second; before the first look since the server's start. */
static double rate(const struct look *now, const struct look *before, const char *key) {
    if (!before->stats) return number(now->stats, key) / (number(now->stats, "uptime_s") + 1e-9);
    return (number(now->stats, key) - number(before->stats, key)) /
           ((double)(now->ns - before->ns) * 1e-9);
}

/* The upper bound of the bucket that holds this share of what came since the last look, in seconds;
 * below 0: nothing came. */
static double quantile(const struct look *now, const struct look *before, const char *key,
                       double share) {
    const json_t *h = json_object_get(now->stats, key), *o = json_object_get(before->stats, key);
    const json_t *n = json_object_get(h, "n"), *old = json_object_get(o, "n");
    const json_t *bounds = json_object_get(h, "bounds");
    double all = 0, sum = 0;
    for (size_t i = 0; i < json_array_size(n); i++)
        all += json_number_value(json_array_get(n, i)) - json_number_value(json_array_get(old, i));
    for (size_t i = 0; all > 0 && i < json_array_size(n); i++) {
        sum += json_number_value(json_array_get(n, i)) - json_number_value(json_array_get(old, i));
        if (sum < share * all) continue;
        const size_t last = json_array_size(bounds) - 1;
        return json_number_value(json_array_get(bounds, i < last ? i : last));
    }
    return -1;
}

/* Another process answers than before, and its counters began at zero: it is younger than the look
 * before. */
static bool began_anew(const struct look *now, const struct look *before) {
    return before->stats && number(now->stats, "uptime_s") <= (double)(now->ns - before->ns) * 1e-9;
}

/* ---- the screen ---- */

static void seconds_text(double s, char out[HUMAN_TEXT]) {
    if (s < 0)
        snprintf(out, HUMAN_TEXT, "-");
    else if (s < 1)
        snprintf(out, HUMAN_TEXT, "<= %g ms", s * 1e3);
    else
        snprintf(out, HUMAN_TEXT, "<= %g s", s);
}

static void print_head(const struct look *now, const struct look *before, const char *url) {
    const json_t *memory = json_object_get(now->stats, "memory");
    char used[HUMAN_TEXT], planned[HUMAN_TEXT], limit[HUMAN_TEXT];
    char first[HUMAN_TEXT], slowest[HUMAN_TEXT], token[HUMAN_TEXT];
    human_bytes((uint64_t)number(memory, "used"), used);
    human_bytes((uint64_t)number(memory, "planned"), planned);
    human_bytes((uint64_t)number(memory, "limit"), limit);
    seconds_text(quantile(now, before, "first_token", 0.5), first);
    seconds_text(quantile(now, before, "first_token", 0.99), slowest);
    seconds_text(quantile(now, before, "token", 0.5), token);
    printf("%s, up %.0f s\n", url, number(now->stats, "uptime_s"));
    printf("requests  %8.1f /s   running %.0f, waiting %.0f, refused %.0f, failed %.0f\n",
           rate(now, before, "requests"), number(now->stats, "running"),
           number(now->stats, "waiting"), number(now->stats, "refused"),
           number(now->stats, "failed"));
    printf("tokens    %8.1f /s   prompts %.1f /s, of them %.1f /s from caches\n",
           rate(now, before, "tokens"), rate(now, before, "prompt_tokens"),
           rate(now, before, "cached_tokens"));
    printf("first token p50 %s, p99 %s; a token p50 %s\n", first, slowest, token);
    printf("memory    %s used, %s planned, limit %s\n\n", used, planned,
           number(memory, "limit") > 0 ? limit : "none");
}

/* "###..." : slots in use, free. */
static void slots_text(int used, int all, char *out, size_t n) {
    size_t at = 0;
    for (int i = 0; i < all && at + 1 < n; i++)
        out[at++] = i < used ? '#' : '.';
    out[at] = 0;
}

static void print_models(const struct look *now) {
    size_t i;
    json_t *m;
    printf("%-28s %-10s %7s %9s %9s %9s\n", "MODEL", "SLOTS", "WAITING", "WEIGHTS", "CACHE",
           "USED");
    json_array_foreach(now->models, i, m) {
        struct buf name = {0};
        char slots[33], weights[HUMAN_TEXT], kv[HUMAN_TEXT], used[HUMAN_TEXT];
        const char *text = json_string_value(json_object_get(m, "name"));
        text_escape(&name, str_of(text ? text : ""), false);
        slots_text((int)number(m, "running"), (int)number(m, "parallel"), slots, sizeof slots);
        human_bytes((uint64_t)number(m, "size_weights"), weights);
        human_bytes((uint64_t)number(m, "size_kv"), kv);
        human_bytes((uint64_t)number(m, "size_used"), used);
        printf("%-28s %-10s %7.0f %9s %9s %9s\n", name.p ? name.p : "", slots, number(m, "waiting"),
               weights, kv, used);
        buf_fini(&name);
    }
    if (json_array_size(now->models) == 0) puts("no model is loaded");
}

static void print_json(const struct look *now, const struct look *before) {
    cli_print_json(json_pack("{s:O, s:O, s:{s:f, s:f, s:f}}", "stats", now->stats, "models",
                             now->models, "rates", "requests", rate(now, before, "requests"),
                             "tokens", rate(now, before, "tokens"), "prompt_tokens",
                             rate(now, before, "prompt_tokens")));
}

static void show(const struct look *now, const struct look *before, const char *url) {
    if (as_json) {
        print_json(now, before);
    } else {
        /* Home, and each line over what was there: nothing flickers. */
        if (isatty(STDOUT_FILENO)) fputs("\033[H\033[J", stdout);
        print_head(now, before, url);
        print_models(now);
        if (!isatty(STDOUT_FILENO)) putchar('\n');
    }
    fflush(stdout);
}

static void wait_a_while(void) {
    for (double left = interval_s * 1e3; left > 0 && !cli_interrupted; left -= TICK_MS)
        usleep((useconds_t)((left < TICK_MS ? left : TICK_MS) * 1e3));
}

static int watch(struct remote *r, struct err *e) {
    struct look before = {0}, now;
    int rc = 0;
    for (int i = 0; rc == 0 && !cli_interrupted && (n_looks == 0 || i < n_looks); i++) {
        if (i) wait_a_while();
        if (cli_interrupted) break;
        rc = take_look(r, &now, e);
        if (rc == 0 && began_anew(&now, &before)) look_fini(&before);
        if (rc == 0) {
            show(&now, &before, remote_url(r));
            look_fini(&before);
            before = now;
        } else {
            look_fini(&now);
        }
    }
    look_fini(&before);
    return rc;
}

int cmd_top(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    struct remote *r;
    int n_args;
    interval_s = 1;
    if (cli_parse(argc, argv, cmd_top_options(), args, &n_args, e) != 0 ||
        cli_check_args("top", n_args, 0, 0, "", e) != 0)
        return -1;
    int rc = remote_need(&r, e);
    if (rc != 0) return rc;
    rc = watch(r, e);
    remote_close(r);
    return rc;
}
