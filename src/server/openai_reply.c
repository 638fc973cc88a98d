/* The OpenAI dialect's ids and sums. */
#include "server/openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/json.h"
#include "base/os.h"

void openai_id(const char *prefix, char out[OPENAI_ID]) {
    static const char digit[] = "0123456789abcdef";
    uint8_t b[16];
    /* 16 bytes never come in parts; without a source of randomness (a kernel before 3.17) the clock
     * still makes ids differ. */
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) {
        const int64_t now = os_now_ns();
        memset(b, 0, sizeof b);
        memcpy(b, &now, sizeof now);
    }
    size_t n = strlen(prefix);
    if (n > OPENAI_ID - 33) n = OPENAI_ID - 33;
    memcpy(out, prefix, n);
    for (int i = 0; i < 32; i++)
        out[n++] = digit[b[i / 2] >> (i % 2 ? 0 : 4) & 15];
    out[n] = 0;
}

json_t *openai_usage(const struct gather *g) {
    const struct gen_stats *s = &g->stats;
    return json_pack("{s:i, s:i, s:i, s:{s:i}, s:{s:i}}", "prompt_tokens", s->n_prompt,
                     "completion_tokens", s->n_eval, "total_tokens", s->n_prompt + s->n_eval,
                     "prompt_tokens_details", "cached_tokens", s->n_cached,
                     "completion_tokens_details", "reasoning_tokens", g->n_thinking);
}

const char *openai_finish_reason(const struct gather_choice *c) {
    if (c->n_call > 0) return "tool_calls";
    return c->why == GEN_LENGTH ? "length" : "stop";
}

json_t *openai_calls(const json_t *calls, int first, struct err *e) {
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *fn = json_object_get(call, "function");
        struct buf text = {0};
        const json_t *arguments = json_object_get(fn, "arguments");
        const char *id = field_text(call, "id"), *name = field_text(fn, "name");
        const bool good =
            (arguments ? json_append("tool call", arguments, &text, e) : 0) == 0 &&
            json_array_append_new(out, json_pack("{s:i, s:s, s:s, s:{s:s, s:s}}", "index",
                                                 first + (int)i, "id", id ? id : "", "type",
                                                 "function", "function", "name", name ? name : "",
                                                 "arguments", text.p ? text.p : "{}")) == 0;
        buf_fini(&text);
        if (good) continue;
        json_decref(out);
        if (e->code == ERR_NONE) err_nomem(e, "tool call");
        return NULL;
    }
    return out;
}

bool openai_is_last(const json_t *choices) {
    return json_array_size(choices) == 0 || field_text(json_array_get(choices, 0), "finish_reason");
}

void openai_set_served(const struct request *r, char **model) {
    const char *served = request_served(r, *model);
    char *copy = strcmp(served, *model) != 0 ? strdup(served) : NULL;
    if (!copy) return;
    free(*model);
    *model = copy;
}

void openai_tell_truncated(struct request *r, const struct gen_stats *s) {
    char line[64];
    if (s->n_truncated <= 0) return;
    snprintf(line, sizeof line, "X-Cria-Truncated: %d\r\n", s->n_truncated);
    reply_header(r, line);
}
