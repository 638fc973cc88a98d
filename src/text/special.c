/* Special tokens: the ids a file names, the tokens that are special by their text, and those that
 * end generation.
 *
 * The lists of texts follow llama.cpp (src/llama-vocab.cpp): files often type such tokens wrongly
 * or leave an id out, and generation must stop nevertheless. */
#include <ctype.h>
#include <stdlib.h>

#include "base/log.h"
#include "text/tables.h"

#define KEY(x) "tokenizer.ggml." x

/* The id under key; *id stays when the key is absent.  What is no token is refused where generation
 * needs the id.  Elsewhere it is left out: files with a stray padding id are common, -1 (also
 * written as 2^32-1) for none is usual, and nothing is lost. */
static int load_id(const struct vocab *v, const struct gguf *g, const char *key, bool needed,
                   int32_t *id, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type == GGUF_ARR || kv->type == GGUF_STR || kv->type == GGUF_BOOL ||
        kv->type == GGUF_F32 || kv->type == GGUF_F64)
        return err_set(e, ERR_FORMAT, "%s: key '%s' is %s; a token id is needed", gguf_path(g), key,
                       gguf_type_name(kv->type));
    const int64_t value = gguf_int_at(kv, 0);
    if (value >= 0 && value < v->n)
        *id = (int32_t)value;
    else if (needed)
        return err_set(e, ERR_FORMAT, "%s: key '%s' is %lld; a token of 0 to %d is needed",
                       gguf_path(g), key, (long long)value, v->n - 1);
    else if (value != -1 && value != UINT32_MAX)
        log_msg(LOG_WARN, "%s: key '%s' is %lld, no token of 0 to %d; left out", gguf_path(g), key,
                (long long)value, v->n - 1);
    return 0;
}

/* What a kind's files leave unsaid. */
static void default_ids(struct vocab *v) {
    struct vocab_special *s = &v->special;
    s->bos = s->eos = s->eot = s->eom = s->unk = s->sep = s->pad = s->cls = s->mask = s->nl = -1;
    s->fim_pre = s->fim_suf = s->fim_mid = v->fim_pad = v->fim_rep = v->fim_sep = -1;
    switch (v->kind) {
    case VOCAB_SPM: s->bos = 1, s->eos = 2, s->unk = 0; break;
    case VOCAB_WORDPIECE:
        s->bos = 101, s->unk = 100, s->sep = 102, s->pad = 0, s->mask = 103;
        break;
    case VOCAB_UNIGRAM: s->eos = 1, s->unk = 2, s->pad = 0; break;
    case VOCAB_BPE: /* Falcon's files; elsewhere 11 is a comma */
        if (v->n > 11 && v->attr[11] == ATTR_CONTROL && !(pretok_flags(v->pretok) & PRETOK_NO_BOS))
            s->bos = s->eos = 11;
        break;
    }
    int32_t *all[] = {&s->bos, &s->eos, &s->unk, &s->sep, &s->pad, &s->mask};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (*all[i] >= v->n) *all[i] = -1;
}

