/* Conversations through a Jinja template. */
#pragma once

#include "text/chat/answer_style.h"
#include "text/chat/chat.h"
#include "text/chat/features.h"

struct jinja;

struct jinja_chat {
    struct jinja *t; /* owned; NULL: the template could not be read */
    char *source;    /* [n_source], owned */
    size_t n_source;
    struct chat_features know;
    const struct answer_style *style; /* borrowed */
    bool args_text;                   /* it wants the arguments of calls as JSON text */
};

/* Reads the template and tries how it takes calls.  -1: t is NULL, e says why. */
int jinja_chat_init(struct jinja_chat *c, struct str source, const struct chat_features *f,
                    const struct answer_style *style, struct err *e);
void jinja_chat_fini(struct jinja_chat *c);

/* Render in->messages as chat_render does; they have been checked. */
int jinja_chat_render(const struct jinja_chat *c, const struct chat_input *in,
                      struct chat_prompt *out, struct err *e);
