/* Mixture of experts: which experts take a row and with what weight, and the rows sorted by expert.
 *
 *   logits -> scores (softmax, sigmoid, or the logits themselves)
 *          -> best k of score + select_bias, among the best groups where there are groups
 *             (DeepSeek-V3, arXiv:2412.19437, 2.1.2)
 *          -> weights: the scores; softmax over the k (gpt-oss); renormalized; scaled
 *
 * Rows are independent; the sort is a counting sort by one worker. */
#include "cpu/op.h"

#include <math.h>
#include <string.h>

static void softmax(float *x, int n) {
    float top = -INFINITY, sum = 0.0f;
    for (int i = 0; i < n; i++)
        top = fmaxf(top, x[i]);
    for (int i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - top);
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

static void scores_of(const struct route_job *j, const float *logits, float *score) {
    const int n = j->r->n_expert;
    memcpy(score, logits, (size_t)n * sizeof *score);
    if (j->gate == GATE_SOFTMAX) softmax(score, n);
    if (j->gate == GATE_SIGMOID)
        for (int e = 0; e < n; e++)
            score[e] = 1.0f / (1.0f + expf(-score[e]));
}

/* Index of the largest of x[0..n) that is not taken, the first of equals; never fails, so that NaN
 * cannot choose an expert that is none. */
static int best_of(const float *x, const uint8_t *taken, int n) {
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || x[i] > x[best])) best = i;
    return best;
}

/* Mark as taken all experts outside the best groups; a group is as good as its two best. */
static void drop_groups(const struct route_job *j, const float *select, uint8_t *taken) {
    const int n_each = j->r->n_expert / j->n_group;
    for (int e = 0; e < j->r->n_expert; e++)
        taken[e] = 1;
    for (int used = 0; used < j->n_group_used; used++) {
        float best_sum = 0.0f;
        int best = -1;
        for (int g = 0; g < j->n_group; g++) {
            const float *s = select + (size_t)g * n_each;
            float a = -INFINITY, b = -INFINITY; /* best, second */
            if (!taken[g * n_each]) continue;   /* chosen before */
            for (int i = 0; i < n_each; i++) {
                if (s[i] > a)
                    b = a, a = s[i];
                else if (s[i] > b)
                    b = s[i];
            }
            const float sum = n_each > 1 ? a + b : a;
            if (best < 0 || sum > best_sum) best = g, best_sum = sum;
        }
        memset(taken + (size_t)best * n_each, 0, (size_t)n_each);
    }
}

static void weigh(const struct route_job *j, float *weight) {
    const int k = j->r->k;
    if (j->gate == GATE_SOFTMAX_TOPK) softmax(weight, k);
    float sum = 0.0f;
    for (int s = 0; s < k; s++)
        sum += weight[s];
    const float f = j->renormalize ? j->scale / fmaxf(sum, ROUTE_MIN_SUM) : j->scale;
    for (int s = 0; s < k; s++)
        weight[s] *= f;
}

/* Row i; scratch: [2][n_expert] floats, then [n_expert] bytes. */
static void route_row(const struct route_job *j, int i, uint8_t *scratch) {
    const struct routing *r = j->r;
    float *score = (float *)scratch, *select = score + r->n_expert;
    uint8_t *taken = (uint8_t *)(select + r->n_expert);

    scores_of(j, j->logits + (size_t)i * r->n_expert, score);
    for (int e = 0; e < r->n_expert; e++)
        select[e] = score[e] + (j->select_bias ? j->select_bias[e] : 0.0f);
    memset(taken, 0, (size_t)r->n_expert);
    if (j->n_group > 1) drop_groups(j, select, taken);

    float *weight = r->weight + (size_t)i * r->k;
    int32_t *expert = r->expert + (size_t)i * r->k;
    for (int s = 0; s < r->k; s++) {
        expert[s] = best_of(select, taken, r->n_expert);
        taken[expert[s]] = 1;
        weight[s] = score[expert[s]];
    }
    weigh(j, weight);
}

/* Counting sort of the n*k entries by expert, stable. */
static void sort_entries(const struct routing *r, int n) {
    const int n_entry = n * r->k;
    memset(r->start, 0, ((size_t)r->n_expert + 1) * sizeof *r->start);
    for (int i = 0; i < n_entry; i++)
        r->start[r->expert[i]]++;
    for (int e = 1; e <= r->n_expert; e++)
        r->start[e] += r->start[e - 1];
    for (int i = n_entry - 1; i >= 0; i--) /* from ends down to starts */
        r->order[--r->start[r->expert[i]]] = i;
}

void cpu_route(struct worker *w, const struct route_job *j) {
    int lo, hi;
    team_range(w, j->n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        route_row(j, i, w->scratch);
    team_barrier(w);
    if (w->id == 0) sort_entries(j->r, j->n);
    team_barrier(w);
}
