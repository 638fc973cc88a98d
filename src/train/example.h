/* An example to learn from: one line of a JSONL file, whatever its format, as a conversation.
 *
 *   {"messages": [...], "tools": [...]}          {"text": ...}
 *   {"prompt", "completion"}                     texts, or lists of messages
 *   {"instruction", "output" or "response"}      with "input": behind the instruction
 *   {"input", "output"}
 *   {"prompt", "chosen", "rejected"}             texts or lists; without "prompt" when both lists
 *                                                begin with the same messages
 *
 * and beside these "system" (text), "id" (text or number), "tools".  Other keys are ignored.
 * Messages may be as OpenAI's and Hugging Face's data has them: contents in parts of text,
 * arguments of calls as JSON text, "name" of a tool, "reasoning_content", "weight": 0 for an answer
 * that is not to be learned.  What comes out is of the form that engine/gen.h has. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

enum example_format {
    EXAMPLE_MESSAGES,
    EXAMPLE_COMPLETION,
    EXAMPLE_INSTRUCTION,
    EXAMPLE_IO, /* input and output */
    EXAMPLE_TEXT,
    EXAMPLE_PREFERENCE, /* chosen and rejected */
    EXAMPLE_N_FORMAT,
};
const char *example_format_name(enum example_format f); /* "messages", "prompt/completion"... */

/* Why a line does not become an example, or not a whole one. */
enum example_fault {
    EXAMPLE_FINE,
    /* errors */
    EXAMPLE_BROKEN,   /* no JSON object */
    EXAMPLE_NOT_UTF8, /* wrong UTF-8, or a NUL */
    EXAMPLE_HUGE,     /* the line is longer than LINES_MAX_BYTES, or has too many values */
    EXAMPLE_UNKNOWN,  /* keys of no format; preferences among examples of other kinds */
    EXAMPLE_WRONG,    /* a value of the wrong type, a role that there is not */
    EXAMPLE_REFUSED,  /* by the model's chat template */
    /* left out */
    EXAMPLE_EMPTY,        /* nothing in it to learn: no answer, or empty ones */
    EXAMPLE_SHORT,        /* one token */
    EXAMPLE_MASKED,       /* no token to learn is left */
    EXAMPLE_LONG,         /* more than max_tokens */
    EXAMPLE_DUPLICATE,    /* of an earlier one */
    EXAMPLE_DUPLICATE_ID, /* another example had the same id */
    /* taken, but not as it is */
    EXAMPLE_CUT,       /* at the end: it was longer than max_tokens */
    EXAMPLE_LAST_ONLY, /* the template changes earlier answers as a conversation goes on: only those
                        * that stay as they were said are learned, the last at least */
    EXAMPLE_N_FAULT,
};
const char *example_fault_name(enum example_fault f); /* a few words: "broken JSON" */
static inline bool example_fault_is_error(enum example_fault f) {
    return f >= EXAMPLE_BROKEN && f <= EXAMPLE_REFUSED;
}
static inline bool example_fault_is_note(enum example_fault f) {
    return f >= EXAMPLE_CUT;
}

struct example {
    enum example_format format;
    json_t *messages; /* owned; the conversation, or what comes before chosen and rejected; a
                       * system message first, if any.  NULL: a text */
    bool *learned; /* [messages], owned: answers that are to be learned; none of a preference's */
    json_t *tools; /* owned, or NULL */
    json_t *chosen, *rejected; /* owned, or NULL: messages that follow, of a preference */
    json_t *text;              /* owned, or NULL: a string */
    json_t *id;                /* owned, or NULL */
};

/* Read a line into *x (which example_fini frees, also after a failure).  system: put first where
 * the example has none; may be empty.  EXAMPLE_FINE; or an error, EXAMPLE_EMPTY or EXAMPLE_MASKED,
 * with *e saying what was found and what is accepted, and *column (1, 2... in characters) where the
 * place is known, else 0.  Out of memory, given up (work_stopped): EXAMPLE_BROKEN with the code of
 * that. */
enum example_fault example_read(struct str line, struct str system, struct example *x, int *column,
                                struct err *e);
void example_fini(struct example *x);

/* One hash of all that makes two examples the same, and one of what it asks: the messages up to the
 * first answer to a user, without the system's and without blanks around them; of a text, the text.
 */
uint64_t example_hash(const struct example *x);
uint64_t example_prompt_hash(const struct example *x);

/* The same as one object, always in the same form: {"messages", "tools"}, {"text"} or {"prompt",
 * "chosen", "rejected"} with lists, and "id".  NULL: memory is out. */
json_t *example_json(const struct example *x);
