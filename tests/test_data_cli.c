/* `cria data check` and `cria data prepare`, as a user runs them. */
#include "data_rig.h"
#include "rewrite.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TIMEOUT_S = 100 };

static char *dir, model[600];

#define ARGS(...) ((const char *const[]){"data", __VA_ARGS__, NULL})

static void run(struct ran *r, int code, const char *const *args) {
    run_cria(r, args, NULL, 0, TIMEOUT_S);
    if (r->code != code) fail_msg("exit code %d: %s%s", r->code, r->out.p, r->err.p);
}

/* stdout has each of these, stderr `error` (NULL: it is empty). */
static void says(int code, const char *const *args, const char *error, const char *const *out) {
    struct ran r;
    run(&r, code, args);
    for (; out && *out; out++)
        if (!strstr(r.out.p, *out)) fail_msg("\"%s\" is not in: %s", *out, r.out.p);
    if (error && !strstr(r.err.p, error)) fail_msg("\"%s\" is not in: %s", error, r.err.p);
    if (!error && r.err.n > 0) fail_msg("stderr: %s", r.err.p);
    ran_fini(&r);
}
#define OUT(...) ((const char *const[]){__VA_ARGS__, NULL})

static json_t *json_output(int code, const char *const *args) {
    struct ran r;
    json_error_t je;
    run(&r, code, args);
    json_t *j = json_loads(r.out.p, 0, &je);
    if (!j) fail_msg("%s: %s", je.text, r.out.p);
    ran_fini(&r);
    return j;
}

static int int_at(const json_t *o, const char *a, const char *b) {
    const json_t *v = json_object_get(json_object_get(o, a), b);
    if (!json_is_integer(v)) fail_msg("%s.%s is no whole number", a, b);
    return (int)json_integer_value(v);
}

static int count_files(void) {
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *x; (x = readdir(d));)
        n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

static void same_bytes(const char *path, const char *want) {
    size_t n;
    char *got = (char *)slurp(path, &n);
    if (n != strlen(want) || memcmp(got, want, n) != 0) fail_msg("%s: %.*s", path, (int)n, got);
    free(got);
}

static const char *model_of(const char *name) {
    static char path[2][700];
    static int at;
    at ^= 1;
    snprintf(path[at], sizeof path[at], "%s/%s.gguf", dir, name);
    return path[at];
}

/* ---- check ---- */

static const char good[] = "{\"prompt\":\"one\",\"completion\":\"1\"}\n"
                           "{\"prompt\":\"two\",\"completion\":\"2\"}\n"
                           "{\"messages\":[{\"role\":\"user\",\"content\":\"three\"},"
                           "{\"role\":\"assistant\",\"content\":\"3\"}]}\n"
                           "{\"prompt\":\"one\",\"completion\":\"1\"}\n";

static const char bad[] = "{\"text\":\"fine\"}\n"
                          "{\"text\":\"broken\n"
                          "{\"text\":\"wrong \xff\"}\n"
                          "\n"
                          "{\"other\":1}\n"
                          "{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}\n";

static void check_good(void **state) {
    (void)state;
    const char *file = data_file(dir, "good.jsonl", good);
    says(0, ARGS("check", file), NULL,
         OUT("examples    3 of 4 lines (messages 1, prompt/completion 2)",
             "left out    1 duplicate", "lengths     4 to 6 bytes, median 4",
             "good.jsonl: line 4: duplicate: the same as line 1"));
    /* The vocabulary has no <|im_end|>: of each answer 1 + 9 tokens of text, and the end token. */
    says(0, ARGS("check", file, "--model", model), NULL,
         OUT("examples    3 of 4", "learned     33 tokens, ", "packs       1 of 1024 tokens"));
    /* 3 conversations of ChatML: too long for 16 tokens each. */
    says(1, ARGS("check", file, "--model", model, "--ctx", "16"), "no example is left of 4 lines",
         OUT("left out    3 too long, 1 duplicate", "tokens; at most 16 are accepted"));
    says(0,
         ARGS("check", data_file(dir, "t.jsonl", "{\"text\":\"abcdefghijklmnopqrstuvwxyz\"}"), "-m",
              model, "--ctx", "8", "--cut"),
         NULL,
         OUT("changed     1 cut at the end", "8 to 8 tokens", "learned     7 tokens, 87.5 %"));
}

