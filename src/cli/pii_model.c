/* See pii_model.h. */
#include "cli/pii_model.h"

#include <ctype.h>
#include <stdlib.h>

#include "cli/model.h"

enum { PIECE = 2000, VALUE_MAX = 160, VALUES_MAX = 40 };

static const char instruction[] =
    "You find personal data. List every name of a person and every postal address in the text "
    "between the lines, letter by letter as it stands there. Names of companies, products, cities "
    "alone and countries alone are none. Answer with JSON: {\"names\": [...], \"addresses\": "
    "[...]}; empty lists when there are none.\n----\n";

static const struct {
    const char *key;
    enum pii_kind kind;
} lists[] = {{"names", PII_NAME}, {"addresses", PII_ADDRESS}};

static json_t *schema(void) {
    json_t *list =
        json_pack("{s:s, s:i, s:{s:s, s:i, s:i}}", "type", "array", "maxItems", VALUES_MAX, "items",
                  "type", "string", "minLength", 2, "maxLength", VALUE_MAX);
    return json_pack("{s:s, s:{s:O, s:o}, s:[s, s], s:b}", "type", "object", "properties", "names",
                     list, "addresses", list, "required", "names", "addresses",
                     "additionalProperties", 0);
}

static json_t *question(struct str piece) {
    struct buf b = {0};
    buf_str(&b, instruction);
    buf_append(&b, piece.p, piece.n);
    buf_str(&b, "\n----");
    json_t *text = b.failed ? NULL : json_stringn(b.p, b.n); /* NULL: not UTF-8 */
    buf_fini(&b);
    if (!text) return NULL;
    return json_pack("{s:s, s:[{s:s, s:o}], s:o, s:b, s:b, s:{s:i, s:i}}", "op", "chat", "messages",
                     "role", "user", "content", text, "format", schema(), "think", 0, "truncate", 0,
                     "options", "temperature", 0, "num_predict", 2000);
}

static int on_piece(void *ctx, const struct talk_piece *p) {
    struct buf *b = ctx;
    if (p->kind == TALK_TEXT) buf_append(b, p->text.p, p->text.n);
    return 0;
}

/* ---- back to the text ---- */

/* Length of what stands at p[0..n) and reads as value, a run of blanks as any other; 0: something
 * else. */
static size_t reads_as(const char *p, size_t n, struct str value) {
    size_t i = 0, k = 0;
    while (k < value.n) {
        if (isspace((unsigned char)value.p[k])) {
            if (i >= n || !isspace((unsigned char)p[i])) return 0;
            while (k < value.n && isspace((unsigned char)value.p[k]))
                k++;
            while (i < n && isspace((unsigned char)p[i]))
                i++;
        } else if (i >= n || p[i++] != value.p[k++]) {
            return 0;
        }
    }
    return i;
}

static bool is_word(unsigned char c) {
    return isalnum(c) || c >= 0x80;
}

/* Every place of the piece where the value stands, not as a part of a longer word. */
static int add_places(struct str piece, size_t at, struct str value, enum pii_kind kind,
                      struct pii_hits *out, struct err *e) {
    while (value.n && isspace((unsigned char)*value.p))
        value.p++, value.n--;
    while (value.n && isspace((unsigned char)value.p[value.n - 1]))
        value.n--;
    for (size_t i = 0; value.n > 1 && i < piece.n; i++) {
        const size_t n = piece.p[i] == *value.p ? reads_as(piece.p + i, piece.n - i, value) : 0;
        if (n == 0 ||
            (i && is_word((unsigned char)piece.p[i - 1]) && is_word((unsigned char)*value.p)))
            continue;
        if (i + n < piece.n && is_word((unsigned char)piece.p[i + n]) &&
            is_word((unsigned char)piece.p[i + n - 1]) && (unsigned char)piece.p[i + n] < 0x80)
            continue;
        if (pii_hits_add(out, (struct pii_hit){kind, at + i, at + i + n}, e) != 0) return -1;
        i += n - 1;
    }
    return 0;
}

static int add_answer(struct str answer, struct str piece, size_t at, const struct pii_policy *p,
                      struct pii_hits *out, struct err *e) {
    json_t *j = json_loadb(answer.p, answer.n, 0, NULL), *v;
    size_t i;
    int rc = 0;
    if (!j) { /* cut at its longest: what is there is no JSON */
        return err_set(e, ERR_FORMAT, "pii: the model's answer is no JSON of the schema");
    }
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        if (p->action[lists[k].kind] == PII_OFF) continue;
        json_array_foreach(json_object_get(j, lists[k].key), i, v) {
            const struct str value = {json_string_value(v), json_string_length(v)};
            if (rc == 0 && value.p) rc = add_places(piece, at, value, lists[k].kind, out, e);
        }
    }
    json_decref(j);
    return rc;
}

/* ---- pieces ---- */

/* Where the piece at text[at..) ends: behind a paragraph, a line or a word. */
static size_t piece_end(struct str text, size_t at) {
    if (text.n - at <= PIECE) return text.n;
    static const char *const ends[] = {"\n\n", "\n", ". ", " "};
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        const size_t n = strlen(ends[k]);
        for (size_t i = at + PIECE; i > at + PIECE / 2; i--)
            if (memcmp(text.p + i - n, ends[k], n) == 0) return i;
    }
    size_t i = at + PIECE;
    while (i > at + 1 && (text.p[i] & 0xc0) == 0x80)
        i--;
    return i;
}

static int ask_pieces(struct talk *t, struct str text, const struct pii_policy *p,
                      struct pii_hits *out, struct err *e) {
    struct buf answer = {0};
    int rc = 0;
    for (size_t at = 0, end; rc == 0 && at < text.n; at = end) {
        end = piece_end(text, at);
        const struct str piece = {text.p + at, end - at};
        struct talk_end last = {0};
        json_t *q = question(piece);
        buf_reset(&answer);
        if (!q) rc = err_set(e, ERR_FORMAT, "pii: byte %zu: not UTF-8; a model reads UTF-8", at);
        if (rc == 0) rc = talk_ask(t, q, NULL, on_piece, &answer, &last, e);
        if (rc == 0 && last.why == GEN_CANCELLED) rc = err_set(e, ERR_CANCELLED, "interrupted");
        if (rc == 0) rc = add_answer(buf_view(&answer), piece, at, p, out, e);
        json_decref(q);
    }
    buf_fini(&answer);
    return rc;
}

/* A model that is opened here. */
static int find_here(const char *model, struct str text, const struct pii_policy *p,
                     struct pii_hits *out, struct err *e) {
    struct cli_model m;
    struct chat c;
    chat_init(&c);
    int rc = cli_model_open(&m, model, e);
    if (rc == 0) rc = cli_model_apply(&m, &c, e);
    if (rc == 0) rc = chat_open(&c, e);
    if (rc == 0) rc = ask_pieces(c.talk, text, p, out, e);
    chat_fini(&c);
    cli_model_close(&m);
    return rc;
}

int pii_model_find(const char *model, struct str text, const struct pii_policy *p,
                   struct pii_hits *out, struct err *e) {
    struct remote *r = NULL;
    int rc = cli_is_file(model) ? 0 : remote_find(NULL, &r, e);
    if (rc != 0) return rc;
    if (!r) return find_here(model, text, p, out, e);
    remote_close(r);
    struct talk *t = talk_open_remote(model, e);
    rc = t ? ask_pieces(t, text, p, out, e) : -1;
    talk_close(t);
    return rc;
}
