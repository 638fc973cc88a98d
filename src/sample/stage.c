/* See stage.h.  Lists are cut with binary heaps: building one is linear, and only what is kept is
 * popped.  From a whole vocabulary only what can be kept enters a list at all: cands_fill_*(). */
#include "sample/stage.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "sample/scan.h"

static bool better(const struct candidate *a, const struct candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(struct candidate *a, struct candidate *b) {
    const struct candidate t = *a;
    *a = *b, *b = t;
}

/* Restore the heap below i; the root is the best (best_on_top) or the worst. */
static void sift(struct candidate *h, int n, int i, bool best_on_top) {
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(&h[child + 1], &h[child]) == best_on_top) child++;
        if (better(&h[child], &h[i]) != best_on_top) return;
        swap(&h[child], &h[i]);
    }
}

static void heapify(struct candidate *h, int n, bool best_on_top) {
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(h, n, i, best_on_top);
}

/* Move the root to h[n-1], the rest is a heap of n-1. */
static void pop(struct candidate *h, int n, bool best_on_top) {
    swap(&h[0], &h[n - 1]);
    sift(h, n - 1, 0, best_on_top);
}

/* The last m of the n candidates, in reverse, become the list. */
static void keep_popped(struct cands *k, int m) {
    for (int i = 0, j = k->n - 1; i < j; i++, j--)
        swap(&k->c[i], &k->c[j]);
    k->n = m;
}

static float finite_or_banned(float x) {
    if (isnan(x)) return -INFINITY;
    return x > FLT_MAX ? FLT_MAX : x;
}

void cands_fill(struct cands *k, const float *logits, int n_vocab) {
    for (int i = 0; i < n_vocab; i++)
        k->c[i] = (struct candidate){.id = i, .logit = finite_or_banned(logits[i])};
    k->n = n_vocab;
}

void cands_fill_top(struct cands *k, const float *logits, int n_vocab, int top) {
    if (top <= 0 || top >= n_vocab) {
        cands_fill(k, logits, n_vocab);
        return;
    }
    /* A heap of the best so far with the worst of them on top.  Nearly every logit fails the
     * one comparison with it.  Ids ascend, so an equal logit never displaces. */
    cands_fill(k, logits, top);
    heapify(k->c, top, false);
    for (int i = top; (i = scan_above(logits, n_vocab, i, k->c[0].logit)) < n_vocab; i++) {
        const float x = finite_or_banned(logits[i]);
        if (!(x > k->c[0].logit)) continue; /* +INFINITY is no better than the largest float */
        k->c[0] = (struct candidate){.id = i, .logit = x};
        sift(k->c, top, 0, false);
    }
    cands_sort(k);
}

/* The largest logit as the list has it. */
static float max_logit(const float *logits, int n_vocab) {
    return finite_or_banned(logits[scan_best(logits, n_vocab)]);
}

void cands_fill_min_p(struct cands *k, const float *logits, int n_vocab, float p, int min_keep) {
    const float low = max_logit(logits, n_vocab) + logf(p);
    if (!(p > 0.0f) || !(low > -INFINITY)) {
        cands_fill(k, logits, n_vocab);
        stage_min_p(k, p, min_keep);
        return;
    }
    const float below = nextafterf(low, -INFINITY);
    int n = 0;
    for (int i = 0; (i = scan_above(logits, n_vocab, i, below)) < n_vocab; i++)
        k->c[n++] = (struct candidate){.id = i, .logit = finite_or_banned(logits[i])};
    k->n = n;
    if (n < min_keep) cands_fill_top(k, logits, n_vocab, min_keep);
}

/* The candidates with low <= logit < high in order of id into out; returns how many. */
static int gather(struct candidate *out, const float *logits, int n_vocab, float low, float high) {
    const float below = nextafterf(low, -INFINITY);
    int n = 0;
    for (int i = 0; i < n_vocab; i++) {
        if (low > -INFINITY) i = scan_above(logits, n_vocab, i, below); /* else the banned too */
        if (i == n_vocab) break;
        const float x = finite_or_banned(logits[i]);
        if (x < high) out[n++] = (struct candidate){.id = i, .logit = x};
    }
    return n;
}

