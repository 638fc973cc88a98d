/* See constrain.h.  A model that was asked for JSON nearly always wants what the grammar allows,
 * and asking for 40 tokens costs a few microseconds where a mask that is not known yet takes up to
 * a millisecond.  Drawing without the grammar and again with it where the token was refused would
 * be cheaper still, but is another distribution: top_k and top_p would have cut among tokens that
 * are not allowed. */
#include "sample/constrain.h"

struct asked {
    struct acceptor *a;
    const struct grammar_vocab *gv;
    struct err *e;
};

static int allows(void *ctx, int32_t id) {
    const struct asked *q = ctx;
    return accept_allows(q->a, q->gv, id, q->e);
}

int sampler_choose_constrained(struct sampler *s, const float *logits, struct acceptor *a,
                               const struct grammar_vocab *gv, uint32_t *mask, int32_t *id,
                               struct err *e) {
    struct err limit = {0};
    struct asked q = {a, gv, &limit};
    *id = accept_mask_is_cheap(a, gv) ? -1 : sampler_choose_asking(s, logits, allows, &q);
    if (*id >= 0) return 1;
    if (limit.code) {
        if (e) *e = limit;
        return -1;
    }
    const int n = accept_mask(a, gv, mask, e);
    if (n < 0) return -1;
    *id = n > 0 ? sampler_choose_masked(s, logits, mask) : -1;
    return *id >= 0;
}
