/* A model's TEMPLATE behind chat.h.  What the template says may hold control tokens, messages may
 * not. */
#include "text/chat/gotmpl_chat.h"

#include "text/chat/chat_json.h"
#include "text/chat/gotmpl.h"

int gotmpl_chat_render(const struct gotmpl *t, const struct chat_input *in, struct chat_prompt *out,
                       struct err *e) {
    json_t *messages = chat_json_messages(in, e);
    if (!messages) return -1;
    const struct gotmpl_input input = {
        .messages = messages,
        .think = in->thinking == CHAT_THINK_ON,
        .think_set = in->thinking != CHAT_THINK_DEFAULT,
        .now_s = in->now_s,
    };
    const int rc = gotmpl_render(t, &input, out, e);
    json_decref(messages);
    return rc;
}
