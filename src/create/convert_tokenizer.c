/* The tokenizer: which files, which kind, and the ids that mean something.
 *
 *   tokenizer.json of byte-level BPE      -> "gpt2": tokens, merges, a pre-tokenizer's name
 *   tokenizer.json of WordPiece, vocab.txt -> "bert": words marked with U+2581
 *   tokenizer.model, or tokenizer.json of BPE with byte fallback (what SentencePiece's models
 *     become in it)                       -> "llama": tokens with scores
 *
 * Ids of config.json, texts of tokenizer_config.json; the flags that say what is put around a text
 * are in its post-processor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/os.h"
#include "create/convert_priv.h"
#include "text/vocab.h"

#define KEY(x) "tokenizer.ggml." x
enum { MAX_VOCAB_TXT = 16 << 20 };

#define BLANK "\xe2\x96\x81" /* U+2581 */

/* ---- the list of tokens ---- */

/* Rows of the embedding without a token. */
static int fill_holes(struct tokens *t, struct err *e) {
    char text[32];
    for (int i = 0; i < t->n; i++) {
        if (t->type[i]) continue;
        snprintf(text, sizeof text, "[PAD%d]", i);
        if (tokens_set(t, i, str_of(text), -10000, TOKEN_UNUSED, e) != 0) return -1;
    }
    return 0;
}

static struct str text_of(const json_t *j) {
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)}
                             : (struct str){NULL, 0};
}

/* A token that was added to a vocabulary.  One without a row in the embedding (gemma-3-1b names
 * one of the larger models' there) cannot be meant. */
static int add_one(struct tokens *t, int64_t id, struct str text, bool special, struct err *e) {
    if (id >= t->n) {
        log_msg(LOG_WARN, "added token %lld \"%.*s\" is left out: the embedding has %d rows",
                (long long)id, text.n < 40 ? (int)text.n : 40, text.p, t->n);
        return 0;
    }
    const bool looks =
        text.n > 4 && str_starts(text, STR("<|")) && memcmp(text.p + text.n - 2, "|>", 2) == 0;
    if (id >= 0 && id < t->n && t->type[id] && t->type[id] != TOKEN_NORMAL &&
        t->type[id] != TOKEN_UNUSED && t->type[id] != TOKEN_USER_DEFINED)
        return 0; /* SentencePiece's own type is the finer one */
    return tokens_set(t, id, text, t->has_score ? -1000 : 0,
                      special || looks ? TOKEN_CONTROL : TOKEN_USER_DEFINED, e);
}

static int add_added(struct conversion *c, struct tokens *t, struct err *e) {
    const json_t *list = json_object_get(c->tokenizer, "added_tokens"), *x;
    json_t *by_id = json_object_get(c->tok_config, "added_tokens_decoder"), *entry;
    size_t i;
    const char *key;
    json_array_foreach((json_t *)list, i, x) {
        const struct str text = text_of(json_object_get(x, "content"));
        const json_t *id = json_object_get(x, "id");
        if (!text.p || !json_is_integer(id))
            return err_set(e, ERR_FORMAT,
                           "%s/tokenizer.json: added_tokens[%zu] has no \"id\" and \"content\"",
                           c->folder, i);
        if (add_one(t, json_integer_value(id), text, json_is_true(json_object_get(x, "special")),
                    e) != 0)
            return err_prefix(e, c->folder);
    }
    json_object_foreach(by_id, key, entry) {
        const struct str text = text_of(json_object_get(entry, "content"));
        char *end;
        const int64_t id = strtoll(key, &end, 10);
        if (!text.p || *end || end == key)
            return err_set(e, ERR_FORMAT,
                           "%s/tokenizer_config.json: added_tokens_decoder has \"%.40s\", which is "
                           "no id, or has no \"content\"",
                           c->folder, key);
        if (id >= t->n && list) continue; /* said above */
        if (add_one(t, id, text, json_is_true(json_object_get(entry, "special")), e) != 0)
            return err_prefix(e, c->folder);
    }
    return 0;
}

