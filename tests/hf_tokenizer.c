/* Tokenizer files of a family: tokenizer.json (byte-level BPE, SentencePiece as BPE with byte
 * fallback, WordPiece) or SentencePiece's own tokenizer.model, and tokenizer_config.json. */
#include "hf_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "hf.h"

#define KEY(x) "tokenizer.ggml." x
#define BLANK "\xe2\x96\x81" /* U+2581 */

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

struct token {
    char *text; /* owned, as the published file has it */
    int type;
    float score;
};

struct words {
    struct token *v;
    int n;
    int n_piece; /* of tokenizer.model: later ones are added tokens */
    char model[8], pre[32];
    int bos, eos, unk;
    int add_bos, add_eos, space_prefix; /* -1: the file does not say */
};

static int id_of(const struct gguf *g, const char *key) {
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv ? (int)gguf_int_at(kv, 0) : -1;
}

static int flag_of(const struct gguf *g, const char *key) {
    bool b;
    struct err e;
    return gguf_get_bool(g, key, &b, &e) == 1 ? b : -1;
}

static void copy_str(const struct gguf *g, const char *key, char *out, size_t cap) {
    struct str s = {0};
    struct err e;
    if (gguf_get_str(g, key, &s, &e) == 1) snprintf(out, cap, "%.*s", (int)s.n, s.p);
}

/* WordPiece's own form: "##ing" for what follows, bare for what begins a word. */
static char *wordpiece(struct str s, int type) {
    struct buf b = {0};
    const int begins = s.n >= 3 && memcmp(s.p, BLANK, 3) == 0;
    if (type == NORMAL && !begins) buf_str(&b, "##");
    buf_append(&b, s.p + (begins ? 3 : 0), s.n - (begins ? 3 : 0));
    return b.p;
}

static void words_read(struct words *w, const struct gguf *g, enum hf_family f) {
    const struct gguf_kv *tokens = gguf_find(g, KEY("tokens"));
    const struct gguf_kv *types = gguf_find(g, KEY("token_type"));
    const struct gguf_kv *scores = gguf_find(g, KEY("scores"));
    uint64_t cursor = 0;
    *w = (struct words){.n = (int)tokens->n, .n_piece = (int)tokens->n};
    copy_str(g, KEY("model"), w->model, sizeof w->model);
    copy_str(g, KEY("pre"), w->pre, sizeof w->pre);
    w->bos = id_of(g, KEY("bos_token_id")), w->eos = id_of(g, KEY("eos_token_id"));
    w->unk = id_of(g, KEY("unknown_token_id"));
    w->add_bos = flag_of(g, KEY("add_bos_token")), w->add_eos = flag_of(g, KEY("add_eos_token"));
    w->space_prefix = flag_of(g, KEY("add_space_prefix"));
    w->v = calloc((size_t)w->n, sizeof *w->v);
    for (int i = 0; i < w->n; i++) {
        const struct str s = gguf_next_str(tokens, &cursor);
        struct token *t = &w->v[i];
        t->type = types ? (int)gguf_int_at(types, (uint64_t)i) : NORMAL;
        t->score = scores ? (float)gguf_float_at(scores, (uint64_t)i) : 0;
        t->text = strcmp(w->model, "bert") == 0 ? wordpiece(s, t->type) : strndup(s.p, s.n);
    }
    /* Phi-3's chat tokens are added ones, behind the pieces of Llama's tokenizer.model. */
    while (f == HF_PHI3 && w->n_piece > 3 && w->v[w->n_piece - 1].type == CONTROL)
        w->n_piece--;
}

static void words_fini(struct words *w) {
    for (int i = 0; i < w->n; i++)
        free(w->v[i].text);
    free(w->v);
}

static int is_added(const struct token *t) {
    return t->type == CONTROL || t->type == UNKNOWN || t->type == USER;
}

static json_t *added_token(const struct token *t) {
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", t->text, "lstrip", 0,
                     "normalized", 0, "rstrip", 0, "single_word", 0, "special", t->type != USER);
}

