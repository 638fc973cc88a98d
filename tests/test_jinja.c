/* Jinja templates through `cria debug template`: the reference's renderings, what a template must
 * not do, and that messages cannot forge control tokens. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja.h"

#define NOW "2025-07-04T12:34:56"

/* One run of the door over lines; each is compared with what its case wants. */
struct batch {
    char template[256]; /* file; empty: --jinja-text */
    struct buf in;
    json_t *want; /* [n] cases */
    int n_bad;
};

static void compare(struct batch *b, const json_t *want, const json_t *got) {
    const char *kind = json_string_value(json_object_get(want, "error"));
    const char *expected = json_string_value(json_object_get(want, "expected"));
    const char *text = json_string_value(json_object_get(got, "text"));
    const char *error = json_string_value(json_object_get(got, "error"));
    const char *message = json_string_value(json_object_get(want, "error_message"));
    bool ok;
    if (kind)
        ok = error && (strcmp(kind, "raise_exception") != 0 || strstr(error, message));
    else
        ok = text && strcmp(text, expected) == 0;
    if (ok) return;
    if (b->n_bad++ < 3)
        print_message("%s %s\n  want %s\n  got  %s\n", b->template,
                      json_string_value(json_object_get(
                          want, kind || !b->template[0] ? "template_text" : "case")),
                      kind ? message : expected, text ? text : error);
}

static void run_batch(struct batch *b) {
    const size_t n = json_array_size(b->want);
    struct ran r;
    const char *const file[] = {"debug", "template", "--now", NOW, "--jinja", b->template, NULL};
    const char *const text[] = {"debug", "template", "--now", NOW, "--jinja-text", NULL};
    run_cria(&r, b->template[0] ? file : text, b->in.p, b->in.n, 60);
    if (r.code != 0) fail_msg("%s: code %d: %s", b->template, r.code, r.err.p);
    char *line = r.out.p;
    for (size_t i = 0; i < n; i++) {
        char *end = line ? strchr(line, '\n') : NULL;
        if (!end) fail_msg("%s: %zu lines of %zu", b->template, i, n);
        json_t *got = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
        assert_non_null(got);
        compare(b, json_array_get(b->want, i), got);
        json_decref(got);
        line = end + 1;
    }
    ran_fini(&r);
    json_array_clear(b->want);
    buf_reset(&b->in);
}

static void add_line(struct batch *b, json_t *value) {
    static const char *const hidden[] = {"template", "case", "expected", "error", "error_message"};
    json_t *in = json_copy(value);
    for (int i = 0; i < 5; i++)
        json_object_del(in, hidden[i]);
    char *line = json_dumps(in, JSON_COMPACT);
    buf_str(&b->in, line);
    buf_byte(&b->in, '\n');
    free(line);
    json_decref(in);
    json_array_append(b->want, value);
}

/* Lines of one template follow each other, mostly: a new template begins a new run. */
static void chat_line(void *ctx, int line, json_t *value) {
    struct batch *b = ctx;
    char file[256], rel[200];
    (void)line;
    snprintf(rel, sizeof rel, "chat/templates/%s",
             json_string_value(json_object_get(value, "template")));
    snprintf(file, sizeof file, "%s", golden(rel));
    if (strcmp(file, b->template) != 0 && json_array_size(b->want)) run_batch(b);
    snprintf(b->template, sizeof b->template, "%s", file);
    add_line(b, value);
}

static void micro_line(void *ctx, int line, json_t *value) {
    (void)line;
    add_line(ctx, value);
}

static void renderings(void **state) {
    struct batch b = {.want = json_array()};
    (void)state;
    const int n = each_jsonl(golden("chat/chat.jsonl"), chat_line, &b);
    run_batch(&b);
    assert_true(n >= (golden_is_full() ? 1524 : 146));
    assert_int_equal(b.n_bad, 0);
    json_decref(b.want);
    buf_fini(&b.in);
}

static void features(void **state) {
    struct batch b = {.want = json_array()};
    (void)state;
    assert_true(each_jsonl(golden("chat/jinja_micro.jsonl"), micro_line, &b) >= 64);
    run_batch(&b);
    assert_int_equal(b.n_bad, 0);
    json_decref(b.want);
    buf_fini(&b.in);
}

/* What random templates beside the real interpreter found (tests/template_campaign/jinja.py). */
static void campaign(void **state) {
    struct batch b = {.want = json_array()};
    (void)state;
    assert_true(each_jsonl("tests/template_campaign/jinja.jsonl", micro_line, &b) >= 100);
    run_batch(&b);
    assert_int_equal(b.n_bad, 0);
    json_decref(b.want);
    buf_fini(&b.in);
}

