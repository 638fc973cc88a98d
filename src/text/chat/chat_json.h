/* Conversations as the JSON values that template languages read. */
#pragma once

#include <jansson.h>

#include "text/chat/chat.h"
#include "text/chat/features.h"

/* NULL when s is no UTF-8 or memory is out. */
json_t *chat_json_text(struct str s);

/* [{"role", "content"}] of plain texts; NULL with ERR_FORMAT naming the message that is no UTF-8.
 */
json_t *chat_json_messages(const struct chat_message *m, int n, struct err *e);

/* Are these messages, and tools, of the form that engine/gen.h has?  ERR_USAGE names what is not.
 */
int chat_json_check(const json_t *messages, const json_t *tools, struct err *e);

/* Only roles system, user and assistant with a text each. */
bool chat_json_is_plain(const json_t *messages);
/* Views of plain messages; free it.  NULL: memory is out. */
struct chat_message *chat_json_views(const json_t *messages);

/* Messages for a Jinja template as the libraries that run these give them: "reasoning_content" and
 * its other names, "name" of a tool's answer, texts that are always there.  args_text: arguments as
 * JSON text.  A template that reads no calls gets them in the texts, in the form of the style.  For
 * a Go template: calls counted.  NULL: memory is out. */
json_t *chat_json_for_jinja(const json_t *messages, const struct chat_features *f,
                            const struct answer_style *style, bool args_text);
json_t *chat_json_for_go(const json_t *messages);

/* A copy of tools in which every function and parameter has a description and a type, and every
 * function parameters.  NULL: memory is out. */
json_t *chat_json_described(const json_t *tools);
