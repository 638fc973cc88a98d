/* The functions of gen.h: each is one of the implementation's. */
#include "engine/gen.h"

#include "engine/gen_priv.h"

void gen_close(struct gen *g) {
    if (g) g->impl->close(g);
}

const struct gen_info *gen_info(const struct gen *g) {
    return &g->info;
}

bool gen_alive(const struct gen *g) {
    return g->impl->alive(g);
}

struct gen_load gen_load(const struct gen *g) {
    return g->impl->load(g);
}

int gen_start(struct gen *g, const json_t *request, gen_event_fn *fn, void *ctx,
              struct gen_task **out, struct err *e) {
    return g->impl->start(g, request, fn, ctx, out, e);
}

int gen_add_adapter(struct gen *g, const char *name, const char *path, float scale, struct err *e) {
    if (g->impl->add_adapter) return g->impl->add_adapter(g, name, path, scale, e);
    return err_set(e, ERR_UNSUPPORTED, "adapter %s: none can be added here", name);
}

void gen_cancel(struct gen_task *t) {
    t->gen->impl->cancel(t);
}

void gen_pause(struct gen_task *t) {
    t->gen->impl->pause(t, true);
}

void gen_resume(struct gen_task *t) {
    t->gen->impl->pause(t, false);
}
