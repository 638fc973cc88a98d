/* See prompt.h. */
#include "engine/prompt.h"

int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct buf *out,
                struct err *e) {
    (void)m, (void)n, (void)out;
    return err_set(e, ERR_UNSUPPORTED, "%s: chat templates are not supported yet; use --raw",
                   gguf_path(engine_gguf(g)));
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
