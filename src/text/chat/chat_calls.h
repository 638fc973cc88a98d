/* Calls of tools and their results in a conversation: which belongs to which. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* In messages for a template, complete what clients leave out: a result gets the name of its tool
 * (under `name_key`) and the id of its call, by the id, else by the name, else in order.  ids:
 * calls without one get one; short_ids: and those that are not nine letters and digits get another,
 * as the strictest family wants them. */
void chat_calls_complete(json_t *messages, const char *name_key, bool ids, bool short_ids);
