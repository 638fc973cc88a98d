/* Go templates (Modelfile TEMPLATEs) through `cria debug template --go`, as the reference data has
 * them; then what Go does beyond it, and templates that mean harm. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat/gotmpl.h"

enum { TIMEOUT_S = 60 };

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOW "--now", "2025-07-04T12:34:56"

/* Lines for the door, and what it answered. */
struct batch {
    struct buf in;
    json_t *want; /* the lines as objects */
};

static void add(struct batch *b, json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT);
    if (!b->want) b->want = json_array();
    buf_str(&b->in, text);
    buf_byte(&b->in, '\n');
    json_array_append(b->want, line);
    free(text);
}

/* The reference's texts lack one blank at the end where the line says so. */
static bool same_text(const json_t *got, const json_t *want) {
    const json_t *expected = json_object_get(want, "expected");
    const char *text = json_string_value(got);
    const size_t n = json_string_length(got), n_want = json_string_length(expected);
    const bool drop = json_is_true(json_object_get(want, "drop_one_trailing_space"));
    if (!text || !expected) return false;
    return (n == n_want || (drop && n == n_want + 1 && text[n - 1] == ' ')) &&
           memcmp(text, json_string_value(expected), n_want) == 0;
}

/* Every line of output against `expected` or `error` of its line of input. */
static void check(struct batch *b, const char *const *args) {
    struct ran r;
    json_t *want;
    size_t i;
    int n_bad = 0;
    run_cria(&r, args, b->in.p, b->in.n, TIMEOUT_S);
    if (r.code != 0) fail_msg("exit code %d: %s", r.code, r.err.p);
    char *at = r.out.p;
    json_array_foreach(b->want, i, want) {
        char *end = strchr(at, '\n');
        assert_non_null(end);
        json_t *got = json_loadb(at, (size_t)(end - at), JSON_ALLOW_NUL, NULL);
        const char *error = json_string_value(json_object_get(got, "error"));
        const char *kind = json_string_value(json_object_get(want, "error"));
        const json_t *text = json_object_get(got, "text");
        bool good = same_text(text, want);
        if (kind)
            good = error && strncmp(error, "template: line ", 15) == 0 &&
                   (strstr(error, ": executing: ") != NULL) == (strcmp(kind, "exec") == 0);
        if (!good && n_bad++ < 5) {
            char *w = json_dumps(want, JSON_COMPACT);
            print_message("want %.1500s\n got %.*s\n", w, (int)(end - at < 1500 ? end - at : 1500),
                          at);
            free(w);
        }
        json_decref(got);
        at = end + 1;
    }
    assert_int_equal(n_bad, 0);
    ran_fini(&r);
    json_decref(b->want);
    buf_fini(&b->in);
    *b = (struct batch){0};
}

/* ---- Reference data ---- */

static void add_line(void *ctx, int line, json_t *v) {
    (void)line;
    add(ctx, v);
}

static void micro(void **state) {
    (void)state;
    struct batch b = {0};
    assert_true(each_jsonl(golden("gotmpl/gotmpl_micro.jsonl"), add_line, &b) >= 182);
    check(&b, ARGS("debug", "template", "--go-text", NOW));
}

static void add_named(void *ctx, int line, json_t *v) {
    (void)line;
    struct batch *b = ctx;
    char path[200];
    const char *name = json_string_value(json_object_get(v, "template"));
    snprintf(path, sizeof path, "gotmpl/templates/%s", name);
    char file[600];
    snprintf(file, sizeof file, "%s", golden(path));
    add(b, v);
    check(b, ARGS("debug", "template", "--go", file, NOW));
}

static void named(void **state) {
    (void)state;
    struct batch b = {0};
    assert_true(each_jsonl(golden("gotmpl/named.jsonl"), add_named, &b) >= 33);
}

/* ---- What Go does beyond it ---- */