/* Greater for smaller numbers; equal for both zeros. */
static uint32_t descending_key(float x) {
    const float no_minus_zero = x + 0.0f;
    uint32_t u;
    memcpy(&u, &no_minus_zero, sizeof u);
    return u >> 31 ? u : u ^ 0x7fffffffu;
}

/* a[n], in order of id, best first into b; a is lost.  A radix sort of three digits: stable, so
 * that ties stay in order of id, and linear where a flat distribution leaves much of the
 * vocabulary. */
static void sort_into(struct candidate *b, struct candidate *a, int n) {
    enum { BITS = 11, RADIX = 1 << BITS };
    for (int shift = 0; shift < 32; shift += BITS) {
        int at[RADIX + 1] = {0};
        for (int i = 0; i < n; i++)
            at[(descending_key(a[i].logit) >> shift) % RADIX + 1]++;
        for (int d = 1; d < RADIX; d++)
            at[d] += at[d - 1];
        for (int i = 0; i < n; i++)
            b[at[(descending_key(a[i].logit) >> shift) % RADIX]++] = a[i];
        struct candidate *t = a;
        a = b, b = t;
    }
}

void cands_fill_top_p(struct cands *k, const float *logits, int n_vocab, float p, int min_keep) {
    const float max = max_logit(logits, n_vocab);
    if (p >= 1.0f || max == -INFINITY) {
        cands_fill(k, logits, n_vocab);
        stage_top_p(k, p, min_keep);
        return;
    }
    double all = 0.0, sum = 0.0; /* as cands_softmax() adds them, to the bit */
    for (int i = 0; i < n_vocab; i++)
        all += (double)expf(finite_or_banned(logits[i]) - max);
    const float scale = (float)(1.0 / all);
    /* Slices of the distribution from the top down: a pass costs little beside sorting too many. */
    const float depth[] = {3, 5, 7, 9, 11, 14, 18, 24, INFINITY};
    float high = INFINITY;
    k->n = 0;
    for (size_t i = 0; i < sizeof depth / sizeof *depth; i++) {
        const float low = max - depth[i];
        const int end = k->n + gather(k->tmp, logits, n_vocab, low, high);
        sort_into(k->c + k->n, k->tmp, end - k->n);
        while (k->n < end) {
            struct candidate *c = &k->c[k->n++];
            c->p = expf(c->logit - max) * scale;
            sum += (double)c->p;
            if ((float)sum >= p && k->n >= min_keep) return;
        }
        high = low;
    }
}

void cands_sort(struct cands *k) {
    heapify(k->c, k->n, false);
    for (int n = k->n; n > 1; n--)
        pop(k->c, n, false);
}

static const struct candidate *best_of(const struct cands *k) {
    const struct candidate *b = k->c;
    for (int i = 1; i < k->n; i++)
        if (better(&k->c[i], b)) b = &k->c[i];
    return b;
}

void cands_softmax(struct cands *k) {
    if (k->n == 0) return;
    const float max = best_of(k)->logit;
    double sum = 0.0;
    for (int i = 0; i < k->n; i++) {
        k->c[i].p = max == -INFINITY ? 0.0f : expf(k->c[i].logit - max);
        sum += (double)k->c[i].p;
    }
    if (sum <= 0.0) return;
    const float scale = (float)(1.0 / sum);
    for (int i = 0; i < k->n; i++)
        k->c[i].p *= scale;
}

void stage_top_k(struct cands *k, int top) {
    if (top <= 0 || top >= k->n) return;
    heapify(k->c, top, false); /* as in cands_fill_top() */
    for (int i = top; i < k->n; i++) {
        if (!better(&k->c[i], &k->c[0])) continue;
        k->c[0] = k->c[i];
        sift(k->c, top, 0, false);
    }
    k->n = top;
    cands_sort(k);
}

