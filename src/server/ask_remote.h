/* The last link of a chain: a model on another host that speaks OpenAI's chat completions.
 *
 * A thread of its own asks it as a stream; its texts become events.  The chat's texts go there and
 * come back; what needs more (tools, images, formats, thinking, several choices) is refused, never
 * dropped.  A redirect is not followed, so that neither key nor prompt reach a host that was not
 * named. */
#pragma once

#include "server/ask.h"
#include "server/fallback.h"

/* As a step of the row, with its target; a->model is not looked at.  -1: CHAIN_UNABLE for what it
 * is not asked. */
int ask_remote(struct request *r, const struct ask *a, const struct fallback_remote *to,
               struct err *e);
