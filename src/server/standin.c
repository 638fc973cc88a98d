/* Empty tables and models for what is not written yet: each part replaces its own here.  (The word
 * __TIME__ keeps ccache, which does not see __has_include, from taking an older object.) */
#include "server/models.h"
#include "server/route.h"

#define TABLE(name)                                                                                \
    const struct route name[] = {                                                                  \
        {0},                                                                                       \
    }

#if !__has_include("server/api_native.c")
TABLE(routes_native);
#endif
#if !__has_include("server/api_store.c")
TABLE(routes_store);
#endif
#if !__has_include("server/api_openai.c")
TABLE(routes_openai);
#endif
#if !__has_include("server/api_responses.c")
TABLE(routes_responses);
#endif
#if !__has_include("server/api_anthropic.c")
TABLE(routes_anthropic);
#endif
#if !__has_include("server/api_extra.c")
TABLE(routes_extra);
#endif

#if !__has_include("server/models.c")
#include <stdlib.h>

struct models {
    struct models_opts o;
};

struct models *models_open(const struct models_opts *o, struct err *e) {
    struct models *m = calloc(1, sizeof *m);
    if (m)
        m->o = *o;
    else
        err_nomem(e, "models");
    return m;
}

void models_configure(struct models *m, const struct models_opts *o) {
    m->o = *o;
}

void models_drain(struct models *m) {
    (void)m;
}

void models_close(struct models *m) {
    free(m);
}

struct models_stats models_stats(struct models *m) {
    return (struct models_stats){.max_bytes = m->o.max_bytes};
}

json_t *models_list(struct models *m) {
    (void)m;
    return json_array();
}

bool models_unload(struct models *m, const struct name *n) {
    (void)m, (void)n;
    return false;
}

int models_keep_alive(const json_t *v, int64_t usual_ns, int64_t *ns, struct err *e) {
    (void)v, (void)e;
    *ns = usual_ns;
    return 0;
}

int ask_start(struct request *r, const struct ask *a) {
    json_decref(a->gen);
    reply_error(r, 501, "no models yet");
    return -1;
}

const struct ask_model *ask_model(const struct request *r) {
    (void)r;
    return NULL;
}
#endif

/* What a task is made by: engine/gen.h. */
#if !__has_include("engine/gen.c") && !__has_include("engine/gen_child.c") &&                      \
                                                     !__has_include("engine/gen_local.c")
void gen_cancel(struct gen_task *t) {
    (void)t;
}
void gen_pause(struct gen_task *t) {
    (void)t;
}
void gen_resume(struct gen_task *t) {
    (void)t;
}
#endif

/* Models in a process of their own: engine/gen.h. */
#if !__has_include("engine/gen_child.c")
struct gen *gen_open_child(const char *path, const struct gen_opts *o, const volatile int *stop,
                           struct err *e) {
    (void)stop;
    return gen_open_local(path, o, e);
}
#endif
