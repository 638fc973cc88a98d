/* What `cria show` and its JSON say about a file: read once, printed in two ways. */
#pragma once

#include "cli/model.h"
#include "gguf/read.h"
#include "store/config.h"

enum { SHOW_MAX_CAPABILITIES = 8 };

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
};

/* All strings are borrowed from g. */
int show_read(struct show_info *s, const struct gguf *g, struct err *e);

/* The parts of a model of the store.  show_parts_close also after a failure; s is borrowed from it
 * and from g. */
struct show_parts {
    struct buf license, system, template, parameters, modelfile;
    struct model_config config;
    struct gguf *projector;
    char name[NAME_TEXT];
};
int show_parts_open(struct show_parts *p, const struct cli_model *m, struct err *e);
void show_parts_close(struct show_parts *p);
void show_add_parts(struct show_info *s, const struct show_parts *p);

/* Long arrays are shortened, in JSON to null, unless verbose. */
void show_json(const struct show_info *s, const struct gguf *g, bool verbose);
void show_text(const struct show_info *s, const struct gguf *g);
void show_metadata(const struct gguf *g);
void show_tensors(const struct gguf *g);