static const char data[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"U\"},"
    "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c\",\"function\":"
    "{\"index\":1,\"name\":\"f\",\"arguments\":{\"z\":1000000,\"a\":[1.5,null,\"x\"],"
    "\"m\":{\"k\":true}}}}]}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"u\":{\"type\":[\"string\",\"null\"]},"
    "\"n\":{\"type\":\"integer\"},\"o\":{\"anyOf\":[{\"type\":\"array\"},{\"type\":\"object\"}]}}}}"
    "}]}";

static void expect(struct batch *b, const char *template_text, const char *want) {
    json_t *line = json_loads(data, 0, NULL);
    json_object_set_new(line, "template_text", json_string(template_text));
    json_object_set_new(line, strcmp(want, "parse") && strcmp(want, "exec") ? "expected" : "error",
                        json_string(want));
    add(b, line);
    json_decref(line);
}

static void printing(void **state) {
    (void)state;
    struct batch b = {0};
    expect(&b, "{{ printf \"%+d|%x|%X|%#x|%o|%b|%6d|%-6d|%06d\" 5 255 255 255 8 5 42 42 -42 }}",
           "+5|ff|FF|0xff|10|101|    42|42    |-00042");
    expect(&b, "{{ printf \"%c|%U|%q|%q|%+q\" 233 233 'a' \"a\\tb\" \"\\u00e9\" }}",
           "\xc3\xa9|U+00E9|'a'|\"a\\tb\"|\"\\u00e9\"");
    expect(&b, "{{ printf \"%f|%.1f|%e|%g|%v|%8.3f|%d\" 1.5 2.25 1e10 1e21 1e6 3.14159 1.5 }}",
           "1.500000|2.2|1.000000e+10|1e+21|1e+06|   3.142|%!d(float64=1.5)");
    expect(&b,
           "{{ printf \"%5t|%s|%d|%.2s|%x|%v\" true 3 \"s\" \"\xc3\xa9\xc3\xa8z\" \"hi\" nil }}",
           " true|%!s(int=3)|%!d(string=s)|\xc3\xa9\xc3\xa8|6869|<nil>");
    expect(&b, "{{ printf \"%d\" }}{{ printf \"x\" 1 \"a\" }}{{ printf \"100%%|%\" }}",
           "%!d(MISSING)x%!(EXTRA int=1, string=a)100%|%!(NOVERB)");
    expect(&b, "{{ html .Missing }}|{{ js .Missing }}|{{ printf \"%6.1f|%5s|%+v\" 11 1 5 }}",
           "&lt;no value&gt;|\\u003Cno value\\u003E|%!f(int=    11)|%!s(int=    1)|5");
    expect(&b, "{{ printf \"%*d|%-*d|\" 4 7 4 7 }}", "   7|7   |");
    expect(&b,
           "{{ print 1.0 }} {{ print 0.1 }} {{ 100000.0 }} {{ 1e-5 }} {{ 1_000 }} {{ 017 }} {{ "
           "0b11 }}",
           "1 0.1 100000 1e-05 1000 15 3");
    expect(&b,
           "{{ with index .Messages 2 }}{{ range .ToolCalls }}{{ .Function.Arguments.a }} "
           "{{ .Function.Arguments.m }} {{ .Function.Arguments.z }} {{ .Function.Arguments.none }} "
           "{{ json .Function }}{{ end }}{{ end }}",
           "[1.5 <nil> x] map[k:true] 1e+06 <no value> {\"index\":1,\"name\":\"f\",\"arguments\":"
           "{\"a\":[1.5,null,\"x\"],\"m\":{\"k\":true},\"z\":1000000}}");
    expect(&b,
           "{{ range .Tools }}{{ range $k, $v := .Function.Parameters.Properties }}{{ $k }}:"
           "{{ toTypeScriptType $v }},{{ $v.Type }};{{ end }}{{ end }}{{ toTypeScriptType 1 }}",
           "n:number,integer;o:any[] | Record<string, any>,;u:string | null,[string null];any");
    expect(&b, "{{ currentDate }} {{ yesterdayDate }}", "2025-07-04 2025-07-03");
    check(&b, ARGS("debug", "template", "--go-text", NOW));
}

static void language(void **state) {
    (void)state;
    struct batch b = {0};
    expect(&b, "{{ range $i := .Messages }}{{ $i.Role }},{{ end }}", "system,user,assistant,");
    expect(&b, "{{ $x := 0 }}{{ range $x = .Messages }}{{ end }}{{ $x.Role }}", "assistant");
    expect(&b, "{{ with .Missing }}a{{ else }}b{{ end }}{{ with $y := 3 }}{{ $y }}{{ end }}", "b3");
    expect(&b,
           "{{ define \"a\" }}{{ $ }}{{ end }}{{ range .Messages }}{{ template \"a\" .Role }} {{ "
           "end }}",
           "system user assistant ");
    expect(&b, "{{ or .Missing.Deep 1 }}", "exec");
    expect(&b, "{{ or 1 .Missing.Deep }} {{ and 0 .Missing.Deep }}", "1 0");
    expect(&b, "{{ eq .Missing \"a\" }}{{ eq .Missing .Gone }}", "falsetrue");
    expect(&b, "{{ .Missing.Deep }}", "exec");
    expect(&b, "{{ (.Missing).Deep }}", "<no value>");
    expect(&b, "{{ $m := .Missing }}{{ $m.Deep }}", "<no value>");
    expect(&b, "{{ define \"a\" }}{{ .X }}{{ end }}{{ template \"a\" }}", "<no value>");
    expect(&b, "{{ with .A }}a{{ else with .System }}{{ . }}{{ else }}c{{ end }}", "S");
    expect(&b, "{{ range .Missing }}a{{ else }}b{{ end }}", "b");
    expect(&b, "{{ eq .Messages .Messages }}", "exec");
    expect(&b, "{{ lt 1 1.5 }}", "exec");
    expect(&b, "{{ lt true false }}", "exec");
    expect(&b, "{{ slice \"abc\" 2 1 }}", "exec");
    expect(&b, "{{ slice \"abc\" 4 }}", "exec");
    expect(&b, "{{ index .Messages -1 }}", "exec");
    expect(&b, "{{ .System.Foo }}", "exec");
    expect(&b, "{{ .System 1 }}", "exec");
    expect(&b, "{{ len 3 }}", "exec");
    expect(&b, "{{ not }}", "exec");
    expect(&b, "{{- /* only */ -}}  x", "x");
    expect(&b, "{{ \"a\"\"b\" }}", "parse");
    expect(&b, "{{ $x }}", "parse");
    expect(&b, "{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "parse");
    expect(&b, "{{ $x = 1 }}", "parse");
    expect(&b, "{{ }}", "parse");
    expect(&b, "{{ 1 | 2 }}", "parse");
    expect(&b, "{{ (1 }}", "parse");
    expect(&b, "{{ 1) }}", "parse");
    expect(&b, "{{ break }}", "parse");
    expect(&b, "{{ if 1 }}a{{ else }}b{{ else }}c{{ end }}", "parse");
    expect(&b, "{{ range . }}", "parse");
    expect(&b, "{{ \"a\nb\" }}", "parse");
    expect(&b, "{{ \"\\z\" }}", "parse");
    expect(&b, "{{/* x */ y}}", "parse");
    expect(&b, "{{ 1x }}", "parse");
    expect(&b, "{{ 9223372036854775808 }}", "parse");
    expect(&b, "{{ .A.1 }}", "parse");
    expect(&b, "{{ # }}", "parse");
    expect(&b, "{{ define \"a\" }}1{{ end }}{{ define \"a\" }}2{{ end }}", "parse");
    check(&b, ARGS("debug", "template", "--go-text", NOW));
}

/* What the door answers to one line; the caller frees. */
static char *answer(const char *const *args, json_t *line) {
    struct ran r;
    char *in = json_dumps(line, JSON_COMPACT);
    run_cria(&r, args, in, strlen(in), TIMEOUT_S);
    assert_int_equal(r.code, 0);
    char *out = strdup(r.out.p);
    free(in);
    ran_fini(&r);
    return out;
}

static void says(const char *template_text, const char *want) {
    json_t *line = json_loads(data, 0, NULL);
    json_object_set_new(line, "template_text", json_string(template_text));
    char *got = answer(ARGS("debug", "template", "--go-text"), line);
    if (!strstr(got, want)) fail_msg("\"%s\" is not in %.500s", want, got);
    json_decref(line);
    free(got);
}

static void errors_name_the_line(void **state) {
    (void)state;
    says("a\nb\n{{ nope }}", "template: line 3: function \\\"nope\\\" is not defined");
    says("a\n\n{{ if true }}\n{{ .System.X }}{{ end }}", "template: line 4: executing: no field X");
    says("{{\n\n.System.X }}", "template: line 3: executing");
    says("{{/*\n\n*/}}{{ index 1 }}\n{{ len 1 }}", "template: line 4: executing: len of type int");
    says("{{ slice \"\u00e9\" 0 1 }}", "\"text_hex\":\"c3\"");
    says("{{ printf \"%\\x00\" 1.5 }}", "%!\\u0000(float64=1.5)");
    says("x\n{{ range .Messages }}", "template: line 2: range without {{end}}");
}

/* A template of the old form, once for each turn; the last ends where the answer begins. */
static void turns(void **state) {
    (void)state;
    static const char talk[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
        "\"a\"},"
        "{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"assistant\",\"content\":\"A\"},"
        "{\"role\":\"user\",\"content\":\"c\"}]}";
    static const char *const cases[][2] = {
        {"{{ if .System }}<{{ .System }}>{{ end }}[{{ .Prompt }}]{{ .Response }};",
         "<S>[a\n\nb]A;[c]"},
        {"{{ .Prompt }}=", "a\n\nb=Ac="},
    };
    for (size_t i = 0; i < 2; i++) {
        json_t *line = json_loads(talk, 0, NULL);
        json_object_set_new(line, "template_text", json_string(cases[i][0]));
        json_object_set_new(line, "expected", json_string(cases[i][1]));
        struct batch b = {0};
        add(&b, line);
        check(&b, ARGS("debug", "template", "--go-text", "--turns"));
        json_decref(line);
    }
    json_t *line =
        json_pack("{s:s,s:s,s:s,s:s}", "template_text", "<P>{{ .Prompt }}<S>{{ .Suffix }}<M>",
                  "prompt", "x", "suffix", "y", "expected", "<P>x<S>y<M>");
    struct batch b = {0};
    add(&b, line);
    check(&b, ARGS("debug", "template", "--go-text", "--turns"));
    json_decref(line);
}

/* ---- Templates that mean harm ---- */

static char *repeat(const char *head, const char *part, int n, const char *tail) {
    struct buf b = {0};
    buf_str(&b, head);
    for (int i = 0; i < n; i++)
        buf_str(&b, part);
    buf_str(&b, tail);
    return b.p;
}

static void bomb(char *template_text, const char *want) {
    struct ran r;
    json_t *line = json_loads(data, 0, NULL);
    json_object_set_new(line, "template_text", json_string(template_text));
    char *in = json_dumps(line, JSON_COMPACT);
    run_cria(&r, ARGS("debug", "template", "--go-text"), in, strlen(in), TIMEOUT_S);
    assert_int_equal(r.code, 0);
    /* A sanitizer's program may spend its time before its bytes. */
    const bool late = SANITIZED && strstr(r.out.p, "it takes longer than");
    if (!strstr(r.out.p, want) && !late) fail_msg("\"%s\" is not in %.300s", want, r.out.p);
    /* A busy machine makes seconds of the quarter of one that it has. */
    if (!SANITIZED && r.seconds > 10) fail_msg("%s: %.1f s", want, r.seconds);
    if (!SANITIZED && r.peak_rss_bytes > (size_t)400 << 20)
        fail_msg("%s: %zu bytes", want, r.peak_rss_bytes);
    ran_fini(&r);
    free(in);
    free(template_text);
    json_decref(line);
}

static void bombs(void **state) {
    (void)state;
    bomb(repeat("{{ $x := \"0123456789\" }}", "{{ $x = printf \"%s%s\" $x $x }}", 60, "{{ $x }}"),
         "bytes; that much is accepted");
    char *ends = repeat("", "{{ end }}", 40, "");
    bomb(repeat("", "{{ range $.Messages }}", 40, ends), "it takes ");
    free(ends);
    bomb(repeat("", "{{ if true }}", 15000, ""), "nested deeper than 100");
    bomb(repeat("{{ ", "(", 50000, ""), "nested deeper than 100");
    bomb(repeat("{{ if .X }}", "{{ else if .X }}", 15000, "{{ end }}"), "\"text\":\"\"");
    bomb(repeat("", "x", 10 << 20, ""), "at most 262144 are accepted");
    bomb(repeat("{{ define \"a\" }}x{{ template \"a\" . }}{{ template \"a\" . }}{{ end }}", "x", 1,
                "{{ template \"a\" . }}"),
         "nested deeper than 100");
    bomb(repeat("", "{{ printf \"%10000d%10000d\" 1 2 }}", 1000, ""), "more than 16777216 bytes");
    bomb(repeat("{{ printf \"%999999999999d\" 1 }}", "", 0, ""), "width");
    bomb(repeat("{{", " $x := 1 }}{{", 10000, " 1 }}"), "more than 1024 variables");
    bomb(repeat("{{ print", " 1", 20000, " }}"), "more than 64 arguments");
}

/* What others wrote is not trusted; roles and what the template says are. */
static void trust(void **state) {
    (void)state;
    struct err e = {0};
    struct chat_prompt p = {0};
    json_t *m = json_pack("[{s:s,s:s}]", "role", "user", "content", "<|end|>");
    struct gotmpl *t = gotmpl_new(
        STR("{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}{{ \"<|end|>\" }}{{ end }}"), &e);
    const struct gotmpl_input in = {.messages = m};
    assert_non_null(t);
    assert_int_equal(gotmpl_render(t, &in, &p, &e), 0);
    assert_string_equal(p.text.p, "<|user|><|end|><|end|>");
    assert_int_equal(p.n_trust, 2);
    assert_int_equal(p.trust[0].lo, 0);
    assert_int_equal(p.trust[0].hi, 8);
    assert_int_equal(p.trust[1].lo, 15);
    assert_int_equal(p.trust[1].hi, 22);
    chat_prompt_fini(&p);
    gotmpl_free(t);
    json_decref(m);
}

static void door(void **state) {
    (void)state;
    struct ran r;
    run_cria(&r, ARGS("debug", "template"), "", 0, TIMEOUT_S);
    assert_int_equal(r.code, 2);
    ran_fini(&r);
    run_cria(&r, ARGS("debug", "template", "--go", "/nonexistent"), "", 0, TIMEOUT_S);
    assert_int_equal(r.code, 3);
    ran_fini(&r);
    run_cria(&r, ARGS("debug", "template", "--go-text", "--now", "noon"), "", 0, TIMEOUT_S);
    assert_int_equal(r.code, 2);
    ran_fini(&r);
    static const char bad[] = "{}\n[]\n{\"template_text\":\"x\",\"messages\":3}\n";
    run_cria(&r, ARGS("debug", "template", "--go-text"), bad, sizeof bad - 1, TIMEOUT_S);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out.p, "template_text is missing"));
    assert_non_null(strstr(r.out.p, "found no object"));
    assert_non_null(strstr(r.out.p, "a list of objects is needed"));
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro),    cmocka_unit_test(named), cmocka_unit_test(printing),
        cmocka_unit_test(language), cmocka_unit_test(turns), cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(bombs),    cmocka_unit_test(trust), cmocka_unit_test(door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
