/* The interactive chat of `cria run`: line editing, history, slash commands (COMPAT.md 1.4). */
#pragma once

#include "cli/chat.h"

/* Until /bye or the end of input.  Answers that fail are reported and the chat goes on. */
int repl_run(struct chat *c, struct err *e);
