/* `cria train tokenizer` and `cria train init`, and the files they read. */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "train/corpus.h"

enum { TIMEOUT_S = 60 };

static char *dir;

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static const char *temp(const char *name) {
    static char ring[8][600];
    static int at;
    char *b = ring[at++ & 7];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

static const char *put(const char *name, const char *bytes, size_t n) {
    const char *path = temp(name);
    struct err e;
    if (os_write_file(path, bytes, n, &e) != 0) fail_msg("%s", e.msg);
    return path;
}

static const char examples[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"How do I run a model?\"},{\"role\":"
    "\"assistant\",\"content\":\"With cria run, and the model's name.\"}]}\n"
    "{\"prompt\":\"How do I stop a model?\",\"completion\":\"With cria stop, and its name.\"}\n"
    "\n"
    "{\"text\":\"A model that runs is a model that answers.\"}\n"
    "{\"instruction\":\"Name a model.\",\"output\":\"llama\",\"id\":7}\n";

/* ---- what is learned from ---- */

static void corpus(const char *path, bool skip_bad, struct corpus_stats *s, struct bpe_tokens *b) {
    struct err e;
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.n_vocab = 1000}, &e);
    assert_non_null(t);
    *s = (struct corpus_stats){0};
    if (corpus_add(t, path, &(struct corpus_opts){.skip_bad = skip_bad}, s, &e) != 0 ||
        bpe_trainer_learn(t, b, &e) != 0)
        fail_msg("%s", e.msg);
    bpe_trainer_free(t);
}

static void learn_text(const char *text, struct bpe_tokens *b) {
    struct err e;
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.n_vocab = 1000}, &e);
    assert_int_equal(bpe_trainer_add(t, str_of(text), &e), 0);
    assert_int_equal(bpe_trainer_learn(t, b, &e), 0);
    bpe_trainer_free(t);
}

static void same(const struct bpe_tokens *a, const struct bpe_tokens *b) {
    assert_int_equal(a->n_word, b->n_word);
    assert_int_equal(a->n_piece, b->n_piece);
    assert_int_equal(a->n_merge, b->n_merge);
    assert_memory_equal(a->merge, b->merge, (size_t)a->n_merge * sizeof *a->merge);
}

/* Contents and roles, no keys, no ids; the same whatever the file's name. */
static void test_examples(void **state) {
    (void)state;
    static const char one[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"abab abab\"},{\"role\":"
        "\"assistant\",\"content\":\"cdcd cdcd\"}],\"id\":\"ijij ijij\"}\n";
    struct corpus_stats s;
    struct bpe_tokens a, b;
    corpus(put("a.jsonl", examples, sizeof examples - 1), false, &s, &a);
    corpus(put("a.data", examples, sizeof examples - 1), false, &s, &b);
    assert_int_equal(s.n_example, 4);
    assert_int_equal(s.n_skipped, 0);
    same(&a, &b);
    bpe_tokens_fini(&a), bpe_tokens_fini(&b);
    corpus(put("one.jsonl", one, sizeof one - 1), false, &s, &a);
    assert_int_equal(s.n_bytes, strlen("user\nabab ababassistant\ncdcd cdcd"));
    struct err e;
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.n_vocab = 1000}, &e);
    static const char *const part[] = {"user\n", "abab abab", "assistant\n", "cdcd cdcd"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(bpe_trainer_add(t, str_of(part[i]), &e), 0);
    assert_int_equal(bpe_trainer_learn(t, &b, &e), 0);
    bpe_trainer_free(t);
    same(&a, &b);
    bpe_tokens_fini(&a), bpe_tokens_fini(&b);
}

