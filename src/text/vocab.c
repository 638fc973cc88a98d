/* Loading a vocabulary: which tokenizer, the tables and their checks, the index of texts.
 *
 * Every table is bounded and must agree with the token list in length; texts stay in the mapped
 * file.  Order: tokens -> scores, types -> index -> merges or tries -> special tokens. */
#include "text/vocab.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "text/tables.h"

#define KEY(x) "tokenizer.ggml." x

void ids_push(struct ids *l, int32_t id) {
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 64;
        int32_t *v = realloc(l->v, cap * sizeof *v);
        if (!v) {
            l->failed = true;
            return;
        }
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = id;
}

void ids_fini(struct ids *l) {
    free(l->v);
    *l = (struct ids){0};
}

int32_t vocab_intern(struct vocab *v, struct str text) {
    const int32_t known = symtab_find(&v->by_text, v->text, text);
    if (known >= 0) return known;
    if (v->n_piece - v->n >= VOCAB_MAX_EXTRA_PIECES) return -1;
    if (v->n_piece == v->cap_piece) {
        const int cap = v->cap_piece + v->cap_piece / 4 + 512;
        struct str *t = realloc(v->text, (size_t)cap * sizeof *t);
        if (!t) return -1;
        v->text = t;
        v->cap_piece = cap;
    }
    v->text[v->n_piece] = text;
    const int32_t id = symtab_add(&v->by_text, v->text, v->n_piece);
    if (id == v->n_piece) v->n_piece++;
    return id;
}

