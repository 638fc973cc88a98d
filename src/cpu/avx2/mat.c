/* The avx2 half of the matrix kernel table: few columns by mat_few_*.c, more by mat_tile_*.c, with
 * the same bits. */
#include "cpu/avx2/mat.h"
#include "cpu/row.h"

enum { FEW = 4 }; /* columns */

static void mul_k(enum qtype t, const struct mat_call *c) {
    (c->n <= FEW ? mat_avx2_few_k(t) : mat_avx2_many_k(t, false))(t, c);
}

static void mul_k_vnni(enum qtype t, const struct mat_call *c) {
    (c->n <= FEW ? mat_avx2_few_k(t) : mat_avx2_many_k(t, true))(t, c);
}

static void mul_q(enum qtype t, const struct mat_call *c) {
    (c->n <= FEW ? mat_avx2_few_q(t) : mat_avx2_many_q(t, false))(t, c);
}

static void mul_q_vnni(enum qtype t, const struct mat_call *c) {
    (c->n <= FEW ? mat_avx2_few_q(t) : mat_avx2_many_q(t, true))(t, c);
}

static void integers(struct kern_mat *k, mat_fn *with_k, mat_fn *with_q, const char *isa) {
    for (int t = 0; t < QT_COUNT; t++) {
        if (row_k_of((enum qtype)t)) k->of[t] = (struct mat_kern){with_k, ACT_Q8_K, 16, isa, 0};
        if (row_q_of((enum qtype)t)) k->of[t] = (struct mat_kern){with_q, ACT_Q8, 16, isa, 0};
    }
}

void kern_mat_avx2(struct kern_mat *k) {
    kern_mat_avx2_float(k); /* every type; the integer kernels take over what they have */
    integers(k, mul_k, mul_q, "avx2");
}

void kern_mat_avxvnni(struct kern_mat *k) {
    integers(k, mul_k_vnni, mul_q_vnni, "avxvnni");
}
