/* Recorded routing of experts: the choice, the weighted sum of what they gave, the gate of a shared
 * one.  Which expert takes a row has no gradient, the weights have. */
#include <string.h>

#include "cpu/op.h"
#include "train/back_rows.h"
#include "train/tape_priv.h"

/* The routing of this layer in memory that lasts as long as the tape: later ops point there. */
static void copy_routing(struct worker *w, const struct routing *r, int n,
                         struct saved_routing *s) {
    const struct train_ctx *c = train_ctx(w);
    const size_t n_entry = (size_t)n * (size_t)r->k;
    if (c->tape) {
        const size_t n_start = (size_t)r->n_expert + 1;
        int32_t *room = (int32_t *)(void *)tape_room(w, 4 * n_entry + n_start);
        s->r = *r;
        if (!c->tape->mem) return;
        s->r.expert = room, s->r.order = room + n_entry, s->row = room + 2 * n_entry;
        s->r.weight = (float *)(void *)(room + 3 * n_entry), s->r.start = room + 4 * n_entry;
    } else {
        s->r = *r, s->row = c->own_row;
    }
    if (c->dry || w->id != 0) return;
    if (c->tape) {
        memcpy(s->r.expert, r->expert, n_entry * sizeof *r->expert);
        memcpy(s->r.weight, r->weight, n_entry * sizeof *r->weight);
        memcpy(s->r.order, r->order, n_entry * sizeof *r->order);
        memcpy(s->r.start, r->start, ((size_t)r->n_expert + 1) * sizeof *r->start);
    }
    for (size_t i = 0; i < n_entry; i++)
        s->row[i] = r->order[i] / r->k;
}

void tape_route(struct worker *w, const struct route_job *j) {
    struct train_ctx *c = train_ctx(w);
    struct saved_routing s;
    float *logits = tape_save(w, j->logits, j->r->n_expert, j->n, j->r->n_expert, NULL);
    if (!c->dry) cpu_route(w, j);
    copy_routing(w, j->r, j->n, &s);
    team_barrier(w);
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_ROUTE);
        if (op) op->route.j = *j, op->route.routing = s, op->route.logits = logits;
        c->routing = s;
    }
    team_barrier(w);
}

void back_routing(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const struct routing *r = &op->route.routing.r;
    struct route_job j = op->route.j;
    float *dlogits = grad_at(c, j.logits), *dweight = grad_at(c, op->route.j.r->weight);
    float *row = (float *)(void *)w->scratch;
    struct routing chosen = *r;
    j.r = &chosen;
    j.logits = op->route.logits;
    int lo, hi;
    team_range(w, j.n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *d = dweight + (size_t)i * r->k;
        back_route(&j, i, d, row);
        for (int e = 0; e < r->n_expert; e++)
            dlogits[(size_t)i * r->n_expert + e] += row[e];
        memset(d, 0, (size_t)r->k * sizeof *d);
    }
    team_barrier(w);
}

void tape_combine(struct worker *w, float *x, int ldx, const float *y, int ldy,
                  const struct routing *r, int n, int n_col, float scale) {
    struct train_ctx *c = train_ctx(w);
    float *in = tape_save(w, y, ldy, n * r->k, n_col, NULL);
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_COMBINE);
        if (op) {
            op->combine.x = x, op->combine.y = y, op->combine.ldx = ldx, op->combine.ldy = ldy;
            op->combine.n = n, op->combine.n_col = n_col, op->combine.scale = scale;
            op->combine.weight = r->weight, op->combine.routing = c->routing;
            op->combine.in = in;
        }
        tape_wrote(c, x, ldx, n, n_col, -1);
    }
    if (c->dry)
        team_barrier(w);
    else
        cpu_combine(w, x, ldx, y, ldy, r, n, n_col, scale);
}

void back_combine_rows(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const struct routing *r = &op->combine.routing.r;
    const int n_col = op->combine.n_col, ldy = op->combine.ldy;
    const float *dx = grad_at(c, op->combine.x);
    float *dy = grad_at(c, op->combine.y), *dweight = grad_at(c, op->combine.weight);
    int lo, hi;
    team_range(w, op->combine.n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        const size_t at = (size_t)i * r->k;
        back_combine(n_col, r->k, op->combine.scale, r->weight + at, op->combine.in + at * n_col,
                     n_col, dx + (size_t)i * op->combine.ldx, dy + at * ldy, ldy, dweight + at);
    }
    team_barrier(w);
}

/* ---- the gate of a shared expert ---- */

void tape_gate_rows(struct worker *w, float *y, int ldy, const float *gate, int ldgate, int n,
                    int n_col) {
    struct train_ctx *c = train_ctx(w);
    float *gates = tape_save(w, gate, ldgate, n, 1, NULL);
    if (!c->dry) cpu_gate_rows(w, y, ldy, gate, ldgate, n, n_col);
    if (w->id == 0) tape_wrote(c, y, ldy, n, n_col, -1);
    team_barrier(w);
    float *out = tape_save(w, y, ldy, n, n_col, NULL);
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_GATE);
        if (op) {
            op->gate.y = y, op->gate.gate = gate, op->gate.ldy = ldy, op->gate.ldgate = ldgate;
            op->gate.n = n, op->gate.n_col = n_col, op->gate.out = out, op->gate.gates = gates;
        }
    }
    team_barrier(w);
}

void back_gate_rows(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const int n_col = op->gate.n_col;
    float *dy = grad_at(c, op->gate.y), *dgate = grad_at(c, op->gate.gate);
    int lo, hi;
    team_range(w, op->gate.n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *d = dy + (size_t)i * op->gate.ldy;
        dgate[(size_t)i * op->gate.ldgate] +=
            back_gate_row(n_col, op->gate.gates[i], op->gate.out + (size_t)i * n_col, d, d);
    }
    team_barrier(w);
}
