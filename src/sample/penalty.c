/* See penalty.h. */
#include "sample/penalty.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int recent_init(struct recent *h, int n_vocab, int n_count, int n_dry, struct err *e) {
    *h = (struct recent){.n_vocab = n_vocab, .n_count = n_count};
    h->cap = n_count > n_dry ? n_count : n_dry;
    if (h->cap == 0) return 0;
    h->ring = calloc((size_t)h->cap, sizeof *h->ring);
    h->z = calloc((size_t)h->cap, sizeof *h->z);
    h->count = calloc((size_t)n_vocab, sizeof *h->count);
    h->longest = calloc((size_t)n_vocab, sizeof *h->longest);
    if (h->ring && h->z && h->count && h->longest) return 0;
    recent_fini(h);
    return err_nomem(e, "sampler");
}

void recent_fini(struct recent *h) {
    free(h->ring), free(h->z), free(h->count), free(h->longest);
    *h = (struct recent){0};
}

void recent_clear(struct recent *h) {
    h->n = h->head = 0;
    if (h->count) memset(h->count, 0, (size_t)h->n_vocab * sizeof *h->count);
}

/* The token i steps back: 0 is the newest. */
static int32_t back(const struct recent *h, int i) {
    const int at = h->head - 1 - i;
    return h->ring[at < 0 ? at + h->cap : at];
}

void recent_push(struct recent *h, int32_t id) {
    if (h->cap == 0 || id < 0 || id >= h->n_vocab) return;
    if (h->n_count > 0) {
        if (h->n >= h->n_count) h->count[back(h, h->n_count - 1)]--;
        h->count[id]++;
    }
    h->ring[h->head] = id;
    h->head = h->head + 1 == h->cap ? 0 : h->head + 1;
    if (h->n < h->cap) h->n++;
}

void penalty_bias(float *logits, const struct logit_bias *b, int n) {
    for (int i = 0; i < n; i++)
        logits[b[i].id] += b[i].bias;
}

void penalty_repeat(const struct recent *h, float *logits, float repeat, float presence,
                    float frequency) {
    const int n = h->n < h->n_count ? h->n : h->n_count;
    /* Each token once: its count is made negative when it has been dealt with. */
    for (int i = 0; i < n; i++) {
        const int32_t id = back(h, i);
        const int c = h->count[id];
        if (c <= 0) continue;
        float *l = &logits[id];
        *l = *l <= 0.0f ? *l * repeat : *l / repeat;
        *l -= (float)c * frequency + presence;
        h->count[id] = -c;
    }
    for (int i = 0; i < n; i++)
        h->count[back(h, i)] = abs(h->count[back(h, i)]);
}

/* How many of the newest tokens stand after the last breaker, at most n. */
static int since_breaker(const struct recent *h, const struct sampler_opts *o, int n) {
    for (int i = 0; i < n; i++) {
        for (int b = 0; b < o->n_dry_breaker; b++) {
            const int len = o->dry_breaker_n[b];
            int same = 0; /* does breaker b end i steps back? */
            while (same < len && i + same < n &&
                   back(h, i + same) == o->dry_breaker[b][len - 1 - same])
                same++;
            if (len > 0 && same == len) return i;
        }
    }
    return n;
}

/* z[i] = how many tokens, going back from i steps back, equal those going back from the newest:
 * the Z-function of the reversed history, linear in n. */
static void z_function(const struct recent *h, int n) {
    int *z = h->z, lo = 0, hi = 0;
    z[0] = n;
    for (int i = 1; i < n; i++) {
        int m = 0;
        if (i < hi) m = z[i - lo] < hi - i ? z[i - lo] : hi - i;
        while (i + m < n && back(h, m) == back(h, i + m))
            m++;
        z[i] = m;
        if (i + m > hi) lo = i, hi = i + m;
    }
}

void penalty_dry(const struct recent *h, float *logits, const struct sampler_opts *o) {
    const int window = o->dry_penalty_last_n;
    const int n = window >= 0 && window < h->n ? window : h->n;
    const int limit = since_breaker(h, o, n);
    if (n < 2 || limit < o->dry_allowed_length) return;
    z_function(h, n);
    const float max_exp = o->dry_base > 1.000001f ? logf(FLT_MAX) / logf(o->dry_base) : 1e9f;
    for (int i = 1; i < n; i++) { /* the token after an earlier match: its longest one counts */
        const int m = h->z[i] < limit ? h->z[i] : limit;
        int *longest = &h->longest[back(h, i - 1)];
        if (m >= o->dry_allowed_length && m > *longest) *longest = m;
    }
    for (int i = 1; i < n; i++) {
        const int32_t id = back(h, i - 1);
        if (h->longest[id] == 0) continue;
        const float x = (float)(h->longest[id] - o->dry_allowed_length);
        logits[id] -= o->dry_multiplier * powf(o->dry_base, x < max_exp ? x : max_exp);
        h->longest[id] = 0;
    }
}
