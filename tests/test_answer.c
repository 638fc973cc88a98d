/* text/chat/answer*: what comes of answers, and that it does not depend on how they were cut. */
#include "chat_rig.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "text/chat/answer.h"
#include "text/chat/answer_style.h"
#include "text/grammar/grammar.h"

static const char tools_text[] =
    "[{'type':'function','function':{'name':'get_weather','description':'w','parameters':{'type':"
    "'object','properties':{'city':{'type':'string'},'days':{'type':'integer'},'unit':{'type':"
    "'string','enum':['c','f']}},'required':['city']}}},{'type':'function','function':{'name':"
    "'now','parameters':{'type':'object','properties':{}}}},{'type':'function','function':{'name':"
    "'deep','parameters':{'type':'object','properties':{'a':{'type':'object'},'l':{'type':'array'},"
    "'s':{'type':'string'}}}}}]";

/* The pieces of an answer in one line: "T(text)", "H(thinking)", "C name {arguments}". */
struct log {
    struct buf out;
    int kind; /* of the last piece, so that neighbours become one */
    int n_call, n_text;
    char last_id[32];
};

static void log_call(struct log *l, const json_t *call) {
    const json_t *f = json_object_get(call, "function");
    char *args = json_dumps(json_object_get(f, "arguments"), JSON_COMPACT);
    const char *id = json_string_value(json_object_get(call, "id"));
    assert_int_equal(strlen(id), 13);
    assert_memory_equal(id, "call_", 5);
    assert_string_not_equal(id, l->last_id);
    snprintf(l->last_id, sizeof l->last_id, "%s", id);
    buf_printf(&l->out, "C %s %s", json_string_value(json_object_get(f, "name")), args);
    free(args);
    l->n_call++;
}

static int on_piece(void *ctx, const struct answer_piece *p) {
    struct log *l = ctx;
    if (l->kind != (int)p->kind || p->kind == ANSWER_CALL) {
        if (l->kind >= 0) buf_str(&l->out, "|");
        buf_str(&l->out, p->kind == ANSWER_TEXT ? "T " : p->kind == ANSWER_THINKING ? "H " : "");
    }
    l->kind = (int)p->kind;
    if (p->kind == ANSWER_CALL) {
        log_call(l, p->call);
    } else {
        assert_true(p->text.n > 0);
        l->n_text++;
        buf_append(&l->out, p->text.p, p->text.n);
    }
    return 0;
}

struct way {
    const char *parser;
    bool no_thinking, in_thinking, no_tools;
};

static struct answer *open_answer(const struct way *w) {
    struct err e = {0};
    json_t *tools = json_of(tools_text);
    const struct answer_opts o = {.parser = w->parser,
                                  .tools = w->no_tools ? NULL : tools,
                                  .thinking = !w->no_thinking,
                                  .in_thinking = w->in_thinking};
    struct answer *a = answer_new(NULL, &o, &e);
    if (!a) fail_msg("%s", e.msg);
    json_decref(tools);
    return a;
}

/* The pieces of text, pushed in parts of `size` bytes, the first `first` bytes before them. */
static char *read_cut(const struct way *w, struct str text, size_t first, size_t size) {
    struct log l = {.kind = -1};
    struct answer *a = open_answer(w);
    for (size_t at = 0, n = first ? first : size; at < text.n; at += n, n = size) {
        if (n > text.n - at) n = text.n - at;
        assert_int_equal(answer_push(a, (struct str){text.p + at, n}, on_piece, &l), 0);
    }
    assert_int_equal(answer_finish(a, on_piece, &l), 0);
    answer_free(a);
    return l.out.p ? l.out.p : strdup("");
}

/* Cuts between bytes, also inside of UTF-8 characters: no rule of ours needs whole ones. */
static void expect(const struct way *w, const char *text, const char *want) {
    const struct str s = str_of(text);
    char *whole = read_cut(w, s, 0, s.n + 1);
    assert_string_equal(whole, want);
    for (size_t cut = 1; cut < s.n; cut++) {
        char *two = read_cut(w, s, cut, s.n);
        if (strcmp(two, whole) != 0)
            fail_msg("%s: %s\n  cut at %zu: %s\n  whole: %s", w->parser, text, cut, two, whole);
        free(two);
    }
    for (size_t size = 1; size < 4; size++) {
        char *many = read_cut(w, s, 0, size);
        assert_string_equal(many, whole);
        free(many);
    }
    free(whole);
}

