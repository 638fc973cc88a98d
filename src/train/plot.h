/* Pictures of a run: its loss curve as one SVG file that needs nothing beside it, and as a line of
 * block characters for a terminal. */
#pragma once

#include <math.h>

#include "base/buf.h"
#include "base/err.h"
#include "train/log.h"

/* Losses and rates beyond a million (and NaN) are gaps: they would hide all others, and swamp sums.
 */
static inline bool plot_shows(double v) {
    return fabs(v) <= 1e6;
}

/* Append an SVG: each step's loss thin, its moving mean above, validation as points, the learning
 * rate faint on an axis of its own, skipped steps as marks.  Colours follow the reader's light or
 * dark scheme.  title NULL: the run's name; any bytes, they are escaped.  A run without steps is a
 * picture that says so.  Losses far above the others (a spike) leave the frame, so that these can
 * be seen.  ERR_NOMEM. */
int plot_svg(const struct run_record *r, const char *title, struct buf *out, struct err *e);

/* Append "8.24 BLOCKS 0.512, lowest 0.498 at step 120": the first and last loss that can be shown,
 * and between them at most n_col of U+2581..2588, each the mean of its part of the run; a blank
 * where there is none.  Without any: "no steps yet". */
void plot_spark(const struct run_record *r, int n_col, struct buf *out);
