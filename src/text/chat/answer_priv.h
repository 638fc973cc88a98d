/* Inside the reading of answers.
 *
 *   answer.c  marks -> parts: START -> THINK -> TEXT <-> CALL -> AFTER
 *   answer_end.c   where the body of a call ends
 *   answer_body.c, answer_words.c, answer_literal.c   from a body to names and arguments
 *   answer_grammar.c, answer_strict.c   what calls may be, as grammars
 *   answer_harmony.c   the channels of gpt-oss instead of answer.c's marks */
#pragma once

#include "base/buf.h"
#include "text/chat/answer.h"
#include "text/chat/answer_style.h"

enum {
    ANSWER_MAX_CALL = 1 << 20, /* bytes from mark to mark; longer is text */
    ANSWER_MAX_FAILED = 32,    /* calls that were none, after which nobody looks for more */
    ANSWER_MAX_NAME = 256,
    ANSWER_MAX_DEPTH = 32,       /* of lists and objects in arguments that are no JSON */
    ANSWER_MAX_BLANK = 64 << 10, /* bytes of white space that are held back */
};

enum answer_state {
    AT_START, /* nothing yet but white space */
    AT_THINK,
    AT_TEXT,
    AT_CALL,  /* held begins with white space, the mark and, at `body`, the call */
    AT_AFTER, /* behind a call: what separates it from the next one */
};

/* Braces and brackets of JSON that comes bit by bit. */
struct json_scan {
    size_t at; /* read so far */
    int depth;
    bool text, escaped;
};

struct answer {
    struct answer_style style;
    json_t *tools; /* owned; NULL: none */
    bool thinking; /* told apart */
    bool ruled, must_call;
    enum answer_state state;
    struct buf held; /* not told yet */
    size_t n_given;  /* of held: not the model's, but the end of the prompt (style.starts) */
    size_t scan;     /* of held: has no mark */
    const struct call_form *form;
    size_t body;
    struct json_scan json;
    char last; /* the last byte that was told or consumed; '\n' at the start */
    bool drop_blank;
    int n_failed, n_call, n_body; /* n_body: of calls that were read to their end */
    uint64_t seed;                /* of the ids of calls */
    /* harmony */
    bool in_header, headed;
    enum answer_kind channel;
    json_t *callee; /* name of the tool that this message calls, or NULL */
    /* the reader, during a push */
    answer_fn *fn;
    void *ctx;
    int rc;
};

static inline bool answer_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Tell the reader; sets a->rc. */
void answer_tell(struct answer *a, enum answer_kind kind, struct str text);
/* calls: [{"name", "arguments", "id"?}] */
void answer_tell_calls(struct answer *a, const json_t *calls);
/* The first n bytes of held are done with. */
void answer_consume(struct answer *a, size_t n);

/* Does s begin with the mark?  0: no, 1: yes, -1: it may, s is too short. */
int answer_match(struct str s, const char *mark);

/* ---- Bodies ---- */

/* Goes on reading JSON that begins at from: 1 when *end is behind it, 0 when it is not complete. */
int answer_json_end(struct json_scan *j, struct str s, size_t from, size_t *end);
/* Where the call under way ends: 1 and *end; 0: not yet; -1: it is none. */
int answer_call_end(struct answer *a, bool last, size_t *end);

/* [{"name", "arguments"}] of a body (without its marks), all of them tools; NULL: it is no call. */
json_t *answer_parse(const struct answer *a, const struct call_form *f, struct str body);
/* Fill out (an array) from bodies that are no JSON; false: none. */
bool answer_parse_words(const struct answer *a, const struct call_form *f, struct str body,
                        json_t *out);
/* One JSON value with nothing behind it, bounded; NULL: it is none. */
json_t *answer_read_json(struct str s);
/* A value as Python or a template would write it, at *s, which moves; quote: a mark around texts
 * besides ' and ", or NULL.  NULL: there is none. */
json_t *answer_literal(struct str *s, const char *quote, int depth);

/* The function {"name", "parameters"} of this name, or NULL. */
const json_t *answer_tool(const json_t *tools, struct str name);
/* Append {"name", "arguments"}; false when there is no such tool, or args, taken, are none. */
bool answer_add_call(const json_t *tools, json_t *out, struct str name, json_t *args);

/* ---- Grammars ---- */

/* Append a GBNF literal: of a text, of a text as JSON has it. */
void answer_gbnf_text(struct buf *b, struct str s);
void answer_gbnf_json(struct buf *b, const json_t *text);
/* The schema of a tool's arguments: an object, with no keys besides those it names unless it says
 * that there are others.  Owned by the caller. */
json_t *answer_args_schema(const json_t *tool);
/* Does the object at `at` begin with the key of a call without marks?  1; 0: not known yet; -1. */
int answer_bare_key(struct str s, size_t at);

/* ---- Harmony ---- */

bool answer_harmony_step(struct answer *a, bool last);
