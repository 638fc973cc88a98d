/* What comes back from OpenAI's chat completions, as events: a stream of "data:" lines, or one
 * object where the other side does not stream. */
#pragma once

#include "engine/gen.h"

enum { REMOTE_LINE_MAX = 1 << 20 };

struct remote_answer {
    gen_event_fn *fn; /* GEN_PROMPT, GEN_TEXT, GEN_FINISH; not GEN_END */
    void *ctx;
    struct buf held; /* owned: a line that is not whole, or the object */
    bool begun, is_object, told, finished, done;
    struct gen_stats stats;
};

/* The next bytes.  ERR_FORMAT, ERR_LIMIT. */
int remote_answer_take(struct remote_answer *a, const char *p, size_t n, struct err *e);
/* That was all: ERR_IO when it is not whole. */
int remote_answer_end(struct remote_answer *a, struct err *e);
void remote_answer_fini(struct remote_answer *a);
