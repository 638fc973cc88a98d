/* text/chat/answer*: what templates and renderers write is read back, and what grammars of forced
 * calls let through is read as calls. */
#include "answer_rig.h"
#include "chat_rig.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "text/chat/answer_style.h"
#include "text/grammar/grammar.h"

/* ---- What templates write is read ---- */

/* The last turn of a conversation as the template writes it: what is new against the prompt that
 * ends where it begins. */
static char *last_turn(const struct chat_template *t, const char *conversation, const json_t *tools,
                       struct err *e) {
    struct chat_prompt before = {0}, whole = {0};
    json_t *messages = json_of(conversation);
    struct chat_input in = {.messages = messages,
                            .tools = tools,
                            .bos = STR("<s>"),
                            .eos = STR("</s>"),
                            .now_s = 1751632496};
    char *turn = NULL;
    int rc = chat_render(t, &in, &whole, e);
    json_array_remove(messages, json_array_size(messages) - 1);
    in.add_generation_prompt = true;
    if (rc == 0) rc = chat_render(t, &in, &before, e);
    if (rc == 0) {
        size_t n = 0;
        while (n < before.text.n && n < whole.text.n && before.text.p[n] == whole.text.p[n])
            n++;
        const char *open = memrchr(whole.text.p, '<', n), *end = memrchr(whole.text.p, '>', n);
        if (n < before.text.n && open && (!end || end < open)) n = (size_t)(open - whole.text.p);
        turn = strdup(whole.text.p + n);
    }
    chat_prompt_fini(&before);
    chat_prompt_fini(&whole);
    json_decref(messages);
    return turn;
}

static const char call_turn[] =
    "[{'role':'user','content':'Weather?'},{'role':'assistant','content':'','tool_calls':[{'id':"
    "'call12345','function':{'name':'get_weather','arguments':{'city':'Paris'}}}]}]";

/* A family's own way of calls is what the grammar of strict tools takes: byte by byte, from the
 * mark to the end.  Families whose calls are no JSON have none. */
static bool strict_takes(const struct chat_template *t, const struct answer_opts *o,
                         const char *turn) {
    struct err e = {0};
    struct buf text = {0}, body = {0};
    struct log l = {.kind = -1};
    json_t *strict = json_of("['get_weather']");
    struct answer *a = answer_new(t, o, &e);
    const int held = answer_strict_grammar(a, o->tools, strict, &text, &e);
    if (held < 0) fail_msg("%s", e.msg);
    struct grammar *g = grammar_parse(buf_view(&text), &e);
    if (!g) fail_msg("%s in\n%s", e.msg, text.p);
    int n_held = 0;
    for (const char *p = turn; held && *p; p++) {
        assert_int_equal(answer_push(a, (struct str){p, 1}, on_piece, &l), 0);
        buf_reset(&body);
        if (!answer_strict_body(a, &body)) continue;
        struct acceptor *c = accept_new(g, &e);
        assert_non_null(c);
        if (accept_text(c, buf_view(&body), false, &e) != 1) fail_msg("%s: %s", turn, body.p);
        accept_free(c);
        n_held++;
    }
    answer_free(a);
    grammar_free(g);
    json_decref(strict);
    buf_fini(&text), buf_fini(&body), buf_fini(&l.out);
    if (held && n_held < 10) fail_msg("%s: held for %d bytes", turn, n_held);
    return held;
}

struct round {
    int n_read, n_template, n_strict;
    char last[200];
};

