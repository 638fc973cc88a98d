/* `cria debug tokenize FILE`: each line of standard input is a text to tokenize, each line of
 * output its ids and what they read back as.  The format is that of the reference data's
 * tokenizer/. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/text_json.h"
#include "text/vocab.h"

const struct opt *debug_tokenize_options(void) {
    static const struct opt table[] = {{0}};
    return table;
}

static int set_decoded(const struct vocab *v, const struct ids *ids, bool special, json_t *out,
                       struct err *e) {
    struct buf text = {0};
    const struct detok_opts opts = {.special = special};
    const int rc = tok_decode(v, ids->v, ids->n, opts, &text, e);
    if (rc == 0) text_json_set(out, special ? "detok" : "detok_nospecial", buf_view(&text));
    buf_fini(&text);
    return rc;
}

static int tokenize(const struct vocab *v, const json_t *in, json_t *out, struct err *e) {
    const struct tok_opts opts = {
        .add_special = json_is_true(json_object_get(in, "add_special")),
        .parse_special = json_is_true(json_object_get(in, "parse_special")),
    };
    struct buf text = {0};
    struct ids ids = {0};
    int rc = text_json_get(in, "text", &text, e);
    if (rc == 0) rc = tok_encode(v, buf_view(&text), opts, &ids, e);
    json_t *list = json_array();
    for (size_t i = 0; rc == 0 && i < ids.n; i++)
        json_array_append_new(list, json_integer(ids.v[i]));
    json_object_set_new(out, "ids", list);
    if (rc == 0) rc = set_decoded(v, &ids, true, out, e);
    if (rc == 0) rc = set_decoded(v, &ids, false, out, e);
    ids_fini(&ids);
    buf_fini(&text);
    return rc;
}

static json_t *run_line(const struct vocab *v, const char *line, size_t n) {
    struct err e = {0};
    json_error_t je;
    json_t *in = json_loadb(line, n, JSON_ALLOW_NUL, &je), *out = json_object();
    int rc = 0;
    if (!json_is_object(in))
        rc = err_set(&e, ERR_FORMAT, "input: %s; one JSON object a line is needed", je.text);
    else
        rc = tokenize(v, in, out, &e);
    if (rc != 0) {
        json_object_clear(out);
        json_object_set_new(out, "error", json_string(e.msg));
    }
    json_decref(in);
    return out;
}

int debug_tokenize(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, debug_tokenize_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("debug tokenize", n_args, 1, 1, "FILE", e) != 0) return -1;
    struct gguf *g = gguf_open(args[0], e);
    struct vocab *v = g ? vocab_load(g, e) : NULL;
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; v && !cli_interrupted && (n = getline(&line, &cap, stdin)) > 0;) {
        cli_print_json(run_line(v, line, (size_t)n));
        fflush(stdout);
    }
    free(line);
    vocab_free(v);
    gguf_close(g);
    return v ? 0 : -1;
}
