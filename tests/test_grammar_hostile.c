/* Grammars, schemas and patterns of an enemy (SECURITY.md H9): each is refused within 250 ms and
 * 32 MiB, or read with at most 5 ms for a token until the answer ends, if with an error.  Each runs
 * in a process of its own, which is measured: processor time, and memory above what it began with.
 */
#include "support.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sample/rng.h"
#include "text/grammar/grammar.h"
#include "text/vocab.h"

enum { N_TOKENS = 60 };

struct hostile {
    const char *name;
    void (*make)(struct buf *b);
    char kind; /* 'g' GBNF, 'r' a regular expression, 's' a schema */
    bool refused;
};

struct measured {
    double parse_ms, token_ms; /* token_ms: the slowest */
    long kib;
    int code, n_token;
    char msg[200];
};

static struct gguf *file;
static struct vocab *vocab;
static struct grammar_vocab *gv;
static uint32_t *mask;
static int n_vocab;

static int set_up(void **state) {
    struct err e = {0};
    (void)state;
    file = gguf_open(
        golden(golden_is_full() ? "vocab/ggml-vocab-llama-bpe.gguf" : "models/llama32.gguf"), &e);
    vocab = file ? vocab_load(file, &e) : NULL;
    if (!vocab) return -1;
    n_vocab = vocab_size(vocab);
    gv = grammar_vocab_new(vocab, n_vocab, &e);
    mask = calloc((size_t)n_vocab / 32 + 1, sizeof *mask);
    return gv && mask ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    grammar_vocab_free(gv);
    vocab_free(vocab);
    gguf_close(file);
    free(mask);
    return 0;
}

/* ---- what they write ---- */

static void times(struct buf *b, const char *what, int n) {
    for (int i = 0; i < n; i++)
        buf_str(b, what);
}

static void deep(struct buf *b) {
    buf_str(b, "root ::= "), times(b, "(", 100000), buf_str(b, "\"a\""), times(b, ")", 100000);
}

static void rule_chain(struct buf *b) {
    buf_str(b, "root ::= r0\n");
    for (int i = 0; i < 100000; i++)
        buf_printf(b, "r%d ::= r%d\n", i, i + 1);
    buf_str(b, "r100000 ::= \"a\" root?\n");
}

static void rule_chain_pushing(struct buf *b) {
    buf_str(b, "root ::= r0\n");
    for (int i = 0; i < 20000; i++)
        buf_printf(b, "r%d ::= r%d \"b\"\n", i, i + 1);
    buf_str(b, "r20000 ::= \"a\"\n");
}

static void left_direct(struct buf *b) {
    buf_str(b, "root ::= root \"a\" | \"b\"");
}

static void left_indirect(struct buf *b) {
    buf_str(b, "root ::= r0\n");
    for (int i = 0; i < 20000; i++)
        buf_printf(b, "r%d ::= \"\" r%d \"x\"?\n", i, (i + 1) % 20000);
}

static void left_hidden(struct buf *b) {
    buf_str(b, "root ::= e* f\ne ::= \"x\"? \nf ::= g\ng ::= e root | \"a\"");
}

static void repeat_huge(struct buf *b) {
    buf_str(b, "root ::= \"a\"{0,1000000000}");
}

static void repeat_nested(struct buf *b) {
    buf_str(b, "root ::= (((((\"a\"{0,1000}){0,1000}){0,1000}){0,1000}){0,1000}) \"b\"");
}

static void repeat_many(struct buf *b) {
    buf_str(b, "root ::= ");
    times(b, "\"a\"{0,65535} ", 100);
}

static void stars(struct buf *b) {
    buf_str(b, "root ::= (\"a\"*)* \"b\"");
}

static void stars_deep(struct buf *b) {
    buf_str(b, "root ::= ");
    times(b, "(", 90), buf_str(b, "\"a\"*"), times(b, ")*", 90), buf_str(b, " \"b\"");
}

static void ambiguous_lists(struct buf *b) {
    buf_str(b, "root ::= s \"b\"\ns ::= \"a\" | \"a\" s s | \"a\" s s s");
}

static void optional_row(struct buf *b) {
    buf_str(b, "root ::= ");
    times(b, "[ab]? ", 60000);
}

static void alternation(struct buf *b) {
    buf_str(b, "root ::= \"a\"");
    for (int i = 0; i < 100000; i++)
        buf_printf(b, " | \"%d\"", i);
}