#define PARIS "{\"city\":\"Paris\"}"
#define CALL "C get_weather " PARIS

static void hermes(void **state) {
    (void)state;
    const struct way w = {.parser = "hermes"};
    static const char call[] = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
                               "\"Paris\"}}\n</tool_call>";
    char two[400];
    expect(&w, "Hello <b>you</b>.", "T Hello <b>you</b>.");
    expect(&w, call, CALL);
    snprintf(two, sizeof two, "I look.\n%s\n%s\n", call, call);
    expect(&w, two, "T I look.\n|" CALL "|" CALL);
    snprintf(two, sizeof two, "%s\nThat was it.", call);
    expect(&w, two, CALL "|T \nThat was it.");
    /* Without its end; with braces and marks inside of texts. */
    expect(&w, "<tool_call>{\"name\":\"now\",\"arguments\":{}}", "C now {}");
    expect(
        &w,
        "<tool_call>{\"name\":\"deep\",\"arguments\":{\"s\":\"a}</tool_call>\\\"{\"}}</tool_call>",
        "C deep {\"s\":\"a}</tool_call>\\\"{\"}");
    /* Arguments as text, missing ones, the other names of keys. */
    expect(&w,
           "<tool_call>{\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"}"
           "</tool_call>",
           CALL);
    expect(&w, "<tool_call>{\"name\":\"now\"}</tool_call>", "C now {}");
    expect(&w, "<tool_call>{\"function\":{\"name\":\"now\",\"parameters\":{}}}</tool_call>",
           "C now {}");
}

/* What is no call comes as it was. */
static void no_calls(void **state) {
    (void)state;
    const struct way w = {.parser = "hermes"}, none = {.parser = "hermes", .no_tools = true};
    static const char *const texts[] = {
        "<tool_call>{\"name\":\"rm_rf\",\"arguments\":{}}</tool_call>",
        "<tool_call>{\"name\":\"now\",\"arguments\":3}</tool_call> x",
        "<tool_call>{\"name\":\"now\",\"argum",
        "<tool_call>{'name':'now'}</tool_call>",
        "<tool_call>soon</tool_call>",
        "<tool_call>",
        "<tool_c",
        "a < b <tool <tool_",
        "<tool_call>{\"name\":\"now\",\"arguments\":\"{oops\"}</tool_call>",
        "<tool_call>[]</tool_call>",
        "<tool_call>{\"name\":\"now\",\"name\":\"now\"}</tool_call>",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char want[200];
        snprintf(want, sizeof want, "T %s", texts[i]);
        expect(&w, texts[i], want);
    }
    expect(&none, "<tool_call>{\"name\":\"now\"}</tool_call>",
           "T <tool_call>{\"name\":\"now\"}</tool_call>");
    /* The call behind one that was none. */
    expect(&w, "<tool_call>no <tool_call>{\"name\":\"now\"}</tool_call>",
           "T <tool_call>no |C now {}");
}

static void thinking(void **state) {
    (void)state;
    const struct way w = {.parser = "qwen3"}, inside = {.parser = "qwen3", .in_thinking = true};
    const struct way off = {.parser = "qwen3", .no_thinking = true};
    expect(&w, "<think>\nLet me\n see. \n</think>\n\nYes.", "H Let me\n see.|T Yes.");
    expect(&w, "\n <think>a</think>b", "H a|T b");
    expect(&w, "<think>\n\n</think>\n\nb", "T b");
    expect(&w, "<think>never ends <", "H never ends <");
    expect(&w, "Use <think> tags</think>.", "T Use <think> tags</think>.");
    expect(&w, "  <thin", "T   <thin");
    expect(&w, " \n", "T  \n");
    expect(&inside, "\nhm </thin </think>\n\nb", "H hm </thin|T b");
    expect(&inside,
           "<tool_call>{\"name\":\"now\"}</tool_call></think>"
           "<tool_call>{\"name\":\"now\"}</tool_call>",
           "H <tool_call>{\"name\":\"now\"}</tool_call>|C now {}");
    expect(&off, "<think>\na\n</think>\n\nb", "T <think>\na\n</think>\n\nb");
    expect(&w, "<think>a</think>\n\n<tool_call>{\"name\":\"now\"}</tool_call>", "H a|C now {}");
}

