/* From a conversation to a prompt.  A template renders messages into text that remembers where it
 * came from: what the template itself wrote may hold control tokens, what users wrote may not, so
 * that nobody forges "<|im_start|>system" by typing it.
 *
 *   chat_template_new(template text of the file) -> chat_render(messages) -> chat_encode -> ids
 *
 * Three renderers stand behind this: the Go interpreter for TEMPLATEs of Modelfiles, builtin.c for
 * plain conversations with the families that it knows, the Jinja interpreter for all else. */
#pragma once

#include <jansson.h>

#include "text/vocab.h"

struct chat_message {
    struct str role; /* "system", "user", "assistant" */
    struct str content;
};

enum chat_thinking { CHAT_THINK_DEFAULT, CHAT_THINK_ON, CHAT_THINK_OFF };

/* All is borrowed; zero values: not given. */
struct chat_input {
    const struct chat_message *message; /* [n]: a conversation of plain texts, or: */
    int n;
    const json_t *messages;     /* as "messages" of engine/gen.h */
    const json_t *tools;        /* as "tools" there; null or an empty list: none */
    const json_t *documents;    /* [{"title", "text"}] */
    const json_t *vars;         /* {name: value}: further variables, which the template must know */
    struct str prompt, suffix;  /* both: a text with a gap instead of a conversation */
    bool add_generation_prompt; /* end where the assistant's answer begins */
    bool goes_on;               /* end inside the last message, the assistant's, after its text */
    bool open_thinking;         /* with thinking: end inside a thinking part, opened if need be */
    struct str bos, eos;        /* texts of these tokens; empty: the model has none */
    struct str date;            /* the template variable date_string; empty: not set */
    int64_t now_s;              /* local time as seconds since 1970; 0: the clock */
    enum chat_thinking thinking;
    struct str think_level; /* "low" "medium" "high" "max"; empty: none.  thinking is ON then */
};

/* A rendered prompt.  All-zero is empty. */
struct chat_prompt {
    struct buf text;        /* owned */
    struct tok_span *trust; /* [n_trust], owned: what the template wrote, ascending, disjoint */
    size_t n_trust, cap_trust;
    bool in_thinking; /* it ends inside a thinking part: the answer begins with thoughts */
    bool failed;      /* memory ran out */
};

void chat_prompt_fini(struct chat_prompt *p);

/* For renderers: append what the template says, or what somebody else said. */
void chat_say(struct chat_prompt *p, struct str text);
void chat_quote(struct chat_prompt *p, struct str text);
/* Forget all behind the first n bytes. */
void chat_prompt_cut(struct chat_prompt *p, size_t n);

struct chat_template; /* immutable: use from any thread */

/* The renderer for a template text (tokenizer.chat_template, or a Modelfile's TEMPLATE); borrows
 * nothing.  ERR_UNSUPPORTED for an empty or unknown one; the message says what to do instead. */
struct chat_template *chat_template_new(struct str source, struct err *e);
/* The template that a Modelfile's RENDERER names, for a file with this template of its own (may be
 * empty).  ERR_UNSUPPORTED lists the names that are known. */
struct chat_template *chat_template_named(const char *renderer, struct str file, struct err *e);
/* For models without any: the system's text and the prompt, nothing around them, as Ollama has it.
 */
struct chat_template *chat_template_plain(struct err *e);
void chat_template_free(struct chat_template *t);
const char *chat_template_name(const struct chat_template *t); /* "llama3", "chatml", "jinja" */

/* What a conversation with this template may ask for. */
struct chat_caps {
    bool tools, thinking;
    bool insert; /* prompt and suffix */
};
struct chat_caps chat_template_caps(const struct chat_template *t);
/* The same by the words of a text that nobody has read as a template: for lists of models. */
struct chat_caps chat_source_caps(struct str source);

/* The marks of its answers (answer.h); lives as long as the template. */
struct answer_style;
const struct answer_style *chat_template_style(const struct chat_template *t);

/* Render into an empty prompt.  ERR_UNSUPPORTED for a conversation that the template refuses (a
 * system message where it has none, roles that do not alternate) and for what it cannot do (tools,
 * thinking, documents, a suffix, an unknown variable or role); ERR_USAGE names what is wrong in
 * messages. */
int chat_render(const struct chat_template *t, const struct chat_input *in, struct chat_prompt *out,
                struct err *e);

/* Append the prompt's tokens: BOS first when the model wants one and the template wrote none; no
 * EOS.  Control tokens come from trusted text only. */
int chat_encode(const struct vocab *v, const struct chat_prompt *p, struct ids *out, struct err *e);
