/* Fuzz target: a Jinja template, rendered for a conversation with tools.  Whatever it does, it ends
 * within its budgets, with text whose trusted spans are in order, or with an error that says why.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static const char variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be <|im_end|> nice.\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"h\\u00e9 'q' \\\"w\\\" "
    "\\ud83d\\ude00\"}]},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":"
    "\"f\","
    "\"arguments\":{\"a\":1,\"b\":[1.5,true,null]}}}]}],\"xs\":[3,1,2],\"d\":{\"b\":1,\"a\":{}},"
    "\"bos_token\":\"<s>\",\"add_generation_prompt\":true,\"n\":7,\"f\":0.1,\"s\":\" Ab c \"}";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const char *const trusted[] = {"bos_token", NULL};
    static json_t *vars;
    const struct jinja_opts o = {.now_s = 1751632496,
                                 .max_steps = 100000,
                                 .max_out = 1 << 20,
                                 .max_mem = 32 << 20,
                                 .max_cpu_ms = 2000,
                                 .trusted = trusted};
    struct err e = {0};
    struct chat_prompt p = {0};
    if (!vars) vars = json_loads(variables, 0, NULL);
    require(vars != NULL);
    struct jinja *t = jinja_new("fuzz", (struct str){(const char *)bytes, n}, &e);
    if (!t) {
        require(e.code != ERR_NONE && strstr(e.msg, "fuzz: ") == e.msg);
        return 0;
    }
    if (jinja_render(t, vars, &o, &p, &e) != 0) {
        require(e.code != ERR_NONE && strstr(e.msg, "fuzz: line ") == e.msg);
    } else {
        size_t at = 0;
        require(p.text.n <= o.max_out);
        for (size_t i = 0; i < p.n_trust; at = p.trust[i++].hi)
            require(p.trust[i].lo >= at && p.trust[i].lo < p.trust[i].hi &&
                    p.trust[i].hi <= p.text.n);
    }
    chat_prompt_fini(&p);
    jinja_free(t);
    return 0;
}