static void llama3(void **state) {
    (void)state;
    const struct way w = {.parser = "llama3"};
    static const char call[] = "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}";
    char two[400];
    expect(&w, call, CALL);
    snprintf(two, sizeof two, "<|python_tag|>%s; %s", call, call);
    expect(&w, two, CALL "|" CALL);
    snprintf(two, sizeof two, " %s; %s\n%s", call, call, call);
    expect(&w, two, CALL "|" CALL "|" CALL);
    snprintf(two, sizeof two, "[%s, %s]", call, call);
    expect(&w, two, CALL "|" CALL);
    expect(&w, "{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}", "C now {}");
    expect(&w, "{\"answer\": {\"name\": \"now\"}}", "T {\"answer\": {\"name\": \"now\"}}");
    expect(&w, "{\"name\": \"Alice\", \"age\": 3}", "T {\"name\": \"Alice\", \"age\": 3}");
    expect(&w, "See {\"name\": \"now\", \"parameters\": {}}",
           "T See {\"name\": \"now\", \"parameters\": {}}");
    expect(&w, "<|python_tag|>print(1)", "T <|python_tag|>print(1)");
}

static void mistral(void **state) {
    (void)state;
    const struct way w = {.parser = "mistral"}, m = {.parser = "ministral"};
    expect(&w,
           "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}, "
           "{\"name\": \"now\", \"arguments\": {}}]",
           CALL "|C now {}");
    expect(&w, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\"}[TOOL_CALLS]now[ARGS]{}",
           CALL "|C now {}");
    expect(&w, "[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{\"city\": \"Paris\"}", CALL);
    expect(&w, "ok [TOOL_CALLS]get_weather{\"city\": \"Paris\"}", "T ok |" CALL);
    expect(&w, "[TOOL_CALLS]other[ARGS]{\"city\": \"Paris\"}",
           "T [TOOL_CALLS]other[ARGS]{\"city\": \"Paris\"}");
    expect(&m, "[THINK]hm[/THINK]ok[TOOL_CALLS]now[ARGS]{}", "H hm|T ok|C now {}");
}

static void json_families(void **state) {
    (void)state;
    const struct way phi = {.parser = "phi4"}, granite = {.parser = "granite"},
                     cohere = {.parser = "cohere"};
    expect(&phi, "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>", "C now {}");
    expect(&granite, "<think>a</think><response>b</response>", "H a|T b");
    expect(&granite, "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]", "C now {}");
    expect(&granite, "<tool_call>[{\"name\": \"now\", \"arguments\": {}}]", "C now {}");
    expect(&cohere,
           "<|START_THINKING|>I will.<|END_THINKING|><|START_ACTION|>[\n    {\"tool_call_id\": "
           "\"0\", \"tool_name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}\n]"
           "<|END_ACTION|>",
           "H I will.|" CALL);
    expect(&cohere, "<|START_RESPONSE|>Hi.<|END_RESPONSE|>", "T Hi.");
}

