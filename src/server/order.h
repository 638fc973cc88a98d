/* What a request says of a model to make, as the commands of a Modelfile: /api/create and
 * /api/train (api_create.c). */
#pragma once

#include "create/create.h"
#include "server/field.h"

/* The texts are the arena's, not the request's. */
struct order {
    struct name name;
    struct modelfile m; /* its arena owns everything; modelfile_fini */
    int cap;
    struct create_file *file, *adapter, *draft;
    int n_file, n_adapter, n_draft;
    const char *quantize;
};

/* from, template, system, renderer, parser, requires, license, parameters, messages: those of them
 * that body has.  ERR_USAGE names the field. */
int order_texts(struct order *o, const json_t *body, struct err *e);
