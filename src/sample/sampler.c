/* The chain of sampler.h over the stages of penalty.h and stage.h:
 *
 *   logits -> work copy -> bias, penalties, dry        (few tokens, in place)
 *          -> top_n_sigma, top_k, typical, top_p, min_p, xtc, temperature -> draw
 *
 * With temperature 0 the work ends at an arg max after the first line. */
#include "sample/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sample/penalty.h"
#include "sample/scan.h"
#include "sample/stage.h"

enum {
    HISTORY_ALL = 1 << 18, /* what -1, "the whole context", means when nobody knows it: 1 MB */
    MAX_LAST_N = 1 << 24,  /* the engine's longest context, which it puts for -1 */
    MIROSTAT_M = 100,      /* the paper's and llama.cpp's choice */
    ASK_MOST = 256,        /* tokens of top_k that are asked for one by one */
    ASK_MORE = 16,         /* and as many that may turn out not allowed */
};

struct sampler {
    struct sampler_opts o;
    int n_vocab;
    float *work;        /* [n_vocab], owned */
    struct cands cands; /* buffers owned */
    struct recent history;
    struct rng rng;
    float mu;            /* mirostat's state; starts at 2 tau */
    bool changes_logits; /* bias, a penalty or dry is on */
};

struct sampler_opts sampler_defaults(void) {
    return (struct sampler_opts){
        .temperature = 0.8f,
        .dynatemp_exponent = 1.0f,
        .top_k = 40,
        .top_p = 0.9f,
        .typical_p = 1.0f,
        .xtc_threshold = 0.1f,
        .repeat_last_n = 64,
        .repeat_penalty = 1.0f,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_penalty_last_n = -1,
        .mirostat_tau = 5.0f,
        .mirostat_eta = 0.1f,
        .seed = -1,
    };
}

/* One number of the options with what is accepted: min <= value <= max, and finite. */
struct range {
    const char *name;
    double value, min, max;
    const char *accepted;
};

static int check_range(const struct range *r, struct err *e) {
    if (isfinite(r->value) && r->value >= r->min && r->value <= r->max) return 0;
    /* Integers in full; a float has no more digits than the user wrote. */
    const int digits = r->value == trunc(r->value) ? 10 : 6;
    return err_set(e, ERR_USAGE, "%s: %.*g; accepted: %s", r->name, digits, r->value, r->accepted);
}

int sampler_check(const struct sampler_opts *o, struct err *e) {
    const double big = (double)1e30f; /* the floats nearest to what the messages say */
    const double small = (double)1e-6f;
    const struct range all[] = {
        {"temperature", (double)o->temperature, 0, big, "a number from 0 to 1e30"},
        {"dynatemp_range", (double)o->dynatemp_range, 0, big, "a number from 0 to 1e30"},
        {"dynatemp_exponent", (double)o->dynatemp_exponent, 0, big, "a number from 0 to 1e30"},
        {"top_k", o->top_k, 0, big, "an integer >= 0 (0: off)"},
        {"top_p", (double)o->top_p, 0, 1, "a number from 0 to 1"},
        {"min_p", (double)o->min_p, 0, 1, "a number from 0 to 1"},
        {"typical_p", (double)o->typical_p, 0, 1, "a number from 0 to 1"},
        {"top_n_sigma", (double)o->top_n_sigma, -big, big, "a number (<= 0: off)"},
        {"xtc_probability", (double)o->xtc_probability, 0, 1, "a number from 0 to 1"},
        {"xtc_threshold", (double)o->xtc_threshold, 0, 1, "a number from 0 to 1"},
        {"repeat_last_n", o->repeat_last_n, -1, MAX_LAST_N,
         "an integer from -1 (whole context) to 16777216"},
        {"repeat_penalty", (double)o->repeat_penalty, small, big,
         "a number from 1e-6 to 1e30 (1: off)"},
        {"presence_penalty", (double)o->presence_penalty, -big, big, "a number from -1e30 to 1e30"},
        {"frequency_penalty", (double)o->frequency_penalty, -big, big,
         "a number from -1e30 to 1e30"},
        {"dry_multiplier", (double)o->dry_multiplier, 0, big, "a number from 0 (off) to 1e30"},
        {"dry_base", (double)o->dry_base, o->dry_multiplier > 0.0f ? 1 : -big, big,
         "a number from 1 to 1e30"},
        {"dry_allowed_length", o->dry_allowed_length, 0, big, "an integer >= 0"},
        {"dry_penalty_last_n", o->dry_penalty_last_n, -1, MAX_LAST_N,
         "an integer from -1 (whole context) to 16777216"},
        {"mirostat", o->mirostat, 0, 2, "0, 1 or 2"},
        {"mirostat_tau", (double)o->mirostat_tau, 0, big, "a number from 0 to 1e30"},
        {"mirostat_eta", (double)o->mirostat_eta, 0, big, "a number from 0 to 1e30"},
        {"min_keep", o->min_keep, 0, big, "an integer >= 0"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (check_range(&all[i], e) != 0) return -1;
    for (int i = 0; i < o->n_bias; i++)
        if (isnan(o->bias[i].bias) || o->bias[i].bias == INFINITY)
            return err_set(e, ERR_USAGE, "logit_bias of token %d: %g; accepted: a number or -inf",
                           (int)o->bias[i].id, (double)o->bias[i].bias);
    return 0;
}

static int check_bias_ids(const struct sampler_opts *o, int n_vocab, struct err *e) {
    for (int i = 0; i < o->n_bias; i++)
        if (o->bias[i].id < 0 || o->bias[i].id >= n_vocab)
            return err_set(e, ERR_USAGE, "logit_bias: token %d; accepted: 0 to %d",
                           (int)o->bias[i].id, n_vocab - 1);
    return 0;
}

static bool penalties_on(const struct sampler_opts *o) {
    return o->repeat_last_n != 0 && (o->repeat_penalty != 1.0f || o->presence_penalty != 0.0f ||
                                     o->frequency_penalty != 0.0f);
}

static bool dry_on(const struct sampler_opts *o) {
    return o->dry_multiplier > 0.0f && o->dry_penalty_last_n != 0;
}

struct sampler *sampler_new(const struct sampler_opts *o, int n_vocab, struct err *e) {
    if (sampler_check(o, e) != 0 || check_bias_ids(o, n_vocab, e) != 0) return NULL;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "sampler");
        return NULL;
    }
    s->o = *o;
    s->n_vocab = n_vocab;
    s->changes_logits = o->n_bias > 0 || penalties_on(o) || dry_on(o);
    const size_t n = (size_t)n_vocab;
    s->work = malloc(n * sizeof *s->work);
    s->cands.c = malloc(n * sizeof *s->cands.c);
    s->cands.tmp = malloc(n * sizeof *s->cands.tmp);
    if (!s->work || !s->cands.c || !s->cands.tmp) {
        err_nomem(e, "sampler");
        goto fail;
    }
    const int n_count = !penalties_on(o)       ? 0
                        : o->repeat_last_n < 0 ? HISTORY_ALL
                                               : o->repeat_last_n;
    const int n_dry = !dry_on(o)                  ? 0
                      : o->dry_penalty_last_n < 0 ? HISTORY_ALL
                                                  : o->dry_penalty_last_n;
    if (recent_init(&s->history, n_vocab, n_count, n_dry, e) != 0) goto fail;
    sampler_reset(s);
    return s;
fail:
    sampler_free(s);
    return NULL;
}