/* added_tokens.json: {text: id}, beside a tokenizer.model. */
static int add_plain(struct conversion *c, struct tokens *t, struct err *e) {
    json_t *j = NULL, *id;
    const char *text;
    int rc = convert_read_json(c->folder, "added_tokens.json", &j, e);
    json_object_foreach(j, text, id) {
        const int64_t at = json_integer_value(id);
        if (rc == 0 && at >= 0 && at < t->n && !t->type[at])
            rc = add_one(t, at, str_of(text), false, e);
    }
    json_decref(j);
    return rc;
}

/* ---- tokenizer.json's vocabulary ---- */

static const json_t *merges_of(const struct conversion *c) {
    return json_object_get(json_object_get(c->tokenizer, "model"), "merges");
}

static int read_vocab(struct conversion *c, struct tokens *t, struct err *e) {
    json_t *model = json_object_get(c->tokenizer, "model"), *id;
    json_t *vocab = json_object_get(model, "vocab");
    const char *text, *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(vocab))
        return err_set(e, ERR_FORMAT, "%s/tokenizer.json: model.vocab is no object", c->folder);
    if (!json_is_array(merges_of(c)) && strcmp(type ? type : "", "WordPiece") != 0)
        return err_set(e, ERR_FORMAT, "%s/tokenizer.json: model.merges is no list", c->folder);
    json_object_foreach(vocab, text, id) {
        if (!json_is_integer(id))
            return err_set(e, ERR_FORMAT, "%s/tokenizer.json: token \"%.40s\" has no number",
                           c->folder, text);
        const json_int_t at = json_integer_value(id);
        if (at >= 0 && at < t->n && t->type[at])
            return err_set(e, ERR_FORMAT,
                           "%s/tokenizer.json: tokens \"%.*s\" and \"%.40s\" are both %lld",
                           c->folder, t->text[at].n < 40 ? (int)t->text[at].n : 40, t->text[at].p,
                           text, (long long)at);
        if (tokens_set(t, at, str_of(text), 0, TOKEN_NORMAL, e) != 0)
            return err_prefix(e, c->folder);
    }
    return 0;
}

/* The two halves of a merge, in either form: "a b" or ["a", "b"]. */
static bool split_merge(const json_t *j, struct str *a, struct str *b) {
    struct str s = text_of(j);
    *a = text_of(json_array_get(j, 0)), *b = text_of(json_array_get(j, 1));
    if (json_array_size(j) == 2) return a->p && b->p;
    const char *space = s.p && s.n > 2 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
    if (!space) return false;
    *a = (struct str){s.p, (size_t)(space - s.p)};
    *b = (struct str){space + 1, s.n - a->n - 1};
    return b->n > 0;
}

static int bad_merge(const struct conversion *c, size_t i, struct err *e) {
    return err_set(e, ERR_FORMAT,
                   "%s/tokenizer.json: merge %zu is neither \"a b\" nor [\"a\", \"b\"]", c->folder,
                   i);
}

static int set_merges(struct conversion *c, struct err *e) {
    const json_t *list = merges_of(c), *j;
    const size_t n = json_array_size(list);
    struct str *out = arena_calloc(&c->a, n + 1, sizeof *out), a, b;
    size_t i;
    if (!out) return err_nomem(e, c->folder);
    json_array_foreach((json_t *)list, i, j) {
        if (!split_merge(j, &a, &b)) return bad_merge(c, i, e);
        char *text = arena_alloc(&c->a, a.n + b.n + 2);
        if (!text) return err_nomem(e, c->folder);
        memcpy(text, a.p, a.n);
        text[a.n] = ' ';
        memcpy(text + a.n + 1, b.p, b.n);
        out[i] = (struct str){text, a.n + b.n + 1};
    }
    return gguf_set_strs(c->w, KEY("merges"), out, n, e);
}

