/* See yaml.h.  Lines are read by their indents; what stands on a line is a flow value. */
#include "yaml.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

enum { DEPTH = 60 };

struct yaml {
    char *line; /* the current one, ends with NUL; NULL: the end */
    char *rest; /* behind it */
    int n_line, depth;
};

#define BROKEN(y, what) fail_msg("line %d: %s: %.60s", (y)->n_line, what, (y)->line)

/* ---- lines ---- */

static int indent_of(const char *line) {
    return (int)strspn(line, " ");
}

static bool is_blank(const char *line) {
    const char *p = line + indent_of(line);
    return *p == 0 || *p == '#';
}

static void step(struct yaml *y) {
    y->line = *y->rest ? y->rest : NULL;
    if (!y->line) return;
    y->rest += strcspn(y->rest, "\n");
    if (*y->rest) *y->rest++ = 0;
    y->n_line++;
}

static void skip_blank(struct yaml *y) {
    while (y->line && is_blank(y->line))
        step(y);
}

/* ---- what stands on a line ---- */

static void skip_space(const char **p) {
    *p += strspn(*p, " ");
}

static json_t *quoted(struct yaml *y, const char **p) {
    const char quote = *(*p)++;
    char text[4000];
    size_t n = 0;
    for (; **p; ++*p) {
        if (n + 1 >= sizeof text) BROKEN(y, "a long text");
        if (quote == '"' && **p == '\\' && (*p)[1])
            ++*p;
        else if (quote == '\'' && **p == quote && (*p)[1] == quote)
            ++*p;
        else if (**p == quote)
            break;
        text[n++] = **p;
    }
    if (**p != quote) BROKEN(y, "a text without an end");
    ++*p;
    return json_stringn(text, n);
}

static json_t *scalar(const char *p, size_t n) {
    char text[4000], *end;
    while (n && p[n - 1] == ' ')
        n--;
    snprintf(text, sizeof text, "%.*s", (int)n, p);
    if (strcmp(text, "true") == 0) return json_true();
    if (strcmp(text, "false") == 0) return json_false();
    if (strcmp(text, "null") == 0 || !*text) return json_null();
    const double x = strtod(text, &end);
    if (!*end && isdigit((unsigned char)end[-1]) && !isalpha((unsigned char)*text))
        return json_real(x);
    return json_string(text);
}

/* Up to the ": " or ":" at the end that makes it a key; 0: it is none. */
static size_t key_length(const char *p) {
    size_t i = 0;
    if (*p == '"' || *p == '\'') {
        const char *end = strchr(p + 1, *p);
        i = end ? (size_t)(end - p) + 1 : 0;
        return i && p[i] == ':' ? i : 0;
    }
    for (; p[i]; i++)
        if (p[i] == ':' && (p[i + 1] == ' ' || p[i + 1] == 0)) return i;
    return 0;
}

static void take_key(const char *p, size_t n, char out[200]) {
    const bool is_quoted = *p == '"' || *p == '\'';
    snprintf(out, 200, "%.*s", (int)(is_quoted ? n - 2 : n), p + is_quoted);
}

static json_t *flow(struct yaml *y, const char **p, bool inside);

static json_t *flow_list(struct yaml *y, const char **p) {
    json_t *list = json_array();
    for (++*p, skip_space(p); **p != ']'; skip_space(p)) {
        json_array_append_new(list, flow(y, p, true));
        skip_space(p);
        if (**p == ',')
            ++*p;
        else if (**p != ']')
            BROKEN(y, "a list without an end");
    }
    ++*p;
    return list;
}

static json_t *flow_map(struct yaml *y, const char **p) {
    json_t *map = json_object();
    for (++*p, skip_space(p); **p != '}'; skip_space(p)) {
        char key[200];
        const size_t n = key_length(*p);
        if (!n) BROKEN(y, "a key is needed");
        take_key(*p, n, key);
        if (json_object_get(map, key)) BROKEN(y, "a key twice");
        *p += n + 1;
        skip_space(p);
        json_object_set_new(map, key, flow(y, p, true));
        skip_space(p);
        if (**p == ',')
            ++*p;
        else if (**p != '}')
            BROKEN(y, "a mapping without an end");
    }
    ++*p;
    return map;
}

static json_t *flow(struct yaml *y, const char **p, bool inside) {
    json_t *v;
    if (++y->depth > DEPTH) BROKEN(y, "too deep");
    if (**p == '{') {
        v = flow_map(y, p);
    } else if (**p == '[') {
        v = flow_list(y, p);
    } else if (**p == '"' || **p == '\'') {
        v = quoted(y, p);
    } else {
        const size_t n = inside ? strcspn(*p, ",]}") : strlen(*p);
        v = scalar(*p, n);
        *p += n;
    }
    y->depth--;
    return v;
}

/* ---- blocks ---- */

static json_t *block(struct yaml *y, int indent);

/* "|" and ">-": the lines further in. */
static json_t *long_text(struct yaml *y, int indent) {
    struct buf text = {0};
    for (; y->line && (!y->line[indent_of(y->line)] || indent_of(y->line) > indent); step(y))
        buf_printf(&text, "%s%s", text.n ? " " : "", y->line + indent_of(y->line));
    json_t *v = json_stringn(text.p ? text.p : "", text.n);
    buf_fini(&text);
    return v;
}

/* The value behind "key:"; the line of the key is y->line. */
static json_t *value(struct yaml *y, const char *p, int indent) {
    skip_space(&p);
    if (*p == '|' || *p == '>') {
        step(y);
        return long_text(y, indent);
    }
    if (*p && *p != '#') {
        json_t *v = flow(y, &p, false);
        skip_space(&p);
        if (*p && *p != '#') BROKEN(y, "more behind a value");
        step(y);
        return v;
    }
    step(y);
    skip_blank(y);
    if (!y->line || indent_of(y->line) <= indent) return json_null();
    return block(y, indent_of(y->line));
}

static json_t *block_list(struct yaml *y, int indent) {
    json_t *list = json_array();
    for (skip_blank(y); y->line && indent_of(y->line) == indent && y->line[indent] == '-';
         skip_blank(y)) {
        y->line[indent] = ' '; /* the item is a block of its own */
        const int in = indent_of(y->line);
        const char *p = y->line + in;
        if (*p != '{' && key_length(p))
            json_array_append_new(list, block(y, in));
        else
            json_array_append_new(list, value(y, p, indent));
    }
    return list;
}

static json_t *block(struct yaml *y, int indent) {
    if (++y->depth > DEPTH) BROKEN(y, "too deep");
    json_t *map = NULL;
    if (y->line[indent] == '-') {
        map = block_list(y, indent);
    } else {
        map = json_object();
        for (; y->line && indent_of(y->line) == indent; skip_blank(y)) {
            char key[200];
            const char *p = y->line + indent;
            const size_t n = key_length(p);
            if (!n) BROKEN(y, "a key is needed");
            take_key(p, n, key);
            if (json_object_get(map, key)) BROKEN(y, "a key twice");
            json_object_set_new(map, key, value(y, p + n + 1, indent));
        }
    }
    if (y->line && indent_of(y->line) > indent) BROKEN(y, "a line too far in");
    y->depth--;
    return map;
}

json_t *yaml_read(const char *path) {
    size_t n;
    char *text = (char *)slurp(path, &n);
    text = realloc(text, n + 1);
    assert_non_null(text);
    text[n] = 0;
    struct yaml y = {.rest = text};
    step(&y);
    skip_blank(&y);
    json_t *v = block(&y, 0);
    if (y.line) BROKEN(&y, "more behind the end");
    free(text);
    return v;
}
