/* A vector of floats of the instruction set that this file is compiled for, so that a kernel's
 * body is written once (simd/) and built by each folder (avx2/, avx512/, neon/).  CPU_SIMD is
 * defined when there is one; without it the bodies vanish.
 *
 *   vf, VL             the vector and its number of floats
 *   V_MR, V_NV         rows and vectors of the register tile of a product: V_MR * V_NV sums,
 *                      V_NV loads and a broadcast must fit the registers
 *
 * v_ldexp(x, n, t) is x * 2^n for integral n in -126..127 where x and the result are normal
 * floats; t is n + 1.5 * 2^23, whose low bits are n: machines without such an instruction add
 * them to x's exponent.
 *
 * Where a and b are unordered v_max(a, b) and v_min(a, b) give b, so that a NaN in b stays. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include "cpu/simd/v_avx512.h"
#elif defined(__AVX2__)
#include "cpu/simd/v_avx2.h"
#elif defined(__ARM_NEON)
#include "cpu/simd/v_neon.h"
#endif