/* Outputs of Jinja2 3.1 with the set-up of transformers, for what the reference's cases leave out.
 */
static void more_features(void **state) {
    static const char *const table[][2] = {
        {"{% for x in [1,[2,[3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x "
         "}}:{{ loop.depth }}{{ loop.depth0 }} {% endif %}{% endfor %}",
         "1:10 (2:21 (3:32 ))"},
        {"{% macro m(a, b=2) %}{{ a }}-{{ b }}-{{ varargs }}-{{ kwargs }}{% endmacro %}{{ m(1) }} "
         "{{ m(1, b=3) }} {{ m(1, 2, 3, z=4) }}",
         "1-2-()-{} 1-3-()-{} 1-2-(3,)-{'z': 4}"},
        {"{% macro d(x) %}<{{ caller(x) }}>{% endmacro %}{% call(v) d(5) %}v{{ v }}{% endcall %}",
         "<v5>"},
        {"{% filter upper %}a{{ 'b' }}{% endfilter %}{% set q | trim %} y {% endset %}[{{ q }}]",
         "AB[y]"},
        {"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "3False"},
        {"{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1"},
        {"{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{% set c = cycler(1, 2) %}{{ c.next() }}{{ "
         "c.next() }}{{ c.current }}",
         "a|b121"},
        {"{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 1 if false }}|{{ 'a' 'b' }}", "True False |ab"},
        {"{{ 'it\\'s' }} {{ ['it\\'s', \"q\"] }} {{ 'abc'[::-1] }} {{ [1,2,3][-2:] }} {{ 'x' * 3 "
         "}}",
         "it's [\"it's\", 'q'] cba [2, 3] xxx"},
        {"{{ {'a': 1, 'items': 2}.items() | list }} {{ {'b': 1, 'a': 2} | dictsort }}",
         "[('a', 1), ('items', 2)] [('a', 2), ('b', 1)]"},
        {"{% for k, g in [{'a':2,'b':1},{'a':1,'b':2}] | groupby('a') %}{{ k }}{{ g | "
         "map(attribute='b') | join }} {% endfor %}",
         "12 21 "},
        {"{{ '%(a)s %5.1f%%' % {'a': 1} if false else '%s' % 'x' }} {{ "
         "'{0}-{1:>4}|{x:.2f}'.format('a', 'b', x=1.5) }}",
         "x a-   b|1.50"},
        {"{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b '.split() }} {{ 'a\\nb'.splitlines() }}",
         "['a,b', 'c'] ['a', 'b'] ['a', 'b']"},
        {"{{ strftime_now('%d %b %Y') }} {{ 1e16 }} {{ 123456.789e3 }} {{ 5e-324 }}",
         "04 Jul 2025 1e+16 123456789.0 5e-324"},
        {"{{ ('<a>' | safe) + '<b>' }} {{ '<' | e }} {{ ('<' | safe) ~ '<' }}",
         "<a>&lt;b&gt; &lt; <<"},
        {"{# c #}\na\n{%- raw %} {{ x }} {% endraw -%}\n b", "a {{ x }} b"},
        {"{{ x.__class__ is defined }}{{ ''.__class__ }}", "False"},
    };
    struct batch b = {.want = json_array()};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_t *v = json_pack("{s:s, s:{s:i}, s:s}", "template_text", table[i][0], "vars", "x", 1,
                              "expected", table[i][1]);
        add_line(&b, v);
        json_decref(v);
    }
    run_batch(&b);
    assert_int_equal(b.n_bad, 0);
    json_decref(b.want);
    buf_fini(&b.in);
}

/* One hostile template: an error with these words, soon, in bounded memory. */
static void ends(const char *template, size_t n, const char *words) {
    struct ran r;
    struct buf in = {0};
    json_t *v = json_pack("{s:s#}", "template_text", template, n);
    char *line = json_dumps(v, JSON_COMPACT);
    const char *const args[] = {"debug", "template", "--jinja-text", NULL};
    buf_str(&in, line);
    run_cria(&r, args, in.p, in.n, 20);
    if (r.code != 0) fail_msg("%.60s: code %d", template, r.code);
    if (!strstr(r.out.p, "\"error\"") || !strstr(r.out.p, words) ||
        (!strstr(r.out.p, "line ") && !strstr(r.out.p, "bytes;")))
        fail_msg("%.60s: \"%s\" is not in %.300s", template, words, r.out.p);
    if (!SANITIZED && r.seconds > 2) fail_msg("%.60s: %.1f s", template, r.seconds);
    if (!SANITIZED && r.peak_rss_bytes > (512u << 20))
        fail_msg("%.60s: %zu MiB", template, r.peak_rss_bytes >> 20);
    ran_fini(&r);
    buf_fini(&in);
    free(line);
    json_decref(v);
}

