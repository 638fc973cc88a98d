/* Fuzz target: what another host answers to chat completions, as a stream or whole.  In two parts
 * at every point, and byte by byte, the same bytes must give the same events and the same end. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/remote_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { CUTS_MAX = 60 };

struct result {
    struct buf events; /* kinds and texts */
    int rc;
    enum err_code code;
    struct gen_stats stats;
};

static void require(bool holds) {
    if (!holds) abort();
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct result *r = ctx;
    require(ev->kind == GEN_PROMPT || ev->kind == GEN_TEXT || ev->kind == GEN_FINISH);
    require((r->events.n == 0) == (ev->kind == GEN_PROMPT)); /* once, and first */
    require(ev->kind != GEN_TEXT || ev->text.n > 0);
    buf_printf(&r->events, "%d%d:", ev->kind, ev->why);
    buf_append(&r->events, ev->text.p, ev->text.n);
}

/* In parts of `step` bytes, the first of `first`. */
static struct result read_in(const uint8_t *bytes, size_t n, size_t first, size_t step) {
    struct result r = {.rc = 0};
    struct remote_answer a = {.fn = on_event, .ctx = &r};
    struct err e = {0};
    for (size_t at = 0, part = first; at < n && r.rc == 0; at += part, part = step) {
        if (at) part = step;
        if (part > n - at) part = n - at;
        r.rc = remote_answer_take(&a, (const char *)bytes + at, part, &e);
    }
    if (r.rc == 0) r.rc = remote_answer_end(&a, &e);
    require((r.rc == 0) == (e.code == ERR_NONE));
    r.code = e.code;
    r.stats = a.stats;
    remote_answer_fini(&a);
    return r;
}

static void require_same(const struct result *whole, struct result r) {
    require(r.rc == whole->rc && r.code == whole->code && r.events.n == whole->events.n);
    require(r.events.n == 0 || memcmp(r.events.p, whole->events.p, r.events.n) == 0);
    require(r.stats.n_prompt == whole->stats.n_prompt && r.stats.n_eval == whole->stats.n_eval);
    require(r.stats.n_prompt >= 0 && r.stats.n_eval >= 0);
    buf_fini(&r.events);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct result whole = read_in(bytes, n, n ? n : 1, n ? n : 1);
    const size_t step = n / CUTS_MAX + 1;
    for (size_t cut = 1; cut < n; cut += step)
        require_same(&whole, read_in(bytes, n, cut, n));
    require_same(&whole, read_in(bytes, n, 1, 1));
    buf_fini(&whole.events);
    return 0;
}
