/* The trace that a request is part of, as its "traceparent" header tells it (W3C Trace Context,
 * level 1): version, trace id, id of the caller's span, flags.  It is written into the log line, so
 * that a collector can join the two. */
#pragma once

#include <stdbool.h>

#include "base/str.h"

enum { TRACE_ID_HEX = 32, TRACE_SPAN_HEX = 16 };

struct trace {
    char id[TRACE_ID_HEX + 1];     /* empty: none */
    char span[TRACE_SPAN_HEX + 1]; /* the caller's */
    bool sampled;
};

/* False, and *t empty, for what is no traceparent: that is to be ignored. */
bool trace_parse(struct str header, struct trace *t);
