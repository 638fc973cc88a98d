/* A template and what renders it.  Plain conversations with a family of builtin.c go there; all
 * else runs the template itself.  Afterwards the end of the prompt is made what was asked for: the
 * middle of an answer that goes on, thinking opened or closed. */
#include <stdlib.h>

#include "text/chat/answer_style.h"
#include "text/chat/builtin.h"
#include "text/chat/chat.h"
#include "text/chat/chat_json.h"
#include "text/chat/features.h"
#include "text/chat/gotmpl.h"
#include "text/chat/gotmpl_chat.h"
#include "text/chat/jinja.h"
#include "text/chat/jinja_chat.h"
#include "text/chat/renderers.h"

struct chat_template {
    struct builtin *builtin; /* owned, or NULL; with it the same template as jinja, or none */
    struct gotmpl *go;       /* owned; of a Modelfile's TEMPLATE */
    struct jinja_chat jinja;
    struct chat_features know;
    struct answer_style style;
    bool thinks; /* when nobody says whether it should */
    char *mark;  /* owned, or NULL: of style, found in the template */
};

/* A Modelfile's TEMPLATE: fields begin with a dot there, and there are no {% blocks %}. */
static bool is_go(struct str source) {
    static const char *const marks[] = {"{{ .",  "{{- .",    "{{.",       "{{ if ", "{{- if ",
                                        "{{if ", "{{ range", "{{- range", "{{range"};
    for (size_t i = 0; source.n && i < sizeof marks / sizeof *marks; i++)
        if (memmem(source.p, source.n, marks[i], strlen(marks[i])))
            return !memmem(source.p, source.n, "{%", 2);
    return false;
}

static int render(const struct chat_template *t, const struct chat_input *in,
                  struct chat_prompt *out, struct err *e);

/* With a switch: whether being told to think changes nothing. */
static bool thinks_by_itself(const struct chat_template *t) {
    const struct chat_message hi = {STR("user"), STR("hi")};
    struct chat_input in = {.message = &hi, .n = 1, .add_generation_prompt = true, .now_s = 1};
    struct chat_prompt plain = {0}, told = {0};
    int rc = render(t, &in, &plain, NULL);
    in.thinking = CHAT_THINK_ON;
    if (rc == 0) rc = render(t, &in, &told, NULL);
    const bool same = rc == 0 && str_eq(buf_view(&plain.text), buf_view(&told.text));
    chat_prompt_fini(&plain);
    chat_prompt_fini(&told);
    return same;
}

struct chat_template *chat_template_new(struct str source, struct err *e) {
    static const char raw[] = "use --raw (\"raw\": true) and write the prompt in full";
    struct err why = {0};
    struct chat_template *t = calloc(1, sizeof *t);
    if (!t) {
        err_nomem(e, "chat template");
        return NULL;
    }
    const bool go = source.n > 0 && is_go(source);
    t->style = answer_style_of(source);
    if (go) answer_style_infer(source, &t->style, &t->mark);
    t->know = go ? go_features(source) : jinja_features(source);
    if (go) {
        t->go = gotmpl_new(source, &why);
    } else if (source.n > 0) {
        t->builtin = builtin_new(source);
        jinja_chat_init(&t->jinja, source, &t->know, &t->style, &why);
    }
    if (t->go || t->builtin || t->jinja.t) {
        t->thinks = t->style.think_open && thinks_by_itself(t);
        return t;
    }
    chat_template_free(t);
    if (source.n == 0)
        err_set(e, ERR_UNSUPPORTED, "the file has no chat template; %s", raw);
    else
        err_set(e, ERR_UNSUPPORTED, "the file's %s; %s", why.msg, raw);
    return NULL;
}

struct chat_template *chat_template_named(const char *renderer, struct str file, struct err *e) {
    struct str source;
    return renderer_source(renderer, file, &source, e) == 0 ? chat_template_new(source, e) : NULL;
}

struct chat_template *chat_template_plain(struct err *e) {
    return chat_template_new(
        STR("{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}{{ .Response }}"), e);
}

void chat_template_free(struct chat_template *t) {
    if (!t) return;
    builtin_free(t->builtin);
    jinja_chat_fini(&t->jinja);
    gotmpl_free(t->go);
    free(t->mark);
    free(t);
}

const char *chat_template_name(const struct chat_template *t) {
    return t->go ? "go" : t->builtin ? builtin_name(t->builtin) : "jinja";
}

const struct answer_style *chat_template_style(const struct chat_template *t) {
    return &t->style;
}

/* Is thinking switched by what the template is given? */
static bool has_switch(const struct chat_features *f) {
    return f->enable_thinking || f->thinking_var;
}

static struct chat_caps caps_of(const struct chat_features *f, const struct answer_style *s,
                                bool go) {
    return (struct chat_caps){
        .tools = f->tools && answer_style_calls(s),
        .thinking = s->think_open || has_switch(f) || f->effort || (go && f->thinking_field),
        .insert = f->prefix_gap,
    };
}

