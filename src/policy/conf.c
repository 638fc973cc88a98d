/* See conf.h.  libinih tells names and values line by line; what it would cut or skip is refused
 * before. */
#include "policy/conf.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <ini.h>

#include "base/os.h"

enum { VALUE_MAX = 4096 };

struct reading {
    const char *path;
    struct conf *out;
    struct err *e;
    int n_line;       /* that the library has been given */
    const char *rest; /* of the text */
    bool named;       /* a name was given since the section began */
    bool goes_on;     /* this line is a value's next */
    int cap_setting, cap_model;
};

static int fail(struct reading *r, int line, const char *why) {
    return err_set(r->e, ERR_USAGE, "%s, line %d: %s", r->path, line, why);
}

/* Room for one more of n in an array that doubles; NULL: out of memory. */
static void *grow(void *list, int n, int *cap, size_t size) {
    if (n < *cap) return list;
    const int more = *cap ? 2 * *cap : 16;
    void *new = realloc(list, (size_t)more * size);
    if (new) *cap = more;
    return new;
}

/* Without quotes that stand on both ends. */
static struct str unquoted(const char *text) {
    const size_t n = strlen(text);
    const bool quoted = n > 1 && (*text == '"' || *text == '\'') && text[n - 1] == *text;
    return quoted ? (struct str){text + 1, n - 2} : (struct str){text, n};
}

/* ---- settings ---- */

/* A value that goes on comes as a further line of the same name.  None may be longer than a line of
 * a model (model_policy.c): joined again and again, a file of a MiB would take a hundred GiB. */
static const char *joined(struct reading *r, const char *value, struct str more) {
    struct buf b = {0};
    if (value && strlen(value) + more.n >= VALUE_MAX) {
        fail(r, r->n_line, "the value is too long; up to 4095 bytes are accepted");
        return NULL;
    }
    buf_printf(&b, "%s%s%.*s", value ? value : "", value ? " " : "", (int)more.n, more.p);
    const char *all = b.failed ? NULL : arena_strndup(&r->out->a, b.p ? b.p : "", b.n);
    buf_fini(&b);
    if (!all) err_nomem(r->e, "configuration");
    return all;
}

static int add_setting(struct reading *r, const char *name, const char *value) {
    struct conf *c = r->out;
    for (int i = 0; i < c->n_setting; i++) {
        struct conf_line *l = &c->setting[i];
        if (strcasecmp(l->name, name) != 0) continue;
        if (r->goes_on) return (l->value = joined(r, l->value, unquoted(value))) ? 0 : -1;
        return err_set(r->e, ERR_USAGE, "%s, line %d: %s was set in line %d", r->path, r->n_line,
                       name, l->line);
    }
    struct conf_line *list = grow(c->setting, c->n_setting, &r->cap_setting, sizeof *list);
    if (!list) return err_nomem(r->e, "configuration");
    c->setting = list;
    const struct str v = unquoted(value);
    list[c->n_setting] = (struct conf_line){arena_strndup(&c->a, name, strlen(name)),
                                            arena_strndup(&c->a, v.p, v.n), r->n_line};
    if (!list[c->n_setting].name || !list[c->n_setting].value)
        return err_nomem(r->e, "configuration");
    c->n_setting++;
    return 0;
}

/* ---- models ---- */

static int begin_section(struct reading *r, const char *section) {
    static const char accepted[] = "sections are [model NAME]";
    struct conf *c = r->out;
    struct err why;
    struct name n;
    if (strncasecmp(section, "model", 5) != 0 || !strchr(" \t", section[5]) || !section[5])
        return fail(r, r->n_line, accepted);
    if (name_parse(section + 5 + strspn(section + 5, " \t"), &n, &why) != 0)
        return fail(r, r->n_line, why.msg);
    for (int i = 0; i < c->n_model; i++)
        if (name_eq(&c->model[i].name, &n))
            return err_set(r->e, ERR_USAGE, "%s, line %d: the model has a section in line %d",
                           r->path, r->n_line, c->model[i].line);
    struct conf_model *list = grow(c->model, c->n_model, &r->cap_model, sizeof *list);
    if (!list) return err_nomem(r->e, "configuration");
    c->model = list;
    c->model[c->n_model++] = (struct conf_model){.name = n, .line = r->n_line};
    return 0;
}

static const char *const line_name[CONF_N_LINE] = {"FALLBACK", "CACHE", "POLICY"};

