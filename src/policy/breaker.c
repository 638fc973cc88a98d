/* See breaker.h.  Only models that failed are remembered; one that answers is forgotten. */
#include "policy/breaker.h"

#include <pthread.h>
#include <stdlib.h>

struct circuit {
    struct name name;
    int n_failed;     /* in a row */
    int64_t last_ns;  /* the last failure that counted */
    bool open, probe; /* probe: a request is on its way to it, to see */
    int64_t open_ns;  /* since when */
};

struct breaker {
    pthread_mutex_t lock; /* of what follows */
    int n_failures;
    int64_t cool_ns;
    int n;
    struct circuit at[BREAKER_MAX];
};

struct breaker *breaker_new(struct err *e) {
    struct breaker *b = calloc(1, sizeof *b);
    if (!b) {
        err_nomem(e, "circuit breakers");
        return NULL;
    }
    pthread_mutex_init(&b->lock, NULL);
    b->n_failures = BREAKER_FAILURES;
    return b;
}

void breaker_free(struct breaker *b) {
    if (!b) return;
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void breaker_configure(struct breaker *b, int n_failures, int64_t cool_ns) {
    pthread_mutex_lock(&b->lock);
    b->n_failures = n_failures;
    b->cool_ns = cool_ns;
    for (int i = 0; i < b->n && n_failures == 0; i++)
        b->at[i].open = false;
    pthread_mutex_unlock(&b->lock);
}

static struct circuit *find(struct breaker *b, const struct name *n) {
    for (int i = 0; i < b->n; i++)
        if (name_eq(&b->at[i].name, n)) return &b->at[i];
    return NULL;
}

enum breaker_pass breaker_ask(struct breaker *b, const struct name *n, int64_t now_ns) {
    enum breaker_pass pass = BREAKER_CLOSED;
    pthread_mutex_lock(&b->lock);
    struct circuit *c = find(b, n);
    if (c && c->open) {
        pass = BREAKER_OPEN;
        if (!c->probe && now_ns - c->open_ns >= b->cool_ns) {
            c->probe = true;
            pass = BREAKER_PROBE;
        }
    }
    pthread_mutex_unlock(&b->lock);
    return pass;
}

/* Without room the one whose last failure is the oldest, and nobody's concern, is forgotten. */
static struct circuit *add(struct breaker *b, const struct name *n) {
    struct circuit *c = NULL;
    if (b->n < BREAKER_MAX) {
        c = &b->at[b->n++];
    } else {
        for (int i = 0; i < b->n; i++)
            if (!b->at[i].probe && (!c || b->at[i].last_ns < c->last_ns)) c = &b->at[i];
    }
    if (c) *c = (struct circuit){.name = *n, .last_ns = INT64_MIN};
    return c;
}

static void failed(struct breaker *b, const struct name *n, bool probe, int64_t began_ns,
                   int64_t now_ns) {
    struct circuit *c = find(b, n);
    if (!c) c = add(b, n);
    /* It ran beside one that was counted; but what a probe says is news. */
    if (!c || (!probe && began_ns < c->last_ns)) return;
    c->last_ns = now_ns;
    c->n_failed++;
    if (c->open ? !probe : b->n_failures == 0 || c->n_failed < b->n_failures) return;
    c->open = true;
    c->open_ns = now_ns;
}

void breaker_tell(struct breaker *b, const struct name *n, bool probe, enum breaker_outcome o,
                  int64_t began_ns, int64_t now_ns) {
    pthread_mutex_lock(&b->lock);
    struct circuit *c = find(b, n);
    if (c && probe) c->probe = false;
    /* An answer that began before the circuit opened says nothing of how the model is now. */
    const bool news = c && (probe || !c->open || began_ns >= c->open_ns);
    if (news && o == BREAKER_GOOD) *c = b->at[--b->n];
    if (o == BREAKER_BAD) failed(b, n, probe, began_ns, now_ns);
    pthread_mutex_unlock(&b->lock);
}

int breaker_n_open(struct breaker *b) {
    int n = 0;
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < b->n; i++)
        n += b->at[i].open;
    pthread_mutex_unlock(&b->lock);
    return n;
}