static json_t *added_tokens(const struct words *w) {
    json_t *a = json_array();
    for (int i = 0; i < w->n; i++) {
        if (!is_added(&w->v[i])) continue;
        json_t *t = added_token(&w->v[i]);
        json_object_set_new(t, "id", json_integer(i));
        json_array_append_new(a, t);
    }
    return a;
}

/* Model vocabulary: byte-level files keep the special tokens out of it, the others do not. */
static json_t *vocabulary(const struct words *w, int with_added) {
    json_t *v = json_object();
    for (int i = 0; i < w->n; i++)
        if (with_added || !is_added(&w->v[i]))
            json_object_set_new(v, w->v[i].text, json_integer(i));
    return v;
}

static json_t *merge(const char *a, size_t n_a, const char *b, size_t n_b, unsigned flags) {
    if (flags & HF_MERGES_AS_PAIRS) return json_pack("[s%, s%]", a, n_a, b, n_b);
    struct buf m = {0};
    buf_append(&m, a, n_a), buf_byte(&m, ' '), buf_append(&m, b, n_b);
    json_t *j = json_stringn(m.p, m.n);
    buf_fini(&m);
    return j;
}

static json_t *merges_of_file(const struct gguf *g, unsigned flags) {
    const struct gguf_kv *kv = gguf_find(g, KEY("merges"));
    json_t *a = json_array();
    uint64_t cursor = 0;
    for (uint64_t i = 0; kv && i < kv->n; i++) {
        const struct str s = gguf_next_str(kv, &cursor);
        const char *blank = memchr(s.p + 1, ' ', s.n - 1);
        const size_t n = (size_t)(blank - s.p);
        json_array_append_new(a, merge(s.p, n, blank + 1, s.n - n - 1, flags));
    }
    return a;
}

/* transformers' own conversion of a SentencePiece BPE: every split of a piece into two pieces is a
 * merge, best scored result first. */
static int by_score(const void *a, const void *b) {
    const struct token *x = *(const struct token *const *)a, *y = *(const struct token *const *)b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x < y ? -1 : x > y;
}

static json_t *merges_of_pieces(const struct words *w, const json_t *vocab, unsigned flags) {
    const struct token **order = malloc((size_t)w->n * sizeof *order);
    json_t *a = json_array();
    int n = 0;
    for (int i = 0; i < w->n; i++)
        if (w->v[i].type == NORMAL) order[n++] = &w->v[i];
    qsort(order, (size_t)n, sizeof *order, by_score);
    for (int i = 0; i < n; i++) {
        const char *t = order[i]->text;
        const size_t len = strlen(t);
        for (size_t k = 1; k < len; k++) {
            if (((unsigned char)t[k] & 0xc0) == 0x80) continue; /* within a code point */
            if (json_object_getn(vocab, t, k) && json_object_getn(vocab, t + k, len - k))
                json_array_append_new(a, merge(t, k, t + k, len - k, flags));
        }
    }
    free(order);
    return a;
}

#define CASELESS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTERS_UP "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LETTERS_LOW "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

static json_t *byte_level(int prefix, int regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix,
                     "trim_offsets", 1, "use_regex", regex);
}

