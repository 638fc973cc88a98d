/* The one door to generation: requests in, events out.  Two implementations behind the same
 * functions, for which the same tests hold (tests/test_gen.c):
 *
 *   gen_local.c   in this process: `cria run`
 *   gen_child.c   in a child process that owns nothing but its model: `cria serve`
 *
 * Data flow: request (JSON) -> prompt.c (template, tools, tokens) -> scheduler.c (all sequences of
 * a model in one batch) -> answer.c (thinking, text, tool calls) -> events.
 *
 * A request is a JSON object.  Unknown keys, wrong types and values out of range end it with
 * ERR_USAGE naming the key; null is as if absent.
 *
 *   "op"        "chat" "text" "embed" "rerank" "tokenize" "detokenize" "render"
 *
 * chat, render:
 *   "messages"  [{"role": "system" "user" "assistant" "tool", "content": text or absent,
 *                 "thinking": text, "tool_calls": [{"id", "function": {"name", "arguments":
 *                 object}}], "tool_name", "tool_call_id", "images": [base64]}];
 *               images: ERR_UNSUPPORTED with a text-only model
 *   "tools"     [{"type": "function",
 *                 "function": {"name", "description", "parameters": schema}}]
 *   "tool_choice"
 *               "auto" (default), "none", "required", or {"name": one of the tools}
 *   "parallel_tool_calls"
 *               false: at most one call
 *   "think"     absent: the model's own way; true, false, "low" "medium" "high" "max"
 *   "documents" [{"title", "text"}], for templates that know them
 *   "template_vars"
 *               {name: value}, for templates that know them
 *   "continue"  true: go on with the last message, which is the assistant's
 *
 * text:
 *   "prompt"    text
 *   "suffix"    what follows the gap, for models that fill in
 *   "system"    text
 *   "tokens"    [id] instead of the prompt, or before it (Ollama's "context")
 *   "raw"       true: no template
 *   "echo"      true: the prompt's text is the answer's beginning
 *   "think", "images"
 *               as in chat
 *
 * chat, text:
 *   "options"   run_options.h, by their names; unknown ones are left out with a warning in the
 *               log.  num_ctx: at most the opened model's; a smaller one holds for this request
 *   "format"    "json", a JSON schema (object), {"gbnf": text}, {"regex": text}
 *   "n"         choices, 1 to 128: they share the prompt; their seeds are seed, seed + 1...
 *   "logprobs"  true: of each token
 *   "top_logprobs"
 *               0 to 20 alternatives with it
 *   "truncate"  false: a prompt that does not fit is ERR_LIMIT with the numbers; default true:
 *               the oldest messages go, the system message and the last stay
 *   "shift"     as the option
 *   "template"  Go or Jinja text instead of the model's
 *   "user"      text; requests of one user share the turns of the scheduler fairly with others
 *   "priority"  "low", "normal" (default) or "high": of 21 sequences that begin while all three
 * wait 1 is low, 4 are normal, 16 high "tenant"    text; the prefix cache is shared within one
 * tenant only "adapter"   text: the name of an adapter given at opening (its path, or its file's
 * name) or added since; empty: none; absent: the first given at opening, if any
 *
 * embed:
 *   "input"     [text or [id]]
 *   "truncate"  as above (the end goes)
 *   "dimensions"
 *               the first of them
 *   "normalize" false: rows as the model gives them
 *
 * rerank:
 *   "query"     text
 *   "documents" [text]
 *
 * tokenize:
 *   "text"      text
 *   "special"   true: control tokens are recognized (default false)
 *   "bos"       false: without the begin token (default true)
 *   "pieces"    true: texts, too
 *
 * detokenize:
 *   "tokens"    [id] */
#pragma once

#include <jansson.h>

#include "engine/engine.h"

struct gen;      /* an opened model; any number of threads */
struct gen_task; /* a request under way */

/* ---- events ---- */

enum gen_kind {
    GEN_PROMPT,   /* once, before the first text: the prompt has been read; `stats` */
    GEN_THINKING, /* text */
    GEN_TEXT,     /* text */
    GEN_CALL,     /* a whole tool call: data {"id", "function": {"name", "arguments": object}} */
    GEN_FINISH,   /* a choice is complete: `why`, `stop`, stats of that choice */
    GEN_VECTOR,   /* embed: choice is the input's index, vector [n_vector]; stats.n_prompt is that
                   * input's tokens */
    GEN_RESULT,   /* data of the other operations:
                   *   rerank {"results": [{"index", "score"}]} best first
                   *   tokenize {"tokens": [id], "pieces": [text or [byte]]}
                   *   detokenize {"text"}
                   *   render {"prompt", "n_tokens"} */
    GEN_END,      /* the last of every task, after which it is gone: err.code ERR_NONE, or why it
                   * failed; stats of all choices together */
};

enum gen_why { GEN_STOP, GEN_LENGTH, GEN_CALLS, GEN_CANCELLED };

