/* The door to generation (engine/gen.h), the same tests for every implementation: what each
 * operation answers, that what is wrong with a request is told, that nothing hangs when tasks are
 * cancelled, paused, or the gen is closed. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen_rig.h"

static const char *const llama = "models/llama32.gguf";

/* ---- the implementations ---- */

typedef struct gen *open_fn(const char *path, const struct gen_opts *o, struct err *e);

static struct gen *open_child(const char *path, const struct gen_opts *o, struct err *e) {
    return gen_open_child(path, o, NULL, e);
}

static const struct impl {
    const char *name;
    open_fn *open;
} impls[] = {
    {"local", gen_open_local},
    {"child", open_child},
};
enum { N_IMPL = sizeof impls / sizeof *impls };

static struct gen *open_gen(const struct impl *i, const char *rel, struct gen_opts o) {
    struct err e = {0};
    o.engine.n_threads = 2;
    if (!o.engine.n_ctx) o.engine.n_ctx = 256;
    o.engine.chat_template = STR("{% for message in messages %}{{'<|im_start|>' + message['role'] "
                                 "+ '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
                                 "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
                                 "{% endif %}");
    struct gen *g = i->open(golden(rel), &o, &e);
    if (!g) fail_msg("%s: %s", i->name, e.msg);
    return g;
}

static const struct impl *impl_of(void **state) {
    return *state;
}

static const char greedy[] = "'options':{'temperature':0,'num_predict':24,'ignore_eos':true}";

/* ---- opening ---- */