static void alternation_of_rules(struct buf *b) {
    buf_str(b, "root ::= (r0");
    for (int i = 1; i < 15000; i++)
        buf_printf(b, " | r%d", i);
    buf_str(b, ")*");
    for (int i = 0; i < 15000; i++)
        buf_printf(b, "\nr%d ::= [a-z] [a-z]* \"%d\"", i, i);
}

static void frames(struct buf *b) {
    buf_str(b, "root ::= \"(\" root \")\" | \"(\" root \"]\" | \"(\" root \"}\" | \"x\"");
}

static void empty_class(struct buf *b) {
    buf_str(b, "root ::= []");
}

static void reversed(struct buf *b) {
    buf_str(b, "root ::= [z-a]");
}

static void four_bytes(struct buf *b) {
    buf_str(b, "root ::= [");
    for (int i = 0; i < 500; i++)
        buf_printf(b, "\\U%08X-\\U%08X", 0x10000 + i * 2000, 0x10000 + i * 2000 + 900);
    buf_str(b, "]*");
}

static void many_classes(struct buf *b) {
    buf_str(b, "root ::= (");
    for (int i = 0; i < 12000; i++)
        buf_printf(b, "%s[\\U%08X-\\U%08X]", i ? " | " : "", 0x100 + i * 13, 0x100 + i * 17 + 4000);
    buf_str(b, ")*");
}

static void endless(struct buf *b) {
    buf_str(b, "root ::= \"a\" root");
}

static void four_megabytes(struct buf *b) {
    buf_str(b, "root ::= \"a\"\n#");
    times(b, "0123456789abcdef", 300000);
}

static void long_literal(struct buf *b) {
    buf_str(b, "root ::= \"");
    times(b, "0123456789abcdef", 12000);
    buf_str(b, "\"");
}

/* Regular expressions. */
static void regex_deep(struct buf *b) {
    times(b, "(", 100000), buf_str(b, "a"), times(b, ")", 100000);
}
static void regex_stars(struct buf *b) {
    buf_str(b, "(a*)*b");
}
static void regex_exponential(struct buf *b) {
    buf_str(b, "(a|b)*a(a|b){40}");
}
static void regex_repeat(struct buf *b) {
    buf_str(b, "a{0,1000000000}");
}
static void regex_repeat_product(struct buf *b) {
    buf_str(b, "((a{1,1000}){1,1000}){1,1000}");
}
static void regex_alternation(struct buf *b) {
    buf_str(b, "a");
    times(b, "|b", 100000);
}