void sampler_free(struct sampler *s) {
    if (!s) return;
    recent_fini(&s->history);
    free(s->work), free(s->cands.c), free(s->cands.tmp);
    free(s);
}

static uint64_t system_seed(void) {
    uint64_t seed = 0;
    /* Eight bytes come whole once the system has booted; without them any constant will do. */
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = 0x9e3779b97f4a7c15u;
    return seed;
}

void sampler_reset(struct sampler *s) {
    recent_clear(&s->history);
    s->mu = 2.0f * s->o.mirostat_tau;
    rng_seed(&s->rng, s->o.seed < 0 ? system_seed() : (uint64_t)s->o.seed);
}

void sampler_accept(struct sampler *s, int32_t id) {
    recent_push(&s->history, id);
}

/* to[n] = from[n] where allowed, else -INFINITY; whole words of the mask at once. */
static void mask_logits(float *to, const float *from, int n, const uint32_t *allowed) {
    for (int i = 0; i < n; i += 32) {
        const uint32_t bits = allowed[i / 32];
        const int end = n - i < 32 ? n : i + 32;
        if (bits == UINT32_MAX) {
            memcpy(to + i, from + i, (size_t)(end - i) * sizeof *to);
            continue;
        }
        for (int j = i; j < end; j++)
            to[j] = -INFINITY;
        for (uint32_t left = bits; left; left &= left - 1) {
            const int j = i + __builtin_ctz(left);
            if (j < end) to[j] = from[j];
        }
    }
}

static const float *adjusted(struct sampler *s, const float *logits, const uint32_t *allowed) {
    const struct sampler_opts *o = &s->o;
    if (!s->changes_logits && !allowed) return logits;
    if (allowed)
        mask_logits(s->work, logits, s->n_vocab, allowed);
    else
        memcpy(s->work, logits, (size_t)s->n_vocab * sizeof *s->work);
    if (!s->changes_logits) return s->work;
    penalty_bias(s->work, o->bias, o->n_bias);
    if (penalties_on(o))
        penalty_repeat(&s->history, s->work, o->repeat_penalty, o->presence_penalty,
                       o->frequency_penalty);
    if (dry_on(o)) penalty_dry(&s->history, s->work, o);
    return s->work;
}

static int32_t choose_mirostat(struct sampler *s, const float *logits) {
    struct cands *k = &s->cands;
    const struct sampler_opts *o = &s->o;
    cands_fill(k, logits, s->n_vocab);
    stage_temp_dynamic(k, o->temperature, o->dynatemp_range, o->dynatemp_exponent);
    stage_mirostat(k, o->mirostat, s->mu, MIROSTAT_M, s->n_vocab);
    const struct candidate *c = &k->c[cands_draw(k, &s->rng)];
    s->mu = mirostat_update(s->mu, o->mirostat_tau, o->mirostat_eta, c->p);
    return c->id;
}

