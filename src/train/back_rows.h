/* Gradients of the ops that work on rows one by one: norms, activations, caps, gates, routers.  All
 * are pure functions on rows, without threads; `dy` is the gradient of what the op gave, `dx` that
 * of what it was given.  An output may be any of the inputs unless said, never another output.
 *
 * Sums over the values of a row have an order that depends on the length of the row only. */
#pragma once

#include "backend/ops.h"

/* ---- norms: x [n_col] is what the norm was given, in groups of norm->dim ---- */

/* With g = w dy (w 1 where there is none), of each group:
 *
 *   RMS    dx = r (g - u mean(u g))             r = 1 / sqrt(mean(x^2) + eps), u = x r
 *   LAYER  dx = r (g - mean(g) - u mean(u g))   r = 1 / sqrt(var + eps), u = (x - mean) r
 *   NONE   dx = dy
 *
 * dx = that, or += where add.  stat [n_col / dim][2] or NULL: gets mean (RMS: 0) and r of each
 * group, for back_norm_weights. */
void back_norm(const struct norm *norm, int n_col, const float *x, const float *dy, float *dx,
               bool add, float *stat);

/* dw[i] += sum dy u, db[i] += sum dy over all n rows (and all groups that share weight i), for
 * weights [lo, hi) of norm->n_weight: workers take different weights, so that the order of each sum
 * is fixed.  x, dy [n][n_col]; stat [n][n_col / dim][2] of back_norm; dw, db [n_weight] or NULL. */
void back_norm_weights(const struct norm *norm, int n, int n_col, const float *x, int ldx,
                       const float *stat, const float *dy, int lddy, int lo, int hi, float *dw,
                       float *db);

/* ---- element by element; formulas of act and glu: cpu/kern_vec.h ---- */

/* y = act(x): dx = dy act'(x). */
void back_act(enum act a, int n, const float *x, const float *dy, float *dx);

/* y = act(gate) up: dgate = dy up act'(gate), dup = dy act(gate).  SWIGLU_OAI: up + 1 within the
 * clamps, and no gradient beyond them. */
void back_glu(enum act a, int n, const float *gate, const float *up, const float *dy, float *dgate,
              float *dup);

/* y = cap tanh(scale x / cap): dx = dy scale (1 - (y / cap)^2), from the result y, which overwrote
 * x; cap 0: dx = scale dy, y unread. */
void back_cap(int n, float scale, float cap, const float *y, const float *dy, float *dx);

/* y = min(max(x, -limit), limit): dx = dy where |x| < limit, else 0.  x: what was given or what
 * came out, it is the same. */
void back_clamp(int n, float limit, const float *x, const float *dy, float *dx);

/* ---- gates ---- */

/* y = x sigmoid(gate): dx = dy sigmoid(gate), from the result y.  Returns the gate's gradient
 * (1 - sigmoid(gate)) sum(dy y). */
float back_gate_row(int n, float gate, const float *y, const float *dy, float *dx);

/* out += scale * sum over s < k of weight[s] y[s], rows y[s] of n at distance ldy:
 * dy[s] = scale weight[s] dout, at distance lddy (dy may be y, not dout), and
 * dweight[s] = scale sum(dout y[s]). */
void back_combine(int n, int k, float scale, const float *weight, const float *y, int ldy,
                  const float *dout, float *dy, int lddy, float *dweight);

/* Row i of a router, as it chose (j->r->expert): the choice has no gradient, the weights have.
 * dweight [k], dlogits [n_expert] (=, zero where an expert has no part; not dweight).  With scores
 * p = softmax(logits), sigmoid(logits), or of the chosen only softmax(logits), f = scale (over
 * their sum when renormalized), weight = f p:
 *   dp       = f (dweight - [renormalized] sum(dweight p) / sum(p))
 *   dlogits  = p (dp - sum(p dp))      softmax, over all or the chosen
 *            = p (1 - p) dp            sigmoid */
void back_route(const struct route_job *j, int i, const float *dweight, float *dlogits);