static void check_bad(void **state) {
    (void)state;
    const char *file = data_file(dir, "bad.jsonl", bad);
    says(1, ARGS("check", file), "found 4 wrong lines; training would stop at the first",
         OUT("1 broken JSON, 1 wrong UTF-8, 1 unknown format, 1 wrong value", "line 2, column ",
             "line 3, column 16: wrong UTF-8", "line 5: unknown format: found the keys \"other\"",
             "line 6: wrong value: messages[0]: role 'robot'"));
    struct ran r; /* and no report of nothing */
    run(&r, 1, ARGS("check", data_file(dir, "e", "")));
    assert_non_null(strstr(r.err.p, "the file is empty"));
    assert_int_equal(r.out.n, 0);
    ran_fini(&r);
    says(1, ARGS("check", data_file(dir, "b", "\n\n")), "only blank lines", NULL);
    says(3, ARGS("check", "/nonexistent/x.jsonl"), "/nonexistent/x.jsonl", NULL);
    says(3, ARGS("check", dir), "/train.jsonl: No such file", NULL);
    says(2, ARGS("check"), "accepted: FILE", NULL);
    says(2, ARGS("check", file, "--ctx", "1"), "--ctx", NULL);
    says(3, ARGS("check", file, "--model", "no-such-model"), "no-such-model", NULL);
    says(2, ARGS("chek"), "did you mean `cria data check`", NULL);
}

static void check_json(void **state) {
    (void)state;
    json_t *j = json_output(1, ARGS("check", data_file(dir, "bad.jsonl", bad), "--json"));
    const json_t *train = json_object_get(j, "train"), *issues = json_object_get(train, "issues");
    assert_true(json_is_false(json_object_get(j, "ok")));
    assert_int_equal(int_at(j, "train", "examples"), 1);
    assert_int_equal(int_at(j, "train", "errors"), 4);
    assert_int_equal(int_at(train, "faults", "broken JSON"), 1);
    assert_int_equal(json_array_size(issues), 4);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(issues, 2), "line")), 5);
    assert_int_equal(json_string_length(json_object_get(train, "sha256")), 64);
    json_decref(j);
    j = json_output(0, ARGS("check", data_file(dir, "good.jsonl", good), "-m", model, "--json"));
    train = json_object_get(j, "train");
    assert_true(json_is_true(json_object_get(j, "ok")));
    assert_int_equal(int_at(train, "lengths", "learned"), 33);
    assert_int_equal(int_at(train, "lengths", "packs"), 1);
    json_decref(j);
}

static void check_leaks(void **state) {
    (void)state;
    const char *train = data_file(dir, "good.jsonl", good);
    const char *valid = data_file(dir, "valid.jsonl",
                                  "{\"prompt\":\"new\",\"completion\":\"4\"}\n"
                                  "{\"input\":\"two\",\"output\":\"2\"}\n"
                                  "{\"prompt\":\"three\",\"completion\":\"drei\"}\n");
    says(0, ARGS("check", train, "--valid", valid), NULL,
         OUT("valid.jsonl: warning: 1 of its examples are in the training data, too, and of 1 more "
             "the question, with another answer; the first is in line 2."));
    json_t *j = json_output(0, ARGS("check", train, "--valid", valid, "--json"));
    assert_int_equal(int_at(j, "leaks", "same"), 1);
    assert_int_equal(int_at(j, "leaks", "prompt"), 1);
    assert_int_equal(int_at(j, "valid", "examples"), 3);
    json_decref(j);
    says(1, ARGS("check", train, "--valid", data_file(dir, "bad.jsonl", bad)), "wrong line",
         OUT("bad.jsonl: line 2"));
}