static void test_open(void **state) {
    const struct impl *i = impl_of(state);
    struct err e = {0};
    const struct gen_opts none = {0};
    assert_null(i->open("/nowhere.gguf", &none, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    struct gen *g = open_gen(i, llama, (struct gen_opts){0});
    const struct gen_info *info = gen_info(g);
    assert_string_equal(info->arch, "llama");
    assert_int_equal(info->n_ctx, 256);
    assert_int_equal(info->n_vocab, 448);
    assert_int_equal(info->n_embd, 64);
    assert_int_equal(info->n_parallel, 4);
    assert_false(info->embedding);
    assert_true(info->n_bytes > info->weight_bytes && info->weight_bytes > 0);
    assert_true(gen_alive(g));
    const struct gen_load l = gen_load(g);
    assert_int_equal(l.n_running + l.n_waiting, 0);
    assert_true(l.rss_bytes > 0);
    gen_close(g);
    gen_close(NULL);
}

/* ---- answers ---- */

static void test_text(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk a = {0}, b = {0};
    talk(&a, g, "{'op':'text','raw':true,'prompt':'Hello there',%s}", greedy);
    assert_int_equal(a.n_id[0], 24);
    assert_int_equal(a.n_finish, 1);
    assert_int_equal(a.why[0], GEN_LENGTH);
    assert_int_equal(a.kind[0], GEN_PROMPT);
    assert_int_equal(a.kind[a.n_event - 1], GEN_END);
    assert_int_equal(a.kind[a.n_event - 2], GEN_FINISH);
    assert_int_equal(a.all.n_eval, 24);
    assert_true(a.all.n_prompt > 2 && a.prompt.n_prompt == a.all.n_prompt);
    assert_true(a.all.prompt_ns > 0 && a.all.eval_ns > 0);
    assert_true(a.text[0].n > 0);
    talk(&b, g, "{'op':'text','raw':true,'prompt':'Hello there',%s}", greedy);
    assert_int_equal(b.n_id[0], 24);
    assert_memory_equal(a.id[0], b.id[0], 24 * sizeof(int32_t));
    assert_string_equal(a.text[0].p, b.text[0].p);
    talk_fini(&a);
    talk_fini(&b);
    gen_close(g);
}

/* A draft model guesses for one sequence at a time; nothing that comes out is different. */
static void test_draft(void **state) {
    struct talk plain = {0}, guessed = {0}, many = {0};
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct gen *d = open_gen(impl_of(state), llama, (struct gen_opts){.draft = golden(llama)});
    talk(&plain, g, "{'op':'text','raw':true,'prompt':'Hello there',%s}", greedy);
    talk(&guessed, d, "{'op':'text','raw':true,'prompt':'Hello there',%s}", greedy);
    talk(&many, d, "{'op':'text','raw':true,'n':3,'prompt':'Hello there',%s}", greedy);
    assert_true(gen_info(d)->weight_bytes > gen_info(g)->weight_bytes);
    assert_true(guessed.all.n_drafted > 0); /* how many is a matter of time measured */
    assert_int_equal(guessed.n_id[0], plain.n_id[0]);
    assert_memory_equal(guessed.id[0], plain.id[0], 24 * sizeof(int32_t));
    for (int i = 0; i < 3; i++)
        assert_memory_equal(many.id[i], plain.id[0], 24 * sizeof(int32_t));
    talk_fini(&plain);
    talk_fini(&guessed);
    talk_fini(&many);
    gen_close(g);
    gen_close(d);
}

static void test_stop(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk a = {0}, b = {0};
    talk(&a, g, "{'op':'text','raw':true,'prompt':'Hello there',%s}", greedy);
    size_t at = a.text[0].n / 2;
    while (((unsigned char)a.text[0].p[at] & 0xc0) == 0x80)
        at--;
    json_t *r = json_pack("{s:s,s:b,s:s,s:{s:i,s:i,s:b,s:[s]}}", "op", "text", "raw", 1, "prompt",
                          "Hello there", "options", "temperature", 0, "num_predict", 24,
                          "ignore_eos", 1, "stop", a.text[0].p + at);
    assert_non_null(r);
    talk_start_json(&b, g, r);
    talk_wait(&b);
    assert_int_equal(b.err.code, ERR_NONE);
    assert_int_equal(b.why[0], GEN_STOP);
    assert_true(b.text[0].n <= at);
    assert_memory_equal(a.text[0].p, b.text[0].n ? b.text[0].p : "", b.text[0].n);
    talk_fini(&a);
    talk_fini(&b);
    gen_close(g);
}

static void test_chat(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk a = {0}, r = {0};
    talk(&a, g,
         "{'op':'chat','messages':[{'role':'system','content':'Be brief.'},"
         "{'role':'user','content':'Hi'}],%s}",
         greedy);
    assert_int_equal(a.n_id[0], 24);
    talk(&r, g,
         "{'op':'render','messages':[{'role':'system','content':'Be brief.'},"
         "{'role':'user','content':'Hi'}]}");
    const char *prompt = json_string_value(json_object_get(r.result, "prompt"));
    assert_non_null(strstr(prompt, "Be brief."));
    assert_non_null(strstr(prompt, "assistant"));
    assert_int_equal(json_integer_value(json_object_get(r.result, "n_tokens")), a.all.n_prompt);
    talk_fini(&a);
    talk_fini(&r);
    gen_close(g);
}

/* ---- formats ---- */

static void test_format(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk t = {0};
    /* Whatever the model would like to say. */
    for (int seed = 1; seed < 8; seed++) {
        talk(&t, g,
             "{'op':'chat','messages':[{'role':'user','content':'Hi'}],'format':{'type':'object',"
             "'properties':{'colour':{'enum':['red','blue']},'old':{'type':'boolean'}},"
             "'required':['colour','old'],'additionalProperties':false},"
             "'options':{'temperature':1.5,'seed':%d,'num_predict':2000}}",
             seed);
        if (t.why[0] != GEN_STOP)
            fail_msg("seed %d, %d, %d tokens: %zu bytes, %zu of them blank", seed, t.why[0],
                     t.n_id[0], t.text[0].n, strspn(t.text[0].p + 1, " \n\t\r"));
        json_t *j = json_loads(t.text[0].p, 0, NULL);
        if (!j) fail_msg("seed %d: %s", seed, t.text[0].p);
        assert_true(json_is_boolean(json_object_get(j, "old")));
        assert_non_null(json_string_value(json_object_get(j, "colour")));
        json_decref(j);
        talk_fini(&t);
        talk(&t, g,
             "{'op':'text','raw':true,'prompt':'x','n':3,'format':{'regex':'[0-9]{3}-[a-c]{2}'},"
             "'options':{'temperature':1.5,'seed':%d,'num_predict':2000}}",
             seed);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(t.text[i].n, 6);
            assert_int_equal(strspn(t.text[i].p, "0123456789"), 3);
            assert_int_equal(t.text[i].p[3], '-');
            assert_int_equal(strspn(t.text[i].p + 4, "abc"), 2);
        }
        talk_fini(&t);
    }
    talk(&t, g,
         "{'op':'text','raw':true,'prompt':'x','format':{'gbnf':'root ::= [q] [rs]'},"
         "'options':{'num_predict':50}}");
    assert_int_equal(t.text[0].n, 2);
    assert_int_equal(t.text[0].p[0], 'q');
    talk_fini(&t);
    talk_start(&t, g, "{'op':'text','raw':true,'prompt':'x','format':{'regex':'(((('}}");
    talk_wait(&t);
    assert_true(t.err.code != ERR_NONE);
    assert_non_null(strstr(t.err.msg, "pattern"));
    talk_fini(&t);
    gen_close(g);
}

/* A model that must call calls, with arguments as the tool wants them. */
static void test_must_call(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk t = {0};
    size_t n;
    char *template = (char *)slurp(golden("chat/templates/Qwen-Qwen2.5-7B-Instruct.jinja"), &n);
    template = realloc(template, n + 1);
    template[n] = 0;
    for (int one = 0; one < 2; one++) {
        json_t *r = json_pack(
            "{s:s, s:s, s:[{s:s, s:s}], s:[{s:s, s:{s:s, s:{s:s, s:{s:{s:[s,s]}}, "
            "s:[s], s:b}}}], s:s, s:b, s:{s:f, s:i, s:i}}",
            "op", "chat", "template", template, "messages", "role", "user", "content", "Hi",
            "tools", "type", "function", "function", "name", "paint", "parameters", "type",
            "object", "properties", "colour", "enum", "red", "blue", "required", "colour",
            "additionalProperties", 0, "tool_choice", "required", "parallel_tool_calls", !one,
            "options", "temperature", 1.2, "seed", 3, "num_predict", 2000);
        assert_non_null(r);
        talk_start_json(&t, g, r);
        talk_wait(&t);
        if (t.err.code) fail_msg("%s", t.err.msg);
        assert_int_equal(t.why[0], GEN_CALLS);
        assert_true(one ? json_array_size(t.calls) == 1 : json_array_size(t.calls) >= 1);
        const json_t *f = json_object_get(json_array_get(t.calls, 0), "function");
        assert_string_equal(json_string_value(json_object_get(f, "name")), "paint");
        const char *colour =
            json_string_value(json_object_get(json_object_get(f, "arguments"), "colour"));
        assert_true(strcmp(colour, "red") == 0 || strcmp(colour, "blue") == 0);
        talk_fini(&t);
    }
    free(template);
    gen_close(g);
}

/* ---- tokens and vectors ---- */

static void test_tokenize(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk a = {0}, b = {0};
    talk(&a, g, "{'op':'tokenize','text':'caf\xc3\xa9 au lait','pieces':true,'bos':false}");
    json_t *ids = json_object_get(a.result, "tokens"), *v;
    assert_true(json_array_size(ids) > 3);
    assert_int_equal(json_array_size(json_object_get(a.result, "pieces")), json_array_size(ids));
    struct buf text = {0};
    size_t i;
    json_array_foreach(json_object_get(a.result, "pieces"), i, v) {
        if (json_is_string(v)) buf_str(&text, json_string_value(v));
        for (size_t k = 0; k < json_array_size(v); k++)
            buf_byte(&text, (char)json_integer_value(json_array_get(v, k)));
    }
    assert_string_equal(text.p, "caf\xc3\xa9 au lait");
    buf_fini(&text);
    talk_start_json(&b, g, json_pack("{s:s,s:O}", "op", "detokenize", "tokens", ids));
    talk_wait(&b);
    assert_string_equal(json_string_value(json_object_get(b.result, "text")),
                        "caf\xc3\xa9 au lait");
    talk_fini(&a);
    talk_fini(&b);
    gen_close(g);
}

static void check_embed(const struct impl *i, const char *model) {
    struct gen *g = open_gen(i, model, (struct gen_opts){0});
    const int n_embd = gen_info(g)->n_embd;
    struct talk a = {0}, b = {0};
    talk(&a, g, "{'op':'embed','input':['one text','another','one text']}");
    assert_int_equal(a.n_vector, n_embd);
    double sq = 0;
    for (int k = 0; k < n_embd; k++)
        sq += (double)a.vector[0][k] * (double)a.vector[0][k];
    assert_true(fabs(sq - 1) < 1e-5);
    assert_memory_equal(a.vector[0], a.vector[2], (size_t)n_embd * sizeof(float));
    assert_memory_not_equal(a.vector[0], a.vector[1], (size_t)n_embd * sizeof(float));
    assert_true(a.all.n_prompt == a.choice[0].n_prompt * 2 + a.choice[1].n_prompt);
    talk(&b, g, "{'op':'embed','input':['one text'],'normalize':false}");
    double dot = 0, length = 0;
    for (int k = 0; k < n_embd; k++) {
        dot += (double)a.vector[0][k] * (double)b.vector[0][k];
        length += (double)b.vector[0][k] * (double)b.vector[0][k];
    }
    assert_true(fabs(dot / sqrt(length) - 1) < 1e-5);
    talk_fini(&a);
    talk_fini(&b);
    gen_close(g);
}

static void test_embed(void **state) {
    check_embed(impl_of(state), "models/bert.gguf");
    check_embed(impl_of(state), llama);
}

/* ---- what is wrong with a request ---- */

static void test_bad_requests(void **state) {
    static const struct {
        const char *request, *says;
        enum err_code code;
    } cases[] = {
        {"{}", "op", ERR_USAGE},
        {"{'op':'sing'}", "sing", ERR_USAGE},
        {"{'op':3}", "op", ERR_USAGE},
        {"{'op':'text'}", "prompt", ERR_USAGE},
        {"{'op':'text','prompt':3}", "prompt", ERR_USAGE},
        {"{'op':'text','prompt':'a','colour':'red'}", "colour", ERR_USAGE},
        {"{'op':'text','prompt':'a','messages':[]}", "messages", ERR_USAGE},
        {"{'op':'text','prompt':'a','raw':1}", "raw", ERR_USAGE},
        {"{'op':'text','prompt':'a','raw':true,'system':'b'}", "raw", ERR_USAGE},
        {"{'op':'text','prompt':'a','n':0}", "n", ERR_USAGE},
        {"{'op':'text','prompt':'a','n':129}", "128", ERR_USAGE},
        {"{'op':'text','prompt':'a','n':1.5}", "n", ERR_USAGE},
        {"{'op':'text','prompt':'a','top_logprobs':21}", "20", ERR_USAGE},
        {"{'op':'text','prompt':'a','options':[]}", "options", ERR_USAGE},
        {"{'op':'text','prompt':'a','options':{'top_k':'x'}}", "top_k", ERR_USAGE},
        {"{'op':'text','prompt':'a','options':{'top_p':-1}}", "top_p", ERR_USAGE},
        {"{'op':'text','prompt':'a','format':3}", "format", ERR_USAGE},
        {"{'op':'text','prompt':'a','format':'xml'}", "format", ERR_USAGE},
        {"{'op':'text','prompt':'a','think':'much'}", "think", ERR_USAGE},
        {"{'op':'text','prompt':'a','tokens':[-1]}", "tokens", ERR_USAGE},
        {"{'op':'text','prompt':'a','priority':'urgent'}", "urgent", ERR_USAGE},
        {"{'op':'embed','input':['a'],'priority':1}", "priority", ERR_USAGE},
        {"{'op':'text','raw':true,'tokens':[100000]}", "100000", ERR_FORMAT},
        {"{'op':'chat'}", "messages", ERR_USAGE},
        {"{'op':'chat','messages':{}}", "messages", ERR_USAGE},
        {"{'op':'chat','messages':['a']}", "messages[0]", ERR_USAGE},
        {"{'op':'chat','messages':[{'content':'a'}]}", "role", ERR_USAGE},
        {"{'op':'chat','messages':[{'role':'king','content':'a'}]}", "king", ERR_USAGE},
        {"{'op':'chat','messages':[{'role':'user','content':3}]}", "content", ERR_USAGE},
        {"{'op':'chat','messages':[{'role':'user','text':'a'}]}", "text", ERR_USAGE},
        {"{'op':'chat','messages':[{'role':'user'}],'continue':true}", "continue", ERR_USAGE},
        {"{'op':'chat','messages':[],'tools':[{}]}", "function", ERR_USAGE},
        {"{'op':'chat','messages':[],'tools':[{'function':{}}]}", "name", ERR_USAGE},
        {"{'op':'chat','messages':[],'tool_choice':'required'}", "tool_choice", ERR_USAGE},
        {"{'op':'chat','messages':[],'tool_choice':{'name':'f'}}", "tool_choice", ERR_USAGE},
        {"{'op':'chat','messages':[],'tool_choice':7}", "tool_choice", ERR_USAGE},
        {"{'op':'embed'}", "input", ERR_USAGE},
        {"{'op':'embed','input':'a'}", "input", ERR_USAGE},
        {"{'op':'embed','input':[{}]}", "input", ERR_USAGE},
        {"{'op':'embed','input':['a'],'dimensions':0}", "dimensions", ERR_USAGE},
        {"{'op':'embed','input':[[999999]]}", "999999", ERR_FORMAT},
        {"{'op':'rerank','documents':['a']}", "query", ERR_USAGE},
        {"{'op':'rerank','query':'a'}", "documents", ERR_USAGE},
        {"{'op':'rerank','query':'a','documents':[1]}", "documents", ERR_USAGE},
        {"{'op':'tokenize'}", "text", ERR_USAGE},
        {"{'op':'detokenize'}", "tokens", ERR_USAGE},
        {"{'op':'detokenize','tokens':[99999]}", "99999", ERR_FORMAT},
        {"{'op':'render'}", "messages", ERR_USAGE},
    };
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t = {0};
        talk_start(&t, g, "%s", cases[i].request);
        talk_wait(&t);
        if (t.err.code != cases[i].code || !strstr(t.err.msg, cases[i].says))
            fail_msg("%s: code %d, \"%s\"", cases[i].request, t.err.code, t.err.msg);
        assert_int_equal(t.kind[t.n_event - 1], GEN_END);
        talk_fini(&t);
    }
    struct talk t = {0};
    talk(&t, g, "{'op':'text','raw':true,'prompt':'a','system':null}");
    talk_fini(&t);
    gen_close(g);
}

