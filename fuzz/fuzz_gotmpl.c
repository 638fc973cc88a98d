/* Fuzz target: a Go template over a conversation with tools, whole and turn by turn.  Whatever it
 * says, it ends with a prompt whose trusted parts lie in order inside it, or with an error that
 * says where. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat/gotmpl.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char conversation[] =
    "[{\"role\":\"system\",\"content\":\"Be <b>kind</b> & \\\"brief\\\".\"},"
    "{\"role\":\"user\",\"content\":\"Weather in \\u00c5rhus?\"},"
    "{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\",\"tool_calls\":[{\"id\":\"c1\","
    "\"function\":{\"index\":0,\"name\":\"get\",\"arguments\":{\"city\":\"Paris\",\"n\":3.5e7,"
    "\"list\":[1,null,{\"a\":true}]}}}]},"
    "{\"role\":\"tool\",\"content\":\"21\",\"tool_name\":\"get\",\"tool_call_id\":\"c1\"},"
    "{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"user\",\"content\":\"two\"}]";
static const char tool_list[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"description\":\"d\",\"parameters\":"
    "{\"type\":\"object\",\"required\":[\"city\"],\"properties\":{\"city\":{\"type\":\"string\"},"
    "\"unit\":{\"type\":[\"string\",\"null\"],\"enum\":[\"c\",\"f\",1]},"
    "\"any\":{\"anyOf\":[{\"type\":\"array\"},{\"type\":\"object\"}]}}}}}]";

static void require(bool holds) {
    if (!holds) abort();
}

static void render(const struct gotmpl *t, const struct gotmpl_input *in) {
    struct chat_prompt p = {0};
    struct err e = {0};
    if (gotmpl_render(t, in, &p, &e) != 0)
        require(e.code != ERR_NONE && strncmp(e.msg, "template: line ", 15) == 0);
    size_t at = 0;
    for (size_t i = 0; i < p.n_trust; i++) {
        require(p.trust[i].lo >= at && p.trust[i].hi > p.trust[i].lo);
        at = p.trust[i].hi;
    }
    require(at <= p.text.n && p.text.n <= (size_t)7 * (16 << 20));
    chat_prompt_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static json_t *messages, *tools;
    struct err e = {0};
    if (!messages) {
        messages = json_loads(conversation, 0, NULL);
        tools = json_loads(tool_list, 0, NULL);
        require(messages && tools);
    }
    struct gotmpl *t = gotmpl_new((struct str){(const char *)bytes, n}, &e);
    if (!t) {
        require(e.code != ERR_NONE && strncmp(e.msg, "template: ", 10) == 0);
        return 0;
    }
    struct gotmpl_input in = {.messages = messages, .tools = tools, .now_s = 1751632496};
    render(t, &in);
    in.once = in.think = in.think_set = true;
    in.think_level = STR("high");
    render(t, &in);
    in.prompt = STR("def f(");
    in.suffix = STR("return 1");
    render(t, &in);
    gotmpl_free(t);
    return 0;
}