/* A folder as MLX has it; and no longer examples than a fine-tune of the model takes. */
static void check_folder(void **state) {
    (void)state;
    char folder[600], tuned[700], text[2500] = "";
    struct ran r;
    snprintf(folder, sizeof folder, "%s/set", dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    const char *file = data_file(folder, "train.jsonl", good);
    says(0, ARGS("check", folder), NULL, OUT("set/train.jsonl\n", "examples    3 of 4 lines"));
    data_file(folder, "valid.jsonl", good);
    says(0, ARGS("check", folder), NULL, OUT("set/valid.jsonl: warning: 3 of its examples"));
    run_cria(&r, (const char *const[]){"train", "tokenizer", folder, "-o", model_of("tok"), NULL},
             NULL, 0, TIMEOUT_S);
    assert_int_equal(r.code, 0);
    ran_fini(&r);
    snprintf(tuned, sizeof tuned, "%s", model_of("short"));
    run_cria(&r,
             (const char *const[]){"train", "init", file, "-o", tuned, "--ctx", "64", "--embd",
                                   "32", "--layers", "1", NULL},
             NULL, 0, TIMEOUT_S);
    assert_int_equal(r.code, 0);
    ran_fini(&r);
    for (int i = 0; i < 100; i++)
        strcat(text, "xyz ");
    char line[3000];
    snprintf(line, sizeof line, "{\"text\":\"%s\"}\n", text);
    file = data_file(dir, "long.jsonl", line);
    says(1, ARGS("check", file, "--model", tuned), "no example is left",
         OUT("1 too long", "at most 64 are accepted"));
    says(0, ARGS("check", file, "--model", tuned, "--ctx", "1000"), NULL,
         OUT("examples    1 of 1"));
}

/* Hundreds of megabytes without a newline: refused with its number, in little memory. */
static void check_huge_line(void **state) {
    (void)state;
    const char *file = data_file(dir, "huge.jsonl", "{\"text\":\"fine\"}\n");
    struct ran r;
    assert_int_equal(truncate(file, SANITIZED ? 128 << 20 : 1 << 30), 0);
    run(&r, 1, ARGS("check", file));
    if (!strstr(r.out.p, "line 2: too large: found a line of more than 16 MiB"))
        fail_msg("%s", r.out.p);
    assert_non_null(strstr(r.out.p, "examples    1 of 2 lines"));
    if (!SANITIZED) assert_true(r.peak_rss_bytes < (size_t)100 << 20);
    print_message("%.1f s, %zu MiB\n", r.seconds, r.peak_rss_bytes >> 20);
    ran_fini(&r);
    unlink(file);
}

/* ---- prepare ---- */

static void prepare_forms(void **state) {
    (void)state;
    char out[600];
    snprintf(out, sizeof out, "%s/out.jsonl", dir);
    const char *raw = data_file(dir, "raw.jsonl",
                                "{\"id\":\"a\",\"instruction\":\"Add\",\"input\":\"1 1\","
                                "\"output\":\"2\"}\n"
                                "{bad\n"
                                "{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\n"
                                "{\"prompt\":\"q\",\"completion\":\"\xc3\xa4\"}\r\n"
                                "{\"question\":\"?\"}\n"
                                "{\"prompt\":\"q\",\"completion\":\"\xc3\xa4\"}\n"
                                "{\"text\":\"abc\"}");
    says(0, ARGS("prepare", raw, out),
         "left out of 7 lines: 1 broken JSON, 2 unknown format, 1 "
         "duplicate",
         OUT("out.jsonl: 3 examples"));
    static const char want[] =
        "{\"id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"Add\\n\\n1 1\"},"
        "{\"role\":\"assistant\",\"content\":\"2\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
        "\"\xc3\xa4\"}]}\n"
        "{\"text\":\"abc\"}\n";
    same_bytes(out, want);
    /* What is prepared stays as it is. */
    char again[600];
    snprintf(again, sizeof again, "%s/again.jsonl", dir);
    says(0, ARGS("prepare", out, again), NULL, NULL);
    same_bytes(again, want);
    says(0, ARGS("check", out), NULL, OUT("examples    3 of 3 lines"));
    says(0, ARGS("prepare", out, again, "--system", "Be kind."), NULL, NULL);
    size_t n;
    char *text = (char *)slurp(again, &n);
    static const char first[] = "{\"id\":\"a\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
                                "kind.\"},{\"role\":\"user\"";
    assert_memory_equal(text, first, sizeof first - 1);
    free(text);
}

static void prepare_split(void **state) {
    (void)state;
    struct buf b = {0};
    char out[600], valid[600];
    snprintf(out, sizeof out, "%s/split.jsonl", dir);
    snprintf(valid, sizeof valid, "%s/split.valid.jsonl", dir);
    for (int i = 0; i < 100; i++) /* 40 prompts, of which many have several answers */
        buf_printf(&b, "{\"prompt\":\"question %d\",\"completion\":\"answer %d\"}\n", i % 40, i);
    const char *raw = data_file(dir, "raw.jsonl", b.p);
    json_t *j = json_output(0, ARGS("prepare", raw, out, "--split", "0.05", "--json"));
    const int n_train = (int)json_integer_value(json_object_get(j, "examples"));
    const int n_valid = (int)json_integer_value(json_object_get(j, "valid_examples"));
    json_decref(j);
    assert_int_equal(n_train + n_valid, 100);
    assert_true(n_valid >= 3 && n_valid <= 5);
    j = json_output(0, ARGS("check", out, "--valid", valid, "--json"));
    assert_int_equal(int_at(j, "train", "examples"), n_train);
    assert_int_equal(int_at(j, "valid", "examples"), n_valid);
    assert_int_equal(int_at(j, "leaks", "same") + int_at(j, "leaks", "prompt"), 0);
    json_decref(j);
    /* The same again; another seed, another choice. */
    size_t n;
    char *first = (char *)slurp(valid, &n);
    first = realloc(first, n + 1);
    first[n] = 0;
    says(0, ARGS("prepare", raw, out, "--split", "0.05"), NULL, NULL);
    same_bytes(valid, first);
    says(0, ARGS("prepare", raw, out, "--split", "0.05", "--seed", "1"), NULL, NULL);
    char *other = (char *)slurp(valid, &n);
    assert_true(strncmp(first, other, n) != 0);
    free(first);
    free(other);
    /* Without a split the old second part is not of this file. */
    says(0, ARGS("prepare", raw, out), "valid.jsonl: warning: it is of an earlier --split", NULL);
    buf_fini(&b);
}

static void prepare_keeps_input(void **state) {
    (void)state;
    char link_path[600], valid[600];
    const char *raw = data_file(dir, "keep.jsonl", good);
    snprintf(link_path, sizeof link_path, "%s/link.jsonl", dir);
    snprintf(valid, sizeof valid, "%s/x.valid.jsonl", dir);
    says(2, ARGS("prepare", raw, raw), "is the input", NULL);
    assert_int_equal(link(raw, link_path), 0);
    says(2, ARGS("prepare", raw, link_path), "is the input", NULL);
    unlink(link_path);
    assert_int_equal(symlink(raw, link_path), 0);
    says(2, ARGS("prepare", raw, link_path), "is the input", NULL);
    unlink(link_path);
    assert_int_equal(symlink(raw, valid), 0); /* what --split would write */
    char out[600];
    snprintf(out, sizeof out, "%s/x.jsonl", dir);
    says(2, ARGS("prepare", raw, out, "--split", "0.5"), "is the input", NULL);
    unlink(valid);
    says(2, ARGS("prepare", raw, dir), "is no regular file", NULL);
    says(2, ARGS("prepare", raw), "accepted: RAW.jsonl OUT.jsonl", NULL);
    says(2, ARGS("prepare", raw, out, "--split", "1"), "--split", NULL);
    same_bytes(raw, good);
    assert_int_not_equal(access(out, F_OK), 0);
}

/* What fails leaves the old file and nothing else. */
/* A killed process left its file, and we get its number: the rule in a container. */
static void prepare_beside_leftovers(void **state) {
    (void)state;
    const char *exe = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    char raw[600], out[600], words[4000];
    struct stat st;
    struct ran r;
    snprintf(raw, sizeof raw, "%s/raw.jsonl", dir);
    snprintf(out, sizeof out, "%s/beside.jsonl", dir);
    data_file(dir, "raw.jsonl", "{\"text\":\"a b c\"}\n");
    snprintf(words, sizeof words,
             "umask 027; touch '%s'.$$.partial '%s'.partial; exec '%s' data prepare '%s' '%s'", out,
             out, exe, raw, out);
    const char *const args[] = {"-c", words, NULL};
    if (run_program(&r, "/bin/sh", args, NULL, 0, TIMEOUT_S) != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    snprintf(words, sizeof words, "rm '%s'*", out);
    run_program(&r, "/bin/sh", args, NULL, 0, TIMEOUT_S);
    ran_fini(&r);
}

static void prepare_whole_or_not(void **state) {
    (void)state;
    struct buf b = {0};
    struct rlimit old, little;
    char out[600];
    snprintf(out, sizeof out, "%s/kept.jsonl", dir);
    data_file(dir, "kept.jsonl", "old\n");
    for (int i = 0; i < 2000; i++)
        buf_printf(&b, "{\"prompt\":\"question %d\",\"completion\":\"answer\"}\n", i);
    const char *raw = data_file(dir, "raw.jsonl", b.p);
    const char *nothing = data_file(dir, "nothing.jsonl", "{bad\n{\"text\":\"\"}\n");
    const int n = count_files();
    says(1, ARGS("prepare", nothing, out), "no example is left of 2 lines", NULL);
    same_bytes(out, "old\n");
    says(1, ARGS("prepare", nothing, out, "--split", "0.5"), "no example is left", NULL);
    says(3, ARGS("prepare", raw, "/nonexistent/x.jsonl"), "/nonexistent/x.jsonl", NULL);
    getrlimit(RLIMIT_FSIZE, &old);
    little = old;
    little.rlim_cur = 32 << 10; /* as a full disk */
    setrlimit(RLIMIT_FSIZE, &little);
    says(1, ARGS("prepare", raw, out, "--split", "0.1"), "File too large", NULL);
    setrlimit(RLIMIT_FSIZE, &old);
    same_bytes(out, "old\n");
    assert_int_equal(count_files(), n);
    buf_fini(&b);
}

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(model, sizeof model, "%s/chat.gguf", dir);
    rewrite_template(golden("models/llama32.gguf"), model, REWRITE_CHATML);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_good),           cmocka_unit_test(check_bad),
        cmocka_unit_test(check_json),           cmocka_unit_test(check_leaks),
        cmocka_unit_test(check_folder),         cmocka_unit_test(check_huge_line),
        cmocka_unit_test(prepare_forms),        cmocka_unit_test(prepare_split),
        cmocka_unit_test(prepare_keeps_input),  cmocka_unit_test(prepare_beside_leftovers),
        cmocka_unit_test(prepare_whole_or_not),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
