/* The list of tokens on its way from the hub's files to GGUF. */
#include "create/convert_priv.h"

int tokens_init(struct tokens *t, int n_vocab, struct arena *a, struct err *e) {
    const size_t n = (size_t)n_vocab;
    *t = (struct tokens){.a = a, .n = n_vocab, .where = "tokenizer.json", .add_prefix = -1};
    t->text = arena_calloc(a, n, sizeof *t->text);
    t->score = arena_calloc(a, n, sizeof *t->score);
    t->type = arena_calloc(a, n, sizeof *t->type);
    return t->text && t->score && t->type ? 0 : err_nomem(e, t->where);
}

int tokens_set(struct tokens *t, int64_t id, struct str text, float score, int32_t type,
               struct err *e) {
    if (id < 0 || id >= t->n)
        return err_set(e, ERR_FORMAT, "%s: token %lld \"%.*s\", but the embedding has %d rows",
                       t->where, (long long)id, text.n < 40 ? (int)text.n : 40, text.p, t->n);
    const char *copy = arena_strndup(t->a, text.p, text.n);
    if (!copy) return err_nomem(e, t->where);
    t->text[id] = (struct str){copy, text.n};
    t->score[id] = score;
    t->type[id] = type;
    return 0;
}

int tokens_find(const struct tokens *t, struct str text) {
    for (int i = 0; i < t->n; i++)
        if (t->type[i] && str_eq(t->text[i], text)) return i;
    return -1;
}
