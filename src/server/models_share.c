/* One engine child for a base model and those tuned on it (FROM base, ADAPTER): the weights, the
 * cache and the batch are there once, and each sequence has its model's adapter.
 *
 * The first of them opens the child; the others join it while it runs, with gen_add_adapter, and
 * name themselves in every request.  A child ends with the last of its models.  What it takes
 * counts with the oldest of them, its holder; the others count with their adapters' files.
 *
 * Models share a child when only adapters tell their weights apart, and when the child's sizes are
 * those that the model would be opened with, or larger. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/ask_options.h"
#include "server/models_priv.h"

/* ---- who may share ---- */

static bool same_text(const char *a, const char *b) {
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Only an adapter tells them apart.  Files are blobs: their paths name their contents. */
static bool same_weights(const struct loaded *a, const struct loaded *b) {
    const struct recipe *x = &a->recipe, *y = &b->recipe;
    return (x->adapter[0] || y->adapter[0]) && strcmp(x->path, y->path) == 0 &&
           strcmp(x->draft, y->draft) == 0 && strcmp(x->projector, y->projector) == 0 &&
           str_eq(buf_view(&a->template), buf_view(&b->template)) &&
           same_text(a->config.renderer, b->config.renderer) &&
           same_text(a->config.parser, b->config.parser);
}

static int at_most(int n, int max) {
    return max > 0 && n > max ? max : n;
}

/* What l was asked for with, and what its parameters say, is what host has. */
static bool is_large_enough(const struct loaded *host, const struct loaded *l) {
    const struct gen_info *i = gen_info(host->gen);
    struct load_key own;
    if (options_check(l->params, &own, NULL) != 0) return false;
    const int n_ctx = l->key.num_ctx > own.num_ctx ? l->key.num_ctx : own.num_ctx;
    const int batch = l->key.num_batch ? l->key.num_batch : own.num_batch;
    const int thread = l->key.num_thread ? l->key.num_thread : own.num_thread;
    return at_most(n_ctx, i->n_ctx_train) <= i->n_ctx && (!batch || batch == host->key.num_batch) &&
           (!thread || thread == host->key.num_thread);
}

/* The one whose child l can join; *soon: one that is being opened could become it. */
static struct loaded *find_host(const struct loaded *l, bool *soon) {
    *soon = false;
    for (struct loaded *o = l->models->list; o; o = o->next) {
        if (o == l || o->leaving || o->phase == PHASE_WAITING || !same_weights(o, l)) continue;
        if (o->phase == PHASE_OPENING) *soon = true;
        if (o->phase != PHASE_READY) continue;
        models_check_alive(o);
        if (!o->leaving && is_large_enough(o, l)) return o;
    }
    return NULL;
}

/* ---- joining ---- */

/* The blob's name: what the child knows it by, also where it was opened with it. */
static const char *adapter_name(const struct loaded *l) {
    const char *slash = strrchr(l->recipe.adapter, '/');
    return slash ? slash + 1 : l->recipe.adapter;
}

static uint64_t adapter_bytes(const struct loaded *l) {
    struct stat st;
    return l->recipe.adapter[0] && stat(l->recipe.adapter, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Without the lock.  One that has been there before has kept its name. */
static int add_adapter(const struct loaded *l, struct gen *g, struct err *e) {
    if (!l->recipe.adapter[0]) return 0;
    if (gen_add_adapter(g, adapter_name(l), l->recipe.adapter, 1, e) == 0) return 0;
    return e->code == ERR_USAGE ? 0 : -1;
}

static bool join(struct loaded *l, struct loaded *host) {
    struct models *m = l->models;
    struct process *p = host->process;
    const struct load_key asked = l->key;
    const struct room r = room_for(l);
    const uint64_t n_bytes = adapter_bytes(l);
    struct err e = {0};
    if (m->o.max_bytes && n_bytes > room_left(&r)) return false;
    l->key = host->key;
    l->n_parallel = host->n_parallel;
    l->ctx_reduced = host->ctx_reduced;
    l->process = p; /* should the host leave meanwhile, l inherits what it holds */
    p->n_ref++;
    pthread_mutex_unlock(&m->lock);
    const int rc = add_adapter(l, p->gen, &e);
    pthread_mutex_lock(&m->lock);
    if (rc != 0) {
        loaded_hide_paths(l, &e);
        log_line(m->log, LOG_INFO, "model %s: gets a process of its own: %s", l->text, e.msg);
        loaded_leave_process(l);
        l->key = asked, l->bytes = 0, l->used_bytes = 0, l->ctx_reduced = false;
        return false;
    }
    l->gen = p->gen;
    l->adapter = adapter_name(l);
    l->bytes += n_bytes;
    l->phase = PHASE_READY;
    log_line(m->log, LOG_INFO, "model %s: joins the process of %s", l->text, p->holder->text);
    pthread_cond_broadcast(&m->changed);
    return true;
}

bool loaded_join(struct loaded *l) {
    bool soon;
    for (;;) {
        if (!l->wants || l->models->draining) return false;
        struct loaded *host = find_host(l, &soon);
        if (host) return join(l, host);
        if (!soon) return false;
        models_await_change(l->models, INT64_MAX);
    }
}

/* ---- processes ---- */

int loaded_new_process(struct loaded *l, struct err *e) {
    struct process *p = calloc(1, sizeof *p);
    if (!p) return err_nomem(e, l->text);
    *p = (struct process){.gen = l->gen, .n_ref = 1, .holder = l};
    pthread_mutex_lock(&l->models->lock); /* others look whose guest it is */
    l->process = p;
    pthread_mutex_unlock(&l->models->lock);
    return 0;
}

bool loaded_is_guest(const struct loaded *l) {
    return l->process && l->process->holder != l;
}

/* The oldest of the others has the process on its account now. */
static void hand_over(struct process *p, const struct loaded *from) {
    struct loaded *to = NULL;
    for (struct loaded *o = from->models->list; o && !to; o = o->next)
        if (o != from && o->process == p) to = o;
    if (!to) return; /* cannot be: each reference is one's in the list */
    to->bytes += from->bytes;
    to->used_bytes = from->used_bytes;
    p->holder = to;
}

void loaded_leave_process(struct loaded *l) {
    struct models *m = l->models;
    struct process *p = l->process;
    l->process = NULL;
    if (!p) return;
    if (--p->n_ref > 0) {
        if (p->holder == l) hand_over(p, l);
        return;
    }
    pthread_mutex_unlock(&m->lock);
    gen_close(p->gen);
    free(p);
    pthread_mutex_lock(&m->lock);
}
