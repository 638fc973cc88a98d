/* See prompt.h. */
#include "engine/prompt.h"

static struct str token_text(const struct vocab *v, int32_t id) {
    return id >= 0 ? vocab_text(v, id) : (struct str){"", 0};
}

int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct ids *out,
                struct err *e) {
    const struct vocab *v = engine_vocab(g);
    const struct chat_template *t = engine_template(g, e);
    if (!t) return -1;
    const struct chat_input in = {
        .message = m,
        .n = n,
        .add_generation_prompt = true,
        .bos = token_text(v, vocab_special(v)->bos),
        .eos = token_text(v, vocab_special(v)->eos),
    };
    struct chat_prompt p = {0};
    int rc = chat_render(t, &in, &p, e);
    if (rc == 0) rc = chat_encode(v, &p, out, e);
    chat_prompt_fini(&p);
    return rc;
}

int prompt_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e) {
    const struct tok_opts opts = {.add_special = true, .parse_special = true};
    const int32_t bos = vocab_special(v)->bos;
    const size_t at = out->n;
    if (tok_encode(v, text, opts, out, e) != 0) return -1;
    if (bos < 0 || out->n < at + 2 || out->v[at] != bos || out->v[at + 1] != bos) return 0;
    for (size_t i = at + 1; i + 1 < out->n; i++)
        out->v[i] = out->v[i + 1];
    out->n--;
    return 0;
}
