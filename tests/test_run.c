/* The commands that run a model, as a user meets them: run without and with a terminal (the chat in
 * a pseudo-terminal), embed, perplexity. */
#include "support.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"
#include "engine/session.h"
#include "rewrite.h"
#include "term.h"

static char *dir;           /* of this test */
static char chat_path[600]; /* a model with a chat template */
static const char *llama;   /* one without */

static int set_up(void **state) {
    (void)state;
    static char path[512];
    dir = temp_folder();
    snprintf(path, sizeof path, "%s", golden("models/llama32.gguf"));
    llama = path;
    snprintf(chat_path, sizeof chat_path, "%s/chat.gguf", dir);
    rewrite_template(llama, chat_path, REWRITE_CHATML);
    setenv("HOME", dir, 1);
    setenv("TERM", "xterm", 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

/* ---- without a terminal ---- */

#define RUN(r, input, ...)                                                                         \
    run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, input, strlen(input), 60)

static void test_same_answer_each_time(void **state) {
    (void)state;
    struct ran a, b;
    for (int pass = 0; pass < 2; pass++) {
        const char *t = pass ? "temperature=0" : "temperature=1";
        assert_int_equal(RUN(a, "", "run", llama, "--raw", "Once upon", "-o", t, "-o", "seed=5",
                             "-o", "num_predict=12"),
                         0);
        assert_int_equal(RUN(b, "", "run", llama, "--raw", "-o", t, "-o", "seed=5", "-o",
                             "num_predict=12", "--threads", "1", "Once", "upon"),
                         0);
        assert_true(a.out.n > 4);
        assert_string_equal(a.out.p, b.out.p);
        assert_int_equal(a.out.p[a.out.n - 1], '\n');
        assert_int_equal(a.err.n, 0);
        ran_fini(&a), ran_fini(&b);
    }
}

/* The longest context there is: "the whole context" of the penalties must not overflow theirs. */
static void test_long_context(void **state) {
    (void)state;
    struct ran r;
    assert_int_equal(RUN(r, "", "run", llama, "--raw", "hi", "-o", "num_ctx=16777216", "-o",
                         "num_predict=2", "-o", "repeat_last_n=-1", "-o", "repeat_penalty=1.1"),
                     0);
    assert_true(r.out.n > 0);
    assert_true(r.peak_rss_bytes < 512u << 20);
    ran_fini(&r);
}

static void collect(void *ctx, int line, json_t *v) {
    (void)line;
    json_array_append(ctx, v);
}

/* The lines of a JSON-lines output. */
static json_t *lines(const struct ran *r) {
    char path[640];
    json_t *list = json_array();
    snprintf(path, sizeof path, "%s/lines.jsonl", dir);
    FILE *f = fopen(path, "wb");
    fwrite(r->out.p, 1, r->out.n, f);
    fclose(f);
    each_jsonl(path, collect, list);
    return list;
}

static json_int_t prompt_tokens(const char *input, const char *word, const char *raw) {
    struct ran r;
    const char *args[] = {"run", llama, "--json", "-o", "num_predict=1", raw, word, NULL};
    if (run_cria(&r, args, input, strlen(input), 60) != 0) fail_msg("%s", r.err.p);
    json_t *all = lines(&r);
    json_t *last = json_array_get(all, json_array_size(all) - 1);
    const json_int_t n = json_integer_value(json_object_get(last, "prompt_eval_count"));
    json_decref(all);
    ran_fini(&r);
    return n;
}

static void test_stdin_comes_first(void **state) {
    (void)state;
    const json_int_t joined = prompt_tokens("", "abc def", "--raw");
    assert_int_equal(prompt_tokens("abc", "def", "--raw"), joined);
    assert_true(prompt_tokens("abc", NULL, "--raw") < joined);
}

static void test_json(void **state) {
    (void)state;
    struct ran plain, r;
    assert_int_equal(RUN(plain, "", "run", chat_path, "hello", "-o", "temperature=0", "-o",
                         "num_predict=9", "-o", "ignore_eos=true"),
                     0);
    assert_int_equal(RUN(r, "", "run", chat_path, "hello", "-o", "temperature=0", "-o",
                         "num_predict=9", "-o", "ignore_eos=true", "--json"),
                     0);
    json_t *all = lines(&r), *line;
    size_t i;
    struct buf text = {0};
    json_array_foreach(all, i, line) {
        const json_t *t = json_object_get(line, "response");
        buf_append(&text, json_string_value(t), json_string_length(t));
        assert_int_equal(json_is_true(json_object_get(line, "done")),
                         i + 1 == json_array_size(all));
        assert_non_null(json_object_get(line, "created_at"));
    }
    line = json_array_get(all, json_array_size(all) - 1);
    assert_string_equal(json_string_value(json_object_get(line, "done_reason")), "length");
    assert_int_equal(json_integer_value(json_object_get(line, "eval_count")), 9);
    assert_true(json_integer_value(json_object_get(line, "total_duration")) > 0);
    assert_int_equal(plain.out.n, text.n + 1); /* and a line feed */
    assert_memory_equal(plain.out.p, text.p, text.n);
    buf_fini(&text);
    json_decref(all);
    ran_fini(&plain), ran_fini(&r);
}

static void test_verbose(void **state) {
    (void)state;
    static const char *const want[] = {
        "total duration:       ", "load duration:        ", "prompt eval count:    ",
        "prompt eval duration: ", "prompt eval rate:     ", "eval count:           5 token(s)\n",
        "eval duration:        ", "eval rate:            ",
    };
    struct ran r;
    assert_int_equal(RUN(r, "", "run", llama, "--raw", "Hello", "--verbose", "-o", "num_predict=5",
                         "-o", "ignore_eos=1"),
                     0);
    const char *at = r.err.p;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        at = strstr(at, want[i]);
        if (!at) fail_msg("no \"%s\" in %s", want[i], r.err.p);
    }
    ran_fini(&r);
}

