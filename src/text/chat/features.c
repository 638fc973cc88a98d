/* See features.h.  Words of Jinja are looked for in {{ }} and {% %} only; a template's own text
 * may say "thinking", too. */
#include "text/chat/features.h"

#include <string.h>

/* ---- Jinja ---- */

/* A place in the code of a template. */
struct word {
    struct str text;
    bool field;  /* a dot stands before it */
    bool quoted; /* a whole literal */
};

struct scan {
    struct str s;
    size_t at;
    bool code;
};

static bool is_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t skip_comment(struct str s, size_t at) {
    const char *end = memmem(s.p + at, s.n - at, "#}", 2);
    return end ? (size_t)(end - s.p) + 2 : s.n;
}

static size_t literal_end(struct str s, size_t at) {
    const char q = s.p[at++];
    while (at < s.n && s.p[at] != q)
        at += s.p[at] == '\\' ? 2 : 1;
    return at < s.n ? at : s.n;
}

/* From text to code and back; true when the scan moved. */
static bool cross(struct scan *x) {
    const char c = x->s.p[x->at], d = x->at + 1 < x->s.n ? x->s.p[x->at + 1] : 0;
    if (!x->code && c == '{' && d == '#') {
        x->at = skip_comment(x->s, x->at);
        return true;
    }
    if (!x->code && c == '{' && (d == '{' || d == '%'))
        x->code = true;
    else if (x->code && (c == '}' || c == '%') && d == '}')
        x->code = false;
    else
        return false;
    x->at += 2;
    return true;
}

/* The next word or literal of the code. */
static bool next_word(struct scan *x, struct word *w) {
    while (x->at < x->s.n) {
        const char c = x->s.p[x->at];
        if (cross(x)) continue;
        if (x->code && (c == '"' || c == '\'')) {
            const size_t end = literal_end(x->s, x->at);
            *w =
                (struct word){{x->s.p + x->at + 1, end > x->at ? end - x->at - 1 : 0}, false, true};
            x->at = end + 1;
            return true;
        }
        if (!x->code || !is_word_byte(c)) {
            x->at++;
            continue;
        }
        const size_t from = x->at;
        while (x->at < x->s.n && is_word_byte(x->s.p[x->at]))
            x->at++;
        *w = (struct word){
            {x->s.p + from, x->at - from}, from > 0 && x->s.p[from - 1] == '.', false};
        return true;
    }
    return false;
}

bool jinja_reads_variable(struct str source, const char *name) {
    struct scan x = {.s = source};
    struct word w;
    while (next_word(&x, &w))
        if (!w.field && !w.quoted && str_is(w.text, name)) return true;
    return false;
}

bool jinja_reads_field(struct str source, const char *name) {
    struct scan x = {.s = source};
    struct word w;
    while (next_word(&x, &w))
        if ((w.field || w.quoted) && str_is(w.text, name)) return true;
    return false;
}

static bool has(struct str s, const char *z) {
    return s.n && memmem(s.p, s.n, z, strlen(z)) != NULL; /* s.p may be NULL */
}

struct chat_features jinja_features(struct str s) {
    struct chat_features f = {
        .tools = jinja_reads_variable(s, "tools"),
        .calls = jinja_reads_field(s, "tool_calls"),
        .documents = jinja_reads_variable(s, "documents"),
        .enable_thinking = jinja_reads_variable(s, "enable_thinking"),
        .thinking_var = jinja_reads_variable(s, "thinking"),
        .effort = jinja_reads_variable(s, "reasoning_effort"),
        .key_reasoning_content = jinja_reads_field(s, "reasoning_content"),
        .key_thinking = jinja_reads_field(s, "thinking"),
        .key_reasoning = jinja_reads_field(s, "reasoning"),
        .short_ids = has(s, "length != 9") || has(s, "length == 9"),
        .one_of_both = has(s, "Cannot pass both content and thinking"),
    };
    f.thinking_chunk = f.key_thinking && has(s, "'type'] == 'thinking'");
    f.thinking_field = f.key_reasoning_content || f.key_thinking || f.key_reasoning;
    return f;
}

/* ---- Go ---- */

/* .Name stands in an action; the reference matches names of fields exactly. */
static bool go_reads(struct str s, const char *field) {
    const size_t n = strlen(field);
    for (const char *at; s.n && (at = memmem(s.p, s.n, field, n));) {
        const char *end = s.p + s.n;
        if (at + n == end || !is_word_byte(at[n])) return true;
        s = (struct str){at + n, (size_t)(end - at) - n};
    }
    return false;
}

struct chat_features go_features(struct str s) {
    return (struct chat_features){
        .tools = go_reads(s, ".Tools"),
        .calls = go_reads(s, ".ToolCalls"),
        .prefix_gap = go_reads(s, ".Suffix"),
        .enable_thinking = go_reads(s, ".Think") || go_reads(s, ".IsThinkSet"),
        .effort = go_reads(s, ".ThinkLevel"),
        .thinking_field = go_reads(s, ".Thinking"),
        .key_thinking = go_reads(s, ".Thinking"),
    };
}
