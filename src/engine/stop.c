/* See stop.h.  What is held is at most one stop string and one piece long, so plain searches do. */
#include "engine/stop.h"

#include <stdint.h>
#include <string.h>

int stopper_init(struct stopper *s, const struct str *stop, int n_stop, struct err *e) {
    *s = (struct stopper){.stop = stop, .n_stop = n_stop, .hit = -1};
    for (int i = 0; i < n_stop; i++)
        if (stop[i].n == 0)
            return err_set(e, ERR_USAGE, "stop: an empty text; accepted: at least one character");
    return 0;
}

void stopper_fini(struct stopper *s) {
    buf_fini(&s->held);
}

/* Where the earliest complete stop string begins, or SIZE_MAX. */
static size_t find_stop(struct stopper *s) {
    size_t first = SIZE_MAX;
    for (int i = 0; i < s->n_stop; i++) {
        const char *at = memmem(s->held.p, s->held.n, s->stop[i].p, s->stop[i].n);
        if (at && (size_t)(at - s->held.p) < first) first = (size_t)(at - s->held.p), s->hit = i;
    }
    return first;
}

static bool may_begin_at(const struct stopper *s, size_t at) {
    const size_t n = s->held.n - at;
    for (int i = 0; i < s->n_stop; i++)
        if (n < s->stop[i].n && memcmp(s->held.p + at, s->stop[i].p, n) == 0) return true;
    return false;
}

/* How much of the held text no stop string can begin in; a whole number of characters. */
static size_t showable(const struct stopper *s) {
    size_t longest = 0;
    for (int i = 0; i < s->n_stop; i++)
        if (s->stop[i].n > longest) longest = s->stop[i].n;
    size_t at = longest == 0 || s->held.n < longest ? 0 : s->held.n - longest + 1;
    if (s->n_stop == 0) return s->held.n;
    while (at < s->held.n && !may_begin_at(s, at))
        at++;
    /* A stop string of broken UTF-8 could begin inside a character. */
    while (at > 0 && at < s->held.n && ((unsigned char)s->held.p[at] & 0xc0) == 0x80)
        at--;
    return at;
}

bool stopper_push(struct stopper *s, struct str text, struct buf *out) {
    buf_append(&s->held, text.p, text.n);
    if (s->held.n == 0) return false;
    const size_t found = find_stop(s);
    const size_t n = found != SIZE_MAX ? found : showable(s);
    buf_append(out, s->held.p, n);
    if (found != SIZE_MAX)
        buf_reset(&s->held);
    else
        buf_drop(&s->held, n);
    return found != SIZE_MAX;
}

void stopper_finish(struct stopper *s, struct buf *out) {
    if (s->held.n > 0) buf_append(out, s->held.p, s->held.n);
    buf_reset(&s->held);
}
