/* Conversations to prompts: what all renderers share. */
#include "text/chat/chat.h"

#include <stdlib.h>

static void trust(struct chat_prompt *p, size_t lo, size_t hi) {
    if (p->n_trust > 0 && p->trust[p->n_trust - 1].hi == lo) {
        p->trust[p->n_trust - 1].hi = hi; /* one token may be written in two steps */
        return;
    }
    if (p->n_trust == p->cap_trust) {
        const size_t cap = p->cap_trust ? 2 * p->cap_trust : 16;
        struct tok_span *t = realloc(p->trust, cap * sizeof *t);
        if (!t) {
            p->failed = true;
            return;
        }
        p->trust = t;
        p->cap_trust = cap;
    }
    p->trust[p->n_trust++] = (struct tok_span){lo, hi};
}

void chat_say(struct chat_prompt *p, struct str text) {
    if (text.n == 0) return;
    buf_append(&p->text, text.p, text.n);
    trust(p, p->text.n - text.n, p->text.n);
    p->failed |= p->text.failed;
}

void chat_quote(struct chat_prompt *p, struct str text) {
    buf_append(&p->text, text.p, text.n);
    p->failed |= p->text.failed;
}

void chat_prompt_cut(struct chat_prompt *p, size_t n) {
    if (n >= p->text.n) return;
    p->text.n = n;
    p->text.p[n] = 0;
    while (p->n_trust > 0 && p->trust[p->n_trust - 1].lo >= n)
        p->n_trust--;
    if (p->n_trust > 0 && p->trust[p->n_trust - 1].hi > n) p->trust[p->n_trust - 1].hi = n;
}

void chat_prompt_fini(struct chat_prompt *p) {
    buf_fini(&p->text);
    free(p->trust);
    *p = (struct chat_prompt){0};
}

int chat_encode(const struct vocab *v, const struct chat_prompt *p, struct ids *out,
                struct err *e) {
    const struct vocab_special *s = vocab_special(v);
    const struct str text = buf_view(&p->text);
    const struct str bos = s->bos >= 0 ? vocab_text(v, s->bos) : STR("");
    const bool has_bos =
        bos.n > 0 && p->n_trust > 0 && p->trust[0].lo == 0 && str_starts(text, bos);
    if (s->add_bos && s->bos >= 0 && !has_bos) ids_push(out, s->bos);
    return tok_encode_trusted(v, text, p->trust, p->n_trust, out, e);
}