/* ---- byte-level BPE ---- */

static int byte_level(struct conversion *c, struct tokens *t, struct err *e) {
    const json_t *model = json_object_get(c->tokenizer, "model");
    bool known;
    if (read_vocab(c, t, e) != 0 || add_added(c, t, e) != 0) return -1;
    const char *pre = pretok_guess(
        c->tokenizer, json_is_true(json_object_get(model, "ignore_merges")), &known, e);
    if (!known)
        log_msg(LOG_WARN,
                "%s/tokenizer.json: no pre-tokenizer known here cuts texts as this one; 'default' "
                "is used, which may cost quality",
                c->folder);
    if (gguf_set_str(c->w, KEY("model"), STR("gpt2"), e) != 0 ||
        gguf_set_str(c->w, KEY("pre"), str_of(pre), e) != 0)
        return -1;
    return set_merges(c, e);
}

/* ---- WordPiece ---- */

/* GGUF marks where words begin, the hub where they go on.  Special tokens, which come in again with
 * the added ones, are not marked. */
static int mark_words(struct conversion *c, struct tokens *t, struct err *e) {
    for (int i = 0; i < t->n; i++) {
        const struct str s = t->text[i];
        if (t->type[i] != TOKEN_NORMAL) continue;
        if (s.n > 2 && s.p[0] == '#' && s.p[1] == '#') {
            t->text[i] = (struct str){s.p + 2, s.n - 2};
            continue;
        }
        char *marked = arena_alloc(&c->a, s.n + 4);
        if (!marked) return err_nomem(e, c->folder);
        memcpy(marked, BLANK, 3);
        memcpy(marked + 3, s.p, s.n);
        t->text[i] = (struct str){marked, s.n + 3};
    }
    return 0;
}

/* Older models have a vocab.txt, a token a line, and nothing that says which are special. */
static int read_lines(struct conversion *c, struct tokens *t, const char *path, struct err *e) {
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    struct buf text = {0};
    int64_t id = 0;
    int rc = os_read_file(path, MAX_VOCAB_TXT, &text, e);
    t->where = "vocab.txt";
    for (size_t at = 0, n; rc == 0 && at < text.n; at += n + 1) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        n = end ? (size_t)(end - text.p) - at : text.n - at;
        const size_t cr = n > 0 && text.p[at + n - 1] == '\r';
        rc = tokens_set(t, id++, (struct str){text.p + at, n - cr}, 0, TOKEN_NORMAL, e);
    }
    buf_fini(&text);
    if (rc != 0) return err_prefix(e, c->folder);
    if (mark_words(c, t, e) != 0) return -1;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        char marked[16];
        snprintf(marked, sizeof marked, BLANK "%s", special[i]);
        const int at = tokens_find(t, str_of(marked));
        if (at >= 0 && tokens_set(t, at, str_of(special[i]), 0, TOKEN_CONTROL, e) != 0) return -1;
    }
    return 0;
}

static int from_vocab_txt(struct conversion *c, struct tokens *t, const char *path, struct err *e) {
    const json_t *lower = json_object_get(c->tok_config, "do_lower_case");
    if (read_lines(c, t, path, e) != 0 || add_added(c, t, e) != 0) return -1;
    if (gguf_set_str(c->w, KEY("model"), STR("bert"), e) != 0 ||
        gguf_set_str(c->w, KEY("pre"), STR("default"), e) != 0)
        return -1;
    return gguf_set_bool(c->w, KEY("normalizer.lowercase"), !json_is_false(lower), e);
}

