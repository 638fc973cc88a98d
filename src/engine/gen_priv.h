/* What both implementations of gen.h begin with.  gen.c calls through the table; a gen_local or
 * gen_child has `struct gen` as its first member, a task of theirs `struct gen_task`. */
#pragma once

#include "engine/gen.h"

struct gen_impl {
    void (*close)(struct gen *g);
    bool (*alive)(const struct gen *g);
    struct gen_load (*load)(const struct gen *g);
    int (*start)(struct gen *g, const json_t *request, gen_event_fn *fn, void *ctx,
                 struct gen_task **out, struct err *e);
    void (*cancel)(struct gen_task *t);
    void (*pause)(struct gen_task *t, bool on);
    int (*add_adapter)(struct gen *g, const char *name, const char *path, float scale,
                       struct err *e);
    /* The same of an opened file, taken over; NULL where that is for the other side to do. */
    int (*take_adapter)(struct gen *g, const char *name, struct gguf *file, float scale,
                        struct err *e);
};

struct gen {
    const struct gen_impl *impl;
    struct gen_info info; /* filled before the gen is given out */
};

struct gen_task {
    struct gen *gen;
};