/* The stages behind top_k. */
static void cut_further(struct sampler *s) {
    stage_typical(&s->cands, s->o.typical_p, s->o.min_keep);
    stage_top_p(&s->cands, s->o.top_p, s->o.min_keep);
    stage_min_p(&s->cands, s->o.min_p, s->o.min_keep);
}

/* The first stage that cuts the list is done while it is made: few chains list the vocabulary. */
static void cut(struct sampler *s, const float *logits) {
    struct cands *k = &s->cands;
    const struct sampler_opts *o = &s->o;
    const int n = s->n_vocab;
    const bool whole = o->typical_p < 1.0f || (o->top_k > 0 && o->top_k < n);
    if (o->top_n_sigma > 0.0f) { /* its mean is over the whole vocabulary */
        cands_fill(k, logits, n);
        stage_top_n_sigma(k, o->top_n_sigma);
        stage_top_k(k, o->top_k);
    } else if (!whole && o->top_p < 1.0f) {
        cands_fill_top_p(k, logits, n, o->top_p, o->min_keep);
        stage_min_p(k, o->min_p, o->min_keep);
        return;
    } else if (!whole && o->min_p > 0.0f) {
        cands_fill_min_p(k, logits, n, o->min_p, o->min_keep);
        return;
    } else {
        cands_fill_top(k, logits, n, o->top_k);
    }
    cut_further(s);
}

/* From the list that is left to a token. */
static int32_t finish(struct sampler *s) {
    struct cands *k = &s->cands;
    const struct sampler_opts *o = &s->o;
    if (o->xtc_probability > 0.0f && rng_unit(&s->rng) < (double)o->xtc_probability)
        stage_xtc(k, o->xtc_threshold, o->min_keep);
    stage_temp_dynamic(k, o->temperature, o->dynatemp_range, o->dynatemp_exponent);
    cands_softmax(k);
    return k->c[cands_draw(k, &s->rng)].id;
}

int32_t sampler_choose(struct sampler *s, const float *logits) {
    return sampler_choose_masked(s, logits, NULL);
}

static int32_t choose(struct sampler *s, const float *logits) {
    if (s->o.temperature <= 0.0f) return scan_best(logits, s->n_vocab);
    if (s->o.mirostat != 0) return choose_mirostat(s, logits);
    cut(s, logits);
    return finish(s);
}

int32_t sampler_choose_masked(struct sampler *s, const float *logits, const uint32_t *allowed) {
    logits = adjusted(s, logits, allowed);
    const int32_t id = choose(s, logits);
    return allowed && !(logits[id] > -INFINITY) ? -1 : id;
}

/* The best `want` allowed ones of the best `ask`, best first, as the list; false: there are not
 * that many among them, or `allows` gave up. */
static bool fill_allowed(struct sampler *s, const float *logits, int want, int ask,
                         sampler_allows_fn *allows, void *ctx) {
    struct cands *k = &s->cands;
    cands_fill_top(k, logits, s->n_vocab, ask);
    int n = 0;
    for (int i = 0; i < k->n && n < want; i++) {
        const int rc = k->c[i].logit > -INFINITY ? allows(ctx, k->c[i].id) : 0;
        if (rc < 0) return false;
        if (rc == 1) k->c[n++] = k->c[i];
    }
    k->n = n;
    return n == want;
}

int32_t sampler_choose_asking(struct sampler *s, const float *logits, sampler_allows_fn *allows,
                              void *ctx) {
    const struct sampler_opts *o = &s->o;
    const bool greedy = o->temperature <= 0.0f;
    const int want = greedy ? 1 : o->top_k, ask = greedy ? ASK_MORE : o->top_k + ASK_MORE;
    if (want <= 0 || want > ASK_MOST || ask >= s->n_vocab) return -1;
    if (!greedy && (o->mirostat != 0 || o->top_n_sigma > 0.0f)) return -1;
    logits = adjusted(s, logits, NULL);
    if (!fill_allowed(s, logits, want, ask, allows, ctx)) return -1;
    if (greedy) return s->cands.c[0].id;
    cut_further(s);
    return finish(s);
}

int candidates_top(const float *logits, int n, int top, struct candidate *out,
                   struct candidate *chosen) {
    struct cands k = {.c = out};
    const float max = logits[scan_best(logits, n)];
    double sum = 0.0;
    cands_fill_top(&k, logits, n, top < n ? top : n);
    if (top >= n) cands_sort(&k);
    for (int i = 0; i < n; i++)
        if (logits[i] > -INFINITY) sum += exp((double)logits[i] - (double)max);
    if (chosen) chosen->logit = logits[chosen->id];
    for (int i = -1; i < k.n; i++) {
        struct candidate *c = i < 0 ? chosen : &out[i];
        if (c) c->p = sum > 0.0 ? (float)(exp((double)c->logit - (double)max) / sum) : 0.0f;
    }
    return k.n;
}
