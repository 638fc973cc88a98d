/* What this machine can do at most, measured: the ceilings of decode (bytes read per second) and of
 * prefill (operations per second). */
#pragma once

#include "base/team.h"

struct limits {
    double read_bps;   /* bytes per second, all workers of the team reading together */
    double int8_opps;  /* 8-bit multiplications and additions per second, together */
    double int16_opps; /* 16-bit ones */
    double f32_flopps; /* the same of float32 */
};

/* Bytes per second alone: about 0.1 s. */
int limits_measure_read(struct team *t, double *read_bps, struct err *e);

/* The best of several short runs (about 0.5 s in all, 256 MiB of memory while it runs).  On the
 * team's threads, so that the figures are those the engine can have.  ERR_NOMEM. */
int limits_measure(struct team *t, struct limits *out, struct err *e);