/* ---- cancelling, pausing, closing ---- */

static const char endless[] = "'options':{'temperature':0,'num_predict':100000,'ignore_eos':true}";

static void test_cancel(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    for (int k = 1; k < 6; k++) {
        struct talk t = {.cancel_after = k};
        talk_start(&t, g, "{'op':'text','raw':true,'prompt':'Hello',%s}", endless);
        talk_wait(&t);
        assert_int_equal(t.err.code, ERR_CANCELLED);
        assert_int_equal(t.n_finish, 1);
        assert_int_equal(t.why[0], GEN_CANCELLED);
        talk_fini(&t);
    }
    gen_close(g);
}

/* One that has not had its turn yet. */
static void test_cancel_waiting(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){.engine.n_parallel = 1});
    struct talk a = {0}, b = {0};
    talk_start(&a, g, "{'op':'text','raw':true,'prompt':'Hello',%s}", endless);
    talk_wait_events(&a, 3);
    talk_start(&b, g, "{'op':'text','raw':true,'prompt':'Hello',%s}", endless);
    pthread_mutex_lock(&b.lock);
    if (b.task) gen_cancel(b.task);
    pthread_mutex_unlock(&b.lock);
    pthread_mutex_lock(&a.lock);
    if (a.task) gen_cancel(a.task);
    pthread_mutex_unlock(&a.lock);
    talk_wait(&a);
    talk_wait(&b);
    assert_int_equal(a.err.code, ERR_CANCELLED);
    assert_int_equal(b.err.code, ERR_CANCELLED);
    talk_fini(&a);
    talk_fini(&b);
    gen_close(g);
}

