/* See chat_calls.h. */
#include "text/chat/chat_calls.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *text(const json_t *o, const char *key) {
    const char *z = json_string_value(json_object_get(o, key));
    return z && *z ? z : NULL;
}

static bool is_short(const char *id) {
    for (const char *p = id; *p; p++)
        if (!isalnum((unsigned char)*p)) return false;
    return strlen(id) == 9;
}

/* A call as it was seen: {"id": the client's, "as": the one used, "name", "done"}. */
static void add_call(json_t *seen, json_t *call, bool ids, bool short_ids) {
    char made[16];
    const char *id = text(call, "id");
    const char *name = text(json_object_get(call, "function"), "name");
    json_t *o = json_object();
    if (id) json_object_set_new(o, "id", json_string(id));
    if (name) json_object_set_new(o, "name", json_string(name));
    if ((!id && ids) || (short_ids && id && !is_short(id))) {
        snprintf(made, sizeof made, "call%05u", (unsigned)json_array_size(seen) % 100000);
        json_object_set_new(call, "id", json_string(made));
    }
    json_object_set(o, "as", json_object_get(call, "id"));
    json_array_append_new(seen, o);
}

static bool same(const char *a, const char *b) {
    return a && b && strcmp(a, b) == 0;
}

/* The call that a result answers. */
static json_t *find_call(json_t *seen, const char *id, const char *name) {
    const size_t n = json_array_size(seen);
    for (size_t i = n; id && i-- > 0;)
        if (same(text(json_array_get(seen, i), "id"), id)) return json_array_get(seen, i);
    for (size_t i = 0; i < n; i++) {
        json_t *c = json_array_get(seen, i);
        if (id && text(c, "id")) continue; /* it has another one */
        if (!json_object_get(c, "done") && (!name || same(text(c, "name"), name))) return c;
    }
    return NULL;
}

static void complete_result(json_t *seen, json_t *m, const char *name_key, bool ids) {
    const char *id = text(m, "tool_call_id"), *name = text(m, name_key);
    json_t *call = find_call(seen, id, name);
    if (!call) return;
    json_object_set_new(call, "done", json_true());
    if (!name && json_object_get(call, "name"))
        json_object_set(m, name_key, json_object_get(call, "name"));
    if (ids && json_object_get(call, "as"))
        json_object_set(m, "tool_call_id", json_object_get(call, "as"));
}

void chat_calls_complete(json_t *messages, const char *name_key, bool ids, bool short_ids) {
    json_t *seen = json_array(), *m, *call;
    size_t i, k;
    json_array_foreach(messages, i, m) {
        json_array_foreach(json_object_get(m, "tool_calls"), k, call)
            add_call(seen, call, ids, short_ids);
        if (same(text(m, "role"), "tool")) complete_result(seen, m, name_key, ids);
    }
    json_decref(seen);
}
