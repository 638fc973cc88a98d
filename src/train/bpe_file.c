/* A learnt tokenizer as keys of a GGUF file (ggml/docs/gguf.md): texts in the byte alphabet, merges
 * as "left right". */
#include <stdlib.h>

#include "text/bytemap.h"
#include "text/vocab.h"
#include "train/bpe_train.h"

#define KEY(x) "tokenizer.ggml." x

/* ChatML, as Qwen's and others' files have it. */
static const char chat_template[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* Texts as the file has them. */
struct stored {
    const struct bpe_tokens *b;
    struct arena arena;
    struct str *token; /* [b->n] */
    struct str *merge; /* [b->n_merge] */
    int32_t *type;     /* [b->n] */
};

static bool store_tokens(struct stored *s) {
    const int n_plain = 256 + s->b->n_merge;
    for (int i = 0; i < s->b->n; i++) {
        const struct str t = s->b->text[i];
        s->type[i] = i < n_plain ? TOKEN_NORMAL : TOKEN_CONTROL;
        s->token[i] = t;
        if (i >= n_plain) continue;
        char *p = arena_alloc(&s->arena, 2 * t.n);
        if (!p) return false;
        s->token[i] = (struct str){p, bytemap_encode(t.p, t.n, p)};
    }
    return true;
}

static bool store_merges(struct stored *s) {
    for (int i = 0; i < s->b->n_merge; i++) {
        const struct str l = s->token[s->b->merge[i].left], r = s->token[s->b->merge[i].right];
        char *p = arena_alloc(&s->arena, l.n + r.n + 1);
        if (!p) return false;
        memcpy(p, l.p, l.n);
        p[l.n] = ' ';
        memcpy(p + l.n + 1, r.p, r.n);
        s->merge[i] = (struct str){p, l.n + r.n + 1};
    }
    return true;
}

static int set_lists(const struct stored *s, struct gguf_writer *w, struct err *e) {
    const uint64_t n = (uint64_t)s->b->n, n_merge = (uint64_t)s->b->n_merge;
    if (gguf_set_str(w, KEY("model"), STR("gpt2"), e) != 0 ||
        gguf_set_str(w, KEY("pre"), STR(BPE_PRE), e) != 0 ||
        gguf_set_strs(w, KEY("tokens"), s->token, n, e) != 0 ||
        gguf_set_arr(w, KEY("token_type"), GGUF_I32, s->type, n, e) != 0 ||
        gguf_set_strs(w, KEY("merges"), s->merge, n_merge, e) != 0)
        return -1;
    return 0;
}

static int set_roles(const struct bpe_tokens *b, struct gguf_writer *w, struct err *e) {
    const uint32_t end = (uint32_t)bpe_control(b, BPE_END_OF_TEXT);
    const uint32_t im_end = (uint32_t)bpe_control(b, BPE_IM_END);
    if (gguf_set_u32(w, KEY("bos_token_id"), end, e) != 0 ||
        gguf_set_u32(w, KEY("eos_token_id"), im_end, e) != 0 ||
        gguf_set_u32(w, KEY("padding_token_id"), end, e) != 0 ||
        gguf_set_bool(w, KEY("add_bos_token"), false, e) != 0 ||
        gguf_set_bool(w, KEY("add_eos_token"), false, e) != 0)
        return -1;
    const struct str own = b->chat_template;
    return gguf_set_str(w, "tokenizer.chat_template", own.n > 0 ? own : str_of(chat_template), e);
}

int bpe_tokens_declare(const struct bpe_tokens *b, struct gguf_writer *w, struct err *e) {
    struct stored s = {.b = b};
    s.token = arena_calloc(&s.arena, (size_t)b->n, sizeof *s.token);
    s.type = arena_calloc(&s.arena, (size_t)b->n, sizeof *s.type);
    s.merge = arena_calloc(&s.arena, (size_t)b->n_merge + 1, sizeof *s.merge);
    int rc = s.token && s.type && s.merge && store_tokens(&s) && store_merges(&s)
                 ? 0
                 : err_nomem(e, "tokenizer");
    if (rc == 0) rc = set_lists(&s, w, e);
    if (rc == 0) rc = set_roles(b, w, e);
    arena_fini(&s.arena);
    return rc;
}

int bpe_tokens_write(const struct bpe_tokens *b, const char *path, struct err *e) {
    struct gguf_writer *w = gguf_writer_new(path, 0, e);
    if (!w) return -1;
    if (gguf_set_str(w, "general.architecture", STR("llama"), e) == 0 &&
        gguf_set_str(w, "general.name", STR("tokenizer"), e) == 0 &&
        bpe_tokens_declare(b, w, e) == 0)
        return gguf_writer_finish(w, e);
    gguf_writer_abort(w);
    return -1;
}
