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

/* ---- Gaps ---- */

static bool has_gap_marks(const struct vocab *v) {
    const struct vocab_special *s = vocab_special(v);
    return s->fim_pre >= 0 && s->fim_suf >= 0 && s->fim_mid >= 0;
}

/* prefix mark, prompt, suffix mark, suffix, middle mark: the order that models with these marks
 * were trained on (arXiv:2207.14255, PSM). */
static int encode_gap(const struct vocab *v, const struct chat_input *in, struct ids *out,
                      struct err *e) {
    const struct vocab_special *s = vocab_special(v);
    const struct tok_opts plain = {0};
    if (s->add_bos && s->bos >= 0) ids_push(out, s->bos);
    ids_push(out, s->fim_pre);
    if (tok_encode(v, in->prompt, plain, out, e) != 0) return -1;
    ids_push(out, s->fim_suf);
    if (tok_encode(v, in->suffix, plain, out, e) != 0) return -1;
    ids_push(out, s->fim_mid);
    return out->failed ? err_nomem(e, "prompt") : 0;
}

struct chat_caps prompt_caps(const struct engine *g) {
    struct err none;
    const struct chat_template *t = engine_template(g, &none);
    struct chat_caps caps = t ? chat_template_caps(t) : (struct chat_caps){0};
    caps.insert |= has_gap_marks(engine_vocab(g));
    return caps;
}

/* ---- Conversations ---- */

int prompt_render(const struct engine *g, const struct chat_template *t,
                  const struct chat_input *in, struct chat_prompt *p, struct ids *out,
                  struct err *e) {
    struct chat_template *plain = NULL;
    struct err why = {0};
    if (!t) t = engine_template(g, &why);
    if (in->suffix.n > 0 && !(t && chat_template_caps(t).insert) && has_gap_marks(engine_vocab(g)))
        return encode_gap(engine_vocab(g), in, out, e);
    if (!t && !engine_has_template(g)) t = plain = chat_template_plain(&why);
    int rc = t ? chat_render(t, in, p, e) : -1;
    if (rc == 0) rc = chat_encode(engine_vocab(g), p, out, e);
    if (!t && e) *e = why;
    chat_template_free(plain);
    return rc;
}

int prompt_chat(const struct engine *g, const struct chat_message *m, int n, struct ids *out,
                struct err *e) {
    struct chat_input in = input_of(g);
    struct chat_prompt p = {0};
    const struct chat_template *t = engine_template(g, e);
    if (!t) return -1;
    in.message = m;
    in.n = n;
    const int rc = prompt_render(g, t, &in, &p, out, e);
    chat_prompt_fini(&p);
    return rc;
}

/* ---- Requests ----------------------------------------------------------------------------------
 */

static void set_think(enum gen_think think, struct chat_input *in) {
    static const char *const levels[] = {"low", "medium", "high", "max"};
    if (think == GEN_THINK_DEFAULT) return;
    in->thinking = think == GEN_THINK_OFF ? CHAT_THINK_OFF : CHAT_THINK_ON;
    if (think >= GEN_THINK_LOW) in->think_level = str_of(levels[think - GEN_THINK_LOW]);
}

static bool add_message(json_t *list, const char *role, struct str text) {
    json_t *content = json_stringn(text.n ? text.p : "", text.n);
    return content && json_array_append_new(
                          list, json_pack("{s:s, s:o}", "role", role, "content", content)) == 0;
}

/* A prompt becomes the user's only message. */
static json_t *messages_of(const struct gen_request *q) {
    json_t *list = json_array();
    if ((q->system.n == 0 || add_message(list, "system", q->system)) &&
        add_message(list, "user", q->prompt))
        return list;
    json_decref(list);
    return NULL;
}

int prompt_input(const struct engine *g, const struct gen_request *q, struct chat_input *in,
                 json_t **made, struct err *e) {
    *made = NULL;
    *in = input_of(g);
    in->messages = q->messages;
    in->documents = q->op == GEN_OP_RERANK ? NULL : q->documents;
    in->vars = q->vars;
    /* Tools that must not be called are not shown either. */
    if (q->tool_choice != GEN_CHOICE_NONE) in->tools = q->tools;
    in->goes_on = q->go_on;
    set_think(q->think, in);
    if (q->op != GEN_OP_TEXT) return 0;
    in->prompt = q->prompt.p ? q->prompt : STR("");
    in->suffix = q->suffix.p ? q->suffix : STR("");
    if (in->suffix.n > 0) return 0;
    in->messages = *made = messages_of(q);
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
