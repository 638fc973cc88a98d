/* `cria config`: the settings as a server would take them, and where each comes from; `cria config
 * check`: is a file of settings one? */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "server/settings.h"

const struct command config_commands[] = {
    {"check", NULL, "[FILE]", "is a file of settings right?", cmd_config_check,
     .options = cmd_config_options},
    {0},
};

static bool as_json;
static const char *file;

const struct opt *cmd_config_options(void) {
    static const struct opt table[] = {
        {"config", 0, OPT_STR, &file, 0, 0, "FILE",
         "default: CRIA_CONFIG, else ~/.cria/cria.conf where that is there"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "a JSON object"},
        {0},
    };
    return table;
}

static const char *which(char path[SETTINGS_PATH]) {
    return file ? file : settings_file(path);
}

/* ---- check ---- */

int cmd_config_check(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char path[SETTINGS_PATH];
    struct settings s;
    struct conf c;
    int n_args;
    if (cli_parse(argc, argv, cmd_config_options(), args, &n_args, e) != 0 ||
        cli_check_args("config check", n_args, 0, 1, "[FILE]", e) != 0)
        return -1;
    const char *name = n_args ? args[0] : which(path);
    if (!name)
        return err_set(e, ERR_NOT_FOUND,
                       "config check: no file; CRIA_CONFIG, ~/.cria/cria.conf or "
                       "an argument names one");
    int rc = settings_read(&s, &c, name, e);
    if (rc == 0 && as_json)
        cli_print_json(json_pack("{s:s, s:i, s:i}", "file", name, "settings", c.n_setting, "models",
                                 c.n_model));
    else if (rc == 0)
        printf("%s: right; settings: %d, models: %d\n", name, c.n_setting, c.n_model);
    conf_free(&c);
    return rc;
}

/* ---- show ---- */

/* Where the value of a setting comes from, and the value as it was written. */
static const char *source_of(const struct setting *t, const struct conf *c, char *value, size_t n) {
    if (os_setting(t->name, value, n)) return "environment";
    for (int i = 0; i < c->n_setting; i++) {
        const char *name = c->setting[i].name;
        if (strncasecmp(name, "CRIA_", 5) == 0) name += 5;
        if (strncasecmp(name, "OLLAMA_", 7) == 0) name += 7;
        if (strcasecmp(name, t->name) != 0 || !*c->setting[i].value) continue;
        snprintf(value, n, "%s", c->setting[i].value);
        return "file";
    }
    snprintf(value, n, "%s", t->usual);
    return "default";
}

static void print_setting(const struct setting *t, const char *source, const char *value,
                          json_t *list) {
    struct buf b = {0};
    if (list) {
        json_object_set_new(list, t->name,
                            json_pack("{s:s, s:s}", "value", value, "source", source));
        return;
    }
    text_escape(&b, str_of(value), false);
    printf("CRIA_%-22s %-24s %s\n", t->name, b.p ? b.p : "", source);
    buf_fini(&b);
}

static json_t *models_json(const struct conf *c) {
    static const char *const line[CONF_N_LINE] = {"fallback", "cache", "policy"};
    json_t *all = json_object();
    for (int i = 0; i < c->n_model; i++) {
        char name[NAME_TEXT];
        json_t *one = json_object();
        name_short(&c->model[i].name, name);
        for (int k = 0; k < CONF_N_LINE; k++)
            if (c->model[i].said[k])
                json_object_set_new(one, line[k], json_string(c->model[i].said[k]));
        json_object_set_new(all, name, one);
    }
    return all;
}

static void print_models(const struct conf *c) {
    json_t *all = models_json(c), *one, *value;
    const char *name, *line;
    json_object_foreach(all, name, one) {
        printf("\n[model %s]\n", name);
        json_object_foreach(one, line, value) printf("%s = %s\n", line, json_string_value(value));
    }
    json_decref(all);
}

int cmd_config(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char path[SETTINGS_PATH], value[SETTINGS_PATH];
    struct settings s;
    struct conf c;
    int n_args;
    if (cli_parse(argc, argv, cmd_config_options(), args, &n_args, e) != 0 ||
        cli_check_args("config", n_args, 0, 0, "", e) != 0)
        return -1;
    const char *name = which(path);
    const int rc = settings_read(&s, &c, name, e);
    json_t *list = as_json ? json_object() : NULL;
    if (rc == 0 && !as_json) printf("file: %s\n\n", name ? name : "none");
    for (const struct setting *t = settings_table; rc == 0 && t->name; t++) {
        const char *source = source_of(t, &c, value, sizeof value);
        settings_hide_user(value);
        print_setting(t, source, value, list);
    }
    if (rc == 0 && as_json)
        cli_print_json(json_pack("{s:s?, s:O, s:o}", "file", name, "settings", list, "models",
                                 models_json(&c)));
    else if (rc == 0)
        print_models(&c);
    json_decref(list);
    conf_free(&c);
    return rc;
}