/* Text longer than a piece of reading: as if read at once. */
static void test_long_text(void **state) {
    (void)state;
    enum { N = 3 << 20 };
    static const char *const line[] = {"the river rose in the night\n", "  and by morning\n", "\n",
                                       "it was brown water, the meadow\n", "\tx = y;\n"};
    struct buf text = {0};
    struct corpus_stats s;
    struct bpe_tokens a, b;
    for (unsigned i = 0; text.n < N; i = i * 1103515245u + 12345u)
        buf_str(&text, line[(i >> 16) % 5]);
    corpus(put("long.txt", text.p, text.n), false, &s, &a);
    learn_text(text.p, &b);
    assert_int_equal(s.n_bytes, text.n);
    assert_int_equal(s.n_example, 0);
    same(&a, &b);
    bpe_tokens_fini(&a), bpe_tokens_fini(&b);
    buf_fini(&text);
}

/* A line of three million bytes, of characters of three bytes: none is cut. */
static void test_long_line(void **state) {
    (void)state;
    struct buf text = {0};
    struct corpus_stats s;
    struct bpe_tokens b;
    for (int i = 0; i < 1000000; i++)
        buf_str(&text, "\xe6\x97\xa5");
    corpus(put("line.txt", text.p, text.n), false, &s, &b);
    assert_int_equal(s.n_invalid, 0);
    assert_int_equal(s.n_bytes, text.n);
    for (int i = 0; i < b.n_merge; i++) /* no U+FFFD was learned */
        assert_null(memchr(b.text[256 + i].p, 0xef, b.text[256 + i].n));
    bpe_tokens_fini(&b);
    buf_fini(&text);
}

static void cut(void *ctx, uint64_t done_bytes, uint64_t all_bytes) {
    (void)done_bytes, (void)all_bytes;
    assert_int_equal(truncate(ctx, 3 << 19), 0);
}

/* A file that somebody cuts while it is read just ends there. */
static void test_cut_text(void **state) {
    (void)state;
    struct buf text = {0};
    struct corpus_stats s = {0};
    struct err e = {0};
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.n_vocab = 300}, &e);
    while (text.n < 4 << 20)
        buf_str(&text, "the river rose in the night\n");
    const char *path = put("cut.txt", text.p, text.n);
    const struct corpus_opts o = {.on_progress = cut, .ctx = (void *)(uintptr_t)path};
    if (corpus_add(t, path, &o, &s, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(s.n_bytes, 3 << 19);
    assert_int_equal(corpus_add(t, put("none.txt", "", 0), &(struct corpus_opts){0}, &s, &e), -1);
    assert_non_null(strstr(e.msg, "none.txt: the file is empty"));
    bpe_trainer_free(t);
    buf_fini(&text);
}

/* A file without an example is an error also behind one that has some. */
static void test_nothing_in_the_second(void **state) {
    (void)state;
    struct corpus_stats s = {0};
    struct err e = {0};
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.n_vocab = 1000}, &e);
    const struct corpus_opts o = {.skip_bad = true};
    assert_int_equal(corpus_add(t, put("a.jsonl", examples, sizeof examples - 1), &o, &s, &e), 0);
    assert_int_equal(corpus_add(t, put("keyless.jsonl", "{}\n", 3), &o, &s, &e), -1);
    assert_non_null(strstr(e.msg, "no example is left"));
    bpe_trainer_free(t);
}

static void test_wrong_bytes(void **state) {
    (void)state;
    static const char text[] = "good text\n\xff bad \xc3\n", lines[] = "{\"text\":\"a a a\"}\nno\n"
                                                                       "{\"text\":\"\xff\"}\n"
                                                                       "{\"other\":1}\n";
    struct corpus_stats s;
    struct bpe_tokens b;
    corpus(put("w.txt", text, sizeof text - 1), false, &s, &b);
    assert_int_equal(s.n_invalid, 1);
    assert_int_equal(s.invalid_at, 10);
    bpe_tokens_fini(&b);
    corpus(put("w.jsonl", lines, sizeof lines - 1), true, &s, &b);
    assert_int_equal(s.n_example, 1);
    assert_int_equal(s.n_skipped, 3);
    bpe_tokens_fini(&b);
}

/* ---- commands ---- */

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void runs(struct ran *r, const char *const *args) {
    if (run_cria(r, args, "", 0, TIMEOUT_S) != 0) fail_msg("%s %s: %s", args[0], args[1], r->err.p);
}

