/* How often the program asks for memory: its own malloc and kin, which count and call libc's.  To
 * be included by one file of a program.  A sanitizer has its own: COUNT_ALLOCATIONS is 0 there, and
 * n_alloc stays 0. */
#pragma once

#include <stdlib.h> /* __GLIBC__, too */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define COUNT_ALLOCATIONS 0
#elif defined(__has_feature)
#define COUNT_ALLOCATIONS (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define COUNT_ALLOCATIONS 1
#endif

static _Atomic long n_alloc __attribute__((unused));

#if COUNT_ALLOCATIONS
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n) {
    n_alloc++;
    return __libc_malloc(n);
}
void *calloc(size_t count, size_t n) {
    n_alloc++;
    return __libc_calloc(count, n);
}
void *realloc(void *p, size_t n) {
    n_alloc++;
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n) {
    n_alloc++;
    return __libc_memalign(align, n);
}
#endif
