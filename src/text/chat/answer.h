/* From the text of an answer to its parts, while it comes: thinking, text, tool calls.
 *
 * Which marks tell them apart is known from a built-in PARSER name, or found in the template: the
 * words that it puts around tool calls and thinking.  Control tokens that are such marks must come
 * as text (answer_wants_token); all others stay hidden. */
#pragma once

#include <jansson.h>

#include "text/chat/chat.h"

enum answer_kind {
    ANSWER_TEXT,
    ANSWER_THINKING,
    ANSWER_CALL, /* {"id", "function": {"name", "arguments": object}} */
};

struct answer_piece {
    enum answer_kind kind;
    struct str text;
    json_t *call; /* borrowed */
};

/* Nonzero return ends the reading. */
typedef int answer_fn(void *ctx, const struct answer_piece *p);

struct answer_opts {
    const json_t *tools; /* calls of these are looked for; NULL: everything is text */
    bool thinking;       /* told apart; false: a thinking part is text like any other */
    bool in_thinking;    /* the prompt ended inside a thinking part (chat_prompt.in_thinking) */
    const char *parser;  /* built-in name, or NULL: from the template */
    /* A grammar will hold, and the prompt was rendered with open_thinking: a thinking part begins
     * there or not at all. */
    bool ruled;
    bool must_call; /* the grammar is that of answer_call_grammar */
};

struct answer; /* one thread at a time */

/* ERR_UNSUPPORTED: no such parser name, or tools with a template that has none. */
struct answer *answer_new(const struct chat_template *t, const struct answer_opts *o,
                          struct err *e);
void answer_free(struct answer *a);

/* A control token with this text must be shown to answer_push. */
bool answer_wants_token(const struct answer *a, struct str token_text);

/* Whole UTF-8 characters.  What might be the beginning of a mark is held back.  0; nonzero of fn.
 */
int answer_push(struct answer *a, struct str text, answer_fn *fn, void *ctx);
/* The end: what was held back; a call that is not complete or not JSON comes as text. */
int answer_finish(struct answer *a, answer_fn *fn, void *ctx);

/* The next character belongs to the answer proper, not to thinking or marks: where a grammar of the
 * client's format, or of calls that must come, starts to hold. */
bool answer_in_text(const struct answer *a);

/* Append the GBNF of an answer that is one call (or, parallel, several) of these tools, or of the
 * one named, arguments by their schemas, in the marks of this model: tool_choice required. */
int answer_call_grammar(const struct answer *a, const json_t *tools, const char *name,
                        bool parallel, struct buf *out, struct err *e);

/* ---- Strict tools: calls that the model begins by itself ---- */

/* Append the GBNF of what may stand behind the mark of a call: arguments of the tools in `strict`
 * (a list of names) by their schemas, of others any object.  1; 0: calls of this family are no
 * JSON, nothing can hold them; -1: ERR_UNSUPPORTED names the keyword, and in e->field the tool. */
int answer_strict_grammar(const struct answer *a, const json_t *tools, const json_t *strict,
                          struct buf *out, struct err *e);
/* A call is under way, to be held to that grammar: append what its acceptor has to read. */
bool answer_strict_body(const struct answer *a, struct buf *out);
/* Calls, or lists of them, that were read to their end. */
int answer_n_body(const struct answer *a);
/* Another that reads on from here by itself, in the same thread; answer_free it. */
struct answer *answer_copy(const struct answer *from, struct err *e);
