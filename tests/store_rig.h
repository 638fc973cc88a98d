/* A store in a temporary folder, and small models in it: a config and one layer of any text. */
#pragma once

#include "support.h"

#include "store/store.h"

struct shop {
    char *dir;      /* holds root, and what is outside of the store */
    char root[600]; /* dir/store; not made before something is written */
    struct store *s;
    struct err e;
};

void shop_open(struct shop *r);
void shop_close(struct shop *r);

/* Make a model whose layer is this text. */
void shop_put(struct shop *r, const char *name, const char *text);
int shop_try_put(struct shop *r, const char *name, const char *text); /* 0 or -1 with r->e */
int shop_remove(struct shop *r, const char *name);
/* The manifest of such a model. */
void shop_manifest(struct shop *r, const char *text, struct buf *out);
/* A blob that nothing names. */
void shop_blob(struct shop *r, const char *text);
bool shop_has_all(struct shop *r, const struct manifest *m);

/* Files of the store, by their path from its root. */
void shop_file(struct shop *r, const char *rel, const char *text); /* folders are made */
bool shop_there(struct shop *r, const char *rel);
int shop_count(struct shop *r, const char *rel); /* files in a folder */

/* Verify all: nothing is wrong, and there are n models (-1: any number). */
void shop_check(struct shop *r, int n);
