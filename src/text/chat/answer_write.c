/* See answer_write.h. */
#include "text/chat/answer_write.h"

#include <stdlib.h>
#include <string.h>

static const struct call_writing writings[] = {
    {"hermes", "", "<tool_call>\n", NULL, "\n</tool_call>", "\n", ""},
    {"llama3", "", "", NULL, "", "; ", ""},
    {"json", "", "", NULL, "", "\n", ""},
    {"harmony", "", "<|channel|>commentary to=functions.", " <|constrain|>json<|message|>", "",
     "<|call|><|start|>assistant", ""},
    {"mistral", "[TOOL_CALLS][", "", NULL, "", ", ", "]"},
    {"command-r", "<|START_ACTION|>[", "", NULL, "", ", ", "]<|END_ACTION|>"},
    {"action", "Action: ```json\n[", "", NULL, "", ", ", "]```"},
    {"phi4", "<|tool_call|>[", "", NULL, "", ", ", "]<|/tool_call|>"},
    {"granite", "<|tool_call|>[", "", NULL, "", ", ", "]"},
    {"apriel", "<tool_calls>[", "", NULL, "", ", ", "]</tool_calls>"},
    {"gigachat", "", "<|function_call|>", NULL, "", "", ""},
    {"deepseek-r1", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
     "\n```json\n", "\n```<｜tool▁call▁end｜>", "\n", "<｜tool▁calls▁end｜>"},
    {"deepseek", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
     "<｜tool▁call▁end｜>", "", "<｜tool▁calls▁end｜>"},
    {"kimi", "<|tool_calls_section_begin|>", "<|tool_call_begin|>functions.",
     ":0<|tool_call_argument_begin|>", "<|tool_call_end|>", "", "<|tool_calls_section_end|>"},
    {"functionary-3.1", "", "<function=", ">", "</function>", "", ""},
    {"functionary-3.2", "", "", "\n", "", "\n>>>", ""},
    {"qwen3-coder", "", "<tool_call>\n<function=", ">\n", "</function>\n</tool_call>", "\n", ""},
    {"glm", "", "<tool_call>", "\n", "</tool_call>", "\n", ""},
    {"dsml", "<｜DSML｜function_calls>\n", "<｜DSML｜invoke name=\"", "\">\n",
     "</｜DSML｜invoke>\n", "", "</｜DSML｜function_calls>"},
    {"minicpm", "", "<function name=\"", "\">", "</function>", "\n", ""},
    {"lfm2", "<|tool_call_start|>[", "", "(", ")", ", ", "]<|tool_call_end|>"},
    {"olmo3", "<function_calls>\n", "", "(", ")", "\n", "\n</function_calls>"},
    {"tool_code", "```tool_code\n", "", "(", ")", "\n", "\n```"},
    {"functiongemma", "", "<start_function_call>call:", "{", "}<end_function_call>", "", ""},
    {"gemma4", "", "<|tool_call>call:", "{", "}<tool_call|>", "", ""},
};

const struct call_writing *answer_writing_of(const char *style) {
    for (size_t i = 0; i < sizeof writings / sizeof *writings; i++)
        if (strcmp(writings[i].style, style) == 0) return &writings[i];
    return NULL;
}

bool answer_args_are_json(const struct answer_style *s) {
    return s->bare || s->harmony || s->form[0].body == BODY_JSON || s->form[0].body == BODY_NAMED;
}

struct param_form answer_param_form(const struct answer_style *s) {
    switch (s->form[0].body) {
    case BODY_XML:
        return (struct param_form){"<parameter=", ">\n", "\n</parameter>\n", "", NULL, false};
    case BODY_KEYS:
        return (struct param_form){
            "<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n", "", NULL, false};
    case BODY_INVOKE:
        if (s->form[0].sep)
            return (struct param_form){"<param name=\"", "\">", "</param>", "", NULL, false};
        return (struct param_form){"<｜DSML｜parameter name=\"",
                                   "\" string=\"false\">",
                                   "</｜DSML｜parameter>\n",
                                   "",
                                   NULL,
                                   true};
    case BODY_BRACES: return (struct param_form){"", ":", "", ",", s->form[0].sep, false};
    default: return (struct param_form){"", "=", "", ", ", NULL, true};
    }
}

static void write_json(const json_t *j, struct buf *out) {
    char *z = json_dumps(j, JSON_ENCODE_ANY);
    buf_str(out, z ? z : "");
    free(z);
}

static void write_params(const struct answer_style *s, const json_t *args, struct buf *out) {
    const struct param_form f = answer_param_form(s);
    const char *key;
    json_t *v;
    int i = 0;
    json_object_foreach((json_t *)args, key, v) {
        buf_printf(out, "%s%s%s%s", i++ ? f.join : "", f.before, key, f.mid);
        if (json_is_string(v) && !f.json_texts)
            buf_printf(out, "%s%s%s", f.quote ? f.quote : "", json_string_value(v),
                       f.quote ? f.quote : "");
        else
            write_json(v, out);
        buf_str(out, f.after);
    }
}

bool answer_write_calls(const struct answer_style *s, const json_t *calls, struct buf *out) {
    const struct call_writing *w = answer_writing_of(s->name);
    const json_t *call;
    size_t i;
    if (!w) return false;
    buf_str(out, w->first);
    json_array_foreach(calls, i, call) {
        const json_t *f = json_object_get(call, "function");
        const json_t *name = json_object_get(f, "name"), *args = json_object_get(f, "arguments");
        buf_printf(out, "%s%s", i ? w->join : "", w->before);
        if (w->mid) {
            buf_printf(out, "%s%s", json_string_value(name), w->mid);
        } else {
            buf_printf(out, "{\"%s\": ", s->title ? s->title : "name");
            write_json(name, out);
            buf_printf(out, ", \"%s\": ", s->args ? s->args : "arguments");
        }
        if (!w->mid || answer_args_are_json(s))
            write_json(args, out);
        else
            write_params(s, args, out);
        buf_printf(out, "%s%s", w->mid ? "" : "}", w->after);
    }
    buf_str(out, w->last);
    return true;
}
