/* See ask_record.h.  One block of memory an event, its texts and numbers behind it. */
#include "server/ask_record.h"

#include <stdlib.h>
#include <string.h>

struct kept {
    struct kept *next;
    struct gen_event ev; /* data: owned; the rest it points at is in `more` */
    _Alignas(8) char more[];
};

/* A copy of n bytes at *at, which moves on, aligned for the next. */
static const void *put(char **at, const void *p, size_t n) {
    char *to = *at;
    if (n) memcpy(to, p, n);
    *at += (n + 7) / 8 * 8;
    return to;
}

static size_t room(size_t n) {
    return (n + 7) / 8 * 8;
}

static struct kept *copy(const struct gen_event *ev) {
    const size_t n_token = (size_t)ev->n_token * sizeof *ev->token,
                 n_vector = (size_t)ev->n_vector * sizeof *ev->vector;
    struct kept *k =
        malloc(sizeof *k + room(ev->text.n) + room(ev->stop.n) + room(n_token) + room(n_vector));
    json_t *data = ev->data ? json_deep_copy(ev->data) : NULL;
    if (!k || (ev->data && !data)) {
        json_decref(data);
        free(k);
        return NULL;
    }
    char *at = k->more;
    k->next = NULL;
    k->ev = *ev;
    k->ev.data = data;
    k->ev.text.p = put(&at, ev->text.p, ev->text.n);
    k->ev.stop.p = put(&at, ev->stop.p, ev->stop.n);
    if (ev->token) k->ev.token = put(&at, ev->token, n_token);
    if (ev->vector) k->ev.vector = put(&at, ev->vector, n_vector);
    return k;
}

void record_add(struct record *k, const struct gen_event *ev) {
    struct kept *one = copy(ev);
    if (!one) {
        k->failed = true;
        return;
    }
    if (!k->first) k->end = &k->first;
    *k->end = one;
    k->end = &one->next;
}

static void kept_free(struct kept *k) {
    json_decref((json_t *)(uintptr_t)k->ev.data);
    free(k);
}

void record_play(struct record *k, gen_event_fn *fn, void *ctx) {
    while (k->first) {
        struct kept *one = k->first;
        k->first = one->next;
        fn(ctx, &one->ev);
        kept_free(one);
    }
    *k = (struct record){.failed = k->failed};
}

void record_clear(struct record *k) {
    while (k->first) {
        struct kept *one = k->first;
        k->first = one->next;
        kept_free(one);
    }
    *k = (struct record){0};
}
