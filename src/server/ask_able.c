/* See ask_able.h. */
#include "server/ask_able.h"

#include <string.h>

static bool is_set(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? json_string_length(v) > 0 : json_is_array(v) && json_array_size(v);
}

static int cannot(const char *model, const char *what, const char *key, struct err *e) {
    err_set(e, ERR_UNSUPPORTED, "\"%s\" does not support %s", model, what);
    return err_field(e, "%s", key);
}

int ask_able(const char *model, const struct gen_info *i, const json_t *gen, struct err *e) {
    const json_t *think = json_object_get(gen, "think");
    const char *op = json_string_value(json_object_get(gen, "op"));
    const bool chat = op && strcmp(op, "chat") == 0, text = op && strcmp(op, "text") == 0;
    if (i->embedding && chat) return cannot(model, "chat", "model", e);
    if (i->embedding && text) return cannot(model, "generate", "model", e);
    if (chat && is_set(gen, "tools") && !i->tools) return cannot(model, "tools", "tools", e);
    if (text && is_set(gen, "suffix") && !i->insert) return cannot(model, "insert", "suffix", e);
    if ((chat || text) && (json_is_true(think) || json_is_string(think)) && !i->thinking)
        return cannot(model, "thinking", "think", e);
    return 0;
}