/* Schemas. */
static void schema_pattern(struct buf *b, const char *pattern) {
    buf_printf(b, "{\"type\":\"string\",\"pattern\":\"%s\"}", pattern);
}
static void schema_exponential(struct buf *b) {
    schema_pattern(b, "a[ab]{30}$");
}
static void schema_stars(struct buf *b) {
    schema_pattern(b, "^(a*)*(b*)*((a|b)*)*c");
}
static void schema_pattern_repeat(struct buf *b) {
    schema_pattern(b, "^.{0,60000}$");
}
static void schema_pattern_classes(struct buf *b) {
    buf_str(b, "{\"type\":\"string\",\"pattern\":\"^(");
    for (int i = 0; i < 3000; i++)
        buf_printf(b, "%s[\\\\u%04x-\\\\u%04x]", i ? "|" : "", 0x100 + i * 11, 0x100 + i * 14);
    buf_str(b, ")*$\"}");
}
static void schema_product(struct buf *b) {
    buf_str(b, "{\"allOf\":[{\"type\":\"string\"}");
    for (int p = 0; p < 12; p++)
        buf_printf(b, ",{\"pattern\":\"^([^a]*a){%d}[^a]*$|^(.{%d})*$\"}", p + 20, p + 31);
    buf_str(b, "]}");
}
static void schema_circle(struct buf *b) {
    buf_str(b, "{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}},"
               "\"$ref\":\"#/$defs/a\"}");
}
static void schema_circle_choice(struct buf *b) {
    buf_str(
        b,
        "{\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/b\"}]},\"b\":{"
        "\"anyOf\":[{\"$ref\":\"#/$defs/a\"},{\"type\":\"null\"}]}},\"$ref\":\"#/$defs/a\"}");
}
static void schema_large(struct buf *b) { /* 10 MB */
    buf_str(b, "{\"type\":\"object\",\"properties\":{\"a\":{}");
    for (int i = 0; b->n < 10000000; i++)
        buf_printf(b, ",\"property_number_%d\":{\"type\":\"string\",\"maxLength\":%d}", i, i);
    buf_str(b, "}}");
}
static void schema_large_enum(struct buf *b) {
    buf_str(b, "{\"enum\":[0");
    for (int i = 0; i < 100000; i++)
        buf_printf(b, ",\"value %d\"", i);
    buf_str(b, "]}");
}
static void schema_large_text(struct buf *b) {
    buf_str(b, "{\"const\":\"");
    times(b, "0123456789abcdef", 600000);
    buf_str(b, "\"}");
}
static void schema_properties(struct buf *b) {
    buf_str(b, "{\"type\":\"object\",\"properties\":{\"a\":{}");
    for (int i = 0; i < 19000; i++)
        buf_printf(b, ",\"p%d\":{\"type\":\"integer\"}", i);
    buf_str(b, "}}");
}
static void schema_choices(struct buf *b) { /* 2^40 combinations */
    buf_str(b, "{\"allOf\":[{}");
    for (int i = 0; i < 20; i++)
        buf_printf(b,
                   ",{\"anyOf\":[{\"minLength\":%d},{\"maxLength\":%d},{\"pattern\":\"%d\"},{"
                   "\"minimum\":1}]}",
                   i, i + 50, i);
    buf_str(b, "]}");
}
static void schema_one_of(struct buf *b) {
    buf_str(b, "{\"oneOf\":[{\"type\":\"null\"}");
    for (int i = 0; i < 60; i++)
        buf_printf(b, ",{\"type\":\"string\",\"pattern\":\"^%d[ab]{200}$\"}", i);
    buf_str(b, "]}");
}
static void schema_nested(struct buf *b) {
    times(b, "{\"items\":", 1000), buf_str(b, "{}"), times(b, "}", 1000);
}
static void schema_counts(struct buf *b) {
    buf_str(
        b,
        "{\"type\":\"object\",\"minProperties\":60,\"maxProperties\":200,\"properties\":{\"a\":{}");
    for (int i = 0; i < 4000; i++)
        buf_printf(b, ",\"p%d\":{\"type\":\"integer\"}", i);
    buf_str(b, "}}");
}
static void schema_min_items(struct buf *b) {
    buf_str(b, "{\"type\":\"array\",\"minItems\":1000000000}");
}
static void schema_items_nested(struct buf *b) {
    times(b, "{\"type\":\"array\",\"minItems\":50000,\"items\":", 30), buf_str(b, "{}"),
        times(b, "}", 30);
}

static const struct hostile cases[] = {
    {"groups nested 10^5", deep, 'g', true},
    {"rules in a chain of 10^5", rule_chain, 'g', true},
    {"rules that push 20000", rule_chain_pushing, 'g', true},
    {"left recursion", left_direct, 'g', true},
    {"left recursion over 20000", left_indirect, 'g', true},
    {"left recursion behind nothing", left_hidden, 'g', true},
    {"{0,10^9}", repeat_huge, 'g', true},
    {"{0,1000} five deep", repeat_nested, 'g', true},
    {"{0,65535} a hundred times", repeat_many, 'g', true},
    {"(a*)*b", stars, 'g', false},
    {"ninety stars", stars_deep, 'g', false},
    {"ambiguous lists", ambiguous_lists, 'g', false},
    {"60000 options", optional_row, 'g', true},
    {"alternation of 10^5", alternation, 'g', true},
    {"15000 rules at once", alternation_of_rules, 'g', true},
    {"frames that double", frames, 'g', false},
    {"an empty class", empty_class, 'g', true},
    {"a reversed range", reversed, 'g', true},
    {"500 ranges of four bytes", four_bytes, 'g', false},
    {"12000 classes", many_classes, 'g', true},
    {"no end", endless, 'g', true},
    {"more than 4 MiB", four_megabytes, 'g', true},
    {"a long literal", long_literal, 'g', false},
    {"regex nested 10^5", regex_deep, 'r', true},
    {"regex (a*)*b", regex_stars, 'r', false},
    {"regex exponential", regex_exponential, 'r', false},
    {"regex {0,10^9}", regex_repeat, 'r', true},
    {"regex {1,1000} three deep", regex_repeat_product, 'r', false},
    {"regex alternation of 10^5", regex_alternation, 'r', true},
    {"pattern exponential", schema_exponential, 's', true},
    {"pattern of stars", schema_stars, 's', false},
    {"pattern .{0,60000}", schema_pattern_repeat, 's', true},
    {"pattern of 3000 classes", schema_pattern_classes, 's', true},
    {"twelve patterns at once", schema_product, 's', true},
    {"$ref in a circle", schema_circle, 's', true},
    {"$ref in a circle of choices", schema_circle_choice, 's', true},
    {"schema of 10 MB", schema_large, 's', true},
    {"enum of 10^5", schema_large_enum, 's', true},
    {"constant of 10 MB", schema_large_text, 's', true},
    {"19000 properties", schema_properties, 's', true},
    {"2^40 choices", schema_choices, 's', true},
    {"oneOf of sixty patterns", schema_one_of, 's', false},
    {"schema nested 1000", schema_nested, 's', true},
    {"counts of 4000 properties", schema_counts, 's', true},
    {"minItems 10^9", schema_min_items, 's', true},
    {"minItems nested", schema_items_nested, 's', true},
};