static void read_back(void *ctx, int line, json_t *c) {
    (void)line;
    struct round *r = ctx;
    struct err e = {0};
    const char *file = json_string_value(json_object_get(c, "template"));
    if (strcmp(file, r->last) == 0) return;
    snprintf(r->last, sizeof r->last, "%s", file);
    struct chat_template *t = template_of(file);
    json_t *tools = json_of(tools_text);
    if (chat_template_caps(t).tools) {
        const struct answer_opts o = {.tools = tools, .thinking = true};
        struct log l = {.kind = -1};
        char *turn = last_turn(t, call_turn, tools, &e);
        struct answer *a = answer_new(t, &o, &e);
        r->n_template++;
        if (turn && a) r->n_strict += strict_takes(t, &o, turn);
        if (turn && a) {
            assert_int_equal(answer_push(a, str_of(turn), on_piece, &l), 0);
            assert_int_equal(answer_finish(a, on_piece, &l), 0);
        }
        if (l.out.p && strstr(l.out.p, CALL))
            r->n_read++;
        else
            print_error("%s (%s): %s\n  from %s\n", file, chat_template_style(t)->name,
                        l.out.p ? l.out.p : e.msg, turn ? turn : "");
        buf_fini(&l.out);
        free(turn);
        answer_free(a);
    }
    json_decref(tools);
    chat_template_free(t);
}

static void templates_read_back(void **state) {
    (void)state;
    struct round r = {0};
    each_jsonl(golden("chat/chat.jsonl"), read_back, &r);
    print_message("%d of %d templates\n", r.n_read, r.n_template);
    print_message("%d hold strict tools\n", r.n_strict);
    assert_true(r.n_read >= (golden_is_full() ? 30 : 3));
    assert_true(r.n_strict >= (golden_is_full() ? 15 : 1));
}

/* So is what the built-in renderers write. */
static void renderers_read_back(void **state) {
    (void)state;
    static const char *const names[] = {"qwen3",     "qwen3-coder", "lfm2",
                                        "deepseek3", "ministral",   "glm-4.7"};
    json_t *tools = json_of(tools_text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct err e = {0};
        struct log l = {.kind = -1};
        struct chat_template *t = chat_template_named(names[i], STR(""), &e);
        const struct answer_opts o = {.tools = tools, .thinking = true};
        char *turn = last_turn(t, call_turn, tools, &e);
        struct answer *a = answer_new(t, &o, &e);
        if (!turn || !a) fail_msg("%s: %s", names[i], e.msg);
        assert_int_equal(answer_push(a, str_of(turn), on_piece, &l), 0);
        assert_int_equal(answer_finish(a, on_piece, &l), 0);
        if (!l.out.p || !strstr(l.out.p, CALL)) fail_msg("%s: %s", names[i], turn);
        buf_fini(&l.out);
        free(turn);
        answer_free(a);
        chat_template_free(t);
    }
    json_decref(tools);
}

/* Modelfiles: the words tell the family, or the text in front of the calls is the mark. */
static void go_templates_read_back(void **state) {
    (void)state;
    static const char head[] =
        "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}[{{ .Role }}]"
        "{{ .Content }}{{ if .ToolCalls }}%s{{ end }}{{ end }}";
    static const char *const forms[][2] = {
        {"<toolcall>{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", \"arguments\": "
         "{{ .Function.Arguments }}}{{ end }}</toolcall>",
         "json"},
        {" functools[{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", \"arguments\": "
         "{{ .Function.Arguments }}}{{ end }}]",
         "json"},
        {"{{ range .ToolCalls }}<use>{\"name\": \"{{ .Function.Name }}\", \"arguments\": "
         "{{ .Function.Arguments }}}</use>{{ end }}",
         "json"},
        {"{{ range .ToolCalls }}<tool_call>\n{\"name\": \"{{ .Function.Name }}\", "
         "\"arguments\": {{ .Function.Arguments }}}\n</tool_call>\n{{ end }}",
         "hermes"},
        {"[TOOL_CALLS] [{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", "
         "\"arguments\": {{ .Function.Arguments }}}{{ end }}]",
         "mistral"},
        {"Action: ```json\n[{{ range .ToolCalls }}{\"tool_name\": \"{{ .Function.Name }}\", "
         "\"parameters\": {{ .Function.Arguments }}}{{ end }}]```",
         "action"},
        {"<|start_header_id|>{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", "
         "\"parameters\": {{ .Function.Arguments }}}{{ end }}<|eot_id|>",
         "llama3"},
    };
    json_t *tools = json_of(tools_text);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char source[600];
        struct err e = {0};
        struct log l = {.kind = -1};
        snprintf(source, sizeof source, head, forms[i][0]);
        struct chat_template *t = source_template(source);
        assert_string_equal(chat_template_style(t)->name, forms[i][1]);
        const struct answer_opts o = {.tools = tools, .thinking = true};
        char *turn = last_turn(t, call_turn, tools, &e);
        struct answer *a = answer_new(t, &o, &e);
        if (!turn || !a) fail_msg("%s: %s", source, e.msg);
        const char *from = strstr(turn, "[assistant]");
        from = from ? from + strlen("[assistant]") : turn;
        if (strncmp(from, "<|start", 7) == 0) from = strchr(from, '{');
        assert_int_equal(answer_push(a, str_of(from), on_piece, &l), 0);
        assert_int_equal(answer_finish(a, on_piece, &l), 0);
        if (!l.out.p || !strstr(l.out.p, CALL) || strstr(l.out.p, "</"))
            fail_msg("%s: %s", turn, l.out.p);
        buf_fini(&l.out);
        free(turn);
        answer_free(a);
        chat_template_free(t);
    }
    json_decref(tools);
}

