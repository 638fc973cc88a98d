/* A model's own Jinja template behind chat.h, for templates that no built-in family knows: the
 * variables that transformers gives it.  Only the texts of bos_token and eos_token, and what the
 * template itself says, may hold control tokens. */
#include "text/chat/jinja_chat.h"

#include "base/utf8.h"
#include "text/chat/jinja.h"

static json_t *text(struct str s) {
    return json_stringn(s.n ? s.p : "", s.n); /* NULL: no UTF-8 */
}

static json_t *messages(const struct chat_input *in) {
    json_t *list = json_array();
    for (int i = 0; i < in->n; i++) {
        json_t *m = json_object();
        json_object_set_new(m, "role", text(in->message[i].role));
        json_object_set_new(m, "content", text(in->message[i].content));
        json_array_append_new(list, m);
    }
    return list;
}

static json_t *variables(const struct chat_input *in) {
    json_t *vars = json_object();
    json_object_set_new(vars, "messages", messages(in));
    json_object_set_new(vars, "tools", json_null());
    json_object_set_new(vars, "documents", json_null());
    json_object_set_new(vars, "add_generation_prompt", json_boolean(in->add_generation_prompt));
    json_object_set_new(vars, "bos_token", text(in->bos));
    json_object_set_new(vars, "eos_token", text(in->eos));
    if (in->date.n) json_object_set_new(vars, "date_string", text(in->date));
    if (in->thinking != CHAT_THINK_DEFAULT)
        json_object_set_new(vars, "enable_thinking", json_boolean(in->thinking == CHAT_THINK_ON));
    return vars;
}

int jinja_chat_render(const struct jinja *t, const struct chat_input *in, struct chat_prompt *out,
                      struct err *e) {
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    const struct jinja_opts o = {.now_s = in->now_s, .trusted = trusted};
    for (int i = 0; i < in->n; i++)
        if (utf8_valid_prefix(in->message[i].content.p, in->message[i].content.n) <
            in->message[i].content.n)
            return err_set(e, ERR_FORMAT,
                           "message %d: found bytes that are no UTF-8; UTF-8 is needed", i);
    json_t *vars = variables(in);
    const int rc = vars ? jinja_render(t, vars, &o, out, e) : err_nomem(e, "chat template");
    json_decref(vars);
    return rc;
}