/* ---- measuring ---- */

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static long peak_kib(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_maxrss;
}

static void read_tokens(const struct grammar *g, struct measured *m) {
    struct err e = {0};
    struct rng r;
    rng_seed(&r, 5);
    double from = cpu_ms();
    struct acceptor *a = accept_new(g, &e);
    for (int i = 0; a && i < N_TOKENS; i++) {
        const int n = accept_mask(a, gv, mask, &e);
        int32_t id = n > 0 ? (int32_t)(rng_unit(&r) * n_vocab) : 0;
        for (int k = 0; n > 0 && k < n_vocab && !(mask[id / 32] >> id % 32 & 1); k++)
            id = (id + 1) % n_vocab;
        const int rc = n > 0 ? accept_token(a, gv, id, &e) : n;
        const double now = cpu_ms();
        if (now - from > m->token_ms) m->token_ms = now - from;
        from = cpu_ms();
        m->n_token++;
        if (rc != 1 || vocab_is_eog(vocab, id)) break;
    }
    if (!a) m->token_ms = cpu_ms() - from;
    accept_free(a);
    m->code = (int)e.code;
    memcpy(m->msg, e.msg, sizeof m->msg - 1);
}

static void measure(const struct hostile *h, const json_t *format, struct measured *m) {
    struct err e = {0};
    const long began = peak_kib();
    const double from = cpu_ms();
    struct grammar *g = grammar_of_format(format, &e);
    (void)h;
    m->parse_ms = cpu_ms() - from;
    m->code = (int)e.code;
    memcpy(m->msg, e.msg, sizeof m->msg - 1);
    if (g) read_tokens(g, m);
    grammar_free(g);
    m->kib = peak_kib() - began;
}

/* In a child; its measurements come back through a pipe. */
static void run_case(const struct hostile *h, struct measured *m) {
    struct buf b = {0};
    int fd[2];
    h->make(&b);
    json_t *format = h->kind == 's'
                         ? json_loadb(b.p, b.n, 0, NULL)
                         : json_pack("{s:s#}", h->kind == 'g' ? "gbnf" : "regex", b.p, (int)b.n);
    assert_non_null(format);
    buf_fini(&b);
    malloc_trim(0);
    assert_int_equal(pipe(fd), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        static struct measured own;
        alarm(20);
        measure(h, format, &own);
        _exit(write(fd[1], &own, sizeof own) == (ssize_t)sizeof own ? 0 : 1);
    }
    close(fd[1]);
    memset(m, 0, sizeof *m);
    int status = 0;
    const ssize_t n = read(fd[0], m, sizeof *m);
    close(fd[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (n != (ssize_t)sizeof *m) fail_msg("%s: the process ended (%d)", h->name, status);
    json_decref(format);
}

static void hostile(void **state) {
    int bad = 0;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct measured m;
        run_case(&cases[i], &m);
        const bool refused = m.n_token == 0;
        const bool slow = !SANITIZED && (m.parse_ms > 250 || m.token_ms > 5 || m.kib > 32 * 1024);
        if (slow || refused != cases[i].refused) bad++;
        print_message("%s%-28s %s %7.1f ms, token %5.2f ms, %6ld KiB, %2d tokens %.70s\n",
                      slow || refused != cases[i].refused ? "BAD " : "", cases[i].name,
                      refused ? "refused" : "read   ", m.parse_ms, m.token_ms, m.kib, m.n_token,
                      m.msg);
    }
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hostile)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