/* ---- Forced calls ---- */

static struct grammar *call_grammar(const char *parser, const char *name, bool parallel) {
    const struct way w = {.parser = parser};
    struct err e = {0};
    struct buf text = {0};
    json_t *tools = json_of(tools_text);
    struct answer *a = open_answer(&w);
    if (answer_call_grammar(a, tools, name, parallel, &text, &e) != 0)
        fail_msg("%s: %s", parser, e.msg);
    struct grammar *g = grammar_parse(buf_view(&text), &e);
    if (!g) fail_msg("%s: %s in\n%s", parser, e.msg, text.p);
    buf_fini(&text);
    json_decref(tools);
    answer_free(a);
    return g;
}

static uint32_t dice(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

/* One of the bytes that may come next; most of them are those that close something, so that the
 * walk ends. */
static int next_byte(struct acceptor *c, uint32_t *seed) {
    static const char closing[] = "\"}])\n<></<|,:";
    struct err e = {0};
    for (int i = 0; i < 60; i++) {
        const bool close = dice(seed) % 3 != 0;
        const int b =
            close ? closing[dice(seed) % (sizeof closing - 1)] : (int)(' ' + dice(seed) % 95);
        if (accept_byte(c, (uint8_t)b, &e) == 1) return b;
    }
    for (int b = 255; b > 0; b--) {
        if (b < 32 && b != '\n') continue;
        if (accept_byte(c, (uint8_t)b, &e) == 1) return b;
    }
    return -1;
}

/* What the grammar lets through is read as calls of its tools, at every length. */
static void walks_are_calls(const struct way *w, const struct grammar *g, const char *name,
                            uint32_t seed) {
    struct err e = {0};
    struct log l = {.kind = -1};
    struct buf text = {0};
    struct acceptor *c = accept_new(g, &e);
    while (text.n < 900 && !(accept_done(c) && (text.n > 300 || dice(&seed) % 2))) {
        const int b = next_byte(c, &seed);
        if (b < 0) break;
        buf_byte(&text, (char)b);
    }
    const bool whole = accept_done(c);
    accept_free(c);
    if (whole) {
        struct answer *a = open_answer(w);
        assert_int_equal(answer_push(a, buf_view(&text), on_piece, &l), 0);
        assert_int_equal(answer_finish(a, on_piece, &l), 0);
        answer_free(a);
        char want[100];
        snprintf(want, sizeof want, "C %s", name ? name : "");
        if (l.n_call == 0 || strncmp(l.out.p, want, strlen(want)) != 0 || l.n_text > 0)
            fail_msg("%s: read as %s\n  %s", w->parser, l.out.p, text.p);
    }
    buf_fini(&text);
    buf_fini(&l.out);
}

static const char *const forced[] = {
    "hermes",      "llama3",        "mistral",     "cohere",  "phi4",      "granite",
    "deepseek-r1", "kimi",          "qwen3-coder", "glm-4.7", "deepseek3", "lfm2",
    "olmo3",       "functiongemma", "gemma4",      "harmony",
};

static void forced_calls(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof forced / sizeof *forced; i++) {
        const struct way w = {.parser = forced[i], .no_thinking = true};
        struct grammar *any = call_grammar(forced[i], NULL, true);
        struct grammar *one = call_grammar(forced[i], "get_weather", false);
        for (uint32_t seed = 1; seed < 60; seed++) {
            walks_are_calls(&w, any, NULL, seed);
            walks_are_calls(&w, one, "get_weather", seed);
        }
        grammar_free(any);
        grammar_free(one);
    }
}