static int add_model_line(struct reading *r, const char *name, const char *value) {
    struct conf_model *m = &r->out->model[r->out->n_model - 1];
    struct model_policy p = {0};
    struct err why;
    for (int i = 0; i < CONF_N_LINE; i++) {
        if (strcasecmp(name, line_name[i]) != 0) continue;
        if (m->said[i] && !r->goes_on)
            return fail(r, r->n_line, "a second one of this name; an indented line goes on");
        m->said[i] = joined(r, m->said[i], unquoted(value));
        if (!m->said[i]) return -1;
        return model_policy_line(&p, name, str_of(m->said[i]), &why) == 0
                   ? 0
                   : fail(r, r->n_line, why.msg);
    }
    return err_set(r->e, ERR_USAGE,
                   "%s, line %d: found \"%s\"; of a model fallback, cache or policy is accepted",
                   r->path, r->n_line, name);
}

/* ---- the file ---- */

static int on_line(void *user, const char *section, const char *name, const char *value) {
    struct reading *r = user;
    r->named = true;
    if (!*section) return add_setting(r, name, value ? value : "") == 0;
    if (!r->out->n_model) return fail(r, r->n_line, "a section that was not found") == 0;
    return add_model_line(r, name, value ? value : "") == 0;
}

/* The library tells a section with its first line only, and the beginning of its name; one without
 * lines is one, too.  What it takes for the beginning of a line, and for a value that goes on, is
 * taken for it here. */
static int find_section(struct reading *r, const char *line, size_t n) {
    static const char mark[] = "\xef\xbb\xbf";
    const bool marked = r->n_line == 1 && n >= 3 && memcmp(line, mark, 3) == 0;
    const char *at = line + (marked ? 3 : 0), *end = line + n;
    char section[CONF_LINE_MAX];
    while (at < end && isspace((unsigned char)*at))
        at++;
    r->goes_on = r->named && at > line;
    const char *close = at < end && *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
    if (!close || r->goes_on) return 0; /* one that does not end: the library says so */
    r->named = false;
    snprintf(section, sizeof section, "%.*s", (int)(close - at) - 1, at + 1);
    return begin_section(r, section);
}

/* fgets() over the text. */
static char *give_line(char *out, int n, void *user) {
    struct reading *r = user;
    if (!*r->rest || n < 2 || r->e->code != ERR_NONE) return NULL;
    const char *end = strchr(r->rest, '\n');
    const size_t len = end ? (size_t)(end - r->rest) + 1 : strlen(r->rest);
    r->n_line++;
    if (len > CONF_LINE_MAX || len >= (size_t)n) {
        err_set(r->e, ERR_USAGE,
                "%s, line %d: longer than %d bytes; a value goes on in an indented line", r->path,
                r->n_line, CONF_LINE_MAX);
        return NULL;
    }
    if (find_section(r, r->rest, len) != 0) return NULL;
    memcpy(out, r->rest, len);
    out[len] = 0;
    r->rest += len;
    return out;
}

int conf_read(const char *path, struct conf *out, struct err *e) {
    struct buf b = {0};
    *out = (struct conf){0};
    int rc = os_read_file(path, CONF_MAX_BYTES, &b, e);
    if (rc == 0 && b.n && memchr(b.p, 0, b.n)) rc = err_set(e, ERR_USAGE, "%s: a NUL byte", path);
    if (rc == 0 && b.n) {
        *e = (struct err){0};
        struct reading r = {.path = path, .out = out, .e = e, .rest = b.p};
        const int bad = ini_parse_stream(give_line, &r, on_line, &r);
        if (e->code != ERR_NONE)
            rc = -1;
        else if (bad < 0)
            rc = err_nomem(e, "configuration");
        else if (bad > 0)
            rc = fail(&r, bad, "NAME = VALUE or [model NAME] is accepted");
    }
    buf_fini(&b);
    return rc;
}

void conf_free(struct conf *c) {
    free(c->setting);
    free(c->model);
    arena_fini(&c->a);
    *c = (struct conf){0};
}

void conf_model_policy(const struct conf *c, const struct name *n, struct model_policy *p) {
    struct err none;
    for (int i = 0; i < c->n_model; i++)
        for (int k = 0; name_eq(&c->model[i].name, n) && k < CONF_N_LINE; k++)
            if (c->model[i].said[k]) /* it has been parsed before */
                model_policy_line(p, line_name[k], str_of(c->model[i].said[k]), &none);
}