struct chat_caps chat_template_caps(const struct chat_template *t) {
    struct chat_caps caps = caps_of(&t->know, &t->style, t->go != NULL);
    if (!t->go && !t->jinja.t) caps.tools = false;
    return caps;
}

struct chat_caps chat_source_caps(struct str source) {
    const bool go = source.n > 0 && is_go(source);
    const struct chat_features f = go ? go_features(source) : jinja_features(source);
    struct answer_style s = answer_style_of(source);
    return caps_of(&f, &s, go);
}

/* ---- What is asked for, and whether it can be had ----------------------------------------------
 */

static bool asked(const json_t *list) {
    return json_array_size(list) > 0;
}

static int cannot(struct err *e, const char *what, const char *why) {
    return err_set(e, ERR_UNSUPPORTED, "this model does not support %s: %s", what, why);
}

static int check_abilities(const struct chat_template *t, const struct chat_input *in,
                           struct err *e) {
    const struct chat_caps can = chat_template_caps(t);
    const bool thinks = in->thinking == CHAT_THINK_ON || in->think_level.n > 0;
    if (asked(in->tools) && !can.tools)
        return cannot(e, "tools", "its chat template does not show them");
    if (in->messages && !can.tools && !chat_json_is_plain(in->messages)) {
        const json_t *m;
        size_t i;
        json_array_foreach(
            in->messages, i,
            m) if (json_array_size(json_object_get(m, "tool_calls")) > 0 ||
                   strcmp(json_string_value(json_object_get(m, "role")), "tool") ==
                       0) return cannot(e, "tools",
                                        "messages have calls or results of tools, which its chat "
                                        "template does not show");
    }
    if (thinks && !can.thinking) return cannot(e, "thinking", "its chat template has none");
    if (asked(in->documents) && !t->know.documents)
        return cannot(e, "documents", "its chat template does not show them");
    if (in->suffix.n > 0 && !can.insert)
        return cannot(e, "insert", "its template has no place for a suffix");
    if (json_object_size(in->vars) > 0 && t->go)
        return cannot(e, "template_vars", "a Modelfile's TEMPLATE has no further variables");
    return 0;
}

static int check_texts(const struct chat_input *in, struct err *e) {
    for (int i = 0; i < in->n; i++) {
        const struct str r = in->message[i].role;
        if (!str_is(r, "system") && !str_is(r, "user") && !str_is(r, "assistant"))
            return err_set(e, ERR_UNSUPPORTED,
                           "message %d: role '%.*s'; system, user or assistant are accepted", i,
                           (int)(r.n < 40 ? r.n : 40), r.p);
    }
    return 0;
}

/* ---- Rendering ---------------------------------------------------------------------------------
 */

static bool builtin_suffices(const struct chat_template *t, const struct chat_input *in) {
    const bool switches = has_switch(&t->know) || t->know.effort;
    if (!t->builtin) return false;
    if (!t->jinja.t) return true;
    return !asked(in->tools) && !asked(in->documents) && json_object_size(in->vars) == 0 &&
           (in->thinking == CHAT_THINK_DEFAULT || !switches) &&
           (!in->messages || chat_json_is_plain(in->messages));
}

static int render_builtin(const struct chat_template *t, const struct chat_input *in,
                          struct chat_prompt *out, struct err *e) {
    struct chat_input texts = *in;
    struct chat_message *views = NULL;
    if (in->messages) {
        if (!chat_json_is_plain(in->messages))
            return cannot(e, "this conversation", "its chat template takes texts only");
        texts.message = views = chat_json_views(in->messages);
        texts.n = (int)json_array_size(in->messages);
        if (!views) return err_nomem(e, "conversation");
    }
    const int rc = builtin_render(t->builtin, &texts, out, e);
    free(views);
    return rc;
}

static int render(const struct chat_template *t, const struct chat_input *in,
                  struct chat_prompt *out, struct err *e) {
    if (builtin_suffices(t, in)) return render_builtin(t, in, out, e);
    struct chat_input full = *in;
    json_t *messages = NULL;
    if (!in->messages && in->suffix.n == 0) {
        full.messages = messages = chat_json_messages(in->message, in->n, e);
        if (!messages) return -1;
    }
    const int rc = t->go ? gotmpl_chat_render(t->go, &full, out, e)
                         : jinja_chat_render(&t->jinja, &full, out, e);
    json_decref(messages);
    return rc;
}

/* ---- An answer that goes on --------------------------------------------------------------------
 */

/* Stands for the last message's text, so that its place is found whatever the template does with
 * texts; behind the last one only the template speaks. */
static const char gap[] = "cria:the-answer-goes-on-here";

