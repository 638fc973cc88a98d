/* Strict tools: once a model that may call begins a call, its arguments follow the schema; all else
 * stays free.  A random model that begins calls by chance: the mark of a call is one letter. */
#include "api_rig.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "gen_rig.h"

static const char *const llama = "models/llama32.gguf";

/* The letter in front of a call is its mark (answer_style_infer). */
#define TEMPLATE                                                                                   \
    "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}[{{ .Role }}]{{ .Content }}"           \
    "{{ if .ToolCalls }}e{{ range .ToolCalls }}{'name': '{{ .Function.Name }}', "                  \
    "'arguments': {{ .Function.Arguments }}}{{ end }}{{ end }}{{ end }}"

static char *template_text(void) {
    char *z = strdup(TEMPLATE);
    for (char *p = z; *p; p++)
        if (*p == '\'') *p = '"';
    return z;
}

static struct gen *open_gen(void) {
    struct err e = {0};
    struct gen_opts o = {0};
    o.engine.n_threads = 1;
    o.engine.n_ctx = 1024;
    char *template = template_text();
    o.engine.chat_template = str_of(template);
    struct gen *g = gen_open_local(golden(llama), &o, &e);
    if (!g) fail_msg("%s", e.msg);
    free(template);
    return g;
}

/* Token 101 is the mark, 10 and 13 a line's end, of which there would be many in a call.
 * paint({colour: red or blue, n: 0..9}) and look({}): one or both are strict. */
#define REQUEST                                                                                    \
    "{'op':'chat','messages':[{'role':'user','content':'Hi'}],'tools':[{'type':'function',"        \
    "'function':{'name':'paint','strict':%s,'parameters':{'type':'object','properties':{"          \
    "'colour':{'enum':['red','blue']},'n':{'type':'integer','minimum':0,'maximum':9}},"            \
    "'required':['colour','n'],'additionalProperties':false}}},{'type':'function','function':{"    \
    "'name':'look','strict':true,'parameters':{'type':'object','properties':{},"                   \
    "'additionalProperties':false}}}],'options':{'temperature':1.5,'seed':%d,"                     \
    "'num_predict':300,'ignore_eos':true,'logit_bias':{'101':4,'10':-100,'13':-100}%s}%s}"

static bool is_valid(const json_t *call) {
    const json_t *f = json_object_get(call, "function"), *args = json_object_get(f, "arguments");
    const char *name = json_string_value(json_object_get(f, "name"));
    const char *colour = json_string_value(json_object_get(args, "colour"));
    const json_t *n = json_object_get(args, "n");
    if (strcmp(name, "look") == 0) return json_object_size(args) == 0;
    return json_object_size(args) == 2 && colour &&
           (strcmp(colour, "red") == 0 || strcmp(colour, "blue") == 0) && json_is_integer(n) &&
           json_integer_value(n) >= 0 && json_integer_value(n) <= 9;
}

struct count {
    int n_call, n_paint, n_bad;
    size_t n_text;
};

static void count_calls(struct count *n, const struct talk *t, int n_choice) {
    const json_t *call;
    size_t i;
    json_array_foreach(t->calls, i, call) {
        const json_t *f = json_object_get(call, "function");
        n->n_call++;
        n->n_paint += strcmp(json_string_value(json_object_get(f, "name")), "paint") == 0;
        n->n_bad += !is_valid(call);
    }
    for (int k = 0; k < n_choice; k++)
        n->n_text += t->text[k].n;
}

enum { N_SEED = 10 };

static struct count run(struct gen *g, const char *strict, const char *options, const char *more,
                        int n_choice) {
    struct count n = {0};
    for (int seed = 1; seed <= N_SEED; seed++) {
        struct talk t = {0};
        talk(&t, g, REQUEST, strict, seed * 100, options, more);
        count_calls(&n, &t, n_choice);
        talk_fini(&t);
    }
    print_message("%d calls, %d of paint, %d bad, %zu bytes of text\n", n.n_call, n.n_paint,
                  n.n_bad, n.n_text);
    return n;
}

static void strict_calls_are_valid(void **state) {
    (void)state;
    struct gen *g = open_gen();
    const struct count strict = run(g, "true", "", ",'n':3", 3);
    assert_true(strict.n_paint > 10 && strict.n_text > 100);
    assert_int_equal(strict.n_bad, 0);
    /* Not held, the same model does as it likes. */
    const struct count loose = run(g, "false", "", ",'n':3", 3);
    assert_true(loose.n_paint > 0 && loose.n_bad > 0);
    gen_close(g);
}

/* Several answers side by side, guesses, stop texts that hold text back, one call at most. */
static void all_ways(void **state) {
    (void)state;
    static const struct {
        const char *options, *more;
        int n;
    } ways[] = {
        {",'num_draft':8", "", 1},
        {",'stop':['e{\\'name\\': \\'paint\\', \\'x','}}}}}']", "", 1},
        {",'top_k':20,'top_p':0.9,'min_p':0.01", "", 1},
        {",'mirostat':2", "", 1},
        {"", ",'parallel_tool_calls':false", 1},
        {"", ",'logprobs':true,'top_logprobs':3", 1},
    };
    struct gen *g = open_gen();
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct count n = run(g, "true", ways[i].options, ways[i].more, ways[i].n);
        assert_int_equal(n.n_bad, 0);
        assert_true(n.n_call > 0);
    }
    gen_close(g);
}

