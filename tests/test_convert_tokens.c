/* Forms in which tokenizers come in Hugging Face folders: vocabularies shorter than the embedding,
 * holes, chat templates, what is put around a text, and files that are broken. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hf.h"
#include "hf_edit.h"
#include "hub_rig.h"
#include "text/vocab.h"

#define KEY(x) "tokenizer.ggml." x
#define ST "model.safetensors"
#define TJ "tokenizer.json"
#define TC "tokenizer_config.json"

static const char *write_golden(const char *as, const char *name, unsigned flags) {
    const char *const d = hub_path(as);
    assert_int_equal(hf_write(hub_golden(name), d, flags), 0);
    return d;
}

static void same_str(const struct gguf *g, const char *key, const char *want) {
    struct str s = STR("");
    struct err e;
    if (gguf_get_str(g, key, &s, &e) != 1) fail_msg("no %s", key);
    if (!str_is(s, want)) fail_msg("%s is '%.*s', not '%s'", key, (int)s.n, s.p, want);
}

/* The embedding of a folder gets n rows. */
static void set_rows(const char *d, int n) {
    hf_add_tensor(d, ST, "model.embed_tokens.weight", "F32", n, 64);
    hf_set(d, "config.json", "vocab_size", json_integer(n));
}

struct words {
    struct gguf *g; /* holds the texts of v */
    struct vocab *v;
};

static struct words words_of(const char *path) {
    struct err e;
    struct words w = {.g = hub_open(path)};
    w.v = vocab_load(w.g, &e);
    if (!w.v) fail_msg("%s", e.msg);
    return w;
}

static void words_fini(struct words *w) {
    vocab_free(w->v);
    gguf_close(w->g);
}

/* Rows behind the tokens are nobody's: no text gives them. */
static void padding_rows(void **state) {
    (void)state;
    static const char *const names[] = {"llama32", "gemma3", "phi3-4k"};
    for (int i = 0; i < 6; i++) {
        char path[1400], as[40];
        const unsigned flags = i > 3 ? HF_TOKENIZER_MODEL : 0;
        if (i == 3) continue; /* byte-level BPE has no tokenizer.model */
        snprintf(as, sizeof as, "padded%d", i);
        const char *const d = write_golden(as, names[i % 3], flags);
        struct gguf *g = hub_open(hub_golden(names[i % 3]));
        const int n = (int)gguf_find(g, KEY("tokens"))->n;
        gguf_close(g);
        set_rows(d, n + 16);
        if (strcmp(names[i % 3], "phi3-4k") == 0)
            hf_add_tensor(d, ST, "lm_head.weight", "F32", n + 16, 64);
        hub_folder(as, path);
        struct words w = words_of(path);
        assert_int_equal(vocab_size(w.v), n + 16);
        for (int k = n; k < n + 16; k++)
            assert_int_equal(vocab_attr(w.v, k), TOKEN_UNUSED);
        assert_int_not_equal(vocab_attr(w.v, n - 1), TOKEN_UNUSED);
        words_fini(&w);
    }
}

static json_t *added(int id, const char *text, int special) {
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text,
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                     special);
}

static void add_token(const char *d, json_t *token) {
    json_t *t = hf_get(d, TJ);
    json_array_append_new(json_object_get(t, "added_tokens"), token);
    hf_replace(d, TJ, t);
}

static void added_tokens_with_holes(void **state) {
    (void)state;
    char path[1400];
    const char *const d = write_golden("holes", "llama32", 0);
    set_rows(d, 456);
    add_token(d, added(450, "<|late|>", 1));
    add_token(d, added(453, "plain_one", 0));
    hub_folder("holes", path);
    struct words w = words_of(path);
    static const int want[] = {TOKEN_UNUSED, TOKEN_UNUSED,       TOKEN_CONTROL, TOKEN_UNUSED,
                               TOKEN_UNUSED, TOKEN_USER_DEFINED, TOKEN_UNUSED,  TOKEN_UNUSED};
    for (int i = 0; i < 8; i++)
        assert_int_equal(vocab_attr(w.v, 448 + i), want[i]);
    struct ids ids = {0};
    struct err e;
    const struct tok_opts o = {.parse_special = true};
    assert_int_equal(tok_encode(w.v, STR("<|late|>plain_one"), o, &ids, &e), 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.v[0], 450);
    assert_int_equal(ids.v[1], 453);
    ids_fini(&ids);
    words_fini(&w);
}

/* gemma-3-1b names an image token behind the last row of its embedding. */
static void added_token_over_the_rows(void **state) {
    (void)state;
    char path[1400];
    const char *const d = write_golden("over", "gemma3", 0);
    add_token(d, added(448, "<image_soft_token>", 1));
    hub_warned("over", "<image_soft_token>", path);
    struct words w = words_of(path);
    assert_int_equal(vocab_size(w.v), 448);
    words_fini(&w);
}

