/* Events of a generation kept to be told later: in their order, with all they hold. */
#pragma once

#include "engine/gen.h"

struct record {
    struct kept *first, **end; /* owned */
    bool failed;               /* memory ran out: what is kept is not whole */
};

/* A copy at the end. */
void record_add(struct record *k, const struct gen_event *ev);
/* Tell all, and forget them. */
void record_play(struct record *k, gen_event_fn *fn, void *ctx);
void record_clear(struct record *k);
