/* See decode.h: one sequence, driven alone. */
#include "engine/decode.h"

#include "base/os.h"
#include "engine/sequence.h"
#include "engine/step_cost.h"

/* One forward. */
static int go_on(struct sequence *q, struct err *e) {
    struct engine *g = session_engine(sequence_session(q));
    const bool reads = sequence_state(q) == SEQ_READS;
    int n_max = engine_n_batch(g);
    if (!reads && n_max > engine_n_out(g)) n_max = engine_n_out(g);
    struct batch_seq b;
    const int64_t t0 = os_now_ns();
    const int n = sequence_next(q, n_max, 0, &b, e);
    if (n <= 0) return n;
    const float *rows = forward_run(engine_forward(g), &b, 1);
    if (!reads) step_cost_add(engine_step_cost(g), n, os_now_ns() - t0);
    return sequence_take(q, rows, e);
}

int decode_run(struct session *s, const struct decode_request *r, decode_event_fn *fn, void *ctx,
               const volatile int *stop, struct decode_stats *stats, struct err *e) {
    if (stats) *stats = (struct decode_stats){0};
    struct sequence *q = sequence_new(s, r, fn, ctx, stop, e);
    if (!q) return -1;
    sequence_begin(q);
    int rc = 0;
    bool cancelled = false;
    while (rc == 0 && !cancelled && sequence_state(q) != SEQ_DONE) {
        cancelled = stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
        if (!cancelled) rc = go_on(q, e);
    }
    if (rc == 0) sequence_end(q, cancelled);
    if (stats) *stats = *sequence_stats(q);
    step_cost_log(engine_step_cost(session_engine(s)));
    sequence_free(q);
    return rc;
}
