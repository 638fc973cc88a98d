/* What the routes of the OpenAI dialect share (chat completions, completions, embeddings,
 * responses), and in parts the Anthropic one.
 *
 * Data flow: body -> field.h (known, typed) -> openai_messages, openai_tools, openai_options ->
 * a request of engine/gen.h -> ask.h -> events -> gather.h -> replies and chunks. */
#pragma once

#include "server/api.h"
#include "server/ask.h"
#include "server/gather.h"
#include "server/request.h"

enum {
    OPENAI_ID = 64,
    OPENAI_TOOL_NAME = 160, /* of a tool, with its namespace; what is longer is refused */
    OPENAI_MAX_CHOICES = GATHER_MAX_CHOICES
};

/* ---- ids, errors, usage (openai_reply.c) ---- */

/* PREFIX and 32 hex digits that nobody can guess. */
void openai_id(const char *prefix, char out[OPENAI_ID]);
/* {"prompt_tokens", ...} with the cached and the thinking tokens. */
json_t *openai_usage(const struct gather *g);
/* "stop", "length", "tool_calls" */
const char *openai_finish_reason(const struct gather_choice *c);
/* [{"id", "type", "function": {"name", "arguments": TEXT}}] of gen's calls, indexes from first. */
json_t *openai_calls(const json_t *calls, int first, struct err *e);
/* A chunk with these choices is the last of one, or of all. */
bool openai_is_last(const json_t *choices);
/* *model, owned, becomes the one that answers, when that is another. */
void openai_set_served(const struct request *r, char **model);
/* A header for the client when its prompt was cut (asked for with "truncate"). */
void openai_tell_truncated(struct request *r, const struct gen_stats *s);

/* ---- requests (openai_request.c) ---- */

/* Fields that the generating routes share, for their tables. */
#define OPENAI_SAMPLING_FIELDS                                                                     \
    {.name = "temperature", .types = FIELD_NUMBER, .max = 2},                                      \
        {.name = "top_p", .types = FIELD_NUMBER, .max = 1},                                        \
        {.name = "frequency_penalty", .types = FIELD_NUMBER, .min = -2, .max = 2},                 \
        {.name = "presence_penalty", .types = FIELD_NUMBER, .min = -2, .max = 2},                  \
        {.name = "seed", .types = FIELD_INT}, {.name = "stop", .types = FIELD_TEXT | FIELD_ARRAY}, \
        {.name = "logit_bias", .types = FIELD_OBJECT}, {                                           \
        .name = "n", .types = FIELD_INT, .min = 1, .max = OPENAI_MAX_CHOICES                       \
    }
/* Ours. */
#define OPENAI_EXTENSION_FIELDS                                                                    \
    API_CACHE, {.name = "num_ctx", .types = FIELD_INT, .min = 4, .max = 1 << 24},                  \
        {.name = "keep_alive", .types = FIELD_TEXT | FIELD_NUMBER},                                \
        {.name = "options", .types = FIELD_OBJECT},                                                \
        {.name = "top_k", .types = FIELD_INT, .min = -1, .max = 1e9},                              \
        {.name = "min_p", .types = FIELD_NUMBER, .max = 1},                                        \
        {.name = "repeat_penalty", .types = FIELD_NUMBER, .min = 1e-6, .max = 100}, API_FALLBACK,  \
        API_PII, {.name = "ignore_eos", .types = FIELD_BOOL}, {                                    \
        .name = "truncate", .types = FIELD_BOOL                                                    \
    }
/* Who asks and for what: taken, see docs/API.md for what they mean here. */
#define OPENAI_ACCOUNT_FIELDS                                                                      \
    {.name = "user", .types = FIELD_TEXT}, {.name = "safety_identifier", .types = FIELD_TEXT},     \
        {.name = "prompt_cache_key", .types = FIELD_TEXT},                                         \
        {.name = "prompt_cache_retention",                                                         \
         .types = FIELD_TEXT,                                                                      \
         .one_of = "in-memory in_memory 24h"},                                                     \
        {.name = "metadata", .types = FIELD_OBJECT}, {.name = "store", .types = FIELD_BOOL}, {     \
        .name = "service_tier", .types = FIELD_TEXT, .one_of = "auto default flex scale priority"  \
    }

/* Sampling fields and extensions of body become gen's "options"; "truncate" and "user", too.
 * max_key: the field that limits the answer's tokens. */
int openai_options(const struct request *r, const json_t *body, const char *max_key, json_t *gen,
                   struct fault *f);
/* Add a tool in gen's form to list (borrowed parts): name, description or NULL, schema or NULL;
 * strict: its calls are held to the schema. */
int openai_add_tool(json_t *list, const char *where, const char *name, const char *description,
                    const json_t *schema, bool strict, struct fault *f);
/* How a function of a namespace (responses) is named to the model, "SPACE.NAME"; space may be NULL:
 * NAME. */
void openai_join_name(char out[OPENAI_TOOL_NAME], const char *space, const char *name);
/* The namespace of a name that a model called, borrowed from the request's tools, *rest being the
 * name in it; NULL: it is in none. */
const char *openai_split_name(const json_t *tools, const char *name, const char **rest);
/* "tools" and "tool_choice" of gen.  flat: a tool has its parts beside its type (responses). */
int openai_tools(const json_t *body, bool flat, json_t *gen, struct fault *f);
/* format, an object {"type": ...} of a request, becomes gen's "format".  flat: the schema's parts
 * are beside the type. */
int openai_format(json_t *format, const char *where, bool flat, json_t *gen, struct fault *f);
/* "none" ... "xhigh" become gen's "think"; NULL: nothing. */
int openai_effort(const char *effort, const char *param, json_t *gen, struct fault *f);
/* The value of key leaves gen; NULL: it has none. */
json_t *openai_take(json_t *gen, const char *key);
/* "chat_template_kwargs": enable_thinking and the template's own. */
int openai_template_vars(const json_t *vars, json_t *gen);

/* ---- messages (openai_messages.c) ---- */

/* The messages of chat completions, in gen's form. */
int openai_messages(json_t *messages, json_t *gen, struct fault *f);
/* The payload of "data:image/...;base64,...": ERR_USAGE for other addresses. */
int openai_image(const char *url, const char *param, json_t *images, struct fault *f);
/* "{...}" as an object; "" is an empty one. */
json_t *openai_arguments(const char *text, const char *param, struct fault *f);
/* Add a part to a text, on a line of its own. */
int openai_say(struct buf *text, const char *part, struct fault *f);
/* The name of the tool whose call has this id, of gen's messages so far; NULL: none. */
const char *openai_called(const json_t *messages, const char *id);
/* For ask.ready: the Modelfile's system message where the client sent none, and its messages. */
int openai_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e);
/* The last message is the assistant's: gen goes on with it. */
void openai_continue(json_t *gen);

/* ---- handlers ---- */

extern const struct field openai_chat_fields[], openai_text_fields[], openai_embed_fields[];
void openai_chat(struct request *r);  /* openai_chat.c */
void openai_text(struct request *r);  /* openai_text.c */
void openai_embed(struct request *r); /* openai_embed.c */
