/* What `cria show` and its JSON say about a file: read once, printed in two ways. */
#pragma once

#include "gguf/read.h"

enum { SHOW_MAX_CAPABILITIES = 8 };

struct show_info {
    struct str architecture;                   /* empty when the file does not say */
    double n_param;                            /* elements of all tensors */
    uint32_t context_length, embedding_length; /* 0: not there */
    const char *quantization;                  /* NULL: no tensors */
    const char *capability[SHOW_MAX_CAPABILITIES];
    int n_capability;
    struct str license, license_link, chat_template;
};

/* All strings are borrowed from g. */
int show_read(struct show_info *s, const struct gguf *g, struct err *e);

/* Long arrays are shortened, in JSON to null, unless verbose. */
void show_json(const struct show_info *s, const struct gguf *g, bool verbose);
void show_text(const struct show_info *s, const struct gguf *g);
void show_metadata(const struct gguf *g);
void show_tensors(const struct gguf *g);
