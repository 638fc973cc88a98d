/* Conversations as the JSON values that template languages read. */
#pragma once

#include <jansson.h>

#include "text/chat/chat.h"

/* NULL when s is no UTF-8 or memory is out. */
json_t *chat_json_text(struct str s);

/* [{"role", "content"}]; NULL with ERR_FORMAT naming the message that is no UTF-8. */
json_t *chat_json_messages(const struct chat_input *in, struct err *e);