static void chat_templates(void **state) {
    (void)state;
    char path[1400];
    const char *const d = write_golden("chat", "llama32", 0);
    hf_set(d, TC, "chat_template", json_string("{{ 'one' }}"));
    hub_folder("chat", path);
    struct gguf *g = hub_open(path);
    same_str(g, "tokenizer.chat_template", "{{ 'one' }}");
    gguf_close(g);
    hf_set(d, TC, "chat_template",
           json_pack("[{s:s, s:s}, {s:s, s:s}]", "name", "tool_use", "template", "{{ 'tools' }}",
                     "name", "default", "template", "{{ 'two' }}"));
    hub_folder("chat", path);
    g = hub_open(path);
    same_str(g, "tokenizer.chat_template", "{{ 'two' }}");
    gguf_close(g);
    hf_text(d, "chat_template.jinja", "{{ 'three' }}\n");
    hub_folder("chat", path); /* the file wins, as in transformers */
    g = hub_open(path);
    same_str(g, "tokenizer.chat_template", "{{ 'three' }}\n");
    gguf_close(g);
    hf_remove(d, "chat_template.jinja");
    hf_set(d, TC, "chat_template", NULL);
    hub_folder("chat", path);
    g = hub_open(path);
    assert_null(gguf_find(g, "tokenizer.chat_template"));
    gguf_close(g);
}

static void adds(const char *as, bool bos, bool eos) {
    char path[1400];
    hub_folder(as, path);
    struct words w = words_of(path);
    const struct vocab_special *s = vocab_special(w.v);
    if (s->add_bos != bos || s->add_eos != eos)
        fail_msg("%s: bos %d, eos %d", as, s->add_bos, s->add_eos);
    words_fini(&w);
}

static json_t *special(const char *id) {
    return json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", id, "type_id", 0);
}

/* TemplateProcessing of a single text: bos $A, bos $A eos, $A. */
static json_t *processor(const char *bos, const char *eos) {
    json_t *single = json_array();
    if (bos) json_array_append_new(single, special(bos));
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    if (eos) json_array_append_new(single, special(eos));
    return json_pack("{s:s, s:o, s:[], s:{}}", "type", "TemplateProcessing", "single", single,
                     "pair", "special_tokens");
}

static void text_of(const char *name, int id, char out[64]) {
    struct words w = words_of(hub_golden(name));
    const struct str s = vocab_text(w.v, id);
    snprintf(out, 64, "%.*s", (int)s.n, s.p);
    words_fini(&w);
}

/* Llama 3's class has no add_bos_token: the post-processor alone says it. */
static void what_is_put_around(void **state) {
    (void)state;
    char bos[64], eos[64];
    const char *const d = write_golden("around", "llama32", 0);
    text_of("llama32", 442, bos), text_of("llama32", 446, eos);
    adds("around", true, false); /* a Sequence of ByteLevel and TemplateProcessing */
    hf_set(d, TJ, "post_processor", processor(bos, NULL));
    adds("around", true, false);
    hf_set(d, TJ, "post_processor", processor(bos, eos));
    adds("around", true, true);
    hf_set(d, TJ, "post_processor", processor(NULL, eos));
    adds("around", false, true);
    hf_set(d, TJ, "post_processor", processor(NULL, NULL));
    adds("around", false, false);
    hf_set(d, TJ, "post_processor",
           json_pack("{s:s, s:[o]}", "type", "Sequence", "processors", processor(bos, eos)));
    adds("around", true, true);
    hf_set(d, TJ, "post_processor", json_null());
    adds("around", false, false);
}

/* LlamaTokenizer and GemmaTokenizer build their post-processor of these. */
static void settings_beat_the_processor(void **state) {
    (void)state;
    const char *const d = write_golden("beat", "gemma3", 0);
    adds("beat", true, false);
    hf_set(d, TC, "add_bos_token", json_false());
    hf_set(d, TC, "add_eos_token", json_true());
    adds("beat", false, true);
    hf_set(d, TC, "add_bos_token", NULL);
    hf_set(d, TC, "add_eos_token", NULL);
    adds("beat", true, false); /* the processor's */
}

static void vocab_txt_alone(void **state) {
    (void)state;
    const char *const d = write_golden("plain", "bert", 0);
    hf_remove(d, TJ);
    hub_same_as_golden("plain", "bert");
}

