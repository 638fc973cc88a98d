/* A model's own Jinja template behind chat.h, for templates that no built-in family knows: the
 * variables that transformers gives it.  Only the texts of bos_token and eos_token, and what the
 * template itself says, may hold control tokens. */
#include "text/chat/jinja_chat.h"

#include "text/chat/chat_json.h"
#include "text/chat/jinja.h"

static json_t *variables(const struct chat_input *in, json_t *messages) {
    json_t *vars = json_object();
    json_object_set_new(vars, "messages", messages);
    json_object_set_new(vars, "tools", json_null());
    json_object_set_new(vars, "documents", json_null());
    json_object_set_new(vars, "add_generation_prompt", json_boolean(in->add_generation_prompt));
    json_object_set_new(vars, "bos_token", chat_json_text(in->bos));
    json_object_set_new(vars, "eos_token", chat_json_text(in->eos));
    if (in->date.n) json_object_set_new(vars, "date_string", chat_json_text(in->date));
    if (in->thinking != CHAT_THINK_DEFAULT)
        json_object_set_new(vars, "enable_thinking", json_boolean(in->thinking == CHAT_THINK_ON));
    return vars;
}

int jinja_chat_render(const struct jinja *t, const struct chat_input *in, struct chat_prompt *out,
                      struct err *e) {
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    const struct jinja_opts o = {.now_s = in->now_s, .trusted = trusted};
    json_t *messages = chat_json_messages(in, e);
    if (!messages) return -1;
    json_t *vars = variables(in, messages);
    const int rc = vars ? jinja_render(t, vars, &o, out, e) : err_nomem(e, "chat template");
    json_decref(vars);
    return rc;
}
