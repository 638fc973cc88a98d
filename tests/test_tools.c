/* What measures is measured: mkmodel makes the files that the quantizer would make, and they run;
 * bench/compare asks programs for the right thing and does its sums. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "engine/quantize.h"

static char *dir; /* a temporary folder for this run */

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
    static char ring[64][512];
    static int at;
    char *b = ring[at++ & 63];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

/* ---- mkmodel ---- */

/* $B/tools/mkmodel stands beside the program under test, $B/cria. */
static int run_mkmodel(struct ran *r, const char *const *args) {
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *slash = strrchr(cria, '/');
    char path[600];
    snprintf(path, sizeof path, "%.*s/tools/mkmodel", slash ? (int)(slash - cria) : 1,
             slash ? cria : ".");
    return run_program(r, path, args, "", 0, 60);
}

static const char *make(const char *shape, const char *type, const char *rows, const char *threads,
                        const char *seed) {
    char name[128];
    snprintf(name, sizeof name, "%s-%s-%s-%s-%s.gguf", shape, type, rows, threads, seed);
    const char *out = temp(name);
    const char *const args[] = {shape,       out,     "--type", type, "--rows", rows,
                                "--threads", threads, "--seed", seed, NULL};
    struct ran r;
    if (run_mkmodel(&r, args) != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    return out;
}

static const char *quantized(const char *in, const char *type) {
    char name[64];
    snprintf(name, sizeof name, "quantized-%s.gguf", type);
    const char *out = temp(name);
    const struct quantize_opts o = {.mix = mix_by_name(type)};
    struct err e;
    struct quantizer *q = quantize_new(in, &o, &e);
    if (!q || quantize_run(q, out, 1, NULL, NULL, &e) != 0) fail_msg("%s: %s", type, e.msg);
    quantize_free(q);
    return out;
}

static bool same_bytes(const char *a, const char *b) {
    size_t na, nb;
    uint8_t *x = slurp(a, &na), *y = slurp(b, &nb);
    const bool same = na == nb && memcmp(x, y, na) == 0;
    free(x), free(y);
    return same;
}

/* All rows made: byte for byte what the quantizer makes of the same model in F32, so its types, its
 * sizes and its blocks. */
static void files_are_the_quantizers(void **s) {
    (void)s;
    static const char *const shapes[] = {"tiny", "tiny-moe"};
    static const char *const types[] = {"Q4_K_M", "Q8_0", "Q2_K", "Q5_K_S", "IQ4_XS", "BF16"};
    for (int i = 0; i < 2; i++) {
        const char *f32 = make(shapes[i], "F32", "0", "2", "1");
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            const char *made = make(shapes[i], types[k], "0", "2", "1");
            if (!same_bytes(made, quantized(f32, types[k])))
                fail_msg("%s %s is not what the quantizer makes", shapes[i], types[k]);
        }
    }
}