static int render_gap(const struct chat_template *t, const struct chat_input *in, struct str *said,
                      struct chat_prompt *out, struct err *e) {
    struct chat_input with = *in;
    json_t *messages = in->messages ? json_copy((json_t *)in->messages)
                                    : chat_json_messages(in->message, in->n, e);
    if (!messages) return in->messages ? err_nomem(e, "conversation") : -1;
    const size_t n = json_array_size(messages);
    json_t *old = n ? json_array_get(messages, n - 1) : NULL;
    const json_t *role = json_object_get(old, "role"), *text = json_object_get(old, "content");
    int rc = 0;
    if (!role || strcmp(json_string_value(role), "assistant") != 0)
        rc = err_set(e, ERR_USAGE,
                     "continue: the last message is not the assistant's; only its "
                     "text can go on");
    if (rc == 0) {
        json_t *last = json_copy(old);
        json_object_set_new(last, "content", json_string(gap));
        *said = in->messages ? (struct str){json_string_value(text), json_string_length(text)}
                             : in->message[in->n - 1].content;
        if (!said->p) *said = STR("");
        json_array_set_new(messages, n - 1, last);
        with.messages = messages;
        with.add_generation_prompt = false;
        rc = render(t, &with, out, e);
    }
    json_decref(messages);
    return rc;
}

static const char *last_gap(struct str s) {
    const char *last = NULL;
    for (const char *at; s.n && (at = memmem(s.p, s.n, gap, sizeof gap - 1));) {
        last = at;
        s.n -= (size_t)(at + 1 - s.p);
        s.p = at + 1;
    }
    return last;
}

static int render_going_on(const struct chat_template *t, const struct chat_input *in,
                           struct chat_prompt *out, struct err *e) {
    struct str said = {"", 0};
    if (render_gap(t, in, &said, out, e) != 0) return -1;
    const char *at = last_gap(buf_view(&out->text));
    if (!at) return cannot(e, "continue", "its chat template changes the last answer");
    chat_prompt_cut(out, (size_t)(at - out->text.p));
    chat_quote(out, said);
    return 0;
}

/* ---- Where thinking begins ---------------------------------------------------------------------
 */

static bool ends_with(struct str s, const char *z) {
    const size_t n = strlen(z);
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' '))
        s.n--;
    return s.n >= n && memcmp(s.p + s.n - n, z, n) == 0;
}

/* The template's own words come last: nobody else opened anything. */
static bool ends_in(const struct chat_prompt *p, const char *mark) {
    return p->n_trust > 0 && p->trust[p->n_trust - 1].hi == p->text.n &&
           p->text.n - p->trust[p->n_trust - 1].lo >= strlen(mark) &&
           ends_with(buf_view(&p->text), mark);
}

static void say(struct chat_prompt *p, const char *z) {
    chat_say(p, str_of(z));
}

/* gpt-oss begins with a channel; without tools its thinking is left out by naming the last one. */
static void settle_harmony(const struct chat_input *in, struct chat_prompt *p) {
    if (in->thinking == CHAT_THINK_OFF) {
        if (!asked(in->tools)) say(p, "<|channel|>final<|message|>");
        return;
    }
    if (!in->open_thinking) return;
    say(p, "<|channel|>analysis<|message|>");
    p->in_thinking = true;
}

static void settle_thinking(const struct chat_template *t, const struct chat_input *in,
                            struct chat_prompt *p) {
    const char *open = t->style.think_open, *close = t->style.think_close;
    if (!open || !in->add_generation_prompt || in->goes_on || in->suffix.n > 0) return;
    if (t->style.harmony) {
        settle_harmony(in, p);
        return;
    }
    const bool opened = ends_in(p, open), closed = ends_in(p, close);
    if (in->thinking == CHAT_THINK_OFF && (opened || (!closed && !has_switch(&t->know)))) {
        if (!opened) say(p, open);
        say(p, p->text.p[p->text.n - 1] == '\n' ? "\n" : "\n\n");
        say(p, close);
        say(p, "\n\n");
        return;
    }
    p->in_thinking = opened;
    const bool would =
        in->thinking == CHAT_THINK_ON || (in->thinking == CHAT_THINK_DEFAULT && t->thinks);
    if (opened || closed || !in->open_thinking || !would) return;
    say(p, open);
    say(p, "\n");
    p->in_thinking = true;
}

int chat_render(const struct chat_template *t, const struct chat_input *in, struct chat_prompt *out,
                struct err *e) {
    const bool infill = in->suffix.n > 0;
    if (in->messages && chat_json_check(in->messages, in->tools, e) != 0) return -1;
    if (check_texts(in, e) != 0 || check_abilities(t, in, e) != 0) return -1;
    struct chat_input real = *in;
    if (in->think_level.n > 0) real.thinking = CHAT_THINK_ON;
    if ((in->goes_on && !infill ? render_going_on : render)(t, &real, out, e) != 0) return -1;
    settle_thinking(t, &real, out);
    return out->failed ? err_nomem(e, "chat template") : 0;
}