static int word_piece(struct conversion *c, struct tokens *t, struct err *e) {
    const json_t *norm = json_object_get(c->tokenizer, "normalizer");
    const json_t *lower = json_object_get(norm, "lowercase");
    const json_t *strip = json_object_get(norm, "strip_accents");
    if (read_vocab(c, t, e) != 0 || mark_words(c, t, e) != 0 || add_added(c, t, e) != 0) return -1;
    if (gguf_set_str(c->w, KEY("model"), STR("bert"), e) != 0 ||
        gguf_set_str(c->w, KEY("pre"), STR("default"), e) != 0)
        return -1;
    if (json_is_boolean(lower) &&
        gguf_set_bool(c->w, KEY("normalizer.lowercase"), json_is_true(lower), e) != 0)
        return -1;
    return json_is_boolean(strip)
               ? gguf_set_bool(c->w, KEY("normalizer.strip_accents"), json_is_true(strip), e)
               : 0;
}

/* ---- SentencePiece ---- */

/* Scores from merges: the earlier a token's first merge stands, the higher.  SentencePiece joins
 * the pair of highest score first, tokenizer.json that of the first merge: the same order. */
static int score_merges(struct conversion *c, struct tokens *t, struct err *e) {
    const json_t *list = merges_of(c), *j;
    json_t *vocab = json_object_get(json_object_get(c->tokenizer, "model"), "vocab");
    const size_t n = json_array_size(list);
    struct buf whole = {0};
    struct str a, b;
    size_t i;
    for (int k = 0; k < t->n; k++)
        if (t->type[k] == TOKEN_NORMAL) t->score[k] = -(float)(n + 1);
    int rc = 0;
    json_array_foreach((json_t *)list, i, j) {
        if (!split_merge(j, &a, &b)) rc = bad_merge(c, i, e);
        if (rc != 0) break;
        buf_reset(&whole);
        buf_append(&whole, a.p, a.n);
        buf_append(&whole, b.p, b.n);
        if (whole.failed) rc = err_nomem(e, c->folder);
        const json_t *id = rc == 0 ? json_object_get(vocab, whole.p) : NULL;
        const int64_t at = id ? json_integer_value(id) : -1;
        if (at >= 0 && at < t->n && t->score[at] < -(float)i) t->score[at] = -(float)i;
    }
    buf_fini(&whole);
    return rc;
}

/* A blank before the text: a normalizer that prepends it, or Metaspace. */
static int prefix_of(const json_t *j, int depth) {
    const char *type = json_string_value(json_object_get(j, "type"));
    const json_t *list = json_object_get(j, "normalizers"), *x;
    size_t i;
    if (!type || depth > 4) return 0;
    if (!list) list = json_object_get(j, "pretokenizers");
    json_array_foreach((json_t *)list, i, x) {
        if (prefix_of(x, depth + 1)) return 1;
    }
    if (strcmp(type, "Prepend") == 0) return 1;
    if (strcmp(type, "Metaspace") != 0) return 0;
    const char *scheme = json_string_value(json_object_get(j, "prepend_scheme"));
    if (scheme) return strcmp(scheme, "never") != 0;
    return !json_is_false(json_object_get(j, "add_prefix_space"));
}

static int from_json(struct conversion *c, struct tokens *t, struct err *e) {
    const json_t *model = json_object_get(c->tokenizer, "model");
    const struct str unk = text_of(json_object_get(model, "unk_token"));
    t->has_score = true;
    if (read_vocab(c, t, e) != 0 || score_merges(c, t, e) != 0) return -1;
    for (int i = 0; i < t->n; i++) {
        const struct str s = t->text[i];
        if (t->type[i] != TOKEN_NORMAL) continue;
        if (s.n == 6 && str_starts(s, STR("<0x")) && s.p[5] == '>') t->type[i] = TOKEN_BYTE;
        if (unk.p && str_eq(s, unk)) t->type[i] = TOKEN_UNKNOWN;
        if (t->type[i] != TOKEN_NORMAL) t->score[i] = 0;
    }
    t->add_prefix = prefix_of(json_object_get(c->tokenizer, "normalizer"), 0) ||
                    prefix_of(json_object_get(c->tokenizer, "pre_tokenizer"), 0);
    return 0;
}

