/* `cria tokenize MODEL [TEXT]`: a text as the model's tokens, or ids as text. */
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/display.h"
#include "cli/model.h"
#include "cli/text.h"
#include "cli/text_json.h"
#include "text/vocab.h"

enum { MAX_INPUT_BYTES = 256 << 20 };

static bool only_ids, special, no_bos, as_json;
static const char *decode;

const struct opt *cmd_tokenize_options(void) {
    static const struct opt table[] = {
        {"ids", 0, OPT_FLAG, &only_ids, 0, 0, NULL, "only the ids, on one line"},
        {"special", 0, OPT_FLAG, &special, 0, 0, NULL,
         "read special tokens in the text; show them when decoding"},
        {"no-bos", 0, OPT_FLAG, &no_bos, 0, 0, NULL, "add no begin or end token"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {"decode", 0, OPT_STR, &decode, 0, 0, "IDS", "print the text of these ids (- reads them)"},
        {0},
    };
    return table;
}

static json_t *json_ids(const struct ids *ids) {
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->v[i]));
    return list;
}

static void print_json(const struct vocab *v, const struct ids *ids) {
    json_t *out = json_object(), *pieces = json_array();
    struct buf b = {0};
    for (size_t i = 0; i < ids->n; i++) {
        json_t *o = json_object();
        buf_reset(&b);
        tok_piece(v, ids->v[i], true, &b);
        text_json_set(o, "text", buf_view(&b));
        json_object_set_new(o, "id", json_integer(ids->v[i]));
        json_array_append_new(pieces, o);
    }
    json_object_set_new(out, "n", json_integer((json_int_t)ids->n));
    json_object_set_new(out, "ids", json_ids(ids));
    json_object_set_new(out, "tokens", pieces);
    cli_print_json(out);
    buf_fini(&b);
}

/* One token a line: id, then the piece in quotes with whatever does not print escaped. */
static void print_table(const struct vocab *v, const struct ids *ids) {
    struct buf piece = {0}, shown = {0};
    for (size_t i = 0; i < ids->n && !cli_interrupted; i++) {
        buf_reset(&piece);
        buf_reset(&shown);
        tok_piece(v, ids->v[i], true, &piece);
        text_escape(&shown, buf_view(&piece), false);
        printf("%7d  '%s'\n", ids->v[i], buf_view(&shown).p);
    }
    buf_fini(&piece);
    buf_fini(&shown);
}

static void print_ids(const struct ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        printf(i ? " %d" : "%d", ids->v[i]);
    putchar('\n');
}

static int encode(const struct vocab *v, struct str text, struct err *e) {
    const struct tok_opts opts = {.add_special = !no_bos, .parse_special = special};
    struct ids ids = {0};
    const int rc = tok_encode(v, text, opts, &ids, e);
    if (rc == 0 && as_json)
        print_json(v, &ids);
    else if (rc == 0 && only_ids)
        print_ids(&ids);
    else if (rc == 0)
        print_table(v, &ids);
    ids_fini(&ids);
    return rc;
}

/* Ids between blanks, commas or brackets, as the other direction prints them. */
static int parse_ids(const char *text, struct ids *out, struct err *e) {
    const char *p = text;
    for (;;) {
        p += strspn(p, " ,\t\r\n[]");
        if (!*p) return out->failed ? err_nomem(e, "--decode") : 0;
        char *end;
        const long id = strtol(p, &end, 10);
        if (end == p || id < INT32_MIN || id > INT32_MAX)
            return err_set(e, ERR_USAGE, "--decode: found \"%.20s\"; whole numbers are accepted",
                           p);
        ids_push(out, (int32_t)id);
        p = end;
    }
}

static int decode_ids(const struct vocab *v, const char *text, struct err *e) {
    struct ids ids = {0};
    struct buf out = {0};
    const struct detok_opts opts = {.special = special};
    int rc = parse_ids(text, &ids, e);
    if (rc == 0) rc = tok_decode(v, ids.v, ids.n, opts, &out, e);
    if (rc == 0 && as_json) {
        json_t *o = json_object();
        text_json_set(o, "text", buf_view(&out));
        cli_print_json(o);
    } else if (rc == 0) {
        struct display d;
        display_init(&d, false);
        display_text(&d, buf_view(&out));
        display_fini(&d);
        putchar('\n');
    }
    ids_fini(&ids);
    buf_fini(&out);
    return rc;
}

/* The arguments, or standard input when there are none. */
static int read_text(const char *const *args, int n, struct buf *out, struct err *e) {
    if (n == 0) return os_read_file("-", MAX_INPUT_BYTES, out, e);
    for (int i = 0; i < n; i++) {
        if (i) buf_byte(out, ' ');
        buf_str(out, args[i]);
    }
    return out->failed ? err_nomem(e, "text") : 0;
}

int cmd_tokenize(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_tokenize_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("tokenize", n_args, 1, CLI_MAX_ARGS, "MODEL [TEXT...]", e) != 0) return -1;
    if (decode && n_args > 1)
        return err_set(e, ERR_USAGE, "tokenize: --decode and a text; one of them is accepted");
    struct buf text = {0};
    struct cli_model m;
    struct gguf *g = cli_model_open(&m, args[0], e) == 0 ? gguf_open(m.r.path, e) : NULL;
    struct vocab *v = g ? vocab_load(g, e) : NULL;
    int rc = v ? 0 : -1;
    if (rc == 0 && decode && strcmp(decode, "-") != 0)
        rc = decode_ids(v, decode, e);
    else if (rc == 0 && (rc = read_text(args + 1, n_args - 1, &text, e)) == 0)
        rc = decode ? decode_ids(v, buf_view(&text).p, e) : encode(v, buf_view(&text), e);
    buf_fini(&text);
    vocab_free(v);
    gguf_close(g);
    cli_model_close(&m);
    return rc;
}