static void test_stop_and_system(void **state) {
    (void)state;
    struct ran a, b;
    assert_int_equal(RUN(a, "", "run", chat_path, "hi", "-o", "temperature=0", "-o",
                         "num_predict=30", "-o", "ignore_eos=true"),
                     0);
    char stop[32] = "stop=";
    size_t at = a.out.n / 2; /* two characters from the middle */
    while (((unsigned char)a.out.p[at] & 0xc0) == 0x80)
        at++;
    size_t n = utf8_complete(a.out.p + at, 4) ? 4 : 1;
    while (n > 1 && ((unsigned char)a.out.p[at + n] & 0xc0) == 0x80)
        n--;
    snprintf(stop + 5, sizeof stop - 5, "%.*s", (int)n, a.out.p + at);
    assert_int_equal(RUN(b, "", "run", chat_path, "hi", "-o", "temperature=0", "-o",
                         "num_predict=30", "-o", "ignore_eos=true", "-o", stop),
                     0);
    assert_true(b.out.n <= at + 1);
    assert_memory_equal(a.out.p, b.out.p, b.out.n - 1);
    ran_fini(&b);
    assert_int_equal(RUN(b, "", "run", chat_path, "hi", "--system", "Talk like a pirate.", "-o",
                         "temperature=0", "-o", "num_predict=30", "-o", "ignore_eos=true"),
                     0);
    assert_string_not_equal(a.out.p, b.out.p);
    ran_fini(&a), ran_fini(&b);
}

struct refusal {
    const char *args[10];
    int code;
    const char *word; /* in the message */
};

