/* See prefix_rig.h. */
#include "prefix_rig.h"

#include <stdlib.h>
#include <string.h>

void prompt_make(int32_t *tok, int n, int n_vocab, unsigned seed) {
    unsigned x = 12345 + seed * 7919;
    for (int i = 0; i < n; i++) {
        x = x * 1103515245u + 12345u;
        tok[i] = (int32_t)(3 + (x >> 16) % (unsigned)(n_vocab - 3));
    }
    tok[0] = (int32_t)(3 + seed % (unsigned)(n_vocab - 3));
}

struct engine *prefix_engine(const char *path, struct engine_opts o) {
    struct err e = {0};
    o.n_threads = 2;
    struct engine *g = engine_open(path, &o, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

static float *copy_logits(const struct engine *g, const float *v) {
    const size_t n = (size_t)engine_n_vocab(g);
    float *out = malloc(n * sizeof *out);
    assert_non_null(out);
    memcpy(out, v, n * sizeof *out);
    return out;
}

float *prefix_logits(struct engine *g, const int32_t *tok, int n, int *cached) {
    struct err e = {0};
    const float *v;
    struct session *s = session_new(g, &e);
    assert_non_null(s);
    *cached = session_recall(s, tok, n);
    assert_in_range(*cached, 0, n - 1);
    if (session_feed(s, tok + *cached, n - *cached, &v, NULL, &e) != 0) fail_msg("%s", e.msg);
    assert_memory_equal(session_tokens(s), tok, (size_t)n * sizeof *tok);
    float *out = copy_logits(g, v);
    session_remember(s);
    session_free(s);
    return out;
}

float *plain_logits(const char *path, struct engine_opts o, const int32_t *tok, int n) {
    struct err e = {0};
    const float *v;
    o.cache = NULL;
    struct engine *g = prefix_engine(path, o);
    struct session *s = session_new(g, &e);
    assert_non_null(s);
    if (session_feed(s, tok, n, &v, NULL, &e) != 0) fail_msg("%s", e.msg);
    float *out = copy_logits(g, v);
    session_free(s);
    engine_close(g);
    return out;
}

void prefix_store(struct engine *g, const int32_t *tok, int n) {
    prefix_save(engine_prefix(g), tok, n / KV_PAGE);
    prefix_wait(engine_prefix(g));
}