static void hostile(void **state) {
    static const char *const table[][2] = {
        {"a\n{{ 'a' * 10 ** 9 }}", "line 2: more than"},
        {"{{ [0] * 10 ** 9 }}", "line 1: more than"},
        {"{% for i in range(10 ** 9) %}{% endfor %}", "range of more than"},
        {"{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
         "more than the"},
        {"{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% "
         "endfor %}",
         "more than the"},
        {"{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', "
         "'aaaa') %}{% endfor %}",
         "more than the"},
        {"{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% "
         "endfor %}",
         "more than the"},
        {"{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", "deep"},
        {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "deep"},
        {"{% set ns = namespace(v=[]) %}{% for i in range(1000) %}{% set ns.v = [ns.v] %}{% endfor "
         "%}{{ ns.v }}",
         "deep"},
        {"{% set ns = namespace() %}{% set ns.me = ns %}{{ ns | tojson }}", "namespace"},
        {"{{ 2 ** 1000 }}", "127 bits"},
        {"{{ 1 // 0 }}", "division by zero"},
        {"{{ '%9999999d' % 1 ~ ('x' | center(10 ** 8)) }}", "center"},
        {"{% if true %}", "ends inside a block"},
        {"\n\n{{ 'x }}", "line 3: a string"},
        {"{% include 'x' %}", "unknown statement"},
        {"{{ ''.__class__.__mro__ }}", "undefined"},
        {"{{ x.append(1) }}", "undefined"},
        {"{{ [].append(1) }}", "may not"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ends(table[i][0], strlen(table[i][0]), table[i][1]);
}

static void deep_and_long(void **state) {
    static const char *const unit[][3] = {{"{% if 1 %}", "", "{% endif %}"},
                                          {"(", "1", ")"},
                                          {"not ", "1", ""},
                                          {"[", "", "]"},
                                          {"-", "1", ""}};
    (void)state;
    for (size_t u = 0; u < 5; u++) {
        struct buf b = {0};
        if (u) buf_str(&b, "{{ ");
        for (int i = 0; i < 50000; i++)
            buf_str(&b, unit[u][0]);
        buf_str(&b, unit[u][1]);
        for (int i = 0; i < 50000; i++)
            buf_str(&b, unit[u][2]);
        if (u) buf_str(&b, " }}");
        ends(b.p, b.n, "nested deeper");
        buf_fini(&b);
    }
    struct buf b = {0};
    buf_str(&b, "{{ 1");
    for (int i = 0; i < 50000; i++)
        buf_str(&b, " + 1");
    buf_str(&b, " }}");
    ends(b.p, b.n, "operators in a row");
    buf_reset(&b);
    for (int i = 0; i < (10 << 20) / 8; i++)
        buf_str(&b, "{{ 12 }}");
    ends(b.p, b.n, "bytes; up to");
    buf_fini(&b);
}

/* What messages say is quoted, whatever the template does with it; what it says itself is not. */
static void quoting(void **state) {
    static const char source[] =
        "<A>{{ m.upper() ~ '<B>' }}{{ m | replace('x', '<C>') }}{{ [m] | tojson }}{{ bos }}";
    static const char *const trusted[] = {"bos", NULL};
    const struct jinja_opts o = {.trusted = trusted};
    struct chat_prompt p = {0};
    struct err e;
    struct buf said = {0};
    (void)state;
    struct jinja *t = jinja_new("t", str_of(source), &e);
    json_t *vars = json_pack("{s:s, s:s}", "m", "<d>x<|e|>", "bos", "<s>");
    assert_non_null(t);
    assert_int_equal(jinja_render(t, vars, &o, &p, &e), 0);
    assert_string_equal(p.text.p, "<A><D>X<|E|><B><d><C><|e|>[\"<d>x<|e|>\"]<s>");
    for (size_t i = 0; i < p.n_trust; i++)
        buf_append(&said, p.text.p + p.trust[i].lo, p.trust[i].hi - p.trust[i].lo);
    assert_string_equal(said.p, "<A><B><C>[\"\"]<s>");
    buf_fini(&said);
    chat_prompt_fini(&p);
    json_decref(vars);
    jinja_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renderings), cmocka_unit_test(features), cmocka_unit_test(more_features),
        cmocka_unit_test(campaign),   cmocka_unit_test(hostile),  cmocka_unit_test(deep_and_long),
        cmocka_unit_test(quoting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
