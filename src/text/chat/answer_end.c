/* Where the body of a call ends: JSON by its braces, other bodies by their closing mark.  Each goes
 * on where it stopped when more text comes. */
#include <string.h>

#include "text/chat/answer_priv.h"

int answer_json_end(struct json_scan *j, struct str s, size_t from, size_t *end) {
    if (j->at < from) j->at = from;
    for (; j->at < s.n; j->at++) {
        const char c = s.p[j->at];
        if (j->text) {
            if (j->escaped)
                j->escaped = false;
            else if (c == '\\')
                j->escaped = true;
            else if (c == '"')
                j->text = false;
            continue;
        }
        if (c == '"') j->text = true;
        if (c == '{' || c == '[') j->depth++;
        if ((c == '}' || c == ']') && --j->depth <= 0) {
            *end = ++j->at;
            return 1;
        }
    }
    return 0;
}

static size_t skip_blanks(struct str s, size_t at) {
    while (at < s.n && answer_blank(s.p[at]))
        at++;
    return at;
}

static const char *find_in(struct str s, size_t from, const char *mark) {
    return from < s.n ? memmem(s.p + from, s.n - from, mark, strlen(mark)) : NULL;
}

/* ---- A name, a separator, an object ---- */

/* Where the arguments begin, behind name and separator (and a fence).  1, 0, -1. */
static int named_args(const struct call_form *f, struct str s, size_t body, size_t *args) {
    const char *brace = find_in(s, body, "{"), *sep = f->sep ? find_in(s, body, f->sep) : NULL;
    static const char fence[] = "```json";
    if (sep && brace && brace < sep) sep = NULL; /* of the arguments' own text */
    const size_t end = sep ? (size_t)(sep - s.p) : brace ? (size_t)(brace - s.p) : s.n;
    if (end - body > ANSWER_MAX_NAME || (brace && !sep && f->sep && !f->named_json)) return -1;
    if (!sep && !brace) return 0;
    size_t at = sep ? end + strlen(f->sep) : end;
    at = skip_blanks(s, at);
    const int fenced = at < s.n ? answer_match((struct str){s.p + at, s.n - at}, fence) : -1;
    if (fenced < 0) return 0;
    if (fenced > 0) at = skip_blanks(s, at + sizeof fence - 1);
    if (at == s.n) return 0;
    *args = at;
    return s.p[at] == '{' ? 1 : -1;
}

static int named_end(struct answer *a, const struct call_form *f, struct str s, size_t *end) {
    size_t args;
    const int r = named_args(f, s, a->body, &args);
    return r == 1 ? answer_json_end(&a->json, s, args, end) : r;
}

/* ---- JSON ---- */

int answer_bare_key(struct str s, size_t at) {
    static const char *const keys[] = {"\"name\"",      "\"type\"",       "\"function\"",
                                       "\"arguments\"", "\"parameters\"", "\"id\"",
                                       "\"tool_name\""};
    bool maybe = false;
    while (at < s.n && (s.p[at] == '[' || s.p[at] == '{' || answer_blank(s.p[at])))
        at++;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const int m = answer_match((struct str){s.p + at, s.n - at}, keys[i]);
        if (m > 0) return 1;
        maybe |= m < 0;
    }
    return maybe ? 0 : -1;
}

static int json_end(struct answer *a, struct str s, size_t *end) {
    const size_t at = skip_blanks(s, a->body);
    if (at == s.n) return at - a->body > ANSWER_MAX_BLANK ? -1 : 0;
    if (s.p[at] != '{' && s.p[at] != '[')
        return a->form->named_json ? named_end(a, a->form, s, end) : -1;
    if (!*a->form->open) {
        const int known = answer_bare_key(s, at);
        if (known <= 0) return known;
    }
    return answer_json_end(&a->json, s, at, end);
}

/* ---- Bodies between marks ---- */

static int close_end(struct answer *a, struct str s, bool last, size_t *end) {
    const size_t n = strlen(a->form->close);
    const char *at = find_in(s, a->scan > a->body ? a->scan : a->body, a->form->close);
    if (at) {
        *end = (size_t)(at - s.p);
        return 1;
    }
    a->scan = s.n >= n ? s.n - n + 1 : 0;
    *end = s.n;
    return last ? 1 : 0; /* the model may have ended without it */
}

int answer_call_end(struct answer *a, bool last, size_t *end) {
    const struct str s = buf_view(&a->held);
    switch (a->form->body) {
    case BODY_JSON: return json_end(a, s, end);
    case BODY_NAMED: return named_end(a, a->form, s, end);
    case BODY_NONE: return -1;
    case BODY_XML:
    case BODY_KEYS:
    case BODY_PYTHON:
    case BODY_BRACES:
    case BODY_INVOKE: break;
    }
    return close_end(a, s, last, end);
}