/* As Meta-Llama-3, Qwen2, Phi-4-mini (o200k) and Granite publish it; NULL: not known. */
static json_t *pre_tokenizer(const char *pre) {
    static const char *const split[][2] = {
        {"llama-bpe", CASELESS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" TAIL},
        {"qwen2", CASELESS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" TAIL},
        {"gpt-4o", "[^\\r\\n\\p{L}\\p{N}]?" LETTERS_UP "*" LETTERS_LOW "+" CASELESS
                   "?|[^\\r\\n\\p{L}\\p{N}]?" LETTERS_UP "+" LETTERS_LOW "*" CASELESS
                   "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    };
    if (strcmp(pre, "starcoder") == 0)
        return json_pack("{s:s, s:[{s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type",
                         "Digits", "individual_digits", 1, byte_level(0, 1));
    for (size_t i = 0; i < sizeof split / sizeof *split; i++)
        if (strcmp(pre, split[i][0]) == 0)
            return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence",
                             "pretokenizers", "type", "Split", "pattern", "Regex", split[i][1],
                             "behavior", "Isolated", "invert", 0, byte_level(0, 0));
    return NULL;
}

static json_t *piece_of(const char *id) {
    return json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", id, "type_id", 0);
}

static json_t *sequence_of(const char *id) {
    return json_pack("{s:{s:s, s:i}}", "Sequence", "id", id, "type_id", 0);
}

/* <first> $A <last>; either may be -1. */
static json_t *template_of(const struct words *w, int first, int last) {
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    const int ends[] = {first, last};
    for (int k = 0; k < 2; k++)
        if (ends[k] >= 0)
            json_object_set_new(special, w->v[ends[k]].text,
                                json_pack("{s:s, s:[i], s:[s]}", "id", w->v[ends[k]].text, "ids",
                                          ends[k], "tokens", w->v[ends[k]].text));
    if (first >= 0) json_array_append_new(single, piece_of(w->v[first].text));
    json_array_append_new(single, sequence_of("A"));
    if (last >= 0) json_array_append_new(single, piece_of(w->v[last].text));
    json_array_extend(pair, single);
    json_array_append_new(pair, sequence_of("B"));
    if (last >= 0) json_array_append_new(pair, piece_of(w->v[last].text));
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", special);
}

static json_t *model_bpe(json_t *vocab, json_t *merges, int spm, int whole) {
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", spm ? json_string("<unk>") : json_null(),
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", spm,
                     "byte_fallback", spm, "ignore_merges", whole, "vocab", vocab, "merges",
                     merges);
}

static json_t *tokenizer_bpe(const struct gguf *g, const struct words *w, unsigned flags) {
    json_t *pre = pre_tokenizer(w->pre);
    if (!pre) {
        fprintf(stderr, "%s: pre-tokenizer %s has no published form here\n", gguf_path(g), w->pre);
        return NULL;
    }
    json_t *post = byte_level(0, 0);
    if (w->add_bos == 1)
        post = json_pack("{s:s, s:[o, o]}", "type", "Sequence", "processors", post,
                         template_of(w, w->bos, w->add_eos == 1 ? w->eos : -1));
    const int qwen = strcmp(w->pre, "qwen2") == 0;
    return json_pack(
        "{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
        "added_tokens", added_tokens(w), "normalizer",
        qwen ? json_pack("{s:s}", "type", "NFC") : json_null(), "pre_tokenizer", pre,
        "post_processor", post, "decoder", byte_level(0, 1), "model",
        model_bpe(vocabulary(w, 0), merges_of_file(g, flags), 0, strcmp(w->pre, "llama-bpe") == 0));
}

static json_t *replace(const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content",
                     to);
}

static json_t *tokenizer_spm(const struct words *w, enum hf_family f, unsigned flags) {
    const int gemma = f == HF_GEMMA2 || f == HF_GEMMA3;
    json_t *vocab = vocabulary(w, 1);
    json_t *merges = merges_of_pieces(w, vocab, flags);
    json_t *normalizer = replace(" ", BLANK);
    json_t *decoders =
        json_pack("[o, {s:s}, {s:s}]", replace(BLANK, " "), "type", "ByteFallback", "type", "Fuse");
    if (w->space_prefix != 0) {
        normalizer = json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers",
                               "type", "Prepend", "prepend", BLANK, normalizer);
        json_array_append_new(decoders, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip",
                                                  "content", " ", "start", 1, "stop", 0));
    }
    json_t *pre = gemma ? json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
                                    "String", " ", "behavior", "MergedWithPrevious", "invert", 0)
                        : json_null();
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:{s:s, s:o}, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added_tokens(w), "normalizer",
                     normalizer, "pre_tokenizer", pre, "post_processor",
                     template_of(w, w->add_bos == 1 ? w->bos : -1, w->add_eos == 1 ? w->eos : -1),
                     "decoder", "type", "Sequence", "decoders", decoders, "model",
                     model_bpe(vocab, merges, 1, 0));
}