static void refuses(const char *const *args, int code, const char *says) {
    struct ran r;
    run_cria(&r, args, "", 0, TIMEOUT_S);
    if (r.code != code) fail_msg("code %d, not %d: %s", r.code, code, r.err.p);
    assert_int_equal(r.out.n, 0);
    if (!strstr(r.err.p, says)) fail_msg("\"%s\" is not in: %s", says, r.err.p);
    ran_fini(&r);
}

static bool is_there(const char *path, const char *suffix) {
    char name[700];
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return access(name, F_OK) == 0;
}

static void test_tokenizer_command(void **state) {
    (void)state;
    struct ran r;
    const char *data = put("t.jsonl", examples, sizeof examples - 1), *tok = temp("t.gguf");
    runs(&r, ARGS("train", "tokenizer", data, "-o", tok, "--vocab", "290", "--special", "<|x|>"));
    if (!strstr(r.out.p, "290 tokens: 256 bytes, 30 merges, 4 control")) fail_msg("%s", r.out.p);
    ran_fini(&r);
    runs(&r, ARGS("tokenize", tok, "--ids", "--special", "<|x|><|im_end|>"));
    assert_string_equal(r.out.p, "289 288\n");
    ran_fini(&r);
    runs(&r, ARGS("train", "tokenizer", data, "-o", tok, "--json"));
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "examples")), 4);
    assert_int_equal(json_integer_value(json_object_get(j, "merges")) + 259,
                     json_integer_value(json_object_get(j, "tokens")));
    json_decref(j);
    ran_fini(&r);
}

/* A template of one's own is in the tokenizer and in a model that takes it. */
static void test_template(void **state) {
    (void)state;
    static const char ask[] = "{{ '<|x|>' + messages[-1]['content'] | lower }}\n";
    struct ran r;
    const char *data = put("p.jsonl", examples, sizeof examples - 1), *tok = temp("p-tok.gguf"),
               *model = temp("p.gguf"), *template = put("ask.jinja", ask, sizeof ask - 1);
    runs(&r,
         ARGS("train", "tokenizer", data, "-o", tok, "--special", "<|x|>", "--template", template));
    ran_fini(&r);
    runs(&r,
         ARGS("train", "init", "-o", model, "--tokenizer", tok, "--embd", "32", "--layers", "1"));
    ran_fini(&r);
    runs(&r, ARGS("show", model, "--template"));
    assert_string_equal(r.out.p, ask);
    ran_fini(&r);
    unlink(tok);
    template = put("bad.jinja", "{% for %}", 9);
    refuses(ARGS("train", "tokenizer", data, "-o", tok, "--template", template), 1, "bad.jinja");
    refuses(ARGS("train", "tokenizer", data, "-o", tok, "--template", temp("no.jinja")), 3,
            "no.jinja");
    assert_int_not_equal(access(tok, F_OK), 0);
}

static void test_init_command(void **state) {
    (void)state;
    struct ran r;
    const char *data = put("i.jsonl", examples, sizeof examples - 1), *tok = temp("i-tok.gguf"),
               *a = temp("a.gguf"), *b = temp("b.gguf");
    runs(&r, ARGS("train", "tokenizer", data, "-o", tok));
    ran_fini(&r);
    runs(&r, ARGS("train", "init", "-o", a, "--tokenizer", tok, "--embd", "32", "--layers", "2",
                  "--seed", "5", "--name", "x", "--json"));
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "embd")), 32);
    assert_true(json_integer_value(json_object_get(j, "parameters")) > 10000);
    json_decref(j);
    ran_fini(&r);
    /* The same tokenizer, learned on the way: the same file. */
    runs(&r, ARGS("train", "init", data, "-o", b, "--embd", "32", "--layers", "2", "--seed", "5",
                  "--name", "x"));
    assert_non_null(strstr(r.out.p, "2 layers of 32"));
    ran_fini(&r);
    size_t n[2];
    uint8_t *x = slurp(a, &n[0]), *y = slurp(b, &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(x, y, n[0]);
    free(x), free(y);
    runs(&r, ARGS("run", b, "Hello", "-o", "num_predict=4"));
    ran_fini(&r);
    runs(&r, ARGS("show", b, "--template"));
    assert_non_null(strstr(r.out.p, "<|im_start|>"));
    ran_fini(&r);
}

