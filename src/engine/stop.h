/* Stop strings across token borders.  Text goes in as it is decoded and comes out as soon as it can
 * no longer be the beginning of a stop string. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct stopper {
    const struct str *stop; /* [n_stop], borrowed */
    int n_stop;
    int hit;         /* which of them was found, or -1 */
    struct buf held; /* owned: text that may be the beginning of a stop string */
};

/* ERR_USAGE for an empty stop string. */
int stopper_init(struct stopper *s, const struct str *stop, int n_stop, struct err *e);
void stopper_fini(struct stopper *s);

/* Add text (whole UTF-8 characters) and append to out what can be shown.  True when a stop string
 * is complete: what stood before it has been appended, the rest is dropped. */
bool stopper_push(struct stopper *s, struct str text, struct buf *out);

/* The end: what was held back is no stop string. */
void stopper_finish(struct stopper *s, struct buf *out);
