/* `cria search WORD`: models of the catalogue, and the tags that a registry has for a name. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "create/catalogue.h"
#include "store/registry.h"

static bool insecure, as_json;

const struct opt *cmd_search_options(void) {
    static const struct opt table[] = {
        {"insecure", 0, OPT_FLAG, &insecure, 0, 0, NULL, "plain http, for this host only"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object: models, tags"},
        {0},
    };
    return table;
}

static void join_tasks(unsigned tasks, char out[64]) {
    size_t n = 0;
    out[0] = 0;
    for (unsigned t = 1; t < 1u << N_TASK; t *= 2)
        if (tasks & t)
            n += (size_t)snprintf(out + n, 64 - n, "%s%s", n ? " " : "", catalogue_task_name(t));
}

static json_t *found_json(const struct catalogue_model *m) {
    char name[CATALOGUE_NAME], tasks[64];
    catalogue_name(m, name);
    join_tasks(m->tasks, tasks);
    return json_pack("{s:s, s:I, s:i, s:s, s:s}", "name", name, "parameters",
                     (json_int_t)(m->n_param_m * 1e6), "context", m->n_ctx, "tasks", tasks,
                     "licence", m->licence);
}

/* Is a registry to be asked?  A word that only describes ("code", "apache") names no model. */
static bool names_model(const char *word, int n_found) {
    const size_t n = strcspn(word, ":");
    for (const struct catalogue_model *m = catalogue; m->name; m++)
        if (strlen(m->name) == n && strncasecmp(m->name, word, n) == 0) return true;
    return n_found == 0 || strchr(word, '/');
}

static void add_tag(void *ctx, const char *tag) {
    json_array_append_new(ctx, json_string(tag));
}

/* In the catalogue */
static json_t *find(const char *word) {
    json_t *list = json_array();
    for (const struct catalogue_model *m = catalogue; m->name; m++)
        if (catalogue_matches(m, word)) json_array_append_new(list, found_json(m));
    return list;
}

static void print_models(const json_t *models) {
    size_t i;
    json_t *m;
    if (json_array_size(models) == 0) return;
    printf("%-28s  %-8s  %-8s  %-28s  %s\n", "NAME", "PARAMS", "CONTEXT", "TASKS", "LICENCE");
    json_array_foreach(models, i, m) {
        const double n = (double)json_integer_value(json_object_get(m, "parameters"));
        char params[16];
        snprintf(params, sizeof params, n < 1e9 ? "%.0fM" : "%.1fB", n < 1e9 ? n / 1e6 : n / 1e9);
        printf("%-28s  %-8s  %-8lld  %-28s  %s\n", json_string_value(json_object_get(m, "name")),
               params, (long long)json_integer_value(json_object_get(m, "context")),
               json_string_value(json_object_get(m, "tasks")),
               json_string_value(json_object_get(m, "licence")));
    }
}

static void print_tags(const struct name *n, const json_t *tags, bool apart) {
    size_t i;
    json_t *tag;
    struct name one = *n;
    char text[NAME_TEXT];
    if (apart && json_array_size(tags)) puts("");
    json_array_foreach(tags, i, tag) {
        snprintf(one.tag, sizeof one.tag, "%s", json_string_value(tag));
        name_short(&one, text);
        puts(text);
    }
}

/* 0 with or without tags; -1 only when there is nothing else to tell. */
static int ask(const char *word, size_t n_found, struct name *n, json_t *tags, struct err *e) {
    struct err why;
    const struct registry_opts o = {.insecure = insecure, .stop = &cli_interrupted};
    int rc = name_parse(word, n, &why);
    if (rc == 0) rc = registry_tags(n, &o, add_tag, tags, &why);
    if (rc == 0) return 0;
    if (n_found == 0 || why.code == ERR_CANCELLED) {
        *e = why;
        return err_prefix(e, word);
    }
    fprintf(stderr, "%s: the registry's tags are not known: %s\n", word, why.msg);
    return 0;
}

int cmd_search(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct name n = {0};
    if (cli_parse(argc, argv, cmd_search_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("search", n_args, 1, 1, "WORD", e) != 0) return -1;
    if (!args[0][0]) return err_set(e, ERR_USAGE, "search: found an empty word; a word is needed");
    json_t *models = find(args[0]), *tags = json_array();
    const size_t n_found = json_array_size(models);
    int rc = 0;
    if (names_model(args[0], (int)n_found)) rc = ask(args[0], n_found, &n, tags, e);
    if (rc == 0 && as_json) {
        cli_print_json(json_pack("{s:O, s:O}", "models", models, "tags", tags));
    } else if (rc == 0) {
        print_models(models);
        print_tags(&n, tags, n_found > 0);
    }
    json_decref(models);
    json_decref(tags);
    return rc;
}
