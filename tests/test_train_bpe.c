/* BPE training: against a trainer that recounts everything at every step, against the encoder of
 * text/, and on texts made to hurt it. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/utf8.h"
#include "sample/rng.h"
#include "text/chat/chat.h"
#include "text/pretok.h"
#include "text/vocab.h"
#include "train/bpe_train.h"

static char *dir;

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

/* ---- what is under test ---- */

static void learn(const struct bpe_opts *o, const struct str *text, size_t n,
                  struct bpe_tokens *out) {
    struct err e;
    struct bpe_trainer *t = bpe_trainer_new(o, &e);
    if (!t) fail_msg("%s", e.msg);
    for (size_t i = 0; i < n; i++)
        if (bpe_trainer_add(t, text[i], &e) != 0) fail_msg("%s", e.msg);
    if (bpe_trainer_learn(t, out, &e) != 0) fail_msg("%s", e.msg);
    bpe_trainer_free(t);
}

/* The tokenizer as a program has it: written, opened, loaded. */
struct loaded {
    struct gguf *g;
    struct vocab *v;
};

static struct loaded load(const struct bpe_tokens *b) {
    struct err e;
    struct loaded l;
    char path[600];
    snprintf(path, sizeof path, "%s/tok.gguf", dir);
    if (bpe_tokens_write(b, path, &e) != 0) fail_msg("%s", e.msg);
    l.g = gguf_open(path, &e);
    if (!l.g) fail_msg("%s", e.msg);
    l.v = vocab_load(l.g, &e);
    if (!l.v) fail_msg("%s", e.msg);
    return l;
}

static void unload(struct loaded *l) {
    vocab_free(l->v);
    gguf_close(l->g);
}

static void encode(const struct vocab *v, struct str text, struct ids *out) {
    struct err e;
    out->n = 0;
    if (tok_encode(v, text, (struct tok_opts){.add_special = true}, out, &e) != 0)
        fail_msg("%s", e.msg);
}

/* ---- the reference: a list of tokens for each word, everything counted anew ---- */

enum { REF_MAX_TOKENS = 700, REF_MAX_WORDS = 3000 };

struct ref_word {
    int id[256], n;
    long count;
};

struct ref {
    char text[REF_MAX_TOKENS][520];
    int len[REF_MAX_TOKENS], left[REF_MAX_TOKENS], right[REF_MAX_TOKENS], n;
    struct ref_word *word;
    int n_word;
};

static void ref_add_word(struct ref *r, const char *p, size_t n) {
    struct ref_word w = {.count = 1};
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++)
        w.id[w.n++] = (uint8_t)p[i];
    for (int i = 0; i < r->n_word; i++)
        if (r->word[i].n == w.n && memcmp(r->word[i].id, w.id, (size_t)w.n * sizeof(int)) == 0) {
            r->word[i].count++;
            return;
        }
    assert_true(r->n_word < REF_MAX_WORDS);
    r->word[r->n_word++] = w;
}

static void ref_begin(struct ref *r, const struct str *text, size_t n) {
    struct err e;
    bool known;
    struct cuts cuts = {0}, tmp = {0};
    struct pretok *p = pretok_new(STR(BPE_PRE), &known, &e);
    assert_true(p && known);
    for (int b = 0; b < 256; b++)
        r->text[b][0] = (char)b, r->len[b] = 1;
    r->n = 256;
    r->word = malloc(REF_MAX_WORDS * sizeof *r->word);
    r->n_word = 0;
    for (size_t i = 0; i < n; i++) {
        pretok_split(p, text[i], &cuts, &tmp);
        for (size_t k = 0, lo = 0; k < cuts.n; lo = cuts.end[k++])
            ref_add_word(r, text[i].p + lo, cuts.end[k] - lo);
    }
    cuts_fini(&cuts);
    cuts_fini(&tmp);
    pretok_free(p);
}