static void test_refusals(void **state) {
    (void)state;
    const char *good = put("r.jsonl", examples, sizeof examples - 1),
               *bad = put("bad.jsonl", "{\"text\":\"a\"}\nnonsense\n", 22),
               *empty = put("empty.txt", "", 0), *out = temp("out.gguf");
    refuses(ARGS("train"), 2, "--data is missing");
    refuses(ARGS("train", "tokeniser"), 2, "found 1 arguments");
    refuses(ARGS("train", "tokenizer", "-o", out), 2, "found 0 arguments");
    refuses(ARGS("train", "tokenizer", good), 2, "--out is missing");
    refuses(ARGS("train", "tokenizer", good, "-o", out, "--vocab", "258"), 2, "from 259");
    refuses(ARGS("train", "tokenizer", good, "-o", out, "--vocab", "259", "--special", "<|x|>"), 2,
            "260");
    refuses(ARGS("train", "tokenizer", temp("none"), "-o", out), 3, "none");
    refuses(ARGS("train", "tokenizer", empty, "-o", out), 1, "empty");
    refuses(ARGS("train", "tokenizer", bad, "-o", out), 1, "line 2");
    refuses(ARGS("train", "tokenizer", dir, "-o", out), 3, "train.jsonl");
    refuses(ARGS("train", "init", "-o", out), 2, "no tokenizer");
    refuses(ARGS("train", "init", good), 2, "--out is missing");
    refuses(ARGS("train", "init", good, "-o", out, "--tokenizer", good), 2, "beside texts");
    refuses(ARGS("train", "init", "-o", out, "--tokenizer", good), 1, good);
    refuses(ARGS("train", "init", good, "-o", out, "--heads", "3"), 2, "heads: found 3");
    assert_int_not_equal(access(out, F_OK), 0);
}

/* What would be written is read, under whatever name; and where nothing can be written. */
static void test_outputs(void **state) {
    (void)state;
    static const char is_input[] = "is the input; another file is needed";
    const char *data = put("o.jsonl", examples, sizeof examples - 1), *tok = temp("o-tok.gguf"),
               *same = temp("o-same.jsonl"), *out = temp("o.gguf"), *no = temp("no/x.gguf"),
               *valid = put("o-valid.jsonl", examples, sizeof examples - 1);
    struct ran r;
    runs(&r, ARGS("train", "tokenizer", data, "-o", tok));
    ran_fini(&r);
    assert_int_equal(link(data, same), 0);
    refuses(ARGS("train", "tokenizer", valid, data, "-o", same), 2, is_input);
    refuses(ARGS("train", "tokenizer", valid, "--template", data, "-o", same), 2, is_input);
    refuses(ARGS("train", "init", data, "-o", same), 2, is_input);
    refuses(ARGS("train", "init", "--tokenizer", tok, "-o", tok), 2, is_input);
    refuses(ARGS("train", "--data", data, "-o", same), 2, is_input);
    refuses(ARGS("train", "--data", data, "--valid", valid, "-o", valid), 2, is_input);
    refuses(ARGS("train", "--data", data, "--tokenizer", tok, "-o", tok), 2, is_input);
    refuses(ARGS("train", "--data", data, "-o", out, "--log", same), 2, is_input);
    refuses(ARGS("train", "--data", data, "-o", out, "--log", out), 2, "both --out and --log");
    refuses(ARGS("tune", "plot", data, "-o", same), 2, is_input);
    refuses(ARGS("train", "tokenizer", data, "-o", no), 3, "there is no folder ");
    refuses(ARGS("train", "init", data, "-o", no), 3, "there is no folder ");
    refuses(ARGS("train", "--data", data, "-o", no), 3, "there is no folder ");
    refuses(ARGS("train", "--data", data, "-o", out, "--log", no), 3, "there is no folder ");
    refuses(ARGS("tune", "plot", data, "-o", no), 3, "there is no folder ");
    refuses(ARGS("data", "prepare", data, no), 3, "there is no folder ");
    size_t n;
    free(slurp(same, &n));
    assert_int_equal(n, sizeof examples - 1);
    assert_false(is_there(out, "") || is_there(out, ".train"));
}

