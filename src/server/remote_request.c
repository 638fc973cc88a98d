/* From a request of engine/gen.h to one of OpenAI's chat completions: see ask_remote.h. */
#include <string.h>

#include "server/field.h"
#include "server/remote_request.h"

/* Of the request: nothing that the other side would have to know. */
static const char here_only[] = "op messages prompt system options user tenant truncate shift";
/* Of the options: how a model is loaded and run here. */
static const char local_options[] =
    "num_ctx num_batch num_thread num_gpu main_gpu use_mmap use_mlock numa shift truncate num_keep";

static const struct {
    const char *ours, *theirs;
} same[] = {
    {"temperature", "temperature"},
    {"top_p", "top_p"},
    {"seed", "seed"},
    {"stop", "stop"},
    {"presence_penalty", "presence_penalty"},
    {"frequency_penalty", "frequency_penalty"},
};

static int cannot(const char *field, struct err *e) {
    err_set(e, ERR_UNSUPPORTED, "\"%.60s\" is not passed on to another host; chats of texts are",
            field);
    return err_field(e, "%.60s", field);
}

/* Says nothing: absent, null, false, 0, 1 choice, empty. */
static bool is_default(const char *key, const json_t *v) {
    if (strcmp(key, "n") == 0 && json_integer_value(v) == 1) return true;
    return json_is_null(v) || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_integer(v) && json_integer_value(v) == 0);
}

static int take_options(const json_t *options, json_t *to, struct err *e) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)options, name, v) {
        bool taken = json_is_null(v) || field_among(name, local_options);
        for (size_t i = 0; !taken && i < sizeof same / sizeof *same; i++) {
            taken = strcmp(name, same[i].ours) == 0;
            if (taken) json_object_set(to, same[i].theirs, v);
        }
        if (!taken && strcmp(name, "num_predict") == 0) {
            taken = true;
            if (json_integer_value(v) > 0) json_object_set(to, "max_tokens", v);
        }
        if (!taken) return cannot(name, e);
    }
    return 0;
}

static int take_messages(const json_t *list, json_t *to, struct err *e) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *role = field_text(m, "role"), *text = field_text(m, "content");
        if (json_array_size(json_object_get(m, "images"))) return cannot("images", e);
        if (json_array_size(json_object_get(m, "tool_calls")) || !role || strcmp(role, "tool") == 0)
            return cannot("tool_calls", e);
        if (json_array_append_new(
                to, json_pack("{s:s, s:s}", "role", role, "content", text ? text : "")) != 0)
            return err_nomem(e, "request");
    }
    return 0;
}

static int take_prompt(const json_t *gen, json_t *to) {
    const char *system = field_text(gen, "system"), *prompt = field_text(gen, "prompt");
    int rc = 0;
    if (system)
        rc =
            json_array_append_new(to, json_pack("{s:s, s:s}", "role", "system", "content", system));
    return rc | json_array_append_new(
                    to, json_pack("{s:s, s:s}", "role", "user", "content", prompt ? prompt : ""));
}

json_t *remote_request(const json_t *gen, const char *model, struct err *e) {
    json_t *messages = json_array(), *v;
    json_t *to = json_pack("{s:s, s:b, s:{s:b}, s:o}", "model", model, "stream", 1,
                           "stream_options", "include_usage", 1, "messages", messages);
    const char *key;
    if (!to) {
        err_nomem(e, "request");
        return NULL;
    }
    json_object_foreach((json_t *)(uintptr_t)gen, key,
                        v) if (!field_among(key, here_only) && !is_default(key, v)) {
        cannot(key, e);
        goto fail;
    }
    if (json_object_get(gen, "messages")) {
        if (take_messages(json_object_get(gen, "messages"), messages, e) != 0) goto fail;
    } else if (take_prompt(gen, messages) != 0) {
        err_nomem(e, "request");
        goto fail;
    }
    if (take_options(json_object_get(gen, "options"), to, e) == 0) return to;
fail:
    json_decref(to);
    return NULL;
}
