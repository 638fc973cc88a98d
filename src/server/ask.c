/* The row of steps that a request goes through: ask_steps.h.  Here it begins, and here it is
 * refused when a step did so before anything was started. */
#include "server/ask.h"

#include "server/ask_steps.h"
#include "server/request_priv.h"

static int refuse(struct request *r, struct err *e) {
    if (e->code == ERR_BUSY) reply_header(r, "Retry-After: 1\r\n");
    reply_err(r, e);
    return -1;
}

int ask_start(struct request *r, const struct ask *a) {
    struct err e = {0};
    request_next_work(r);
    return ask_audit(r, a, &e) == 0 ? 0 : refuse(r, &e);
}
