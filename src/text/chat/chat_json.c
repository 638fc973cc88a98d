/* See chat_json.h. */
#include "text/chat/chat_json.h"

#include "base/utf8.h"

json_t *chat_json_text(struct str s) {
    return json_stringn(s.n ? s.p : "", s.n);
}

json_t *chat_json_messages(const struct chat_input *in, struct err *e) {
    json_t *list = json_array();
    for (int i = 0; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        json_t *j = json_object();
        if (utf8_valid_prefix(m->content.p, m->content.n) < m->content.n) {
            json_decref(j);
            json_decref(list);
            err_set(e, ERR_FORMAT, "message %d: found bytes that are no UTF-8; UTF-8 is needed", i);
            return NULL;
        }
        json_object_set_new(j, "role", chat_json_text(m->role));
        json_object_set_new(j, "content", chat_json_text(m->content));
        json_array_append_new(list, j);
    }
    if (!list) err_nomem(e, "conversation");
    return list;
}
