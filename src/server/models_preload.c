/* The setting MODEL: pulled when it is not there, and loaded, while the server already answers.
 * That this fails is told in the log and stops nothing. */
#include "server/models_priv.h"

#include <stdlib.h>
#include <string.h>

#include "store/registry.h"

struct saying {
    struct models *m;
    const char *last; /* status; they are static texts or begin a new blob */
};

static void say(void *ctx, const struct registry_event *ev) {
    struct saying *s = ctx;
    if (ev->completed == 0 && s->last != ev->status)
        log_line(s->m->log, LOG_INFO, "preload: %s", ev->status);
    s->last = ev->status;
}

static int fetch(struct models *m, const struct name *n, struct err *e) {
    struct name found;
    struct digest id;
    struct saying s = {.m = m};
    const struct registry_opts o = {.stop = &m->stop};
    struct err why = {0};
    if (models_find(m, n, &found, &id, &why) == 0) return 0;
    if (why.code != ERR_NOT_FOUND) return err_set(e, why.code, "%s", why.msg);
    return registry_pull(m->store, n, &o, NULL, say, &s, e);
}

/* Loaded, or it never will be. */
static void over(struct models *m) {
    pthread_mutex_lock(&m->lock);
    m->preloading = false;
    pthread_mutex_unlock(&m->lock);
}

struct preload {
    struct want w;
    struct models *m;
};

static void on_loaded(struct want *w, const struct err *e) {
    struct preload *p = (struct preload *)(void *)w;
    struct models *m = p->m;
    if (e) log_line(m->log, LOG_WARN, "preload: %s", e->msg);
    models_done(m, w);
    over(m);
    free(p);
}

void *models_preload(void *arg) {
    struct models *m = arg;
    struct preload *p = calloc(1, sizeof *p);
    struct err e = {0};
    pthread_mutex_lock(&m->lock);
    char *name = m->o.preload ? strdup(m->o.preload) : NULL;
    pthread_mutex_unlock(&m->lock);
    if (!p) over(m);
    if (!p || !name)
        err_nomem(&e, "out of memory");
    else if (name_parse(name, &p->w.name, &e) == 0 && fetch(m, &p->w.name, &e) == 0) {
        p->m = m;
        p->w.fn = on_loaded;
        if (models_want(m, &p->w, &e) == 0) p = NULL; /* on_loaded's now */
    }
    if (p) over(m);
    if (e.code) log_line(m->log, LOG_WARN, "preload of %s: %s", name ? name : "a model", e.msg);
    free(p);
    free(name);
    return NULL;
}
