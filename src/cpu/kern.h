/* The kernel table: filled once at start-up, ref first, then each instruction set this machine
 * (and CRIA_CPU) allows overrides what it has.  Three parts, for three subjects. */
#pragma once

#include "cpu/kern_gemm.h" /* struct kern_gemm: products of many rows, for training */
#include "cpu/kern_mat.h"  /* struct kern_mat: products with weights, per format */
#include "cpu/kern_vec.h"  /* struct kern_vec: norms, RoPE, attention, activations */

struct kern {
    struct kern_mat mat;
    struct kern_vec vec;
    struct kern_gemm gemm;
};

/* The table in use.  Thread-safe. */
const struct kern *kern_get(void);

/* The table of one named level ("ref", "avx2", "avxvnni", "avx512", "neon", "i8mm"), NULL when this
 * machine or build lacks it: checkkern walks them all. */
const struct kern *kern_level(const char *level);
