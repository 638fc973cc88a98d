/* An answer on its way to standard output: as text, with thinking set apart, or as JSON lines; and
 * the timings behind it. */
#pragma once

#include "cli/chat.h"

struct chat_show {
    struct chat *chat;
    struct buf said; /* owned: the whole answer, without thinking */
    bool thinking;   /* what was shown last */
};

talk_fn chat_show_piece; /* ctx: struct chat_show */
/* end NULL: it failed. */
void chat_show_end(struct chat_show *s, const struct talk_end *end);
