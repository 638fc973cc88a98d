/* Modelfiles: the grammar, where errors are, and that what is printed parses back. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "sample/rng.h"
#include "store/modelfile.h"
#include "store/params.h"

static const char *const words[] = {
    [MF_FROM] = "FROM",           [MF_ADAPTER] = "ADAPTER",     [MF_DRAFT] = "DRAFT",
    [MF_TEMPLATE] = "TEMPLATE",   [MF_SYSTEM] = "SYSTEM",       [MF_PARAMETER] = "PARAMETER",
    [MF_MESSAGE] = "MESSAGE",     [MF_LICENSE] = "LICENSE",     [MF_REQUIRES] = "REQUIRES",
    [MF_RENDERER] = "RENDERER",   [MF_PARSER] = "PARSER",       [MF_EXTENSION] = "EXTENSION",
    [MF_TRAINFILE] = "TRAINFILE", [MF_VALIDFILE] = "VALIDFILE",
};

/* "FROM=foo;PARAMETER stop=x;": what was parsed, on one line. */
static void flatten(const struct modelfile *m, struct buf *out) {
    buf_reset(out);
    for (int i = 0; i < m->n; i++) {
        const struct modelfile_line *l = &m->line[i];
        buf_printf(out, "%s%s%s=", words[l->command], l->name ? " " : "", l->name ? l->name : "");
        buf_append(out, l->value.p, l->value.n);
        buf_byte(out, ';');
    }
}

static void parses_to(struct str text, const char *want) {
    struct modelfile m;
    struct err e;
    struct buf got = {0};
    if (modelfile_parse(text, &m, &e) != 0) fail_msg("%.*s: %s", (int)text.n, text.p, e.msg);
    flatten(&m, &got);
    assert_string_equal(got.p, want);
    modelfile_fini(&m);
    buf_fini(&got);
}

static void refused(struct str text, enum err_code code, const char *message) {
    struct modelfile m;
    struct err e = {0};
    if (modelfile_parse(text, &m, &e) == 0) fail_msg("accepted: %.*s", (int)text.n, text.p);
    if (e.code != code || strncmp(e.msg, message, strlen(message)) != 0)
        fail_msg("found %d \"%s\", expected \"%s\"", e.code, e.msg, message);
    modelfile_fini(&m);
}

#define Q3 "\"\"\""

