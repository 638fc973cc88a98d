/* text/chat/answer*: what comes of answers, and that it does not depend on how they were cut. */
#include "answer_rig.h"
#include "chat_rig.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "text/chat/answer.h"

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

/* Where a format begins to hold. */
static void where_text_is(void **state) {
    (void)state;
    const struct way thinks = {.parser = "qwen3", .in_thinking = true};
    const struct way may = {.parser = "qwen3"}, not = {.parser = "qwen3", .no_thinking = true};
    struct log l = {.kind = -1};
    struct answer *a = open_answer(&thinks);
    assert_false(answer_in_text(a));
    answer_push(a, STR("hm</thi"), on_piece, &l);
    assert_false(answer_in_text(a));
    answer_push(a, STR("nk>"), on_piece, &l);
    assert_true(answer_in_text(a));
    answer_push(a, STR("\n\n{"), on_piece, &l);
    assert_true(answer_in_text(a));
    answer_free(a);
    a = open_answer(&may);
    assert_false(answer_in_text(a)); /* it may begin with thoughts */
    answer_free(a);
    a = open_answer(&not );
    assert_true(answer_in_text(a));
    assert_true(answer_wants_token(a, STR("<tool_call>")));
    assert_true(answer_wants_token(a, STR("</think>")));
    assert_false(answer_wants_token(a, STR("<|im_end|>")));
    answer_free(a);
    buf_fini(&l.out);
}

static void unknown_parsers(void **state) {
    (void)state;
    struct err e = {0};
    json_t *tools = json_of(tools_text);
    const struct answer_opts o = {.parser = "qwen9"}, none = {.tools = tools};
    assert_null(answer_new(NULL, &o, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "qwen3-coder"));
    assert_null(answer_new(NULL, &none, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "tools"));
    json_decref(tools);
}

/* More than a call may be long: text, and the memory is bounded. */
static void endless_calls(void **state) {
    (void)state;
    const struct way w = {.parser = "hermes"};
    struct log l = {.kind = -1};
    struct answer *a = open_answer(&w);
    char part[4096];
    memset(part, 'x', sizeof part);
    answer_push(a, STR("<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":\""), on_piece, &l);
    for (int i = 0; i < 250; i++)
        answer_push(a, (struct str){part, sizeof part}, on_piece, &l);
    assert_int_equal(l.out.n, 0); /* it may become a call */
    for (int i = 0; i < 20; i++)
        answer_push(a, (struct str){part, sizeof part}, on_piece, &l);
    assert_true(l.out.n > (1 << 20));
    answer_push(a, STR("\"}}</tool_call>"), on_piece, &l);
    assert_int_equal(answer_finish(a, on_piece, &l), 0);
    assert_int_equal(l.n_call, 0);
    assert_memory_equal(l.out.p, "T <tool_call>{", 14);
    answer_free(a);
    buf_fini(&l.out);
}

static int stops(void *ctx, const struct answer_piece *p) {
    (void)p;
    return ++*(int *)ctx == 2 ? 7 : 0;
}

static void reader_ends_it(void **state) {
    (void)state;
    const struct way w = {.parser = "hermes"};
    int n = 0;
    struct answer *a = open_answer(&w);
    assert_int_equal(answer_push(a, STR("a<tool_call>{\"name\":\"now\"}</tool_call>b"), stops, &n),
                     7);
    assert_int_equal(n, 2);
    answer_free(a);
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

static void other_families(void **state) {
    (void)state;
    const struct way f1 = {.parser = "functionary-3.1"}, f2 = {.parser = "functionary"};
    const struct way dsml = {.parser = "deepseek3.2"}, apertus = {.parser = "apertus"};
    const struct way apriel = {.parser = "apriel"}, giga = {.parser = "gigachat"};
    const struct way cpm = {.parser = "minicpm"}, solar = {.parser = "solar"};
    const struct way action = {.parser = "command-r"}, gemma = {.parser = "gemma"};
    expect(&f1, "<function=get_weather>{\"city\": \"Paris\"}</function><function=now>{}</function>",
           CALL "|C now {}");
    expect(&f1, "<function=get_weather>city</function>", "T <function=get_weather>city</function>");
    /* The prompt of this family ends with the first ">>>". */
    expect(&f2, "get_weather\n{\"city\": \"Paris\"}", CALL);
    expect(&f2, "all\nLet me see.\n>>>now\n{}", "T Let me see.\n|C now {}");
    expect(&f2, "Hello >>> you", "T Hello >>> you");
    expect(&dsml,
           "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter "
           "name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n<｜DSML｜parameter "
           "name=\"days\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
           "</｜DSML｜function_calls>",
           "C get_weather {\"city\":\"Paris\",\"days\":3}");
    expect(&apertus,
           "<|inner_prefix|>hm<|inner_suffix|><|tools_prefix|>[{\"get_weather\": {\"city\": "
           "\"Paris\"}}, {\"now\": {}}]<|tools_suffix|>",
           "H hm|" CALL "|C now {}");
    expect(&apriel, "<tool_calls>[{\"name\": \"now\", \"arguments\": {}}]</tool_calls>",
           "C now {}");
    expect(&giga, "<|function_call|>{\"name\": \"now\", \"arguments\": {}}", "C now {}");
    expect(
        &cpm,
        "<function name=\"get_weather\"><param name=\"city\"><![CDATA[Paris]]></param></function>",
        CALL);
    expect(&solar,
           "<|think|>a<|end|><|begin|>assistant<|content|>ok<|tool_calls|><|tool_call:begin|>a1b2c3"
           "<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>",
           "H a|T ok|C now {}");
    expect(&action, "Action: ```json\n[{\"tool_name\": \"now\", \"parameters\": {}}]\n```",
           "C now {}");
    expect(&gemma, "See:\n```tool_code\nget_weather(city=\"Paris\")\n```", "T See:\n|" CALL);
    expect(&gemma, "```json\n{\"name\": \"now\", \"parameters\": {}}\n```", "C now {}");
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
    /* Where the prompt ends behind the header of the answer, a format holds from there. */
    const struct way done = {.parser = "harmony", .no_thinking = true, .no_tools = true};
    struct answer *a = open_answer(&done);
    assert_true(answer_in_text(a));
    answer_free(a);
    expect(&done, "<b>", "T <b>");
    expect(&done,
           "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final"
           "<|message|>b",
           "T ab");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hermes),          cmocka_unit_test(no_calls),
        cmocka_unit_test(thinking),        cmocka_unit_test(where_text_is),
        cmocka_unit_test(unknown_parsers), cmocka_unit_test(endless_calls),
        cmocka_unit_test(reader_ends_it),  cmocka_unit_test(llama3),
        cmocka_unit_test(mistral),         cmocka_unit_test(json_families),
        cmocka_unit_test(named_families),  cmocka_unit_test(word_families),
        cmocka_unit_test(other_families),  cmocka_unit_test(harmony),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