static void test_refusals(void **state) {
    (void)state;
    const struct refusal all[] = {
        {{"run", "/nowhere.gguf", "x"}, 3, "/nowhere.gguf"},
        {{"run", dir, "x"}, 1, dir},
        {{"run", llama, "x", "-o", "magic=1"}, 2, "known: num_ctx"},
        {{"run", llama, "x", "-o", "magic=1"}, 2, "shift"}, /* the end of the list */
        {{"run", llama, "x", "-o", "top_k"}, 2, "NAME=VALUE"},
        {{"run", llama, "x", "-o", "top_k=many"}, 2, "must be of type integer"},
        {{"run", llama, "x", "-o", "top_k=1.5"}, 2, "must be of type integer"},
        {{"run", llama, "x", "-o", "temperature=hot"}, 2, "must be of type number"},
        {{"run", llama, "x", "-o", "temperature=nan"}, 2, "must be of type number"},
        {{"run", llama, "x", "-o", "temperature=-1"}, 2, "accepted"},
        {{"run", llama, "x", "-o", "top_p=1.5"}, 2, "0 to 1"},
        {{"run", llama, "x", "-o", "num_ctx=2"}, 2, "num_ctx"},
        {{"run", llama, "x", "-o", "seed=99999999999999999999"}, 2, "seed"},
        {{"run", llama, "x", "-o", "stop="}, 2, "stop"},
        {{"run", llama, "x", "-o", "penalize_newline=maybe"}, 2, "boolean"},
        {{"run", llama, "x", "-o", "logit_bias=abc"}, 2, "logit_bias"},
        {{"run", llama, "--raw", "x", "-o", "logit_bias=99999:1"}, 2, "99999"},
        {{"run", llama, "x", "--format", "xml"}, 2, "json, or a JSON schema"},
        {{"run", llama, "x", "--think=much"}, 2, "low, medium, high, max"},
        {{"run", llama, "x", "--raw", "--system", "y"}, 2, "--system"},
        {{"run", llama, "x", "--lora", "/nowhere.gguf:0.5"}, 3, "/nowhere.gguf"},
        {{"run", llama, "x", "--lora", "/nowhere.gguf:much"}, 2, "SCALE"},
        {{"run", llama, "x", "--threads", "0"}, 2, "threads"},
        {{"run", llama, "--raw", "--ctx", "8", "a b c d e f g h i j k l m n o"}, 5, "num_ctx"},
        {{"embed"}, 2, "accepted: MODEL [TEXT...]"},
        {{"embed", "/nowhere.gguf", "x"}, 3, "/nowhere.gguf"},
        {{"embed", llama, "x", "--pooling", "max"}, 2, "mean, cls or last"},
        {{"perplexity", llama}, 2, "TEXTFILE"},
        {{"perplexity", llama, "/nowhere.txt"}, 3, "/nowhere.txt"},
        {{"perplexity", llama, dir}, 1, dir},
        {{"perplexity", golden("models/bert.gguf"), "tests/test_run.c"}, 1, "embedding model"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct ran r;
        run_cria(&r, all[i].args, "", 0, 30);
        const bool one_line = r.err.n > 0 && strchr(r.err.p, '\n') == r.err.p + r.err.n - 1;
        if (r.code != all[i].code || !strstr(r.err.p, all[i].word) || !one_line || r.out.n > 0)
            fail_msg("case %zu: code %d, expected %d and \"%s\": %s", i, r.code, all[i].code,
                     all[i].word, r.err.p);
        ran_fini(&r);
    }
}

static void test_settings(void **state) {
    (void)state;
    struct ran r;
    setenv("CRIA_CONTEXT_LENGTH", "lots", 1);
    assert_int_equal(RUN(r, "", "run", llama, "--raw", "x"), 2);
    assert_non_null(strstr(r.err.p, "CRIA_CONTEXT_LENGTH"));
    unsetenv("CRIA_CONTEXT_LENGTH");
    ran_fini(&r);
    setenv("OLLAMA_KV_CACHE_TYPE", "q8_1", 1);
    assert_int_equal(RUN(r, "", "run", llama, "--raw", "x"), 2);
    unsetenv("OLLAMA_KV_CACHE_TYPE");
    ran_fini(&r);
}

static void test_old_options_warn(void **state) {
    (void)state;
    struct ran r;
    assert_int_equal(
        RUN(r, "", "run", llama, "--raw", "x", "-o", "num_gpu=1", "-o", "num_predict=1"), 0);
    assert_non_null(strstr(r.err.p, "num_gpu"));
    ran_fini(&r);
}

static void test_empty_prompt_only_loads(void **state) {
    (void)state;
    struct ran r;
    assert_int_equal(RUN(r, "", "run", llama, ""), 0);
    assert_int_equal(r.out.n, 0);
    ran_fini(&r);
}

/* ---- embed and perplexity ---- */

static double length(const json_t *v) {
    const json_t *x;
    size_t i;
    double sq = 0;
    json_array_foreach(v, i, x) sq += json_number_value(x) * json_number_value(x);
    return sqrt(sq);
}

static void test_embed(void **state) {
    (void)state;
    const char *const models[] = {golden("models/bert.gguf"), llama};
    for (int m = 0; m < 2; m++) {
        struct ran a, b;
        assert_int_equal(RUN(a, "", "embed", models[m], "a cat", "the dog"), 0);
        json_t *va = lines(&a);
        assert_int_equal(json_array_size(va), 2);
        assert_int_equal(json_array_size(json_array_get(va, 0)), 64);
        assert_true(fabs(length(json_array_get(va, 1)) - 1) < 1e-5);
        assert_int_equal(RUN(b, "a cat\nthe dog\n", "embed", models[m]), 0);
        assert_string_equal(a.out.p, b.out.p);
        ran_fini(&b);
        assert_int_equal(RUN(b, "", "embed", models[m], "--no-normalize", "a cat"), 0);
        json_t *vb = lines(&b);
        assert_true(fabs(length(json_array_get(vb, 0)) - 1) > 1e-3);
        json_decref(vb);
        ran_fini(&b);
        assert_int_equal(RUN(b, "", "embed", models[m], "--json", "a cat", "the dog"), 0);
        vb = lines(&b);
        assert_true(json_equal(json_object_get(json_array_get(vb, 0), "embeddings"), va));
        json_decref(vb);
        json_decref(va);
        ran_fini(&a), ran_fini(&b);
    }
    struct ran r; /* `run` of an embedding model prints the vector */
    assert_int_equal(RUN(r, "", "run", models[0], "a cat"), 0);
    json_t *v = lines(&r);
    assert_int_equal(json_array_size(json_array_get(v, 0)), 64);
    json_decref(v);
    ran_fini(&r);
}

/* Longer than the context: cut with a warning, which gives the vector of what is left; or refused.
 */
static void test_embed_truncates(void **state) {
    (void)state;
    struct ran cut, whole, r;
    const char *const model = golden("models/bert.gguf");
    static const char text[] = "the dog and the cat and the dog and the cat";
    assert_int_equal(RUN(cut, "", "embed", model, text, "--ctx", "8", "--json"), 0);
    assert_non_null(strstr(cut.err.p, "longer than the context"));
    json_t *j = lines(&cut);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(j, 0), "prompt_eval_count")),
                     8);
    json_decref(j);
    assert_int_equal(RUN(whole, "", "embed", model, text, "--json", "--no-truncate"), 0);
    assert_int_equal(whole.err.n, 0);
    assert_string_not_equal(cut.out.p, whole.out.p);
    assert_int_equal(RUN(r, "", "embed", model, text, "--ctx", "8", "--no-truncate"), 5);
    assert_non_null(strstr(r.err.p, "the input length exceeds the context length"));
    assert_int_equal(r.out.n, 0);
    ran_fini(&cut), ran_fini(&whole), ran_fini(&r);
}

