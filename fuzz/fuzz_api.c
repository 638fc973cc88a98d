/* Fuzz target: requests of the OpenAI and Anthropic dialects on their way to engine/gen.h.  The
 * first byte chooses: c messages of chat completions, r items of responses, a messages of
 * Anthropic, o sampling, tools and format.  What is accepted has the form that gen.h asks for; what
 * is refused has a message. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/anthropic.h"
#include "server/responses.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

json_t *request_turn(const struct request *r, const char *theirs) {
    (void)r;
    return json_string(theirs ? theirs : "");
}

static void require(bool holds) {
    if (!holds) abort();
}

static void check_message(const json_t *m) {
    const char *role = field_text(m, "role");
    const json_t *calls = json_object_get(m, "tool_calls"), *images = json_object_get(m, "images");
    require(role && field_among(role, "system user assistant tool"));
    require(json_is_string(json_object_get(m, "content")));
    for (size_t i = 0; i < json_array_size(images); i++)
        require(json_string_length(json_array_get(images, i)) > 0);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *fn = json_object_get(json_array_get(calls, i), "function");
        require(field_text(fn, "name") && json_is_object(json_object_get(fn, "arguments")));
    }
}

static void check(int rc, const json_t *gen, const struct fault *f) {
    const json_t *list = json_object_get(gen, "messages"), *tools = json_object_get(gen, "tools");
    if (rc != 0) {
        require(f->err.code != ERR_NONE && f->err.msg[0]);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        check_message(json_array_get(list, i));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *fn = json_object_get(json_array_get(tools, i), "function");
        require(field_text(fn, "name") && json_is_object(json_object_get(fn, "parameters")));
    }
}

/* Only what the tables of the routes let through. */
static void keep_typed(json_t *body) {
    static const struct {
        const char *names;
        json_type type;
    } table[] = {{"messages tools input system_blocks", JSON_ARRAY},
                 {"options logit_bias response_format chat_template_kwargs", JSON_OBJECT},
                 {"user reasoning_effort", JSON_STRING},
                 {"temperature top_p top_k min_p num_ctx max_tokens seed", JSON_INTEGER}};
    const char *key;
    void *next;
    json_t *v;
    json_object_foreach_safe(body, next, key, v) for (size_t i = 0;
                                                      i < sizeof table / sizeof *table; i++) {
        if (!field_among(key, table[i].names) || json_typeof(v) == table[i].type) continue;
        json_object_del(body, key);
        break;
    }
}

static int read_options(json_t *body, json_t *gen, struct fault *f) {
    json_t *format = json_object_get(body, "response_format");
    if (openai_options(NULL, body, "max_tokens", gen, f) != 0 ||
        openai_tools(body, field_true(body, "flat"), gen, f) != 0 ||
        (format && openai_format(format, "response_format", false, gen, f) != 0) ||
        openai_effort(field_text(body, "reasoning_effort"), "reasoning_effort", gen, f) != 0)
        return -1;
    return openai_template_vars(json_object_get(body, "chat_template_kwargs"), gen);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct fault f = {.dialect = DIALECT_OPENAI};
    if (n == 0) return 0;
    json_t *body =
        json_read_object("fuzz", (struct str){(const char *)bytes + 1, n - 1}, 10000, &f.err);
    if (!body) return 0;
    json_t *gen = json_pack("{s:[]}", "messages");
    keep_typed(body);
    int rc = 0;
    switch (bytes[0]) {
    case 'c':
        rc = openai_messages(json_object_get(body, "messages"), gen, &f);
        if (rc == 0) openai_continue(gen);
        break;
    case 'r': rc = responses_messages(json_object_get(body, "input"), gen, &f); break;
    case 'a':
        rc = anthropic_messages(json_object_get(body, "system"), json_object_get(body, "messages"),
                                gen, &f);
        break;
    case 'o': rc = read_options(body, gen, &f); break;
    }
    check(rc, gen, &f);
    json_decref(gen);
    json_decref(body);
    return 0;
}
