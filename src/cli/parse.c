/* Options from a table.  The forms are those of getopt_long; the messages name the option, what
 * was found and what is accepted, which getopt's do not. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"

/* Holds the lists until the program ends; static, so that it counts as reachable. */
static struct arena keep;

struct parse {
    int argc, at; /* at: the word being read */
    char **argv;
    const struct opt *table;
    struct err *e;
};

static bool has_bounds(const struct opt *o) {
    return o->min < o->max || o->min > o->max;
}

static int bad_number(const struct opt *o, const char *text, struct err *e) {
    const char *kind = o->kind == OPT_INT ? "a whole number" : "a number";
    if (!has_bounds(o))
        return err_set(e, ERR_USAGE, "--%s: found \"%s\"; %s is accepted", o->name, text, kind);
    const int digits = o->kind == OPT_INT ? 9 : 6; /* 1048576, not 1.04858e+06 */
    return err_set(e, ERR_USAGE, "--%s: found \"%s\"; %s from %.*g to %.*g is accepted", o->name,
                   text, kind, digits, o->min, digits, o->max);
}

static int set_number(const struct opt *o, const char *text, struct err *e) {
    char *end;
    errno = 0;
    const long i = o->kind == OPT_INT ? strtol(text, &end, 10) : 0;
    const double d = o->kind == OPT_INT ? (double)i : strtod(text, &end);
    const bool whole = end != text && *end == 0 && errno == 0 && isfinite(d);
    if (!whole || (o->kind == OPT_INT && (i < INT_MIN || i > INT_MAX)) ||
        (has_bounds(o) && (d < o->min || d > o->max)))
        return bad_number(o, text, e);
    if (o->kind == OPT_INT)
        *(int *)o->out = (int)i;
    else
        *(double *)o->out = d;
    return 0;
}

static int set_value(struct parse *p, const struct opt *o, const char *text) {
    switch (o->kind) {
    case OPT_FLAG: *(bool *)o->out = true; return 0;
    case OPT_INT:
    case OPT_FLOAT: return set_number(o, text, p->e);
    case OPT_STR:
    case OPT_MAYBE: *(const char **)o->out = text; return 0;
    case OPT_LIST: break;
    }
    struct opt_list *l = o->out;
    if (!l->v) l->v = arena_calloc(&keep, (size_t)p->argc, sizeof *l->v);
    if (!l->v) return err_nomem(p->e, "options");
    l->v[l->n++] = text;
    return 0;
}

/* The value that follows in the next word. */
static int take_next(struct parse *p, const struct opt *o, const char **value) {
    if (p->at + 1 >= p->argc)
        return err_set(p->e, ERR_USAGE, "--%s: nothing follows it; it needs a value: --%s %s",
                       o->name, o->name, o->arg ? o->arg : "VALUE");
    *value = p->argv[++p->at];
    return 0;
}

static int unknown_long(const struct parse *p, const char *name, size_t n) {
    char typed[64];
    if (n >= sizeof typed) n = sizeof typed - 1;
    memcpy(typed, name, n);
    typed[n] = 0;
    struct suggest s = {.word = typed};
    for (const struct opt *o = p->table; o->name; o++)
        suggest_offer(&s, o->name);
    if (s.best)
        return err_set(p->e, ERR_USAGE, "unknown option --%s; did you mean --%s?", typed, s.best);
    return err_set(p->e, ERR_USAGE, "unknown option --%s; `cria help %s` lists them", typed,
                   p->argv[0]);
}

/* "--name", "--name VALUE", "--name=VALUE". */
static int parse_long(struct parse *p) {
    const char *name = p->argv[p->at] + 2;
    const char *eq = strchr(name, '=');
    const size_t n = eq ? (size_t)(eq - name) : strlen(name);
    const struct opt *o = p->table;
    while (o->name && (strlen(o->name) != n || memcmp(o->name, name, n) != 0))
        o++;
    if (!o->name) return unknown_long(p, name, n);
    if (o->kind == OPT_FLAG && eq)
        return err_set(p->e, ERR_USAGE, "--%s: found \"%s\"; it takes no value", o->name, eq + 1);
    const char *value = eq ? eq + 1 : o->kind == OPT_MAYBE ? "true" : NULL;
    if (o->kind != OPT_FLAG && !value && take_next(p, o, &value) != 0) return -1;
    return set_value(p, o, value);
}

/* "-n VALUE", "-nVALUE", and flags together: "-vq". */
static int parse_letters(struct parse *p) {
    for (const char *c = p->argv[p->at] + 1; *c; c++) {
        const struct opt *o = p->table;
        while (o->name && o->letter != *c)
            o++;
        if (!o->name)
            return err_set(p->e, ERR_USAGE,
                           "unknown option -%c in \"%s\"; `cria help %s` lists them", *c,
                           p->argv[p->at], p->argv[0]);
        if (o->kind == OPT_FLAG) {
            *(bool *)o->out = true;
            continue;
        }
        const char *value = c + 1;
        if (!*value && take_next(p, o, &value) != 0) return -1;
        return set_value(p, o, value);
    }
    return 0;
}

int cli_parse(int argc, char **argv, const struct opt *table, const char **args, int *n_args,
              struct err *e) {
    struct parse p = {.argc = argc, .argv = argv, .table = table, .e = e};
    bool options = true;
    *n_args = 0;
    for (p.at = 1; p.at < argc; p.at++) {
        const char *a = argv[p.at];
        if (options && strcmp(a, "--") == 0)
            options = false;
        else if (options && a[0] == '-' && a[1] == '-') {
            if (parse_long(&p) != 0) return -1;
        } else if (options && a[0] == '-' && a[1]) {
            if (parse_letters(&p) != 0) return -1;
        } else
            args[(*n_args)++] = a;
    }
    return 0;
}

int cli_check_args(const char *command, int n_args, int min, int max, const char *usage,
                   struct err *e) {
    if (n_args >= min && n_args <= max) return 0;
    return err_set(e, ERR_USAGE, "%s: found %d arguments; accepted: %s", command, n_args, usage);
}

int cli_parse_lora(const char *spec, char **path, float *scale, struct err *e) {
    *scale = 1.0f;
    *path = strdup(spec);
    if (!*path) return err_nomem(e, "--lora");
    char *colon = strrchr(*path, ':'), *end;
    if (!colon || access(spec, F_OK) == 0) return 0;
    const double v = strtod(colon + 1, &end);
    if (end == colon + 1 || *end || !(v > -1e6 && v < 1e6))
        return err_set(e, ERR_USAGE, "--lora: found \"%s\"; FILE or FILE:SCALE is accepted", spec);
    *colon = 0;
    *scale = (float)v;
    return 0;
}