struct nll {
    const int32_t *tok;
    int n, from;
    double sum;
};

static void add_nll(void *ctx, int i, const float *row, int n_col) {
    struct nll *s = ctx;
    if (i + 1 >= s->n || i + 1 < s->from) return;
    double sum = 0;
    for (int j = 0; j < n_col; j++)
        sum += exp((double)row[j]);
    s->sum += log(sum) - (double)row[s->tok[i + 1]];
}

/* The figure from its definition: two windows of 32 tokens, the second half of each scored. */
static void test_perplexity(void **state) {
    (void)state;
    char path[640];
    struct err e = {0};
    static const char text[] = "The quick brown fox jumps over the lazy dog, and then it sleeps. "
                               "Nobody knows how long it slept, but it was long.";
    snprintf(path, sizeof path, "%s/text.txt", dir);
    assert_int_equal(os_write_file(path, text, sizeof text - 1, &e), 0);
    struct engine_opts o = {.n_ctx = 32, .k_type = QT_F16, .v_type = QT_F16, .n_threads = 1};
    struct engine *g = engine_open(llama, &o, &e);
    struct session *s = session_new(g, &e);
    struct ids ids = {0};
    tok_encode(engine_vocab(g), STR(text), (struct tok_opts){.add_special = true}, &ids, &e);
    assert_true(ids.n >= 32);
    const int n_window = (int)ids.n / 32;
    double sum = 0;
    const struct vocab_special *sp = vocab_special(engine_vocab(g));
    for (int w = 0; w < n_window; w++) {
        struct nll x = {.tok = ids.v + 32 * w, .n = 32, .from = 16};
        if (sp->add_bos) ids.v[32 * w] = sp->bos;
        session_truncate(s, 0);
        assert_int_equal(session_feed_all(s, x.tok, 32, add_nll, &x, &e), 0);
        sum += x.sum;
    }
    struct ran r;
    assert_int_equal(RUN(r, "", "perplexity", llama, path, "--ctx", "32", "--json"), 0);
    json_t *all = lines(&r), *j = json_array_get(all, 0);
    const double got = json_number_value(json_object_get(j, "perplexity"));
    const double want = exp(sum / (16 * n_window));
    assert_int_equal(json_integer_value(json_object_get(j, "n_scored")), 16 * n_window);
    if (fabs(got - want) > 1e-3 * want) fail_msg("perplexity %g; by definition %g", got, want);
    json_decref(all);
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "perplexity", llama, path), 0); /* shorter than one window */
    assert_non_null(strstr(r.out.p, "PPL = "));
    ran_fini(&r);
    ids_fini(&ids);
    session_free(s);
    engine_close(g);
}

