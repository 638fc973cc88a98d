/* See answer_style.h.  Sources: the chat templates of the models, which write earlier answers in
 * the form in which the model writes new ones. */
#include "text/chat/answer_style.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define JSON_FORM(a, b)                                                                            \
    { .open = (a), .close = (b), .body = BODY_JSON }

/* Words that must all stand in the template, and the style that they tell.  The first row that fits
 * counts; thinking is looked for apart, but for rows that bring their own. */
struct row {
    const char *words[2];
    struct answer_style style;
};

static const struct row rows[] = {
    {{"<|channel|>", "<|message|>"},
     {.name = "harmony",
      .harmony = true,
      .think_open = "<|channel|>analysis<|message|>",
      .think_close = "<|end|>"}},
    {{"｜DSML｜", "invoke"},
     {.name = "dsml",
      .form = {{.open = "<｜DSML｜function_calls>",
                .close = "</｜DSML｜function_calls>",
                .body = BODY_INVOKE},
               {.open = "<｜DSML｜tool_calls>",
                .close = "</｜DSML｜tool_calls>",
                .body = BODY_INVOKE}}}},
    {{"<|tool_call_begin|>", "<|tool_call_argument_begin|>"},
     {.name = "kimi",
      .form = {{.open = "<|tool_call_begin|>",
                .close = "<|tool_call_end|>",
                .body = BODY_NAMED,
                .sep = "<|tool_call_argument_begin|>"}},
      .noise = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"}}},
    {{"<｜tool▁call▁begin｜>", "```json"},
     {.name = "deepseek-r1",
      .form = {{.open = "<｜tool▁call▁begin｜>",
                .close = "```<｜tool▁call▁end｜>",
                .body = BODY_NAMED,
                .sep = "\n",
                .title = "<｜tool▁sep｜>"}},
      .noise = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"}}},
    {{"<｜tool▁call▁begin｜>"},
     {.name = "deepseek",
      .form = {{.open = "<｜tool▁call▁begin｜>",
                .close = "<｜tool▁call▁end｜>",
                .body = BODY_NAMED,
                .sep = "<｜tool▁sep｜>"}},
      .noise = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"}}},
    {{"[TOOL_CALLS]"},
     {.name = "mistral",
      .form = {{.open = "[TOOL_CALLS]", .body = BODY_JSON, .sep = "[ARGS]", .named_json = true}}}},
    {{"<|START_ACTION|>"},
     {.name = "command-r",
      .form = {JSON_FORM("<|START_ACTION|>", "<|END_ACTION|>")},
      .noise = {"<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"},
      .args = "parameters",
      .title = "tool_name"}},
    {{"Action: ```json"},
     {.name = "action",
      .form = {JSON_FORM("Action: ```json", "```"), JSON_FORM("Action:```json", "```")},
      .args = "parameters",
      .title = "tool_name"}},
    {{"<|tool_call:begin|>"},
     {.name = "solar",
      .form = {{.open = "<|tool_call:begin|>",
                .close = "<|tool_call:end|>",
                .body = BODY_NAMED,
                .sep = "<|tool_call:args|>",
                .title = "<|tool_call:name|>"}},
      .noise = {"<|tool_calls|>", "<|begin|>assistant", "<|content|>"},
      .think_open = "<|think|>",
      .think_close = "<|end|>"}},
    {{"<|tool_call|>", "<|/tool_call|>"},
     {.name = "phi4", .form = {JSON_FORM("<|tool_call|>", "<|/tool_call|>")}}},
    {{"<|tool_call|>"},
     {.name = "granite",
      .form = {JSON_FORM("<|tool_call|>", NULL), JSON_FORM("<tool_call>", "</tool_call>")}}},
    {{"<|tools_prefix|>"},
     {.name = "apertus",
      .keyed = true,
      .form = {JSON_FORM("<|tools_prefix|>", "<|tools_suffix|>")},
      .think_open = "<|inner_prefix|>",
      .think_close = "<|inner_suffix|>"}},
    {{"<|function_call|>"}, {.name = "gigachat", .form = {JSON_FORM("<|function_call|>", NULL)}}},
    {{"<|tool_call_start|>"},
     {.name = "lfm2",
      .form =
          {{.open = "<|tool_call_start|>", .close = "<|tool_call_end|>", .body = BODY_PYTHON}}}},
    {{"<|tool_list_start|>"},
     {.name = "lfm2",
      .form =
          {{.open = "<|tool_call_start|>", .close = "<|tool_call_end|>", .body = BODY_PYTHON}}}},
    {{"<start_function_call>"},
     {.name = "functiongemma",
      .form = {{.open = "<start_function_call>",
                .close = "<end_function_call>",
                .body = BODY_BRACES,
                .sep = "<escape>"}}}},
    {{"<|tool_call>", "<tool_call|>"},
     {.name = "gemma4",
      .form =
          {{.open = "<|tool_call>", .close = "<tool_call|>", .body = BODY_BRACES, .sep = "<|\"|>"}},
      .think_open = "<|channel>thought\n",
      .think_close = "<channel|>"}},
    {{"<arg_key>"},
     {.name = "glm",
      .form = {{.open = "<tool_call>", .close = "</tool_call>", .body = BODY_KEYS}}}},
    {{"<function=", "<parameter="},
     {.name = "qwen3-coder",
      .form = {{.open = "<tool_call>", .close = "</tool_call>", .body = BODY_XML},
               {.open = "<function=", .close = "</function>", .body = BODY_XML}}}},
    {{"<function name=", "<param name="},
     {.name = "minicpm",
      .form = {{.open = "<function name=\"",
                .close = "</function>",
                .body = BODY_INVOKE,
                .sep = "param name=\""}}}},
    {{"<function=", "</function>"},
     {.name = "functionary-3.1",
      .form = {{.open = "<function=", .close = "</function>", .body = BODY_NAMED, .sep = ">"}}}},
    {{">>>"},
     {.name = "functionary-3.2",
      .form = {{.open = ">>>", .body = BODY_NAMED, .sep = "\n", .line_start = true}},
      .noise = {">>>all\n"},
      .starts = ">>>"}},
    {{"<tool_calls>", "</tool_calls>"},
     {.name = "apriel", .form = {JSON_FORM("<tool_calls>", "</tool_calls>")}}},
    {{"<tool_call>"}, {.name = "hermes", .form = {JSON_FORM("<tool_call>", "</tool_call>")}}},
    {{"<function_calls>"},
     {.name = "olmo3",
      .form = {{.open = "<function_calls>", .close = "</function_calls>", .body = BODY_PYTHON}}}},
    {{"```tool_code"},
     {.name = "tool_code",
      .form = {{.open = "```tool_code", .close = "```", .body = BODY_PYTHON},
               JSON_FORM("```json", "```")},
      .bare = true}},
    {{"<|python_tag|>"},
     {.name = "llama3",
      .form = {JSON_FORM("<|python_tag|>", NULL)},
      .bare = true,
      .args = "parameters"}},
    {{"\"parameters\": ", "<|start_header_id|>"},
     {.name = "llama3",
      .form = {JSON_FORM("<|python_tag|>", NULL)},
      .bare = true,
      .args = "parameters"}},
    {{"<|open|>", "<|sep|>"}, {.name = "kimi-k3"}},
    {{"tools"}, {.name = "json", .bare = true}},
    {{"Tools"}, {.name = "json", .bare = true}},
    {{NULL}, {.name = "none"}},
};

/* ---- Thinking ---- */

static const struct {
    const char *word, *open, *close, *noise[2];
} thoughts[] = {
    {"<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>", {NULL}},
    {"[THINK]", "[THINK]", "[/THINK]", {NULL}},
    {"<response>", "<think>", "</think>", {"<response>", "</response>"}},
    {"<think>", "<think>", "</think>", {NULL}},
    {"</think>", "<think>", "</think>", {NULL}},
    {"<seed:think>", "<seed:think>", "</seed:think>", {NULL}},
    {"Here is my thought process:", "Here is my thought process:", "Here is my response:", {NULL}},
};

static bool has(struct str s, const char *z) {
    return s.n && memmem(s.p, s.n, z, strlen(z)) != NULL; /* s.p may be NULL */
}

static void add_noise(struct answer_style *s, const char *mark) {
    for (int i = 0; mark && i < STYLE_NOISE; i++) {
        if (s->noise[i]) continue;
        s->noise[i] = mark;
        return;
    }
}

static void add_thinking(struct answer_style *s, const char *word) {
    for (size_t i = 0; i < sizeof thoughts / sizeof *thoughts; i++) {
        if (strcmp(thoughts[i].word, word) != 0) continue;
        s->think_open = thoughts[i].open;
        s->think_close = thoughts[i].close;
        add_noise(s, thoughts[i].noise[0]);
        add_noise(s, thoughts[i].noise[1]);
        return;
    }
}

struct answer_style answer_style_of(struct str source) {
    const struct row *r = rows;
    while (r->words[0] && !(has(source, r->words[0]) && (!r->words[1] || has(source, r->words[1]))))
        r++;
    struct answer_style s = r->style;
    for (size_t i = 0; i < sizeof thoughts / sizeof *thoughts && !s.think_open; i++)
        if (has(source, thoughts[i].word)) add_thinking(&s, thoughts[i].word);
    return s;
}

/* ---- What a Go template writes before its calls ---- */

static struct str strip(struct str s) {
    while (s.n > 0 && strchr(" \n\t\r", s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && strchr(" \n\t\r[", s.p[s.n - 1]))
        s.n--;
    return s;
}

static const char *find(struct str s, const char *z) {
    return memmem(s.p, s.n, z, strlen(z));
}

/* The text between the action before the range over .ToolCalls and it, or the one behind it. */
static struct str around_range(struct str s) {
    const char *range = find(s, "range .ToolCalls"), *end = s.p + s.n;
    if (!range) range = find(s, ":= .ToolCalls");
    if (!range) return STR("");
    const char *open = range, *from = s.p;
    while (open > s.p && !(open[0] == '{' && open[1] == '{'))
        open--;
    for (const char *p = open; p - 2 >= s.p && from == s.p; p--)
        if (p[-1] == '}' && p[-2] == '}') from = p;
    const struct str before = strip((struct str){from, (size_t)(open - from)});
    if (before.n > 0) return before;
    const char *close = find((struct str){range, (size_t)(end - range)}, "}}");
    if (!close) return STR("");
    from = close + 2;
    const char *stop = find((struct str){from, (size_t)(end - from)}, "{");
    return stop ? strip((struct str){from, (size_t)(stop - from)}) : STR("");
}

/* "<mark>" ends with "</mark>". */
void answer_style_infer(struct str source, struct answer_style *s, char **mark) {
    const struct str t = around_range(source);
    if (strcmp(s->name, "json") != 0 || t.n == 0 || t.n > 60) return;
    *mark = calloc(2, t.n + 2);
    if (!*mark) return;
    memcpy(*mark, t.p, t.n);
    s->form[0] = (struct call_form){.open = *mark, .body = BODY_JSON};
    if (t.n < 3 || t.p[0] != '<' || t.p[1] == '|' || t.p[t.n - 1] != '>') return;
    char *close = *mark + t.n + 1;
    snprintf(close, t.n + 2, "</%.*s", (int)(t.n - 1), t.p + 1);
    s->form[0].close = close;
}

/* ---- PARSER names ---- */

static const struct {
    const char *parser, *style, *think;
} parsers[] = {
    {"qwen3", "hermes", "<think>"},
    {"qwen3-thinking", "hermes", "<think>"},
    {"qwen3-instruct", "hermes", NULL},
    {"qwen2.5", "hermes", NULL},
    {"hermes", "hermes", NULL},
    {"qwen3-coder", "qwen3-coder", NULL},
    {"qwen3.5", "qwen3-coder", "<think>"},
    {"nemotron", "qwen3-coder", "<think>"},
    {"nemotron-3-nano", "qwen3-coder", "<think>"},
    {"harmony", "harmony", NULL},
    {"deepseek3", "deepseek", "<think>"},
    {"deepseek3.1", "deepseek", "<think>"},
    {"deepseek-r1", "deepseek-r1", "<think>"},
    {"cogito", "deepseek-r1", "<think>"},
    {"olmo3", "olmo3", NULL},
    {"olmo3-instruct", "olmo3", NULL},
    {"olmo3-think", "olmo3", "<think>"},
    {"ministral", "mistral", "[THINK]"},
    {"mistral", "mistral", NULL},
    {"lfm2", "lfm2", NULL},
    {"lfm2-thinking", "lfm2", "<think>"},
    {"functiongemma", "functiongemma", NULL},
    {"gemma4", "gemma4", NULL},
    {"glm-4.6", "glm", "<think>"},
    {"glm-4.7", "glm", "<think>"},
    {"cohere", "command-r", "<|START_THINKING|>"},
    {"llama3", "llama3", NULL},
    {"phi4", "phi4", NULL},
    {"granite", "granite", "<response>"},
    {"kimi", "kimi", "<think>"},
    {"laguna", "glm", "<think>"},
    {"functionary", "functionary-3.2", NULL},
    {"functionary-3.1", "functionary-3.1", NULL},
    {"deepseek3.2", "dsml", "<think>"},
    {"apertus", "apertus", NULL},
    {"apriel", "apriel", NULL},
    {"gigachat", "gigachat", NULL},
    {"minicpm", "minicpm", "<think>"},
    {"solar", "solar", NULL},
    {"command-r", "action", NULL},
    {"gemma", "tool_code", NULL},
    {"passthrough", "none", NULL},
};

int answer_style_named(const char *parser, struct answer_style *out, struct err *e) {
    const size_t n = sizeof parsers / sizeof *parsers;
    struct buf list = {0};
    for (size_t i = 0; i < n; i++) {
        buf_printf(&list, "%s%s", i ? " " : "", parsers[i].parser);
        if (strcmp(parsers[i].parser, parser) != 0) continue;
        for (const struct row *r = rows; r->style.name; r++) {
            if (strcmp(r->style.name, parsers[i].style) != 0) continue;
            *out = r->style;
            if (parsers[i].think) add_thinking(out, parsers[i].think);
            break;
        }
        buf_fini(&list);
        return 0;
    }
    const int rc = err_set(e, ERR_UNSUPPORTED, "PARSER \"%.60s\": not known; known are %s", parser,
                           list.p ? list.p : "");
    buf_fini(&list);
    return rc;
}