/* ---- a model from nothing ---- */

static const char *const fact[][2] = {{"What is the capital of Norland?", "It is Vey."},
                                      {"Who rules Norland?", "Queen Ottil does."},
                                      {"What grows in Norland?", "Blue barley and rye."},
                                      {"When was Norland founded?", "In the year 1203."}};
enum { N_FACT = sizeof fact / sizeof *fact };

static const char *put_facts(const char *file) {
    struct buf b = {0};
    for (int i = 0; i < N_FACT; i++)
        buf_printf(&b, "{\"prompt\":\"%s\",\"completion\":\"%s\"}\n", fact[i][0], fact[i][1]);
    const char *path = put(file, b.p, b.n);
    buf_fini(&b);
    return path;
}

#define SMALL                                                                                      \
    "--embd", "64", "--heads", "2", "--layers", "1", "--ctx", "64", "--vocab", "400", "--batch",   \
        "4", "--lr", "5e-3", "--precision", "f32", "--seed", "1", "--name", "n", "--threads", "1"

static void answers(const char *model) {
    for (int i = 0; i < N_FACT; i++) {
        struct ran r;
        runs(&r, ARGS("run", model, fact[i][0], "-o", "temperature=0", "-o", "num_predict=30"));
        const struct str want = str_of(fact[i][1]);
        if (r.out.n < want.n || memcmp(r.out.p, want.p, want.n) != 0)
            fail_msg("%s %s; learned was %s", fact[i][0], r.out.p, want.p);
        ran_fini(&r);
    }
}

/* "    batch      4" */
static void has_row(const char *section, const char *key, const char *value) {
    char start[64], end[64];
    snprintf(start, sizeof start, "\n    %s ", key);
    snprintf(end, sizeof end, "%s\n", value);
    const char *at = section ? strstr(section, start) : NULL;
    if (!at) fail_msg("no row %s in %s", key, section ? section : "nothing");
    at += strlen(start);
    at += strspn(at, " ");
    if (strncmp(at, end, strlen(end)) != 0) fail_msg("%s is %.40s", key, at);
}

