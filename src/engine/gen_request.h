/* A request of gen.h as a struct: read, checked key by key, and completed with the defaults.  What
 * needs the model (ids, templates, tools it knows) is checked where it is used. */
#pragma once

#include "engine/gen.h"
#include "engine/run_options.h"

enum gen_op {
    GEN_OP_CHAT,
    GEN_OP_TEXT,
    GEN_OP_EMBED,
    GEN_OP_RERANK,
    GEN_OP_TOKENIZE,
    GEN_OP_DETOKENIZE,
    GEN_OP_RENDER,
};

enum gen_choice { GEN_CHOICE_AUTO, GEN_CHOICE_NONE, GEN_CHOICE_REQUIRED, GEN_CHOICE_NAMED };

enum gen_think {
    GEN_THINK_DEFAULT,
    GEN_THINK_OFF,
    GEN_THINK_ON,
    GEN_THINK_LOW,
    GEN_THINK_MEDIUM,
    GEN_THINK_HIGH,
    GEN_THINK_MAX,
};

enum { GEN_MAX_CHOICES = 128, GEN_MAX_TOP_LOGPROBS = 20 };

struct gen_request {
    enum gen_op op;
    json_t *json; /* owned: a copy of the request; all JSON and text below is borrowed from it */

    const json_t *messages, *tools, *documents, *vars; /* or NULL; checked */
    const json_t *strict; /* names of tools whose arguments follow their schemas, or NULL */
    enum gen_choice tool_choice;
    struct str tool_name; /* of GEN_CHOICE_NAMED */
    enum gen_think think;
    const json_t *images; /* of "text", or NULL */
    bool one_call;        /* not parallel_tool_calls */
    bool go_on;           /* continue */

    struct str prompt, suffix, system; /* p NULL: absent */
    int32_t *token;                    /* [n_token], owned */
    int n_token;
    bool raw, echo;

    struct run_options options;
    const json_t *format; /* or NULL */
    int n, top_logprobs;  /* n: at least 1 */
    bool logprobs, no_truncate;
    struct str template;              /* p NULL: the model's */
    struct str user, tenant, adapter; /* p NULL: absent */
    int priority;                     /* -1 low, 0 normal, 1 high */

    const json_t *input; /* embed: list of texts and lists of ids */
    int dimensions;      /* 0: all */
    bool unscaled;       /* not normalize */
    struct str query;    /* rerank; its documents are a list of texts */

    struct str text; /* tokenize */
    bool special, no_bos, pieces;
};

/* ERR_USAGE, ERR_NOMEM; q may be given to gen_request_fini either way. */
int gen_request_read(struct gen_request *q, const json_t *j, struct err *e);
/* The prompt has been made: what only that needed is given back now, by whoever has the time. */
void gen_request_forget_talk(struct gen_request *q);
void gen_request_fini(struct gen_request *q);
