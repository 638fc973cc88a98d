/* `cria debug grammar` and `cria debug schema`: read text with a grammar, a JSON line each. */
#include "cli/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/grammar.h"
#include "text/grammar/schema.h"

static struct str text_of(const json_t *line, const char *key, struct err *e) {
    const json_t *s = json_object_get(line, key);
    if (!json_is_string(s)) err_set(e, ERR_FORMAT, "%s: missing; accepted: a string", key);
    return (struct str){json_string_value(s), json_string_length(s)};
}

/* Bytes of text read before the first refusal; -1 with *e. */
static json_int_t read_text(struct str grammar, struct str text, bool *complete, struct err *e) {
    struct grammar *g = grammar_parse(grammar, e);
    struct acceptor *a = g ? accept_new(g, e) : NULL;
    json_int_t n = a ? 0 : -1;
    int rc = 1;
    while (a && (size_t)n < text.n && (rc = accept_byte(a, (uint8_t)text.p[n], e)) == 1)
        n++;
    *complete = a && (size_t)n == text.n && accept_done(a);
    accept_free(a);
    grammar_free(g);
    return rc < 0 ? -1 : n;
}

static json_t *grammar_line(const json_t *line, struct err *e) {
    const struct str grammar = text_of(line, "grammar", e), text = text_of(line, "text", e);
    bool complete = false;
    if (e->code) return NULL;
    const json_int_t n = read_text(grammar, text, &complete, e);
    return n < 0 ? NULL : json_pack("{s:I, s:b}", "accepted_bytes", n, "complete", complete);
}

static json_t *schema_line(const json_t *line, struct err *e) {
    const json_t *schema = json_object_get(line, "schema");
    const struct str text = text_of(line, "text", e);
    struct buf gbnf = {0};
    bool complete = false;
    json_t *out = NULL;
    if (!e->code && !schema) err_set(e, ERR_FORMAT, "schema: missing");
    if (!e->code && schema_to_gbnf(schema, &gbnf, e) == 0 &&
        read_text(buf_view(&gbnf), text, &complete, e) >= 0)
        out = json_pack("{s:b}", "accepted", complete);
    buf_fini(&gbnf);
    return out;
}

typedef json_t *line_door(const json_t *line, struct err *e);

static json_t *run_line(line_door *door, const char *text, size_t n) {
    json_error_t je;
    struct err e = {0};
    json_t *line = json_loadb(text, n, JSON_ALLOW_NUL, &je), *out = NULL;
    if (!json_is_object(line))
        err_set(&e, ERR_FORMAT, "line: %s; accepted: a JSON object", line ? "no object" : je.text);
    else
        out = door(line, &e);
    json_decref(line);
    return out ? out : json_pack("{s:s}", "error", e.msg);
}

static const struct opt none[] = {{0}};

const struct opt *debug_grammar_options(void) {
    return none;
}

const struct opt *debug_schema_options(void) {
    return none;
}

static int run_lines(line_door *door, int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, none, args, &n_args, e) != 0) return -1;
    if (n_args)
        return err_set(e, ERR_USAGE, "%s: found \"%s\"; it reads standard input", argv[0], args[0]);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        cli_print_json(run_line(door, line, (size_t)n));
        fflush(stdout);
    }
    free(line);
    return 0;
}

int debug_grammar(int argc, char **argv, struct err *e) {
    return run_lines(grammar_line, argc, argv, e);
}

int debug_schema(int argc, char **argv, struct err *e) {
    return run_lines(schema_line, argc, argv, e);
}