static void takes(const struct grammar *g, const char *text, bool want) {
    struct err e = {0};
    struct acceptor *c = accept_new(g, &e);
    const char *p = text;
    while (*p && accept_byte(c, (uint8_t)*p, &e) == 1)
        p++;
    if ((*p == 0 && accept_done(c)) != want) fail_msg("%s: %s", text, want ? p : "accepted");
    accept_free(c);
}

/* The forms that the models' templates have, and what a schema forbids. */
static void forced_forms(void **state) {
    (void)state;
    struct grammar *g = call_grammar("hermes", "get_weather", false);
    static const char form[] = "<tool_call>\n{\"name\": \"%s\", \"arguments\": %s}\n</tool_call>";
    static const char *const cases[][2] = {{"{\"city\": \"Paris\"}", "y"},
                                           {"{\"city\":\"Paris\",\"days\":3}", "y"},
                                           {"{\"city\": \"Paris\", \"unit\": \"c\"}", "y"},
                                           {"{\"city\": \"Paris\", \"unit\": \"k\"}", "n"},
                                           {"{\"days\": 3}", "n"},
                                           {"{\"city\": 1}", "n"},
                                           {"{\"city\": \"P\", \"x\": 1}", "n"}};
    char text[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, form, "get_weather", cases[i][0]);
        takes(g, text, *cases[i][1] == 'y');
    }
    snprintf(text, sizeof text, form, "now", "{}");
    takes(g, text, false);
    grammar_free(g);
    g = call_grammar("qwen3-coder", NULL, false);
    takes(g,
          "\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis < x\n</parameter>\n"
          "<parameter=unit>\nf\n</parameter>\n</function>\n</tool_call>",
          true);
    takes(g, "<tool_call>\n<function=get_weather>\n</function>\n</tool_call>", false);
    takes(g, "<tool_call>\n<function=now>\n</function>\n</tool_call>", true);
    grammar_free(g);
    g = call_grammar("lfm2", NULL, true);
    takes(g, "<|tool_call_start|>[get_weather(city=\"Paris\", unit=\"c\"), now()]<|tool_call_end|>",
          true);
    takes(g, "<|tool_call_start|>[get_weather(unit=\"c\")]<|tool_call_end|>", false);
    grammar_free(g);
}

static void forced_refusals(void **state) {
    (void)state;
    const struct way w = {.parser = "hermes"}, h = {.parser = "passthrough", .no_tools = true};
    struct err e = {0};
    struct buf out = {0};
    json_t *tools = json_of(tools_text);
    struct answer *a = open_answer(&w), *b = open_answer(&h);
    assert_int_equal(answer_call_grammar(a, tools, "nope", false, &out, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_int_equal(answer_call_grammar(b, tools, NULL, false, &out, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    json_decref(tools);
    tools = json_of("[{'type':'function','function':{'name':'f','parameters':{'type':'object',"
                    "'properties':{'x':{'not':{}}}}}}]");
    assert_int_equal(answer_call_grammar(a, tools, NULL, false, &out, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "not"));
    json_decref(tools);
    buf_fini(&out);
    answer_free(a);
    answer_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_read_back),    cmocka_unit_test(renderers_read_back),
        cmocka_unit_test(go_templates_read_back), cmocka_unit_test(forced_calls),
        cmocka_unit_test(forced_forms),           cmocka_unit_test(forced_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