static int load_ids(struct vocab *v, const struct gguf *g, struct err *e) {
    struct vocab_special *s = &v->special;
    enum { N_NEEDED = 5 }; /* the first ones */
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {
        {KEY("bos_token_id"), &s->bos},         {KEY("eos_token_id"), &s->eos},
        {KEY("eot_token_id"), &s->eot},         {KEY("eom_token_id"), &s->eom},
        {KEY("unknown_token_id"), &s->unk},     {KEY("cls_token_id"), &s->cls},
        {KEY("seperator_token_id"), &s->sep}, /* the format's spelling */
        {KEY("padding_token_id"), &s->pad},     {KEY("mask_token_id"), &s->mask},
        {KEY("prefix_token_id"), &s->fim_pre},  {KEY("suffix_token_id"), &s->fim_suf},
        {KEY("middle_token_id"), &s->fim_mid},  {KEY("fim_pre_token_id"), &s->fim_pre},
        {KEY("fim_suf_token_id"), &s->fim_suf}, {KEY("fim_mid_token_id"), &s->fim_mid},
        {KEY("fim_pad_token_id"), &v->fim_pad}, {KEY("fim_rep_token_id"), &v->fim_rep},
        {KEY("fim_sep_token_id"), &v->fim_sep},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (load_id(v, g, ids[i].key, i < N_NEEDED, ids[i].id, e)) return -1;
    if (v->kind == VOCAB_WORDPIECE && s->cls >= 0 && !gguf_find(g, KEY("bos_token_id")))
        s->bos = s->cls;
    const struct {
        const char *key;
        bool *flag;
    } flags[] = {{KEY("add_bos_token"), &s->add_bos},
                 {KEY("add_eos_token"), &s->add_eos},
                 {KEY("add_sep_token"), &s->add_sep}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (gguf_get_bool(g, flags[i].key, flags[i].flag, e) < 0) return -1;
    if (v->whole_lines) s->add_bos = true; /* Gemma 4 files say false and mean true */
    return 0;
}

/* The first of the texts that is a token becomes *id, unless the file named one; it is control
 * from then on. */
static void find_by_text(struct vocab *v, const char *const *texts, int32_t *id) {
    for (; *texts && *id < 0; texts++) {
        *id = vocab_find(v, str_of(*texts));
        if (*id >= 0) v->attr[*id] |= ATTR_CONTROL;
    }
}

static const char *const eot_texts[] = {
    "<|eot_id|>",         "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>",    "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
    "<end_of_utterance>", NULL};
static const char *const eom_texts[] = {"<|eom_id|>", NULL};
static const char *const pre_texts[] = {"<|fim_prefix|>",  "<fim-prefix>", "<fim_prefix>",
                                        "<｜fim▁begin｜>", "<PRE>",        "▁<PRE>",
                                        "<|code_prefix|>", "<|prefix|>",   NULL};
static const char *const suf_texts[] = {"<|fim_suffix|>",  "<fim-suffix>", "<fim_suffix>",
                                        "<｜fim▁hole｜>",  "<SUF>",        "▁<SUF>",
                                        "<|code_suffix|>", "<|suffix|>",   NULL};
static const char *const mid_texts[] = {"<|fim_middle|>",  "<fim-middle>", "<fim_middle>",
                                        "<｜fim▁end｜>",   "<MID>",        "▁<MID>",
                                        "<|code_middle|>", "<|middle|>",   NULL};
static const char *const pad_texts[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>",
                                        "<PAD>",       "[PAD]",     NULL};
static const char *const rep_texts[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
                                        "<REPO>",       "<reponame>",    NULL};
static const char *const sep_texts[] = {"<|file_sep|>", NULL};
/* Ending generation, every one that is there. */
static const char *const eog_texts[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<｜end▁of▁sentence｜>",
                                        NULL};
/* Parts of an answer in the harmony format, whatever type the file gives them. */
static const char *const harmony_texts[] = {"<|channel|>", "<|message|>", "<|start|>",
                                            "<|constrain|>", NULL};

static void add_eog(struct vocab *v, int32_t id) {
    if (id < 0 || vocab_is_eog(v, id)) return;
    v->eog[v->n_eog++] = id;
}

static bool eog_has(const struct vocab *v, const char *text) {
    return vocab_is_eog(v, vocab_find(v, str_of(text)));
}

/* Where a message's end is not the answer's end, the token goes on being shown. */
static void drop_eog(struct vocab *v, const char *text, unsigned attr) {
    const int32_t id = vocab_find(v, str_of(text));
    for (int i = 0; i < v->n_eog; i++) {
        if (v->eog[i] != id) continue;
        v->eog[i] = v->eog[--v->n_eog];
        v->attr[id] = (uint8_t)attr;
        return;
    }
}

static int find_eog(struct vocab *v, struct err *e) {
    const struct vocab_special *s = &v->special;
    v->eog = malloc((sizeof eog_texts / sizeof *eog_texts + 6) * sizeof *v->eog);
    if (!v->eog) return err_nomem(e, "vocabulary");
    add_eog(v, v->fim_pad);
    add_eog(v, v->fim_rep);
    add_eog(v, v->fim_sep);
    for (const char *const *t = eog_texts; *t; t++) {
        const int32_t id = vocab_find(v, str_of(*t));
        if (id >= 0) v->attr[id] |= ATTR_CONTROL;
        add_eog(v, id);
    }
    for (const char *const *t = harmony_texts; *t; t++) {
        const int32_t id = vocab_find(v, str_of(*t));
        if (id >= 0) v->attr[id] = ATTR_USER;
    }
    add_eog(v, s->eos);
    add_eog(v, s->eot);
    add_eog(v, s->eom);
    const bool call = eog_has(v, "<|call|>") || eog_has(v, "<|calls|>");
    if (call && (eog_has(v, "<|return|>") || eog_has(v, "<|flush|>")))
        drop_eog(v, "<|end|>", ATTR_USER);
    if (eog_has(v, "<|tool_response>")) drop_eog(v, "</s>", ATTR_NORMAL);
    return 0;
}

static int index_specials(struct vocab *v, struct err *e) {
    for (int i = 0; i < v->n; i++) {
        if (!(v->attr[i] & (ATTR_SPECIAL | ATTR_USER)) || v->text[i].n == 0) continue;
        if (!trie_add(&v->specials, v->text[i], i)) return err_nomem(e, "vocabulary");
        v->first_byte[(uint8_t)v->text[i].p[0]] = true;
    }
    return 0;
}

static bool contains_nocase(struct str hay, const char *needle) {
    const size_t n = strlen(needle);
    for (size_t i = 0; i + n <= hay.n; i++) {
        size_t k = 0;
        while (k < n && tolower((unsigned char)hay.p[i + k]) == needle[k])
            k++;
        if (k == n) return true;
    }
    return false;
}

static void set_by_text(struct vocab *v, const char *text, unsigned set, unsigned clear) {
    const int32_t id = vocab_find(v, str_of(text));
    if (id >= 0) v->attr[id] = (uint8_t)((v->attr[id] & ~clear) | set);
}

/* Tokens that swallow neighbouring blanks.  GGUF has no field for it; the reference goes by the
 * model's name, and templates of these models count on it. */
static int set_strips(struct vocab *v, const struct gguf *g, struct err *e) {
    struct str name = {"", 0}, arch = {"", 0};
    if (gguf_get_str(g, "general.name", &name, e) < 0 ||
        gguf_get_str(g, "general.architecture", &arch, e) < 0)
        return -1;
    const bool mask = v->pretok && (pretok_flags(v->pretok) & PRETOK_MASK_LSTRIP);
    if (mask || str_is(arch, "nomic-bert-moe") || str_is(arch, "jina-bert-v3")) {
        set_by_text(v, "<mask>", ATTR_LSTRIP, 0);
    } else if (contains_nocase(name, "phi-3") || contains_nocase(name, "phi3")) {
        for (int i = 0; i < v->n; i++)
            if (v->attr[i] & (ATTR_SPECIAL | ATTR_USER)) v->attr[i] |= ATTR_RSTRIP;
        set_by_text(v, "</s>", ATTR_RSTRIP, 0);
        set_by_text(v, "<unk>", 0, ATTR_RSTRIP);
        set_by_text(v, "<s>", 0, ATTR_RSTRIP);
        set_by_text(v, "<|endoftext|>", 0, ATTR_RSTRIP);
    } else if (contains_nocase(name, "modern-bert")) {
        set_by_text(v, "[MASK]", ATTR_LSTRIP, 0);
    }
    return 0;
}

/* The token of "\n", for penalties that spare it. */
static void find_newline(struct vocab *v) {
    struct vocab_special *s = &v->special;
    if (v->kind == VOCAB_WORDPIECE) {
        s->nl = s->pad;
    } else if (v->kind == VOCAB_BPE && !v->raw) {
        s->nl = v->byte_id['\n'] < v->n ? v->byte_id['\n'] : s->pad;
    } else {
        s->nl = v->byte_id['\n'] >= 0 ? v->byte_id['\n'] : s->pad;
    }
}

int vocab_load_special(struct vocab *v, const struct gguf *g, struct err *e) {
    struct vocab_special *s = &v->special;
    default_ids(v);
    if (load_ids(v, g, e)) return -1;
    find_by_text(v, eot_texts, &s->eot);
    find_by_text(v, eom_texts, &s->eom);
    find_by_text(v, pre_texts, &s->fim_pre);
    find_by_text(v, suf_texts, &s->fim_suf);
    find_by_text(v, mid_texts, &s->fim_mid);
    find_by_text(v, pad_texts, &v->fim_pad);
    find_by_text(v, rep_texts, &v->fim_rep);
    find_by_text(v, sep_texts, &v->fim_sep);
    find_newline(v);
    if (find_eog(v, e) || index_specials(v, e)) return -1;
    return set_strips(v, g, e);
}