void stage_top_n_sigma(struct cands *k, float n) {
    if (!(n > 0.0f) || k->n <= 1) return;
    double sum = 0.0, sq = 0.0;
    int valid = 0;
    for (int i = 0; i < k->n; i++)
        if (k->c[i].logit != -INFINITY) sum += (double)k->c[i].logit, valid++;
    if (valid == 0) return;
    const double mean = sum / valid;
    for (int i = 0; i < k->n; i++) {
        const double d = (double)k->c[i].logit - mean;
        if (k->c[i].logit != -INFINITY) sq += d * d;
    }
    const float low = best_of(k)->logit - n * (float)sqrt(sq / valid);
    for (int i = 0; i < k->n; i++)
        if (k->c[i].logit < low) k->c[i].logit = -INFINITY;
}

/* -sum p ln p in nats, p fresh; a banned candidate adds nothing. */
static double entropy(const struct cands *k) {
    double h = 0.0;
    for (int i = 0; i < k->n; i++)
        if (k->c[i].p > 0.0f) h -= (double)k->c[i].p * log((double)k->c[i].p);
    return h;
}

/* Pop from heap h (a permutation of the list's probabilities) until their sum passes p. */
static int pop_until(struct candidate *h, int n, float p, int min_keep, bool inclusive) {
    double sum = 0.0;
    int m = 0;
    while (m < n) {
        pop(h, n - m, true);
        sum += (double)h[n - 1 - m++].p;
        const bool enough = inclusive ? (float)sum >= p : (float)sum > p;
        if (enough && m >= min_keep) break;
    }
    return m;
}

void stage_typical(struct cands *k, float p, int min_keep) {
    if (p >= 1.0f || k->n == 0) return;
    cands_softmax(k);
    const double h = entropy(k);
    /* The heap orders by nearness of a candidate's surprise to the entropy; its ids are indices
     * into the list. */
    for (int i = 0; i < k->n; i++) {
        const float pi = k->c[i].p;
        const double far = pi > 0.0f ? fabs(-log((double)pi) - h) : INFINITY;
        k->tmp[i] = (struct candidate){.id = i, .logit = (float)-far, .p = pi};
    }
    heapify(k->tmp, k->n, true);
    const int m = pop_until(k->tmp, k->n, p, min_keep, false);
    for (int i = 0; i < m; i++) {
        struct candidate *t = &k->tmp[k->n - 1 - i];
        *t = k->c[t->id];
    }
    for (int i = 0; i < m; i++)
        k->c[i] = k->tmp[k->n - 1 - i];
    k->n = m;
}

void stage_top_p(struct cands *k, float p, int min_keep) {
    if (p >= 1.0f || k->n == 0) return;
    cands_softmax(k);
    heapify(k->c, k->n, true);
    keep_popped(k, pop_until(k->c, k->n, p, min_keep, true));
}

void stage_min_p(struct cands *k, float p, int min_keep) {
    if (!(p > 0.0f) || k->n == 0) return;
    const float low = best_of(k)->logit + logf(p); /* p_i >= p * p_max, without a softmax */
    int n = 0;
    for (int i = 0; i < k->n; i++)
        n += k->c[i].logit >= low;
    if (n < min_keep || n == 0) {
        stage_top_k(k, min_keep > 1 ? min_keep : 1);
        return;
    }
    n = 0;
    for (int i = 0; i < k->n; i++)
        if (k->c[i].logit >= low) k->c[n++] = k->c[i];
    k->n = n;
}

