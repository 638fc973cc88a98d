/* See prompt.h. */
#include "engine/prompt.h"

static struct str token_text(const struct vocab *v, int32_t id) {
    return id >= 0 ? vocab_text(v, id) : (struct str){"", 0};
}

/* What every conversation with this model has. */
static struct chat_input input_of(const struct engine *g) {
    const struct vocab *v = engine_vocab(g);
    return (struct chat_input){
        .add_generation_prompt = true,
        .bos = token_text(v, vocab_special(v)->bos),
        .eos = token_text(v, vocab_special(v)->eos),
    };
}

int prompt_render(const struct engine *g, const struct chat_template *t,
                  const struct chat_input *in, struct chat_prompt *p, struct ids *out,
                  struct err *e) {
    if (!t) t = engine_template(g, e);
    if (!t || chat_render(t, in, p, e) != 0) return -1;
    return chat_encode(engine_vocab(g), p, out, e);
}

int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct ids *out,
                struct err *e) {
    struct chat_input in = input_of(g);
    struct chat_prompt p = {0};
    in.message = m;
    in.n = n;
    const int rc = prompt_render(g, NULL, &in, &p, out, e);
    chat_prompt_fini(&p);
    return rc;
}

/* ---- Requests ----------------------------------------------------------------------------------
 */

static struct str text_at(const json_t *o, const char *key) {
    const json_t *j = json_object_get(o, key);
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

static int read_think(const json_t *think, struct chat_input *in, struct err *e) {
    static const char *const levels[] = {"low", "medium", "high", "max"};
    if (!think || json_is_null(think)) return 0;
    if (json_is_boolean(think)) {
        in->thinking = json_is_true(think) ? CHAT_THINK_ON : CHAT_THINK_OFF;
        return 0;
    }
    for (size_t i = 0; i < 4 && json_is_string(think); i++) {
        if (strcmp(json_string_value(think), levels[i]) != 0) continue;
        in->think_level = str_of(levels[i]);
        in->thinking = CHAT_THINK_ON;
        return 0;
    }
    return err_set(e, ERR_USAGE,
                   "think: true, false, \"low\", \"medium\", \"high\" or \"max\" is "
                   "accepted");
}

/* A list or object that may be absent. */
static int read_part(const json_t *request, const char *key, json_type type, const json_t **out,
                     struct err *e) {
    *out = json_object_get(request, key);
    if (!*out || json_is_null(*out)) {
        *out = NULL;
        return 0;
    }
    if (json_typeof(*out) == type) return 0;
    return err_set(e, ERR_USAGE, "%s: found something else; %s is accepted", key,
                   type == JSON_ARRAY ? "a list" : "an object");
}

static bool add_message(json_t *list, const char *role, struct str text) {
    json_t *content = json_stringn(text.p, text.n);
    return content && json_array_append_new(
                          list, json_pack("{s:s, s:o}", "role", role, "content", content)) == 0;
}

/* A prompt becomes the user's only message. */
static json_t *messages_of(const json_t *request) {
    json_t *list = json_array();
    const struct str system = text_at(request, "system");
    if ((system.n == 0 || add_message(list, "system", system)) &&
        add_message(list, "user", text_at(request, "prompt")))
        return list;
    json_decref(list);
    return NULL;
}

int prompt_input(const struct engine *g, const json_t *request, struct chat_input *in,
                 json_t **made, struct err *e) {
    const json_t *go_on = json_object_get(request, "continue");
    const json_t *choice = json_object_get(request, "tool_choice");
    *made = NULL;
    *in = input_of(g);
    if (read_think(json_object_get(request, "think"), in, e) != 0 ||
        read_part(request, "messages", JSON_ARRAY, &in->messages, e) != 0 ||
        read_part(request, "tools", JSON_ARRAY, &in->tools, e) != 0 ||
        read_part(request, "documents", JSON_ARRAY, &in->documents, e) != 0 ||
        read_part(request, "template_vars", JSON_OBJECT, &in->vars, e) != 0)
        return -1;
    /* Tools that must not be called are not shown either. */
    if (json_is_string(choice) && strcmp(json_string_value(choice), "none") == 0) in->tools = NULL;
    in->goes_on = json_is_true(go_on);
    in->prompt = text_at(request, "prompt");
    in->suffix = text_at(request, "suffix");
    if (in->messages || in->suffix.n > 0) return 0;
    in->messages = *made = messages_of(request);
    return *made ? 0 : err_nomem(e, "prompt");
}

int prompt_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e) {
    const struct tok_opts opts = {.add_special = true, .parse_special = true};
    const int32_t bos = vocab_special(v)->bos;
    const size_t at = out->n;
    if (tok_encode(v, text, opts, out, e) != 0) return -1;
    if (bos < 0 || out->n < at + 2 || out->v[at] != bos || out->v[at + 1] != bos) return 0;
    for (size_t i = at + 1; i + 1 < out->n; i++)
        out->v[i] = out->v[i + 1];
    out->n--;
    return 0;
}