static bool ref_is_token(const struct ref *r, int a, int b) {
    char joined[1040];
    memcpy(joined, r->text[a], (size_t)r->len[a]);
    memcpy(joined + r->len[a], r->text[b], (size_t)r->len[b]);
    for (int i = 0; i < r->n; i++)
        if (r->len[i] == r->len[a] + r->len[b] &&
            memcmp(r->text[i], joined, (size_t)r->len[i]) == 0)
            return true;
    return false;
}

/* The most frequent pair that may be joined; ties: lowest ids. */
static bool ref_best(const struct ref *r, int max_bytes, int min_count, int *left, int *right) {
    static long count[REF_MAX_TOKENS][REF_MAX_TOKENS];
    long best = min_count - 1;
    memset(count, 0, sizeof count);
    for (int i = 0; i < r->n_word; i++)
        for (int k = 0; k + 1 < r->word[i].n; k++)
            count[r->word[i].id[k]][r->word[i].id[k + 1]] += r->word[i].count;
    for (int a = 0; a < r->n; a++)
        for (int b = 0; b < r->n; b++)
            if (count[a][b] > best && r->len[a] + r->len[b] <= max_bytes && !ref_is_token(r, a, b))
                best = count[a][b], *left = a, *right = b;
    return best >= min_count;
}

/* From left to right. */
static void ref_join(struct ref_word *w, int left, int right, int made) {
    int n = 0;
    for (int k = 0; k < w->n;) {
        const bool hit = k + 1 < w->n && w->id[k] == left && w->id[k + 1] == right;
        w->id[n++] = hit ? made : w->id[k];
        k += hit ? 2 : 1;
    }
    w->n = n;
}

static void ref_learn(struct ref *r, int n_merge, int max_bytes, int min_count) {
    int a = 0, b = 0;
    for (int m = 0; m < n_merge && ref_best(r, max_bytes, min_count, &a, &b); m++) {
        const int made = r->n++;
        r->left[made] = a, r->right[made] = b;
        memcpy(r->text[made], r->text[a], (size_t)r->len[a]);
        memcpy(r->text[made] + r->len[a], r->text[b], (size_t)r->len[b]);
        r->len[made] = r->len[a] + r->len[b];
        for (int i = 0; i < r->n_word; i++)
            ref_join(&r->word[i], a, b, made);
    }
}

static void compare(const struct str *text, size_t n, int n_vocab, int max_bytes, int min_count) {
    static struct ref r;
    struct bpe_tokens got;
    const struct bpe_opts o = {
        .n_vocab = n_vocab, .max_token_bytes = max_bytes, .min_count = min_count};
    learn(&o, text, n, &got);
    ref_begin(&r, text, n);
    ref_learn(&r, n_vocab - BPE_MIN_VOCAB, max_bytes, min_count);
    for (int m = 0; m < got.n_merge && 256 + m < r.n; m++)
        if (got.merge[m].left != r.left[256 + m] || got.merge[m].right != r.right[256 + m])
            fail_msg("merge %d joins %d and %d; the reference %d and %d", m, got.merge[m].left,
                     got.merge[m].right, r.left[256 + m], r.right[256 + m]);
    assert_int_equal(got.n_merge, r.n - 256);
    uint64_t n_piece = 0, n_word = 0;
    for (int i = 0; i < r.n_word; i++) {
        n_piece += (uint64_t)r.word[i].n * (uint64_t)r.word[i].count;
        n_word += (uint64_t)r.word[i].count;
    }
    assert_int_equal(got.n_piece, n_piece);
    assert_int_equal(got.n_word, n_word);
    assert_int_equal(got.n_distinct, r.n_word);
    bpe_tokens_fini(&got);
    free(r.word);
}

/* Text of words over few letters: many overlaps ("aaa") and ties. */
static size_t make_text(char *out, size_t room, int n_letter, int longest, uint64_t seed) {
    struct rng g;
    size_t n = 0;
    rng_seed(&g, seed);
    while (n + (size_t)longest + 1 < room) {
        const int len = 1 + (int)(rng_unit(&g) * longest);
        for (int i = 0; i < len; i++)
            out[n++] = (char)('a' + (int)(rng_unit(&g) * n_letter));
        out[n++] = " \n"[rng_unit(&g) < 0.1];
    }
    return n;
}

