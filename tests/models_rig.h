/* Models in a store for tests of the server: any bytes as the weights, any layers beside them. */
#pragma once

#include "store_rig.h"

struct rig_layer {
    const char *kind; /* "system", "params"...; ends the list when NULL */
    const char *text;
};

/* config NULL: a plain one.  more may be NULL. */
void shop_model(struct shop *r, const char *name, const void *weights, size_t n_weights,
                const char *config, const struct rig_layer *more);
/* The same with the weights in a file outside of the store, which must stay there. */
void shop_link(struct shop *r, const char *name, const char *path);
/* The same from a file. */
void shop_gguf(struct shop *r, const char *name, const char *path, const struct rig_layer *more);
