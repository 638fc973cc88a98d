/* The answers of gpt-oss: messages, each with a header that names its channel, and, for a call, the
 * tool it is for.
 *
 *   <|channel|>analysis<|message|>thoughts<|end|><|start|>assistant<|channel|>final<|message|>text
 *   <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>
 *
 * The prompt ends behind "<|start|>assistant", so an answer begins inside a header.  Source: the
 * model's chat template and OpenAI's description of the harmony format. */
#include <string.h>

#include "text/chat/answer_priv.h"

static const char *const ends[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>"};
enum { N_ENDS = sizeof ends / sizeof *ends, MAX_HEADER = 1024 };

static struct str view(const struct answer *a) {
    return buf_view(&a->held);
}

static const char *find(struct str s, const char *z) {
    return s.n ? memmem(s.p, s.n, z, strlen(z)) : NULL; /* s.p may be NULL */
}

/* The tool that "to=functions.name" names, or NULL. */
static json_t *callee_of(const struct answer *a, struct str header) {
    const char *at = find(header, "to=");
    if (!at || !a->tools) return NULL;
    struct str name = {at + 3, header.n - (size_t)(at + 3 - header.p)};
    if (str_starts(name, STR("functions."))) name = (struct str){name.p + 10, name.n - 10};
    size_t n = 0;
    while (n < name.n && !answer_blank(name.p[n]) && name.p[n] != '<')
        n++;
    name.n = n;
    return answer_tool(a->tools, name) ? json_stringn(name.p, name.n) : NULL;
}

/* The header is complete at `end`: the message begins. */
static void begin_message(struct answer *a, size_t end) {
    const struct str header = {a->held.p, end};
    json_decref(a->callee);
    a->callee = callee_of(a, header);
    a->channel = find(header, "analysis") && a->thinking ? ANSWER_THINKING : ANSWER_TEXT;
    a->headed = true;
    a->json = (struct json_scan){0};
    answer_consume(a, end + strlen("<|message|>"));
}

/* Is what stands here a header?  At the beginning of the answer it may be text of a model that
 * writes none. */
static int looks_like_header(struct str s) {
    const int a = answer_match(s, "<|"), b = answer_match(s, " to="),
              c = answer_match(s, "assistant");
    if (a > 0 || b > 0 || c > 0) return 1;
    return a < 0 || b < 0 || c < 0 ? -1 : 0;
}

static bool in_header(struct answer *a, bool last) {
    const struct str s = view(a);
    const int is = looks_like_header(s);
    if (is < 0 && !last) return false;
    const char *end = find(s, "<|message|>");
    if (is > 0 && end && end - s.p <= MAX_HEADER) {
        begin_message(a, (size_t)(end - s.p));
        return true;
    }
    if (is > 0 && !end && s.n <= MAX_HEADER + 11 && !last) return false;
    if (is > 0 && !end && last && s.n <= MAX_HEADER) return answer_consume(a, s.n), false;
    a->channel = ANSWER_TEXT;
    a->headed = true;
    return true;
}

/* The first of the marks that end a message, or of what may be one: its place, and in *n its
 * length, 0 when it is not complete. */
static size_t find_end(struct str s, bool last, size_t from, size_t *n) {
    *n = 0;
    for (size_t i = from; i < s.n; i++) {
        if (s.p[i] != '<') continue;
        for (int k = 0; k < N_ENDS; k++) {
            const int m = answer_match((struct str){s.p + i, s.n - i}, ends[k]);
            if (m == 0 || (m < 0 && last)) continue;
            *n = m > 0 ? strlen(ends[k]) : 0;
            return i;
        }
    }
    return s.n;
}

/* A message to a tool ends: its arguments are JSON, or it was text. */
static void end_call(struct answer *a, size_t n) {
    const struct str body = {a->held.p, n};
    json_t *calls = json_array(), *args = answer_read_json(body);
    const struct str name = {json_string_value(a->callee), json_string_length(a->callee)};
    a->n_body++;
    if (answer_add_call(a->tools, calls, name, args))
        answer_tell_calls(a, calls);
    else
        answer_tell(a, ANSWER_TEXT, body);
    json_decref(calls);
    json_decref(a->callee);
    a->callee = NULL;
    answer_consume(a, n);
}

static bool in_message(struct answer *a, bool last) {
    size_t n;
    const struct str s = view(a);
    const size_t end = find_end(s, last, a->callee ? a->scan : 0, &n);
    const bool complete = n > 0 || (last && end == s.n);
    if (a->callee && !complete && end <= ANSWER_MAX_CALL) {
        a->scan = end;
        return false;
    }
    if (a->callee && end > ANSWER_MAX_CALL) {
        json_decref(a->callee);
        a->callee = NULL;
        return true;
    }
    if (a->callee) {
        end_call(a, end);
    } else {
        answer_tell(a, a->channel, (struct str){s.p, end});
        answer_consume(a, end);
    }
    if (n == 0) return false;
    /* "<|channel|>" without an end before it begins the next header itself. */
    answer_consume(a, a->held.n >= n && answer_match(view(a), "<|channel|>") > 0 ? 0 : n);
    a->headed = false;
    return true;
}

bool answer_harmony_step(struct answer *a, bool last) {
    return a->headed ? in_message(a, last) : in_header(a, last);
}
