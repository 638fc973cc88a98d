/* A model's own Jinja template behind chat.h: the variables that transformers gives it.  Only the
 * texts of bos_token and eos_token, and what the template itself says, may hold control tokens. */
#include "text/chat/jinja_chat.h"

#include <stdlib.h>

#include "text/chat/chat_json.h"
#include "text/chat/jinja.h"

static struct str source_of(const struct jinja_chat *c) {
    return (struct str){c->source, c->n_source};
}

/* Does the template compare something with this word? */
static bool knows_word(const struct jinja_chat *c, const char *word) {
    return jinja_reads_field(source_of(c), word);
}

static void set_thinking(const struct jinja_chat *c, const struct chat_input *in, json_t *vars) {
    const bool on = in->thinking == CHAT_THINK_ON;
    if (in->thinking == CHAT_THINK_DEFAULT) return;
    if (c->know.enable_thinking) json_object_set_new(vars, "enable_thinking", json_boolean(on));
    if (c->know.thinking_var) json_object_set_new(vars, "thinking", json_boolean(on));
    if (!c->know.effort) return;
    struct str level = in->think_level;
    if (!on) level = knows_word(c, "none") ? STR("none") : STR("low");
    if (str_is(level, "max") && !knows_word(c, "max")) level = STR("high");
    if (level.n) json_object_set_new(vars, "reasoning_effort", chat_json_text(level));
}

static json_t *or_null(const json_t *list) {
    return json_array_size(list) > 0 ? json_incref((json_t *)list) : json_null();
}

/* Further variables of the client.  Those that are set here are not the client's. */
static int add_vars(const struct jinja_chat *c, const struct chat_input *in, json_t *vars,
                    struct err *e) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)in->vars, name, value) {
        if (strcmp(name, "messages") == 0 || strcmp(name, "tools") == 0 ||
            strcmp(name, "documents") == 0 || strcmp(name, "add_generation_prompt") == 0 ||
            strcmp(name, "bos_token") == 0 || strcmp(name, "eos_token") == 0)
            return err_set(e, ERR_USAGE, "template_vars: \"%s\" is set by the conversation", name);
        if (!jinja_reads_variable(source_of(c), name))
            return err_set(e, ERR_UNSUPPORTED,
                           "template_vars: this model's chat template has no variable \"%.60s\"",
                           name);
        json_object_set(vars, name, value);
    }
    return 0;
}

static json_t *variables(const struct jinja_chat *c, const struct chat_input *in) {
    json_t *vars = json_object();
    json_object_set_new(vars, "messages",
                        chat_json_for_jinja(in->messages, &c->know, c->style, c->args_text));
    json_object_set_new(vars, "tools", or_null(in->tools));
    json_object_set_new(vars, "documents", or_null(in->documents));
    json_object_set_new(vars, "add_generation_prompt", json_boolean(in->add_generation_prompt));
    json_object_set_new(vars, "bos_token", chat_json_text(in->bos));
    json_object_set_new(vars, "eos_token", chat_json_text(in->eos));
    if (in->date.n) json_object_set_new(vars, "date_string", chat_json_text(in->date));
    set_thinking(c, in, vars);
    return vars;
}

int jinja_chat_render(const struct jinja_chat *c, const struct chat_input *in,
                      struct chat_prompt *out, struct err *e) {
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    const struct jinja_opts o = {.now_s = in->now_s, .trusted = trusted};
    struct err own = {0};
    json_t *vars = variables(c, in);
    int rc = json_object_get(vars, "messages") ? 0 : err_nomem(&own, "chat template");
    if (rc == 0) rc = add_vars(c, in, vars, &own);
    if (rc == 0) rc = jinja_render(c->t, vars, &o, out, &own);
    if (rc != 0 && own.code == ERR_FORMAT && json_array_size(in->tools) > 0) {
        /* Many templates fail over a tool or parameter without a description. */
        json_object_set_new(vars, "tools", chat_json_described(in->tools));
        own = (struct err){0};
        rc = jinja_render(c->t, vars, &o, out, &own);
    }
    json_decref(vars);
    if (rc != 0 && e) *e = own;
    return rc;
}

/* ---- Trying it ---- */

/* A call as the template writes it contains this; wrong: its arguments in Python's notation. */
static bool writes_call(const struct jinja_chat *c, const char *found, const char *wrong) {
    struct err e = {0};
    struct chat_prompt p = {0};
    json_t *messages =
        json_pack("[{ssss}{ssss s[{ss s{sss{ss}}}]}]", "role", "user", "content", "a", "role",
                  "assistant", "content", "", "tool_calls", "id", "call12345", "function", "name",
                  "probe_name", "arguments", "probe_key", "probe_value");
    const struct chat_input in = {
        .messages = messages, .bos = STR("<s>"), .eos = STR("</s>"), .now_s = 1};
    const bool ok = messages && jinja_chat_render(c, &in, &p, &e) == 0 &&
                    memmem(p.text.p, p.text.n, found, strlen(found)) &&
                    !(wrong && memmem(p.text.p, p.text.n, wrong, strlen(wrong)));
    chat_prompt_fini(&p);
    json_decref(messages);
    return ok;
}

/* Some templates put text where most put an object; then an object fails, or comes out in
 * Python's notation. */
static void try_calls(struct jinja_chat *c) {
    if (!c->know.tools || writes_call(c, "probe_key", "{'probe_key'")) return;
    c->args_text = true;
    if (!writes_call(c, "\"probe_key\"", "\\\"probe_key")) c->args_text = false;
}

int jinja_chat_init(struct jinja_chat *c, struct str source, const struct chat_features *f,
                    const struct answer_style *style, struct err *e) {
    *c = (struct jinja_chat){.know = *f, .style = style};
    c->t = jinja_new("chat template", source, e);
    c->source = c->t ? malloc(source.n + 1) : NULL;
    if (!c->source) {
        if (c->t) err_nomem(e, "chat template");
        jinja_chat_fini(c);
        return -1;
    }
    memcpy(c->source, source.p, source.n);
    c->n_source = source.n;
    try_calls(c);
    return 0;
}

void jinja_chat_fini(struct jinja_chat *c) {
    jinja_free(c->t);
    free(c->source);
    c->t = NULL;
    c->source = NULL;
}
