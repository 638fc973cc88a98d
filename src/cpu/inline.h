/* Words to the compiler for kernels whose arrays must become registers: loops over rows and
 * columns of a tile unroll fully, helpers are inlined with their constant arguments. */
#pragma once

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))