static off_t file_size(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Repeated rows change no size; the seed decides all, threads nothing. */
static void seed_decides(void **s) {
    (void)s;
    const char *one = make("tiny", "Q4_K_M", "16", "1", "7");
    assert_int_equal(file_size(one), file_size(make("tiny", "Q4_K_M", "0", "2", "7")));
    assert_true(same_bytes(one, make("tiny", "Q4_K_M", "16", "2", "7")));
    assert_false(same_bytes(one, make("tiny", "Q4_K_M", "16", "1", "8")));
}

static void ran_well(const char *const *args, struct ran *r) {
    if (run_cria(r, args, "", 0, 60) != 0) fail_msg("%s", r->err.p);
}

/* Models load and write, and the made-up vocabulary holds any text. */
static void models_run(void **s) {
    (void)s;
    static const char *const shapes[] = {"tiny", "tiny-moe"};
    const char *text = "The quick brown f\xc3\xb6x\n 42!";
    for (int i = 0; i < 2; i++) {
        const char *model = make(shapes[i], "Q4_K_M", "64", "2", "1");
        const char *const run[] = {"run", model,           "hello world", "--raw",
                                   "-o",  "num_predict=4", NULL};
        const char *const ids[] = {"tokenize", model, text, "--ids", "--no-bos", NULL};
        struct ran r;
        ran_well(run, &r);
        ran_fini(&r);
        ran_well(ids, &r);
        const char *const back[] = {"tokenize", model, "--decode", r.out.p, NULL};
        struct ran decoded;
        ran_well(back, &decoded);
        assert_non_null(strstr(decoded.out.p, text));
        ran_fini(&decoded);
        ran_fini(&r);
    }
}

static const struct gguf_kv *tokens_of(struct gguf **g, const char *path) {
    struct err e;
    const struct gguf_kv *kv;
    *g = gguf_open(path, &e);
    if (!*g) fail_msg("%s", e.msg);
    assert_int_equal(gguf_get_arr(*g, "tokenizer.ggml.tokens", GGUF_STR, &kv, &e), 1);
    return kv;
}

/* Another file's vocabulary: its tokens, then unused ones up to the shape's number. */
static void vocabularies_are_copied(void **s) {
    (void)s;
    const char *from = golden("models/llama32.gguf"), *out = temp("copied.gguf");
    const char *const args[] = {"tiny", out, "--vocab", from, NULL};
    struct ran r;
    if (run_mkmodel(&r, args) != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    struct gguf *g, *h;
    const struct gguf_kv *a = tokens_of(&g, from), *b = tokens_of(&h, out);
    uint64_t at_a = 0, at_b = 0;
    assert_true(a->n < b->n && b->n == 1024);
    for (uint64_t i = 0; i < b->n; i++) {
        const struct str y = gguf_next_str(b, &at_b);
        if (i < a->n)
            assert_true(str_eq(gguf_next_str(a, &at_a), y));
        else
            assert_true(str_starts(y, STR("[PAD")));
    }
    gguf_close(g), gguf_close(h);
}

/* The rest of a text is written from its first letters, with every type, and guesses of the text's
 * own words come true. */
static void models_copy(void **s) {
    (void)s;
    static const char *const types[] = {"F16", "Q8_0", "Q4_K_M", "Q2_K"};
    const char *rest = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop";
    char prompt[256];
    snprintf(prompt, sizeof prompt, "%s.\n0123", rest);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *model = temp(types[i]);
        const char *const args[] = {"tiny", model, "--type", types[i], "--copy", NULL};
        const char *const run[] = {"run", model,           prompt, "--raw",          "--verbose",
                                   "-o",  "temperature=0", "-o",   "num_predict=44", NULL};
        struct ran r;
        int drafted = 0, accepted = 0;
        if (run_mkmodel(&r, args) != 0) fail_msg("%s", r.err.p);
        ran_fini(&r);
        ran_well(run, &r);
        const char *count = strstr(r.err.p, "draft count:");
        if (strncmp(r.out.p, rest + 4, 40) != 0) fail_msg("%s wrote \"%s\"", types[i], r.out.p);
        if (!count ||
            sscanf(count, "draft count: %d token(s), %d accepted", &drafted, &accepted) != 2)
            fail_msg("%s", r.err.p);
        /* How many are made depends on what rows cost, on a busy machine on anything. */
        if (accepted < 1 || accepted * 10 < drafted * 9)
            fail_msg("%d of %d guesses came true", accepted, drafted);
        ran_fini(&r);
    }
}

static void refused(const char *a, const char *b, const char *c, const char *d, int code,
                    const char *said) {
    const char *const args[] = {a, b, c, d, NULL};
    struct ran r;
    assert_int_equal(run_mkmodel(&r, args), code);
    if (!strstr(r.err.p, said)) fail_msg("\"%s\" does not say \"%s\"", r.err.p, said);
    ran_fini(&r);
}

static void mkmodel_refuses(void **s) {
    (void)s;
    const char *out = temp("refused.gguf");
    refused("gigantic", out, NULL, NULL, 2, "no shape \"gigantic\"");
    refused("tiny", out, "--type", "Q99", 2, "Q4_K_M");
    refused("tiny", out, "--rows", "many", 2, "--rows: found \"many\"");
    refused("tiny-moe", out, "--copy", NULL, 2, "--copy: \"tiny-moe\"");
    refused("tiny", NULL, NULL, NULL, 2, "SHAPE OUT.gguf");
    refused("tiny", out, "--vocab", "README.md", 1, "README.md");
    refused("tiny", temp("nowhere/x.gguf"), NULL, NULL, 3, "nowhere");
    struct stat st;
    assert_int_equal(stat(out, &st), -1);
}

/* ---- bench/compare ---- */

static void write_file(const char *path, const char *text, mode_t mode) {
    struct err e;
    if (os_write_file(path, text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(chmod(path, mode), 0);
}

static void need_python(void) {
    const char *const args[] = {"python3", "-c", "import os; os.waitstatus_to_exitcode", NULL};
    struct ran r;
    const int rc = run_program(&r, "/usr/bin/env", args, "", 0, 30);
    ran_fini(&r);
    if (rc == 0) return;
    print_message("bench/compare is not tested: python3 (3.9 or later) is missing\n");
    skip();
}

static void compare(struct ran *r, const char *const *args) {
    const char *all[40] = {"python3", "bench/compare"};
    int n = 2;
    for (; *args; args++)
        all[n++] = *args;
    if (run_program(r, "/usr/bin/env", all, "", 0, 120) != 0) fail_msg("%s%s", r->out.p, r->err.p);
}

static void has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("no \"%s\" in\n%s", part, text);
}

/* From samples on file, without a run: medians, spread, limit, best peer; what was disturbed does
 * not count, or is marked. */
static void table_adds_up(void **s) {
    (void)s;
    need_python();
    static const char samples[] =
#define SAMPLE(program, value, ok, more)                                                           \
    "{\"model\":\"m.gguf\",\"test\":\"pp512\",\"program\":\"" program "\",\"value\":" value        \
    ",\"ok\":" ok ",\"rss\":1000000" more "}\n"
        SAMPLE("cria", "30", "true", ",\"limit\":40") SAMPLE("cria", "33", "true", ",\"limit\":44")
            SAMPLE("cria", "29", "true", ",\"limit\":40") SAMPLE("cria", "9", "false", "")
                SAMPLE("a", "10", "true", "") SAMPLE("b", "20", "true", "")
                    SAMPLE("c", "15", "false", "");
    const char *model = temp("m.gguf"), *out = temp("samples.jsonl");
    write_file(model, "no model is opened", 0644);
    write_file(out, samples, 0644);
    const char *const args[] = {"--rounds", "0",      "--pp",     "512",    "--out",
                                out,        "--peer", "a=none",   "--peer", "b=none",
                                "--peer",   "c=none", "--memory", model,    NULL};
    struct ran r;
    compare(&r, args);
    has(r.out.p, "| model | test | cria | of limit | a | b | c | cria / best |");
    has(r.out.p,
        "| m.gguf | pp512, t/s | 30.0 (29.0..33.0) | 75 % | 10.0 | 20.0 | ~15.0 | **1.50** |");
    has(r.out.p, "| m.gguf | pp512, peak MB | 1 (1..1) | - | 1 | 1 | ~1 | **1.00** |");
    ran_fini(&r);
}

/* A peer that notes how it was called and answers in llama-bench's form: 100 tokens/s. */
static const char stub[] =
    "#!/bin/sh\n"
    "echo \"$@\" >>\"$0.log\"\n"
    "[ \"$1\" = --help ] && { echo '  -gp <pp,tg>'; exit; }\n"
    "p=0 n=0\n"
    "while [ $# -gt 0 ]; do\n"
    "    case $1 in\n"
    "    -p) p=$2 ;;\n"
    "    -n) n=$2 ;;\n"
    "    -gp) p=${2%,*} n=${2#*,} ;;\n"
    "    esac\n"
    "    shift\n"
    "done\n"
    "echo \"warning before the list\"\n"
    "echo \"[{\\\"n_prompt\\\": $p, \\\"n_gen\\\": $n, \\\"avg_ts\\\": 1,\"\n"
    "echo \"\\\"samples_ts\\\": [90, 100, 500]}]\"\n";

static int count_lines(const char *path, const char *with) {
    size_t n;
    char *text = (char *)slurp(path, &n);
    int count = 0;
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        count += strstr(line, with) != NULL;
    free(text);
    return count;
}

static void programs_are_asked(void **s) {
    (void)s;
    need_python();
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *model = golden("models/llama32.gguf"), *out = temp("run.jsonl");
    const char *peer = temp("stub"), *log = temp("stub.log");
    char named[600];
    write_file(peer, stub, 0755);
    snprintf(named, sizeof named, "stub=%s", peer);
    const char *const args[] = {
        "--cria",  cria,     "--peer",   named,    "--peer-cli",  named, "--rounds",      "2",
        "--noise", "100000", "--out",    out,      "--width",     "2,4", "--tg",          "4",
        "--busy",  "1",      "--memory", "--args", "stub=-rtr 1", model, "--first-token", NULL};
    for (int again = 0; again < 2; again++) { /* the second finds all samples there */
        struct ran r;
        compare(&r, args);
        has(r.out.p, "| llama32.gguf | pp2 busy 1, t/s | ");
        has(r.out.p, "| llama32.gguf | tg4 busy 1, peak MB | ");
        has(r.out.p, "| llama32.gguf | first token busy 1, s | ");
        has(r.out.p, "| 100.0 (100.0..100.0) |");
        ran_fini(&r);
        assert_int_equal(count_lines(out, "\"cria\""), 8);
        assert_int_equal(count_lines(log, "-p 4 -n 0 -rtr 1"), 2);
        assert_int_equal(count_lines(log, "-r 1 -o json -p 0 -n 4 -rtr 1"), 2);
        assert_int_equal(count_lines(log, "-n 1"), 2);
        assert_int_equal(count_lines(log, ""), 8);
    }
    const char *const deep[] = {"--cria",  cria,     "--peer",  named, "--rounds", "1",
                                "--noise", "100000", "--depth", "8",   "--tg",     "4",
                                "--kv",    "bf16",   model,     NULL};
    struct ran r;
    compare(&r, deep);
    has(r.out.p, "tg4@8 kv bf16, t/s");
    ran_fini(&r);
    assert_int_equal(count_lines(log, "-ctk bf16 -ctv bf16 -fa 1 -p 0 -n 0 -gp 8,4"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_the_quantizers),
        cmocka_unit_test(seed_decides),
        cmocka_unit_test(models_run),
        cmocka_unit_test(vocabularies_are_copied),
        cmocka_unit_test(models_copy),
        cmocka_unit_test(mkmodel_refuses),
        cmocka_unit_test(table_adds_up),
        cmocka_unit_test(programs_are_asked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
