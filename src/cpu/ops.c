/* The op table of the CPU. */
#include "base/team.h"
#include "cpu/cpu.h"
#include "cpu/linear.h"
#include "cpu/op.h"

static void grow(size_t *have, size_t want) {
    if (want > *have) *have = want;
}

/* Of a worker, and shared by all. */
static void scratch(const struct op_limits *lim, int n_worker, size_t *own, size_t *shared) {
    size_t a, b;
    cpu_linear_scratch(lim, own, shared);
    cpu_rows_scratch(lim, &a, &b);
    grow(own, a), grow(shared, b);
    cpu_attend_scratch(lim, n_worker, &a, &b);
    grow(own, a), grow(shared, b);
}

static int cpu_reserve(struct team *t, const struct op_limits *lim, struct err *e) {
    size_t own, shared;
    scratch(lim, team_size(t), &own, &shared);
    return team_reserve(t, own, shared, e);
}

static size_t cpu_scratch_bytes(const struct op_limits *lim, int n_worker) {
    size_t own, shared;
    scratch(lim, n_worker, &own, &shared);
    return (size_t)n_worker * own + shared;
}

const struct ops *cpu_ops(void) {
    static const struct ops ops = {
        .name = "cpu",
        .reserve = cpu_reserve,
        .scratch_bytes = cpu_scratch_bytes,
        .embed = cpu_embed,
        .add_rows = cpu_add_rows,
        .norm = cpu_norm,
        .add_norm = cpu_add_norm,
        .linear = cpu_linear,
        .head_linear = cpu_head_linear,
        .rope_store = cpu_rope_store,
        .attend = cpu_attend,
        .route = cpu_route,
        .combine = cpu_combine,
        .gate_rows = cpu_gate_rows,
        .scale_cap = cpu_scale_cap,
        .clamp = cpu_clamp,
        .gather_rows = cpu_gather_rows,
        .rope_shift = cpu_rope_shift,
    };
    return &ops;
}