static json_t *tokenizer_wordpiece(const struct words *w) {
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s, s:b, s:b, s:n, s:b}, s:{s:s}, s:o, s:{s:s, s:s, "
                     "s:b}, s:{s:s, "
                     "s:s, s:s, s:i, s:o}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added_tokens(w),
                     "normalizer", "type", "BertNormalizer", "clean_text", 1,
                     "handle_chinese_chars", 1, "strip_accents", "lowercase", 1, "pre_tokenizer",
                     "type", "BertPreTokenizer", "post_processor", template_of(w, w->bos, w->eos),
                     "decoder", "type", "WordPiece", "prefix", "##", "cleanup", 1, "model", "type",
                     "WordPiece", "unk_token", "[UNK]", "continuing_subword_prefix", "##",
                     "max_input_chars_per_word", 100, "vocab", vocabulary(w, 1));
}

/* Protocol buffers: field number and wire type, then the value. */
static void put_varint(struct buf *b, uint64_t v) {
    for (; v >= 128; v >>= 7)
        buf_byte(b, (char)(v | 128));
    buf_byte(b, (char)v);
}

static void put_int(struct buf *b, int field, int64_t v) {
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, (uint64_t)v);
}

static void put_bytes(struct buf *b, int field, const char *p, size_t n) {
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, n);
    buf_append(b, p, n);
}

/* sentencepiece_model.proto: pieces, trainer_spec, normalizer_spec. */
static int put_sentencepiece(const struct words *w, const char *dir) {
    struct buf all = {0}, part = {0};
    for (int i = 0; i < w->n_piece; i++) {
        const struct token *t = &w->v[i];
        buf_reset(&part);
        put_bytes(&part, 1, t->text, strlen(t->text));
        put_varint(&part, 2 << 3 | 5);
        buf_append(&part, &t->score, 4);
        if (t->type != NORMAL) put_int(&part, 3, t->type); /* 1 is the default */
        put_bytes(&all, 1, part.p, part.n);
    }
    buf_reset(&part);
    put_int(&part, 3, 2); /* model_type BPE */
    put_int(&part, 4, w->n_piece);
    put_int(&part, 35, 1); /* byte_fallback */
    put_int(&part, 40, w->unk), put_int(&part, 41, w->bos), put_int(&part, 42, w->eos);
    put_int(&part, 43, -1); /* pad_id */
    put_bytes(&all, 2, part.p, part.n);
    buf_reset(&part);
    put_bytes(&part, 1, "identity", 8);
    put_bytes(&part, 2, "", 0);
    put_int(&part, 3, w->space_prefix != 0); /* add_dummy_prefix */
    put_int(&part, 4, 0);                    /* remove_extra_whitespaces */
    put_bytes(&all, 3, part.p, part.n);
    int rc = hf_put(dir, "tokenizer.model", all.p, all.n);
    json_t *added = json_object();
    for (int i = w->n_piece; i < w->n; i++)
        json_object_set_new(added, w->v[i].text, json_integer(i));
    if (w->n > w->n_piece)
        rc |= hf_put_json(dir, "added_tokens.json", added);
    else
        json_decref(added);
    buf_fini(&all), buf_fini(&part);
    return rc;
}

static void set_token(json_t *c, const char *key, const struct words *w, int id) {
    json_object_set_new(c, key, id >= 0 ? json_string(w->v[id].text) : json_null());
}