/* The same seed gives the same answer, whether its beginning is known or not. */
static void answers_repeat(void **state) {
    (void)state;
    struct gen *g = open_gen();
    struct talk a = {0}, b = {0};
    talk(&a, g, REQUEST, "true", 7, "", "");
    talk(&b, g, REQUEST, "true", 7, "", "");
    assert_int_equal(a.n_id[0], b.n_id[0]);
    assert_memory_equal(a.id[0], b.id[0], (size_t)a.n_id[0] * sizeof a.id[0][0]);
    talk_fini(&a);
    talk_fini(&b);
    gen_close(g);
}

static void cancelled(void **state) {
    (void)state;
    struct gen *g = open_gen();
    for (int after = 1; after < 40; after += 6) {
        struct talk t = {.cancel_after = after};
        talk_start(&t, g, REQUEST, "true", 3, "", "");
        talk_wait(&t);
        assert_int_equal(t.n_finish, 1);
        talk_fini(&t);
    }
    gen_close(g);
}

/* What cannot be enforced is refused by name, called or not, where it is strict only. */
static void refused(void **state) {
    (void)state;
    static const char *const request =
        "{'op':'chat','messages':[{'role':'user','content':'Hi'}],'tools':[{'type':'function',"
        "'function':{'name':'look'}},{'type':'function','function':{'name':'f','strict':%s,"
        "'parameters':{'type':'object','properties':{'a':{'not':{'type':'null'}}}}}}],"
        "'tool_choice':%s,'options':{'num_predict':4}}";
    static const char *const choices[] = {"'auto'", "'required'", "{'name':'look'}"};
    struct gen *g = open_gen();
    struct talk t = {0};
    for (size_t i = 0; i < 3; i++) {
        talk_start(&t, g, request, "true", choices[i]);
        talk_wait(&t);
        assert_int_equal(t.err.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(t.err.msg, "\"not\""));
        assert_string_equal(t.err.field, "tools[1].function.parameters");
        talk_fini(&t);
    }
    talk(&t, g, request, "true", "'none'");
    talk_fini(&t);
    talk(&t, g, request, "false", "'auto'");
    talk_fini(&t);
    gen_close(g);
}

/* ---- through the server ---- */

#define CALLER                                                                                     \
    ",\"template\":\"{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}[{{ .Role }}]"         \
    "{{ .Content }}{{ if .ToolCalls }}e{{ range .ToolCalls }}{\\\"name\\\": "                      \
    "\\\"{{ .Function.Name }}\\\", \\\"arguments\\\": {{ .Function.Arguments }}}{{ end }}"         \
    "{{ end }}{{ end }}\""

/* OpenAI's clients ask for it with "strict" beside name and parameters. */
static void openai_calls(struct serve *s) {
    int n_call = 0;
    for (int seed = 1; seed <= 3; seed++) {
        json_t *choice, *call,
            *j = ask_json(
                s, "POST", "/v1/chat/completions", 200,
                "{\"model\":\"caller\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
                "\"tools\":[{"
                "\"type\":\"function\",\"function\":{\"name\":\"paint\",\"strict\":true,"
                "\"parameters\":{"
                "\"type\":\"object\",\"properties\":{\"colour\":{\"enum\":[\"red\",\"blue\"]},"
                "\"n\":{"
                "\"type\":\"integer\",\"minimum\":0,\"maximum\":9}},\"required\":[\"colour\",\"n\"]"
                ","
                "\"additionalProperties\":false}}}],\"temperature\":1.5,\"seed\":%d,\"n\":4,"
                "\"ignore_eos\":true,"
                "\"max_tokens\":300,\"logit_bias\":{\"101\":4,\"10\":-100,\"13\":-100}}",
                seed * 100);
        size_t i, k;
        json_array_foreach(json_object_get(j, "choices"), i, choice) {
            json_t *calls = json_object_get(json_object_get(choice, "message"), "tool_calls");
            json_array_foreach(calls, k, call) {
                json_t *f = json_object_get(call, "function");
                const char *text = json_string_value(json_object_get(f, "arguments"));
                json_object_set_new(f, "arguments", json_loads(text, 0, NULL));
                if (!is_valid(call)) fail_msg("%s", text);
                n_call++;
            }
        }
        json_decref(j);
    }
    assert_true(n_call > 0);
}

/* The field is named as the dialect has it. */
static void openai_refusals(struct serve *s) {
    static const struct {
        const char *path, *body, *param;
    } wrong[] = {
        {"/v1/chat/completions",
         "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
         "\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":{\"not\":{}}}}]",
         "tools[0].function.parameters"},
        {"/v1/responses",
         "\"input\":\"x\",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"strict\":true,"
         "\"parameters\":{\"not\":{}}}]",
         "tools[0].parameters"},
        {"/v1/messages",
         "\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{"
         "\"name\":"
         "\"f\",\"strict\":true,\"input_schema\":{\"not\":{}}}]",
         NULL},
        {"/api/chat",
         "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
         "\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":{\"not\":{}}}}]",
         NULL},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *j =
            ask_json(s, "POST", wrong[i].path, 400, "{\"model\":\"caller\",%s}", wrong[i].body);
        json_t *e = json_object_get(j, "error");
        const char *said = json_string_value(json_is_object(e) ? json_object_get(e, "message") : e);
        if (!said || !strstr(said, "\"not\"")) fail_msg("%s: %s", wrong[i].path, said);
        if (wrong[i].param)
            assert_string_equal(json_string_value(json_object_get(e, "param")), wrong[i].param);
        json_decref(j);
    }
}

static void through_the_server(void **state) {
    (void)state;
    static struct serve serve;
    serve_start(&serve, NULL, NULL);
    api_make(&serve, "caller", "llama32", CALLER);
    openai_calls(&serve);
    openai_refusals(&serve);
    serve_stop(&serve);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_calls_are_valid),
        cmocka_unit_test(all_ways),
        cmocka_unit_test(answers_repeat),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(refused),
        cmocka_unit_test(through_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
