/* See data.h: parts of a data set, what they share, how long their sequences are. */
#include <stdlib.h>

#include "base/hash.h"
#include "train/data.h"
#include "train/seen.h"

void data_part_fini(struct data_part *p) {
    free(p->example);
    *p = (struct data_part){0};
}

static int part_new(struct data_part *p, const struct dataset *d, struct err *e) {
    *p = (struct data_part){.data = d};
    p->example = malloc(((size_t)d->n_example + 1) * sizeof *p->example);
    return p->example ? 0 : err_nomem(e, "data");
}

int data_part_all(const struct dataset *d, struct data_part *out, struct err *e) {
    if (part_new(out, d, e) != 0) return -1;
    for (int i = 0; i < d->n_example; i++)
        out->example[out->n++] = i;
    return 0;
}

/* ---- train and validation ---- */

struct ranked {
    uint64_t rank, prompt; /* rank: of the prompt, by chance */
    int at;
};

static int by_rank(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static int group_end(const struct ranked *r, int n, int at) {
    int end = at + 1;
    while (end < n && r[end].prompt == r[at].prompt)
        end++;
    return end;
}

static void take(const struct ranked *r, int at, int end, bool *to_valid) {
    for (; at < end; at++)
        to_valid[r[at].at] = true;
}

/* Prompts by chance as long as they do not make it more than n_want; the smallest, if none does. */
static int choose(const struct ranked *r, int n, int n_want, bool *to_valid) {
    int n_took = 0, best = 0, n_best = n;
    for (int at = 0, end; at < n; at = end) {
        end = group_end(r, n, at);
        if (end - at < n_best) best = at, n_best = end - at;
        if (n_took + end - at > n_want) continue;
        take(r, at, end, to_valid);
        n_took += end - at;
    }
    if (n_took > 0) return n_took;
    take(r, best, best + n_best, to_valid);
    return n_best;
}

int data_choose(const uint64_t *prompt_hash, int n, double fraction, uint64_t seed, bool *to_valid,
                struct err *e) {
    for (int i = 0; i < n; i++)
        to_valid[i] = false;
    if (fraction <= 0) return 0;
    struct ranked *r = malloc(((size_t)n + 1) * sizeof *r);
    if (!r) return err_nomem(e, "data");
    for (int i = 0; i < n; i++)
        r[i] =
            (struct ranked){hash64(&prompt_hash[i], sizeof *prompt_hash, seed), prompt_hash[i], i};
    qsort(r, (size_t)n, sizeof *r, by_rank);
    int n_want = (int)(fraction * n + 0.5), rc = -1;
    if (n_want < 1) n_want = 1;
    if (n_want > n - 1) n_want = n - 1;
    if (n == 0 || group_end(r, n, 0) == n)
        err_set(e, ERR_FORMAT,
                "validation: found %d examples of one prompt; two different ones are needed", n);
    else
        rc = choose(r, n, n_want, to_valid);
    free(r);
    return rc;
}

int data_part_split(const struct dataset *d, double fraction, uint64_t seed,
                    struct data_part *train, struct data_part *valid, struct err *e) {
    *train = *valid = (struct data_part){0};
    bool *to_valid = malloc((size_t)d->n_example + 1);
    int rc = to_valid ? 0 : err_nomem(e, "data");
    if (rc == 0) rc = data_choose(d->prompt_hash, d->n_example, fraction, seed, to_valid, e);
    if (rc >= 0 && (part_new(train, d, e) != 0 || part_new(valid, d, e) != 0)) rc = -1;
    for (int i = 0; rc >= 0 && i < d->n_example; i++) {
        struct data_part *p = to_valid[i] ? valid : train;
        p->example[p->n++] = i;
    }
    free(to_valid);
    return rc < 0 ? -1 : 0;
}

/* ---- leaks ---- */

static int keep_all(struct seen *s, const uint64_t *hash, int n, struct err *e) {
    for (int i = 0; i < n; i++)
        if (seen_add(s, hash[i], i + 1) < 0) return err_nomem(e, "data");
    return 0;
}

/* Count them, and keep in p (may be NULL) the others. */
static int compare(const struct dataset *train, const struct dataset *valid, struct data_leaks *out,
                   struct data_part *p, struct err *e) {
    struct seen whole = {0}, prompt = {0};
    *out = (struct data_leaks){0};
    int rc = keep_all(&whole, train->hash, train->n_example, e);
    if (rc == 0) rc = keep_all(&prompt, train->prompt_hash, train->n_example, e);
    for (int i = 0; rc == 0 && i < valid->n_example; i++) {
        const bool same = seen_find(&whole, valid->hash[i]) > 0;
        const bool asked = seen_find(&prompt, valid->prompt_hash[i]) > 0;
        out->n_same += same;
        out->n_prompt += asked && !same;
        if ((same || asked) && out->line == 0) out->line = valid->seq[i << valid->pairs].line;
        if (!same && !asked && p) p->example[p->n++] = i;
    }
    seen_fini(&whole);
    seen_fini(&prompt);
    return rc;
}

int data_leaks_find(const struct dataset *train, const struct dataset *valid,
                    struct data_leaks *out, struct err *e) {
    return compare(train, valid, out, NULL, e);
}

int data_part_unknown(const struct dataset *train, const struct dataset *valid,
                      struct data_part *out, struct err *e) {
    struct data_leaks leaks;
    if (part_new(out, valid, e) != 0) return -1;
    return compare(train, valid, &leaks, out, e);
}

/* ---- lengths ---- */

static int by_length(const void *a, const void *b) {
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* The smallest of n sorted values that at least `percent` of them do not exceed. */
static int percentile(const int *v, int n, int percent) {
    const int at = (int)(((int64_t)n * percent + 99) / 100) - 1;
    return v[at < 0 ? 0 : at];
}

int data_part_stats(const struct data_part *p, struct data_stats *out, struct err *e) {
    const int per = p->data && p->data->pairs ? 2 : 1;
    int *len = malloc(((size_t)p->n * 2 + 1) * sizeof *len);
    *out = (struct data_stats){0};
    if (!len) return err_nomem(e, "data");
    for (int i = 0; i < p->n * per; i++) {
        const struct data_seq *s = &p->data->seq[p->example[i / per] * per + i % per];
        len[out->n++] = s->n;
        out->total += (uint64_t)s->n;
        out->n_label += (uint64_t)s->n_label;
    }
    if (out->n > 0) {
        qsort(len, (size_t)out->n, sizeof *len, by_length);
        out->min = len[0];
        out->median = percentile(len, out->n, 50);
        out->p95 = percentile(len, out->n, 95);
        out->max = len[out->n - 1];
        out->mean = (double)out->total / out->n;
    }
    free(len);
    return 0;
}
