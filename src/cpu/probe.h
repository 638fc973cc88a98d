/* Loops that reach what this machine can do at most: the ceilings that `cria bench` compares with.
 * They follow the processor, not CRIA_CPU: a limit does not move with the kernels chosen. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct probe {
    /* Read n bytes (a multiple of 1024, 64-byte aligned) once, in order; a checksum. */
    uint64_t (*read)(const uint8_t *p, size_t n);
    /* n_round rounds of independent multiply-adds in registers; adds something that depends on
     * all of them to *sink.  Returns the operations done: a multiplication and an addition each
     * count one. */
    double (*int8)(long n_round, volatile double *sink);
    double (*int16)(long n_round, volatile double *sink);
    double (*f32)(long n_round, volatile double *sink);
    double (*bf16)(long n_round, volatile double *sink); /* or NULL: no instruction for it */
};

/* Thread-safe. */
struct probe cpu_probe(void);

/* Each folder overrides what it has. */
void probe_init_ref(struct probe *p);
void probe_init_avx2(struct probe *p);     /* needs AVX2, FMA */
void probe_init_avx_vnni(struct probe *p); /* needs AVX-VNNI besides */
void probe_init_avx512(struct probe *p);   /* needs AVX-512 F and BW */
void probe_init_avx512_vnni(struct probe *p);
void probe_init_avx512_bf16(struct probe *p);
void probe_init_neon(struct probe *p);
void probe_init_dotprod(struct probe *p);
void probe_init_i8mm(struct probe *p);