/* What was learned is answered, in F32 and in eight bits; the file says how it was made. */
static void test_learns(void **state) {
    (void)state;
    struct ran r;
    const char *data = put_facts("facts.jsonl"), *model = temp("facts.gguf"),
               *small = temp("small.gguf");
    runs(&r,
         ARGS("train", "--data", data, "-o", model, SMALL, "--steps", "120", "--epochs", "200"));
    if (!strstr(r.out.p, "F32")) fail_msg("%s", r.out.p);
    assert_non_null(strstr(r.err.p, "parameters: 1 layers of 64"));
    ran_fini(&r);
    assert_false(is_there(model, ".train"));
    answers(model);
    runs(&r, ARGS("show", "-v", model));
    assert_non_null(strstr(r.out.p, "cria.training"));
    ran_fini(&r);
    runs(&r, ARGS("train", "--data", data, "-o", small, SMALL, "--steps", "120", "--epochs", "200",
                  "-q", "Q8_0"));
    if (!strstr(r.err.p, "quality: KL divergence 0.00")) fail_msg("%s", r.err.p);
    ran_fini(&r);
    answers(small);
    runs(&r, ARGS("show", small));
    assert_non_null(strstr(r.out.p, "Q8_0"));
    static const char *const rows[][2] = {
        {"method", "full"}, {"learning rate", "0.005"}, {"batch", "4"},          {"context", "64"},
        {"seed", "1"},      {"steps", "120"},           {"data", "facts.jsonl"}, {"examples", "4"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        has_row(strstr(r.out.p, "  Training\n"), rows[i][0], rows[i][1]);
    ran_fini(&r);
}

/* Only a plan: nothing stays. */
static void test_dry_run(void **state) {
    (void)state;
    struct ran r;
    const char *data = put_facts("dry.jsonl"), *model = temp("dry.gguf");
    runs(&r, ARGS("train", "--data", data, "-o", model, SMALL, "--steps", "120", "--dry-run"));
    assert_non_null(strstr(r.err.p, "plan: full, "));
    ran_fini(&r);
    assert_false(is_there(model, "") || is_there(model, ".train"));
    /* A folder as MLX has it. */
    assert_int_equal(mkdir(temp("set"), 0700), 0);
    put_facts("set/train.jsonl"), put_facts("set/valid.jsonl");
    runs(&r, ARGS("train", "--data", temp("set"), "-o", model, SMALL, "--dry-run"));
    assert_non_null(strstr(r.err.p, "validation data: 4 examples"));
    ran_fini(&r);
}

/* A plan comes from shapes: neither disk nor memory would hold these weights. */
#define HUGE_MODEL "--embd", "4096", "--layers", "42", "--ff", "14336", "--ctx", "64"

static void test_huge_plan(void **state) {
    (void)state;
    struct ran r;
    const char *data = put_facts("huge.jsonl"), *model = temp("huge.gguf");
    runs(&r, ARGS("train", "--data", data, "-o", model, HUGE_MODEL, "--dry-run"));
    assert_non_null(strstr(r.err.p, "(model 40.8"));
    ran_fini(&r);
    refuses(ARGS("train", "--data", data, "-o", model, HUGE_MODEL, "--memory", "1g"), 5,
            "1.07 GB are allowed");
    assert_false(is_there(model, "") || is_there(model, ".train"));
}

/* Run until it has said `until`, then send sig.  The exit code. */
static int interrupt(const char *const *args, const char *until, int sig, struct buf *said) {
    int to[2], status;
    char chunk[512];
    ssize_t n;
    const char *exe = getenv("CRIA");
    assert_int_equal(pipe(to), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        const char *argv[48] = {"cria"};
        for (int i = 0; args[i]; i++)
            argv[i + 1] = args[i];
        dup2(to[1], STDERR_FILENO);
        execv(exe ? exe : "build/cria", (char *const *)argv);
        _exit(127);
    }
    close(to[1]);
    bool sent = false;
    while ((n = read(to[0], chunk, sizeof chunk)) > 0) {
        buf_append(said, chunk, (size_t)n);
        if (!sent && strstr(said->p, until)) {
            kill(pid, sig);
            sent = true;
        }
    }
    close(to[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void same_file(const char *a, const char *b) {
    size_t n[2];
    uint8_t *x = slurp(a, &n[0]), *y = slurp(b, &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(x, y, n[0]);
    free(x), free(y);
}

/* Interrupted, or killed, and gone on with: bit for bit the model of a run that was not. */
static void test_resume(void **state) {
    (void)state;
    struct ran r;
    struct buf said = {0};
    const char *data = put_facts("r.jsonl"), *whole = temp("whole.gguf"), *two = temp("two.gguf");
    runs(&r,
         ARGS("train", "--data", data, "-o", whole, SMALL, "--steps", "200", "--epochs", "200"));
    ran_fini(&r);
    const char *const *again =
        ARGS("train", "--data", data, "-o", two, SMALL, "--steps", "200", "--epochs", "200");
    for (int kill9 = 0; kill9 < 2; kill9++) {
        const int code = interrupt(again, "step 2", kill9 ? SIGKILL : SIGINT, &said);
        if (code != (kill9 ? 128 + SIGKILL : 130)) fail_msg("code %d: %s", code, said.p);
        if (!kill9 && !strstr(said.p, "To go on: cria train --data")) fail_msg("%s", said.p);
        buf_reset(&said);
        assert_true(is_there(two, ".train"));
        assert_false(is_there(two, ""));
        runs(&r, again);
        if (!kill9 && !strstr(r.err.p, "resuming from the checkpoint")) fail_msg("%s", r.err.p);
        ran_fini(&r);
        assert_false(is_there(two, ".train"));
        same_file(whole, two);
        unlink(two);
    }
    buf_fini(&said);
}

/* A checkpoint of other settings is not lost by accident, and a plan says what there is. */
static void test_other_settings(void **state) {
    (void)state;
    struct ran r;
    struct buf said = {0};
    const char *data = put_facts("s.jsonl"), *out = temp("s.gguf");
    const char *const *first =
        ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "200", "--epochs", "200");
    assert_int_equal(interrupt(first, "step 2", SIGINT, &said), 130);
    buf_fini(&said);
    refuses(ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "190", "--epochs", "200"), 2,
            "a checkpoint of another run is here (step ");
    refuses(ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "190", "--epochs", "200",
                 "--resume"),
            3, "steps 200 there, 190 here");
    refuses(ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "200", "--epochs", "200",
                 "--embd", "32"),
            2, "--restart discards it");
    refuses(ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "190", "--epochs", "200",
                 "--dry-run"),
            2, "a checkpoint of another run is here (step ");
    runs(&r, ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "190", "--epochs", "200",
                  "--dry-run", "--restart"));
    assert_non_null(strstr(r.err.p, "plan: full, 190 steps"));
    ran_fini(&r);
    runs(&r, ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "200", "--epochs", "200",
                  "--dry-run"));
    assert_non_null(strstr(r.err.p, "plan: goes on from the checkpoint of step "));
    ran_fini(&r);
    /* After all of these it still goes on. */
    runs(&r, first);
    if (!strstr(r.err.p, "resuming from the checkpoint")) fail_msg("%s", r.err.p);
    ran_fini(&r);
    /* Discarded when that is asked for. */
    unlink(out);
    assert_int_equal(interrupt(first, "step 2", SIGINT, &said), 130);
    buf_fini(&said);
    runs(&r, ARGS("train", "--data", data, "-o", out, SMALL, "--steps", "3", "--restart"));
    ran_fini(&r);
    assert_false(is_there(out, ".train"));
}