struct gen_stats {
    int n_prompt, n_cached; /* tokens of the prompt; how many of them were in a cache */
    int n_eval;             /* tokens generated */
    int n_truncated;        /* tokens of the prompt, or of an input, that were left out */
    int n_shift;            /* context shifts */
    int n_drafted, n_accepted;
    int64_t queue_ns, prompt_ns, eval_ns;
};

struct gen_event {
    enum gen_kind kind;
    int choice;
    struct str text; /* whole UTF-8 characters */
    /* Borrowed for the call.  With GEN_TEXT and GEN_THINKING the tokens that the text is made of,
     * when "logprobs" was asked for: [{"token", "logprob", "bytes", "top_logprobs": [...]}]. */
    const json_t *data;
    const int32_t *token; /* [n_token] ids behind the text, or NULL */
    int n_token;
    const float *vector;
    int n_vector;
    enum gen_why why;
    struct str stop; /* the stop text that ended it; empty: the model's own end */
    struct gen_stats stats;
    struct err err;
};

/* Called on a thread of the implementation, one event of a task at a time, in order.  Must not
 * block, nor open or close a gen; may start, cancel, pause and resume, and take locks under which
 * others do that.  After GEN_END the task is gone. */
typedef void gen_event_fn(void *ctx, const struct gen_event *ev);

/* ---- opening ---- */

/* Zero is the default everywhere. */
struct gen_opts {
    /* n_parallel: sequences at once, 0: 4; they cost nothing until used.  n_ctx: at most the
     * model's training context. */
    struct engine_opts engine;
    const char *draft;             /* path of a draft model, or NULL */
    const char *renderer, *parser; /* built-in names (Modelfile RENDERER, PARSER), or NULL */
    /* What it may use in all, bytes; 0: no limit.  A context that `engine` leaves open is made
     * smaller to fit (not below 2048 or the model's training context); what does not fit then is
     * ERR_LIMIT with the numbers. */
    uint64_t max_bytes;
    /* Called where the events are called, when those of a step, or of whatever made some, have all
     * been told: who passes them on collects them until then.  NULL: nothing. */
    void (*told)(void *ctx);
    void *told_ctx;
};

/* What a child takes beside the model's file before it knows what else the model needs: the program
 * and its libraries, resident.  12.7 MiB were seen. */
enum { GEN_PROGRAM_BYTES = 13 << 20 };

/* What is known of an opened model; lives as long as the gen. */
struct gen_info {
    const char *arch;
    int n_ctx, n_ctx_train, n_parallel, n_embd, n_vocab;
    bool embedding; /* it embeds only */
    bool tools, thinking, insert, vision;
    bool ctx_reduced;      /* the context was made smaller to fit max_bytes */
    uint64_t n_bytes;      /* what it may come to use: weights, cache, compute (memory.h) */
    uint64_t weight_bytes; /* of them */
    int64_t load_ns;
};

/* Blocks until the model is ready, or *stop (may be NULL) becomes nonzero. */
struct gen *gen_open_local(const char *path, const struct gen_opts *o, struct err *e);
struct gen *gen_open_child(const char *path, const struct gen_opts *o, const volatile int *stop,
                           struct err *e);
/* Cancels what runs and waits until the last GEN_END has been delivered.  Accepts NULL. */
void gen_close(struct gen *g);

const struct gen_info *gen_info(const struct gen *g);
/* False once the child is gone: every task has ended with ERR_IO, gen_start fails. */
bool gen_alive(const struct gen *g);

/* An adapter for a model that is open: requests may name it from now on, those that run go on
 * meanwhile.  It stays until the gen is closed.  Blocks until it is there, some milliseconds; not
 * from gen_event_fn.  scale multiplies its own.  Errors: of its file; ERR_LIMIT: of a higher rank
 * than GEN_ADAPTER_RANK, or too many; ERR_USAGE: a name that is not free. */
enum { GEN_ADAPTER_RANK = 64 };
int gen_add_adapter(struct gen *g, const char *name, const char *path, float scale, struct err *e);

struct gen_load {
    int n_running, n_waiting; /* sequences in the batch; tasks before their first step */
    uint64_t kv_bytes;        /* of the cache, in use */
    uint64_t rss_bytes;       /* of the process that runs it */
};
struct gen_load gen_load(const struct gen *g);

/* ---- requests ---- */

/* Starts and returns at once; the request is read, not kept.  fn is called from now on, maybe
 * before this returns, and for every started task GEN_END comes.  What is wrong with the request is
 * told there, too; -1 (nothing comes) only for ERR_NOMEM and a gen that is not alive.  *out (may be
 * NULL) is valid until GEN_END has been delivered. */
int gen_start(struct gen *g, const json_t *request, gen_event_fn *fn, void *ctx,
              struct gen_task **out, struct err *e);
/* Any thread, not after GEN_END was delivered: its sequences leave within a step or a prefill
 * chunk; GEN_FINISH and GEN_END with GEN_CANCELLED and ERR_CANCELLED come. */
void gen_cancel(struct gen_task *t);
/* A reader is slow: no more tokens are made for this task until it is resumed.  What is under way
 * still comes, a few events. */
void gen_pause(struct gen_task *t);
void gen_resume(struct gen_task *t);