/* ---- in a terminal ---- */

static void test_chat(void **state) {
    (void)state;
    struct term t;
    char path[640];
    struct stat st;
    const char *args[] = {"run", chat_path, "-o", "num_predict=8", "-o", "temperature=0", NULL};
    term_open(&t, args, 80);
    assert_true(term_wait(&t, 0, ">>> "));
    assert_non_null(strstr(t.out.p, "Send a message (/? for help)"));
    term_expect(&t, "hello\r", ">>> ");
    term_expect(&t, "/set parameter top_k 7\r", "Set parameter 'top_k' to '7'");
    term_expect(&t, "/set parameter top_k x\r", "must be of type integer");
    term_expect(&t, "/set parameter magic 1\r", "unknown option");
    term_expect(&t, "/set parameter\r", "Usage:");
    term_expect(&t, "/show parameters\r", "top_k                          7");
    term_expect(&t, "/set parameter num_ctx 256\r", "to '256'");
    term_expect(&t, "/show info\r", "context              256");
    term_expect(&t, "/set system Be brief.\r", "Set system message.");
    term_expect(&t, "/show system\r", "Be brief.");
    term_expect(&t, "/show template\r", "<|im_start|>");
    term_expect(&t, "/show license\r", "models of the store have this");
    term_expect(&t, "/set verbose\r", "Set 'verbose' mode.");
    term_expect(&t, "again\r", "eval rate:");
    term_expect(&t, "/set quiet\r", "Set 'quiet' mode.");
    term_expect(&t, "/set nowordwrap\r", "Set 'nowordwrap' mode.");
    term_expect(&t, "/set wordwrap\r", "Set 'wordwrap' mode.");
    term_expect(&t, "/set format json\r", "Set format to 'json' mode.");
    term_expect(&t, "/set magic\r", "Unknown command '/set magic'. Type /? for help");
    term_expect(&t, "/load ../x\r", "No such file");
    term_expect(&t, "/magic\r", "Unknown command '/magic'. Type /? for help");
    term_expect(&t, "/?\r", "Available Commands:");
    term_expect(&t, "/? shortcuts\r", "Ctrl + a");
    term_expect(&t, "/help set\r", "/set parameter");
    term_expect(&t, "\"\"\"first\r", "... ");
    term_expect(&t, "second\"\"\"\r", ">>> ");
    term_expect(&t, "\"\"\"/bye\"\"\"\r", ">>> "); /* text, not a command */
    term_expect(&t, "abc\003", "Use Ctrl + d or /bye to exit.");
    term_expect(&t, "/clear\r", "Cleared session context");
    term_send(&t, "/bye\r");
    assert_int_equal(term_close(&t), 0);

    snprintf(path, sizeof path, "%s/.cria/history", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    size_t n;
    char *h = (char *)slurp(path, &n);
    assert_non_null(strstr(h, "hello"));
    free(h);
    unlink(path);
}

static void test_chat_ctrl_keys(void **state) {
    (void)state;
    struct term t;
    char path[640];
    struct stat st;
    const char *args[] = {"run", chat_path,    "-o", "ignore_eos=true",
                          "-o",  "num_ctx=64", "-o", "num_predict=1000000",
                          NULL};
    setenv("CRIA_NOHISTORY", "1", 1);
    term_open(&t, args, 80);
    assert_true(term_wait(&t, 0, ">>> "));
    for (int i = 0; i < 4; i++) {
        const size_t from = t.out.n;
        term_send(&t, "talk\r");
        assert_true(term_wait(&t, from, "\n")); /* the line's echo; then it answers */
        usleep(200000);                         /* meanwhile its output waits for us to read on */
        term_expect(&t, "\003", ">>> ");        /* ends the answer, not the program */
    }
    term_expect(&t, "/show info\r", "architecture");
    term_send(&t, "\004"); /* Ctrl-D leaves */
    assert_int_equal(term_close(&t), 0);
    snprintf(path, sizeof path, "%s/.cria/history", dir);
    assert_int_equal(stat(path, &st), -1);
    unsetenv("CRIA_NOHISTORY");
}

static void test_ctrl_c_without_chat(void **state) {
    (void)state;
    struct term t;
    const char *args[] = {
        "run", llama,        "--raw", "x", "-o", "num_predict=1000000", "-o", "ignore_eos=true",
        "-o",  "num_ctx=64", NULL};
    term_open(&t, args, 80);
    while (t.out.n < 20) /* it is answering */
        assert_true(term_wait(&t, t.out.n, ""));
    kill(t.pid, SIGINT);
    assert_int_equal(term_close(&t), 130);
}

static void test_who_does_not_chat(void **state) {
    (void)state;
    struct term t;
    const char *args[] = {"run", golden("models/bert.gguf"), NULL};
    term_open(&t, args, 200);
    assert_true(term_wait(&t, 0, "does not chat"));
    assert_int_equal(term_close(&t), 1);
}

/* The id of the one token that stands for a byte. */
static int byte_token(char c) {
    struct err e;
    struct engine *g = engine_open(llama, &(struct engine_opts){.vocab_only = true}, &e);
    struct ids ids = {0};
    assert_non_null(g);
    tok_encode(engine_vocab(g), (struct str){&c, 1}, (struct tok_opts){0}, &ids, &e);
    assert_int_equal(ids.n, 1);
    const int id = ids.v[0];
    ids_fini(&ids);
    engine_close(g);
    return id;
}

/* A model that says nothing but escapes: a terminal shows them, a pipe gets them. */
static void test_control_characters(void **state) {
    (void)state;
    char bias[64];
    snprintf(bias, sizeof bias, "logit_bias=%d:1000", byte_token('\033'));
    const char *args[] = {"run",           llama, "--raw",         "x", "-o", bias, "-o",
                          "temperature=0", "-o",  "num_predict=6", NULL};
    struct term t;
    term_open(&t, args, 80);
    assert_true(term_wait(
        &t, 0, "\xe2\x90\x9b\xe2\x90\x9b\xe2\x90\x9b\xe2\x90\x9b\xe2\x90\x9b\xe2\x90\x9b"));
    assert_null(strchr(t.out.p, '\033'));
    assert_int_equal(term_close(&t), 0);
    struct ran r;
    assert_int_equal(run_cria(&r, args, "", 0, 30), 0);
    assert_string_equal(r.out.p, "\033\033\033\033\033\033\n");
    ran_fini(&r);

    char id[16];
    snprintf(id, sizeof id, "%d", byte_token('\033'));
    const char *decode[] = {"tokenize", llama, "--decode", id, NULL};
    term_open(&t, decode, 80);
    assert_true(term_wait(&t, 0, "\xe2\x90\x9b"));
    assert_null(strchr(t.out.p, '\033'));
    assert_int_equal(term_close(&t), 0);
}

/* Play the output on a small terminal: no line is longer than it is wide, no word is lost. */
static void test_word_wrap(void **state) {
    (void)state;
    enum { WIDTH = 24 };
    const char *args[] = {"run",   llama,
                          "--raw", "x",
                          "-o",    "num_predict=120",
                          "-o",    "seed=3",
                          "-o",    "temperature=1.2",
                          "-o",    "ignore_eos=1",
                          NULL};
    struct term t;
    struct ran r;
    term_open(&t, args, WIDTH);
    struct buf shown = {0};
    term_wait(&t, 0, NULL);
    int col = 0, widest = 0, n_moved = 0;
    for (size_t at = 0; at < t.out.n;) {
        int back = 0, n = 0;
        if (sscanf(t.out.p + at, "\033[%dD\033[K%n", &back, &n) == 1 && n > 0) {
            for (int i = 0; i < back;
                 i++) /* whole characters; combining ones are no trouble here */
                do
                    shown.n--;
                while (((unsigned char)shown.p[shown.n] & 0xc0) == 0x80);
            col -= back;
            at += (size_t)n;
            n_moved++;
            continue;
        }
        uint32_t cp;
        const size_t len = (size_t)utf8_decode(t.out.p + at, t.out.n - at, &cp);
        assert_true(cp != 033);
        if (cp == '\n')
            col = 0;
        else if (cp != '\r')
            col++;
        if (col > widest) widest = col;
        if (cp != '\r') buf_append(&shown, t.out.p + at, len);
        at += len;
    }
    assert_in_range(widest, WIDTH / 2, WIDTH);
    assert_true(n_moved > 0);
    assert_int_equal(term_close(&t), 0);
    /* Line breaks apart, the text is what a pipe gets (control characters shown as pictures). */
    assert_int_equal(run_cria(&r, args, "", 0, 30), 0);
    size_t i = 0;
    for (size_t j = 0; j < r.out.n; j++) {
        if ((unsigned char)r.out.p[j] < 0x20 || r.out.p[j] == 0x7f) continue;
        while (i < shown.n && shown.p[i] != r.out.p[j])
            i++; /* a break, a picture */
        assert_true(i++ < shown.n);
    }
    ran_fini(&r);
    buf_fini(&shown);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_answer_each_time),
        cmocka_unit_test(test_long_context),
        cmocka_unit_test(test_stdin_comes_first),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_verbose),
        cmocka_unit_test(test_stop_and_system),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_old_options_warn),
        cmocka_unit_test(test_empty_prompt_only_loads),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_embed_truncates),
        cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_chat_ctrl_keys),
        cmocka_unit_test(test_ctrl_c_without_chat),
        cmocka_unit_test(test_who_does_not_chat),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_word_wrap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