static void sentencepiece_that_is_broken(void **state) {
    (void)state;
    const char *const d = write_golden("spm", "phi3-4k", HF_TOKENIZER_MODEL);
    char file[1400];
    size_t n;
    snprintf(file, sizeof file, "%s/tokenizer.model", d);
    uint8_t *whole = slurp(file, &n), *p = malloc(n + 16);
    static const char *const short_ones[] = {"", "this is no protocol buffer at all\n", "\x0f",
                                             "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                                             "\x0a\x05\x0a\xff\xff\xff\x7f"};
    for (int i = 0; i < 5; i++) {
        hf_text(d, "tokenizer.model", short_ones[i]);
        REFUSED("spm", "tokenizer.model");
    }
    static const size_t cuts[] = {1, 2, 9, 100, 1000};
    for (int i = 0; i < 5; i++) {
        hf_bytes(d, "tokenizer.model", whole, n - cuts[i]);
        REFUSED("spm", "tokenizer.model");
    }
    memcpy(p, whole, n);
    uint8_t *score = memchr(p, 2 << 3 | 5, n); /* of the first piece */
    const float nan = NAN;
    memcpy(score + 1, &nan, 4);
    hf_bytes(d, "tokenizer.model", p, n);
    REFUSED("spm", "tokenizer.model", "score");
    memcpy(p, whole, n);
    memcpy(p + n, "\x12\x02\x18\x01", 4); /* trainer_spec.model_type: the last one counts */
    hf_bytes(d, "tokenizer.model", p, n + 4);
    REFUSED("spm", "tokenizer.model", "igram");
    hf_bytes(d, "tokenizer.model", whole, n);
    char path[1400];
    hub_folder("spm", path);
    set_rows(d, 300);
    REFUSED("spm", "tokenizer.model");
    free(whole), free(p);
}

/* One change of tokenizer.json, which must be refused; then the file is as it was. */
static void broken(const char *d, const char *key, json_t *v, const char *word) {
    json_t *was = hf_get(d, TJ);
    hf_set(d, TJ, key, v);
    REFUSED(strrchr(d, '/') + 1, TJ, word);
    hf_replace(d, TJ, was);
}

static void json_that_is_broken(void **state) {
    (void)state;
    char d[1100];
    snprintf(d, sizeof d, "%s", write_golden("json", "llama32", 0));
    broken(d, "model", NULL, "model");
    broken(d, "model", json_string("BPE"), "model");
    broken(d, "model.type", json_string("WordLevel"), "WordLevel");
    broken(d, "model.type", json_string("Unigram"), "Unigram");
    broken(d, "model.vocab", json_array(), "vocab");
    broken(d, "model.vocab", NULL, "vocab");
    broken(d, "model.vocab", json_pack("{s:s}", "a", "0"), "\"a\"");
    broken(d, "model.vocab", json_pack("{s:i}", "a", -1), "-1");
    broken(d, "model.vocab", json_pack("{s:i}", "a", 448), "448");
    broken(d, "model.vocab", json_pack("{s:i, s:i}", "a", 5, "b", 5), "5");
    broken(d, "model.merges", json_string("t h"), "merges");
    broken(d, "model.merges", json_pack("[s]", "th"), "merge");
    broken(d, "model.merges", json_pack("[[s]]", "t"), "merge");
    broken(d, "model.merges", json_pack("[[s, i]]", "t", 1), "merge");
    broken(d, "model.merges", NULL, "merges");
    broken(d, "added_tokens", json_pack("[{s:i}]", "id", 3), "added_tokens");
    broken(d, "added_tokens", json_pack("[{s:s}]", "content", "<s>"), "added_tokens");
    hf_text(d, TJ, "{\"model\": {\"type\": \"BPE\", ");
    REFUSED("json", TJ);
    hf_text(d, TJ, "");
    REFUSED("json", TJ);
    hf_text(d, TJ, "[1, 2]");
    REFUSED("json", TJ);
}

static void words_of_unknown_cut(void **state) {
    (void)state;
    char path[1400];
    const char *const d = write_golden("cut", "llama32", 0);
    hf_set(d, TJ, "pre_tokenizer",
           json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type",
                     "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex",
                     "[a-m]+|[n-z]+|\\s+", "behavior", "Isolated", "invert", 0, "type", "ByteLevel",
                     "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0));
    hub_warned("cut", "pre-tokenizer", path);
    struct gguf *g = hub_open(path);
    same_str(g, KEY("pre"), "default");
    gguf_close(g);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_rows),
        cmocka_unit_test(added_tokens_with_holes),
        cmocka_unit_test(added_token_over_the_rows),
        cmocka_unit_test(chat_templates),
        cmocka_unit_test(what_is_put_around),
        cmocka_unit_test(settings_beat_the_processor),
        cmocka_unit_test(vocab_txt_alone),
        cmocka_unit_test(sentencepiece_that_is_broken),
        cmocka_unit_test(json_that_is_broken),
        cmocka_unit_test(words_of_unknown_cut),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, hub_set_up, hub_tear_down);
}