static void named_families(void **state) {
    (void)state;
    const struct way r1 = {.parser = "deepseek-r1"}, v3 = {.parser = "deepseek3"},
                     kimi = {.parser = "kimi"};
    expect(
        &r1,
        "<think>\na\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
        "get_weather\n```json\n{\"city\": \"Paris\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>"
        "function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "H a|" CALL "|C now {}");
    expect(&v3,
           "ok<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": "
           "\"Paris\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
           "T ok|" CALL);
    expect(&kimi,
           "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
           "<|tool_call_argument_begin|>{\"city\": \"Paris\"}<|tool_call_end|>"
           "<|tool_calls_section_end|>",
           CALL);
}

static void word_families(void **state) {
    (void)state;
    const struct way coder = {.parser = "qwen3-coder"}, glm = {.parser = "glm-4.7"},
                     lfm = {.parser = "lfm2"}, olmo = {.parser = "olmo3"};
    const struct way fg = {.parser = "functiongemma"}, g4 = {.parser = "gemma4"};
    expect(&coder,
           "I see\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
           "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
           "T I see\n|C get_weather {\"city\":\"Paris\",\"days\":3}");
    expect(&coder,
           "<function=deep>\n<parameter=s>\n12\n</parameter>\n<parameter=a>\n{\"x\": [1]}\n"
           "</parameter>\n</function>\n</tool_call>",
           "C deep {\"s\":\"12\",\"a\":{\"x\":[1]}}|T \n</tool_call>");
    expect(&coder, "<tool_call><function=now></function></tool_call>", "C now {}");
    expect(&coder, "<function=nope></function>", "T <function=nope></function>");
    expect(&glm,
           "<think>a</think><tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris"
           "</arg_value>\n<arg_key>days</arg_key><arg_value>3</arg_value>\n</tool_call>",
           "H a|C get_weather {\"city\":\"Paris\",\"days\":3}");
    expect(&lfm,
           "<|tool_call_start|>[get_weather(city=\"Pa'ris\", days=2), now()]<|tool_call_end|>Now.",
           "C get_weather {\"city\":\"Pa'ris\",\"days\":2}|C now {}|T Now.");
    expect(&olmo,
           "<function_calls>\nget_weather('Paris')\ndeep(a={'x': None, \"y\": True}, l=[1, -2.5, "
           "'z\\n']) \n</function_calls>",
           CALL "|C deep {\"a\":{\"x\":null,\"y\":true},\"l\":[1,-2.5,\"z\\n\"]}");
    expect(&olmo, "<function_calls>import os</function_calls>",
           "T <function_calls>import os</function_calls>");
    expect(&fg,
           "<start_function_call>call:get_weather{city:<escape>Paris, {FR}<escape>,days:3}"
           "<end_function_call>",
           "C get_weather {\"city\":\"Paris, {FR}\",\"days\":3}");
    expect(&g4,
           "<|channel>thought\nhm<channel|><|tool_call>call:deep{a:{x:<|\"|>y<|\"|>},l:[1,true]}"
           "<tool_call|>",
           "H hm|C deep {\"a\":{\"x\":\"y\"},\"l\":[1,true]}");
}

static void harmony(void **state) {
    (void)state;
    const struct way w = {.parser = "harmony"}, inside = {.parser = "harmony", .in_thinking = true};
    const struct way off = {.parser = "harmony", .no_thinking = true};
    expect(&w,
           "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant<|channel|>final"
           "<|message|>Hi <|x|>!<|return|>",
           "H Let me see.|T Hi <|x|>!");
    expect(&w,
           "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary "
           "to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Paris\"}<|call|>",
           "H a|" CALL);
    expect(&w, " to=functions.now<|channel|>commentary json<|message|>{}<|call|>", "C now {}");
    expect(&w, "<|channel|>commentary to=functions.now<|message|>{oops<|call|>", "T {oops");
    expect(&w, "<|channel|>commentary<|message|>I will call.<|end|>", "T I will call.");
    expect(&w, "Plain <|end|>", "T Plain ");
    expect(&inside, "a<|end|><|start|>assistant<|channel|>final<|message|>b", "H a|T b");
    expect(&off, "Hello.", "T Hello.");
}

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

struct round {
    int n_read, n_template;
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
    assert_true(r.n_read >= (golden_is_full() ? 30 : 3));
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
    "hermes",    "llama3",      "mistral", "cohere",        "phi4",
    "granite",   "deepseek-r1", "kimi",    "qwen3-coder",   "glm-4.7",
    "deepseek3", "lfm2",        "olmo3",   "functiongemma", "gemma4",
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
    const struct way w = {.parser = "hermes"}, h = {.parser = "harmony"};
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
        cmocka_unit_test(hermes),
        cmocka_unit_test(no_calls),
        cmocka_unit_test(thinking),
        cmocka_unit_test(llama3),
        cmocka_unit_test(mistral),
        cmocka_unit_test(json_families),
        cmocka_unit_test(named_families),
        cmocka_unit_test(word_families),
        cmocka_unit_test(harmony),
        cmocka_unit_test(templates_read_back),
        cmocka_unit_test(renderers_read_back),
        cmocka_unit_test(forced_calls),
        cmocka_unit_test(forced_forms),
        cmocka_unit_test(forced_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
