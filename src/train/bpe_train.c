/* A BPE trainer from outside: options checked, texts cut into words, the result completed. */
#include "train/bpe_train.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "train/bpe_priv.h"

enum { MAX_TOKEN_BYTES = 1024, MAX_EXTRA_BYTES = 256 };

static const char *const control_text[BPE_N_CONTROL] = {
    [BPE_END_OF_TEXT] = "<|endoftext|>",
    [BPE_IM_START] = "<|im_start|>",
    [BPE_IM_END] = "<|im_end|>",
};

struct bpe_trainer {
    struct bpe_opts o; /* defaults filled in */
    struct pretok *pretok;
    struct bpe_words words;
    struct cuts cuts, tmp;
    struct buf clean; /* a text made valid */
};

static const char *control_at(const struct bpe_opts *o, int i) {
    return i < BPE_N_CONTROL ? control_text[i] : o->extra[i - BPE_N_CONTROL];
}

static int check_extra(const struct bpe_opts *o, struct err *e) {
    for (int i = BPE_N_CONTROL; i < BPE_N_CONTROL + o->n_extra; i++) {
        const struct str s = str_of(control_at(o, i));
        if (s.n < 2 || s.n > MAX_EXTRA_BYTES || utf8_valid_prefix(s.p, s.n) < s.n)
            return err_set(e, ERR_USAGE,
                           "tokenizer: the extra token \"%.40s\" has %zu bytes; 2 to %d bytes of "
                           "UTF-8 are accepted",
                           s.p, s.n, MAX_EXTRA_BYTES);
        for (int k = 0; k < i; k++)
            if (str_is(s, control_at(o, k)))
                return err_set(e, ERR_USAGE,
                               "tokenizer: the extra token \"%.40s\" comes twice; once is accepted",
                               s.p);
    }
    return 0;
}

static int check_opts(struct bpe_opts *o, struct err *e) {
    if (o->n_vocab == 0) o->n_vocab = BPE_DEFAULT_VOCAB;
    if (o->min_count == 0) o->min_count = 2;
    if (o->max_token_bytes == 0) o->max_token_bytes = 64;
    if (o->n_extra < 0 || o->n_extra > BPE_MAX_EXTRA)
        return err_set(e, ERR_USAGE, "tokenizer: %d extra tokens; 0 to %d are accepted", o->n_extra,
                       BPE_MAX_EXTRA);
    if (o->n_vocab < BPE_MIN_VOCAB + o->n_extra || o->n_vocab > BPE_MAX_VOCAB)
        return err_set(e, ERR_USAGE,
                       "tokenizer: a vocabulary of %d tokens; %d (256 bytes and %d control tokens) "
                       "to %d are accepted",
                       o->n_vocab, BPE_MIN_VOCAB + o->n_extra, BPE_N_CONTROL + o->n_extra,
                       BPE_MAX_VOCAB);
    if (o->min_count < 1 || o->max_token_bytes < 1 || o->max_token_bytes > MAX_TOKEN_BYTES)
        return err_set(e, ERR_USAGE,
                       "tokenizer: counts from %d and tokens of %d bytes; at least 1, and 1 to %d "
                       "bytes are accepted",
                       o->min_count, o->max_token_bytes, MAX_TOKEN_BYTES);
    return check_extra(o, e);
}

struct bpe_trainer *bpe_trainer_new(const struct bpe_opts *o, struct err *e) {
    struct bpe_trainer *t = calloc(1, sizeof *t);
    bool known;
    if (!t) {
        err_nomem(e, "tokenizer");
        return NULL;
    }
    t->o = *o;
    if (check_opts(&t->o, e) == 0) t->pretok = pretok_new(STR(BPE_PRE), &known, e);
    if (t->pretok) return t;
    bpe_trainer_free(t);
    return NULL;
}

void bpe_trainer_free(struct bpe_trainer *t) {
    if (!t) return;
    pretok_free(t->pretok);
    bpe_words_fini(&t->words);
    cuts_fini(&t->cuts);
    cuts_fini(&t->tmp);
    buf_fini(&t->clean);
    free(t);
}

/* The text as encoding sees it (bpe.c: prepare). */
static struct str made_valid(struct bpe_trainer *t, struct str text) {
    if (utf8_valid_prefix(text.p, text.n) == text.n) return text;
    buf_reset(&t->clean);
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        char c[4];
        i += (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        buf_append(&t->clean, c, (size_t)utf8_encode(cp, c));
    }
    return buf_view(&t->clean);
}

int bpe_trainer_add(struct bpe_trainer *t, struct str text, struct err *e) {
    const struct str s = made_valid(t, text);
    if (t->clean.failed) return err_nomem(e, "tokenizer");
    pretok_split(t->pretok, s, &t->cuts, &t->tmp);
    if (t->cuts.failed || t->tmp.failed) return err_nomem(e, "tokenizer");
    size_t lo = 0;
    for (size_t i = 0; i < t->cuts.n; i++) {
        if (bpe_words_add(&t->words, (struct str){s.p + lo, t->cuts.end[i] - lo}, e) != 0)
            return -1;
        lo = t->cuts.end[i];
    }
    return 0;
}

/* The control tokens, and the list cut to what there is. */
static int add_control(const struct bpe_trainer *t, struct bpe_tokens *out, struct err *e) {
    out->n_control = BPE_N_CONTROL + t->o.n_extra;
    out->n = 256 + out->n_merge + out->n_control;
    for (int i = 0; i < out->n_control; i++) {
        const struct str s = str_of(control_at(&t->o, i));
        const char *copy = arena_strndup(&out->arena, s.p, s.n);
        if (!copy) return err_nomem(e, "tokenizer");
        out->text[256 + out->n_merge + i] = (struct str){copy, s.n};
    }
    return 0;
}

int bpe_trainer_learn(struct bpe_trainer *t, struct bpe_tokens *out, struct err *e) {
    const int n_control = BPE_N_CONTROL + t->o.n_extra;
    const struct bpe_limits lim = {.n_merge = t->o.n_vocab - 256 - n_control,
                                   .min_count = t->o.min_count,
                                   .max_token_bytes = t->o.max_token_bytes,
                                   .stop = t->o.stop};
    *out = (struct bpe_tokens){.n_word = t->words.n_seen, .n_distinct = t->words.n_word};
    if (t->words.n_word == 0)
        return err_set(e, ERR_FORMAT, "tokenizer: there is no text to learn from; some is needed");
    if (bpe_learn(&t->words, &lim, n_control, out, e) != 0) return -1;
    return add_control(t, out, e);
}

void bpe_tokens_fini(struct bpe_tokens *b) {
    arena_fini(&b->arena);
    *b = (struct bpe_tokens){0};
}
