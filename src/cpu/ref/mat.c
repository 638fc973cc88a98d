/* Products with weights, scalar and accurate: decode the row, sum in double.  Every type. */
#include <assert.h>

#include "cpu/act.h"
#include "cpu/kern_mat.h"
#include "quant/quant.h"

/* y = W x, activations in float: the answer that the other kernels are held to. */
static void mul_ref(enum qtype t, const struct mat_call *c) {
    const struct quant_type *q = quant_type(t);
    float v[ACT_BLOCK];

    for (int r = 0; r < c->n_row; r++) {
        const uint8_t *w = c->w + (size_t)r * c->row_bytes;
        double *sum = (double *)(void *)c->tmp; /* [n] */
        for (int i = 0; i < c->n; i++)
            sum[i] = 0.0;
        for (int at = 0, b = 0; at < c->n_col; at += ACT_BLOCK, b++) {
            const int n = c->n_col - at < ACT_BLOCK ? c->n_col - at : ACT_BLOCK;
            q->decode(w, v, (size_t)n);
            w += qtype_row_bytes(t, n);
            for (int i = 0; i < c->n; i++) {
                const size_t row = (size_t)(c->index ? c->index[i] : i);
                const uint8_t *x = c->x + (size_t)b * c->x_step + row * act_bytes(ACT_F32);
                const float *xv = ((const struct act_f32 *)(const void *)x)->v;
                double s = 0.0;
                for (int k = 0; k < n; k++)
                    s += (double)v[k] * xv[k];
                sum[i] += s;
            }
        }
        for (int i = 0; i < c->n; i++)
            c->acc[i * MAT_ROWS + r] = (float)sum[i];
    }
}

void kern_mat_ref(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++)
        if (qtype_geom((uint32_t)t) && quant_type((enum qtype)t)->decode)
            k->of[t] = (struct mat_kern){.mul = mul_ref, .enc = ACT_F32, .piece = 16, .isa = "ref"};
    k->mul_f32 = mul_ref;
    k->encode[ACT_F32] = act_encode_f32_ref;
    k->encode[ACT_Q8] = act_encode_q8_ref;
    k->encode[ACT_Q8_K] = act_encode_q8_k_ref;
    k->encode[ACT_Q16] = act_encode_q16_ref;
}
