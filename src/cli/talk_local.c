/* See talk.h: an opened model in this process, and what both kinds share.  Events come on the
 * model's thread while this one waits and looks whether Ctrl-C was pressed. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/os.h"
#include "cli/cli.h"
#include "cli/talk_priv.h"

enum { LOOK_MS = 50 };

struct waiting {
    const struct talk *t;
    talk_fn *fn;
    void *ctx;
    struct talk_end *end;
    json_t *vector;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t change;
    bool over, refused; /* refused: fn wants no more */
    struct err err;
};

static void tell(struct waiting *w, enum talk_kind kind, const struct gen_event *ev) {
    const struct talk_piece p = {.kind = kind, .text = ev->text, .call = ev->data};
    if (w->refused || !w->fn || w->fn(w->ctx, &p) == 0) return;
    pthread_mutex_lock(&w->lock);
    w->refused = true;
    pthread_cond_signal(&w->change);
    pthread_mutex_unlock(&w->lock);
}

static void keep_vector(struct waiting *w, const struct gen_event *ev) {
    w->vector = json_array();
    for (int i = 0; i < ev->n_vector; i++)
        json_array_append_new(w->vector, json_real((double)ev->vector[i]));
    w->end->stats = ev->stats;
}

static void hear(void *ctx, const struct gen_event *ev) {
    struct waiting *w = ctx;
    if (w->t->watch) w->t->watch(w->t->watch_ctx, ev);
    switch (ev->kind) {
    case GEN_TEXT: tell(w, TALK_TEXT, ev); break;
    case GEN_THINKING: tell(w, TALK_THINKING, ev); break;
    case GEN_CALL: tell(w, TALK_CALL, ev); break;
    case GEN_FINISH: w->end->why = ev->why, w->end->stats = ev->stats; break;
    case GEN_VECTOR: keep_vector(w, ev); break;
    case GEN_PROMPT:
    case GEN_RESULT: break;
    case GEN_END:
        pthread_mutex_lock(&w->lock);
        w->over = true;
        w->err = ev->err;
        pthread_cond_signal(&w->change);
        pthread_mutex_unlock(&w->lock);
    }
}

/* Until GEN_END; a signal handler can set a flag but signal no condition. */
static void wait_for_end(struct waiting *w, struct gen_task *task) {
    bool cancelled = false;
    pthread_mutex_lock(&w->lock);
    while (!w->over) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += LOOK_MS * 1000000;
        if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
        pthread_cond_timedwait(&w->change, &w->lock, &t);
        if (w->over || cancelled || (!cli_interrupted && !w->refused)) continue;
        cancelled = true;
        /* GEN_END takes the lock, so that the task is there until this is done. */
        gen_cancel(task);
    }
    pthread_mutex_unlock(&w->lock);
}

static int run(struct talk *t, const json_t *request, struct waiting *w, struct err *e) {
    struct gen_task *task;
    const int64_t start = os_now_ns();
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->change, NULL);
    int rc = gen_start(t->gen, request, hear, w, &task, e);
    if (rc == 0) {
        wait_for_end(w, task);
        w->end->load_ns = gen_info(t->gen)->load_ns;
        w->end->total_ns = os_now_ns() - start + w->end->load_ns;
        if (w->err.code == ERR_CANCELLED)
            w->end->why = GEN_CANCELLED;
        else if (w->err.code != ERR_NONE)
            rc = err_set(e, w->err.code, "%s", w->err.msg);
    }
    pthread_cond_destroy(&w->change);
    pthread_mutex_destroy(&w->lock);
    return rc;
}

int talk_ask_local(struct talk *t, const json_t *request, talk_fn *fn, void *ctx,
                   struct talk_end *end, struct err *e) {
    struct waiting w = {.t = t, .fn = fn, .ctx = ctx, .end = end};
    return run(t, request, &w, e);
}

int talk_embed_local(struct talk *t, const json_t *request, json_t **vector, int *n_cut,
                     struct err *e) {
    struct talk_end end = {0};
    struct waiting w = {.t = t, .end = &end};
    const int rc = run(t, request, &w, e);
    *n_cut = end.stats.n_truncated;
    *vector = w.vector;
    if (rc == 0 && !w.vector) return err_set(e, ERR_CANCELLED, "interrupted");
    if (rc == 0) return 0;
    json_decref(w.vector);
    *vector = NULL;
    return -1;
}

/* ---- both kinds ---- */

struct talk *talk_open_local(const char *path, const struct gen_opts *opts, struct err *e) {
    struct talk *t = calloc(1, sizeof *t);
    if (!t) {
        err_nomem(e, path);
        return NULL;
    }
    t->gen = gen_open_local(path, opts, e);
    if (t->gen) {
        t->embeds = gen_info(t->gen)->embedding;
        return t;
    }
    free(t);
    return NULL;
}

void talk_watch(struct talk *t, gen_event_fn *fn, void *ctx) {
    t->watch = fn;
    t->watch_ctx = ctx;
}

void talk_close(struct talk *t) {
    if (!t) return;
    gen_close(t->gen);
    remote_close(t->remote);
    json_decref(t->shown);
    free(t);
}

const struct gen_info *talk_info(const struct talk *t) {
    return t->gen ? gen_info(t->gen) : NULL;
}

bool talk_embeds(const struct talk *t) {
    return t->embeds;
}

const json_t *talk_shown(const struct talk *t) {
    return t->shown;
}

int talk_ask(struct talk *t, const json_t *request, const char *keep_alive, talk_fn *fn, void *ctx,
             struct talk_end *end, struct err *e) {
    *end = (struct talk_end){0};
    return t->gen ? talk_ask_local(t, request, fn, ctx, end, e)
                  : talk_ask_remote(t, request, keep_alive, fn, ctx, end, e);
}

int talk_embed(struct talk *t, struct str text, int dimensions, bool truncate, json_t **vector,
               int *n_cut, struct err *e) {
    json_t *request = json_pack("{s:s, s:[s%], s:b}", "op", "embed", "input", text.p, text.n,
                                "truncate", truncate);
    *n_cut = 0;
    if (!request) return err_set(e, ERR_FORMAT, "embed: the text is no UTF-8");
    if (dimensions) json_object_set_new(request, "dimensions", json_integer(dimensions));
    const int rc = t->gen ? talk_embed_local(t, request, vector, n_cut, e)
                          : talk_embed_remote(t, request, vector, e);
    json_decref(request);
    return rc;
}