static const char prose[] =
    "The river had risen in the night, and by morning the lower meadow was a sheet of brown water. "
    "\"How long will it stay?\" the boy asked.\n\"Four days,\" said his grandmother.\n\nIt's 9:40; "
    "the trains at 12:10 don't wait -- 200 / 2.5 = 80.  Gr\xc3\xbc\xc3\x9f"
    "e aus K\xc3\xb6ln, "
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe6\x97\xa5\xe6\x9c\xac, "
    "\xf0\x9f\x98\x80\xf0\x9f\x98\x80!!!\tfor (int i = 0; i < n; i++) { a[i] = a[i + 1]; }\n";

static void test_reference(void **state) {
    (void)state;
    static char text[4000];
    const struct {
        int n_letter, longest;
        size_t room;
    } kinds[] = {{1, 40, 800}, {2, 12, 2000}, {2, 200, 3000}, {3, 30, 3000}, {26, 6, 3900}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            const size_t n =
                make_text(text, kinds[k].room, kinds[k].n_letter, kinds[k].longest, seed);
            const struct str half[2] = {{text, n / 2}, {text + n / 2, n - n / 2}};
            compare(half, 2, 380, seed % 2 ? 6 : 256, seed < 2 ? 2 : 1);
        }
    compare(&STR(prose), 1, 600, 64, 2);
    compare(&STR(prose), 1, 600, 64, 1);
}

/* ---- with the encoder ---- */

/* Encoding the corpus gives as many tokens as learning ended with, and each word is the pieces of
 * the reference. */
static void test_encoder(void **state) {
    (void)state;
    static char text[200000];
    static struct ref r;
    for (int n_letter = 1; n_letter <= 5; n_letter += 2) {
        const struct str s = {text, make_text(text, n_letter == 1 ? 3000 : 6000, n_letter, 60, 7)};
        struct bpe_tokens b;
        struct ids ids = {0}, word = {0};
        learn(&(struct bpe_opts){.n_vocab = 450, .min_count = 1}, &s, 1, &b);
        struct loaded l = load(&b);
        encode(l.v, s, &ids);
        assert_int_equal(ids.n, b.n_piece);
        ref_begin(&r, &s, 1);
        struct ref_word *plain = malloc((size_t)r.n_word * sizeof *plain);
        memcpy(plain, r.word, (size_t)r.n_word * sizeof *plain);
        ref_learn(&r, 450 - BPE_MIN_VOCAB, 64, 1);
        for (int i = 0; i < r.n_word; i++) {
            char bytes[256];
            for (int k = 0; k < plain[i].n; k++)
                bytes[k] = (char)plain[i].id[k];
            encode(l.v, (struct str){bytes, (size_t)plain[i].n}, &word);
            assert_int_equal(word.n, r.word[i].n);
            for (int k = 0; k < r.word[i].n; k++)
                assert_int_equal(word.v[k], r.word[i].id[k]);
        }
        free(plain), free(r.word);
        ids_fini(&ids), ids_fini(&word);
        unload(&l);
        bpe_tokens_fini(&b);
    }
}

static void comes_back(const struct vocab *v, struct str text) {
    struct err e;
    struct ids ids = {0};
    struct buf out = {0};
    encode(v, text, &ids);
    if (tok_decode(v, ids.v, ids.n, (struct detok_opts){0}, &out, &e) != 0) fail_msg("%s", e.msg);
    if (!str_eq(buf_view(&out), text))
        fail_msg("%zu bytes \"%.*s\" came back as \"%.*s\"", text.n, (int)text.n, text.p,
                 (int)out.n, out.p ? out.p : "");
    ids_fini(&ids);
    buf_fini(&out);
}

static void golden_text(void *ctx, int line, json_t *c) {
    (void)line;
    const json_t *t = json_object_get(c, "text");
    if (!json_is_string(t)) return;
    comes_back(ctx, (struct str){json_string_value(t), json_string_length(t)});
}

