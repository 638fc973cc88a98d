/* A model's TEMPLATE behind chat.h.  What the template says may hold control tokens, messages may
 * not. */
#include "text/chat/gotmpl_chat.h"

#include "text/chat/chat_json.h"
#include "text/chat/gotmpl.h"

int gotmpl_chat_render(const struct gotmpl *t, const struct chat_input *in, struct chat_prompt *out,
                       struct err *e) {
    json_t *messages = in->messages ? chat_json_for_go(in->messages) : NULL;
    if (in->messages && !messages) return err_nomem(e, "conversation");
    const struct gotmpl_input input = {
        .messages = messages,
        .tools = json_array_size(in->tools) > 0 ? in->tools : NULL,
        .prompt = in->prompt,
        .suffix = in->suffix,
        .think = in->thinking == CHAT_THINK_ON,
        .think_set = in->thinking != CHAT_THINK_DEFAULT,
        .think_level = in->think_level,
        .now_s = in->now_s,
    };
    const int rc = gotmpl_render(t, &input, out, e);
    json_decref(messages);
    return rc;
}
