/* An induction head by hand (Olsson et al., arXiv:2209.11895), in the first two layers.
 *
 * A token's embedding is a code of random signs; codes of different tokens are nearly orthogonal.
 * Layer 0 looks back: its query head r attends to the place r + 1 before, by RoPE alone, and notes
 * n_bit values of the code there, its past.  Layer 1 looks up: its query is the token and its past,
 * its keys are the pasts, so that it finds the place after the same words, in the pairs that RoPE
 * turns too slowly to matter.  It adds the code of the token there, three times as large as the
 * token's own, and the output matrix, which is the embedding, makes that the likeliest.
 * All other layers compute random things, which their output matrices multiply by 0.
 *
 *   residual: [ code: n_code | past: n_past x n_bit | 0 ... | constant ] */
#include "copier.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sample/rng.h"

static const double THETA = 1e12; /* 3/8 of the pairs turn by more than 3e-5 a token */
static const double MARGIN = 25;  /* score of the right place above any other, layer 0 */
static const double FLIP = 16;    /* what one wrong sign costs, layer 1 */
static const double LOUD = 3;     /* the next token's code, in codes of the token itself */
static const int FARTHEST = 8192; /* distance up to which layer 0 is sure */
enum { MOST_PAST = 4 };

static double turn(const struct copier *c, int pair) {
    return pow(c->theta, -2.0 * pair / c->head_dim);
}

/* 1 / rms of the residual stream before layer il. */
static double norm_gain(const struct copier *c, int il) {
    const int n_sign = c->n_code + (il > 0 ? c->n_past * c->n_bit : 0);
    return 1 / sqrt((n_sign + c->constant * c->constant) / c->n_embd);
}

/* Length of layer 0's queries and keys in a pair: the second best place scores MARGIN less. */
static double look_back_length(const struct copier *c) {
    double gap = 1e9;
    for (int away = 1; away < FARTHEST; away++) {
        double sum = 0;
        for (int i = 0; i < c->n_fast; i++)
            sum += 1 - cos(away * turn(c, i));
        gap = fmin(gap, sum);
    }
    return sqrt(MARGIN * sqrt(c->head_dim) / gap);
}

int copier_init(struct copier *c, struct shape *s, uint64_t seed, struct err *e) {
    if (strcmp(s->arch, "llama") != 0 || !s->tied || s->n_expert || s->n_layer < 2)
        return err_set(e, ERR_USAGE,
                       "--copy: \"%s\" is not of the kind that can be made to copy: llama with two "
                       "layers or more whose embedding is the output matrix, too",
                       s->name);
    s->theta = (float)THETA, s->llama3_factor = 0;
    *c = (struct copier){.n_embd = s->n_embd, .head_dim = s->head_dim, .seed = seed};
    c->n_kv_head = s->n_kv_head, c->n_group = s->n_head / s->n_kv_head;
    c->theta = THETA, c->constant = 8;
    c->n_fast = s->head_dim / 2 * 3 / 8;
    c->n_past = c->n_group < MOST_PAST ? c->n_group : MOST_PAST;
    c->n_bit = (s->head_dim - 2 * c->n_fast) / c->n_past;
    const int room = (s->n_embd - 1 - c->n_past * c->n_bit) / s->n_kv_head;
    c->n_part = room < s->head_dim ? room : s->head_dim;
    c->n_code = c->n_part * s->n_kv_head;
    return 0;
}

/* ---- tensors ---- */

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

void copier_mark(struct shape_tensor *t, int n) {
    for (int i = 0; i < n; i++) {
        int il = -1;
        (void)sscanf(t[i].name, "blk.%d.", &il);
        const bool out = ends_with(t[i].name, "attn_output.weight");
        if (ends_with(t[i].name, "norm.weight"))
            t[i].fill = FILL_ONES;
        else if (il < 0 || (il < 2 && strstr(t[i].name, "attn_")))
            t[i].fill = FILL_COPY;
        else if (out || ends_with(t[i].name, "ffn_down.weight"))
            t[i].fill = FILL_WEIGHT, t[i].scale = 0;
    }
}

static float code(const struct copier *c, int64_t token, int i) {
    uint64_t x = c->seed + (uint64_t)token * 4096 + (uint64_t)i / 64;
    return rng_splitmix(&x) >> (i % 64) & 1 ? 1 : -1;
}

static void embedding(const struct copier *c, int64_t token, float *x) {
    for (int i = 0; i < c->n_code; i++)
        x[i] = code(c, token, i);
    x[c->n_embd - 1] = (float)c->constant;
}

/* Layer 0: query heads 0..n_past-1 turned back by 1, 2, ... places; they share the key of head 0.
 */
static void look_back(const struct copier *c, char which, int64_t row, float *x) {
    const int head = (int)(row / c->head_dim), d = (int)(row % c->head_dim), pair = d / 2;
    const double gain = norm_gain(c, 0);
    if (which == 'v') {
        if (head == 0 && d < c->n_bit) x[d] = 1;
    } else if (head < (which == 'q' ? c->n_past : 1) && pair < c->n_fast) {
        const double angle = which == 'q' ? -(head + 1) * turn(c, pair) : 0;
        const double length = look_back_length(c) / (gain * c->constant);
        x[c->n_embd - 1] = (float)(length * (d % 2 ? sin(angle) : cos(angle)));
    }
}

static void look_back_out(const struct copier *c, int64_t row, float *x) {
    const int i = (int)row - c->n_code;
    if (i >= 0 && i < c->n_past * c->n_bit)
        x[i / c->n_bit * c->head_dim + i % c->n_bit] = (float)(1 / norm_gain(c, 0));
}

/* Layer 1: keys are the past of a place, queries the token and its past but the oldest. */
static void look_up(const struct copier *c, char which, int64_t row, float *x) {
    const int head = (int)(row / c->head_dim), d = (int)(row % c->head_dim);
    const int i = d - 2 * c->n_fast;
    const double length = sqrt(FLIP / 2 * sqrt(c->head_dim)) / norm_gain(c, 1);
    if (which == 'v') {
        if (d < c->n_part) x[head * c->n_part + d] = 1;
    } else if (i >= 0 && i < c->n_past * c->n_bit) {
        const int past = c->n_code + i;
        x[which == 'k' ? past : i < c->n_bit ? i : past - c->n_bit] = (float)length;
    }
}

static void look_up_out(const struct copier *c, int64_t row, float *x) {
    if (row >= c->n_code) return;
    const int64_t head = row / c->n_part * c->n_group;
    x[head * c->head_dim + row % c->n_part] = (float)(LOUD / norm_gain(c, 1));
}

void copier_row(const struct copier *c, const char *tensor, int64_t row, float *x) {
    int il = 0;
    char which = 0;
    const bool outside = sscanf(tensor, "blk.%d.attn_%c", &il, &which) != 2;
    const bool out = which == 'o';
    memset(x, 0, (size_t)(out ? c->head_dim * c->n_kv_head * c->n_group : c->n_embd) * sizeof *x);
    if (outside)
        embedding(c, row, x);
    else if (il == 0)
        out ? look_back_out(c, row, x) : look_back(c, which, row, x);
    else
        out ? look_up_out(c, row, x) : look_up(c, which, row, x);
}