static void test_round_trip(void **state) {
    (void)state;
    struct bpe_tokens b;
    struct rng g;
    char text[4 * 60];
    learn(&(struct bpe_opts){.n_vocab = 500}, &STR(prose), 1, &b);
    struct loaded l = load(&b);
    comes_back(l.v, STR(prose));
    comes_back(l.v, STR(""));
    comes_back(l.v, STR("<|im_start|>user\nx<|im_end|> <|endoftext|> . , ! ' s 's\0\x01\x7f"));
    assert_true(each_jsonl(golden("tokenizer/tiny-llama32.jsonl"), golden_text, l.v) >= 300);
    rng_seed(&g, 3);
    for (int i = 0; i < 2000; i++) {
        size_t n = 0;
        for (int k = (int)(rng_unit(&g) * 60); k > 0; k--) {
            static const double top[] = {0x80, 0x300, 0x10000, 0x110000};
            n += (size_t)utf8_encode((uint32_t)(rng_unit(&g) * top[rng_next(&g) % 4]), text + n);
        }
        comes_back(l.v, (struct str){text, n});
    }
    unload(&l);
    bpe_tokens_fini(&b);
}

/* The roles of the control tokens, and that no text becomes one. */
static void test_control(void **state) {
    (void)state;
    static const char *const extra[] = {"<|tool|>", "<|memo|>"};
    struct bpe_tokens b;
    struct ids ids = {0};
    struct err e;
    learn(&(struct bpe_opts){.n_vocab = 300, .min_count = 1, .extra = extra, .n_extra = 2},
          &STR(prose), 1, &b);
    assert_int_equal(b.n, 300);
    struct loaded l = load(&b);
    const struct vocab_special *s = vocab_special(l.v);
    assert_int_equal(vocab_size(l.v), 300);
    assert_int_equal(s->bos, bpe_control(&b, BPE_END_OF_TEXT));
    assert_int_equal(s->eos, bpe_control(&b, BPE_IM_END));
    assert_int_equal(vocab_find(l.v, STR("<|im_start|>")), bpe_control(&b, BPE_IM_START));
    assert_int_equal(vocab_find(l.v, STR("<|memo|>")), 299);
    assert_int_equal(vocab_attr(l.v, 298), TOKEN_CONTROL);
    assert_true(vocab_is_eog(l.v, s->eos) && vocab_is_eog(l.v, s->bos));
    assert_false(vocab_is_eog(l.v, bpe_control(&b, BPE_IM_START)) || s->add_bos || s->add_eos);
    encode(l.v, STR("<|im_start|><|memo|>"), &ids);
    for (size_t i = 0; i < ids.n; i++)
        assert_true(ids.v[i] < 256 + b.n_merge);
    ids.n = 0;
    assert_int_equal(tok_encode(l.v, STR("<|im_start|><|memo|>"),
                                (struct tok_opts){.parse_special = true}, &ids, &e),
                     0);
    assert_int_equal(ids.n, 2);
    ids_fini(&ids);
    unload(&l);
    bpe_tokens_fini(&b);
}

static void test_template(void **state) {
    (void)state;
    static const struct chat_message turns[] = {{{"user", 4}, {"Hi", 2}}};
    const struct chat_input in = {.message = turns, .n = 1, .add_generation_prompt = true};
    struct bpe_tokens b;
    struct err e;
    struct str source;
    struct chat_prompt p = {0};
    struct ids ids = {0};
    learn(&(struct bpe_opts){.n_vocab = 300}, &STR(prose), 1, &b);
    struct loaded l = load(&b);
    assert_int_equal(gguf_get_str(l.g, "tokenizer.chat_template", &source, &e), 1);
    struct chat_template *t = chat_template_new(source, &e);
    assert_non_null(t);
    assert_string_equal(chat_template_name(t), "chatml");
    assert_int_equal(chat_render(t, &in, &p, &e), 0);
    assert_string_equal(p.text.p, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    assert_int_equal(chat_encode(l.v, &p, &ids, &e), 0);
    assert_int_equal(ids.v[0], bpe_control(&b, BPE_IM_START));
    ids_fini(&ids);
    chat_prompt_fini(&p);
    chat_template_free(t);
    unload(&l);
    bpe_tokens_fini(&b);
}

/* ---- what it depends on ---- */

static void same_tokens(const struct bpe_tokens *a, const struct bpe_tokens *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_merge, b->n_merge);
    assert_memory_equal(a->merge, b->merge, (size_t)a->n_merge * sizeof *a->merge);
}

