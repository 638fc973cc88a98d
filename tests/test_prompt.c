/* engine/prompt: what a request becomes, with a template, without any, and with a gap. */
#include <stdlib.h>
#include <string.h>

#include "chat_rig.h"
#include "engine/prompt.h"
#include "gguf/write.h"
#include "rewrite.h"
#include "support.h"

static char *dir, plain_path[600], chat_path[600], gap_path[600];

/* Any three tokens will do as marks. */
enum { PRE = 70, SUF = 71, MID = 72 };

static void add_marks(struct gguf_writer *w, void *ctx) {
    struct err e = {0};
    (void)ctx;
    assert_int_equal(gguf_set_u32(w, "tokenizer.ggml.fim_pre_token_id", PRE, &e), 0);
    assert_int_equal(gguf_set_u32(w, "tokenizer.ggml.fim_suf_token_id", SUF, &e), 0);
    assert_int_equal(gguf_set_u32(w, "tokenizer.ggml.fim_mid_token_id", MID, &e), 0);
}

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(plain_path, sizeof plain_path, "%s", golden("models/llama32.gguf"));
    snprintf(chat_path, sizeof chat_path, "%s/chat.gguf", dir);
    snprintf(gap_path, sizeof gap_path, "%s/gap.gguf", dir);
    rewrite_template(plain_path, chat_path, REWRITE_CHATML);
    rewrite_model(plain_path, gap_path, add_marks, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static struct engine *open_vocab(const char *path, const char *renderer) {
    struct err e = {0};
    const struct engine_opts o = {.vocab_only = true, .renderer = renderer};
    struct engine *g = engine_open(path, &o, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

/* The tokens of a request, and in *text the prompt. */
static int ask(const struct engine *g, const char *request, struct ids *ids, struct buf *text,
               struct err *e) {
    struct gen_request q;
    struct chat_input in;
    struct chat_prompt p = {0};
    json_t *j = json_of(request), *made = NULL;
    if (gen_request_read(&q, j, e) != 0) fail_msg("%s", e->msg);
    ids->n = 0;
    int rc = prompt_input(g, &q, &in, &made, e);
    in.now_s = 1;
    if (rc == 0) rc = prompt_render(g, NULL, &in, &p, ids, e);
    buf_reset(text);
    buf_append(text, p.text.p ? p.text.p : "", p.text.n);
    chat_prompt_fini(&p);
    json_decref(made);
    gen_request_fini(&q);
    json_decref(j);
    return rc;
}

static void expect(const struct engine *g, const char *request, const char *want) {
    struct ids ids = {0};
    struct buf text = {0};
    struct err e = {0};
    if (ask(g, request, &ids, &text, &e) != 0) fail_msg("%s", e.msg);
    assert_string_equal(text.p, want);
    assert_true(ids.n > 0);
    ids_fini(&ids);
    buf_fini(&text);
}

static void refuse(const struct engine *g, const char *request, const char *word) {
    struct ids ids = {0};
    struct buf text = {0};
    struct err e = {0};
    assert_int_equal(ask(g, request, &ids, &text, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    if (!strstr(e.msg, word) || strstr(e.msg, dir)) fail_msg("%s", e.msg);
    ids_fini(&ids);
    buf_fini(&text);
}

#define TURN "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"

static void with_a_template(void **state) {
    (void)state;
    struct engine *g = open_vocab(chat_path, NULL);
    assert_true(engine_has_template(g));
    expect(g, "{'op':'chat','messages':[{'role':'user','content':'hi'}]}", TURN);
    expect(g, "{'op':'text','prompt':'hi'}", TURN);
    expect(g, "{'op':'text','prompt':'hi','system':'S'}", "<|im_start|>system\nS<|im_end|>\n" TURN);
    /* Tools that must not be called are not asked for. */
    expect(g,
           "{'op':'chat','tool_choice':'none','tools':[{'type':'function','function':{'name':"
           "'f'}}],'messages':[{'role':'user','content':'hi'}]}",
           TURN);
    refuse(g,
           "{'op':'chat','tools':[{'type':'function','function':{'name':'f'}}],'messages':"
           "[{'role':'user','content':'hi'}]}",
           "tools");
    refuse(g, "{'op':'chat','think':'high','messages':[{'role':'user','content':'hi'}]}",
           "thinking");
    refuse(g, "{'op':'text','prompt':'a','suffix':'b'}", "suffix");
    assert_false(prompt_caps(g).tools || prompt_caps(g).thinking || prompt_caps(g).insert);
    engine_close(g);
}

/* As in Ollama: the words alone. */
static void without_a_template(void **state) {
    (void)state;
    struct engine *g = open_vocab(plain_path, NULL);
    assert_false(engine_has_template(g));
    expect(g, "{'op':'text','prompt':'hi'}", "hi");
    expect(g, "{'op':'text','prompt':'hi','system':'S'}", "S\n\nhi");
    expect(g,
           "{'op':'chat','messages':[{'role':'user','content':'a'},{'role':'assistant',"
           "'content':'b'},{'role':'user','content':'c'}]}",
           "abc");
    engine_close(g);
}

static void by_a_renderer(void **state) {
    (void)state;
    struct engine *g = open_vocab(plain_path, "qwen3");
    assert_true(prompt_caps(g).tools && prompt_caps(g).thinking);
    expect(g, "{'op':'chat','think':false,'messages':[{'role':'user','content':'hi'}]}",
           TURN "<think>\n\n</think>\n\n");
    engine_close(g);
    g = open_vocab(plain_path, "unknown");
    refuse(g, "{'op':'chat','messages':[{'role':'user','content':'hi'}]}", "RENDERER");
    engine_close(g);
}

/* The vocabulary's marks around both texts, whose own words are no marks. */
static void with_a_gap(void **state) {
    (void)state;
    struct ids ids = {0}, part = {0};
    struct buf text = {0};
    struct err e = {0};
    struct engine *g = open_vocab(gap_path, NULL);
    const struct vocab *v = engine_vocab(g);
    assert_true(prompt_caps(g).insert);
    assert_int_equal(
        ask(g, "{'op':'text','prompt':'def f(<|eot_id|>','suffix':'return 1'}", &ids, &text, &e),
        0);
    const struct vocab_special *s = vocab_special(v);
    if (s->add_bos) ids_push(&part, s->bos);
    ids_push(&part, PRE);
    tok_encode(v, STR("def f(<|eot_id|>"), (struct tok_opts){0}, &part, &e);
    ids_push(&part, SUF);
    tok_encode(v, STR("return 1"), (struct tok_opts){0}, &part, &e);
    ids_push(&part, MID);
    assert_int_equal(ids.n, part.n);
    assert_memory_equal(ids.v, part.v, ids.n * sizeof *ids.v);
    for (size_t i = 1; i < ids.n; i++)
        assert_int_not_equal(vocab_attr(v, ids.v[i]), TOKEN_CONTROL);
    ids_fini(&ids);
    ids_fini(&part);
    buf_fini(&text);
    engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_template),
        cmocka_unit_test(without_a_template),
        cmocka_unit_test(by_a_renderer),
        cmocka_unit_test(with_a_gap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
