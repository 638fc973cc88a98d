/* The stages of the sampler that work on a list of candidates: each one shortens the list or
 * rescales its logits.  Behaviour follows llama.cpp's samplers (shared golden vectors); none
 * sorts the vocabulary for the few that it keeps, none allocates.
 *
 * "Best" is by logit, ties by lower id.  A logit of -INFINITY is a banned candidate: it stays in
 * the list with probability 0 until a stage cuts it. */
#pragma once

#include "sample/rng.h"
#include "sample/sampler.h"

struct cands {
    struct candidate *c;   /* [n]; room for n_vocab, caller's */
    struct candidate *tmp; /* room for n_vocab, caller's: scratch of typical and top_p */
    int n;
};

/* All of logits[n_vocab].  NaN counts as -INFINITY, +INFINITY as the largest float. */
void cands_fill(struct cands *k, const float *logits, int n_vocab);

/* The best `top` of logits[n_vocab], best first; top <= 0 or >= n_vocab: all, in order of id. */
void cands_fill_top(struct cands *k, const float *logits, int n_vocab, int top);

/* cands_fill() and the stage of that name in one, without the list of everything: the same list, in
 * the same order, bit by bit. */
void cands_fill_top_p(struct cands *k, const float *logits, int n_vocab, float p, int min_keep);
void cands_fill_min_p(struct cands *k, const float *logits, int n_vocab, float p, int min_keep);

/* p of each candidate: softmax over the list.  All banned: p is 0 everywhere. */
void cands_softmax(struct cands *k);

/* Best first. */
void cands_sort(struct cands *k);

/* min_keep <= 0 means 1; every stage leaves at least one candidate of a list that has one. */
void stage_top_k(struct cands *k, int top);
void stage_top_n_sigma(struct cands *k, float n); /* bans below max - n standard deviations */
void stage_typical(struct cands *k, float p, int min_keep); /* arXiv:2202.00666 */
void stage_top_p(struct cands *k, float p, int min_keep);   /* arXiv:1904.09751 */
void stage_min_p(struct cands *k, float p, int min_keep);   /* arXiv:2407.01082 */

/* Exclude top choices: of the candidates with p >= threshold only the least likely stays.  The
 * caller has thrown the dice for `probability`. */
void stage_xtc(struct cands *k, float threshold, int min_keep);

/* t <= 0 bans all but the best. */
void stage_temp(struct cands *k, float t);

/* Temperature from t - range to t + range by the normalized entropy (arXiv:2309.02772); range
 * <= 0: plain. */
void stage_temp_dynamic(struct cands *k, float t, float range, float exponent);

/* Mirostat (arXiv:2007.14966): cut the list by mu (bits), version 1 or 2; m is the number of
 * candidates from which version 1 estimates Zipf's exponent.  p is fresh afterwards. */
void stage_mirostat(struct cands *k, int version, float mu, int m, int n_vocab);

/* mu after a candidate of probability p was chosen. */
float mirostat_update(float mu, float tau, float eta, float p);

/* Draw an index by p (fresh softmax); the best one when all are banned. */
int cands_draw(const struct cands *k, struct rng *r);
