/* What is to be said about a model: read once, for `cria show`, its JSON, and /api/show. */
#pragma once

#include <jansson.h>

#include "gguf/read.h"
#include "store/recipe.h"

enum { SHOW_MAX_CAPABILITIES = 8 };

#define KEY_TRAINING "cria.training" /* in a GGUF file */

struct show_info {
    struct str architecture;                   /* empty when the file does not say */
    double n_param;                            /* elements of all tensors */
    uint32_t context_length, embedding_length; /* 0: not there */
    const char *quantization;                  /* NULL: no tensors */
    const char *capability[SHOW_MAX_CAPABILITIES];
    int n_capability;
    struct str license, license_link, chat_template;
    /* What only a model of the store has; empty for a file. */
    const char *name; /* as it is stored; NULL: a file */
    char id[65];      /* of its manifest */
    struct str requires_version, system, parameters /* "name value" lines */, modelfile;
    const struct gguf *projector; /* or NULL */
    const json_t *training;       /* what create/tune.h keeps of a trained one; or NULL */
};

/* All strings are borrowed from g. */
int show_read(struct show_info *s, const struct gguf *g, struct err *e);
/* What `cria train` keeps in a file of how it was made (KEY_TRAINING); NULL: nothing.  A model of
 * the store may know better (show_add_parts).  json_decref. */
json_t *show_training(const struct gguf *g);
/* Elements of all tensors. */
double show_count_values(const struct gguf *g);

/* The parts of a model of the store.  show_parts_close also after a failure; s is borrowed from it
 * and from g. */
struct show_parts {
    struct buf license, system, template, parameters, modelfile;
    struct model_config config;
    struct gguf *projector;
    json_t *training; /* owned, or NULL */
    char name[NAME_TEXT];
};
/* The modelfile stays empty: create_print_modelfile() fills it where it is wanted. */
int show_parts_open(struct show_parts *p, const struct recipe *r, struct err *e);
void show_parts_close(struct show_parts *p);
void show_add_parts(struct show_info *s, const struct show_parts *p);

/* A JSON string; bytes that are not UTF-8 become U+FFFD. */
json_t *show_string(struct str s);
/* {key: value}; arrays that are long (very long, when verbose) are `shortened` instead: borrowed.
 */
json_t *show_metadata_json(const struct gguf *g, bool verbose, json_t *shortened);
/* [{"name", "type", "shape", "bytes"}] */
json_t *show_tensors_json(const struct gguf *g);