static int sentence_piece(struct conversion *c, struct tokens *t, const char *path, struct err *e) {
    const json_t *said = json_object_get(c->tok_config, "add_prefix_space");
    if ((path ? spm_read(path, t, e) : from_json(c, t, e)) != 0) return -1;
    if (add_added(c, t, e) != 0 || add_plain(c, t, e) != 0) return -1;
    if (json_is_boolean(said)) t->add_prefix = json_is_true(said);
    if (c->family->flags & FAMILY_NO_PREFIX) t->add_prefix = 0;
    if (gguf_set_str(c->w, KEY("model"), STR("llama"), e) != 0 ||
        gguf_set_str(c->w, KEY("pre"), STR("default"), e) != 0)
        return -1;
    return gguf_set_bool(c->w, KEY("add_space_prefix"), t->add_prefix != 0, e);
}

/* ---- which ---- */

static bool has_stage(const json_t *j, const char *want, int depth) {
    const char *type = json_string_value(json_object_get(j, "type"));
    const json_t *list = json_object_get(j, "pretokenizers"), *x;
    size_t i;
    if (!type || depth > 4) return false;
    if (!list) list = json_object_get(j, "decoders");
    json_array_foreach((json_t *)list, i, x) {
        if (has_stage(x, want, depth + 1)) return true;
    }
    return strcmp(type, want) == 0;
}

/* Is there a file NAME in the folder?  Its path, then. */
static bool has_file(const struct conversion *c, const char *name, char path[CONVERT_PATH]) {
    struct stat st;
    return snprintf(path, CONVERT_PATH, "%s/%s", c->folder, name) < CONVERT_PATH &&
           stat(path, &st) == 0;
}

static int read_tokens(struct conversion *c, struct tokens *t, struct err *e) {
    const json_t *model = json_object_get(c->tokenizer, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    char path[CONVERT_PATH];
    const bool bpe = c->tokenizer && (!type || strcmp(type, "BPE") == 0);
    if (bpe && (has_stage(json_object_get(c->tokenizer, "pre_tokenizer"), "ByteLevel", 0) ||
                has_stage(json_object_get(c->tokenizer, "decoder"), "ByteLevel", 0)))
        return byte_level(c, t, e);
    if (type && strcmp(type, "WordPiece") == 0) return word_piece(c, t, e);
    if (has_file(c, "tokenizer.model", path)) return sentence_piece(c, t, path, e);
    if (bpe) return sentence_piece(c, t, NULL, e);
    if (c->tokenizer)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s/tokenizer.json: a tokenizer of type \"%.20s\"; BPE and WordPiece are "
                       "converted",
                       c->folder, type);
    if ((c->family->flags & FAMILY_ENCODER) && has_file(c, "vocab.txt", path))
        return from_vocab_txt(c, t, path, e);
    return err_set(e, ERR_NOT_FOUND, "%s: neither tokenizer.json nor tokenizer.model", c->folder);
}

static int set_tokens(struct conversion *c, const struct tokens *t, struct err *e) {
    const uint64_t n = (uint64_t)t->n;
    if (gguf_set_strs(c->w, KEY("tokens"), t->text, n, e) != 0 ||
        gguf_set_arr(c->w, KEY("token_type"), GGUF_I32, t->type, n, e) != 0)
        return -1;
    return t->has_score ? gguf_set_arr(c->w, KEY("scores"), GGUF_F32, t->score, n, e) : 0;
}

int convert_tokenizer(struct conversion *c, struct err *e) {
    struct tokens t;
    if (tokens_init(&t, c->n_vocab, &c->a, e) != 0 || read_tokens(c, &t, e) != 0 ||
        fill_holes(&t, e) != 0 || set_tokens(c, &t, e) != 0)
        return -1;
    return convert_special(c, &t, e);
}