static void set_paused(struct talk *t, bool paused) {
    pthread_mutex_lock(&t->lock);
    if (t->task) paused ? gen_pause(t->task) : gen_resume(t->task);
    pthread_mutex_unlock(&t->lock);
}

static void test_pause(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk t = {0};
    talk_start(&t, g, "{'op':'text','raw':true,'prompt':'Hello',%s}", endless);
    talk_wait_events(&t, 3);
    set_paused(&t, true);
    int n = -1;
    for (int i = 0; i < 40 && talk_n_events(&t) != n; i++) { /* what was under way comes */
        n = talk_n_events(&t);
        usleep(60000);
    }
    assert_int_equal(talk_n_events(&t), n);
    set_paused(&t, false);
    talk_wait_events(&t, n + 3);
    assert_true(talk_n_events(&t) >= n + 3);
    set_paused(&t, true); /* a paused one can be cancelled */
    pthread_mutex_lock(&t.lock);
    if (t.task) gen_cancel(t.task);
    pthread_mutex_unlock(&t.lock);
    talk_wait(&t);
    talk_fini(&t);
    gen_close(g);
}

static void test_close_under_way(void **state) {
    struct gen *g = open_gen(impl_of(state), llama, (struct gen_opts){0});
    struct talk t[6] = {0};
    for (int i = 0; i < 6; i++)
        talk_start(&t[i], g, "{'op':'text','raw':true,'prompt':'Hello %d',%s}", i, endless);
    talk_wait_events(&t[0], 3);
    set_paused(&t[0], true);
    gen_close(g);
    for (int i = 0; i < 6; i++) {
        assert_true(t[i].ended);
        assert_int_equal(t[i].err.code, ERR_CANCELLED);
        talk_fini(&t[i]);
    }
}

/* ---- each for every implementation ---- */

#define EACH(f)                                                                                    \
    { #f, f, NULL, NULL, NULL }

int main(void) {
    static const struct CMUnitTest tests[] = {
        EACH(test_open),      EACH(test_text),
        EACH(test_draft),     EACH(test_stop),
        EACH(test_chat),      EACH(test_format),
        EACH(test_must_call), EACH(test_tokenize),
        EACH(test_embed),     EACH(test_bad_requests),
        EACH(test_cancel),    EACH(test_cancel_waiting),
        EACH(test_pause),     EACH(test_close_under_way),
    };
    enum { N = sizeof tests / sizeof *tests };
    static struct CMUnitTest all[N * N_IMPL];
    static char names[N * N_IMPL][80];
    use_program();
    for (int i = 0; i < N * N_IMPL; i++) {
        all[i] = tests[i % N];
        snprintf(names[i], sizeof names[i], "%s, %s", tests[i % N].name, impls[i / N].name);
        all[i].name = names[i];
        all[i].initial_state = (void *)(uintptr_t)&impls[i / N];
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
