/* Templates, conversations and what their tokens are, for the tests of chats. */
#pragma once

#include <jansson.h>

#include "text/chat/chat.h"

/* Of a golden file; NULL when it is not supported. */
struct chat_template *template_of(const char *file);
struct chat_template *source_template(const char *source);

/* JSON with ' for ". */
json_t *json_of(const char *text);

/* How often z occurs; how many control tokens there are. */
int count_of(const struct buf *text, const char *z);
int count_control(const struct vocab *v, const struct ids *ids);
