/* What a model in the store brings: the files it is made of and the texts beside them.  Paths are
 * found when it is opened; a text is read when it is asked for, so that a damaged one stops only
 * those who need it. */
#pragma once

#include <jansson.h>

#include "store/config.h"
#include "store/store.h"

struct recipe {
    struct store *store;      /* borrowed */
    const char *what;         /* begins errors; borrowed */
    struct name name;         /* as the store spells it */
    struct manifest manifest; /* owned */
    char path[STORE_PATH];    /* of its GGUF file */
    char adapter[STORE_PATH], draft[STORE_PATH], projector[STORE_PATH]; /* empty: none */
};

/* Find the model and its files.  what: how the user calls it ("model 'WHAT': ...").
 * ERR_NOT_FOUND: "model 'WHAT' not found", or a blob is not there; ERR_UNSUPPORTED: it holds no
 * GGUF file, two layers of a kind of which one can be used.  recipe_close also after a failure. */
int recipe_open(struct recipe *r, struct store *s, const struct name *n, const char *what,
                struct err *e);
void recipe_close(struct recipe *r);

/* Bytes of its files together. */
uint64_t recipe_file_bytes(const struct recipe *r);

/* Append the text of the first layer of a kind: nothing when there is none. */
int recipe_text(const struct recipe *r, enum layer_kind kind, struct buf *out, struct err *e);

/* The parameters, an object; json_decref(*out).  NULL when it has none. */
int recipe_params(const struct recipe *r, json_t **out, struct err *e);

/* The history, [{"role": "system" "user" "assistant", "content": text}]; json_decref(*out).  NULL
 * when it has none. */
int recipe_messages(const struct recipe *r, json_t **out, struct err *e);

/* Its config; model_config_fini also after a failure. */
int recipe_config(const struct recipe *r, struct model_config *c, struct err *e);