static const char *class_of(const struct words *w, enum hf_family f) {
    if (hf_is_encoder(f)) return "BertTokenizer";
    if (f == HF_GEMMA2 || f == HF_GEMMA3) return "GemmaTokenizer";
    if (strcmp(w->model, "llama") == 0) return "LlamaTokenizer";
    if (strcmp(w->pre, "qwen2") == 0) return "Qwen2Tokenizer";
    if (strcmp(w->pre, "llama-bpe") == 0) return "PreTrainedTokenizerFast";
    return "GPT2Tokenizer";
}

/* Llama 3's class has no add_bos_token: its tokenizer.json's post_processor does it. */
static int put_tokenizer_config(const struct words *w, enum hf_family f, const char *dir) {
    json_t *c = json_pack("{s:s, s:b}", "tokenizer_class", class_of(w, f),
                          "clean_up_tokenization_spaces", hf_is_encoder(f));
    json_t *decoder = json_object();
    for (int i = 0; i < w->n; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        if (is_added(&w->v[i])) json_object_set_new(decoder, id, added_token(&w->v[i]));
    }
    json_object_set_new(c, "added_tokens_decoder", decoder);
    if (hf_is_encoder(f)) {
        static const char *const names[][2] = {{"unk_token", "[UNK]"},
                                               {"sep_token", "[SEP]"},
                                               {"pad_token", "[PAD]"},
                                               {"cls_token", "[CLS]"},
                                               {"mask_token", "[MASK]"}};
        for (size_t i = 0; i < 5; i++)
            json_object_set_new(c, names[i][0], json_string(names[i][1]));
        json_object_set_new(c, "do_lower_case", json_true());
        json_object_set_new(c, "strip_accents", json_null());
        json_object_set_new(c, "tokenize_chinese_chars", json_true());
        json_object_set_new(c, "model_max_length", json_integer(384));
        return hf_put_json(dir, "tokenizer_config.json", c);
    }
    set_token(c, "bos_token", w, w->bos), set_token(c, "eos_token", w, w->eos);
    set_token(c, "unk_token", w, w->unk);
    if (strcmp(w->pre, "llama-bpe") != 0) {
        if (w->add_bos >= 0) json_object_set_new(c, "add_bos_token", json_boolean(w->add_bos));
        if (w->add_eos >= 0) json_object_set_new(c, "add_eos_token", json_boolean(w->add_eos));
    }
    if (strcmp(w->model, "llama") == 0) {
        json_object_set_new(c, "sp_model_kwargs", json_object());
        json_object_set_new(c, "legacy", json_boolean(w->space_prefix != 0));
        /* LlamaTokenizer's name of add_dummy_prefix; its default is true. */
        if (w->space_prefix == 0) json_object_set_new(c, "add_prefix_space", json_false());
    }
    return hf_put_json(dir, "tokenizer_config.json", c);
}

static int put_vocab_txt(const struct words *w, const char *dir) {
    struct buf b = {0};
    for (int i = 0; i < w->n; i++)
        buf_str(&b, w->v[i].text), buf_byte(&b, '\n');
    const int rc = hf_put(dir, "vocab.txt", b.p, b.n);
    buf_fini(&b);
    return rc;
}

int hf_write_tokenizer(const struct gguf *g, enum hf_family f, const char *dir, unsigned flags) {
    struct words w;
    words_read(&w, g, f);
    int rc = put_tokenizer_config(&w, f, dir);
    const int spm = strcmp(w.model, "llama") == 0;
    json_t *t = NULL;
    if (hf_is_encoder(f)) {
        rc |= put_vocab_txt(&w, dir);
        t = tokenizer_wordpiece(&w);
    } else if (!spm) {
        t = tokenizer_bpe(g, &w, flags);
    } else if (!(flags & HF_TOKENIZER_MODEL)) {
        t = tokenizer_spm(&w, f, flags);
    }
    if (t)
        rc |= hf_put_json(dir, "tokenizer.json", t);
    else
        rc |= spm && flags & HF_TOKENIZER_MODEL ? put_sentencepiece(&w, dir) : -1;
    words_fini(&w);
    return rc;
}
