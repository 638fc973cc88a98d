/* The chat's commands about models in the store: /load, /save, /list, /show modelfile and license.
 */
#pragma once

#include "cli/chat.h"

/* Chat with another model: its options, system message and history; the conversation ends.  When it
 * cannot be opened, the old one stays. */
int repl_load(struct chat *c, const char *name, struct err *e);

/* Make a model of what the chat is now: the model it runs, options, system message, and the
 * conversation as its history. */
int repl_save(const struct chat *c, const char *name, struct err *e);

/* Names of the models in the store, on stderr. */
int repl_list(struct err *e);

/* Append the Modelfile, or the licences, of the chat's model. */
int repl_modelfile(const struct chat *c, struct buf *out, struct err *e);
int repl_license(const struct chat *c, struct buf *out, struct err *e);

/* Close what repl_load has opened. */
void repl_models_fini(void);
