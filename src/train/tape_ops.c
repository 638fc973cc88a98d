/* The op table that records, and the way back along the tape. */
#include <assert.h>

#include "base/team.h"
#include "train/attend.h"
#include "train/tape_priv.h"

static size_t scratch(const struct op_limits *lim) {
    size_t n = gemm_scratch_bytes();
    const size_t attend = attend_scratch_bytes(lim);
    const int longest = lim->max_cols > lim->max_out ? lim->max_cols : lim->max_out;
    const size_t row = (size_t)longest * 3 * sizeof(float); /* as rows.c and route.c want it */
    if (attend > n) n = attend;
    return row > n ? row : n;
}

static int reserve(struct team *t, const struct op_limits *lim, struct err *e) {
    return team_reserve(t, scratch(lim), sizeof(struct train_ctx *), e);
}

static size_t scratch_bytes(const struct op_limits *lim, int n_worker) {
    return (size_t)n_worker * scratch(lim) + sizeof(struct train_ctx *);
}

static void rope_shift(struct worker *w, const struct attn_job *j, const struct kv_span *span,
                       const float *cs) {
    (void)w, (void)j, (void)span, (void)cs;
    assert(!"training has no cache to shift");
}

const struct ops *train_ops(void) {
    static const struct ops ops = {
        .name = "train",
        .reserve = reserve,
        .scratch_bytes = scratch_bytes,
        .embed = tape_embed,
        .add_rows = tape_add_rows,
        .norm = tape_norm,
        .add_norm = tape_add_norm,
        .linear = tape_linear,
        .head_linear = tape_head_linear,
        .rope_store = tape_rope_store,
        .attend = tape_attend,
        .route = tape_route,
        .combine = tape_combine,
        .gate_rows = tape_gate_rows,
        .scale_cap = tape_scale_cap,
        .clamp = tape_clamp,
        .gather_rows = tape_gather_rows,
        .rope_shift = rope_shift,
    };
    return &ops;
}

void tape_backward(struct worker *w) {
    static tape_back_fn *const back[] = {
        [TAPE_EMBED] = back_table_rows, [TAPE_ADD_ROWS] = back_table_rows,
        [TAPE_NORM] = back_norm_rows,   [TAPE_ADD_NORM] = back_add_norm,
        [TAPE_LINEAR] = back_linear,    [TAPE_HEADS] = back_head_linear,
        [TAPE_ROPE] = back_rope,        [TAPE_ATTEND] = back_attend,
        [TAPE_ROUTE] = back_routing,    [TAPE_COMBINE] = back_combine_rows,
        [TAPE_GATE] = back_gate_rows,   [TAPE_CAP] = back_value,
        [TAPE_CLAMP] = back_value,      [TAPE_GATHER] = back_gather,
    };
    const struct tape *t = train_ctx(w)->tape;
    for (int i = t->n_op - 1; i >= 0; i--)
        back[t->op[i].kind](w, &t->op[i]);
}