static int value_of_hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int vocab_parse_byte(struct str text) {
    if (text.n != 6 || memcmp(text.p, "<0x", 3) != 0 || text.p[5] != '>') return -1;
    const int hi = value_of_hex(text.p[3]), lo = value_of_hex(text.p[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

static int load_kind(struct vocab *v, const struct gguf *g, struct err *e) {
    static const struct {
        const char *name;
        enum vocab_kind kind;
    } kinds[] = {{"gpt2", VOCAB_BPE},
                 {"gemma4", VOCAB_BPE},
                 {"llama", VOCAB_SPM},
                 {"bert", VOCAB_WORDPIECE},
                 {"t5", VOCAB_UNIGRAM}};
    struct str model = {0}, pre = STR("");
    const int found = gguf_get_str(g, KEY("model"), &model, e);
    if (found < 0 || gguf_get_str(g, KEY("pre"), &pre, e) < 0) return -1;
    if (!found)
        return err_set(e, ERR_UNSUPPORTED, "%s: no vocabulary in this file (key '%s' is missing)",
                       gguf_path(g), KEY("model"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!str_is(model, kinds[i].name)) continue;
        v->kind = kinds[i].kind;
        v->model = kinds[i].name;
        if (str_is(model, "gemma4")) pre = STR("gemma4");
        const size_t n = pre.n < sizeof v->pre ? pre.n : sizeof v->pre - 1;
        memcpy(v->pre, pre.p, n);
        return 0;
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: key '%s' is '%.*s'; supported: gpt2, gemma4, llama, bert, t5", gguf_path(g),
                   KEY("model"), (int)(model.n < 40 ? model.n : 40), model.p);
}

static int load_tokens(struct vocab *v, const struct gguf *g, struct err *e) {
    const struct gguf_kv *kv;
    const int found = gguf_get_arr(g, KEY("tokens"), GGUF_STR, &kv, e);
    if (found < 0) return -1;
    if (!found || kv->n == 0)
        return err_set(e, ERR_FORMAT,
                       "%s: key '%s' is missing or empty; a list of tokens is needed", gguf_path(g),
                       KEY("tokens"));
    if (kv->n > VOCAB_MAX_TOKENS)
        return err_set(e, ERR_FORMAT, "%s: key '%s' has %llu tokens; at most %d", gguf_path(g),
                       KEY("tokens"), (unsigned long long)kv->n, VOCAB_MAX_TOKENS);
    v->n = v->n_piece = (int)kv->n;
    v->cap_piece = v->n + 512; /* room for the pieces of bytes without growing */
    v->text = malloc((size_t)v->cap_piece * sizeof *v->text);
    if (!v->text || !symtab_init(&v->by_text, (uint32_t)v->cap_piece))
        return err_nomem(e, "vocabulary");
    uint64_t cursor = 0;
    for (int i = 0; i < v->n; i++) {
        v->text[i] = gguf_next_str(kv, &cursor);
        if (v->text[i].n > VOCAB_MAX_TOKEN_BYTES)
            return err_set(e, ERR_FORMAT, "%s: key '%s': token %d has %zu bytes; at most %d",
                           gguf_path(g), KEY("tokens"), i, v->text[i].n, VOCAB_MAX_TOKEN_BYTES);
        /* Empty texts are harmless: nothing ever reads as one. */
        const int32_t id = v->text[i].n > 0 ? symtab_add(&v->by_text, v->text, i) : i;
        if (id < 0)
            return err_set(e, ERR_FORMAT, "%s: key '%s': the tokens cannot be indexed",
                           gguf_path(g), KEY("tokens"));
        if (id != i)
            return err_set(e, ERR_FORMAT, "%s: key '%s': tokens %d and %d have the same text",
                           gguf_path(g), KEY("tokens"), id, i);
    }
    return 0;
}

/* The array under key, as long as the token list; NULL when absent. */
static int token_table(const struct vocab *v, const struct gguf *g, const char *key,
                       enum gguf_type elem, const struct gguf_kv **kv, struct err *e) {
    *kv = NULL;
    const int found = gguf_get_arr(g, key, elem, kv, e);
    if (found <= 0) return found;
    if ((*kv)->n != (uint64_t)v->n)
        return err_set(e, ERR_FORMAT, "%s: key '%s' has %llu entries; %d are needed, one per token",
                       gguf_path(g), key, (unsigned long long)(*kv)->n, v->n);
    return 0;
}

static int load_scores(struct vocab *v, const struct gguf *g, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, KEY("scores"));
    const bool whole = kv && kv->type == GGUF_ARR && kv->elem_type == GGUF_I32; /* some files */
    if (token_table(v, g, KEY("scores"), whole ? GGUF_I32 : GGUF_F32, &kv, e)) return -1;
    if (!kv && (v->kind == VOCAB_SPM || v->kind == VOCAB_UNIGRAM))
        return err_set(e, ERR_FORMAT, "%s: key '%s' is missing; this tokenizer needs it",
                       gguf_path(g), KEY("scores"));
    if (!kv) return 0;
    v->score = malloc((size_t)v->n * sizeof *v->score);
    if (!v->score) return err_nomem(e, "vocabulary");
    for (int i = 0; i < v->n; i++) {
        const uint64_t at = (uint64_t)i;
        v->score[i] = whole ? (float)gguf_int_at(kv, at) : (float)gguf_float_at(kv, at);
        if (isnan(v->score[i]))
            return err_set(e, ERR_FORMAT, "%s: key '%s': entry %d is not a number", gguf_path(g),
                           KEY("scores"), i);
        v->score[i] = fminf(fmaxf(v->score[i], -FLT_MAX), FLT_MAX) + 0.0f; /* no -0: sort keys */
    }
    return 0;
}

static int load_types(struct vocab *v, const struct gguf *g, struct err *e) {
    static const uint8_t attr_of[] = {[0] = ATTR_NORMAL,
                                      [TOKEN_NORMAL] = ATTR_NORMAL,
                                      [TOKEN_UNKNOWN] = ATTR_UNKNOWN,
                                      [TOKEN_CONTROL] = ATTR_CONTROL,
                                      [TOKEN_USER_DEFINED] = ATTR_USER,
                                      [TOKEN_UNUSED] = ATTR_UNUSED,
                                      [TOKEN_BYTE] = ATTR_BYTE};
    const struct gguf_kv *kv;
    if (token_table(v, g, KEY("token_type"), GGUF_I32, &kv, e)) return -1;
    v->attr = malloc((size_t)v->n);
    if (!v->attr) return err_nomem(e, "vocabulary");
    memset(v->attr, ATTR_NORMAL, (size_t)v->n);
    for (int i = 0; kv && i < v->n; i++) {
        const int64_t type = gguf_int_at(kv, (uint64_t)i);
        if (type < 0 || type > TOKEN_BYTE)
            return err_set(e, ERR_FORMAT, "%s: key '%s': entry %d is %lld; 1 to 6", gguf_path(g),
                           KEY("token_type"), i, (long long)type);
        v->attr[i] = attr_of[type];
        if (type == TOKEN_BYTE && vocab_parse_byte(v->text[i]) < 0)
            return err_set(e, ERR_FORMAT,
                           "%s: key '%s': token %d is typed as a byte but reads '%.*s'; <0x00> to "
                           "<0xFF>",
                           gguf_path(g), KEY("tokens"), i,
                           (int)(v->text[i].n < 20 ? v->text[i].n : 20), v->text[i].p);
    }
    return 0;
}

/* SPM and Unigram: the token of each byte, "<0xAB>" or else the byte itself. */
static void find_byte_tokens(struct vocab *v) {
    for (unsigned b = 0; b < 256; b++) {
        const char *hex = "0123456789ABCDEF";
        const char named[6] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'}, plain = (char)b;
        v->byte_id[b] = symtab_find(&v->by_text, v->text, (struct str){named, 6});
        if (v->byte_id[b] < 0)
            v->byte_id[b] = symtab_find(&v->by_text, v->text, (struct str){&plain, 1});
    }
}

/* Can text be cut before each run of U+2581 without losing a merge? */
static bool no_inner_blank(const struct vocab *v) {
    for (int i = 0; i < v->n; i++) {
        const struct str t = v->text[i];
        bool seen_other = false;
        for (size_t k = 0; k < t.n;) {
            if (t.n - k >= 3 && memcmp(t.p + k, BLANK_MARK, 3) == 0) {
                if (seen_other) return false;
                k += 3;
            } else {
                seen_other = true;
                k++;
            }
        }
    }
    return true;
}

static int load_words(struct vocab *v, struct err *e) {
    v->min_score = FLT_MAX;
    for (int i = 0; i < v->n; i++) {
        const struct str t = v->text[i];
        const unsigned a = v->attr[i];
        if (v->kind == VOCAB_UNIGRAM) {
            if (a == ATTR_NORMAL) v->min_score = fminf(v->min_score, vocab_score(v, i));
            if (a == ATTR_USER && t.n > 0 && !trie_add(&v->users, t, i)) goto nomem;
            if (!(a & (ATTR_NORMAL | ATTR_USER | ATTR_UNUSED))) continue;
        }
        if (a & ATTR_CONTROL || t.n == 0) continue; /* no text spells a control token */
        if (!trie_add(&v->words, t, i)) goto nomem;
    }
    return 0;
nomem:
    return err_nomem(e, "vocabulary");
}

static int load_charsmap(struct vocab *v, const struct gguf *g, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, KEY("precompiled_charsmap"));
    if (!kv) return 0;
    if (kv->type != GGUF_ARR || (kv->elem_type != GGUF_I8 && kv->elem_type != GGUF_U8))
        return err_set(e, ERR_FORMAT, "%s: key '%s' must be an array of int8 or uint8",
                       gguf_path(g), KEY("precompiled_charsmap"));
    if (kv->n == 0) return 0;
    uint32_t trie_bytes = 0;
    if (kv->n >= 4) memcpy(&trie_bytes, kv->data, 4);
    /* u32 length, that many bytes of u32 trie entries, then NUL-terminated replacements. */
    if (kv->n < 5 || trie_bytes > kv->n - 5 || kv->data[kv->n - 1] != 0)
        return err_set(e, ERR_FORMAT, "%s: key '%s' is cut short or not terminated", gguf_path(g),
                       KEY("precompiled_charsmap"));
    v->charsmap = (struct str){(const char *)kv->data, kv->n};
    return 0;
}

static int load_bpe(struct vocab *v, const struct gguf *g, struct err *e) {
    bool known;
    v->pretok = pretok_new(str_of(v->pre), &known, e);
    if (!v->pretok) return -1;
    if (!known)
        log_msg(LOG_WARN,
                "%s: pre-tokenizer '%s' is not known; text is cut as by 'default', which "
                "may cost quality",
                gguf_path(g), v->pre);
    const unsigned flags = pretok_flags(v->pretok);
    v->whole_words = flags & PRETOK_WHOLE_WORDS;
    v->whole_lines = flags & PRETOK_WHOLE_LINES;
    v->raw = flags & PRETOK_RAW;
    v->escape_blanks = flags & PRETOK_ESCAPE;
    v->clean_spaces = !(flags & PRETOK_KEEP_SPACES);
    v->special.add_bos = flags & PRETOK_ADD_BOS;
    v->special.add_sep = flags & PRETOK_ADD_SEP;
    if (v->raw) find_byte_tokens(v);
    return vocab_load_merges(v, g, e);
}

/* Defaults of each kind, before the file's own keys. */
static int load_tokenizer(struct vocab *v, const struct gguf *g, struct err *e) {
    struct vocab_special *s = &v->special;
    switch (v->kind) {
    case VOCAB_BPE:
        if (load_bpe(v, g, e)) return -1;
        break;
    case VOCAB_SPM:
        s->add_space_prefix = s->add_bos = true;
        v->escape_blanks = true;
        v->splits_at_blank = no_inner_blank(v);
        find_byte_tokens(v);
        break;
    case VOCAB_WORDPIECE:
        s->add_bos = s->add_sep = true;
        v->escape_blanks = v->clean_spaces = true;
        if (load_words(v, e)) return -1;
        break;
    case VOCAB_UNIGRAM:
        s->add_eos = true;
        v->escape_blanks = true;
        find_byte_tokens(v);
        if (load_words(v, e) || load_charsmap(v, g, e)) return -1;
        break;
    }
    const struct {
        const char *key;
        bool *out;
    } flags[] = {{KEY("add_space_prefix"), &s->add_space_prefix},
                 {KEY("remove_extra_whitespaces"), &v->merge_blanks},
                 {KEY("normalizer.lowercase"), &v->lowercase}};
    v->lowercase = true;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (gguf_get_bool(g, flags[i].key, flags[i].out, e) < 0) return -1;
    v->strip_accents = v->lowercase; /* unless the file says otherwise, as in BERT's own code */
    return gguf_get_bool(g, KEY("normalizer.strip_accents"), &v->strip_accents, e) < 0 ? -1 : 0;
}

struct vocab *vocab_load(const struct gguf *g, struct err *e) {
    struct vocab *v = calloc(1, sizeof *v);
    if (!v) {
        err_nomem(e, "vocabulary");
        return NULL;
    }
    if (load_kind(v, g, e) || load_tokens(v, g, e) || load_scores(v, g, e) || load_types(v, g, e) ||
        load_tokenizer(v, g, e) || vocab_load_special(v, g, e)) {
        vocab_free(v);
        return NULL;
    }
    return v;
}

void vocab_free(struct vocab *v) {
    if (!v) return;
    pretok_free(v->pretok);
    trie_fini(&v->specials);
    trie_fini(&v->words);
    trie_fini(&v->users);
    mergetab_fini(&v->merges);
    symtab_fini(&v->by_text);
    arena_fini(&v->arena);
    free(v->eog);
    free(v->score);
    free(v->attr);
    free(v->text);
    free(v);
}

int vocab_size(const struct vocab *v) {
    return v->n;
}

struct str vocab_text(const struct vocab *v, int32_t id) {
    return v->text[id];
}

enum token_attr vocab_attr(const struct vocab *v, int32_t id) {
    const unsigned a = v->attr[id];
    if (a & ATTR_CONTROL) return TOKEN_CONTROL;
    if (a & ATTR_USER) return TOKEN_USER_DEFINED;
    if (a & ATTR_UNKNOWN) return TOKEN_UNKNOWN;
    if (a & ATTR_BYTE) return TOKEN_BYTE;
    return a & ATTR_UNUSED ? TOKEN_UNUSED : TOKEN_NORMAL;
}

float vocab_score(const struct vocab *v, int32_t id) {
    return v->score ? v->score[id] : 0.0f;
}

const char *vocab_model(const struct vocab *v) {
    return v->model;
}

const struct vocab_special *vocab_special(const struct vocab *v) {
    return &v->special;
}

bool vocab_is_eog(const struct vocab *v, int32_t id) {
    for (int i = 0; i < v->n_eog; i++)
        if (v->eog[i] == id) return true;
    return false;
}

int32_t vocab_find(const struct vocab *v, struct str text) {
    const int32_t id = symtab_find(&v->by_text, v->text, text);
    return id < v->n ? id : -1;
}