void stage_xtc(struct cands *k, float threshold, int min_keep) {
    if (threshold > 0.5f || k->n < 2) return; /* above one half at most one can pass */
    cands_softmax(k);
    const struct candidate *last = NULL; /* the least likely of those above */
    int above = 0;
    for (int i = 0; i < k->n; i++) {
        if (k->c[i].p < threshold) continue;
        above++;
        if (!last || better(last, &k->c[i])) last = &k->c[i];
    }
    if (above < 2 || k->n - above + 1 < min_keep) return;
    const int32_t keep_id = last->id;
    int n = 0;
    for (int i = 0; i < k->n; i++)
        if (k->c[i].p < threshold || k->c[i].id == keep_id) k->c[n++] = k->c[i];
    k->n = n;
}

void stage_temp(struct cands *k, float t) {
    if (k->n == 0) return;
    if (t > 0.0f) {
        for (int i = 0; i < k->n; i++)
            k->c[i].logit = finite_or_banned(k->c[i].logit / t);
        return;
    }
    const int32_t id = best_of(k)->id;
    for (int i = 0; i < k->n; i++)
        if (k->c[i].id != id) k->c[i].logit = -INFINITY;
}

void stage_temp_dynamic(struct cands *k, float t, float range, float exponent) {
    if (!(range > 0.0f)) {
        stage_temp(k, t);
        return;
    }
    if (k->n <= 1) return;
    cands_softmax(k);
    const float low = t > range ? t - range : 0.0f;
    const double norm = entropy(k) / log((double)k->n);
    stage_temp(k, low + (t + range - low) * (float)pow(norm, (double)exponent));
}

/* Zipf's exponent from the log-ratios of neighbours among the best m (section 4 of the paper),
 * then the k that gives surprise mu. */
static int mirostat_k(const struct cands *k, float mu, int m, int n_vocab) {
    double tb = 0.0, tt = 0.0;
    for (int i = 0; i < m - 1 && i < k->n - 1 && k->c[i + 1].logit != -INFINITY; i++) {
        const double t = log((i + 2.0) / (i + 1.0));
        tb += t * ((double)k->c[i].logit - (double)k->c[i + 1].logit);
        tt += t * t;
    }
    if (tt <= 0.0) return 1;
    const double s = tb / tt, eps = s - 1.0;
    const double x = pow(eps * exp2((double)mu) / (1.0 - pow(n_vocab, -eps)), 1.0 / s);
    if (!(x >= 1.0)) return 1; /* NaN too: a flat list has s = 0 */
    return x < n_vocab ? (int)x : n_vocab;
}

void stage_mirostat(struct cands *k, int version, float mu, int m, int n_vocab) {
    if (k->n == 0) return;
    if (version == 1) {
        /* The estimate reads only the best m, so they alone are put in order. */
        heapify(k->c, k->n, true);
        const int n = k->n, head = m < n ? m : n;
        for (int i = 0; i < head; i++)
            pop(k->c, n - i, true);
        keep_popped(k, n);
        stage_top_k(k, mirostat_k(k, mu, head, n_vocab));
    } else {
        cands_softmax(k);
        const double low = exp2(-(double)mu); /* surprise -log2 p <= mu */
        const struct candidate best = *best_of(k);
        int n = 0;
        for (int i = 0; i < k->n; i++)
            if ((double)k->c[i].p >= low && k->c[i].p > 0.0f) k->c[n++] = k->c[i];
        if (n == 0) k->c[n++] = best;
        k->n = n;
    }
    cands_softmax(k);
}

float mirostat_update(float mu, float tau, float eta, float p) {
    const float surprise = p > 0.0f ? -log2f(p) : 0.0f;
    return mu - eta * (surprise - tau);
}

int cands_draw(const struct cands *k, struct rng *r) {
    double sum = 0.0, seen = 0.0;
    for (int i = 0; i < k->n; i++)
        sum += (double)k->c[i].p;
    const double at = rng_unit(r) * sum;
    int last = -1; /* rounding may leave `at` past the end: then the last one with weight */
    for (int i = 0; i < k->n; i++) {
        if (!(k->c[i].p > 0.0f)) continue;
        seen += (double)k->c[i].p;
        last = i;
        if (at < seen) break;
    }
    return last >= 0 ? last : (int)(best_of(k) - k->c);
}
