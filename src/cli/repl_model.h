/* The chat's commands about models in the store: /load, /save, /list, /show template,
 * modelfile and license.
 */
#pragma once

#include "cli/chat.h"

/* Chat with another model: its options, system message and history; the conversation ends.  When it
 * cannot be opened, the old one stays. */
int repl_load(struct chat *c, const char *name, struct err *e);

/* Make a model of what the chat is now: the model it runs, options, system message, and the
 * conversation as its history. */
int repl_save(const struct chat *c, const char *name, struct err *e);

/* Names of the models in the store, the server's when it answers this chat, on stderr. */
int repl_list(const struct chat *c, struct err *e);

/* Append what: "template", "license" or "modelfile" of the chat's model; nothing when it has none.
 */
int repl_text(const struct chat *c, const char *what, struct buf *out, struct err *e);

/* What the server says of its model, on stderr. */
void repl_show_server(const struct chat *c);

/* Close what repl_load has opened. */
void repl_models_fini(void);