static void grammar(void **state) {
    (void)state;
    static const char *const table[][2] = {
        {"FROM foo", "FROM=foo;"},
        {"from foo\nFrOm bar\n", "FROM=foo;FROM=bar;"},
        {"\n# comment\n  # another\n\tFROM \t foo \t \n# end", "FROM=foo;"},
        {"FROM foo # no comment\n", "FROM=foo # no comment;"},
        {"FROM /a path/with blanks \n", "FROM=/a path/with blanks;"},
        {"FROM \"  foo  \"", "FROM=  foo  ;"},
        {"FROM hf.co/a/b:Q4_K_M\n", "FROM=hf.co/a/b:Q4_K_M;"},
        {"PARAMETER num_ctx 1\nFROM foo", "PARAMETER num_ctx=1;FROM=foo;"},
        {"FROM a\nPARAMETER stop ### User: \n", "FROM=a;PARAMETER stop=### User:;"},
        {"FROM a\nPARAMETER stop \"### User: \"\n", "FROM=a;PARAMETER stop=### User: ;"},
        {"FROM a\nPARAMETER stop " Q3 "x\n" Q3 "\n", "FROM=a;PARAMETER stop=x\n;"},
        {"FROM a\nPARAMETER   stop    b\n", "FROM=a;PARAMETER stop=b;"},
        {"FROM a\nPARAMETER stop <|eot_id|>\n", "FROM=a;PARAMETER stop=<|eot_id|>;"},
        {"FROM a\nSYSTEM You are \"Mario\".\n", "FROM=a;SYSTEM=You are \"Mario\".;"},
        {"FROM a\nSYSTEM \"\"\n", "FROM=a;SYSTEM=;"},
        {"FROM a\nSYSTEM " Q3 Q3 "\n", "FROM=a;SYSTEM=;"},
        {"FROM a\nSYSTEM \nLICENSE b", "FROM=a;SYSTEM=;LICENSE=b;"},
        {"FROM a\nSYSTEM " Q3 "\nb\n" Q3 "  \n", "FROM=a;SYSTEM=\nb\n;"},
        {"FROM a\nSYSTEM " Q3 "b\n\"c\"\n" Q3, "FROM=a;SYSTEM=b\n\"c\"\n;"},
        {"FROM a\nSYSTEM \"two\nlines\"\nLICENSE x", "FROM=a;SYSTEM=two\nlines;LICENSE=x;"},
        {"FROM a\nSYSTEM " Q3 "''\"'\"\"'" Q3 "\n", "FROM=a;SYSTEM=''\"'\"\"';"},
        {"FROM a\nSYSTEM " Q3 "x" Q3 "y\nz" Q3 "\n", "FROM=a;SYSTEM=x" Q3 "y\nz;"},
        {"FROM a\nSYSTEM \"a\"b\"\n", "FROM=a;SYSTEM=a\"b;"},
        {"FROM a\nSYSTEM 'b'\n", "FROM=a;SYSTEM='b';"},
        {"FROM a\nSYSTEM a\\nb\n", "FROM=a;SYSTEM=a\\nb;"},
        {"FROM a\nSYSTEM " Q3 "# no comment\nFROM b" Q3, "FROM=a;SYSTEM=# no comment\nFROM b;"},
        {"FROM a\nMESSAGE user Hi: there\nMESSAGE assistant \"\"\n",
         "FROM=a;MESSAGE user=Hi: there;MESSAGE assistant=;"},
        {"FROM a\nMESSAGE system " Q3 "\nx\n" Q3, "FROM=a;MESSAGE system=\nx\n;"},
        {"FROM a\r\nSYSTEM b\r\n\r\nLICENSE c\r\n", "FROM=a;SYSTEM=b;LICENSE=c;"},
        {"FROM a\r\nLICENSE " Q3 "x\r\ny" Q3 "\r\n", "FROM=a;LICENSE=x\r\ny;"},
        {"FROM a\rSYSTEM b", "FROM=a;SYSTEM=b;"},
        {"\xef\xbb\xbf"
         "FROM a\n",
         "FROM=a;"},
        {"FROM a\nADAPTER ./x\nDRAFT y\nREQUIRES 0.14.0\nRENDERER r\nPARSER p",
         "FROM=a;ADAPTER=./x;DRAFT=y;REQUIRES=0.14.0;RENDERER=r;PARSER=p;"},
        {"FROM a\nTRAINFILE ./x y.jsonl\nValidFile \"z\"\n",
         "FROM=a;TRAINFILE=./x y.jsonl;VALIDFILE=z;"},
        {"FROM a\nSYSTEM \xe4\xbd\xa0\xe5\xa5\xbd\n", "FROM=a;SYSTEM=\xe4\xbd\xa0\xe5\xa5\xbd;"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        parses_to(str_of(table[i][0]), table[i][1]);
}

static void errors(void **state) {
    (void)state;
    static const char *const table[][2] = {
        {"", "no FROM line"},
        {"# FROM a\nPARAMETER stop x", "no FROM line"},
        {"FROM a\nBADCOMMAND x", "(line 2): unknown command \"BADCOMMAND\"; command must be one of "
                                 "\"from\", \"license\", \"template\", \"system\", \"adapter\""},
        {"FROM a\n\n# c\nFOO", "(line 4): unknown command \"FOO\""},
        {"FROM a\nSYS-TEM x", "(line 2): unknown command \"SYS-TEM\""},
        {"FROM a\nTRAINFILES x", "(line 2): unknown command \"TRAINFILES\""},
        {"FROM a\nTRAINFILE", "(line 2): TRAINFILE without a value"},
        {"\"quoted\" x", "(line 1): unknown command"},
        {"FROM", "(line 1): FROM without a value"},
        {"FROM a\nSYSTEM\nLICENSE x", "(line 2): SYSTEM without a value"},
        {"FROM a\nPARAMETER stop\n", "(line 2): stop: a value is missing"},
        {"FROM a\nPARAMETER \n", "(line 2): PARAMETER without a name"},
        {"FROM a\nPARAMETER a-b c\n", "(line 2): PARAMETER a-...: names of parameters have _"},
        {"FROM a\nMESSAGE user\n", "(line 2): user: a value is missing"},
        {"FROM a\nMESSAGE badguy x\n", "(line 2): role \"badguy\"; message role must be one of"},
        {"FROM a\nMESSAGE User x\n", "(line 2): role \"User\""},
        {"FROM a\n\nSYSTEM " Q3 "x\ny\nz", "(line 3): unclosed " Q3},
        {"FROM a\nSYSTEM " Q3 "x\"\"\n", "(line 2): unclosed " Q3},
        {"FROM a\nSYSTEM \"\n", "(line 2): unclosed \""},
        {"FROM a\r\n\r\nBAD x", "(line 3): unknown command"},
        {"FROM a\r\rBAD x", "(line 3): unknown command"},
        {"FROM a\nSYSTEM " Q3 "1\n2\n3" Q3 "\nBAD x", "(line 5): unknown command"},
        {"FROM a\nSYSTEM \xff\n", "(line 2): byte 0xff is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        refused(str_of(table[i][0]), ERR_FORMAT, table[i][1]);
    refused(STR("FROM a\nSYSTEM b\0c\n"), ERR_FORMAT, "(line 2): a NUL byte");
    refused(STR("\xff\xfe"
                "F"),
            ERR_FORMAT, "(line 1): UTF-16 of an odd number");
}

static void utf16(void **state) {
    (void)state;
    static const char text[] = "FROM bob\r\nPARAMETER num_ctx 4096\r\nSYSTEM utf16 ";
    for (int big = 0; big < 2; big++) {
        struct buf b = {0};
        buf_append(&b, big ? "\xfe\xff" : "\xff\xfe", 2);
        for (const char *c = text; *c; c++)
            buf_append(&b, big ? (char[]){0, *c} : (char[]){*c, 0}, 2);
        buf_append(&b, big ? "\xd8\x3d\xde\x00\xd8\x3d" : "\x3d\xd8\x00\xde\x3d\xd8", 6);
        parses_to(buf_view(&b), "FROM=bob;PARAMETER num_ctx=4096;SYSTEM=utf16 \xf0\x9f\x98\x80"
                                "\xef\xbf\xbd;"); /* a pair, then half of one */
        buf_fini(&b);
    }
}

/* ---- printing ---- */

static bool comes_back(const struct modelfile_line *l) {
    struct buf b = {0};
    struct modelfile m;
    struct err e;
    buf_str(&b, "FROM x\n");
    const bool printed = modelfile_print(l, &b, &e) == 0;
    if (!printed) assert_int_equal(e.code, ERR_FORMAT);
    buf_str(&b, "FROM y\n");
    if (printed) {
        if (modelfile_parse(buf_view(&b), &m, &e) != 0) fail_msg("%s: %s", b.p, e.msg);
        if (m.n != 3) fail_msg("%d lines: %s", m.n, b.p);
        assert_int_equal(m.line[1].command, l->command);
        if (!str_eq(m.line[1].value, l->value))
            fail_msg("'%s' came back as '%s'", l->value.p, m.line[1].value.p);
        if (l->name) assert_string_equal(m.line[1].name, l->name);
        modelfile_fini(&m);
    }
    buf_fini(&b);
    return printed;
}

static void prints_back(void **state) {
    (void)state;
    static const char *const table[] = {
        "",     "a",      " a",      "a ",   "\"",    "\"a\"",       "a\nb", "a\r\nb",      "\n",
        "\"\n", "a\"\nb", Q3 "x",    "x" Q3, "\"\"x", "a" Q3 "b\nc", "# a",  "FROM b\nc\n", "\t",
        "'",    "\"\"",   "a\"\"\nb"};
    struct rng r;
    rng_seed(&r, 7);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct modelfile_line l = {.command = MF_SYSTEM, .value = str_of(table[i])};
        if (!comes_back(&l)) fail_msg("not printed: %s", table[i]);
    }
    int n_printed = 0;
    for (int i = 0; i < 20000; i++) {
        static const char alphabet[] = "\"\"\"\"\n\r \tab#";
        char text[16];
        const size_t n = rng_next(&r) % 14;
        for (size_t k = 0; k < n; k++)
            text[k] = alphabet[rng_next(&r) % (sizeof alphabet - 1)];
        text[n] = 0;
        struct modelfile_line l = {.command = MF_SYSTEM, .value = {text, n}};
        if (i % 3 == 1) l.command = MF_PARAMETER, l.name = "stop";
        if (i % 3 == 2) l.command = MF_MESSAGE, l.name = "user";
        n_printed += comes_back(&l);
    }
    assert_true(n_printed > 17000); /* only what no quotes can hold is refused */
    const struct modelfile_line bad = {.command = MF_SYSTEM, .value = STR("a\xff")};
    assert_false(comes_back(&bad));
}

/* Published templates as TEMPLATE of a Modelfile. */
static void templates_round_trip(void **state) {
    (void)state;
    const char *folder = golden_is_full() ? "gotmpl/templates" : "chat/templates";
    char **names = golden_names(folder, golden_is_full() ? ".gotmpl" : ".jinja", 5);
    for (char **n = names; *n; n++) {
        char rel[256];
        size_t size;
        snprintf(rel, sizeof rel, "%s/%s", folder, *n);
        char *text = (char *)slurp(golden(rel), &size);
        const struct modelfile_line l = {.command = MF_TEMPLATE, .value = {text, size}};
        if (!comes_back(&l)) fail_msg("%s: not printed", *n);
        free(text);
    }
    names_free(names);
}

/* Whole files of the kinds that users write; each prints back to the same commands. */
static void whole_files(void **state) {
    (void)state;
    static const char *const file[] = {
        "FROM llama3.2\n# sets the temperature to 1 [higher is more creative, lower is more "
        "coherent]\nPARAMETER temperature 1\n# sets the context window\nPARAMETER num_ctx 4096\n\n"
        "# a custom system message\nSYSTEM You are Mario from Super Mario Bros, acting as an "
        "assistant.\n",
        "FROM ./vicuna-33b.Q4_0.gguf\nADAPTER ./lora.gguf\n",
        "FROM /models/llama-3-8b/\n\nTEMPLATE " Q3
        "{{ if .System }}<|start_header_id|>system<|end_header_id|>\n\n{{ .System }}<|eot_id|>"
        "{{ end }}{{ range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
        "{{ .Content }}<|eot_id|>{{ end }}" Q3 "\nPARAMETER stop \"<|start_header_id|>\"\n"
        "PARAMETER stop \"<|end_header_id|>\"\nPARAMETER stop \"<|eot_id|>\"\n",
        "FROM llama3.2\nMESSAGE user Is Toronto in Canada?\nMESSAGE assistant yes\n"
        "MESSAGE user Is Sacramento in Canada?\nMESSAGE assistant no\n",
        "from mistral\r\nlicense " Q3 "\r\nApache \"2.0\"\r\n" Q3 "\r\nrequires 0.14.0\r\n",
        "FROM x\nSYSTEM " Q3 "\nYou turn questions into SQL.\n\n  SELECT \"name\" FROM t;\n" Q3
        "\n",
    };
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        struct modelfile m;
        struct err e;
        struct buf want = {0}, printed = {0};
        if (modelfile_parse(str_of(file[i]), &m, &e) != 0) fail_msg("file %zu: %s", i, e.msg);
        flatten(&m, &want);
        for (int k = 0; k < m.n; k++)
            assert_int_equal(modelfile_print(&m.line[k], &printed, &e), 0);
        parses_to(buf_view(&printed), want.p);
        modelfile_fini(&m);
        buf_fini(&want), buf_fini(&printed);
    }
}

/* ---- SECURITY.md X5 ---- */

static void bounded(void **state) {
    (void)state;
    const size_t n = (size_t)MODELFILE_MAX_BYTES;
    char *big = malloc(n + 1);
    const int64_t t0 = os_now_ns();
    memset(big, 'a', n + 1);
    memcpy(big, "FROM ", 5);
    refused((struct str){big, n + 1}, ERR_LIMIT, "Modelfile: 16777217 bytes");
    parses_to((struct str){"FROM a", 6}, "FROM=a;");
    struct modelfile m;
    struct err e;
    assert_int_equal(modelfile_parse((struct str){big, n}, &m, &e), 0); /* one line of 16 MB */
    assert_int_equal(m.line[0].value.n, n - 5);
    modelfile_fini(&m);
    /* Unclosed quotes over millions of blank lines: linear, not quadratic. */
    memset(big, '\n', n);
    memcpy(big, "FROM \"", 6);
    refused((struct str){big, n}, ERR_FORMAT, "(line 1): unclosed");
    size_t at = (size_t)snprintf(big, n, "FROM a\n");
    for (int i = 0; i < 1000000 && at < n - 16; i++)
        at += (size_t)snprintf(big + at, n - at, "PARAMETER a 1\n");
    refused((struct str){big, at}, ERR_LIMIT, "(line 100001): more than 100000 commands");
    free(big);
    assert_true(os_now_ns() - t0 < (int64_t)10 * 1000000000);
}

/* ---- parameters ---- */

static void set(json_t *o, const char *name, const char *value) {
    struct err e;
    if (param_set(o, name, value, &e) != 0) fail_msg("%s: %s", name, e.msg);
}

static void parameters(void **state) {
    (void)state;
    json_t *o = json_object();
    struct buf b = {0};
    struct err e;
    set(o, "temperature", "0.7"), set(o, "top_p", "1.0"), set(o, "min_p", "1e-5");
    set(o, "num_ctx", "4096"), set(o, "seed", "-1"), set(o, "use_mmap", "true");
    set(o, "stop", "<|im_end|>"), set(o, "stop", "a\n\"b\\&\x01\xe2\x80\xa8"),
        set(o, "low_vram", "1");
    assert_int_equal(param_encode(o, true, &b, &e), 0);
    assert_string_equal(b.p, "{\"min_p\":0.00001,\"num_ctx\":4096,\"seed\":-1,\"stop\":["
                             "\"\\u003c|im_end|\\u003e\",\"a\\n\\\"b\\\\\\u0026\\u0001\\u2028\"],"
                             "\"temperature\":0.7,\"top_p\":1,\"use_mmap\":true}\n");
    static const char *const bad[][3] = {
        {"top_k", "many", "option \"top_k\" must be of type integer; found \"many\""},
        {"top_k", "1.5", "option \"top_k\" must be of type integer"},
        {"top_k", "99999999999", "option \"top_k\" must be of type integer"},
        {"temperature", "warm", "option \"temperature\" must be of type number"},
        {"temperature", "nan", "option \"temperature\" must be of type number"},
        {"temperature", "1e99", "option \"temperature\" must be of type number"},
        {"use_mmap", "perhaps", "option \"use_mmap\" must be of type boolean"},
        {"stop", "", "option \"stop\": an empty text"},
        {"tempreature", "1", "unknown parameter 'tempreature'; known: num_ctx"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(param_set(o, bad[i][0], bad[i][1], &e), -1);
        assert_int_equal(e.code, ERR_USAGE);
        if (strncmp(e.msg, bad[i][2], strlen(bad[i][2])) != 0) fail_msg("%s", e.msg);
    }
    json_decref(o);
    buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar),    cmocka_unit_test(errors),
        cmocka_unit_test(utf16),      cmocka_unit_test(prints_back),
        cmocka_unit_test(bounded),    cmocka_unit_test(templates_round_trip),
        cmocka_unit_test(parameters), cmocka_unit_test(whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