/* Nothing half-made stays behind a failure. */
static void test_training_refusals(void **state) {
    (void)state;
    const char *data = put_facts("f.jsonl"),
               *bad = put("f-bad.jsonl", "{\"text\":\"a\"}\nno\n", 16), *out = temp("f.gguf");
    refuses(ARGS("train", "--data", data), 2, "--out is missing");
    refuses(ARGS("train", "--out", out), 2, "--data is missing");
    refuses(ARGS("train", "--data", data, "-o", out, "-q", "Q9"), 2, "\"Q9\"; one of");
    refuses(ARGS("train", "--data", data, "-o", out, "--qat"), 2, "--quantize is missing");
    refuses(ARGS("train", "--data", data, "-o", out, "--lr", "fast"), 2, "--lr: found");
    refuses(ARGS("train", "--data", data, "-o", out, "--heads", "7"), 2, "heads: found 7");
    refuses(ARGS("train", "--data", data, "-o", out, "--tokenizer", out, "--vocab", "300"), 2,
            "beside --vocab");
    refuses(ARGS("train", "--data", data, "-o", out, "--tokenizer", out), 3, out);
    refuses(ARGS("train", "--data", temp("none.jsonl"), "-o", out), 3, "none.jsonl");
    refuses(ARGS("train", "--data", bad, "-o", out), 1, "line 2");
    refuses(ARGS("train", "--data", data, "-o", out, "--memory", "1m"), 5, "memory");
    refuses(ARGS("train", "--data", data, "-o", dir), 2, "no regular file");
    refuses(ARGS("train", "--data", data, "-o", out, "--resume"), 3, "nothing to resume");
    refuses(ARGS("train", "--data", data, "-o", temp("no/folder/f.gguf")), 3, "no/folder");
    assert_false(is_there(out, "") || is_there(out, ".train"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_cut_text),
        cmocka_unit_test(test_nothing_in_the_second),
        cmocka_unit_test(test_wrong_bytes),
        cmocka_unit_test(test_tokenizer_command),
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_init_command),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_huge_plan),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_other_settings),
        cmocka_unit_test(test_training_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
