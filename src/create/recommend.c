/* See recommend.h. */
#include "create/recommend.h"

#include <math.h>
#include <stdlib.h>

#include "engine/mix.h"

/* One file type of one model. */
static int judge(const struct recommend_opts *o, struct recommendation *r, struct err *e) {
    struct hparams h;
    struct memory_sizes s;
    if (catalogue_size(r->m, r->mix, &r->size, e) != 0) return -1;
    if (catalogue_hparams(r->m, &h, e) != 0) return -1;
    const struct memory_model mm = {
        .hp = &h,
        .encoder = r->m->parts & PART_ENCODER,
        .positions_end = r->m->parts & PART_POSITIONS,
        .n_text = r->m->n_vocab,
        .file_bytes = r->size.loaded_bytes,
    };
    if (memory_sizes(&mm, &o->engine, &s, e) != 0) return -1;
    if (memory_need(&mm, &s, o->engine.n_threads, &r->need, e) != 0) return -1;
    r->n_ctx = s.n_ctx;
    r->fits = memory_total(&r->need) <= o->memory_bytes;
    const double read = (double)r->size.read_bytes + (double)r->need.kv_token_bytes * s.n_ctx / 2;
    r->decode_tps = mm.encoder ? 0 : o->read_bps * RECOMMEND_EFFICIENCY / read;
    return 0;
}

/* What is left of a model after quantization, roughly as perplexities tell. */
static double kept(int mix) {
    switch (mix) {
    case MIX_Q6_K: return 0.99;
    case MIX_Q5_K_M: return 0.98;
    case MIX_Q4_K_M: return 0.95;
    case MIX_Q4_K_S: return 0.94;
    case MIX_Q3_K_M: return 0.8;
    case MIX_Q2_K: return 0.4;
    default: return 1;
    }
}

static double score(const struct recommend_opts *o, const struct recommendation *r) {
    const struct catalogue_model *m = r->m;
    const double slow_tps = 5, year = 0.75, made_for = 1.5;
    double n = m->n_param_m * kept(r->mix) * pow(year, 2025 - m->year);
    /* Experts: between those that are there and those that are used. */
    if (m->n_expert) n *= sqrt((double)m->n_expert_used / m->n_expert);
    if (o->task && m->made_for == o->task) n *= made_for;
    /* Nobody waits for answers slower than one reads: such speed counts twice. */
    if (r->decode_tps > 0 && r->decode_tps < slow_tps) n *= pow(r->decode_tps / slow_tps, 2);
    return n;
}

static int by_score(const void *a, const void *b) {
    const struct recommendation *x = a, *y = b;
    if (x->fits != y->fits) return x->fits ? -1 : 1;
    if (!x->fits) { /* the nearest first */
        const uint64_t p = memory_total(&x->need), q = memory_total(&y->need);
        return p < q ? -1 : p > q;
    }
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->m < y->m ? -1 : x->m > y->m;
}

/* 1: taken; 0: the cache cannot have that type with this model. */
static int choose(const struct recommend_opts *o, const struct catalogue_model *m,
                  struct recommendation *r, struct err *e) {
    for (const int *mix = catalogue_mixes(m); *mix >= 0; mix++) {
        *r = (struct recommendation){.m = m, .mix = *mix};
        if (judge(o, r, e) != 0) return e->code == ERR_UNSUPPORTED ? 0 : -1;
        if (r->fits) break;
    }
    r->score = score(o, r);
    return 1;
}

int recommend(const struct recommend_opts *o, struct recommendation **out, int *n, struct err *e) {
    const unsigned task = o->task ? o->task : TASK_CHAT;
    int n_all = 0, longest = 0, rc = 0;
    while (catalogue[n_all].name)
        n_all++;
    *n = 0;
    *out = calloc((size_t)n_all + 1, sizeof **out);
    if (!*out) return err_nomem(e, "recommend");
    for (const struct catalogue_model *m = catalogue; rc >= 0 && m->name; m++) {
        if (!(m->tasks & task)) continue;
        /* "multilingual" asks for answers, not for vectors. */
        if (task != TASK_EMBED && m->made_for == TASK_EMBED) continue;
        if (m->n_ctx > longest) longest = m->n_ctx;
        if (o->engine.n_ctx > m->n_ctx) continue;
        rc = choose(o, m, &(*out)[*n], e);
        *n += rc > 0;
    }
    if (rc >= 0 && *n > 0) {
        qsort(*out, (size_t)*n, sizeof **out, by_score);
        return 0;
    }
    free(*out);
    *out = NULL;
    if (rc < 0) return -1;
    if (o->engine.n_ctx > longest)
        return err_set(e, ERR_LIMIT,
                       "recommend: no model was trained for %d tokens of context; at most %d",
                       o->engine.n_ctx, longest);
    return err_prefix(e, "recommend"); /* every model refused the cache's type */
}
