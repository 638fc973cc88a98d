/* See remote_answer.h. */
#include "server/remote_answer.h"

#include <limits.h>
#include <string.h>

#include "base/json.h"
#include "server/field.h"

enum { LINE_VALUES_MAX = 1 << 14 };

static void tell(struct remote_answer *a, struct gen_event ev) {
    ev.stats = a->stats;
    if (!a->told) a->fn(a->ctx, &(struct gen_event){.kind = GEN_PROMPT, .stats = a->stats});
    a->told = true;
    a->fn(a->ctx, &ev);
}

/* A number that it does not have, or that cannot be, leaves what was there. */
static void take_count(const json_t *usage, const char *key, int *n) {
    const json_t *v = json_object_get(usage, key);
    const json_int_t x = json_integer_value(v);
    if (json_is_integer(v) && x >= 0 && x <= INT_MAX) *n = (int)x;
}

/* A chunk, or the whole answer: "delta" or "message". */
static int take_object(struct remote_answer *a, struct str text, const char *part, struct err *e) {
    json_t *o = json_read_object("answer", text, LINE_VALUES_MAX, e);
    if (!o) return -1;
    const json_t *error = json_object_get(o, "error");
    if (error && !json_is_null(error)) {
        const char *said =
            json_is_string(error) ? json_string_value(error) : field_text(error, "message");
        err_set(e, ERR_IO, "%.200s", said ? said : "an error without a message");
        json_decref(o);
        return -1;
    }
    take_count(json_object_get(o, "usage"), "prompt_tokens", &a->stats.n_prompt);
    take_count(json_object_get(o, "usage"), "completion_tokens", &a->stats.n_eval);
    const json_t *choice = json_array_get(json_object_get(o, "choices"), 0);
    const json_t *content = json_object_get(json_object_get(choice, part), "content");
    const char *why = field_text(choice, "finish_reason");
    if (json_string_length(content))
        tell(a,
             (struct gen_event){.kind = GEN_TEXT,
                                .text = {json_string_value(content), json_string_length(content)}});
    if (why && !a->finished) {
        a->finished = true;
        tell(a, (struct gen_event){.kind = GEN_FINISH,
                                   .why = strcmp(why, "length") == 0 ? GEN_LENGTH : GEN_STOP});
    }
    json_decref(o);
    return 0;
}

static int take_line(struct remote_answer *a, struct str s, struct err *e) {
    if (s.n && s.p[s.n - 1] == '\r') s.n--;
    if (s.n < 5 || memcmp(s.p, "data:", 5) != 0) return 0;
    s.p += 5, s.n -= 5;
    if (s.n && *s.p == ' ') s.p++, s.n--;
    a->done |= str_is(s, "[DONE]");
    return a->done ? 0 : take_object(a, s, "delta", e);
}

int remote_answer_take(struct remote_answer *a, const char *p, size_t n, struct err *e) {
    while (!a->begun && n && strchr(" \t\r\n", *p) && *p)
        p++, n--;
    if (!a->begun && n) a->is_object = *p == '{';
    a->begun |= n > 0;
    while (n) {
        const char *end = a->is_object ? NULL : memchr(p, '\n', n);
        const size_t part = end ? (size_t)(end - p) : n;
        if (part > REMOTE_LINE_MAX - a->held.n)
            return err_set(e, ERR_LIMIT, "a line of more than %d bytes", REMOTE_LINE_MAX);
        buf_append(&a->held, p, part);
        if (a->held.failed) return err_nomem(e, "answer");
        p += part + (end != NULL);
        n -= part + (end != NULL);
        if (!end) break;
        if (take_line(a, buf_view(&a->held), e) != 0) return -1;
        buf_reset(&a->held);
    }
    return 0;
}

int remote_answer_end(struct remote_answer *a, struct err *e) {
    if (a->is_object && take_object(a, buf_view(&a->held), "message", e) != 0) return -1;
    return a->finished ? 0 : err_set(e, ERR_IO, "the answer broke off");
}

void remote_answer_fini(struct remote_answer *a) {
    buf_fini(&a->held);
}