/* Texts in another order, cut at words: the same tokens. */
static void test_order(void **state) {
    (void)state;
    static char text[20000];
    struct str part[4];
    struct bpe_tokens a, b;
    const size_t n = make_text(text, sizeof text, 4, 9, 11);
    for (size_t i = 0, at = 0; i < 4; i++) {
        size_t end = i == 3 ? n : n / 4 * (i + 1);
        while (end < n && text[end] != '\n') /* a line begins a word */
            end++;
        if (end < n) end++;
        part[i] = (struct str){text + at, end - at};
        at = end;
    }
    const struct str swapped[4] = {part[2], part[0], part[3], part[1]};
    learn(&(struct bpe_opts){.n_vocab = 700}, part, 4, &a);
    learn(&(struct bpe_opts){.n_vocab = 700}, swapped, 4, &b);
    assert_int_equal(a.n, 700);
    same_tokens(&a, &b);
    bpe_tokens_fini(&a), bpe_tokens_fini(&b);
}

/* ---- hostile ---- */

static void refuses(const struct bpe_opts *o, const char *says) {
    struct err e;
    struct bpe_trainer *t = bpe_trainer_new(o, &e);
    assert_null(t);
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" is not in: %s", says, e.msg);
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const twice[] = {"<|a|>", "<|a|>"}, *const known[] = {"<|im_end|>"},
                             *const empty[] = {""};
    struct err e;
    struct bpe_tokens b;
    refuses(&(struct bpe_opts){.n_vocab = 258}, "258 tokens; 259");
    refuses(&(struct bpe_opts){.n_vocab = 259, .extra = empty, .n_extra = 1}, "259 tokens; 260");
    refuses(&(struct bpe_opts){.n_vocab = BPE_MAX_VOCAB + 1}, "262144");
    refuses(&(struct bpe_opts){.n_vocab = -1}, "-1 tokens");
    refuses(&(struct bpe_opts){.extra = empty, .n_extra = 1}, "0 bytes");
    refuses(&(struct bpe_opts){.extra = twice, .n_extra = 2}, "comes twice");
    refuses(&(struct bpe_opts){.extra = known, .n_extra = 1}, "comes twice");
    refuses(&(struct bpe_opts){.max_token_bytes = 2000}, "1024");
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){0}, &e);
    assert_int_equal(bpe_trainer_add(t, STR(""), &e), 0);
    assert_int_equal(bpe_trainer_learn(t, &b, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    bpe_tokens_fini(&b);
    bpe_trainer_free(t);
}

/* Bytes only, and one merge. */
static void test_smallest(void **state) {
    (void)state;
    struct bpe_tokens b;
    struct ids ids = {0};
    learn(&(struct bpe_opts){.n_vocab = 259}, &STR("abab"), 1, &b);
    assert_int_equal(b.n, 259);
    struct loaded l = load(&b);
    encode(l.v, STR("abab"), &ids);
    assert_int_equal(ids.n, 4);
    unload(&l);
    bpe_tokens_fini(&b);
    learn(&(struct bpe_opts){.n_vocab = 260}, &STR("abab"), 1, &b);
    assert_int_equal(b.n_merge, 1);
    assert_int_equal(b.merge[0].left, 'a');
    bpe_tokens_fini(&b);
    /* Nothing comes twice: nothing to join. */
    learn(&(struct bpe_opts){0}, &STR("abcd"), 1, &b);
    assert_int_equal(b.n, BPE_MIN_VOCAB);
    bpe_tokens_fini(&b);
    ids_fini(&ids);
}

static void learns_within(struct str text, double seconds, int n_vocab, struct bpe_tokens *b) {
    const int64_t t0 = os_now_ns();
    learn(&(struct bpe_opts){.n_vocab = n_vocab}, &text, 1, b);
    const double took = (double)(os_now_ns() - t0) * 1e-9;
    if (!SANITIZED && took > seconds) fail_msg("%zu bytes took %.1f s", text.n, took);
}

/* One word of a million bytes: equal ones, random ones, two letters. */
static void test_giant_words(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    char *text = malloc(N);
    struct bpe_tokens b;
    struct rng g;
    rng_seed(&g, 5);
    memset(text, 'a', N);
    learns_within((struct str){text, N}, 10, 4096, &b);
    assert_int_equal(b.n_distinct, 1);
    assert_int_equal(b.n_piece, N / 64); /* the longest token */
    bpe_tokens_fini(&b);
    for (size_t i = 0; i < N; i++)
        text[i] = (char)('a' + rng_next(&g) % 26);
    learns_within((struct str){text, N}, 20, 4096, &b);
    assert_int_equal(b.n, 4096);
    bpe_tokens_fini(&b);
    for (size_t i = 0; i < N; i++)
        text[i] = (char)('a' + rng_next(&g) % 2);
    learns_within((struct str){text, N}, 20, 4096, &b);
    assert_int_equal(b.n, 4096);
    bpe_tokens_fini(&b);
    free(text);
}

/* Any bytes are taken; what is no UTF-8 counts as U+FFFD. */
static void test_wrong_utf8(void **state) {
    (void)state;
    enum { N = 100000 };
    char *text = malloc(N);
    struct bpe_tokens a, b;
    struct rng g;
    struct ids ids = {0};
    rng_seed(&g, 9);
    for (size_t i = 0; i < N; i++)
        text[i] = (char)rng_next(&g);
    learns_within((struct str){text, N}, 10, 2000, &b);
    struct loaded l = load(&b);
    encode(l.v, (struct str){text, N}, &ids);
    assert_int_equal(ids.n, b.n_piece);
    ids_fini(&ids);
    unload(&l);
    bpe_tokens_fini(&b);
    free(text);
    learn(&(struct bpe_opts){.n_vocab = 265}, &STR("x\xff\xffy \xc3 \xed\xa0\x80"), 1, &a);
    learn(&(struct bpe_opts){.n_vocab = 265},
          &STR("x\xef\xbf\xbd\xef\xbf\xbdy \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"), 1,
          &b);
    same_tokens(&a, &b);
    bpe_tokens_fini(&a), bpe_tokens_fini(&b);
}

/* More distinct words than memory is given for. */
static void test_too_many_words(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    struct err e = {0};
    char *text = malloc(N);
    memset(text, 'a', N);
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){0}, &e);
    int i = 0;
    for (; i < 80; i++) {
        snprintf(text + N / 2, 4, "%c%cx", 'a' + i % 26, 'a' + i / 26);
        text[N / 2 + 3] = 'a';
        if (bpe_trainer_add(t, (struct str){text, N}, &e) != 0) break;
    }
    assert_int_equal(i, 64);
    assert_int_equal(e.code, ERR_LIMIT);
    bpe_trainer_free(t);
    free(text);
}

static void test_stop(void **state) {
    (void)state;
    const volatile int stop = 1;
    struct err e;
    struct bpe_tokens b;
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.stop = &stop}, &e);
    assert_int_equal(bpe_trainer_add(t, STR(prose), &e), 0);
    assert_int_equal(bpe_trainer_learn(t, &b, &e), -1);
    assert_int_equal(e.code, ERR_CANCELLED);
    bpe_tokens_fini(&b);
    bpe_trainer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),      cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_control),
        cmocka_unit_test(test_template),       cmocka_unit_test(test_order),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_smallest),
        cmocka_unit_test(test_giant_words),    cmocka_unit_test(test_wrong_utf8),
        cmocka_unit_test(test_too_many_words), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
